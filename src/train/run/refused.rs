//! Batches that are left out because their loss or gradient is not finite, and the loss scale that follows from them.

use super::Loop;
use crate::config::Precision;
use crate::engine::step::StepOutcome;
use crate::train::event::{Event, LossScaleChanged, StepRefused};
use crate::train::keeper::KeepError;
use crate::train::outcome::{NotReproduced, RunError};

impl Loop<'_, '_> {
    /// Moves the loss scale after a batch and gives what is to be recorded of it, if it is another now.
    pub(super) fn rescale(&mut self, outcome: &StepOutcome) -> Option<LossScaleChanged> {
        let (epoch, batch) = (self.saved.epoch, self.saved.batch - 1);
        let Precision::F16(plan) = self.prepared.plan.train.precision else { return None };
        let state = self.saved.loss_scale.as_mut()?;
        let from = state.scale;
        let changes = if outcome.applied { state.grow(plan) } else { state.back_off() };
        changes.then_some(LossScaleChanged { epoch, batch, from, to: state.scale })
    }

    /// Counts a batch that was left out. That a scale was too large says nothing of the training, so that is no step
    /// towards giving up.
    pub(super) fn count_refused(&mut self, outcome: &StepOutcome, rescaled: Option<&LossScaleChanged>) {
        self.saved.refused += 1;
        if !is_overflow(outcome, rescaled) {
            self.saved.refused_in_a_row += 1;
        }
    }

    /// Says and records that a batch was left out, and gives up where that has happened too often.
    pub(super) fn record_refused(
        &mut self,
        outcome: &StepOutcome,
        rescaled: Option<LossScaleChanged>,
    ) -> Result<(), RunError> {
        let (epoch, batch) = (self.saved.epoch, self.saved.batch - 1);
        let (loss, gradient_norm) = (outcome.loss, outcome.gradient_norm);
        let refused = self.saved.refused_in_a_row;
        let of_overflow = rescaled.as_ref().filter(|_| is_overflow(outcome, rescaled.as_ref()));
        let why = match of_overflow {
            Some(LossScaleChanged { from, to, .. }) => {
                format!("its gradients overflow with a loss scale of {from}, which becomes {to}")
            }
            None => format!("loss {loss}, gradient norm {gradient_norm}; {refused} in a row"),
        };
        let is_overflow = of_overflow.is_some();
        self.context.observer.notice(&format!("batch {batch} of epoch {epoch} was left out: {why}"));
        // Computed again after a resume, it is in the journal already.
        if !self.context.keeper.history.refused.contains(&(epoch, batch)) {
            let event = StepRefused { epoch, batch, loss_bits: loss.to_bits(), gradient_norm };
            self.context.keeper.record(Event::StepRefused(event))?;
        }
        self.record_scale(rescaled)?;
        if !is_overflow && refused >= self.prepared.plan.train.max_refused_steps {
            self.context.keeper.flush().map_err(KeepError::from)?;
            self.context.keeper.sync().map_err(KeepError::from)?;
            return Err(RunError::Diverged { refused, epoch, batch, loss, gradient_norm });
        }
        Ok(())
    }

    /// Records another loss scale, or compares it with what an earlier attempt recorded.
    pub(super) fn record_scale(&mut self, rescaled: Option<LossScaleChanged>) -> Result<(), RunError> {
        let Some(changed) = rescaled else { return Ok(()) };
        match self.context.keeper.history.loss_scales.get(&(changed.epoch, changed.batch)) {
            None => Ok(self.context.keeper.record(Event::LossScaleChanged(changed))?),
            Some(recorded) if *recorded == changed.to => Ok(()),
            Some(recorded) => {
                let what = NotReproduced::LossScale { found: changed.to, recorded: *recorded };
                Err(RunError::NotReproduced { step: self.saved.step, what })
            }
        }
    }
}

/// Whether a batch was left out for its gradients alone, and the next one has a smaller scale.
fn is_overflow(outcome: &StepOutcome, rescaled: Option<&LossScaleChanged>) -> bool {
    outcome.loss.is_finite() && rescaled.is_some_and(|changed| changed.to < changed.from)
}
