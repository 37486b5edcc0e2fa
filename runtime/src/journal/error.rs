//! What can go wrong with a journal.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::format::{FORMAT_VERSION, FrameFault, HeaderFault, MAX_PAYLOAD_BYTES};
use crate::disk::DiskError;

/// A journal that can not be opened or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A file does not begin with the header that it should have.
    #[error(
        "{path} is not the journal segment that belongs there: {fault}; put the right file back, or repair the journal, \
         which keeps the records before this segment",
        path = path.display()
    )]
    Header {
        /// The segment.
        path: PathBuf,
        /// What is wrong with it.
        fault: HeaderFault,
    },
    /// A segment was written in a format that this version does not read. It is not damaged.
    #[error(
        "{path} has journal format version {found}, and this program reads version {supported}; use the version of the \
         program that wrote it",
        path = path.display()
    )]
    Version {
        /// The segment.
        path: PathBuf,
        /// The version it has.
        found: u32,
        /// The version that is read.
        supported: u32,
    },
    /// A segment between others, or the first one, is not there.
    #[error(
        "{path} is missing while later segments exist; put it back, or repair the journal, which keeps the records before \
         it",
        path = path.display()
    )]
    Missing {
        /// The segment that should be there.
        path: PathBuf,
    },
    /// A record that was durable does not verify any more.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// The operating system has no random numbers for a new segment.
    #[error("the operating system gave no random number for a new journal segment: {0}")]
    Random(io::Error),
    /// A thread could not be started.
    #[error(
        "could not start the thread that syncs the journal: {0}; raise the limit on processes and threads"
    )]
    Thread(io::Error),
    /// A storage operation failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl OpenError {
    /// A segment whose header is not what belongs there.
    pub(super) fn header(path: &Path, fault: HeaderFault) -> OpenError {
        let path = path.to_path_buf();
        match fault {
            HeaderFault::Version { found } => OpenError::Version { path, found, supported: FORMAT_VERSION },
            fault => OpenError::Header { path, fault },
        }
    }

    /// Whether files are damaged or missing, so that [`repair`](super::repair) helps.
    pub fn is_damage(&self) -> bool {
        matches!(self, OpenError::Header { .. } | OpenError::Missing { .. } | OpenError::Damaged(_))
    }
}

/// A durable record that does not verify any more: the disk, or somebody, changed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The segment.
    pub path: PathBuf,
    /// Where in it the damaged frame begins, in bytes.
    pub offset_bytes: u64,
    /// The number that the damaged record must have.
    pub sequence: u64,
    /// What is wrong with it.
    pub fault: FrameFault,
    /// How many intact records follow in the same segment.
    pub intact_records_after: u64,
    /// Whether the search for those was given up, so that there may be more.
    pub gave_up_counting: bool,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Damage { path, offset_bytes, sequence, fault, intact_records_after, gave_up_counting } = self;
        let at_least = if *gave_up_counting { "at least " } else { "" };
        write!(
            f,
            "{} is damaged at byte {offset_bytes}, in record {sequence}: {fault}; {at_least}{intact_records_after} \
             intact records follow it in this file; put back a good copy of the file, or repair the journal, which \
             keeps the {} records before the damage",
            path.display(),
            sequence.saturating_sub(1),
        )
    }
}

impl std::error::Error for Damage {}

/// A record that was not appended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// Kind 0 is no kind.
    #[error("a record can not have kind 0; number the kinds from 1")]
    KindZero,
    /// The payload is beyond the limit.
    #[error(
        "a record can not hold {found_bytes} bytes, {MAX_PAYLOAD_BYTES} is the most; store large values in a checkpoint"
    )]
    PayloadTooLong {
        /// The size of the payload.
        found_bytes: usize,
    },
    /// The operating system has no random numbers for a new segment.
    #[error("the operating system gave no random number for a new journal segment: {0}")]
    Random(io::Error),
    /// There is no room for the record. Nothing was written, and the journal takes records again when there is room.
    #[error("the journal has no room for the next record: {0}")]
    NoSpace(#[source] DiskError),
    /// Writing failed, now, as did going on in a new segment, and the journal takes nothing from now on.
    #[error("the journal could not be written and takes no more records: {0}")]
    Disk(#[source] Arc<DiskError>),
    /// An earlier write or sync failed, so the journal takes nothing any more.
    #[error("the journal takes no more records since an earlier failure: {0}; end the process and run again")]
    Latched(#[source] Arc<DiskError>),
}

/// Records that could not be made durable.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SyncError {
    /// Syncing failed, now, as did going on in a new segment, and the journal takes nothing from now on.
    #[error("the journal could not be made durable and takes no more records: {0}")]
    Disk(#[source] Arc<DiskError>),
    /// An earlier write or sync failed.
    #[error(
        "the journal can not be made durable since an earlier failure: {0}; end the process and run again"
    )]
    Latched(#[source] Arc<DiskError>),
}

impl From<SyncError> for AppendError {
    fn from(error: SyncError) -> AppendError {
        match error {
            SyncError::Disk(cause) => AppendError::Disk(cause),
            SyncError::Latched(cause) => AppendError::Latched(cause),
        }
    }
}
