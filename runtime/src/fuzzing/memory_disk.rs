//! A disk in memory, with what a power loss does to it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::{Bytes, DirEntry, Disk, DiskError, DiskFile, Operation};

/// Files in memory. Clones share them.
///
/// A power loss takes bytes that were not synced, from the end of each file, and names that were not, from the last
/// one: the system writes both in order here, as ext4 does. The simulated disk of the crate's campaigns knows worse.
#[derive(Debug, Clone, Default)]
pub struct MemoryDisk(Arc<Mutex<State>>);

type Names = BTreeMap<PathBuf, Arc<MemoryFile>>;

#[derive(Debug, Default)]
struct State {
    names: Names,
    /// What the names were at the last sync of a directory, and behind it after each change but the last.
    unsynced_names: Vec<Names>,
    /// How many operations are left until the copy is taken.
    crash_in: Option<usize>,
    /// What was there when the crash came.
    crashed: Option<Names>,
}

#[derive(Debug, Default)]
struct MemoryFile(Mutex<Contents>);

#[derive(Debug, Clone, Default)]
struct Contents {
    bytes: Vec<u8>,
    synced_bytes: usize,
}

impl MemoryFile {
    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MemoryDisk {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a file there, durably.
    pub fn put(&self, path: &Path, bytes: &[u8]) {
        let contents = Contents { bytes: bytes.to_vec(), synced_bytes: bytes.len() };
        let mut state = self.lock();
        state.names.insert(path.to_path_buf(), Arc::new(MemoryFile(Mutex::new(contents))));
        state.unsynced_names.clear();
    }

    /// Lets the machine crash after this many more operations: [`crashed`](Self::crashed) is then what the disk was.
    pub fn crash_in(&self, operations: usize) {
        self.lock().crash_in = Some(operations);
    }

    /// The disk as it was at the crash, unless it is still to come, which it then no longer is.
    pub fn crashed(&self, kept: u8) -> Option<MemoryDisk> {
        let mut state = self.lock();
        state.crash_in = None;
        state.crashed.take().map(|names| lose_power(&names, kept))
    }

    /// The disk that a power loss leaves. Of the changes of names since the last sync of a directory, and of the
    /// bytes of each file since its last sync, it leaves `kept` of 255 parts.
    pub fn after_power_loss(&self, kept: u8) -> MemoryDisk {
        lose_power(&self.lock().surviving_names(kept), kept)
    }

    /// Counts an operation that changes something, before it does.
    fn count(&self) {
        let mut state = self.lock();
        match state.crash_in {
            Some(0) => {
                state.crash_in = None;
                // Which names survive is decided here, which bytes when the copy is asked for.
                let names = state.surviving_names(128);
                state.crashed = Some(copy_files(&names, |contents| contents.clone()));
            }
            Some(left) => state.crash_in = Some(left - 1),
            None => {}
        }
    }

    /// Changes a bit of a file: damage. Counted from its start, around its end.
    pub fn flip_bit(&self, path: &Path, bit: usize) {
        let state = self.lock();
        let Some(file) = state.names.get(path) else { return };
        let mut contents = file.lock();
        let bits = contents.bytes.len() * 8;
        if let Some(byte) = bit.checked_rem(bits).and_then(|bit| contents.bytes.get_mut(bit / 8)) {
            *byte ^= 1 << (bit % bits % 8);
        }
    }

    /// The names change: what they were may come back in a power loss.
    fn change_names(&self, change: impl FnOnce(&mut Names)) {
        self.count();
        let mut state = self.lock();
        let before = state.names.clone();
        state.unsynced_names.push(before);
        change(&mut state.names);
    }

    fn find(&self, operation: Operation, path: &Path) -> Result<Arc<MemoryFile>, DiskError> {
        let found = self.lock().names.get(path).cloned();
        found.ok_or_else(|| DiskError::new(operation, path, io::ErrorKind::NotFound))
    }

    fn refuse_taken(&self, operation: Operation, path: &Path) -> Result<(), DiskError> {
        match self.lock().names.contains_key(path) {
            true => Err(DiskError::new(operation, path, io::ErrorKind::AlreadyExists)),
            false => Ok(()),
        }
    }
}

impl State {
    fn surviving_names(&self, kept: u8) -> Names {
        let survivors = self.unsynced_names.get(part(self.unsynced_names.len(), kept));
        survivors.unwrap_or(&self.names).clone()
    }
}

/// So many of 255 parts.
fn part(of: usize, kept: u8) -> usize {
    of * usize::from(kept) / 255
}

fn lose_power(names: &Names, kept: u8) -> MemoryDisk {
    let names = copy_files(names, |contents| {
        let unsynced = contents.bytes.len().saturating_sub(contents.synced_bytes);
        let left = contents.synced_bytes + part(unsynced, kept);
        let bytes: Vec<u8> = contents.bytes.iter().copied().take(left).collect();
        Contents { synced_bytes: bytes.len(), bytes }
    });
    MemoryDisk(Arc::new(Mutex::new(State { names, ..State::default() })))
}

/// The names with copies of the files. Names that are links to one file stay links to one.
fn copy_files(names: &Names, copy: impl Fn(&Contents) -> Contents) -> Names {
    let mut copies: Vec<(&Arc<MemoryFile>, Arc<MemoryFile>)> = Vec::new();
    let mut copied = Names::new();
    for (path, file) in names {
        let known = copies.iter().find(|(of, _)| Arc::ptr_eq(of, file)).map(|(_, copied)| copied.clone());
        let fresh = known.unwrap_or_else(|| Arc::new(MemoryFile(Mutex::new(copy(&file.lock())))));
        copies.push((file, fresh.clone()));
        copied.insert(path.clone(), fresh);
    }
    copied
}

impl Disk for MemoryDisk {
    fn create_dir_all(&self, _dir: &Path) -> Result<(), DiskError> {
        Ok(())
    }

