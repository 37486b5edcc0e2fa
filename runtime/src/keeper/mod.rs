//! A run's journal and checkpoints together, in the order that makes both trustworthy.
//!
//! Here: the order of what is stored, when several checkpoints compete, and which one a run is taken up from. Not here:
//! what a record or a tensor means, and when to save; the embedding program decides both, and says with [`Announce`]
//! how its journal tells of checkpoints.
//!
//! The order, for each checkpoint:
//!
//! 1. every record appended so far is durable: a checkpoint never knows of a step that the journal does not;
//! 2. the checkpoint is published: written, synced, read back, renamed, its directory synced;
//! 3. the record that announces it is appended and durable;
//! 4. `last.safetensors`, and `best.safetensors` if it is the best, name it;
//! 5. checkpoints that are no longer needed are dropped, and a record tells of each.
//!
//! A process that dies between two of these leaves nothing that the next has to guess: a checkpoint that is there and
//! verifies counts, announced or not; links that were not moved are moved by [`Keeper::take_up`]; what was not dropped
//! is dropped after the next checkpoint.
//!
//! In the background all of it happens on a thread of its own; the computation never waits for the disk. When the disk is
//! full, errors [say so](KeepError::is_full), and [`Keeper::wait_for_room`] keeps the state and waits.
//!
//! # Example
//!
//! ```
//! use std::sync::Arc;
//! use trainer_runtime::checkpoint::{Kind, Name, Receipt, Snapshot, TensorView};
//! use trainer_runtime::codec::EncodeError;
//! use trainer_runtime::disk::RealDisk;
//! use trainer_runtime::keeper::{Announce, Keeper, Options, Rank, Save};
//!
//! /// Record kinds of this program; 1 is a step.
//! struct Records;
//!
//! impl Announce for Records {
//!     fn durable(&self, receipt: &Receipt) -> Result<(u16, Vec<u8>), EncodeError> {
//!         Ok((2, receipt.name.to_string().into_bytes()))
//!     }
//!
//!     fn dropped(&self, name: Name) -> Result<(u16, Vec<u8>), EncodeError> {
//!         Ok((3, name.to_string().into_bytes()))
//!     }
//! }
//!
//! struct Weights(Vec<f32>);
//!
//! impl Snapshot for Weights {
//!     fn tensors(&self) -> Vec<TensorView<'_>> {
//!         vec![TensorView::new("weight", vec![self.0.len()], &self.0)]
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let temporary = tempfile::tempdir()?;
//! # let work_dir = temporary.path();
//! let opened = Keeper::open(RealDisk::shared(), work_dir, Options::default(), Box::new(Records))?;
//! let mut keeper = opened.keeper;
//! assert!(keeper.recover()?.newest.is_none());
//!
//! keeper.append(1, b"step 1")?;
//! let snapshot = Arc::new(Weights(vec![1.0, 2.0]));
//! let (kind, rank) = (Kind::Epoch, Rank::Best);
//! keeper.save(Save { kind, rank, epoch: 1, step: 1, state: Vec::new(), snapshot })?;
//! // ... the next steps, while the checkpoint is written ...
//! keeper.flush()?;
//! assert!(work_dir.join("checkpoints/best.safetensors").exists());
//! # Ok(())
//! # }
//! ```

mod ballast;
mod cut;
mod error;
mod keep_only;
mod notice;
mod protocol;
mod records;
mod recover;
mod room;
mod save;
mod writer;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

pub use ballast::BALLAST_FILE;
pub use cut::Cut;
pub use error::{KeepError, OpenError, RecoverError};
pub use keep_only::{Cleaned, KeepOnlyError};
pub use notice::Notice;
pub use recover::{PassedOver, Recovery};
pub use room::{Patience, Room, Shortage, Waiting};
pub use save::{Rank, Save};
pub use writer::Submitted;

use protocol::Protocol;
use records::Records;
use writer::AsyncWriter;

use crate::checkpoint::{Name, Receipt, Retention, Store};
use crate::codec::EncodeError;
use crate::disk::Disk;
use crate::journal::{self, Journal, Record, SetAside};
use crate::{RunId, atomic_file};

/// The folder of the journal in a work directory.
pub const JOURNAL_DIR: &str = "journal";
/// The folder of the checkpoints in a work directory.
pub const CHECKPOINTS_DIR: &str = "checkpoints";

/// The records with which a program's journal tells of checkpoints: each a kind, never 0, and a payload.
///
/// Called on the thread that writes checkpoints.
pub trait Announce: Send + Sync {
    /// The record which says that a checkpoint is durable and verified.
    ///
    /// # Errors
    /// If the record is larger than one may be.
    fn durable(&self, receipt: &Receipt) -> Result<(u16, Vec<u8>), EncodeError>;

    /// The record which says that a checkpoint was dropped because newer ones are there.
    ///
    /// # Errors
    /// As [`durable`](Announce::durable).
    fn dropped(&self, name: Name) -> Result<(u16, Vec<u8>), EncodeError>;
}

