//! Files that one process makes and no other can make again: the base of everything that is decided once.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use trainer_runtime::RunId;

/// Makes the file at `path` with these contents, whole and durable. `false` if there is one: then nothing was changed.
///
/// The file is written under a name of its own, and a link gives it its name: that fails if the name is taken, on NFS too,
/// and of several that try at once one succeeds. Where there are no links the name itself is made with `O_EXCL`; a reader
/// may then find it incomplete for a moment.
///
/// # Errors
/// If a storage operation fails.
pub fn create_once(path: &Path, bytes: &[u8]) -> io::Result<bool> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"));
    };
    let temporary = dir.join(format!(".{}.{}", name.to_string_lossy(), RunId::random()?));
    let written = write_new(&temporary, bytes);
    let made = written.and_then(|()| match fs::hard_link(&temporary, path) {
        Ok(()) => Ok(true),
        // The answer to a request that NFS sent twice may be the second one: two names say that it was ours.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(temporary.metadata()?.nlink() == 2),
        Err(error) if has_no_links(&error) => match write_new(path, bytes) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        },
        Err(error) => Err(error),
    });
    // What could not be removed is a file that nobody reads.
    _ = fs::remove_file(&temporary);
    if matches!(made, Ok(true)) {
        File::open(dir)?.sync_all()?;
    }
    made
}

fn has_no_links(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let errnos = [Errno::PERM, Errno::OPNOTSUPP, Errno::NOSYS, Errno::MLINK];
    errnos.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_data()
}

#[cfg(test)]
mod tests {
    use super::create_once;

    #[test]
    fn of_many_that_make_a_file_one_succeeds_and_its_contents_stay() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let made: Vec<bool> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8_u8)
                .map(|number| {
                    let path = &path;
                    scope.spawn(move || create_once(path, &[number; 100]).unwrap())
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(made.iter().filter(|made| **made).count(), 1);
        let winner = made.iter().position(|made| *made).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), [winner as u8; 100]);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
