//! Memory that can not be had: the portions become smaller, and training goes on from the committed state.

use super::batching::{Batching, Portion, parts};
use super::evaluate::EvaluateError;
use super::event::{Event, MicroBatchChanged, OutOfMemory};
use super::outcome::RunError;
use super::prepare::Prepared;
use super::run::{Context, Loop, batches_from};
use super::saved::Saved;
use crate::config::OnOom;
use crate::engine::error::{EngineError, ErrorClass, requested_bytes};
use trainer_runtime::checkpoint::{EmergencyCause, Kind};

/// Why portions become smaller, in the journal and on the screen.
const RAN_OUT: &str = "memory ran out";

impl Loop<'_, '_> {
    /// Deals with an error of a step or a validation: goes on in smaller portions where memory ran out and the settings
    /// allow it; otherwise the state is saved and the error comes back.
    pub(super) fn recover(&mut self, error: RunError) -> Result<(), RunError> {
        let portion = if matches!(error, RunError::Evaluate(EvaluateError::Engine(_))) {
            Portion::Evaluation
        } else {
            Portion::Training
        };
        let Some(cause) = error.engine().filter(|error| error.class == ErrorClass::OutOfMemory) else {
            return Err(self.save_before(error));
        };
        let event = self.out_of_memory(cause);
        let held = self.prepared.engine.is_held();
        self.prepared.engine.abandon();
        self.context.control.status().abandon_step();
        self.release_reserve();
        if held {
            // A checkpoint being written holds a second set of the state. When it is done, that memory is free again, and
            // the same step may succeed.
            self.context.keeper.flush().map_err(super::keeper::KeepError::from)?;
            self.context
                .observer
                .notice("memory ran out while a checkpoint was being written; the step is repeated");
            self.restart_batches();
            return Ok(());
        }
        self.context.keeper.record(Event::OutOfMemory(event))?;
        if self.prepared.plan.memory.on_oom == OnOom::Stop {
            return Err(self.save_before(error));
        }
        if self.saved.step > 0 {
            self.save_now(Kind::Emergency(EmergencyCause::OutOfMemory))?;
        }
        self.shrink(portion, error)?;
        self.restart_batches();
        self.restore_reserve();
        Ok(())
    }

    fn out_of_memory(&self, cause: &EngineError) -> OutOfMemory {
        OutOfMemory {
            step: self.saved.step,
            epoch: self.saved.epoch,
            batch: self.saved.batch,
            micro_batch: self.prepared.batching.micro_batch as u64,
            requested_bytes: requested_bytes(&cause.message),
            message: format!("{}: {}", cause.work, cause.message),
        }
    }

    /// Compiles everything in the largest smaller portions for which there is memory.
    fn shrink(&mut self, portion: Portion, error: RunError) -> Result<(), RunError> {
        let before = self.prepared.batching;
        let mut smaller = before;
        loop {
            let next = smaller.smaller(portion);
            let Some(next) = next else {
                let source = error.into_engine().expect("only an error of the engine is out of memory");
                return Err(RunError::OutOfMemory { micro_batch: before.micro_batch, source });
            };
            smaller = next;
            match self.prepared.rebuild(smaller) {
                Ok(()) => break,
                Err(again) if again.is_out_of_memory() => {}
                // Of the part sizes that follow, all are at most as large: what the model can not do, it can not do.
                Err(again) if again.is_part_too_small() => {
                    return Err(RunError::PartTooSmall {
                        micro_batch: smaller.micro_batch,
                        source: Box::new(again),
                    });
                }
                Err(again) => return Err(RunError::Rebuild(Box::new(again))),
            }
        }
        record_batching(self.prepared, &self.saved, &mut self.context, RAN_OUT)?;
        let what = match portion {
            Portion::Training => {
                format!("the micro-batch is now {}, was {}", smaller.micro_batch, before.micro_batch)
            }
            Portion::Evaluation => {
                format!("the validation batch is now {}, was {}", smaller.eval_batch, before.eval_batch)
            }
        };
        let line = format!("memory ran out after step {}: {what}; training goes on", self.saved.step);
        self.context.observer.notice(&line);
        warn_of_batch_statistics(self.prepared, &mut self.context);
        Ok(())
    }

