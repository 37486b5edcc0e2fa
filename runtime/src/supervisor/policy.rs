//! What follows from the death of a worker: a decision, made without touching anything.

use std::time::Duration;

use super::Death;

/// What an end means to the embedding program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is final: the supervisor ends with the same code.
    Final,
    /// It is worth another try.
    TryAgain,
}

/// When to start again, and when to give up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// How many deaths in a row without progress are followed by another start.
    pub restarts: u32,
    /// The pause after the first of them; each further one doubles it.
    pub first_pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Policy { restarts: 5, first_pause: Duration::from_secs(1), longest_pause: Duration::from_secs(60) }
    }
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// End with the worker's own code.
    End,
    /// Start another worker after this pause.
    Start(Duration),
    /// Give up: it has died too often without progress.
    GiveUp,
}

/// The deaths so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Record {
    without_progress: u32,
    progress: Option<u64>,
}

impl Record {
    /// Takes a death, with the progress that was durable then, and says what follows.
    pub(super) fn died(&mut self, policy: &Policy, verdict: Verdict, death: Death, progress: u64) -> Next {
        if verdict == Verdict::Final {
            return Next::End;
        }
        let is_further = self.progress.is_some_and(|before| progress > before);
        self.progress = Some(self.progress.unwrap_or(0).max(progress));
        self.without_progress = if is_further { 1 } else { self.without_progress.saturating_add(1) };
        if self.without_progress > policy.restarts {
            return Next::GiveUp;
        }
        if death.is_for_memory() {
            // With less memory it is another computation: there is no reason to wait.
            return Next::Start(Duration::ZERO);
        }
        let doublings = (self.without_progress - 1).min(31);
        let pause = policy.first_pause.saturating_mul(1 << doublings);
        Next::Start(pause.min(policy.longest_pause))
    }
}

#[cfg(test)]
mod tests {
    use super::{Next, Policy, Record, Verdict};
    use crate::supervisor::{Death, Ended};
    use std::time::Duration;

    const CRASH: Death = Death { ended: Ended::Signal(11), oom_kills: 0 };
    const FOR_MEMORY: Death = Death { ended: Ended::Signal(9), oom_kills: 1 };

    /// Deaths with the progress at each, and the pauses that follow; `None` where it gives up.
    #[track_caller]
    fn check(deaths: &[(Death, u64)], expected_s: &[Option<u64>]) {
        let policy = Policy { restarts: 3, ..Policy::default() };
        let mut record = Record::default();
        let next = deaths.iter().map(|(death, progress)| {
            match record.died(&policy, Verdict::TryAgain, *death, *progress) {
                Next::Start(pause) => Some(pause.as_secs()),
                _ => None,
            }
        });
        assert_eq!(next.collect::<Vec<_>>(), expected_s);
    }

    #[test]
    fn pauses_double_and_deaths_without_progress_are_counted() {
        check(&[(CRASH, 7); 4], &[Some(1), Some(2), Some(4), None]);
    }

    #[test]
    fn progress_starts_the_count_anew() {
        check(&[(CRASH, 0), (CRASH, 0), (CRASH, 5), (CRASH, 5)], &[Some(1), Some(2), Some(1), Some(2)]);
        check(&[(CRASH, 9), (CRASH, 3), (CRASH, 3), (CRASH, 9)], &[Some(1), Some(2), Some(4), None]);
    }

    #[test]
    fn after_a_death_for_memory_nobody_waits_but_it_counts() {
        check(&[(FOR_MEMORY, 0); 4], &[Some(0), Some(0), Some(0), None]);
    }

    #[test]
    fn what_is_final_ends_and_no_pause_is_longer_than_the_longest() {
        let policy = Policy { restarts: u32::MAX, ..Policy::default() };
        let mut record = Record::default();
        assert_eq!(record.died(&policy, Verdict::Final, CRASH, 0), Next::End);
        let last = (0..100).map(|_| record.died(&policy, Verdict::TryAgain, CRASH, 0)).last();
        assert_eq!(last, Some(Next::Start(Duration::from_secs(60))));
    }
}
