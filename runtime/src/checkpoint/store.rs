//! The directory of checkpoints.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::error::{LoadError, LoadFault, PublishError, Rejected};
use super::header::{self, Meta};
use super::load::Checkpoint;
use super::names::{DAMAGED_SUFFIX, Kind, Link, Name, STATE_TENSOR, TEMPORARY_SUFFIX};
use super::retire::{self, Retention};
use super::tensor::{Snapshot, TensorView};
use super::write;
use crate::RunId;
use crate::disk::{Disk, DiskError, free_name, remove_if_present};
use crate::mutant;

/// A directory of checkpoints. One writer at a time: the caller holds the work directory's [lock](crate::lock).
#[derive(Debug, Clone)]
pub struct Store {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
}

/// A checkpoint to be written.
#[derive(Clone)]
pub struct Request {
    /// Why.
    pub kind: Kind,
    /// The run it belongs to.
    pub run_id: RunId,
    /// The epoch, from 1; for [`Kind::Epoch`] the one that ended.
    pub epoch: u64,
    /// How many updates were applied.
    pub step: u64,
    /// What the embedding program needs besides tensors, as it likes; stored as the `U8` tensor
    /// [`STATE_TENSOR`].
    pub state: Vec<u8>,
    /// The tensors. Held until their bytes are written, and no longer.
    pub snapshot: Arc<dyn Snapshot>,
}

impl Request {
    /// The name that the file will have.
    pub fn name(&self) -> Name {
        Name::new(self.kind, self.epoch, self.step)
    }
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Request({}, {} bytes of state)", self.name(), self.state.len())
    }
}

/// A checkpoint that was published: it is durable, and it verified.
#[derive(Debug, Clone, PartialEq)]
pub struct Receipt {
    /// Its file.
    pub name: Name,
    /// Its size in bytes.
    pub len_bytes: u64,
    /// XXH3-128 of the whole file, as read back, big-endian (the canonical form that `xxhsum -H2` shows).
    pub digest: [u8; 16],
    /// How long publishing took.
    pub seconds: f64,
}

/// A checkpoint file in the directory; nothing of it has been verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: Name,
    /// Its size in bytes.
    pub len_bytes: u64,
}

/// What a search for the newest good checkpoint found.
#[derive(Debug)]
pub struct Search {
    /// The newest that verified. When this is `None` and something was rejected, a run was here whose state is lost:
    /// starting afresh is for a person to decide.
    pub newest: Option<Checkpoint>,
    /// The newer ones that did not, the newest first.
    pub rejected: Vec<Rejected>,
}

