//! What a run tells while it works. A run prints nothing itself.

use super::event::EpochDone;
use super::history::History;

/// Where a run is, after a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepProgress {
    /// Epoch, from 1.
    pub epoch: u64,
    /// Epochs of the whole run.
    pub epochs: u64,
    /// Batches of this epoch that are done.
    pub batches_done: u64,
    /// Batches of an epoch.
    pub batches: u64,
    /// Updates applied so far.
    pub step: u64,
    /// Mean loss of the batch.
    pub loss: f32,
    /// Learning rate of the update.
    pub lr: f64,
    /// Examples in the batch.
    pub examples: usize,
}

/// Somebody who watches a run.
pub trait Observer {
    /// A step was committed.
    fn step(&mut self, progress: &StepProgress);
    /// An epoch ended.
    fn epoch(&mut self, epoch: &EpochDone, epochs: u64);
    /// Something a person should read, in one line.
    fn notice(&mut self, line: &str);
    /// The clock was recorded, and this is what the journal comes to: every few seconds, at the end of each epoch, and at
    /// the end of an attempt.
    fn sampled(&mut self, _: &History) {}
}

/// Nobody watches.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {
    fn step(&mut self, _: &StepProgress) {}
    fn epoch(&mut self, _: &EpochDone, _: u64) {}
    fn notice(&mut self, _: &str) {}
}
