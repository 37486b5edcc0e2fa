//! The error of every storage operation.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// A storage operation that failed: which one, on which file, why, and what a person can do.
#[derive(Debug, thiserror::Error)]
#[error("could not {operation} {path}: {source}; {remedy}", path = path.display(), remedy = remedy(source))]
pub struct DiskError {
    /// What was tried.
    pub operation: Operation,
    /// On which file or directory.
    pub path: PathBuf,
    /// What the system answered.
    pub source: io::Error,
}

impl DiskError {
    /// An operation on a path that failed with an answer of the system.
    pub fn new(operation: Operation, path: &Path, source: impl Into<io::Error>) -> DiskError {
        DiskError { operation, path: path.to_path_buf(), source: source.into() }
    }

    /// Whether the file or directory does not exist.
    pub fn is_not_found(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }

    /// Whether the file system, or the user's share of it, is full.
    pub fn is_full(&self) -> bool {
        is_full(self.source.kind())
    }

    /// Whether the answer to making a hard link is that this file system, or this file, has no more names to give.
    pub(crate) fn is_no_hard_link(&self) -> bool {
        use rustix::io::Errno;
        let by_number = [Errno::PERM, Errno::OPNOTSUPP, Errno::NOSYS, Errno::MLINK, Errno::XDEV];
        match self.source.raw_os_error() {
            Some(number) => by_number.iter().any(|errno| errno.raw_os_error() == number),
            None => matches!(
                self.source.kind(),
                io::ErrorKind::Unsupported | io::ErrorKind::TooManyLinks | io::ErrorKind::CrossesDevices
            ),
        }
    }
}

/// What can be asked of a [`Disk`](super::Disk).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// Creating a directory.
    CreateDir,
    /// Creating a file.
    Create,
    /// Opening a file.
    Open,
    /// Writing to a file.
    Write,
    /// Making the bytes of a file durable.
    Sync,
    /// Making the names of a directory durable.
    SyncDir,
    /// Setting room aside for a file.
    Reserve,
    /// Shortening a file.
    Truncate,
    /// Renaming a file.
    Rename,
    /// Giving a file a second name.
    HardLink,
    /// Removing a file.
    Remove,
    /// Listing a directory.
    List,
    /// Examining a file or file system.
    Examine,
    /// Mapping a file into memory.
    Map,
    /// Reading a file.
    Read,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Operation::CreateDir => "create the directory",
            Operation::Create => "create",
            Operation::Open => "open",
            Operation::Write => "write to",
            Operation::Sync => "sync",
            Operation::SyncDir => "sync the directory",
            Operation::Reserve => "set room aside for",
            Operation::Truncate => "truncate",
            Operation::Rename => "rename",
            Operation::HardLink => "make the hard link",
            Operation::Remove => "remove",
            Operation::List => "list",
            Operation::Examine => "examine",
            Operation::Map => "map",
            Operation::Read => "read",
        })
    }
}

/// The answer to reading a file that is longer than the reader allows.
pub(super) fn longer_than(limit_bytes: u64) -> io::Error {
    let message = format!("it is longer than the {limit_bytes} bytes that such a file may have");
    io::Error::new(io::ErrorKind::FileTooLarge, message)
}

fn is_full(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn remedy(source: &io::Error) -> &'static str {
    use rustix::io::Errno;
    // Errors of one process or of the whole system that have no kind.
    if [Errno::MFILE, Errno::NFILE].iter().any(|errno| source.raw_os_error() == Some(errno.raw_os_error())) {
        return "raise the limit on open files (`ulimit -n`) and run again";
    }
    match source.kind() {
        kind if is_full(kind) => "free some space on this file system and run again",
        io::ErrorKind::FileTooLarge => "raise the limit on the size of files (`ulimit -f`) and run again",
        io::ErrorKind::ReadOnlyFilesystem => "mount the file system writable, or choose another directory",
        io::ErrorKind::PermissionDenied => "give this user access to it, or choose another directory",
        io::ErrorKind::NotFound => "check the path",
        io::ErrorKind::AlreadyExists => "move the existing file aside",
        io::ErrorKind::Unsupported => "choose a directory on a local file system",
        _ => "check the disk and the system's log",
    }
}
