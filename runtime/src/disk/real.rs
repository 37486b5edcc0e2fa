//! The real file system.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
#[cfg(target_os = "linux")]
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::error::longer_than;
use super::{Bytes, DirEntry, Disk, DiskError, DiskFile, Operation};
use crate::mutant;

/// The file system of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl RealDisk {
    /// The real disk behind the pointer that the other modules take.
    pub fn shared() -> Arc<dyn Disk> {
        Arc::new(RealDisk)
    }
}

impl Disk for RealDisk {
    fn create_dir_all(&self, dir: &Path) -> Result<(), DiskError> {
        let parent = parent_of(dir);
        if dir.is_dir() {
            // It may have been created just now by a process that died before it could sync the parent.
            return match mutant::unless("disk-create-dir-sync-dir", || self.sync_dir(parent)) {
                // A directory above that this user can not open is one that this user did not create.
                Err(error) if error.source.kind() == io::ErrorKind::PermissionDenied => Ok(()),
                synced => synced,
            };
        }
        self.create_dir_all(parent)?;
        match fs::create_dir(dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists || !dir.is_dir() => {
                Err(DiskError::new(Operation::CreateDir, dir, error))
            }
            _ => self.sync_dir(parent),
        }
    }

    fn create_new(&self, path: &Path) -> Result<Arc<dyn DiskFile>, DiskError> {
        let file = OpenOptions::new().append(true).create_new(true).open(path);
        RealFile::shared(file, Operation::Create, path)
    }

    fn open_append(&self, path: &Path) -> Result<Arc<dyn DiskFile>, DiskError> {
        RealFile::shared(OpenOptions::new().append(true).open(path), Operation::Open, path)
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), DiskError> {
        File::open(dir)
            .and_then(|handle| mutant::unless("disk-sync-dir", || handle.sync_all()))
            .map_err(|error| DiskError::new(Operation::SyncDir, dir, error))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        fs::rename(from, to).map_err(|error| DiskError::new(Operation::Rename, from, error))
    }

    fn hard_link(&self, existing: &Path, new: &Path) -> Result<(), DiskError> {
        fs::hard_link(existing, new).map_err(|error| DiskError::new(Operation::HardLink, new, error))
    }

    fn remove(&self, path: &Path) -> Result<(), DiskError> {
        fs::remove_file(path).map_err(|error| DiskError::new(Operation::Remove, path, error))
    }

    fn list(&self, dir: &Path) -> Result<Vec<DirEntry>, DiskError> {
        use rustix::fs::{Dir, Mode, OFlags, open};
        // Not `fs::read_dir`, which panics when the system answers closing the directory with an error.
        let fail = |error: io::Error| DiskError::new(Operation::List, dir, error);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = open(dir, flags, Mode::empty()).and_then(Dir::new);
        let mut entries = Vec::new();
        for entry in opened.map_err(|error| fail(error.into()))? {
            let entry = entry.map_err(|error| fail(error.into()))?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            let metadata = match fs::symlink_metadata(dir.join(name)) {
                // A file that went away since the directory was read is not in it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other.map_err(fail)?,
            };
            if metadata.is_file() {
                entries.push(DirEntry { name: name.to_owned(), len_bytes: metadata.len() });
            }
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn len_bytes(&self, path: &Path) -> Result<u64, DiskError> {
        fs::metadata(path)
            .map(|metadata| metadata.len())
            .map_err(|error| DiskError::new(Operation::Examine, path, error))
    }

    fn map(&self, path: &Path) -> Result<Bytes, DiskError> {
        File::open(path)
            .and_then(|file| Bytes::map(&file))
            .map_err(|error| DiskError::new(Operation::Map, path, error))
    }

    fn read(&self, path: &Path, limit_bytes: u64) -> Result<Vec<u8>, DiskError> {
        read_limited(path, limit_bytes).map_err(|error| DiskError::new(Operation::Read, path, error))
    }

    fn free_bytes(&self, dir: &Path) -> Result<u64, DiskError> {
        rustix::fs::statvfs(dir)
            .map(|stat| stat.f_bavail.saturating_mul(stat.f_frsize))
            .map_err(|error| DiskError::new(Operation::Examine, dir, error))
    }
}

/// A path of one component is relative to the current directory, whose name `Path::parent` gives as empty.
fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ if path.is_absolute() => path,
        _ => Path::new("."),
    }
}

