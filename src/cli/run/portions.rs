//! In which portions an attempt computes: as the journal says, as the settings say, or smaller after a death for memory.

use super::Failure;
use crate::cli::exit::Exit;
use crate::config::{Difference, Plan};
use crate::train::batching::{Batching, PORTION_KEYS, Portion};
use crate::train::history::History;
use trainer_runtime::supervisor::Death;

/// The portions of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Portions {
    /// `None` for those of the settings.
    pub(super) wanted: Option<Batching>,
    /// Why they are not those of the journal or the settings.
    pub(super) reason: Option<&'static str>,
}

/// What the worker before died of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    /// Not for memory, or nobody knows.
    Otherwise,
    /// The kernel killed it for memory.
    KilledForMemory,
}

impl Before {
    pub(super) fn of(death: Option<Death>) -> Self {
        if death.is_some_and(Death::is_for_memory) { Self::KilledForMemory } else { Self::Otherwise }
    }
}

/// The portions from a place (epoch, batch) on of the branch with this number.
pub(super) fn portions(
    history: &History,
    changes: &[Difference],
    plan: &Plan,
    (branch, place): (u64, (u64, u64)),
    before: Before,
) -> Result<Portions, Failure> {
    let is_changed = changes.iter().any(|change| PORTION_KEYS.contains(&change.key.as_str()));
    if is_changed {
        return Ok(Portions { wanted: None, reason: Some("the settings changed") });
    }
    if before == Before::Otherwise {
        let reason = "the settings leave the micro-batch to be found";
        return Ok(Portions { wanted: history.batching_in(branch, place), reason: Some(reason) });
    }
    // The last ones that were tried, wherever that was: what was killed at a later place had them.
    let (micro_batch, eval_batch) = Batching::of_plan(&plan.train);
    let of_plan = Batching { micro_batch: micro_batch.unwrap_or(plan.train.batch_size), eval_batch };
    let last = history.batchings.values().next_back().copied().unwrap_or(of_plan);
    let smaller = last
        .smaller(Portion::Training)
        .map(|smaller| Batching { eval_batch: last.eval_batch.div_ceil(2), ..smaller });
    let smaller = smaller.ok_or_else(|| {
        let message = "the kernel killed the process for memory at a micro-batch of 1; use a smaller model or inputs, \
                       `optimizer.kind = \"sgd\"`, or a machine or container with more memory";
        Failure::new(Exit::OutOfMemory, message.to_owned())
    })?;
    Ok(Portions { wanted: Some(smaller), reason: Some("the kernel killed the process before for memory") })
}

#[cfg(test)]
mod tests {
    use super::{Before, portions};
    use crate::config::{Sources, differences, load};
    use crate::train::batching::Batching;
    use crate::train::event::{Event, MicroBatchChanged};
    use crate::train::history::History;

    fn changed(epoch: u64, micro_batch: u64) -> Event {
        let (step, batch, eval_batch) = (epoch * 10, 0, 64);
        let reason = String::new();
        Event::MicroBatchChanged(MicroBatchChanged { step, epoch, batch, micro_batch, eval_batch, reason })
    }

    #[track_caller]
    fn check(changes: &[&str], place: (u64, u64), before: Before, expected: Option<usize>) {
        let plan = |sets: &[&str]| {
            let sets = sets.iter().map(|set| (*set).to_owned()).collect();
            load(&Sources { sets, ..Sources::default() }).unwrap().plan
        };
        let (old, new) = (plan(&[]), plan(changes));
        let mut history = History::default();
        history.add(changed(2, 32));
        history.add(changed(4, 16));
        let found = portions(&history, &differences(&old, &new), &new, (1, place), before).unwrap();
        assert_eq!(found.wanted.map(|wanted: Batching| wanted.micro_batch), expected);
    }

    #[test]
    fn the_journal_says_the_portions_of_a_place_unless_the_settings_changed() {
        check(&[], (1, 22), Before::Otherwise, None);
        check(&[], (2, 0), Before::Otherwise, Some(32));
        check(&[], (4, 0), Before::Otherwise, Some(16));
        check(&["train.micro_batch=8"], (4, 0), Before::Otherwise, None);
    }

    #[test]
    fn after_a_death_for_memory_they_are_half_of_the_last_ones() {
        check(&[], (1, 0), Before::KilledForMemory, Some(8));
        let plan = load(&Sources::default()).unwrap().plan;
        let mut history = History::default();
        history.add(changed(1, 1));
        assert!(portions(&history, &[], &plan, (1, (1, 0)), Before::KilledForMemory).is_err());
    }
}
