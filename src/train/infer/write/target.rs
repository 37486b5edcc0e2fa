//! The file that answers are written to. It has no name until it is whole, so that a process which ends on the way, by Ctrl-C,
//! `kill -9` or a lack of memory, leaves nothing behind. Where the file system has no such files (NFS, for one), it has a
//! hidden name instead, which only a process that is killed leaves.

use super::{Overwrite, WriteError, folder_of};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use trainer_runtime::atomic_file::{foreign_temporary, named};
use trainer_runtime::disk::{Disk as _, DiskError, Operation, RealDisk, remove_if_present};

/// A file on its way.
#[derive(Debug)]
pub(super) struct Target {
    file: Arc<File>,
    /// The name that it gets.
    path: PathBuf,
    /// The name that it has until then, if any.
    temporary: Option<PathBuf>,
}

impl Target {
    /// Begins a file for this name.
    pub(super) fn create(path: &Path) -> Result<Self, DiskError> {
        let hidden = foreign_temporary(path)?;
        let (file, temporary) = match nameless(&folder_of(path)) {
            Some(file) => (file, None),
            None => (named_new(&hidden, path)?, Some(hidden)),
        };
        Ok(Self { file: Arc::new(file), path: path.to_owned(), temporary })
    }

    /// Appends to it.
    pub(super) fn appending(&self) -> Appending {
        Appending { file: Arc::clone(&self.file), path: self.path.clone() }
    }

    /// Makes it durable and gives it its name.
    pub(super) fn publish(mut self, overwrite: Overwrite) -> Result<(), WriteError> {
        let synced = self.file.sync_all();
        synced.map_err(|error| DiskError::new(Operation::Sync, &self.path, error))?;
        let hidden = match &self.temporary {
            Some(hidden) => hidden.clone(),
            None => match self.name_as(&self.path) {
                Ok(()) => return Ok(RealDisk.sync_dir(&folder_of(&self.path))?),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match overwrite {
                    Overwrite::Never => return Err(WriteError::Exists { path: self.path.clone() }),
                    Overwrite::Allowed => self.hide()?,
                },
                Err(error) => return Err(DiskError::new(Operation::HardLink, &self.path, error).into()),
            },
        };
        self.temporary = Some(hidden.clone());
        super::refuse_existing(&self.path, overwrite)?;
        RealDisk.rename(&hidden, &self.path).map_err(|error| named(error, &hidden, &self.path))?;
        self.temporary = None;
        Ok(RealDisk.sync_dir(&folder_of(&self.path))?)
    }

    /// Gives a nameless file its hidden name, for only a rename replaces a file in one step.
    fn hide(&self) -> Result<PathBuf, DiskError> {
        let hidden = foreign_temporary(&self.path)?;
        remove_if_present(&RealDisk, &hidden)?;
        self.name_as(&hidden).map_err(|error| DiskError::new(Operation::HardLink, &self.path, error))?;
        Ok(hidden)
    }

    /// Gives a nameless file a name that must be free.
    #[cfg(target_os = "linux")]
    fn name_as(&self, path: &Path) -> io::Result<()> {
        use rustix::fs::{AtFlags, CWD, linkat};
        Ok(linkat(CWD, descriptor(&self.file), CWD, path, AtFlags::SYMLINK_FOLLOW)?)
    }

    #[cfg(not(target_os = "linux"))]
    fn name_as(&self, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            // What failed before is what is reported.
            let _ = RealDisk.remove(temporary);
        }
    }
}

/// A new file without a name; nothing where there are none, or where it could not get a name later.
#[cfg(target_os = "linux")]
fn nameless(folder: &Path) -> Option<File> {
    use rustix::fs::{Mode, OFlags, open};
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = File::from(open(folder, flags, Mode::from_raw_mode(0o666)).ok()?);
    // Its name is made from this one, which a container without `/proc` does not have.
    std::fs::symlink_metadata(descriptor(&file)).is_ok().then_some(file)
}

#[cfg(not(target_os = "linux"))]
fn nameless(_: &Path) -> Option<File> {
    None
}

/// Where the system shows an open file.
#[cfg(target_os = "linux")]
fn descriptor(file: &File) -> PathBuf {
    use std::os::fd::AsRawFd as _;
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// A new file of this hidden name; errors are about the file that it is to become.
fn named_new(hidden: &Path, path: &Path) -> Result<File, DiskError> {
    // A leftover is of a process that had the same number.
    remove_if_present(&RealDisk, hidden)?;
    let created = OpenOptions::new().append(true).create_new(true).open(hidden);
    created.map_err(|error| DiskError::new(Operation::Create, path, error))
}

/// The end of a file, for libraries that write to streams.
#[derive(Debug)]
pub(super) struct Appending {
    file: Arc<File>,
    /// The name that the file gets.
    pub(super) path: PathBuf,
}

impl Appending {
    /// What a library that wrote to the file says went wrong.
    pub(super) fn error(path: &Path, error: io::Error) -> WriteError {
        DiskError::new(Operation::Write, path, error).into()
    }
}

impl Write for Appending {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self.file).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Overwrite, Target, WriteError, named_new};
    use std::fs;
    use std::io::Write as _;
    use std::sync::Arc;

    /// A file that was begun, with or without a name.
    fn begun(path: &std::path::Path, has_name: bool) -> Target {
        let mut target = Target::create(path).unwrap();
        assert!(target.temporary.is_none(), "this file system has no nameless files");
        if has_name {
            let hidden = super::foreign_temporary(path).unwrap();
            target.file = Arc::new(named_new(&hidden, path).unwrap());
            target.temporary = Some(hidden);
        }
        target.appending().write_all(b"new").unwrap();
        target
    }

    #[test]
    fn the_name_comes_when_the_file_is_whole_and_until_then_the_folder_is_empty() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("answers.csv");
        let target = begun(&path, false);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        target.publish(Overwrite::Never).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
    }

    #[test]
    fn a_file_that_came_meanwhile_is_replaced_only_where_that_was_asked_for() {
        for has_name in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("answers.csv");
            let (refused, replaces) = (begun(&path, has_name), || begun(&path, has_name));
            fs::write(&path, "mine").unwrap();
            let error = refused.publish(Overwrite::Never).unwrap_err();
            assert!(matches!(error, WriteError::Exists { .. }), "{error}");
            assert_eq!(fs::read(&path).unwrap(), b"mine");
            replaces().publish(Overwrite::Allowed).unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"new");
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        }
    }
}
