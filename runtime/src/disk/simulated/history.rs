//! What was asked of a disk, in order, and what each operation changed.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::files::{FileId, NameChange};
use crate::disk::Operation;

/// One operation as it was asked, and what came of it.
#[derive(Debug, Clone)]
pub struct Recorded {
    operation: Operation,
    path: PathBuf,
    outcome: Outcome,
    pub(super) effect: Effect,
}

/// What came of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It did what it was asked.
    Done,
    /// It returned an error.
    Failed,
    /// It was a sync that returned without an error and made nothing durable.
    Lied,
}

/// What an operation changed.
#[derive(Debug, Clone)]
pub(super) enum Effect {
    /// Nothing: it looked, or it failed.
    Nothing,
    /// Names, at once.
    Names(NameChange),
    /// The end of a file: these bytes came to be at this offset.
    Write { file: FileId, offset_bytes: u64, bytes: Arc<[u8]> },
    /// The size of a file.
    SetLen { file: FileId, len_bytes: u64 },
    /// Nothing that can be seen; the file is durable.
    Sync { file: FileId },
    /// Nothing that can be seen; what of the file is not durable will never be.
    DropPages { file: FileId },
    /// Nothing that can be seen; the names in the directory are durable.
    SyncDir { dir: PathBuf },
}

impl Recorded {
    pub(super) fn new(operation: Operation, path: &Path, outcome: Outcome, effect: Effect) -> Recorded {
        Recorded { operation, path: path.to_path_buf(), outcome, effect }
    }

    /// What was asked.
    pub fn operation(&self) -> Operation {
        self.operation
    }

    /// On which file or directory: of a handle, the name under which it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What came of it.
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// The bytes that were written; empty for everything but a write.
    pub fn bytes(&self) -> &[u8] {
        match &self.effect {
            Effect::Write { bytes, .. } => bytes,
            _ => &[],
        }
    }

    /// Whether a power loss behind this operation can leave something else than one before it.
    pub fn changes_disk(&self) -> bool {
        match &self.effect {
            Effect::Nothing => false,
            Effect::Names(change) => !change.is_empty(),
            _ => true,
        }
    }
}

/// The operation and the name of its file, as in `Write 00000001.wal`.
impl fmt::Display for Recorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        write!(f, "{:?} {name}", self.operation)?;
        match self.outcome {
            Outcome::Done => Ok(()),
            Outcome::Failed => write!(f, " (failed)"),
            Outcome::Lied => write!(f, " (lied)"),
        }
    }
}
