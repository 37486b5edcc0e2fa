//! A disk in memory that fails, lies and loses its power as a test asks: the instrument with which this crate is
//! tested, and with which a program that embeds it can test itself.
//!
//! Here: what programs see of the files, faults, the record of what was asked, and what a power loss may leave of it.
//! Not here: what a program promises, and whether it keeps it.
//!
//! It records every operation with its data. From the record it makes, for any moment, the disks that a power loss at
//! that moment could leave:
//!
//! * The bytes of a file that were there when its last sync returned are there. Of what was written since, each sector
//!   (of 512 or 4096 bytes) is there, or not, or is from a moment in between, or is zeros, or holds what some file held
//!   before; later writes may be there where earlier ones are not. The size of the file is any that it had since, or
//!   any between, whatever became of the bytes.
//! * A name that was created, renamed, linked or removed before its directory was last synced is as it was left. Any
//!   of the later changes may be there or not, each for itself; a rename is there whole or not at all. The sync of a
//!   file does not make its name durable.
//!
//! That is what POSIX promises, which is less than ext4 and XFS do: a program that keeps its promises here keeps them
//! there.
//!
//! ```
//! use std::path::{Path, PathBuf};
//! use trainer_runtime::disk::Disk;
//! use trainer_runtime::disk::simulated::{Fault, Lasting, SimulatedDisk};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // A program that forgets to sync before it renames.
//! let replace = |disk: &SimulatedDisk, bytes: &[u8]| -> Result<(), trainer_runtime::disk::DiskError> {
//!     disk.create_new(Path::new("state.tmp"))?.write_all(bytes)?;
//!     disk.rename(Path::new("state.tmp"), Path::new("state"))?;
//!     disk.sync_dir(Path::new("."))
//! };
//! let disk = SimulatedDisk::new();
//! disk.put(Path::new("state"), b"old");
//! replace(&disk, b"new")?;
//!
//! let found: Vec<Vec<u8>> = disk
//!     .crash_images(disk.operations(), 64, 1)
//!     .map(|(_, image)| image.read(Path::new("state"), 100))
//!     .collect::<Result<_, _>>()?;
//! assert!(found.iter().any(|bytes| bytes != b"old" && bytes != b"new"));
//!
//! // Its second operation fails.
//! disk.fail_nth(1, Fault::NoSpace, Lasting::Once);
//! assert!(replace(&disk, b"newer").unwrap_err().is_full());
//! # Ok(())
//! # }
//! ```

mod durable;
mod faults;
mod files;
mod history;
mod operations;
mod power_loss;
mod rng;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use faults::{Attempt, Fault, Lasting, SyncMode};
pub use history::{Outcome, Recorded};
pub use power_loss::{CrashPoint, DataLeft, NamesLeft, PowerLoss, SECTOR_BYTES, SizesLeft};

use super::{Bytes, Disk};
use durable::Durable;
use faults::Faults;
use files::Files;

/// A disk in memory. Clones are the same disk.
///
/// Relative paths begin at the root, which is the only directory of a new disk. Its record and every version of every
/// file are kept until [`settle`](SimulatedDisk::settle): it is meant for small runs.
#[derive(Debug, Clone, Default)]
pub struct SimulatedDisk {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    faults: Mutex<Faults>,
}

#[derive(Debug, Default)]
struct State {
    files: Files,
    /// The files as they were, durable, when the record began.
    base: Files,
    history: Vec<Recorded>,
    /// What files held before the record began.
    stale: Vec<Arc<Vec<u8>>>,
}

impl SimulatedDisk {
    /// An empty disk that does what it is asked.
    pub fn new() -> SimulatedDisk {
        SimulatedDisk::default()
    }

    fn with(files: Files, stale: Vec<Arc<Vec<u8>>>) -> SimulatedDisk {
        let state = State { base: files.clone(), files, history: Vec::new(), stale };
        SimulatedDisk { shared: Arc::new(Shared { state: Mutex::new(state), faults: Mutex::default() }) }
    }

    /// The disk behind the pointer that the other modules take.
    pub fn shared(&self) -> Arc<dyn Disk> {
        Arc::new(self.clone())
    }