/// How to keep a run.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// How to open the journal.
    pub journal: journal::OpenOptions,
    /// Which checkpoints are kept when newer ones are there.
    pub retention: Retention,
}

/// A run's storage as it was found.
#[derive(Debug)]
pub struct Opened {
    /// The storage, ready to be written.
    pub keeper: Keeper,
    /// Every record of the journal, in order; all of them are durable.
    pub records: Vec<Record>,
    /// What was torn from the end of the journal.
    pub set_aside: Option<SetAside>,
}

/// The journal and the checkpoints of a run. One per work directory at a time: the caller holds its
/// [lock](crate::lock).
///
/// Dropping it waits for the checkpoint that is being written and syncs the journal; call
/// [`close`](Keeper::close) to learn whether that succeeded.
pub struct Keeper {
    // Dropped before the rest: what is being written is then whole.
    writer: AsyncWriter,
    protocol: Arc<Protocol>,
}

impl Keeper {
    /// Opens journal and checkpoints of the run in `work_dir`, or makes room for a new one.
    ///
    /// # Errors
    /// If the journal is damaged, which changes nothing, or a storage operation fails.
    pub fn open(
        disk: Arc<dyn Disk>,
        work_dir: &Path,
        options: Options,
        announce: Box<dyn Announce>,
    ) -> Result<Opened, OpenError> {
        let Options { journal, retention } = options;
        let opened = Journal::open(Arc::clone(&disk), &work_dir.join(JOURNAL_DIR), journal)?;
        let store = Store::open(Arc::clone(&disk), &work_dir.join(CHECKPOINTS_DIR))?;
        let records = Records::new(opened.journal);
        let protocol = Protocol::new(disk, work_dir.to_owned(), store, records, announce, retention);
        let protocol = Arc::new(protocol);
        let for_thread = Arc::clone(&protocol);
        let writer = AsyncWriter::new(move |save| for_thread.keep(save)).map_err(OpenError::Thread)?;
        let keeper = Keeper { writer, protocol };
        Ok(Opened { keeper, records: opened.records, set_aside: opened.set_aside })
    }

    /// The run's identity.
    pub fn run_id(&self) -> RunId {
        self.protocol.records().run_id()
    }

    /// The checkpoints.
    pub fn store(&self) -> &Store {
        &self.protocol.store
    }

    /// The disk everything is stored on.
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.protocol.disk
    }

    /// The folder of the run.
    pub fn work_dir(&self) -> &Path {
        &self.protocol.work_dir
    }

    /// The newest checkpoint known to be durable.
    pub fn last_durable(&self) -> Option<Name> {
        self.protocol.state().last_durable
    }

    /// The step of the newest durable checkpoint, kept up to date; 0 if there is none.
    pub fn durable_step(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.protocol.durable_step)
    }

    /// Appends a record.
    ///
    /// When this returns, the record survives the death of the process; when it survives a loss of power, the
    /// [durability](journal::Durability) says. If the disk is full, it is written in the room that was
    /// [reserved](Keeper::reserve), or waits for room in memory: [`collect`](Keeper::collect) then returns the error.
    ///
    /// # Errors
    /// If it can not be written for another reason.
    pub fn append(&mut self, kind: u16, payload: &[u8]) -> Result<(), KeepError> {
        self.protocol.append(kind, payload)
    }

    /// The last record that is known to be durable; 0 when none is.
    pub fn durable_sequence(&self) -> u64 {
        self.protocol.records().durable_sequence()
    }

    /// Makes every record appended so far durable.
    ///
    /// # Errors
    /// If the disk fails, or is full and a record waits.
    pub fn sync(&mut self) -> Result<(), KeepError> {
        self.protocol.sync_records()
    }

    /// What was dealt with since the last call and a person should know of.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        let failovers = self.protocol.records().take_failovers();
        let mut notices = std::mem::take(&mut self.protocol.state().notices);
        notices.extend(failovers.into_iter().map(Notice::Failover));
        notices
    }

    /// Replaces a small file of the work directory, whole or not at all.
    ///
    /// # Errors
    /// If a storage operation fails; the old file is still there then.
    pub fn write_file(&self, name: &str, bytes: &[u8]) -> Result<(), KeepError> {
        Ok(atomic_file::write(&**self.disk(), &self.work_dir().join(name), bytes)?)
    }

    /// Waits for the checkpoint that is being written, makes everything durable, and ends.
    ///
    /// # Errors
    /// As [`flush`](Keeper::flush) and [`sync`](Keeper::sync).
    pub fn close(mut self) -> Result<(), KeepError> {
        self.flush()?;
        self.sync()
    }
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper")
            .field("work_dir", &self.work_dir())
            .field("last_durable", &self.last_durable())
            .finish_non_exhaustive()
    }
}