fn read_limited(path: &Path, limit_bytes: u64) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let mut bytes = Vec::new();
    // Room for all of it at once; a file that claims more than there is memory is refused here.
    let len_bytes = file.metadata()?.len().min(limit_bytes).saturating_add(1);
    bytes.try_reserve_exact(usize::try_from(len_bytes).unwrap_or(usize::MAX))?;
    // One byte beyond the limit tells a file of exactly the limit from a longer one.
    file.take(limit_bytes.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit_bytes {
        return Err(longer_than(limit_bytes));
    }
    Ok(bytes)
}

#[derive(Debug)]
struct RealFile {
    file: File,
    path: PathBuf,
}

impl RealFile {
    fn shared(
        opened: io::Result<File>,
        operation: Operation,
        path: &Path,
    ) -> Result<Arc<dyn DiskFile>, DiskError> {
        let file = opened.map_err(|error| DiskError::new(operation, path, error))?;
        Ok(Arc::new(RealFile { file, path: path.to_path_buf() }))
    }
}

impl DiskFile for RealFile {
    fn write(&self, bytes: &[u8]) -> Result<usize, DiskError> {
        loop {
            match (&self.file).write(bytes) {
                Ok(0) if !bytes.is_empty() => {
                    let error = io::Error::from(io::ErrorKind::WriteZero);
                    return Err(DiskError::new(Operation::Write, &self.path, error));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                answer => {
                    return answer.map_err(|error| DiskError::new(Operation::Write, &self.path, error));
                }
            }
        }
    }

    fn sync_data(&self) -> Result<(), DiskError> {
        let synced = mutant::unless("disk-sync", || self.file.sync_data());
        synced.map_err(|error| DiskError::new(Operation::Sync, &self.path, error))
    }

    fn reserve(&self, len_bytes: u64) -> Result<(), DiskError> {
        loop {
            match rustix::fs::fallocate(&self.file, FallocateFlags::KEEP_SIZE, 0, len_bytes) {
                Err(Errno::INTR) => {}
                // The file system, or the system, does not know the call.
                Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(()),
                Err(errno) => return Err(DiskError::new(Operation::Reserve, &self.path, errno)),
            }
        }
    }

    fn allocate(&self, len_bytes: u64) -> Result<(), DiskError> {
        if len_bytes == 0 {
            return Ok(());
        }
        loop {
            match rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, len_bytes) {
                Err(Errno::INTR) => {}
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => return self.write_zeros(len_bytes),
                done => return done.map_err(|errno| DiskError::new(Operation::Reserve, &self.path, errno)),
            }
        }
    }

    #[cfg(target_os = "linux")]
    #[allow(unsafe_code)]
    fn begin_writeback(&self) {
        // SAFETY: the call takes no pointers, and the descriptor is open as long as `self.file` lives. An error is not
        // looked at: the call changes nothing that a program can see, and does not use up what a sync has to report.
        unsafe { libc::sync_file_range(self.file.as_raw_fd(), 0, 0, libc::SYNC_FILE_RANGE_WRITE) };
    }

    fn truncate(&self, len_bytes: u64) -> Result<(), DiskError> {
        self.file.set_len(len_bytes).map_err(|error| DiskError::new(Operation::Truncate, &self.path, error))
    }
}

#[cfg(test)]
mod tests {
    use super::{Disk, RealDisk};

    #[test]
    fn nested_directories_are_created_and_creating_them_again_is_no_error() {
        let dir = tempfile::tempdir().unwrap();
        let nested = dir.path().join("a/b/c");
        RealDisk.create_dir_all(&nested).unwrap();
        RealDisk.create_dir_all(&nested).unwrap();
        assert!(nested.is_dir());
    }

