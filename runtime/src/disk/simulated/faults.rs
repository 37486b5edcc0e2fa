//! What goes wrong with an operation, and which one it hits.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::io::Errno;

use crate::disk::Operation;

/// What goes wrong with an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// `EIO`: the device failed.
    Io,
    /// `ENOSPC`: the file system is full.
    NoSpace,
    /// `EDQUOT`: the user's share of it is full.
    Quota,
    /// `EMFILE`: the process has too many open files.
    TooManyOpenFiles,
    /// `EROFS`: the file system became read-only, as ext4 does after an error.
    ReadOnly,
    /// `EOPNOTSUPP`: the file system does not know the operation, as many do not know hard links.
    Unsupported,
    /// A write takes half of the bytes, at least one. Other operations are not affected.
    ShortWrite,
}

impl Fault {
    /// Every fault that any operation can meet.
    pub const ALL: [Fault; 6] = [
        Fault::Io,
        Fault::NoSpace,
        Fault::Quota,
        Fault::TooManyOpenFiles,
        Fault::ReadOnly,
        Fault::ShortWrite,
    ];

    /// The error that the operation returns; `None` where it returns none.
    pub(super) fn error(self) -> Option<io::Error> {
        let errno = match self {
            Fault::Io => Errno::IO,
            Fault::NoSpace => Errno::NOSPC,
            Fault::Quota => Errno::DQUOT,
            Fault::TooManyOpenFiles => Errno::MFILE,
            Fault::ReadOnly => Errno::ROFS,
            Fault::Unsupported => Errno::OPNOTSUPP,
            Fault::ShortWrite => return None,
        };
        Some(errno.into())
    }
}

/// How long a fault stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lasting {
    /// It hits one operation.
    Once,
    /// It hits that operation and every later one.
    FromThenOn,
}

/// What [`sync_data`](crate::disk::DiskFile::sync_data) does when a fault hits it, and when none does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SyncMode {
    /// It makes durable what it says. When it fails, the pages stay dirty, and a later sync may succeed.
    #[default]
    Honest,
    /// As Linux does: when it fails, the pages count as clean. Programs still see them; a later sync succeeds and does
    /// not write them, so that a power loss takes them.
    FailingDropsPages,
    /// It succeeds and makes nothing durable, as a drive whose cache ignores flushes. Directories too.
    Lying,
}

/// An operation that is about to be done.
#[derive(Debug, Clone, Copy)]
pub struct Attempt<'a> {
    /// What is asked.
    pub operation: Operation,
    /// On which file or directory.
    pub path: &'a Path,
}

impl Attempt<'_> {
    /// The last part of the path.
    pub fn name(&self) -> &str {
        self.path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
    }
}

pub(super) type Plan = Arc<dyn Fn(&Attempt<'_>) -> Option<Fault> + Send + Sync>;

/// What is to go wrong from now on.
#[derive(Clone, Default)]
pub(super) struct Faults {
    pub(super) plan: Option<Plan>,
    pub(super) write_limit_bytes: Option<usize>,
    pub(super) sync_mode: SyncMode,
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Faults({:?}, planned: {})", self.sync_mode, self.plan.is_some())
    }
}

/// Hits the operation with this number, counted from 0 from now on.
pub(super) fn nth(number: usize, fault: Fault, lasting: Lasting) -> Plan {
    let count = AtomicUsize::new(0);
    Arc::new(move |_| {
        let at = count.fetch_add(1, Ordering::Relaxed);
        let is_hit = match lasting {
            Lasting::Once => at == number,
            Lasting::FromThenOn => at >= number,
        };
        is_hit.then_some(fault)
    })
}
