//! When each step of a run was done, from the readings of the clock in its journal.
//!
//! A reading tells how many updates there were. Between two readings of an attempt steps are taken to be equally long;
//! behind the last one, of an attempt that was killed, as long as those before.

use crate::train::history::{AttemptSample, History};
use std::collections::BTreeMap;

/// The clock of a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Clock {
    attempts: BTreeMap<u64, Attempt>,
}

/// The readings of one attempt.
#[derive(Debug, Clone, PartialEq)]
struct Attempt {
    /// Updates, and seconds since 1970; both never fall.
    readings: Vec<(u64, f64)>,
    /// Seconds that the attempts before have worked.
    worked_before_s: f64,
    /// Seconds that a step behind the last reading takes; 0 where no two readings tell.
    step_s: f64,
    /// When the next attempt began.
    next_began_s: f64,
}

/// When an attempt was at work.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Span {
    /// The attempt, from 1.
    pub attempt: u64,
    /// Its first reading, in seconds since 1970.
    pub began_s: f64,
    /// Its end: the last reading, or the last step where that came later.
    pub ended_s: f64,
    /// Updates when it began.
    pub from_step: u64,
    /// Updates at its last reading or record.
    pub to_step: u64,
}

impl Clock {
    /// The clock of a history. One without readings knows nothing.
    #[must_use]
    pub fn of(history: &History) -> Self {
        let mut attempts: BTreeMap<u64, Attempt> = BTreeMap::new();
        for AttemptSample { attempt, unix_ms, step, .. } in &history.samples {
            let unix_s = *unix_ms as f64 / 1000.0;
            let known = attempts.entry(*attempt).or_insert_with(|| Attempt {
                readings: Vec::new(),
                worked_before_s: 0.0,
                step_s: 0.0,
                next_began_s: f64::INFINITY,
            });
            // A clock that is set back stands still until it has caught up.
            let (before_step, before_s) = known.readings.last().copied().unwrap_or((0, unix_s));
            known.readings.push(((*step).max(before_step), unix_s.max(before_s)));
        }
        let began: Vec<f64> = attempts.values().map(Attempt::began_s).collect();
        let mut worked_s = 0.0;
        for (index, (number, attempt)) in attempts.iter_mut().enumerate() {
            attempt.worked_before_s = worked_s;
            attempt.step_s = attempt.pace_s().unwrap_or(0.0);
            attempt.next_began_s =
                began.get(index + 1).copied().unwrap_or(f64::INFINITY).max(attempt.last().1);
            let last_step = history.last_step_of(*number).unwrap_or(0).max(attempt.last().0);
            worked_s += attempt.at(last_step) - attempt.began_s();
        }
        Self { attempts }
    }

    /// Whether there is no reading at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.attempts.is_empty()
    }

    /// When a step was done, in seconds since 1970; `None` if its attempt has no reading.
    #[must_use]
    pub fn unix_s(&self, history: &History, step: u64) -> Option<f64> {
        Some(self.attempts.get(&history.attempt_of_step(step)?)?.at(step))
    }

    /// Seconds that the run had been worked on when a step was done, without the time between its attempts.
    #[must_use]
    pub fn worked_s(&self, history: &History, step: u64) -> Option<f64> {
        let attempt = self.attempts.get(&history.attempt_of_step(step)?)?;
        Some(attempt.worked_before_s + attempt.at(step) - attempt.began_s())
    }

    /// The same at a moment of an attempt.
    #[must_use]
    pub fn worked_at_s(&self, attempt: u64, unix_s: f64) -> Option<f64> {
        let attempt = self.attempts.get(&attempt)?;
        Some(attempt.worked_before_s + (unix_s - attempt.began_s()).max(0.0))
    }

    /// The same where an attempt begins.
    #[must_use]
    pub fn worked_before_s(&self, attempt: u64) -> Option<f64> {
        Some(self.attempts.get(&attempt)?.worked_before_s)
    }

    /// When each attempt was at work, in their order.
    #[must_use]
    pub fn spans(&self, history: &History) -> Vec<Span> {
        let span = |(number, attempt): (&u64, &Attempt)| {
            let to_step = history.last_step_of(*number).unwrap_or(0).max(attempt.last().0);
            let (began_s, ended_s) = (attempt.began_s(), attempt.at(to_step).max(attempt.last().1));
            let from_step = attempt.readings.first().map_or(0, |(step, _)| *step);
            Span { attempt: *number, began_s, ended_s, from_step, to_step }
        };
        self.attempts.iter().map(span).collect()
    }
}