    /// Linux refuses to sync these with `EINVAL`: whoever does not ask it to finds no fault.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_sync_asks_the_system_and_so_does_the_creation_of_a_directory_that_is_there() {
        use std::path::Path;
        assert!(RealDisk.open_append(Path::new("/dev/null")).unwrap().sync_data().is_err());
        assert!(RealDisk.sync_dir(Path::new("/proc")).is_err());
        assert!(RealDisk.create_dir_all(Path::new("/proc/self")).is_err());
    }

    #[test]
    fn a_file_in_the_place_of_a_directory_is_named_in_the_error() {
        let dir = tempfile::tempdir().unwrap();
        let taken = dir.path().join("taken");
        RealDisk.create_new(&taken).unwrap();
        let message = RealDisk.create_dir_all(&taken).unwrap_err().to_string();
        assert!(message.contains("create the directory") && message.contains("taken"), "{message}");
    }

    #[test]
    fn creating_a_file_whose_name_is_taken_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        RealDisk.create_new(&path).unwrap().write_all(b"kept").unwrap();
        assert!(RealDisk.create_new(&path).is_err());
        assert_eq!(RealDisk.read(&path, 4).unwrap(), b"kept");
    }

    #[test]
    fn reserved_room_is_no_part_of_the_file_and_room_that_no_disk_has_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let file = RealDisk.create_new(&path).unwrap();
        file.write_all(b"1234").unwrap();
        file.reserve(1 << 20).unwrap();
        assert_eq!(RealDisk.len_bytes(&path).unwrap(), 4);
        // An exabyte: too large for the disk, or for one file of it.
        if let Err(error) = file.reserve(1 << 60) {
            assert!(error.to_string().contains("set room aside for"), "{error}");
        }
        file.write_all(b"5").unwrap();
        assert_eq!(RealDisk.read(&path, 5).unwrap(), b"12345");
    }

    #[test]
    fn an_allocated_file_takes_the_room_that_it_shows_however_it_is_made() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().unwrap();
        let (allocated, written) = (dir.path().join("allocated"), dir.path().join("written"));
        RealDisk.create_new(&allocated).unwrap().allocate(200_000).unwrap();
        RealDisk.create_new(&written).unwrap().write_zeros(200_000).unwrap();
        for path in [allocated, written] {
            std::fs::File::open(&path).unwrap().sync_all().unwrap();
            let metadata = std::fs::metadata(&path).unwrap();
            assert_eq!(metadata.len(), 200_000);
            assert!(metadata.blocks() * 512 >= 200_000, "{} blocks", metadata.blocks());
        }
    }

    #[test]
    fn a_file_longer_than_the_limit_is_refused_and_one_of_just_the_limit_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        RealDisk.create_new(&path).unwrap().write_all(b"1234").unwrap();
        assert_eq!(RealDisk.read(&path, 4).unwrap(), b"1234");
        assert!(RealDisk.read(&path, 3).unwrap_err().to_string().contains("longer than the 3 bytes"));
    }

    #[test]
    fn an_empty_file_maps_to_no_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        RealDisk.create_new(&path).unwrap();
        assert!(RealDisk.map(&path).unwrap().is_empty());
    }

    #[test]
    fn a_mapping_outlives_the_removal_of_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        RealDisk.create_new(&path).unwrap().write_all(b"still here").unwrap();
        let bytes = RealDisk.map(&path).unwrap();
        RealDisk.remove(&path).unwrap();
        assert_eq!(&*bytes, b"still here");
    }

    #[test]
    fn a_listing_holds_files_with_their_sizes_in_order_and_no_directories() {
        let dir = tempfile::tempdir().unwrap();
        RealDisk.create_dir_all(&dir.path().join("sub")).unwrap();
        for name in ["b", "a"] {
            RealDisk.create_new(&dir.path().join(name)).unwrap().write_all(name.as_bytes()).unwrap();
        }
        let listed = RealDisk.list(dir.path()).unwrap();
        let named: Vec<_> = listed.iter().map(|entry| (entry.name.as_str(), entry.len_bytes)).collect();
        assert_eq!(named, [("a", 1), ("b", 1)]);
    }
}
