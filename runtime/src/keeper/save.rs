//! Saving checkpoints, in the background or at once, and what follows a publication.

use std::sync::Arc;

use super::ballast::JOURNAL_ROOM_BYTES;
use super::writer::{Outcome, Submitted};
use super::{KeepError, Keeper};
use crate::checkpoint::{self, Kind, Link, Name, Snapshot};

/// A state to be saved.
#[derive(Clone)]
pub struct Save {
    /// Why.
    pub kind: Kind,
    /// Whether it is the best so far.
    pub rank: Rank,
    /// The epoch, from 1; for [`Kind::Epoch`] the one that ended.
    pub epoch: u64,
    /// How many updates were applied.
    pub step: u64,
    /// What the embedding program needs besides tensors, as it likes.
    pub state: Vec<u8>,
    /// The tensors. Held until their bytes are written, and no longer.
    pub snapshot: Arc<dyn Snapshot>,
}

/// How a checkpoint compares with those before it, by the measure of the embedding program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rank {
    /// Not the best, or not measured.
    Ordinary,
    /// The best so far: it gets the link `best.safetensors`, and is kept until a better one is durable.
    Best,
}

impl Save {
    /// The name that the file will have.
    pub fn name(&self) -> Name {
        Name::new(self.kind, self.epoch, self.step)
    }

    /// The most bytes that the file can have: a little more than it will.
    pub fn most_bytes(&self) -> u64 {
        checkpoint::most_bytes(&*self.snapshot, self.state.len())
    }
}

impl std::fmt::Debug for Save {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Save({}, {:?}, {} bytes of state)", self.name(), self.rank, self.state.len())
    }
}

impl Keeper {
    /// Hands a checkpoint over to be written while the program goes on, and says what became of others. What waits and
    /// is not yet being written gives way to it, unless that is the best so far and this is not.
    ///
    /// # Errors
    /// If there is not enough room for it.
    pub fn save(&mut self, save: Save) -> Result<Submitted, KeepError> {
        self.check_room(&save)?;
        let name = save.name();
        let submitted = self.writer.submit(save);
        match submitted {
            Submitted::Replaced(older) => {
                log::debug!("checkpoint {older} was not written: {name} took its place")
            }
            Submitted::Declined => {
                log::debug!("checkpoint {name} was not written: the best one waits to be")
            }
            Submitted::Accepted => {}
        }
        Ok(submitted)
    }

    /// Writes a checkpoint and waits until it is durable, and all that were handed over before.
    ///
    /// # Errors
    /// If it, or one before it, can not be written; checkpoints that are there stay.
    pub fn save_now(&mut self, save: Save) -> Result<Name, KeepError> {
        self.flush()?;
        if !matches!(save.kind, Kind::Emergency(_)) {
            self.check_room(&save)?;
        }
        let name = save.name();
        self.writer.submit(save);
        self.flush()?;
        Ok(name)
    }

    /// Leaves the journal its room. Found out before a checkpoint is handed over, so that it can be again when there is
    /// room. The best is held until then: whatever is saved meanwhile comes behind it.
    fn check_room(&self, save: &Save) -> Result<(), KeepError> {
        let needed_bytes = save.most_bytes() + JOURNAL_ROOM_BYTES;
        self.store().check_space(save.name(), needed_bytes).map_err(|error| {
            if save.rank == Rank::Best {
                self.protocol.state().unsaved_best = Some(save.clone());
            }
            error.into()
        })
    }

    /// Takes note of checkpoints that were finished in the background, and says which. Does not wait for any.
    ///
    /// # Errors
    /// If one failed, or the disk was found full since the last call.
    pub fn collect(&mut self) -> Result<Vec<Name>, KeepError> {
        let outcomes = self.writer.poll();
        self.take(outcomes)
    }

    /// Waits for the checkpoints that are being written.
    ///
    /// # Errors
    /// As [`collect`](Keeper::collect).
    pub fn flush(&mut self) -> Result<Vec<Name>, KeepError> {
        let outcomes = self.writer.flush();
        self.take(outcomes)
    }

    fn take(&mut self, outcomes: Vec<Outcome>) -> Result<Vec<Name>, KeepError> {
        let names = outcomes.into_iter().map(|outcome| Ok(outcome?.name)).collect::<Result<_, KeepError>>();
        // What is wrong otherwise counts for more than the want of room.
        let full = self.protocol.state().full.take();
        match (names, full) {
            (Ok(_), Some(error)) => Err(error),
            (names, _) => names,
        }
    }

    /// Names the last checkpoint the final one.
    ///
    /// # Errors
    /// If a storage operation fails.
    pub fn link_final(&mut self) -> Result<(), KeepError> {
        match self.last_durable() {
            Some(name) => self.protocol.link(Link::Final, name),
            None => Ok(()),
        }
    }
}
