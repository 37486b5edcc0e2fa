//! Which checkpoint a run is taken up from, and what is done about those that do not verify.

use std::fmt;
use std::path::PathBuf;

use super::{KeepError, Keeper, Notice, RecoverError};
use crate::checkpoint::{Checkpoint, Link, LoadError, Name, Rejected, Search};

/// What the checkpoints of a run gave.
#[derive(Debug)]
pub struct Recovery {
    /// The newest that verifies; `None` where there is no checkpoint at all.
    pub newest: Option<(Name, Checkpoint)>,
    /// Newer ones that do not, the newest first.
    pub rejected: Vec<Rejected>,
}

/// A checkpoint that was passed over, in a line for people.
#[derive(Debug)]
pub struct PassedOver {
    /// The checkpoint and its fault.
    pub rejected: Rejected,
    /// Where it is now; `None` where it could not be read, since it may be good: the next attempt may read it.
    pub set_aside: Option<PathBuf>,
    /// The one that is taken instead.
    pub instead: Name,
}

impl fmt::Display for PassedOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; ", self.rejected.error)?;
        if let Some(aside) = &self.set_aside {
            write!(f, "set aside as {}, ", aside.display())?;
        }
        write!(f, "falling back to {}", self.instead)
    }
}

impl Keeper {
    /// Finds the newest checkpoint that verifies. Where none does, `last`, `final` and `best` may: they are copies where
    /// there are no hard links, and may be all that somebody kept. Nothing is changed.
    ///
    /// # Errors
    /// If there are checkpoints and none verifies: to begin afresh is for a person to decide.
    pub fn recover(&self) -> Result<Recovery, RecoverError> {
        let Search { newest, rejected } = self.store().newest_valid()?;
        let ended_by_version =
            matches!(rejected.last(), Some(Rejected { error: LoadError::Version { .. }, .. }));
        let newest = newest.or_else(|| if ended_by_version { None } else { self.newest_link() });
        if newest.is_none() && !rejected.is_empty() {
            return Err(RecoverError::NoneVerifies { rejected });
        }
        let named = newest.map(|checkpoint| (checkpoint.meta().name(), checkpoint));
        Ok(Recovery { newest: named, rejected })
    }

    /// The newest of those that the links name and that verify.
    fn newest_link(&self) -> Option<Checkpoint> {
        let named = Link::ALL.map(|link| self.store().load_link(link));
        named.into_iter().filter_map(Result::ok).max_by_key(|checkpoint| checkpoint.meta().step)
    }

    /// Goes on from a recovered checkpoint: sets the damaged ones aside, and makes the links that a process which died
    /// behind a publication could not make. `best` is the best checkpoint known to the recovered state, if it is
    /// another one. Says what was passed over.
    ///
    /// # Errors
    /// If a storage operation fails.
    pub fn take_up(
        &mut self,
        name: Name,
        rejected: Vec<Rejected>,
        best: Option<Name>,
    ) -> Result<Vec<PassedOver>, KeepError> {
        let mut passed_over = Vec::new();
        for rejected in rejected {
            let is_damaged = matches!(rejected.error, LoadError::Fault { .. });
            let set_aside = if is_damaged { Some(self.store().set_aside(rejected.name)?) } else { None };
            passed_over.push(PassedOver { rejected, set_aside, instead: name });
        }
        let mut there = self.store().list()?;
        if there.iter().all(|entry| entry.name != name) {
            self.store().name_again(name)?;
            there = self.store().list()?;
        }
        self.protocol.set_durable(name);
        self.protocol.link(Link::Last, name)?;
        let best = best.filter(|best| there.iter().any(|entry| entry.name == *best));
        match best {
            Some(best) if best == name || self.is_good_best(best)? => {
                self.protocol.link(Link::Best, best)?;
                self.protocol.state().durable_best = Some(best);
            }
            _ => self.set_aside_damaged_best_link()?,
        }
        Ok(passed_over)
    }

    /// Whether the best checkpoint verifies. One that is damaged is set aside and noted.
    fn is_good_best(&self, best: Name) -> Result<bool, KeepError> {
        let Err(error) = self.store().load(best) else { return Ok(true) };
        let set_aside = match &error {
            LoadError::Fault { .. } => Some(self.store().set_aside(best)?),
            _ => None,
        };
        self.protocol.state().notices.push(Notice::BestDamaged { error, set_aside });
        Ok(false)
    }

    /// The link is another name of the bytes of a damaged checkpoint, or a copy that may be good.
    fn set_aside_damaged_best_link(&self) -> Result<(), KeepError> {
        if let Err(error @ LoadError::Fault { .. }) = self.store().load_link(Link::Best) {
            let set_aside = Some(self.store().set_aside_link(Link::Best)?);
            self.protocol.state().notices.push(Notice::BestDamaged { error, set_aside });
        }
        Ok(())
    }
}
