//! Saving: when the policy says so, when somebody asks, and before the process ends.

use super::event::{Event, SignalReceived};
use super::keeper::KeepError;
use super::outcome::{Ending, RunError};
use super::run::Loop;
use super::saved::StateSnapshot;
use super::status::Phase;
use crate::engine::error::ErrorClass;
use std::sync::Arc;
use std::time::Instant;
use trainer_runtime::checkpoint::{EmergencyCause, Kind, Name};

impl Loop<'_, '_> {
    /// Takes note of checkpoints that were finished in the background, and tells what else the keeper did.
    pub(super) fn collect(&mut self) -> Result<(), RunError> {
        let collected = self.context.keeper.collect();
        for notice in self.context.keeper.take_notices() {
            self.context.observer.notice(&notice.to_string());
        }
        if !collected.map_err(KeepError::from)?.is_empty() {
            self.restore_reserve();
        }
        Ok(())
    }

    /// Makes the last committed state durable because `error` is about to end the run; the error comes back.
    ///
    /// Not where storage itself failed, nor where the state is in doubt because a step was not reproduced.
    pub(super) fn save_before(&mut self, error: RunError) -> RunError {
        let cause = match (&error, error.engine()) {
            (_, Some(error)) if error.class == ErrorClass::OutOfMemory => EmergencyCause::OutOfMemory,
            (
                RunError::Engine(_) | RunError::Evaluate(_) | RunError::Load(_) | RunError::Panicked { .. },
                _,
            ) => EmergencyCause::Error,
            _ => return error,
        };
        self.prepared.engine.abandon();
        self.release_reserve();
        let line = match self.save_now(Kind::Emergency(cause)) {
            Ok(name) => format!("saved step {} as checkpoints/{name}", self.saved.step),
            Err(second) => format!("the last steps could not be saved: {second}"),
        };
        self.context.observer.notice(&line);
        error
    }

    pub(super) fn snapshot(&self) -> Result<StateSnapshot, RunError> {
        let set = self.prepared.engine.snapshot()?;
        if !self.prepared.engine.is_finite(&set) {
            // What is not finite never becomes finite again: saved, it would be what every later attempt starts from.
            let last_good = self.context.keeper.last_durable().map(|name| name.to_string());
            return Err(RunError::NotFinite {
                step: self.saved.step,
                last_good: last_good.unwrap_or("none".to_owned()),
            });
        }
        Ok(StateSnapshot { set, layout: Arc::clone(&self.layout) })
    }

    /// Hands the state over to be written.
    pub(super) fn save(&mut self, kind: Kind, epoch: u64) -> Result<(), RunError> {
        self.policy.saved(Instant::now());
        self.with_room(|run| {
            let snapshot = run.snapshot()?;
            run.release_reserve();
            Ok(run.context.keeper.save(kind, epoch, &run.saved, snapshot)?)
        })
    }

    /// Makes the state durable, unless a checkpoint of this step already is, and names the checkpoint.
    pub(super) fn save_now(&mut self, kind: Kind) -> Result<Name, RunError> {
        self.with_room(|run| run.save_now_if_there_is_room(kind).map(drop))?;
        Ok(self.context.keeper.last_durable().expect("what was just saved is durable"))
    }

    fn save_now_if_there_is_room(&mut self, kind: Kind) -> Result<Name, RunError> {
        self.context.keeper.flush().map_err(KeepError::from)?;
        if let Some(name) = self.context.keeper.last_durable().filter(|name| name.step == self.saved.step) {
            // It may stand before the end of its epoch where the state stands behind it, which costs nothing but the
            // validation.
            return Ok(name);
        }
        let snapshot = self.snapshot()?;
        self.release_reserve();
        Ok(self.context.keeper.save_now(kind, self.saved.epoch, &self.saved, snapshot)?)
    }

    /// Makes the state durable before the process ends, whatever the reason.
    pub(super) fn close(&mut self, ending: &Ending) -> Result<(), RunError> {
        self.context.control.enter(Phase::Saving);
        if let Ending::Signal(signal) = ending {
            self.release_reserve();
            self.note_signal(signal.name())?;
        }
        let kind = match ending {
            Ending::Signal(signal) => Kind::Emergency(EmergencyCause::Signal(*signal)),
            _ => Kind::Step,
        };
        self.save_now(kind)?;
        self.sample()?;
        self.write_history()
    }

    pub(super) fn note_signal(&mut self, name: &str) -> Result<(), RunError> {
        let received = SignalReceived { signal: name.to_owned(), step: self.saved.step };
        Ok(self.context.keeper.record(Event::SignalReceived(received))?)
    }

    /// Says when what SIGUSR1 asked for is done.
    pub(super) fn tell_of_save(&mut self) {
        if let Some(step) = self.asked_save.filter(|step| self.context.control.saved_step() >= *step) {
            self.asked_save = None;
            self.context.observer.notice(&format!("Saved step {step}; training goes on."));
        }
    }

    /// Writes the tables of the history. They are derived from the journal, so a full disk does not hold up the run for
    /// them: they are written at the end of the next epoch.
    pub(super) fn write_history(&mut self) -> Result<(), RunError> {
        match self.context.keeper.write_history() {
            Err(KeepError::Keep(error)) if error.is_full() => {
                self.context
                    .observer
                    .notice(&format!("the history was not written, it follows later: {error}"));
                Ok(())
            }
            other => Ok(other?),
        }
    }
}
