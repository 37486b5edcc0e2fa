//! Saving checkpoints, in the background or at once, and what follows a publication.

use std::sync::Arc;

use super::{KeepError, Keeper};
use crate::checkpoint::{Kind, Link, Name, Receipt, Request, Snapshot};
use crate::writer::{Outcome, Submitted};

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
}

impl std::fmt::Debug for Save {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Save({}, {:?}, {} bytes of state)", self.name(), self.rank, self.state.len())
    }
}

impl Keeper {
    fn request(&self, save: Save) -> (Request, Rank) {
        let Save { kind, rank, epoch, step, state, snapshot } = save;
        (Request { kind, run_id: self.journal.run_id(), epoch, step, state, snapshot }, rank)
    }

    /// Hands a checkpoint over to be written while the program goes on. What waits and is not yet being written gives
    /// way to it.
    ///
    /// # Errors
    /// If the journal can not be made durable first, or an earlier checkpoint failed.
    pub fn save(&mut self, save: Save) -> Result<Submitted, KeepError> {
        let (request, rank) = self.request(save);
        let name = request.name();
        self.sync()?;
        if self.waiting_best.is_some() && !self.writer.is_idle() {
            self.flush()?;
        }
        self.waiting_best = (rank == Rank::Best).then_some(name);
        let submitted = self.writer.submit(request);
        if let Submitted::Replaced(older) = submitted {
            log::debug!("checkpoint {older} was not written: {name} took its place");
        }
        Ok(submitted)
    }

    /// Writes a checkpoint and waits until it is durable. Those written in the background were waited for with
    /// [`flush`](Keeper::flush).
    ///
    /// # Errors
    /// If it can not be written; checkpoints that are there stay.
    pub fn save_now(&mut self, save: Save) -> Result<Name, KeepError> {
        let (request, rank) = self.request(save);
        self.sync()?;
        let receipt = self.store.publish(request)?;
        self.published(&receipt, rank)?;
        Ok(receipt.name)
    }

    /// Takes note of checkpoints that were finished in the background, and says which. Does not wait for any.
    ///
    /// # Errors
    /// If one failed, or the journal does.
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
        let published = self.take(outcomes);
        self.waiting_best = None;
        published
    }

    fn take(&mut self, outcomes: Vec<Outcome>) -> Result<Vec<Name>, KeepError> {
        let mut names = Vec::new();
        for outcome in outcomes {
            let receipt = outcome?;
            let rank = if self.waiting_best == Some(receipt.name) { Rank::Best } else { Rank::Ordinary };
            self.published(&receipt, rank)?;
            names.push(receipt.name);
        }
        Ok(names)
    }

    fn published(&mut self, receipt: &Receipt, rank: Rank) -> Result<(), KeepError> {
        let name = receipt.name;
        log::debug!("checkpoint {name}: {} bytes in {:.3} s", receipt.len_bytes, receipt.seconds);
        let (kind, payload) = self.announce.durable(receipt)?;
        self.append(kind, &payload)?;
        self.sync()?;
        self.set_durable(name);
        self.store.link(Link::Last, name)?;
        if rank == Rank::Best {
            self.store.link(Link::Best, name)?;
            self.waiting_best = None;
            self.durable_best = Some(name);
        }
        let never: Vec<Name> = self.durable_best.into_iter().chain([name]).collect();
        for dropped in self.store.retire(&self.retention, &never)? {
            let (kind, payload) = self.announce.dropped(dropped)?;
            self.append(kind, &payload)?;
        }
        Ok(())
    }

    /// Names the last checkpoint the final one.
    ///
    /// # Errors
    /// If a storage operation fails.
    pub fn link_final(&mut self) -> Result<(), KeepError> {
        match self.last_durable {
            Some(name) => Ok(self.store.link(Link::Final, name)?),
            None => Ok(()),
        }
    }
}
