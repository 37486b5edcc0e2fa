//! The operations: a fault strikes, or they are done, and both are recorded.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;

use super::faults::{Attempt, Fault, SyncMode};
use super::files::{FileId, NameChange, is_root, parent_of};
use super::history::{Effect, Outcome, Recorded};
use super::{SimulatedDisk, State};
use crate::disk::error::longer_than;
use crate::disk::{Bytes, DirEntry, Disk, DiskError, DiskFile, Operation};

impl SimulatedDisk {
    /// Lets a fault strike; `Ok` says whether one did that is no error.
    fn strike(
        &self,
        operation: Operation,
        path: &Path,
        on_failure: Effect,
    ) -> Result<Option<Fault>, DiskError> {
        let plan = self.faults().plan.clone();
        // No lock is held: a plan may wait.
        let fault = plan.and_then(|plan| plan(&Attempt { operation, path }));
        let Some(error) = fault.and_then(Fault::error) else { return Ok(fault) };
        self.state().history.push(Recorded::new(operation, path, Outcome::Failed, on_failure));
        Err(DiskError::new(operation, path, error))
    }

    /// Does one operation, unless a fault strikes, and records it.
    fn perform<T, E: Into<io::Error>>(
        &self,
        operation: Operation,
        path: &Path,
        act: impl FnOnce(&mut State) -> Result<(T, Effect), E>,
    ) -> Result<T, DiskError> {
        self.strike(operation, path, Effect::Nothing)?;
        self.act(operation, path, act)
    }

    fn act<T, E: Into<io::Error>>(
        &self,
        operation: Operation,
        path: &Path,
        act: impl FnOnce(&mut State) -> Result<(T, Effect), E>,
    ) -> Result<T, DiskError> {
        let mut state = self.state();
        let (outcome, effect, answer) = match act(&mut state) {
            Ok((value, effect)) => (Outcome::Done, effect, Ok(value)),
            Err(error) => (Outcome::Failed, Effect::Nothing, Err(DiskError::new(operation, path, error))),
        };
        state.history.push(Recorded::new(operation, path, outcome, effect));
        answer
    }

    /// One that changes names.
    fn change_names(
        &self,
        operation: Operation,
        path: &Path,
        change: impl FnOnce(&mut State) -> Result<NameChange, Errno>,
    ) -> Result<(), DiskError> {
        self.perform(operation, path, |state| change(state).map(|change| ((), Effect::Names(change))))
    }

    /// One that only looks.
    fn look<T>(
        &self,
        operation: Operation,
        path: &Path,
        look: impl FnOnce(&State) -> Result<T, Errno>,
    ) -> Result<T, DiskError> {
        self.perform(operation, path, |state| look(state).map(|seen| (seen, Effect::Nothing)))
    }

    /// What a sync does, as the mode says.
    fn sync(&self, operation: Operation, path: &Path, effect: Effect) -> Result<(), DiskError> {
        let mode = self.faults().sync_mode;
        let on_failure = match (&effect, mode) {
            (Effect::Sync { file }, SyncMode::FailingDropsPages) => Effect::DropPages { file: *file },
            _ => Effect::Nothing,
        };
        self.strike(operation, path, on_failure)?;
        let recorded = match mode {
            SyncMode::Lying => Recorded::new(operation, path, Outcome::Lied, Effect::Nothing),
            SyncMode::Honest | SyncMode::FailingDropsPages => {
                Recorded::new(operation, path, Outcome::Done, effect)
            }
        };
        self.state().history.push(recorded);
        Ok(())
    }

    fn handle(&self, file: FileId, path: &Path) -> Arc<dyn DiskFile> {
        Arc::new(SimulatedFile { disk: self.clone(), file, path: path.to_path_buf() })
    }

    fn bytes(&self, operation: Operation, path: &Path) -> Result<Arc<Vec<u8>>, DiskError> {
        self.look(operation, path, |state| state.files.file(path).map(|file| state.files.bytes(file)))
    }
}

impl Disk for SimulatedDisk {
    fn create_dir_all(&self, dir: &Path) -> Result<(), DiskError> {
        if !self.state().files.is_dir(dir) {
            self.create_dir_all(parent_of(dir))?;
            self.change_names(Operation::CreateDir, dir, |state| state.files.make_dir(dir))?;
        }
        self.sync_dir(parent_of(dir))
    }

