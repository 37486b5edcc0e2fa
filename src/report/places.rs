//! Where a step is along the axis of x.

use super::clock::Clock;
use super::curves::Along;
use crate::train::history::{AttemptSample, History};
use std::collections::BTreeMap;

/// The places of one run.
#[derive(Debug)]
pub struct Places<'a> {
    history: &'a History,
    clock: Clock,
    along: Along,
    /// Batches of each epoch that was begun; of one that is not over, as many as the largest has.
    batches: BTreeMap<u64, u64>,
}

impl<'a> Places<'a> {
    /// The places of a run whose clock this is.
    #[must_use]
    pub fn new(history: &'a History, clock: Clock, along: Along) -> Self {
        let mut batches: BTreeMap<u64, u64> = BTreeMap::new();
        if along == Along::Epoch {
            for done in history.steps.values() {
                let most = batches.entry(done.epoch).or_default();
                *most = (*most).max(done.batch.saturating_add(1));
            }
            let largest = batches.values().copied().max().unwrap_or(1);
            let open = batches.iter_mut().filter(|(epoch, _)| !history.epochs.contains_key(epoch));
            open.for_each(|(_, count)| *count = largest);
        }
        Self { history, clock, along, batches }
    }

    /// Where a step is; `None` if nothing tells.
    #[must_use]
    pub fn of_step(&self, step: u64) -> Option<f64> {
        match self.along {
            Along::Step => Some(step as f64),
            Along::Epoch if step == 0 => Some(0.0),
            Along::Epoch => {
                let (_, done) = self.history.steps.range(..=step).next_back()?;
                let batches = self.batches.get(&done.epoch).copied().unwrap_or(1).max(1);
                Some(done.epoch.saturating_sub(1) as f64 + (done.batch as f64 + 1.0) / batches as f64)
            }
            Along::Time if step == 0 => (!self.clock.is_empty()).then_some(0.0),
            Along::Time => self.clock.worked_s(self.history, step),
        }
    }

    /// Where an attempt begins that goes on from a step.
    #[must_use]
    pub fn of_attempt(&self, attempt: u64, step: u64) -> Option<f64> {
        match self.along {
            Along::Time => self.clock.worked_before_s(attempt),
            Along::Step | Along::Epoch => self.of_step(step),
        }
    }

    /// Where a reading of the clock is.
    #[must_use]
    pub fn of_sample(&self, sample: &AttemptSample) -> Option<f64> {
        match self.along {
            Along::Time => self.clock.worked_at_s(sample.attempt, sample.unix_ms as f64 / 1000.0),
            Along::Step | Along::Epoch => self.of_step(sample.step),
        }
    }

    /// The farthest place of a step.
    #[must_use]
    pub fn longest(&self) -> f64 {
        self.of_step(self.history.last_step()).unwrap_or(0.0)
    }
}
