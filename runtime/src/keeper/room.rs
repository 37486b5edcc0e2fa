//! Waiting for room on a full disk, with nothing lost meanwhile.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::ballast::JOURNAL_ROOM_BYTES;
use super::notice::Notice;
use super::{KeepError, Keeper, Save};

/// The first pause between two looks at a full disk; each is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How much room is missing, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortage {
    /// The work directory.
    pub work_dir: PathBuf,
    /// The room with which the run goes on: for the next checkpoint, for the reserve, and for the journal.
    pub needed_bytes: u64,
    /// The room there is; a quota may allow less.
    pub free_bytes: u64,
    /// What found the disk full.
    pub because: String,
    /// Whether the state is saved all the same, in the room that was reserved for this.
    pub is_saved: bool,
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shortage { work_dir, needed_bytes, free_bytes, .. } = self;
        write!(f, "{} has {free_bytes} bytes free and {needed_bytes} are needed to go on", work_dir.display())
    }
}

/// Who waits while the disk is full. All of it is called on the thread that called [`Keeper::wait_for_room`].
pub trait Patience {
    /// The disk is full: called once, when it is known whether the state could be saved.
    fn paused(&mut self, shortage: &Shortage);

    /// Waits for about this long, and says whether to go on waiting then.
    fn wait(&mut self, shortage: &Shortage, pause: Duration) -> Waiting;

    /// There is room again.
    fn resumed(&mut self);
}

/// Whether to go on waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// Look again.
    GoOn,
    /// Enough.
    GiveUp,
}

/// How waiting for room ended.
#[derive(Debug)]
pub enum Room {
    /// There is room, the state is saved, and the reserve is there again.
    Returned,
    /// [`Patience`] ended first.
    GivenUp {
        /// Whether the state is saved.
        is_saved: bool,
        /// What found the disk full.
        cause: KeepError,
    },
}

impl Keeper {
    /// Reserves room for one checkpoint of this size and for the journal, in a file `ballast` of the work directory
    /// that really takes it. Where there is none, [a notice](Keeper::take_notices) says so.
    ///
    /// # Errors
    /// If a storage operation fails for another reason than want of room.
    pub fn reserve(&mut self, checkpoint_bytes: u64) -> Result<(), KeepError> {
        let free_bytes = self.protocol.disk.free_bytes(&self.protocol.work_dir)?;
        let mut state = self.protocol.state();
        state.ballast.resize(checkpoint_bytes);
        if state.ballast.is_there()? {
            return Ok(());
        }
        let reserve_bytes = state.ballast.len_bytes();
        let needed_bytes = reserve_bytes.saturating_mul(2);
        let made = if free_bytes < needed_bytes { None } else { Some(state.ballast.create()) };
        match made {
            Some(Ok(())) => return Ok(()),
            Some(Err(error)) if !error.is_full() => return Err(error.into()),
            _ => {}
        }
        let work_dir = self.protocol.work_dir.clone();
        state.notices.push(Notice::NoReserve { work_dir, reserve_bytes, needed_bytes, free_bytes });
        Ok(())
    }

    /// Gives the reserved room back, because the run needs it no longer.
    ///
    /// # Errors
    /// If a storage operation fails.
    pub fn release_reserve(&mut self) -> Result<(), KeepError> {
        Ok(self.protocol.state().ballast.release()?)
    }

    /// After an error that [is for want of room](KeepError::is_full): saves the state in the room that was reserved,
    /// then waits until there is room for the next checkpoint and the reserve, or until `patience` ends.
    ///
    /// Nothing that is durable is removed to make room. `save` is the state now; it is written at once if the reserve
    /// suffices, else as soon as there is room for it. A best checkpoint that found the disk full is written before it: the
    /// state can be computed again from that, and that not from the state.
    ///
    /// # Errors
    /// If storing fails for another reason.
    pub fn wait_for_room(
        &mut self,
        cause: KeepError,
        save: Save,
        patience: &mut dyn Patience,
    ) -> Result<Room, KeepError> {
        // What was on its way found the disk full as well, or is durable now.
        ignoring_full(self.flush().map(drop))?;
        self.protocol.state().ballast.release()?;
        let mut is_saved = self.saves_in_reserve(&save)?;
        let mut shortage = self.shortage(&save, is_saved, &cause)?;
        patience.paused(&shortage);
        let mut pause = FIRST_PAUSE;
        loop {
            is_saved = is_saved || self.saves_in_reserve(&save)?;
            shortage = self.shortage(&save, is_saved, &cause)?;
            let has_room = is_saved && shortage.free_bytes >= shortage.needed_bytes;
            if has_room && self.reserves_again()? {
                self.protocol.state().full = None;
                patience.resumed();
                return Ok(Room::Returned);
            }
            if patience.wait(&shortage, pause) == Waiting::GiveUp {
                return Ok(Room::GivenUp { is_saved, cause });
            }
            pause = LONGEST_PAUSE.min(pause * 2);
        }
    }

    fn shortage(&self, save: &Save, is_saved: bool, cause: &KeepError) -> Result<Shortage, KeepError> {
        let work_dir = self.protocol.work_dir.clone();
        let free_bytes = self.protocol.disk.free_bytes(&work_dir)?;
        let needed_bytes = save.most_bytes() + JOURNAL_ROOM_BYTES + self.protocol.state().ballast.len_bytes();
        Ok(Shortage { work_dir, needed_bytes, free_bytes, because: cause.to_string(), is_saved })
    }

    /// Whether the journal could be taken up again and the state be saved, or is already.
    fn saves_in_reserve(&mut self, save: &Save) -> Result<bool, KeepError> {
        if !ignoring_full(self.protocol.try_again())? {
            return Ok(false);
        }
        if !self.saves_waiting_best()? {
            return Ok(false);
        }
        if self.last_durable().is_some_and(|name| name.step == save.step) {
            return Ok(true);
        }
        ignoring_full(self.protocol.keep(save.clone()).map(drop))
    }

    /// Whether the best that found the disk full is saved now, if there is one.
    fn saves_waiting_best(&mut self) -> Result<bool, KeepError> {
        ignoring_full(self.protocol.keep_unsaved_best())
    }

    fn reserves_again(&mut self) -> Result<bool, KeepError> {
        ignoring_full(self.protocol.state().ballast.create().map_err(KeepError::from))
    }
}

/// Whether it was done; not where the disk is full.
fn ignoring_full(outcome: Result<(), KeepError>) -> Result<bool, KeepError> {
    match outcome {
        Ok(()) => Ok(true),
        Err(error) if error.is_full() => Ok(false),
        Err(error) => Err(error),
    }
}
