//! Second names of checkpoints: hard links, or copies where the file system has none.

use std::path::Path;

use super::error::{LoadError, PublishError};
use super::load::Checkpoint;
use super::names::{Link, Name, TEMPORARY_SUFFIX};
use super::store::Store;
use crate::disk::{DiskError, remove_if_present};
use crate::mutant;

/// How a link was made.
#[derive(Debug)]
pub enum LinkedBy {
    /// It is a second name of the checkpoint and takes no room.
    HardLink,
    /// It is a copy.
    Copy {
        /// Why it is no hard link.
        because: DiskError,
    },
}

impl Store {
    /// Makes a link name this checkpoint, replacing in one step what it named before. It is a hard link, or, where the
    /// file system has none, a copy that was read back and verified.
    ///
    /// # Errors
    /// If a storage operation fails, or a copy does not verify; the link then names what it named, unless it was the
    /// last sync of the directory that failed.
    pub fn link(&self, link: Link, name: Name) -> Result<LinkedBy, PublishError> {
        self.name_twice(&self.path(name), &self.link_path(link), name)
    }

    /// Gives a checkpoint that only a link still names its own name back.
    ///
    /// # Errors
    /// If no link names it, or a storage operation fails.
    pub fn name_again(&self, name: Name) -> Result<LinkedBy, PublishError> {
        let names_it = |link: &Link| {
            let loaded = self.load_link(*link);
            loaded.is_ok_and(|checkpoint| checkpoint.meta().name() == name)
        };
        let from = Link::ALL.into_iter().find(names_it).map_or(self.path(name), |link| self.link_path(link));
        self.name_twice(&from, &self.path(name), name)
    }

    /// Loads what a link names.
    ///
    /// # Errors
    /// If there is no such link, or what it names can not be read or does not verify.
    pub fn load_link(&self, link: Link) -> Result<Checkpoint, LoadError> {
        Checkpoint::load(&*self.disk, &self.link_path(link))
    }

    /// Gives what is called `from` the name `to` as well.
    pub(super) fn name_twice(&self, from: &Path, to: &Path, name: Name) -> Result<LinkedBy, PublishError> {
        let fail = |source| PublishError::Disk { name, source };
        let mut temporary = to.as_os_str().to_owned();
        temporary.push(TEMPORARY_SUFFIX);
        let temporary = Path::new(&temporary);
        remove_if_present(&*self.disk, temporary).map_err(fail)?;
        let linked_by = match self.disk.hard_link(from, temporary) {
            Ok(()) => LinkedBy::HardLink,
            Err(because) if because.is_no_hard_link() => {
                if self.is_copy(from, to) {
                    return Ok(LinkedBy::Copy { because });
                }
                self.copy_verified(from, temporary, name)?;
                LinkedBy::Copy { because }
            }
            Err(source) => return Err(fail(source)),
        };
        if mutant::is("link-removed-first") {
            remove_if_present(&*self.disk, to).map_err(fail)?;
        }
        self.disk.rename(temporary, to).map_err(fail)?;
        if matches!(linked_by, LinkedBy::HardLink) {
            // Renaming onto another link of the same file does nothing, and leaves the temporary name.
            remove_if_present(&*self.disk, temporary).map_err(fail)?;
        }
        mutant::unless("link-sync-dir", || self.disk.sync_dir(&self.dir)).map_err(fail)?;
        Ok(linked_by)
    }

    /// Makes `to` a verified copy of the checkpoint in the file `from`.
    pub(super) fn copy_to(&self, from: &Path, to: &Path, name: Name) -> Result<(), PublishError> {
        let fail = |source| PublishError::Disk { name, source };
        let mut temporary = to.as_os_str().to_owned();
        temporary.push(TEMPORARY_SUFFIX);
        let temporary = Path::new(&temporary);
        remove_if_present(&*self.disk, temporary).map_err(fail)?;
        self.copy_verified(from, temporary, name)?;
        self.disk.rename(temporary, to).map_err(fail)?;
        mutant::unless("take-in-sync-dir", || self.disk.sync_dir(&self.dir)).map_err(fail)
    }

    /// Whether two files are equal, byte for byte.
    pub(super) fn is_copy(&self, original: &Path, copy: &Path) -> bool {
        match (self.disk.map(original), self.disk.map(copy)) {
            (Ok(original), Ok(copy)) => *original == *copy,
            _ => false,
        }
    }

    fn copy_verified(&self, from: &Path, temporary: &Path, name: Name) -> Result<(), PublishError> {
        let fail = |source| PublishError::Disk { name, source };
        let original = self.disk.map(from).map_err(fail)?;
        self.check_space(name, original.len() as u64)?;
        let copied = self
            .disk
            .create_new(temporary)
            .and_then(|file| {
                file.write_all(&original).and_then(|()| mutant::unless("link-copy-sync", || file.sync_data()))
            })
            .map_err(fail)
            .and_then(|()| {
                mutant::unless("link-copy-read-back", || self.load_written(name, temporary).map(drop))
            });
        copied.inspect_err(|_| {
            // The first error is the one to report; a leftover is removed when the store is next opened.
            let _ = self.disk.remove(temporary);
        })
    }
}
