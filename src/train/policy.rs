//! When a checkpoint is due.
//!
//! Decisions only: the clock is read by whoever asks, and nothing that is trained depends on the answer.

use crate::config::CheckpointPlan;
use std::time::{Duration, Instant};

/// The settings that say when to save, and when that was done last.
#[derive(Debug)]
pub struct SavePolicy {
    every_epochs: u64,
    every_steps: Option<u64>,
    every: Option<Duration>,
    on_best: bool,
    last_saved: Instant,
}

impl SavePolicy {
    /// The policy of a run that is where its last checkpoint is at this moment.
    #[must_use]
    pub fn new(plan: &CheckpointPlan, now: Instant) -> Self {
        let minutes = plan.every_minutes;
        Self {
            every_epochs: plan.every_epochs,
            every_steps: plan.every_steps,
            every: minutes
                .map(|minutes| Duration::try_from_secs_f64(minutes * 60.0).unwrap_or(Duration::MAX)),
            on_best: plan.on_best,
            last_saved: now,
        }
    }

    /// Whether a checkpoint is due after this step, in the middle of an epoch.
    #[must_use]
    pub fn is_due_after_step(&self, step: u64, now: Instant) -> bool {
        self.every_steps.is_some_and(|every| step.is_multiple_of(every))
            || self.every.is_some_and(|every| now.saturating_duration_since(self.last_saved) >= every)
    }

    /// Whether a checkpoint is due at the end of this epoch.
    #[must_use]
    pub fn is_due_after_epoch(&self, epoch: u64, is_best: bool) -> bool {
        epoch.is_multiple_of(self.every_epochs) || (is_best && self.on_best)
    }

    /// Takes note of a checkpoint that was handed over.
    pub fn saved(&mut self, now: Instant) {
        self.last_saved = now;
    }
}

#[cfg(test)]
mod tests {
    use super::SavePolicy;
    use crate::config::{CheckpointPlan, Durability};
    use std::time::{Duration, Instant};

    fn plan() -> CheckpointPlan {
        CheckpointPlan {
            every_epochs: 2,
            every_steps: None,
            every_minutes: None,
            on_best: true,
            keep_last: 3,
            keep_every_epochs: None,
            keep_every_steps: None,
            digest_every_steps: 0,
            reserve: false,
            disk_full_timeout_s: 0.0,
            durability: Durability::Checkpoint,
        }
    }

    #[test]
    fn steps_and_epochs_are_counted_and_the_best_is_saved_if_that_is_wanted() {
        let now = Instant::now();
        let policy = SavePolicy::new(&CheckpointPlan { every_steps: Some(10), ..plan() }, now);
        assert_eq!(
            [9, 10, 11, 20].map(|step| policy.is_due_after_step(step, now)),
            [false, true, false, true]
        );
        let due = |policy: &SavePolicy, is_best| {
            [1, 2, 3, 4].map(|epoch| policy.is_due_after_epoch(epoch, is_best))
        };
        assert_eq!(due(&policy, false), [false, true, false, true]);
        assert_eq!(due(&policy, true), [true; 4]);
        let not_on_best = SavePolicy::new(&CheckpointPlan { on_best: false, ..plan() }, now);
        assert_eq!(due(&not_on_best, true), [false, true, false, true]);
        assert!(!not_on_best.is_due_after_step(10, now + Duration::from_secs(1 << 20)));
    }

    #[test]
    fn minutes_are_counted_from_the_last_checkpoint_whatever_made_it() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut policy = SavePolicy::new(&CheckpointPlan { every_minutes: Some(1.5), ..plan() }, start);
        assert_eq!([89, 90, 91].map(|s| policy.is_due_after_step(7, at(s))), [false, true, true]);
        policy.saved(at(100));
        assert_eq!([189, 190].map(|s| policy.is_due_after_step(7, at(s))), [false, true]);
    }
}
