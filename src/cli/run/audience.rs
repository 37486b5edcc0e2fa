//! Who is told how a run goes on: the screen, and the file that TensorBoard reads.

use crate::report::progress::Progress;
use crate::report::tensorboard::EventFile;
use crate::train::event::EpochDone;
use crate::train::history::History;
use crate::train::keeper::Keeper;
use crate::train::observe::{Observer, StepProgress};

/// The screen and the file. That the file can not be written is said once and stops nothing.
pub(super) struct Audience<'a> {
    progress: &'a mut Progress,
    events: Option<EventFile>,
}

impl<'a> Audience<'a> {
    /// The screen, and the event file of the run if it is wanted, with all that the journal holds.
    pub(super) fn new(progress: &'a mut Progress, keeper: &Keeper, is_tensorboard_wanted: bool) -> Self {
        let mut audience = Self { progress, events: None };
        if is_tensorboard_wanted {
            match EventFile::open(&**keeper.disk(), keeper.work_dir(), &keeper.history) {
                Ok(events) => audience.events = Some(events),
                Err(error) => audience.give_up(&error),
            }
        }
        audience
    }

    fn give_up(&mut self, error: &dyn std::error::Error) {
        self.events = None;
        self.progress.line(&format!(
            "the event file for TensorBoard is not written any more: {error}; training goes on, and the next start, or `trainer \
             report --tensorboard`, completes it"
        ));
    }
}

impl Observer for Audience<'_> {
    fn step(&mut self, progress: &StepProgress) {
        self.progress.step(progress);
    }

    fn epoch(&mut self, epoch: &EpochDone, epochs: u64) {
        self.progress.epoch(epoch, epochs);
    }

    fn notice(&mut self, line: &str) {
        self.progress.notice(line);
    }

    fn sampled(&mut self, history: &History) {
        if let Some(Err(error)) = self.events.as_mut().map(|events| events.update(history)) {
            self.give_up(&error);
        }
    }
}
