//! What a process found and what it was promised, written down while it runs.

use trainer_runtime::disk::simulated::SimulatedDisk;
use trainer_runtime::keeper::Keeper;

use crate::program::Model;

/// What a process found and was promised, and after how many operations of its disk.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger {
    /// The records that were found.
    pub(crate) found: Vec<(u16, Vec<u8>)>,
    /// What was loaded, and of which step.
    pub(crate) loaded: Option<(u64, Model)>,
    /// Checkpoints that did not verify.
    pub(crate) rejected: Vec<String>,
    /// Which epoch the small file said that was found; 0 if there was none.
    pub(crate) found_file_epoch: u64,
    /// Which epoch it says.
    pub(crate) file_epoch: u64,
    /// When recovery was over and the first new step began.
    pub(crate) recovered_at: usize,
    promises: Vec<(usize, Promised)>,
}

/// What a process may rely on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct Promised {
    /// So many records are durable.
    pub(crate) records: u64,
    /// A checkpoint of this step is; 0 for none.
    pub(crate) checkpoint_step: u64,
    /// The small file says this epoch, or a later one; 0 if it need not be there.
    pub(crate) file_epoch: u64,
}

impl Promised {
    pub(crate) fn and(self, other: Promised) -> Promised {
        Promised {
            records: self.records.max(other.records),
            checkpoint_step: self.checkpoint_step.max(other.checkpoint_step),
            file_epoch: self.file_epoch.max(other.file_epoch),
        }
    }
}

impl Ledger {
    /// What was promised by the time that so many operations were done.
    pub(crate) fn promised(&self, after_operation: usize) -> Promised {
        let until = self.promises.partition_point(|(at, _)| *at <= after_operation);
        self.promises[..until].last().map(|(_, promised)| *promised).unwrap_or_default()
    }

    pub(crate) fn note(&mut self, disk: &SimulatedDisk, keeper: &Keeper) {
        let promised = Promised {
            records: keeper.durable_sequence(),
            checkpoint_step: keeper.last_durable().map_or(0, |name| name.step),
            file_epoch: self.file_epoch,
        };
        if self.promises.last().is_none_or(|(_, last)| *last != promised) {
            self.promises.push((disk.operations(), promised));
        }
    }
}