impl Store {
    /// Opens the directory of checkpoints, creating it if it is missing, and removes what a killed writer left.
    ///
    /// # Errors
    /// If a storage operation fails.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path) -> Result<Store, DiskError> {
        disk.create_dir_all(dir)?;
        for entry in disk.list(dir)? {
            if entry.name.ends_with(TEMPORARY_SUFFIX) {
                remove_if_present(&*disk, &dir.join(&entry.name))?;
            }
        }
        // A process that died may have left names that only the memory of the system has.
        mutant::unless("checkpoint-open-sync-dir", || disk.sync_dir(dir))?;
        Ok(Store { disk, dir: dir.to_path_buf() })
    }

    /// Opens the directory of checkpoints only to look: nothing is created or removed, and no lock is needed.
    pub fn open_read_only(disk: Arc<dyn Disk>, dir: &Path) -> Store {
        Store { disk, dir: dir.to_path_buf() }
    }

    /// The path of a checkpoint.
    pub fn path(&self, name: Name) -> PathBuf {
        self.dir.join(name.to_string())
    }

    /// The folder itself.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The path of a link.
    pub fn link_path(&self, link: Link) -> PathBuf {
        self.dir.join(link.to_string())
    }

    /// Writes a checkpoint, makes it durable, reads it back and verifies it, and only then gives it its name.
    ///
    /// A checkpoint of the same name is replaced in one step. The tensors are written from where they are; besides
    /// them this needs no memory but the header.
    ///
    /// # Errors
    /// See [`PublishError`] and the promises of [this module](super).
    pub fn publish(&self, request: Request) -> Result<Receipt, PublishError> {
        let started = Instant::now();
        let name = request.name();
        let path = self.path(name);
        let mut temporary = self.dir.join(format!("{name}{TEMPORARY_SUFFIX}"));
        if mutant::is("checkpoint-no-temporary-name") {
            temporary.clone_from(&path);
        }
        let published = self.write_verified(request, &temporary).and_then(|(len_bytes, digest)| {
            self.disk
                .rename(&temporary, &path)
                .map(|()| (len_bytes, digest))
                .map_err(|source| PublishError::Disk { name, source })
        });
        let (len_bytes, digest) = published.inspect_err(|_| {
            // The first error is the one to report; a leftover is removed when the store is next opened.
            let _ = self.disk.remove(&temporary);
        })?;
        let synced = mutant::unless("checkpoint-sync-dir", || self.disk.sync_dir(&self.dir));
        synced.map_err(|source| PublishError::Disk { name, source })?;
        Ok(Receipt { name, len_bytes, digest, seconds: started.elapsed().as_secs_f64() })
    }

    /// Writes the file under its temporary name, and gives its size and digest after reading it back.
    fn write_verified(&self, request: Request, temporary: &Path) -> Result<(u64, [u8; 16]), PublishError> {
        let name = request.name();
        let fail = |source| PublishError::Disk { name, source };
        let file = {
            let Request { kind, run_id, epoch, step, state, snapshot } = request;
            let meta = Meta { run_id, epoch, step, kind };
            let mut tensors = snapshot.tensors();
            tensors.push(TensorView::new(STATE_TENSOR, vec![state.len()], &state));
            header::sort(&mut tensors);
            let refuse = |fault| PublishError::Tensors { name, fault };
            let entries = header::place(&tensors).map_err(refuse)?;
            let head = header::build(&meta, &entries).map_err(refuse)?;
            self.check_space(name, head.len() as u64 + entries.last().map_or(0, |entry| entry.end))?;

            remove_if_present(&*self.disk, temporary).map_err(fail)?;
            let file = self.disk.create_new(temporary).map_err(fail)?;
            write::write(&*file, &head, &tensors).map_err(fail)?;
            // The snapshot is let go here, before the slow part.
            file
        };
        if mutant::is("checkpoint-renamed-before-sync") {
            self.disk.rename(temporary, &self.path(name)).map_err(fail)?;
            self.disk.hard_link(&self.path(name), temporary).map_err(fail)?;
        }
        mutant::unless("checkpoint-sync", || file.sync_data()).map_err(fail)?;
        if mutant::is("checkpoint-read-back") {
            let bytes = self.disk.map(temporary).map_err(fail)?;
            return Ok((bytes.len() as u64, xxhash_rust::xxh3::xxh3_128(&bytes).to_be_bytes()));
        }
        let (read_back, digest) = self
            .disk
            .map(temporary)
            .map_err(LoadError::Disk)
            .and_then(|bytes| {
                let path = temporary.to_path_buf();
                write::verify_with_digest(bytes).map_err(|fault| LoadError::Fault { path, fault })
            })
            .map_err(|source| PublishError::Verify { name, source })?;
        Ok((read_back.len_bytes(), digest))
    }

    pub(super) fn load_written(&self, name: Name, path: &Path) -> Result<Checkpoint, PublishError> {
        Checkpoint::load(&*self.disk, path).map_err(|source| PublishError::Verify { name, source })
    }

    /// Whether there is room for so many bytes.
    ///
    /// # Errors
    /// If there is not, or it can not be found out.
    pub(crate) fn check_space(&self, name: Name, needed_bytes: u64) -> Result<(), PublishError> {
        let free_bytes =
            self.disk.free_bytes(&self.dir).map_err(|source| PublishError::Disk { name, source })?;
        if free_bytes < needed_bytes {
            let path = self.dir.clone();
            return Err(PublishError::NoSpace { name, path, needed_bytes, free_bytes });
        }
        Ok(())
    }

    /// The checkpoints in the directory, the oldest step first. A directory that is missing has none.
    ///
    /// # Errors
    /// If the directory can not be read.
    pub fn list(&self) -> Result<Vec<Entry>, DiskError> {
        let listed = match self.disk.list(&self.dir) {
            Err(error) if error.is_not_found() => Vec::new(),
            other => other?,
        };
        let mut entries: Vec<Entry> = listed
            .into_iter()
            .filter_map(|file| Some(Entry { name: file.name.parse().ok()?, len_bytes: file.len_bytes }))
            .collect();
        entries.sort_by_key(|entry| entry.name);
        Ok(entries)
    }

    /// Loads one checkpoint.
    ///
    /// # Errors
    /// If it can not be read or does not verify.
    pub fn load(&self, name: Name) -> Result<Checkpoint, LoadError> {
        self.check_name(name, Checkpoint::load(&*self.disk, &self.path(name))?)
    }

    /// Loads one checkpoint, and says from time to time how many of its bytes have verified.
    ///
    /// # Errors
    /// As [`load`](Store::load).
    pub fn load_watched(
        &self,
        name: Name,
        verified_bytes: &mut dyn FnMut(u64),
    ) -> Result<Checkpoint, LoadError> {
        self.check_name(name, Checkpoint::load_watched(&*self.disk, &self.path(name), verified_bytes)?)
    }

    /// Refuses a checkpoint that says of itself that it is another.
    fn check_name(&self, name: Name, checkpoint: Checkpoint) -> Result<Checkpoint, LoadError> {
        let of_itself = checkpoint.meta().name();
        if of_itself != name && !mutant::is("checkpoint-name") {
            let reason = format!("it says that it is {of_itself} and is called {name}");
            return Err(LoadError::Fault { path: self.path(name), fault: LoadFault::Header { reason } });
        }
        Ok(checkpoint)
    }

    /// Loads the newest checkpoint that verifies, and says which newer ones did not, and why. One of another format
    /// version ends the search: it is good, and going on from an older one would be to give it up.
    ///
    /// # Errors
    /// Only if the directory can not be read: a file that can not be read is rejected.
    pub fn newest_valid(&self) -> Result<Search, DiskError> {
        let mut rejected = Vec::new();
        for Entry { name, .. } in self.list()?.into_iter().rev() {
            match self.load(name) {
                Ok(checkpoint) => return Ok(Search { newest: Some(checkpoint), rejected }),
                Err(error) => {
                    let is_end = matches!(error, LoadError::Version { .. });
                    rejected.push(Rejected { name, error });
                    if is_end {
                        break;
                    }
                }
            }
        }
        Ok(Search { newest: None, rejected })
    }

    /// Renames a checkpoint that does not verify, so that it is no longer taken for one; nothing is deleted.
    ///
    /// # Errors
    /// If a storage operation fails.
    pub fn set_aside(&self, name: Name) -> Result<PathBuf, DiskError> {
        self.rename_damaged(&name.to_string())
    }

    /// Renames a link to a checkpoint that does not verify, as [`set_aside`](Store::set_aside) does the checkpoint.
    ///
    /// # Errors
    /// If a storage operation fails.
    pub fn set_aside_link(&self, link: Link) -> Result<PathBuf, DiskError> {
        self.rename_damaged(&link.to_string())
    }

    fn rename_damaged(&self, name: &str) -> Result<PathBuf, DiskError> {
        let aside = free_name(&self.disk.list(&self.dir)?, &format!("{name}{DAMAGED_SUFFIX}"));
        let aside = self.dir.join(aside);
        self.disk.rename(&self.dir.join(name), &aside)?;
        mutant::unless("checkpoint-damaged-sync-dir", || self.disk.sync_dir(&self.dir))?;
        Ok(aside)
    }

    /// Drops the checkpoints that are not to be kept, and says which. None of `never` is dropped, nor are those of the
    /// last two steps. To be called after a newer one was published, which is one of `never`, as is the best.
    ///
    /// # Errors
    /// If a storage operation fails; some may then have been dropped.
    pub fn retire(&self, retention: &Retention, never: &[Name]) -> Result<Vec<Name>, DiskError> {
        let names: Vec<Name> = self.list()?.into_iter().map(|entry| entry.name).collect();
        let dropped = retire::to_drop(&names, retention, never);
        for name in &dropped {
            remove_if_present(&*self.disk, &self.path(*name))?;
        }
        if !dropped.is_empty() {
            mutant::unless("retire-sync-dir", || self.disk.sync_dir(&self.dir))?;
        }
        Ok(dropped)
    }
}
