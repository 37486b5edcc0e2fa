//! Small files that are replaced whole or not at all.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::disk::{Disk, DiskError, Operation, remove_if_present};
use crate::mutant;

/// Replaces the contents of a small file, durably: when this returns, a power loss leaves the new contents, and at
/// every instant before that the name has either the old contents or the new.
///
/// The bytes are first written to `<name>.tmp` beside it, so there must be one writer at a time.
///
/// # Errors
/// If any storage operation fails. The old contents are then intact, unless it was the last sync of the directory
/// that failed: then a power loss leaves either.
pub fn write(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    write_pieces(disk, path, &[bytes], Folder::Ours)
}

/// As [`write()`], for a file that a user names.
///
/// # Errors
/// As for [`write()`]; they name the file itself.
pub fn write_among_others(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    write_pieces(disk, path, &[bytes], Folder::OfUsers)
}

/// Whose folder a file is written into, which decides on the name that it has before it is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Folder {
    /// A folder of ours: `<name>.tmp`.
    Ours,
    /// One where `<name>.tmp` may be the user's: [`foreign_temporary`].
    OfUsers,
}

/// As [`write()`], for contents that lie in several places, one behind the other.
///
/// # Errors
/// As for [`write()`]; in a folder of users they name the file itself.
pub fn write_pieces(disk: &dyn Disk, path: &Path, pieces: &[&[u8]], folder: Folder) -> Result<(), DiskError> {
    match folder {
        Folder::Ours => {
            let (dir, name) = split(path)?;
            let mut temporary_name = name.to_os_string();
            temporary_name.push(".tmp");
            replace(disk, path, dir.join(temporary_name), pieces)
        }
        Folder::OfUsers => {
            let temporary = foreign_temporary(path)?;
            replace(disk, path, temporary.clone(), pieces).map_err(|error| named(error, &temporary, path))
        }
    }
}

/// The name under which a file is written that a user names: beside it, hidden, and of this process alone.
///
/// # Errors
/// If the path names no file.
pub fn foreign_temporary(path: &Path) -> Result<PathBuf, DiskError> {
    let (dir, name) = split(path)?;
    let mut temporary_name = std::ffi::OsString::from(".");
    temporary_name.push(name);
    temporary_name.push(format!(".trainer-{}.tmp", std::process::id()));
    Ok(dir.join(temporary_name))
}

/// An error about a temporary file as one about the file that it would have become, which is the one that people know.
#[must_use]
pub fn named(error: DiskError, temporary: &Path, path: &Path) -> DiskError {
    if error.path == temporary { DiskError { path: path.to_owned(), ..error } } else { error }
}

/// The folder of a file, and its name in it.
fn split(path: &Path) -> Result<(&Path, &OsStr), DiskError> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        let error = std::io::Error::new(std::io::ErrorKind::InvalidInput, "the path names no file");
        return Err(DiskError::new(Operation::Create, path, error));
    };
    Ok((if dir.as_os_str().is_empty() { Path::new(".") } else { dir }, name))
}

fn replace(disk: &dyn Disk, path: &Path, mut temporary: PathBuf, pieces: &[&[u8]]) -> Result<(), DiskError> {
    let (dir, _) = split(path)?;
    if mutant::is("small-file-no-temporary-name") {
        temporary = path.to_path_buf();
    }
    remove_if_present(disk, &temporary)?;
    let written = write_new(disk, &temporary, pieces).and_then(|()| disk.rename(&temporary, path));
    if let Err(error) = written {
        // The first error is the one to report; a leftover is removed by the next write.
        let _ = disk.remove(&temporary);
        return Err(error);
    }
    mutant::unless("small-file-sync-dir", || disk.sync_dir(dir))
}

fn write_new(disk: &dyn Disk, path: &Path, pieces: &[&[u8]]) -> Result<(), DiskError> {
    let file = disk.create_new(path)?;
    pieces.iter().try_for_each(|piece| file.write_all(piece))?;
    mutant::unless("small-file-sync", || file.sync_data())
}

#[cfg(test)]
mod tests {
    use super::{Folder, write, write_among_others, write_pieces};
    use crate::disk::RealDisk;
    use crate::disk::fault::FaultDisk;

    #[test]
    fn the_bytes_are_durable_before_the_name_and_the_name_before_it_returns() {
        let (dir, disk) = (tempfile::tempdir().unwrap(), FaultDisk::default());
        write(&disk, &dir.path().join("f"), b"x").unwrap();
        let directory = format!("SyncDir {}", dir.path().file_name().unwrap().to_string_lossy());
        let log = disk.take_log();
        assert_eq!(
            log[1..],
            ["Create f.tmp", "Write f.tmp", "Sync f.tmp", "Rename f.tmp", directory.as_str()]
        );
    }

    #[test]
    fn the_new_contents_replace_the_old_and_nothing_else_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trainer.toml");
        write(&RealDisk, &path, b"old and longer").unwrap();
        write(&RealDisk, &path, b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn pieces_follow_each_other() {
        let (dir, disk) = (tempfile::tempdir().unwrap(), FaultDisk::default());
        write_pieces(&disk, &dir.path().join("f"), &[b"one", b"", b"two"], Folder::Ours).unwrap();
        assert_eq!(std::fs::read(dir.path().join("f")).unwrap(), b"onetwo");
    }

    #[test]
    fn the_leftover_of_a_killed_writer_does_not_stop_the_next() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("f.tmp"), b"half").unwrap();
        write(&RealDisk, &dir.path().join("f"), b"whole").unwrap();
        assert_eq!(std::fs::read(dir.path().join("f")).unwrap(), b"whole");
        assert!(!dir.path().join("f.tmp").exists());
    }

    #[test]
    fn what_users_called_like_a_temporary_file_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("f.tmp"), b"mine").unwrap();
        write_among_others(&RealDisk, &dir.path().join("f"), b"whole").unwrap();
        assert_eq!(std::fs::read(dir.path().join("f")).unwrap(), b"whole");
        assert_eq!(std::fs::read(dir.path().join("f.tmp")).unwrap(), b"mine");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
        let error = write_among_others(&RealDisk, &dir.path().join("no/f"), b"whole").unwrap_err();
        assert_eq!(error.path, dir.path().join("no/f"));
    }

    #[test]
    fn a_failure_leaves_no_temporary_file_and_the_old_contents() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        // A directory has the name: the rename fails.
        std::fs::create_dir(&path).unwrap();
        write(&RealDisk, &path, b"new").unwrap_err();
        assert!(path.is_dir() && !dir.path().join("f.tmp").exists());
    }
}