    fn create_new(&self, path: &Path) -> Result<Arc<dyn DiskFile>, DiskError> {
        self.refuse_taken(Operation::Create, path)?;
        let file = Arc::<MemoryFile>::default();
        self.change_names(|names| _ = names.insert(path.to_path_buf(), file.clone()));
        Ok(Arc::new(OpenFile { disk: self.clone(), file }))
    }

    fn open_append(&self, path: &Path) -> Result<Arc<dyn DiskFile>, DiskError> {
        let file = self.find(Operation::Open, path)?;
        Ok(Arc::new(OpenFile { disk: self.clone(), file }))
    }

    fn sync_dir(&self, _dir: &Path) -> Result<(), DiskError> {
        self.count();
        self.lock().unsynced_names.clear();
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        let file = self.find(Operation::Rename, from)?;
        let target = self.lock().names.get(to).cloned();
        if target.is_some_and(|target| Arc::ptr_eq(&target, &file)) {
            return Ok(());
        }
        self.change_names(|names| {
            names.remove(from);
            names.insert(to.to_path_buf(), file);
        });
        Ok(())
    }

    fn hard_link(&self, existing: &Path, new: &Path) -> Result<(), DiskError> {
        let file = self.find(Operation::HardLink, existing)?;
        self.refuse_taken(Operation::HardLink, new)?;
        self.change_names(|names| _ = names.insert(new.to_path_buf(), file));
        Ok(())
    }

    fn remove(&self, path: &Path) -> Result<(), DiskError> {
        self.find(Operation::Remove, path)?;
        self.change_names(|names| _ = names.remove(path));
        Ok(())
    }

    fn list(&self, dir: &Path) -> Result<Vec<DirEntry>, DiskError> {
        let state = self.lock();
        let within = state.names.iter().filter(|(path, _)| path.parent() == Some(dir));
        let entries = within.filter_map(|(path, file)| {
            let name = path.file_name()?.to_str()?.to_owned();
            Some(DirEntry { name, len_bytes: file.lock().bytes.len() as u64 })
        });
        Ok(entries.collect())
    }

    fn len_bytes(&self, path: &Path) -> Result<u64, DiskError> {
        self.find(Operation::Examine, path).map(|file| file.lock().bytes.len() as u64)
    }

    fn map(&self, path: &Path) -> Result<Bytes, DiskError> {
        self.find(Operation::Map, path).map(|file| Bytes::from(file.lock().bytes.clone()))
    }

    fn read(&self, path: &Path, limit_bytes: u64) -> Result<Vec<u8>, DiskError> {
        let bytes = self.find(Operation::Read, path)?.lock().bytes.clone();
        match bytes.len() as u64 > limit_bytes {
            true => Err(DiskError::new(Operation::Read, path, io::ErrorKind::FileTooLarge)),
            false => Ok(bytes),
        }
    }

    fn free_bytes(&self, _dir: &Path) -> Result<u64, DiskError> {
        Ok(u64::MAX)
    }
}

#[derive(Debug)]
struct OpenFile {
    disk: MemoryDisk,
    file: Arc<MemoryFile>,
}

impl DiskFile for OpenFile {
    fn write(&self, bytes: &[u8]) -> Result<usize, DiskError> {
        self.disk.count();
        self.file.lock().bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn sync_data(&self) -> Result<(), DiskError> {
        self.disk.count();
        let mut contents = self.file.lock();
        contents.synced_bytes = contents.bytes.len();
        Ok(())
    }

    fn truncate(&self, len_bytes: u64) -> Result<(), DiskError> {
        self.disk.count();
        let mut contents = self.file.lock();
        let len = usize::try_from(len_bytes).unwrap_or(usize::MAX);
        contents.bytes.truncate(len);
        contents.synced_bytes = contents.synced_bytes.min(len);
        Ok(())
    }
}