    fn restart_batches(&mut self) {
        self.batches = batches_from(self.prepared, &self.saved);
    }

    /// Computes on in the portions that the journal says for this place, where an earlier attempt changed them here.
    pub(super) fn follow_journal(&mut self) -> Result<(), RunError> {
        let place = (self.saved.epoch, self.saved.batch);
        let Some(batching) = self.context.batchings.remove(&place) else { return Ok(()) };
        if batching == self.prepared.batching {
            return Ok(());
        }
        match self.prepared.rebuild(batching) {
            Ok(()) => Ok(()),
            Err(error) if error.is_out_of_memory() && self.prepared.plan.memory.on_oom == OnOom::Shrink => {
                let cause = RunError::Rebuild(Box::new(error));
                self.context.batchings.clear();
                match cause.into_engine() {
                    Some(source) => self.shrink(Portion::Training, RunError::Engine(source)),
                    None => Ok(()),
                }
            }
            Err(error) => Err(RunError::Rebuild(Box::new(error))),
        }
    }
}

/// Records the portions as they are from this place on. Recorded steps beyond it are void with this, and computed anew.
pub(super) fn record_batching(
    prepared: &Prepared,
    saved: &Saved,
    context: &mut Context<'_>,
    reason: &str,
) -> Result<(), RunError> {
    let Batching { micro_batch, eval_batch } = prepared.batching;
    if let Some(last) = context.recorded.keys().next_back() {
        let steps = last - saved.step;
        let line =
            format!("{steps} recorded steps are discarded, because they were computed in other portions");
        context.observer.notice(&line);
    }
    context.recorded.clear();
    context.batchings.clear();
    context.keeper.record(Event::MicroBatchChanged(MicroBatchChanged {
        step: saved.step,
        epoch: saved.epoch,
        batch: saved.batch,
        micro_batch: micro_batch as u64,
        eval_batch: eval_batch as u64,
        reason: reason.to_owned(),
    }))?;
    Ok(())
}

/// Says, once where it begins, that BatchNormalization sees less than the batch.
pub(super) fn warn_of_batch_statistics(prepared: &Prepared, context: &mut Context<'_>) {
    let batch = prepared.plan.train.batch_size;
    let is_normalised = !prepared.engine.layout().states.is_empty();
    if is_normalised && parts(batch, prepared.batching.micro_batch).len() > 1 && !context.warned_of_statistics
    {
        context.warned_of_statistics = true;
        let line = format!(
            "BatchNormalization takes its statistics over micro-batches of {} instead of batches of {batch}: results differ \
             from those of whole batches",
            prepared.batching.micro_batch
        );
        context.observer.notice(&line);
    }
}

/// Records the portions at the start of an attempt, where they are not those that the journal and the settings say.
pub(super) fn begin_batching(
    prepared: &Prepared,
    saved: &Saved,
    context: &mut Context<'_>,
) -> Result<(), RunError> {
    let recorded = context.keeper.history.batching_at((saved.epoch, saved.batch));
    let (micro_batch, eval_batch) = Batching::of_plan(&prepared.plan.train);
    let expected = recorded.or(micro_batch.map(|micro_batch| Batching { micro_batch, eval_batch }));
    if expected != Some(prepared.batching) {
        let reason = context.batching_reason.unwrap_or(RAN_OUT);
        let line = format!("{}, because {reason}", prepared.batching);
        context.observer.notice(&line);
        record_batching(prepared, saved, context, reason)?;
    }
    warn_of_batch_statistics(prepared, context);
    Ok(())
}
