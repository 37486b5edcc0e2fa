//! The one seam through which everything is stored.
//!
//! Here: the [`Disk`] trait, its implementation on the real file system, one in memory for tests that loses its power
//! and fails ([`simulated`]), and the error that every storage operation gives. Not here: what the bytes mean. No other module of this crate touches a file that holds results, so that a
//! test can put a disk here which loses, tears or refuses what it is given.

mod error;
#[cfg(test)]
pub(crate) mod fault;
mod mapped;
mod real;
pub mod simulated;

use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;

pub use error::{DiskError, Operation};
pub use mapped::Bytes;
pub use real::RealDisk;

use crate::mutant;

/// A place that stores files. Every method may be called from any thread.
///
/// What a power loss may take: the bytes of a file until [`DiskFile::sync_data`] returned; a name (created, renamed,
/// linked or removed) until [`Disk::sync_dir`] of its directory returned. What the death of the process may take:
/// nothing that was given to these methods.
pub trait Disk: Debug + Send + Sync {
    /// Creates a directory and those above it which are missing, durably; an existing one is no error.
    ///
    /// # Errors
    /// If the directory can be neither found nor created and synced.
    fn create_dir_all(&self, dir: &Path) -> Result<(), DiskError>;

    /// Creates an empty file and opens it for appending.
    ///
    /// # Errors
    /// If the name is taken, or the file can not be created.
    fn create_new(&self, path: &Path) -> Result<Arc<dyn DiskFile>, DiskError>;

    /// Opens an existing file for appending.
    ///
    /// # Errors
    /// If the file is missing or can not be opened.
    fn open_append(&self, path: &Path) -> Result<Arc<dyn DiskFile>, DiskError>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// If the directory can not be opened or synced; what a power loss would leave is then unknown.
    fn sync_dir(&self, dir: &Path) -> Result<(), DiskError>;

    /// Gives a file another name in one step, replacing a file that has it.
    ///
    /// When both names are hard links to one file, POSIX lets this do nothing: `from` then remains.
    ///
    /// # Errors
    /// If the file system refuses; both names are then as they were.
    fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError>;

    /// Gives an existing file a second name, which must be free.
    ///
    /// # Errors
    /// If the new name is taken, or the file system has no hard links.
    fn hard_link(&self, existing: &Path, new: &Path) -> Result<(), DiskError>;

    /// Removes a name; the bytes go when no other name and no open handle or mapping holds them.
    ///
    /// # Errors
    /// If there is no such file or the file system refuses.
    fn remove(&self, path: &Path) -> Result<(), DiskError>;

    /// The regular files of a directory whose names are UTF-8, sorted by name.
    ///
    /// # Errors
    /// If the directory is missing or can not be read.
    fn list(&self, dir: &Path) -> Result<Vec<DirEntry>, DiskError>;

    /// The size of a file in bytes.
    ///
    /// # Errors
    /// If the file is missing or can not be examined.
    fn len_bytes(&self, path: &Path) -> Result<u64, DiskError>;

    /// Maps a file that nobody shortens or rewrites while the mapping lives; see [`Bytes`].
    ///
    /// # Errors
    /// If the file is missing or can not be mapped.
    fn map(&self, path: &Path) -> Result<Bytes, DiskError>;

    /// Reads a file of at most `limit_bytes` into memory.
    ///
    /// # Errors
    /// If the file is missing, longer than the limit, or can not be read.
    fn read(&self, path: &Path, limit_bytes: u64) -> Result<Vec<u8>, DiskError>;

    /// How many bytes this process could still store in a directory.
    ///
    /// # Errors
    /// If the file system can not be examined.
    fn free_bytes(&self, dir: &Path) -> Result<u64, DiskError>;
}

/// A file opened for appending. Every method may be called from any thread.
pub trait DiskFile: Debug + Send + Sync {
    /// Appends bytes with one `write(2)` and returns how many were taken, which may be fewer than given.
    ///
    /// # Errors
    /// If nothing was written.
    fn write(&self, bytes: &[u8]) -> Result<usize, DiskError>;

