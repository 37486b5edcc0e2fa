//! A disk for tests: the real one, with a record of what was asked of it, and failures where a test wants them.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::{Bytes, DirEntry, Disk, DiskError, DiskFile, Operation, RealDisk};

type Hook = Box<dyn Fn(Operation, &str) -> io::Result<()> + Send + Sync>;

/// The real disk under observation. Clones share everything.
#[derive(Clone, Default)]
pub(crate) struct FaultDisk {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    log: Mutex<Vec<String>>,
    /// Called before every operation; its error is the operation's.
    hook: Mutex<Option<Arc<Hook>>>,
    /// The most bytes that one write takes.
    write_limit_bytes: Mutex<Option<usize>>,
    free_bytes: Mutex<Option<u64>>,
}

impl FaultDisk {
    pub(crate) fn shared(&self) -> Arc<dyn Disk> {
        Arc::new(self.clone())
    }

    /// What was asked since the last call, as `operation name`.
    pub(crate) fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.log.lock().unwrap())
    }

    /// Calls this before every operation, with the name of its file.
    pub(crate) fn set_hook(&self, hook: impl Fn(Operation, &str) -> io::Result<()> + Send + Sync + 'static) {
        *self.shared.hook.lock().unwrap() = Some(Arc::new(Box::new(hook)));
    }

    /// Lets every operation of this kind fail from now on.
    pub(crate) fn fail(&self, failing: Operation, kind: io::ErrorKind) {
        self.set_hook(
            move |operation, _| {
                if operation == failing { Err(io::Error::from(kind)) } else { Ok(()) }
            },
        );
    }

    /// Lets one operation fail: the one with this number, counted from 0 from now on.
    pub(crate) fn fail_nth(&self, nth: usize) {
        let count = Mutex::new(0);
        self.set_hook(move |_, _| {
            let mut count = count.lock().unwrap();
            *count += 1;
            if *count == nth + 1 { Err(io::Error::other("the disk was told to fail")) } else { Ok(()) }
        });
    }

    /// Ends what a hook does.
    pub(crate) fn heal(&self) {
        *self.shared.hook.lock().unwrap() = None;
    }

    pub(crate) fn limit_writes(&self, limit_bytes: usize) {
        *self.shared.write_limit_bytes.lock().unwrap() = Some(limit_bytes);
    }

    pub(crate) fn set_free_bytes(&self, free_bytes: u64) {
        *self.shared.free_bytes.lock().unwrap() = Some(free_bytes);
    }

    fn enter(&self, operation: Operation, path: &Path) -> Result<(), DiskError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        self.shared.log.lock().unwrap().push(format!("{operation:?} {name}"));
        let hook = self.shared.hook.lock().unwrap().clone();
        hook.map_or(Ok(()), |hook| hook(operation, &name))
            .map_err(|error| DiskError::new(operation, path, error))
    }

    fn watch(&self, file: Arc<dyn DiskFile>, path: &Path) -> Arc<dyn DiskFile> {
        Arc::new(FaultFile { disk: self.clone(), file, path: path.to_path_buf() })
    }
}

impl std::fmt::Debug for FaultDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FaultDisk")
    }
}

impl Disk for FaultDisk {
    fn create_dir_all(&self, dir: &Path) -> Result<(), DiskError> {
        self.enter(Operation::CreateDir, dir)?;
        RealDisk.create_dir_all(dir)
    }

    fn create_new(&self, path: &Path) -> Result<Arc<dyn DiskFile>, DiskError> {
        self.enter(Operation::Create, path)?;
        RealDisk.create_new(path).map(|file| self.watch(file, path))
    }

    fn open_append(&self, path: &Path) -> Result<Arc<dyn DiskFile>, DiskError> {
        self.enter(Operation::Open, path)?;
        RealDisk.open_append(path).map(|file| self.watch(file, path))
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), DiskError> {
        self.enter(Operation::SyncDir, dir)?;
        RealDisk.sync_dir(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        self.enter(Operation::Rename, from)?;
        RealDisk.rename(from, to)
    }

    fn hard_link(&self, existing: &Path, new: &Path) -> Result<(), DiskError> {
        self.enter(Operation::HardLink, new)?;
        RealDisk.hard_link(existing, new)
    }

    fn remove(&self, path: &Path) -> Result<(), DiskError> {
        self.enter(Operation::Remove, path)?;
        RealDisk.remove(path)
    }

    fn list(&self, dir: &Path) -> Result<Vec<DirEntry>, DiskError> {
        self.enter(Operation::List, dir)?;
        RealDisk.list(dir)
    }

    fn len_bytes(&self, path: &Path) -> Result<u64, DiskError> {
        self.enter(Operation::Examine, path)?;
        RealDisk.len_bytes(path)
    }

    fn map(&self, path: &Path) -> Result<Bytes, DiskError> {
        self.enter(Operation::Map, path)?;
        RealDisk.map(path)
    }

    fn read(&self, path: &Path, limit_bytes: u64) -> Result<Vec<u8>, DiskError> {
        self.enter(Operation::Read, path)?;
        RealDisk.read(path, limit_bytes)
    }

    fn free_bytes(&self, dir: &Path) -> Result<u64, DiskError> {
        self.enter(Operation::Examine, dir)?;
        let told = *self.shared.free_bytes.lock().unwrap();
        told.map_or_else(|| RealDisk.free_bytes(dir), Ok)
    }
}

#[derive(Debug)]
struct FaultFile {
    disk: FaultDisk,
    file: Arc<dyn DiskFile>,
    path: PathBuf,
}

impl DiskFile for FaultFile {
    fn write(&self, bytes: &[u8]) -> Result<usize, DiskError> {
        self.disk.enter(Operation::Write, &self.path)?;
        let limit_bytes = self.disk.shared.write_limit_bytes.lock().unwrap().unwrap_or(usize::MAX);
        self.file.write(&bytes[..bytes.len().min(limit_bytes)])
    }

    fn sync_data(&self) -> Result<(), DiskError> {
        self.disk.enter(Operation::Sync, &self.path)?;
        self.file.sync_data()
    }

    fn reserve(&self, len_bytes: u64) -> Result<(), DiskError> {
        self.disk.enter(Operation::Reserve, &self.path)?;
        self.file.reserve(len_bytes)
    }

    fn allocate(&self, len_bytes: u64) -> Result<(), DiskError> {
        self.disk.enter(Operation::Reserve, &self.path)?;
        self.file.allocate(len_bytes)
    }

    fn truncate(&self, len_bytes: u64) -> Result<(), DiskError> {
        self.disk.enter(Operation::Truncate, &self.path)?;
        self.file.truncate(len_bytes)
    }
}