    /// A disk of its own with the same files, all of them durable, and without faults.
    pub fn fork(&self) -> SimulatedDisk {
        let state = self.state();
        SimulatedDisk::with(state.files.clone(), state.stale.clone())
    }

    /// What was asked of it since the record began, in order.
    pub fn history(&self) -> Vec<Recorded> {
        self.state().history.clone()
    }

    /// How many operations were asked of it since the record began.
    pub fn operations(&self) -> usize {
        self.state().history.len()
    }

    /// Every file and its bytes, by name.
    pub fn files(&self) -> Vec<(PathBuf, Bytes)> {
        self.state().files.named().map(|(path, bytes)| (path.to_path_buf(), Bytes::from(bytes))).collect()
    }

    /// Makes everything durable and begins a new record.
    pub fn settle(&self) {
        let mut state = self.state();
        state.base = state.files.clone();
        state.history.clear();
    }

    /// Gives a file these bytes, whatever it was, with the directories above it, and [settles](Self::settle): for what a
    /// test finds on the disk, and for damage.
    pub fn put(&self, path: &Path, bytes: impl Into<Vec<u8>>) {
        self.state().files.put(path, bytes.into());
        self.settle();
    }

    /// Asks this before every operation what goes wrong with it. It may also wait, to hold an operation up.
    pub fn fail_when(&self, plan: impl Fn(&Attempt<'_>) -> Option<Fault> + Send + Sync + 'static) {
        self.faults().plan = Some(Arc::new(plan));
    }

    /// Lets the operation with this number fail, counted from 0 from now on, or it and all later ones.
    pub fn fail_nth(&self, number: usize, fault: Fault, lasting: Lasting) {
        self.faults().plan = Some(faults::nth(number, fault, lasting));
    }

    /// Lets no more operations fail. What failed syncs dropped stays lost.
    pub fn heal(&self) {
        *self.faults() = Faults::default();
    }

    /// The most bytes that one write takes from now on.
    pub fn limit_writes(&self, limit_bytes: usize) {
        self.faults().write_limit_bytes = Some(limit_bytes);
    }

    /// What syncs do from now on.
    pub fn set_sync_mode(&self, mode: SyncMode) {
        self.faults().sync_mode = mode;
    }

    /// How much can be stored from now on. A write takes what there is room for, and fails when there is none; removing
    /// the last name of a file makes room, even if a handle is open.
    pub fn set_free_bytes(&self, free_bytes: u64) {
        self.state().files.set_free_bytes(free_bytes);
    }

    /// The first `count` disks of [`PowerLoss::nth`] that a power loss behind the first `after_operation` operations
    /// leaves, with what it took.
    pub fn crash_images(
        &self,
        after_operation: usize,
        count: u64,
        seed: u64,
    ) -> impl Iterator<Item = (PowerLoss, SimulatedDisk)> {
        self.crash_point(after_operation).images(count, seed)
    }

    /// The moment behind the first `after_operation` operations of the record.
    pub fn crash_point(&self, after_operation: usize) -> CrashPoint {
        let state = self.state();
        let mut durable = Durable::new(&state.base);
        for recorded in state.history.iter().take(after_operation) {
            durable.apply(&recorded.effect);
        }
        CrashPoint::new(after_operation, durable, &state.older())
    }

    /// The moment before the first operation of the record, and those behind each operation that changes what a power
    /// loss leaves.
    pub fn crash_points(&self) -> impl Iterator<Item = CrashPoint> {
        let state = self.state();
        let (history, older) = (state.history.clone(), state.older());
        let mut durable = Durable::new(&state.base);
        drop(state);
        let first = CrashPoint::new(0, durable.clone(), &older);
        let later = history.into_iter().zip(1..).filter_map(move |(recorded, done)| {
            durable.apply(&recorded.effect);
            recorded.changes_disk().then(|| CrashPoint::new(done, durable.clone(), &older))
        });
        std::iter::once(first).chain(later)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A change is made and recorded without anything that can panic in between.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.shared.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What files held when the record began, and before: bytes that were cut or removed since may come to light again.
    fn older(&self) -> Vec<Arc<Vec<u8>>> {
        self.base.contents.values().chain(&self.stale).filter(|bytes| !bytes.is_empty()).cloned().collect()
    }
}

#[cfg(test)]
mod tests;