impl Attempt {
    fn began_s(&self) -> f64 {
        self.readings.first().map_or(0.0, |(_, at)| *at)
    }

    fn last(&self) -> (u64, f64) {
        self.readings.last().copied().unwrap_or_default()
    }

    /// Seconds per step between the first and the last reading.
    fn pace_s(&self) -> Option<f64> {
        let ((first, began), (last, ended)) = (self.readings.first()?, self.readings.last()?);
        (last > first).then(|| (ended - began) / (last - first) as f64)
    }

    /// When it had done a step.
    fn at(&self, step: u64) -> f64 {
        let next = self.readings.partition_point(|(known, _)| *known < step);
        let before = next.checked_sub(1).and_then(|index| self.readings.get(index));
        match (before, self.readings.get(next)) {
            (Some((low, from)), Some((high, to))) => {
                from + (to - from) * (step - low) as f64 / (high - low).max(1) as f64
            }
            (None, Some((_, at))) => *at,
            (Some((low, from)), None) => (from + (step - low) as f64 * self.step_s).min(self.next_began_s),
            (None, None) => 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Clock;
    use crate::train::history::History;
    use crate::train::history::fixtures::{attempt, begun, sample, step};

    /// Attempt 1 does ten steps in 10 s and two more before it is killed; attempt 2 begins 100 s later at step 5.
    fn killed() -> History {
        let mut history = begun();
        history.add(sample(1_000, 0));
        (1..=10).for_each(|number| history.add(step(number)));
        history.add(sample(11_000, 10));
        (11..=12).for_each(|number| history.add(step(number)));
        history.add(attempt(2, 5, false));
        history.add(sample(101_000, 5));
        (13..=20).for_each(|number| history.add(step(number)));
        history.add(sample(116_000, 20));
        history
    }

    #[test]
    fn steps_between_two_readings_are_equally_long_and_those_behind_the_last_go_on_so() {
        let history = killed();
        let clock = Clock::of(&history);
        let at = |step| clock.unix_s(&history, step).unwrap();
        assert_eq!([at(1), at(5), at(10), at(12)], [2.0, 6.0, 11.0, 13.0]);
        assert_eq!([at(13), at(20)], [109.0, 116.0]);
    }

    #[test]
    fn the_time_between_attempts_is_no_time_of_work() {
        let history = killed();
        let clock = Clock::of(&history);
        let worked = |step| clock.worked_s(&history, step).unwrap();
        assert_eq!([worked(10), worked(12), worked(13), worked(20)], [10.0, 12.0, 20.0, 27.0]);
        let spans = clock.spans(&history);
        assert_eq!((spans[0].began_s, spans[0].ended_s, spans[0].to_step), (1.0, 13.0, 12));
        assert_eq!((spans[1].from_step, spans[1].to_step), (5, 20));
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_run_backwards_here() {
        let mut history = begun();
        history.add(sample(50_000, 0));
        (1..=10).for_each(|number| history.add(step(number)));
        history.add(sample(1_000, 10));
        let clock = Clock::of(&history);
        assert_eq!(clock.unix_s(&history, 7), Some(50.0));
    }

    #[test]
    fn a_journal_without_readings_knows_no_time() {
        let mut history = begun();
        history.add(step(1));
        let clock = Clock::of(&history);
        assert!(clock.is_empty());
        assert_eq!((clock.unix_s(&history, 1), clock.worked_s(&history, 1)), (None, None));
    }
}
