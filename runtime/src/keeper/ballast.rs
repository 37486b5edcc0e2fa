//! A file that only takes room, so that there is some when the disk is full: for one checkpoint and the journal.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Disk, DiskError, remove_if_present};
use crate::mutant;

/// The name of the file in a work directory.
pub const BALLAST_FILE: &str = "ballast";

/// Room for the journal besides that for a checkpoint: some ten thousand records.
pub(super) const JOURNAL_ROOM_BYTES: u64 = 1 << 20;

/// The room that is set aside.
#[derive(Debug)]
pub(super) struct Ballast {
    disk: Arc<dyn Disk>,
    work_dir: PathBuf,
    /// 0 if none is wanted.
    len_bytes: u64,
}

impl Ballast {
    /// None yet.
    pub(super) fn new(disk: Arc<dyn Disk>, work_dir: &Path) -> Ballast {
        Ballast { disk, work_dir: work_dir.to_owned(), len_bytes: 0 }
    }

    pub(super) fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    fn path(&self) -> PathBuf {
        self.work_dir.join(BALLAST_FILE)
    }

    /// Wants room for a checkpoint of this size from now on.
    pub(super) fn resize(&mut self, checkpoint_bytes: u64) {
        self.len_bytes = checkpoint_bytes.saturating_add(JOURNAL_ROOM_BYTES);
    }

    /// Makes the file, unless it is there. It gets its name only when all of its room is set aside.
    pub(super) fn create(&self) -> Result<(), DiskError> {
        if self.len_bytes == 0 || self.is_there()? {
            return Ok(());
        }
        let (path, temporary) = (self.path(), self.work_dir.join(format!("{BALLAST_FILE}.tmp")));
        remove_if_present(&*self.disk, &path)?;
        remove_if_present(&*self.disk, &temporary)?;
        let made = self.disk.create_new(&temporary).and_then(|file| {
            file.allocate(self.len_bytes)?;
            mutant::unless("ballast-sync", || file.sync_data())
        });
        let made = made.and_then(|()| self.disk.rename(&temporary, &path));
        if let Err(error) = made {
            // The first error is the one to report; a leftover is removed by the next attempt.
            let _ = self.disk.remove(&temporary);
            return Err(error);
        }
        mutant::unless("ballast-sync-dir", || self.disk.sync_dir(&self.work_dir))
    }

    /// Whether it is there in the size that is wanted.
    pub(super) fn is_there(&self) -> Result<bool, DiskError> {
        match self.disk.len_bytes(&self.path()) {
            Ok(len_bytes) => Ok(len_bytes == self.len_bytes),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Gives the room back.
    pub(super) fn release(&self) -> Result<(), DiskError> {
        remove_if_present(&*self.disk, &self.work_dir.join(format!("{BALLAST_FILE}.tmp")))?;
        remove_if_present(&*self.disk, &self.path())
    }
}