    fn create_new(&self, path: &Path) -> Result<Arc<dyn DiskFile>, DiskError> {
        let file = self.perform(Operation::Create, path, |state| {
            state.files.create(path).map(|(file, change)| (file, Effect::Names(change)))
        })?;
        Ok(self.handle(file, path))
    }

    fn open_append(&self, path: &Path) -> Result<Arc<dyn DiskFile>, DiskError> {
        let file = self.look(Operation::Open, path, |state| state.files.file(path))?;
        Ok(self.handle(file, path))
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), DiskError> {
        if !self.state().files.is_dir(dir) {
            return self.look(Operation::SyncDir, dir, |state| state.files.list(dir).map(|_| ()));
        }
        let known_as = if is_root(dir) { Path::new("/") } else { dir };
        self.sync(Operation::SyncDir, known_as, Effect::SyncDir { dir: dir.to_path_buf() })
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        self.change_names(Operation::Rename, from, |state| state.files.rename(from, to))
    }

    fn hard_link(&self, existing: &Path, new: &Path) -> Result<(), DiskError> {
        self.change_names(Operation::HardLink, new, |state| state.files.hard_link(existing, new))
    }

    fn remove(&self, path: &Path) -> Result<(), DiskError> {
        self.change_names(Operation::Remove, path, |state| state.files.remove(path))
    }

    fn list(&self, dir: &Path) -> Result<Vec<DirEntry>, DiskError> {
        self.look(Operation::List, dir, |state| state.files.list(dir))
    }

    fn len_bytes(&self, path: &Path) -> Result<u64, DiskError> {
        self.bytes(Operation::Examine, path).map(|bytes| bytes.len() as u64)
    }

    fn map(&self, path: &Path) -> Result<Bytes, DiskError> {
        self.bytes(Operation::Map, path).map(Bytes::from)
    }

    fn read(&self, path: &Path, limit_bytes: u64) -> Result<Vec<u8>, DiskError> {
        let bytes = self.bytes(Operation::Read, path)?;
        if bytes.len() as u64 > limit_bytes {
            return Err(DiskError::new(Operation::Read, path, longer_than(limit_bytes)));
        }
        Ok(bytes.to_vec())
    }

    fn free_bytes(&self, dir: &Path) -> Result<u64, DiskError> {
        self.look(Operation::Examine, dir, |state| state.files.list(dir).map(|_| state.files.free_bytes()))
    }
}

/// A file opened for appending, known by the name under which it was opened.
#[derive(Debug)]
struct SimulatedFile {
    disk: SimulatedDisk,
    file: FileId,
    path: PathBuf,
}

impl DiskFile for SimulatedFile {
    fn write(&self, bytes: &[u8]) -> Result<usize, DiskError> {
        let fault = self.disk.strike(Operation::Write, &self.path, Effect::Nothing)?;
        let mut limit_bytes = self.disk.faults().write_limit_bytes.unwrap_or(usize::MAX);
        if fault == Some(Fault::ShortWrite) {
            limit_bytes = limit_bytes.min((bytes.len() / 2).max(1));
        }
        let bytes = bytes.get(..limit_bytes).unwrap_or(bytes);
        let file = self.file;
        self.disk.act(Operation::Write, &self.path, |state| {
            let offset_bytes = state.files.bytes_len(file);
            let taken = state.files.append(file, bytes)?;
            let bytes = bytes.get(..taken).unwrap_or_default().into();
            Ok::<_, Errno>((taken, Effect::Write { file, offset_bytes, bytes }))
        })
    }

    fn sync_data(&self) -> Result<(), DiskError> {
        self.disk.sync(Operation::Sync, &self.path, Effect::Sync { file: self.file })
    }

    fn reserve(&self, len_bytes: u64) -> Result<(), DiskError> {
        let file = self.file;
        self.disk.perform(Operation::Reserve, &self.path, |state| {
            state.files.reserve(file, len_bytes).map(|()| ((), Effect::Nothing))
        })
    }

    fn truncate(&self, len_bytes: u64) -> Result<(), DiskError> {
        let file = self.file;
        self.disk.perform(Operation::Truncate, &self.path, |state| {
            state.files.set_len(file, len_bytes).map(|()| ((), Effect::SetLen { file, len_bytes }))
        })
    }
}