    /// Makes the bytes written so far, and the size they imply, durable (`fdatasync`).
    ///
    /// # Errors
    /// If the disk refused. What reached it is then unknown, and trying again proves nothing: the system may have
    /// dropped the pages that it could not write.
    fn sync_data(&self) -> Result<(), DiskError>;

    /// Sets room aside for the file up to this size, without changing its size: a write within it does not then find the
    /// disk full. Where the file system can not do that, nothing happens, and this is no error.
    ///
    /// # Errors
    /// If there is no such room, or the file system fails. The file is then as it was.
    fn reserve(&self, _len_bytes: u64) -> Result<(), DiskError> {
        Ok(())
    }

    /// Makes an empty file this long, of zeros, in room that is really taken: no other file can have it.
    ///
    /// On a file system that compresses or shares blocks, zeros may take less.
    ///
    /// # Errors
    /// If there is no such room, or the file system fails. A part may then have been taken.
    fn allocate(&self, len_bytes: u64) -> Result<(), DiskError> {
        self.write_zeros(len_bytes)
    }

    /// Appends this many zeros.
    ///
    /// # Errors
    /// If a write failed; a part may have been appended.
    fn write_zeros(&self, len_bytes: u64) -> Result<(), DiskError> {
        static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
        let mut left_bytes = len_bytes;
        while left_bytes > 0 {
            let count = left_bytes.min(ZEROS.len() as u64);
            self.write_all(ZEROS.get(..count as usize).unwrap_or(&ZEROS))?;
            left_bytes -= count;
        }
        Ok(())
    }

    /// Lets the system begin to write what was appended, without waiting: what is written when
    /// [`sync_data`](DiskFile::sync_data) is called need not be waited for then. Nothing is durable by this, and what goes
    /// wrong the sync reports.
    fn begin_writeback(&self) {}

    /// Shortens the file. Not for a file that is mapped.
    ///
    /// # Errors
    /// If the file system refuses.
    fn truncate(&self, len_bytes: u64) -> Result<(), DiskError>;

    /// Appends all the bytes: one [`write`](DiskFile::write), and more only when the system took a part.
    ///
    /// # Errors
    /// If a write failed; a part may have been appended.
    fn write_all(&self, mut bytes: &[u8]) -> Result<(), DiskError> {
        while !bytes.is_empty() {
            let taken = self.write(bytes)?;
            bytes = bytes.get(taken..).unwrap_or_default();
        }
        Ok(())
    }
}

/// One file of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    /// Its name in the directory.
    pub name: String,
    /// Its size in bytes when the directory was listed.
    pub len_bytes: u64,
}

/// Removes a name that need not be there.
///
/// # Errors
/// If it is there and can not be removed.
pub fn remove_if_present(disk: &dyn Disk, path: &Path) -> Result<(), DiskError> {
    match disk.remove(path) {
        Err(error) if error.is_not_found() => Ok(()),
        other => other,
    }
}

/// Creates a file in this directory with these bytes and makes bytes and name durable.
pub(crate) fn store_new(disk: &dyn Disk, dir: &Path, path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    let file = disk.create_new(path)?;
    file.write_all(bytes)?;
    mutant::unless("set-aside-sync", || file.sync_data())?;
    mutant::unless("set-aside-sync-dir", || disk.sync_dir(dir))
}

/// A name that no file in a listing has: this one, or with a number behind it.
pub(crate) fn free_name(taken: &[DirEntry], stem: &str) -> String {
    let is_free = |name: &String| taken.iter().all(|entry| entry.name != *name);
    let numbered = (2_u64..).map(|count| format!("{stem}-{count}"));
    let mut names = std::iter::once(stem.to_owned()).chain(numbered);
    names.find(is_free).expect("a listing has fewer names than there are numbers")
}
