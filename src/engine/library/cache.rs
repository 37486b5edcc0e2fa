//! The cache folder: which of its bundles are whole, who may write, and how a bundle comes to be there.
//!
//! ```text
//! trainer/                         the cache folder (XDG)
//!   onnxruntime-1.31.1/            one folder per pinned version
//!     lock                         flock held while a bundle is being fetched
//!     staging-XXXXXX/              the work of one fetch; a leftover belongs to a process that was killed
//!     cpu/  cuda/                  the bundles: nothing but the libraries
//! ```
//!
//! A bundle appears by one `rename` of a folder whose files are complete and synced, so a process that dies at any
//! moment, or a power loss, leaves either no bundle or a whole one. The pinned sizes are compared on every use all the
//! same: people copy caches about, and disks fill up.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::announce::{Announce, Event};
use super::fetch::FetchError;
use super::wheels::Wheel;

const LOCK_FILE: &str = "lock";
const STAGING_PREFIX: &str = "staging-";

/// What is in a bundle's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Every pinned file, each in its pinned size.
    Whole,
    /// No folder.
    Absent,
    /// A folder that some file is missing from or wrong in.
    Damaged {
        /// The first such file.
        file: PathBuf,
        /// Its size, `None` if it is missing.
        found_bytes: Option<u64>,
        /// The pinned size.
        expected_bytes: u64,
    },
}

/// Compares the files in `folder` with the pins of `wheels`. Cheap: sizes only.
pub fn state(folder: &Path, wheels: &[Wheel]) -> State {
    if !folder.is_dir() {
        return State::Absent;
    }
    for member in wheels.iter().flat_map(|wheel| wheel.members) {
        let file = folder.join(member.name);
        let found_bytes = fs::metadata(&file).ok().filter(fs::Metadata::is_file).map(|found| found.len());
        if found_bytes != Some(member.size_bytes) {
            return State::Damaged { file, found_bytes, expected_bytes: member.size_bytes };
        }
    }
    State::Whole
}

/// The right to write below one version's folder. Given up when dropped, and by the kernel if the process dies.
#[derive(Debug)]
pub(super) struct WriteAccess {
    version_folder: PathBuf,
    _lock: File,
}

impl WriteAccess {
    /// Waits until no other process writes below `version_folder`, then clears away what killed ones left.
    pub(super) fn wait(version_folder: &Path, announce: &dyn Announce) -> Result<Self, FetchError> {
        fs::create_dir_all(version_folder).map_err(FetchError::disk("make the folder", version_folder))?;
        let lock_path = version_folder.join(LOCK_FILE);
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(FetchError::disk("open the lock file", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                announce.tell(Event::Waiting { lock: lock_path.clone() });
                lock.lock().map_err(FetchError::disk("lock", &lock_path))?;
            }
            Err(TryLockError::Error(source)) => return Err(FetchError::disk("lock", &lock_path)(source)),
        }
        let access = Self { version_folder: version_folder.to_path_buf(), _lock: lock };
        access.clear_leftovers().map_err(FetchError::disk("clear away old downloads in", version_folder))?;
        Ok(access)
    }

    /// Whoever made these held the lock, and this process holds it now: their makers are gone.
    fn clear_leftovers(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.version_folder)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(STAGING_PREFIX) {
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(())
    }

    /// A new folder to work in, on the same file system as the bundles; removed when dropped.
    pub(super) fn staging(&self) -> Result<TempDir, FetchError> {
        tempfile::Builder::new()
            .prefix(STAGING_PREFIX)
            .tempdir_in(&self.version_folder)
            .map_err(FetchError::disk("make a folder in", &self.version_folder))
    }

    /// Puts `unpacked`, a folder inside `staging` whose files are synced, into place as `folder`.
    ///
    /// A damaged bundle that is there goes away with `staging`; a process that has it loaded keeps its files.
    pub(super) fn install(
        &self,
        staging: &TempDir,
        unpacked: &Path,
        folder: &Path,
    ) -> Result<(), FetchError> {
        let replaced = staging.path().join("replaced");
        match fs::rename(folder, &replaced) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other.map_err(FetchError::disk("move the damaged files away from", folder))?,
        }
        sync_folder(unpacked)?;
        fs::rename(unpacked, folder).map_err(FetchError::disk("move the new files to", folder))?;
        sync_folder(&self.version_folder)
    }
}

fn sync_folder(folder: &Path) -> Result<(), FetchError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(FetchError::disk("sync", folder))
}
