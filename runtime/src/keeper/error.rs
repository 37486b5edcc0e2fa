//! What can go wrong when a run is opened, recovered or kept.

use std::io;

use crate::checkpoint::{PublishError, Rejected};
use crate::codec::EncodeError;
use crate::disk::DiskError;
use crate::journal::{self, AppendError, SyncError};

/// A run's storage that can not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The journal is damaged or can not be read. Nothing was changed.
    #[error(transparent)]
    Journal(#[from] journal::OpenError),
    /// A storage operation failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The thread that writes checkpoints could not be started.
    #[error("can not start the thread that writes checkpoints: {0}; raise the limit on threads")]
    Thread(io::Error),
}

/// A run that can not be recovered. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecoverError {
    /// Checkpoints are there and none is good.
    #[error(
        "no checkpoint verifies: {}; restore one of these files from a copy, or move the work directory away to start \
         afresh",
        listing(.rejected)
    )]
    NoneVerifies {
        /// Each with its fault, the newest first.
        rejected: Vec<Rejected>,
    },
    /// The folder of checkpoints can not be read.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

fn listing(rejected: &[Rejected]) -> String {
    rejected.iter().map(|rejected| rejected.error.to_string()).collect::<Vec<_>>().join("; ")
}

/// Something that was not kept. What was durable before is untouched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeepError {
    /// A record could not be appended.
    #[error("the journal takes no further record: {0}")]
    Append(#[from] AppendError),
    /// The journal could not be made durable.
    #[error("the journal could not be made durable: {0}")]
    Sync(#[from] SyncError),
    /// A checkpoint could not be written.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// A storage operation failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A record is too large.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

impl KeepError {
    /// Whether the file system, or the user's share of it, is full: [`wait_for_room`](super::Keeper::wait_for_room) then
    /// keeps the state and waits.
    pub fn is_full(&self) -> bool {
        match self {
            KeepError::Append(AppendError::NoSpace(error)) | KeepError::Disk(error) => error.is_full(),
            KeepError::Append(AppendError::Disk(error) | AppendError::Latched(error))
            | KeepError::Sync(SyncError::Disk(error) | SyncError::Latched(error)) => error.is_full(),
            KeepError::Publish(error) => error.is_full(),
            _ => false,
        }
    }
}
