//! Waiting for room on a full disk: what is said, for how long, and what ends it.

use super::keeper::{KeepError, to_save};
use super::observe::Observer;
use super::outcome::RunError;
use super::run::Loop;
use std::time::{Duration, Instant};
use trainer_runtime::checkpoint::{EmergencyCause, Kind};
use trainer_runtime::keeper::{self, Patience, Room, Shortage, Waiting};

/// How long a wait may go on before it is looked whether somebody asks the run to stop.
const GLANCE: Duration = Duration::from_millis(50);

/// What follows a pause that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Paused {
    /// There is room.
    ToGoOn,
    /// A signal came, and the state is saved.
    ToStop,
}

impl Loop<'_, '_> {
    /// Reserves room on the disk for one checkpoint, as the settings say.
    pub(super) fn reserve_on_disk(&mut self) -> Result<(), RunError> {
        let keeper = &mut *self.context.keeper;
        if !self.prepared.plan.checkpoint.reserve {
            return Ok(keeper.release_reserve().map_err(KeepError::from)?);
        }
        let save = to_save(Kind::Step, self.saved.epoch, &self.saved, self.snapshot()?)?;
        Ok(self.context.keeper.reserve(save.most_bytes()).map_err(KeepError::from)?)
    }

    /// Does something that takes room on the disk; where there is none, training pauses, and it is done again when there
    /// is room. Not done where a signal asks the run to stop meanwhile: the state is saved then.
    pub(super) fn with_room(
        &mut self,
        mut action: impl FnMut(&mut Self) -> Result<(), RunError>,
    ) -> Result<(), RunError> {
        loop {
            match action(self) {
                Err(RunError::Keep(KeepError::Keep(error))) if error.is_full() => {
                    if self.wait_for_room(error)? == Paused::ToStop {
                        return Ok(());
                    }
                }
                other => return other,
            }
        }
    }

    fn wait_for_room(&mut self, cause: keeper::KeepError) -> Result<Paused, RunError> {
        let kind = Kind::Emergency(EmergencyCause::DiskFull);
        let save = to_save(kind, self.saved.epoch, &self.saved, self.snapshot()?)?;
        let control = self.context.control;
        let is_stop_requested = || control.stop_requested().is_some();
        let timeout_s = self.prepared.plan.checkpoint.disk_full_timeout_s;
        let mut pause =
            Pause::new(&mut *self.context.observer, &is_stop_requested, self.saved.step, timeout_s);
        let room = self.context.keeper.wait_for_room(cause, save, &mut pause).map_err(KeepError::from)?;
        match room {
            Room::Returned => Ok(Paused::ToGoOn),
            Room::GivenUp { is_saved: true, .. } if is_stop_requested() => Ok(Paused::ToStop),
            Room::GivenUp { is_saved, cause } => {
                let step = self.context.keeper.last_durable().map_or(0, |name| name.step);
                Err(RunError::DiskFull { step, is_saved, source: cause })
            }
        }
    }
}

/// A run's patience with a full disk.
pub(super) struct Pause<'a> {
    observer: &'a mut dyn Observer,
    is_stop_requested: &'a dyn Fn() -> bool,
    /// The step that the state is of.
    step: u64,
    since: Instant,
    timeout: Duration,
}

impl<'a> Pause<'a> {
    pub(super) fn new(
        observer: &'a mut dyn Observer,
        is_stop_requested: &'a dyn Fn() -> bool,
        step: u64,
        timeout_s: f64,
    ) -> Self {
        let timeout = Duration::try_from_secs_f64(timeout_s).unwrap_or(Duration::MAX);
        Self { observer, is_stop_requested, step, since: Instant::now(), timeout }
    }
}

impl Patience for Pause<'_> {
    fn paused(&mut self, shortage: &Shortage) {
        let step = self.step;
        let saved = if shortage.is_saved {
            format!("step {step} is saved")
        } else {
            format!("step {step} is kept in memory and saved as soon as there is room")
        };
        let wait = if self.timeout.is_zero() {
            "The run ends, because `checkpoint.disk_full_timeout_s` is 0".to_owned()
        } else {
            let seconds = self.timeout.as_secs_f64();
            format!(
                "Free some space, and training goes on by itself; it waits for {seconds:.0} s \
                 (`checkpoint.disk_full_timeout_s`)"
            )
        };
        let because = &shortage.because;
        self.observer
            .notice(&format!("the disk is full, training pauses: {shortage} ({because}); {saved}. {wait}"));
    }

    fn wait(&mut self, _: &Shortage, pause: Duration) -> Waiting {
        let until = Instant::now() + pause;
        loop {
            let waited = self.since.elapsed();
            if waited >= self.timeout || (self.is_stop_requested)() {
                return Waiting::GiveUp;
            }
            let left = until.saturating_duration_since(Instant::now()).min(self.timeout - waited);
            if left.is_zero() {
                return Waiting::GoOn;
            }
            std::thread::sleep(left.min(GLANCE));
        }
    }

    fn resumed(&mut self) {
        let seconds = self.since.elapsed().as_secs_f64();
        self.observer.notice(&format!(
            "there is room again after {seconds:.0} s: the state is saved, training goes on"
        ));
    }
}
