//! Memory that is about to run out: the state is saved while there is room.

use super::control::Control;
use super::event::{Event, MemoryPressure};
use super::outcome::RunError;
use super::run::Loop;
use crate::engine::session::Cancel;
use std::time::Duration;
use trainer_runtime::checkpoint::{EmergencyCause, Kind};
use trainer_runtime::memory::{Pressure, Reserve, Watch, WatchOptions, time_for_save};

/// Set aside for what saving allocates besides the state: the header, the journal's records, the table of epochs.
const RESERVE_BYTES: usize = 8 << 20;

/// Starts the watch over memory. Where the system starts no more threads there is none, which is said.
pub(super) fn watch(control: &Control, cancel: Cancel) -> Option<Watch> {
    let (of_needed, of_alarm) = (control.clone(), control.clone());
    let needed = move || {
        let status = of_needed.status();
        let last_s = status.save_time().map_or(0.0, |time| time.seconds());
        let save = time_for_save(Duration::try_from_secs_f64(last_s).unwrap_or(Duration::MAX));
        // A step that takes longer than a save is cancelled.
        save.saturating_add(status.step_left().unwrap_or(Duration::ZERO).min(save))
    };
    let tell = move |pressure: &Pressure| of_alarm.raise_alarm(pressure, &cancel);
    match Watch::start(&WatchOptions::default(), needed, tell) {
        Ok(watch) => Some(watch),
        Err(error) => {
            log::warn!("memory is not watched: {error}; raise the limit on threads");
            None
        }
    }
}

/// Memory for the moment in which there is no other; none where there is not even this much. A checkpoint is mapped to
/// verify it, for which there is address space.
pub(super) fn reserve(state_bytes: usize) -> Option<Reserve> {
    let reserved = Reserve::new(RESERVE_BYTES, state_bytes.saturating_add(RESERVE_BYTES));
    reserved.inspect_err(|error| log::warn!("no memory could be reserved: {error}")).ok()
}

impl Loop<'_, '_> {
    /// Saves because memory is about to run out, if it is.
    pub(super) fn answer_alarm(&mut self) -> Result<(), RunError> {
        let Some(pressure) = self.context.control.take_alarm(&self.prepared.engine.cancel()) else {
            return Ok(());
        };
        self.release_reserve();
        let step = self.saved.step;
        self.context.keeper.record(Event::MemoryPressure(MemoryPressure {
            step,
            scope: pressure.scope.to_string(),
            used_bytes: pressure.usage.used_bytes,
            limit_bytes: pressure.usage.limit_bytes,
            growth_bytes_per_s: pressure.growth_bytes_per_s,
            reason: pressure.reason.to_string(),
        }))?;
        let saved = if step == 0 {
            "no step is complete".to_owned()
        } else {
            let name = self.save_now(Kind::Emergency(EmergencyCause::OutOfMemory))?;
            format!("saved step {step} as checkpoints/{name}")
        };
        self.context.observer.notice(&format!("memory is running out ({pressure}); {saved}"));
        self.restore_reserve();
        Ok(())
    }

    /// Gives the reserve back to the system, for what follows.
    pub(super) fn release_reserve(&mut self) {
        if let Some(reserve) = &mut self.reserve {
            reserve.release();
        }
    }

    /// Sets memory aside again, if there is any.
    pub(super) fn restore_reserve(&mut self) {
        if let Some(reserve) = &mut self.reserve
            && let Err(error) = reserve.restore()
        {
            log::debug!("no memory could be reserved again: {error}");
        }
    }
}
