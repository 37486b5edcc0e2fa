//! Which checkpoints are no longer needed: a decision, made without touching any.

use std::collections::BTreeSet;

use super::names::{Kind, Name};
use crate::mutant;

/// The fewest steps whose checkpoints are kept: if the newest turns out to be damaged, there is another.
pub(super) const MIN_KEEP_LAST: usize = 2;

/// Which checkpoints are kept when newer ones are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention {
    /// Those of so many last steps; default 3. Fewer than 2 counts as 2.
    pub keep_last: usize,
    /// For ever: each that ends an epoch whose number is a multiple of this.
    pub keep_every_epochs: Option<u64>,
    /// For ever: each whose step is a multiple of this.
    pub keep_every_steps: Option<u64>,
}

impl Default for Retention {
    fn default() -> Retention {
        Retention { keep_last: 3, keep_every_epochs: None, keep_every_steps: None }
    }
}

impl Retention {
    fn keeps_for_ever(&self, name: Name) -> bool {
        let is_multiple = |number: u64, every: Option<u64>| {
            every.is_some_and(|every| every > 0 && number > 0 && number.is_multiple_of(every))
        };
        is_multiple(name.step, self.keep_every_steps)
            || (name.kind == Kind::Epoch && is_multiple(name.epoch(), self.keep_every_epochs))
    }
}

/// The checkpoints to drop, the oldest first: all but those of the last steps, those kept for ever, and `never`.
///
/// `never` holds the one published last as well: newer names may be of files that can not be read just now, and of those
/// that can be, the one known to be good must not be the one that goes.
pub(super) fn to_drop(names: &[Name], retention: &Retention, never: &[Name]) -> Vec<Name> {
    let steps: BTreeSet<u64> = names.iter().map(|name| name.step).collect();
    let last: BTreeSet<u64> = steps.into_iter().rev().take(retention.keep_last.max(MIN_KEEP_LAST)).collect();
    let mut dropped: Vec<Name> = names
        .iter()
        .copied()
        .filter(|name| {
            let is_last = last.contains(&name.step);
            !is_last && !retention.keeps_for_ever(*name) && !never.contains(name)
                || mutant::is("retire-keeps-one") && Some(*name) != names.iter().copied().max()
        })
        .collect();
    dropped.sort_unstable();
    dropped
}

#[cfg(test)]
mod tests {
    use super::{Retention, to_drop};
    use crate::checkpoint::{EmergencyCause, Kind, Name};

    fn epochs(steps: &[u64]) -> Vec<Name> {
        steps.iter().map(|&step| Name::new(Kind::Epoch, step / 10, step)).collect()
    }

    fn last(keep_last: usize) -> Retention {
        Retention { keep_last, ..Retention::default() }
    }

    #[track_caller]
    fn check_dropped(steps: &[u64], retention: &Retention, never: &[u64], expected: &[u64]) {
        assert_eq!(to_drop(&epochs(steps), retention, &epochs(never)), epochs(expected));
    }

    #[test]
    fn the_last_are_kept_and_the_oldest_are_dropped_first() {
        check_dropped(&[50, 10, 40, 20, 30], &last(3), &[], &[10, 20]);
    }

    #[test]
    fn the_last_two_are_never_dropped() {
        for keep_last in [0, 1, 2] {
            check_dropped(&[10, 20, 30], &last(keep_last), &[], &[10]);
        }
    }

    #[test]
    fn the_best_is_never_dropped_and_does_not_count_as_one_of_the_last() {
        check_dropped(&[10, 20, 30, 40], &last(2), &[10], &[20]);
    }

    #[test]
    fn the_one_published_last_is_kept_even_below_newer_ones_that_can_not_be_read() {
        check_dropped(&[10, 20, 80, 90], &last(2), &[20], &[10]);
    }

    #[test]
    fn every_so_many_epochs_or_steps_one_is_kept_for_ever() {
        let every_epochs = Retention { keep_every_epochs: Some(3), ..last(2) };
        check_dropped(&[10, 20, 30, 40, 50, 60, 70, 80], &every_epochs, &[], &[10, 20, 40, 50]);
        let every_steps = Retention { keep_every_steps: Some(20), ..last(2) };
        check_dropped(&[10, 20, 30, 40, 50, 60, 70, 80], &every_steps, &[], &[10, 30, 50]);
    }

    #[test]
    fn a_checkpoint_in_the_middle_of_an_epoch_is_no_epoch_to_be_kept() {
        let names: Vec<Name> = [10, 20, 30, 40].map(|step| Name::new(Kind::Step, 3, step)).to_vec();
        let every_epochs = Retention { keep_every_epochs: Some(3), ..last(2) };
        assert_eq!(to_drop(&names, &every_epochs, &[]), names[..2]);
    }

    #[test]
    fn nothing_is_dropped_when_there_are_no_more_than_are_kept() {
        check_dropped(&[10, 20, 30], &last(3), &[], &[]);
        check_dropped(&[], &last(3), &[], &[]);
    }

    #[test]
    fn checkpoints_of_one_step_are_kept_or_dropped_together() {
        let emergency = |step| Name::new(Kind::Emergency(EmergencyCause::Error), 1, step);
        let names = [epochs(&[10, 20, 30]), vec![emergency(10), emergency(30)]].concat();
        assert_eq!(to_drop(&names, &last(2), &[]), [epochs(&[10]), vec![emergency(10)]].concat());
    }
}
