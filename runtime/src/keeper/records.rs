//! The journal of a run as more than one thread appends to it, and the records that wait for room.

use std::collections::VecDeque;

use super::KeepError;
use crate::RunId;
use crate::journal::{AppendError, Failover, Journal, SyncHandle};

/// A journal that keeps what it could not write for want of room. The order of records is that of the calls.
#[derive(Debug)]
pub(super) struct Records {
    journal: Journal,
    /// Kind and payload of records that found the disk full; later ones wait behind them.
    unwritten: VecDeque<(u16, Vec<u8>)>,
}

impl Records {
    pub(super) fn new(journal: Journal) -> Records {
        Records { journal, unwritten: VecDeque::new() }
    }

    pub(super) fn run_id(&self) -> RunId {
        self.journal.run_id()
    }

    pub(super) fn durable_sequence(&self) -> u64 {
        self.journal.durable_sequence()
    }

    /// Appends a record. Where the disk is full it waits here, and the error says so.
    pub(super) fn append(&mut self, kind: u16, payload: &[u8]) -> Result<(), KeepError> {
        if self.unwritten.is_empty() {
            // The usual case copies nothing.
            return match self.journal.append(kind, payload).map(drop).map_err(KeepError::from) {
                Err(error) if error.is_full() => {
                    self.unwritten.push_back((kind, payload.to_vec()));
                    Err(error)
                }
                other => other,
            };
        }
        self.unwritten.push_back((kind, payload.to_vec()));
        self.write_waiting()
    }

    /// Appends what waits for room.
    pub(super) fn write_waiting(&mut self) -> Result<(), KeepError> {
        while let Some((kind, payload)) = self.unwritten.front() {
            match self.journal.append(*kind, payload) {
                // A record that no journal takes must not keep the others from being written.
                Err(error @ (AppendError::KindZero | AppendError::PayloadTooLong { .. })) => {
                    self.unwritten.pop_front();
                    return Err(error.into());
                }
                Err(error) => return Err(error.into()),
                Ok(_) => _ = self.unwritten.pop_front(),
            }
        }
        Ok(())
    }

    /// Takes the journal up again after the disk was full, when there is room.
    pub(super) fn try_again(&mut self) -> Result<(), KeepError> {
        self.journal.try_again()?;
        self.write_waiting()
    }

    /// What makes every record so far durable, on the thread that waits for it.
    pub(super) fn sync_handle(&mut self) -> Result<SyncHandle, KeepError> {
        self.write_waiting()?;
        Ok(self.journal.sync_handle())
    }

    pub(super) fn take_failovers(&mut self) -> Vec<Failover> {
        self.journal.take_failovers()
    }
}
