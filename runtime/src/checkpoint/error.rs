//! What can go wrong with a checkpoint.

use std::path::{Path, PathBuf};

use safetensors::Dtype;

use super::header::{FORMAT_VERSION, MAX_HEADER_BYTES, TensorFault};
use super::names::Name;
use crate::disk::DiskError;

/// A checkpoint that was not published. Those that were there before are there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// There is not enough room.
    #[error(
        "checkpoint {name} needs {needed_bytes} bytes and {path} has {free_bytes} free; free some space, or keep \
         fewer checkpoints",
        path = path.display()
    )]
    NoSpace {
        /// The checkpoint.
        name: Name,
        /// The directory.
        path: PathBuf,
        /// The size of the checkpoint.
        needed_bytes: u64,
        /// The room there is.
        free_bytes: u64,
    },
    /// The tensors can not be saved.
    #[error(
        "checkpoint {name} can not be written: {fault}; the embedding program must hand over other tensors"
    )]
    Tensors {
        /// The checkpoint.
        name: Name,
        /// What is wrong with them.
        fault: TensorFault,
    },
    /// What was written does not verify.
    #[error(
        "checkpoint {name} was written and does not verify, so it was removed: {source}; check disk and memory"
    )]
    Verify {
        /// The checkpoint.
        name: Name,
        /// What does not verify.
        source: LoadError,
    },
    /// The thread that writes checkpoints panicked, which the snapshot, the embedding program's code, may do.
    #[error(
        "checkpoint {name} was not kept: the thread that writes checkpoints panicked; please report this with the panic's message"
    )]
    Panicked {
        /// The checkpoint.
        name: Name,
    },
    /// A storage operation failed.
    #[error("checkpoint {name} was not published: {source}")]
    Disk {
        /// The checkpoint.
        name: Name,
        /// The operation.
        source: DiskError,
    },
}

impl PublishError {
    /// Whether there was not enough room.
    pub fn is_full(&self) -> bool {
        match self {
            PublishError::NoSpace { .. } => true,
            PublishError::Disk { source, .. } => source.is_full(),
            _ => false,
        }
    }

    /// The checkpoint that was not published.
    pub fn name(&self) -> Name {
        match self {
            PublishError::NoSpace { name, .. }
            | PublishError::Tensors { name, .. }
            | PublishError::Verify { name, .. }
            | PublishError::Panicked { name }
            | PublishError::Disk { name, .. } => *name,
        }
    }
}

/// A checkpoint that can not be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The file is not a whole and unchanged checkpoint.
    #[error("{path} is not a good checkpoint: {fault}", path = path.display())]
    Fault {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: LoadFault,
    },
    /// The file verifies, and is of a format that this version does not read. It is not damaged.
    #[error(
        "{path} has checkpoint format version {found}, and this program reads version {supported}; use the version of the \
         program that wrote it",
        path = path.display()
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// The version it has.
        found: u32,
        /// The version that is read.
        supported: u32,
    },
    /// The file could not be read.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl LoadError {
    /// A file with this fault.
    pub(super) fn of(path: &Path, fault: LoadFault) -> LoadError {
        let path = path.to_path_buf();
        match fault {
            LoadFault::Version { found } => LoadError::Version { path, found, supported: FORMAT_VERSION },
            fault => LoadError::Fault { path, fault },
        }
    }
}

/// A file that was passed over because it did not verify.
#[derive(Debug)]
pub struct Rejected {
    /// Its name.
    pub name: Name,
    /// Why.
    pub error: LoadError,
}

/// What is wrong with the bytes of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LoadFault {
    /// The file ends before its header does.
    #[error("it ends within its header, after {found_bytes} bytes")]
    Short {
        /// The size of the file.
        found_bytes: u64,
    },
    /// The header is beyond the limit.
    #[error("it claims a header of {found_bytes} bytes, and {MAX_HEADER_BYTES} is the most")]
    HeaderTooLarge {
        /// The size it claims.
        found_bytes: u64,
    },
    /// The header does not begin as that of a checkpoint does.
    #[error("it is not a file that this program wrote, or its first bytes are damaged")]
    NotOurs,
    /// The header does not match its checksum.
    #[error("its header failed its checksum: {found:08x} is stored and the bytes give {expected:08x}")]
    HeaderCrc {
        /// The checksum stored.
        found: u32,
        /// The checksum of the bytes.
        expected: u32,
    },
    /// It was written in a format that this version does not read.
    #[error("it has format version {found}, and this program reads version {FORMAT_VERSION}")]
    Version {
        /// The version it has.
        found: u32,
    },
    /// The header verifies and is not one: another program wrote it.
    #[error("its header is malformed: {reason}")]
    Header {
        /// In which way.
        reason: String,
    },
    /// A tensor is not where it must be.
    #[error(
        "tensor {tensor:?} is placed at {begin}..{end}, and must begin at {expected_begin} and have {}",
        bytes_text(*expected_bytes)
    )]
    Placement {
        /// The tensor.
        tensor: String,
        /// Where it begins.
        begin: u64,
        /// Where it ends.
        end: u64,
        /// Where the tensor before it ends.
        expected_begin: u64,
        /// What type and shape ask for; `None` if that is no number of bytes.
        expected_bytes: Option<u64>,
    },
    /// The tensors do not fill the file.
    #[error("it has {found_bytes} bytes of tensor data, and its header describes {expected_bytes}")]
    DataSize {
        /// What the file has.
        found_bytes: u64,
        /// What the header describes.
        expected_bytes: u64,
    },
    /// A tensor does not match its checksum.
    #[error(
        "it failed its checksum in tensor {tensor:?}: {found:08x} is stored and the bytes give {expected:08x}"
    )]
    TensorCrc {
        /// The tensor.
        tensor: String,
        /// The checksum stored.
        found: u32,
        /// The checksum of the bytes.
        expected: u32,
    },
    /// The state tensor is missing or no plain bytes.
    #[error("its tensor {tensor:?} is {found:?} and must be a list of U8")]
    State {
        /// The name of the state tensor.
        tensor: &'static str,
        /// What is there.
        found: Option<(Dtype, Vec<u64>)>,
    },
}

/// A number of bytes that type and shape ask for, which may not exist.
pub(super) fn bytes_text(expected_bytes: Option<u64>) -> String {
    expected_bytes
        .map_or_else(|| "no number of bytes that exists".to_owned(), |bytes| format!("{bytes} bytes"))
}
