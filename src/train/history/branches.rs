//! The branches of a run: what a branch had come to when it ended, and what the next one takes over.

use super::{ComputedWith, History};
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
    computed_with: BTreeMap<String, Arc<ComputedWith>>,
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

    /// What was in force when a checkpoint of a branch was written; `None` where the journal does not tell.
    #[must_use]
    pub fn computed_with(&self, branch: u64, checkpoint: &str) -> Option<&ComputedWith> {
        let of_branch = if branch == self.branch() {
            &self.computed_with
        } else {
            &self.lines.get(&branch)?.computed_with
        };
        of_branch.get(checkpoint).map(AsRef::as_ref)
    }

    /// The portions in which the journal says that batches of a branch are computed at a place (epoch, batch).
    #[must_use]
    pub fn batching_in(&self, branch: u64, place: (u64, u64)) -> Option<Batching> {
        if branch == self.branch() {
            return self.batching_at(place);
        }
        self.lines.get(&branch)?.batchings.range(..=place).next_back().map(|(_, batching)| *batching)
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
        self.portions_are_of_before = true;
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

#[cfg(test)]
mod tests {
    use crate::train::event::{
        BranchCut, CheckpointDurable, EpochDone, Event, Finished, MicroBatchChanged, PlanChanged, StepDone,
    };
    use crate::train::history::History;
    use crate::train::history::fixtures::attempt;

    /// An epoch of ten steps with this loss, and its checkpoint.
    fn learn(history: &mut History, epoch: u64, loss: f64) {
        for step in epoch * 10 - 9..=epoch * 10 {
            let (lr, gradient_norm) = (0.1, 1.0);
            history.add(Event::StepDone(StepDone {
                step,
                epoch,
                batch: (step - 1) % 10,
                loss_bits: (loss as f32).to_bits(),
                lr,
                gradient_norm,
                examples: 1,
                digest: None,
            }));
        }
        history.add(Event::EpochDone(EpochDone {
            epoch,
            step: epoch * 10,
            lr: 0.1,
            train_loss: loss,
            validation: Vec::new(),
            is_best: false,
            seconds: 1.0,
            attempt: 1,
        }));
        let (name, step, digest) = (name(epoch), epoch * 10, [(loss * 8.0) as u8; 16]);
        history.add(Event::CheckpointDurable(CheckpointDurable { name, step, len_bytes: 1, digest }));
    }

    fn change_settings(history: &mut History, settings: &str, changes: &[&str]) {
        let changes = changes.iter().map(|line| (*line).to_owned()).collect();
        history.add(Event::PlanChanged(PlanChanged { settings: settings.to_owned(), changes }));
    }

    fn settings_of(history: &History, branch: u64, epoch: u64) -> Option<&str> {
        history.computed_with(branch, &name(epoch))?.settings.as_deref()
    }

    fn name(epoch: u64) -> String {
        format!("epoch-{epoch:04}-step-{:08}.safetensors", epoch * 10)
    }

    /// Goes back to the end of an epoch of a branch.
    fn cut(history: &mut History, of_branch: u64, epoch: u64) {
        let moved = history.checkpoints.iter().filter(|there| **there > name(epoch)).cloned().collect();
        history.add(Event::BranchCut(BranchCut {
            branch: history.branch(),
            of_branch,
            checkpoint: name(epoch),
            step: epoch * 10,
            epoch: epoch + 1,
            batch: 0,
            taken_in: of_branch != history.branch(),
            moved,
            reached_step: history.last_step(),
            reached_epoch: 0,
            best: None,
        }));
    }

    #[track_caller]
    fn check(history: &History, losses: &[f64]) {
        let found: Vec<f64> = history.epochs.values().map(|epoch| epoch.train_loss).collect();
        assert_eq!(found, losses);
        assert_eq!(history.last_step(), losses.len() as u64 * 10);
        assert!(history.published.len() == losses.len() && history.steps.len() == losses.len() * 10);
    }

    #[test]
    fn a_branch_begins_with_what_its_checkpoint_had_come_to_and_older_branches_come_back_whole() {
        let mut history = History::default();
        [4.0, 3.0, 2.0].into_iter().zip(1..).for_each(|(loss, epoch)| learn(&mut history, epoch, loss));
        history.add(Event::Finished(Finished { step: 30, epoch: 3, reason: String::new() }));
        cut(&mut history, 1, 1);
        check(&history, &[4.0]);
        assert!(history.finished.is_none() && history.open_cut.is_some() && history.branch() == 2);
        assert_eq!(history.checkpoints.iter().collect::<Vec<_>>(), [&name(1)]);
        learn(&mut history, 2, 3.5);
        check(&history, &[4.0, 3.5]);
        let digest = |loss: f64| [(loss * 8.0) as u8; 16];
        assert_eq!(history.branch_with(&name(2), digest(3.0)), Some(1));
        assert_eq!(history.branch_with(&name(2), digest(3.5)), Some(2));
        assert_eq!(history.branch_with(&name(2), digest(9.0)), None);
        cut(&mut history, 1, 2);
        check(&history, &[4.0, 3.0]);
        assert_eq!((history.branch(), history.branches.len()), (3, 2));
    }

    #[test]
    fn what_a_checkpoint_was_computed_with_is_told_of_its_own_branch_alone() {
        let mut history = History::default();
        change_settings(&mut history, "first", &[]);
        [4.0, 3.0, 2.0].into_iter().zip(1..).for_each(|(loss, epoch)| learn(&mut history, epoch, loss));
        cut(&mut history, 1, 1);
        change_settings(&mut history, "second", &[]);
        // One of this name may be there before its record: nothing is known of that.
        assert_eq!([1, 2].map(|epoch| settings_of(&history, 2, epoch)), [Some("first"), None]);
        assert_eq!(settings_of(&history, 1, 2), Some("first"));
        learn(&mut history, 2, 3.5);
        assert_eq!(settings_of(&history, 2, 2), Some("second"));
        // And so where recorded steps are discarded without a branch.
        history.add(attempt(3, 10, true));
        assert_eq!([1, 2].map(|epoch| settings_of(&history, 2, epoch)), [Some("first"), None]);
    }

    #[test]
    fn portions_are_of_before_until_something_is_computed_behind_a_cut_or_a_change_of_theirs() {
        let mut history = History::default();
        learn(&mut history, 1, 4.0);
        change_settings(&mut history, "", &["checkpoint.keep_last: 3 -> 4"]);
        assert!(!history.portions_are_of_before);
        change_settings(&mut history, "", &["train.micro_batch: not set -> 8"]);
        assert!(history.portions_are_of_before);
        history.add(attempt(2, 10, false));
        assert!(history.portions_are_of_before, "that attempt computed nothing");
        learn(&mut history, 2, 3.0);
        assert!(!history.portions_are_of_before);
        cut(&mut history, 1, 1);
        assert!(history.portions_are_of_before);
        let (step, epoch, batch, micro_batch, eval_batch) = (10, 2, 0, 8, 8);
        let reason = String::new();
        history.add(Event::MicroBatchChanged(MicroBatchChanged {
            step,
            epoch,
            batch,
            micro_batch,
            eval_batch,
            reason,
        }));
        assert!(!history.portions_are_of_before);
    }
}
