//! The bytes of a file: mapped or read. The only module with `unsafe` code for mappings.

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Deref;
use std::sync::Arc;

use memmap2::Mmap;

/// The bytes of a file, mapped into memory or read into it.
///
/// A mapping is sound only while nobody changes or shortens the mapped part of the file. The files of this crate keep
/// that promise: a checkpoint is written under a temporary name, never changed once it has its own, and only ever
/// unlinked, which a mapping survives; a journal segment only grows beyond the part that was mapped, and is shortened
/// (after a torn write) only by the process that holds the work directory's lock, before it hands out a mapping.
/// Whoever reads without holding that lock uses [`Disk::read`](super::Disk::read) and gets a copy.
///
/// A program outside that shortens such a file makes the system end this process with `SIGBUS`, as does a disk that
/// can no longer read a mapped page.
pub struct Bytes(Inner);

enum Inner {
    Mapped(Mmap),
    Read(Vec<u8>),
    Shared(Arc<Vec<u8>>),
}

impl Bytes {
    /// Maps the whole of a file.
    #[allow(unsafe_code)]
    pub(super) fn map(file: &File) -> io::Result<Bytes> {
        if file.metadata()?.len() == 0 {
            return Ok(Bytes::from(Vec::new()));
        }
        // SAFETY: the mapping is read-only and the mapped part of the file does not change while it lives, for the
        // reasons that the documentation of `Bytes` gives for each kind of file.
        let mapped = unsafe { Mmap::map(file) }?;
        Ok(Bytes(Inner::Mapped(mapped)))
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Bytes {
        Bytes(Inner::Read(bytes))
    }
}

/// Bytes that others hold too, not copied.
impl From<Arc<Vec<u8>>> for Bytes {
    fn from(bytes: Arc<Vec<u8>>) -> Bytes {
        Bytes(Inner::Shared(bytes))
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Inner::Mapped(mapped) => mapped,
            Inner::Read(bytes) => bytes,
            Inner::Shared(bytes) => bytes,
        }
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes({} bytes)", self.len())
    }
}
