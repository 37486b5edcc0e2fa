//! One process at a time in a work directory.
//!
//! The lock is the kernel's (`flock`), so it is free again the moment its holder dies, however it dies. What the file
//! says is only for people. This is the one file that does not go through [`Disk`](crate::disk::Disk): it holds no
//! results, and a lock can not be simulated away.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::disk::{Disk, DiskError, RealDisk};

/// The name of the lock file in a work directory.
pub const FILE_NAME: &str = "lock";

/// Far more than the few lines that a lock file has; more is not read.
const READ_LIMIT_BYTES: u64 = 4096;

/// The right to change a work directory, held until it is dropped or the process ends.
#[derive(Debug)]
pub struct WorkDirLock {
    // Closing the file frees the lock.
    _file: File,
    path: PathBuf,
}

/// A work directory that could not be locked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Another process, or another handle in this one, holds it.
    #[error(
        "{path} is held by {holder}; wait for it, stop it, or use another work directory",
        path = path.display()
    )]
    Held {
        /// The lock file.
        path: PathBuf,
        /// What the lock file says of its holder.
        holder: Holder,
    },
    /// The work directory could not be created.
    #[error(transparent)]
    CreateDir(DiskError),
    /// The lock file could not be opened or locked.
    #[error(
        "could not lock {path}: {source}; the work directory must be writable and on a file system with flock",
        path = path.display()
    )]
    Io {
        /// The lock file.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
}

/// What a lock file says of the process that holds it; nothing of it is certain, since anybody can write there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Holder {
    /// The process, on its own machine.
    pub pid: Option<u32>,
    /// The name of that machine.
    pub host: Option<String>,
    /// When it took the lock.
    pub since: Option<SystemTime>,
}

impl WorkDirLock {
    /// Takes the lock of a work directory, creating the directory if it is missing.
    ///
    /// # Errors
    /// [`LockError::Held`] when somebody else has it, at once: this does not wait.
    pub fn acquire(work_dir: &Path) -> Result<WorkDirLock, LockError> {
        RealDisk.create_dir_all(work_dir).map_err(LockError::CreateDir)?;
        let path = work_dir.join(FILE_NAME);
        let fail = |source| LockError::Io { path: path.clone(), source };
        // Not truncated on opening: until the lock is ours, the contents are somebody else's.
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(fail)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LockError::Held { holder: Holder::read(&mut file), path });
            }
            Err(TryLockError::Error(source)) => return Err(fail(source)),
        }
        Holder::this_process().write(&mut file).map_err(fail)?;
        Ok(WorkDirLock { _file: file, path })
    }

    /// The lock file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Holder {
    fn this_process() -> Holder {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Holder { pid: Some(std::process::id()), host: Some(host), since: Some(SystemTime::now()) }
    }

    fn write(&self, file: &mut File) -> io::Result<()> {
        let since_unix_s = self.since.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let text = format!(
            "pid {}\nhost {}\nsince_unix_s {}\n",
            self.pid.unwrap_or_default(),
            self.host.as_deref().unwrap_or_default(),
            since_unix_s.unwrap_or_default().as_secs()
        );
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(text.as_bytes())
    }

    /// Reads what is there; an unreadable line is left out, since the lock is held whatever the file says.
    fn read(file: &mut File) -> Holder {
        let mut bytes = Vec::new();
        if file.take(READ_LIMIT_BYTES).read_to_end(&mut bytes).is_err() {
            return Holder::default();
        }
        let mut holder = Holder::default();
        for line in String::from_utf8_lossy(&bytes).lines() {
            match line.split_once(' ') {
                Some(("pid", pid)) => holder.pid = pid.parse().ok(),
                Some(("host", host)) => {
                    holder.host = Some(host.chars().filter(|c| !c.is_control()).collect());
                }
                Some(("since_unix_s", seconds)) => {
                    holder.since = seconds
                        .parse()
                        .ok()
                        .and_then(|seconds| UNIX_EPOCH.checked_add(Duration::from_secs(seconds)));
                }
                _ => {}
            }
        }
        holder
    }
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.pid {
            Some(pid) => write!(f, "process {pid}")?,
            None => write!(f, "another process")?,
        }
        if let Some(host) = &self.host {
            write!(f, " on {host}")?;
        }
        let held = self.since.and_then(|since| SystemTime::now().duration_since(since).ok());
        match held.map(|held| held.as_secs()) {
            Some(s @ 0..60) => write!(f, " for {s} s"),
            Some(s @ 60..3600) => write!(f, " for {} min", s / 60),
            Some(s) => write!(f, " for {} h {} min", s / 3600, s / 60 % 60),
            None => Ok(()),
        }
    }
}
