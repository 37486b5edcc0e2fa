//! The end of an epoch: validation, what is the best, the schedule, early stopping, and the epoch's record.

use super::Loop;
use crate::train::best::{Best, Direction};
use crate::train::early_stopping::Verdict;
use crate::train::evaluate::validate;
use crate::train::event::{EarlyStopped, EpochDone, Event};
use crate::train::outcome::RunError;
use crate::train::status::Phase;
use std::time::Instant;
use trainer_runtime::checkpoint::Kind;

impl Loop<'_, '_> {
    pub(super) fn end_epoch(&mut self) -> Result<(), RunError> {
        let epoch = self.saved.epoch;
        let train = &self.prepared.plan.train;
        let is_validated = epoch.is_multiple_of(train.eval_every_epochs) || epoch >= train.epochs;
        let mut done = EpochDone {
            epoch,
            step: self.saved.step,
            lr: self.saved.last_lr,
            train_loss: self.saved.epoch_loss_sum / self.saved.epoch_loss_weight,
            validation: if is_validated { self.validate()? } else { Vec::new() },
            is_best: false,
            seconds: self.epoch_started.elapsed().as_secs_f64(),
            attempt: self.context.attempt,
        };
        let has_validation = self.prepared.validation.is_some();
        if is_validated || !has_validation {
            self.judge(&mut done)?;
        }
        let is_best = done.is_best;
        self.epoch_started = Instant::now();
        self.context.observer.epoch(&done, self.prepared.plan.train.epochs);
        // An epoch that an earlier attempt has recorded is not recorded again.
        if !self.context.keeper.history.epochs.contains_key(&epoch) {
            self.context.keeper.record(Event::EpochDone(done))?;
            self.sample()?;
            self.write_history()?;
        }
        self.next_epoch();
        self.mark_whole();
        let ends = self.reason_to_end().is_some();
        if ends {
            // In the background it might give way to a better one that waits; which checkpoint is the final one must not
            // depend on how fast the disk is.
            self.with_room(|run| {
                let snapshot = run.snapshot()?;
                run.release_reserve();
                run.context.keeper.save_now(Kind::Epoch, epoch, &run.saved, snapshot)?;
                Ok(())
            })?;
        } else if self.policy.is_due_after_epoch(epoch, is_best) {
            self.save(Kind::Epoch, epoch)?;
        }
        Ok(())
    }

    /// Finds out whether the epoch is the best, and lets the schedule and early stopping see it. Epochs without validation
    /// are left out of this, for a training loss is not to be compared with a validation loss.
    fn judge(&mut self, done: &mut EpochDone) -> Result<(), RunError> {
        let (watched, direction) = (self.watched.0.as_str(), self.watched.1);
        let Some(value) = done.value(watched) else {
            let columns = done.validation.iter().map(|(name, _)| name.as_str()).chain(["train_loss"]);
            let measured = columns.collect::<Vec<_>>().join(", ");
            return Err(RunError::NotMeasured { monitor: watched.to_owned(), measured });
        };
        let best = Best { value, epoch: done.epoch, step: done.step };
        done.is_best = Best::observe(&mut self.saved.best, best, direction);
        let plateau_loss = done.value("val_loss").unwrap_or(done.train_loss);
        self.schedule.end_epoch(&mut self.saved.plateau, plateau_loss);
        self.watch(value, direction)
    }

    fn validate(&mut self) -> Result<Vec<(String, f64)>, RunError> {
        self.context.control.enter(Phase::Validating);
        let measured = validate(self.prepared);
        self.context.control.enter(Phase::Training);
        Ok(measured?)
    }

    fn next_epoch(&mut self) {
        self.saved.epoch += 1;
        self.saved.batch = 0;
        self.saved.epoch_loss_sum = 0.0;
        self.saved.epoch_loss_weight = 0.0;
    }

    fn watch(&mut self, value: f64, direction: Direction) -> Result<(), RunError> {
        let Some(plan) = self.prepared.plan.train.early_stopping.clone() else { return Ok(()) };
        let Verdict::Stop { epochs_without_improvement } =
            self.saved.early_stopping.end_epoch(&plan, direction, value)
        else {
            return Ok(());
        };
        let line = format!(
            "stopping early: {} did not improve for {epochs_without_improvement} epochs",
            plan.monitor
        );
        self.context.observer.notice(&line);
        let epoch = self.saved.epoch;
        if self.context.keeper.history.stopped_early.contains(&epoch) {
            return Ok(());
        }
        let event = EarlyStopped { epoch, monitor: plan.monitor, epochs_without_improvement };
        Ok(self.context.keeper.record(Event::EarlyStopped(event))?)
    }
}
