//! The branches of a run: what a branch had come to when it ended, and what the next one takes over.

use super::History;
use crate::train::batching::Batching;
use crate::train::event::{BranchCut, EpochDone, StepDone};
use std::collections::{BTreeMap, BTreeSet};
use std::mem::take;
use std::sync::Arc;

/// A line of steps, from the start of the run to where a branch ended.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Line {
    steps: BTreeMap<u64, StepDone>,
    step_attempts: BTreeMap<u64, u64>,
    epochs: BTreeMap<u64, EpochDone>,
    refused: BTreeSet<(u64, u64)>,
    loss_scales: BTreeMap<(u64, u64), f32>,
    stopped_early: BTreeSet<u64>,
    batchings: BTreeMap<(u64, u64), Batching>,
    checkpoints: BTreeSet<String>,
    published: BTreeMap<String, [u8; 16]>,
    computed_with: BTreeMap<String, Arc<str>>,
}

impl History {
    /// The number of the branch that goes on; the first is 1.
    #[must_use]
    pub fn branch(&self) -> u64 {
        self.branches.last().map_or(1, |cut| cut.branch + 1)
    }

    /// What the branch that goes on would take over from the one with this number: the digests of its checkpoints, by name.
    #[must_use]
    pub fn published_in(&self, branch: u64) -> Option<&BTreeMap<String, [u8; 16]>> {
        if branch == self.branch() {
            return Some(&self.published);
        }
        self.lines.get(&branch).map(|line| &line.published)
    }

    /// The branches, the newest first, among whose checkpoints one of this name had this digest.
    #[must_use]
    pub fn branch_with(&self, name: &str, digest: [u8; 16]) -> Option<u64> {
        let mut newest_first = std::iter::once(self.branch()).chain(self.lines.keys().rev().copied());
        newest_first.find(|branch| {
            self.published_in(*branch).is_some_and(|published| published.get(name) == Some(&digest))
        })
    }

    /// Ends the branch, and begins the next with what its checkpoint's branch had come to at that checkpoint.
    pub(super) fn cut(&mut self, cut: BranchCut) {
        let ended = Line {
            steps: take(&mut self.steps),
            step_attempts: take(&mut self.step_attempts),
            epochs: take(&mut self.epochs),
            refused: take(&mut self.refused),
            loss_scales: take(&mut self.loss_scales),
            stopped_early: take(&mut self.stopped_early),
            batchings: take(&mut self.batchings),
            checkpoints: take(&mut self.checkpoints),
            published: take(&mut self.published),
            computed_with: take(&mut self.computed_with),
        };
        let is_back = cut.of_branch != cut.branch;
        let from = self.lines.get(&cut.of_branch).filter(|_| is_back).unwrap_or(&ended);
        let Line { steps, step_attempts, epochs, refused, .. } = from;
        self.steps = steps.range(..=cut.step).map(|(step, done)| (*step, done.clone())).collect();
        self.step_attempts.clone_from(step_attempts);
        self.epochs = epochs.range(..cut.epoch).map(|(epoch, done)| (*epoch, done.clone())).collect();
        self.refused.clone_from(refused);
        self.loss_scales.clone_from(&from.loss_scales);
        self.stopped_early.clone_from(&from.stopped_early);
        self.batchings.clone_from(&from.batchings);
        self.published.clone_from(&from.published);
        self.computed_with.clone_from(&from.computed_with);
        // What is in the folder: of the branch that ends, without what is moved away.
        self.checkpoints.clone_from(&ended.checkpoints);
        for name in &cut.moved {
            self.checkpoints.remove(name);
        }
        self.checkpoints.insert(cut.checkpoint.clone());
        self.lines.insert(cut.branch, ended);
        self.discard_after(cut.step, (cut.epoch, cut.batch));
        self.published.retain(|name, _| is_up_to(name, &cut.checkpoint));
        if self.finished.take().is_some() {
            self.last_end.get_or_insert_with(|| "finished".to_owned());
        }
        self.branches.push(cut.clone());
        self.open_cut = Some(cut);
    }
}

/// Whether a checkpoint is not behind the one that was chosen.
fn is_up_to(name: &str, chosen: &str) -> bool {
    use trainer_runtime::checkpoint::Name;
    match (name.parse::<Name>(), chosen.parse::<Name>()) {
        (Ok(name), Ok(chosen)) => name <= chosen,
        _ => false,
    }
}
