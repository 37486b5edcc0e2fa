//! Checkpoints of steps that a run no longer follows, kept in a folder of their own, and a checkpoint that is taken in from
//! such a folder or from elsewhere.

use std::path::{Path, PathBuf};

use super::error::PublishError;
use super::names::{BranchFile, Name};
use super::store::Store;
use crate::disk::{DiskError, free_name};
use crate::mutant;

/// What is appended to the name of a checkpoint that was taken in until those it takes the place of are out of the way.
const CHOSEN_SUFFIX: &str = ".chosen";

/// What the name of the folder of a branch begins with; its number follows.
pub const BRANCH_DIR_PREFIX: &str = "branch-";

impl Store {
    /// The folder for the checkpoints of the branch with this number.
    pub fn branch_dir(&self, branch: u64) -> PathBuf {
        self.dir.join(format!("{BRANCH_DIR_PREFIX}{branch}"))
    }

    /// The checkpoints in that folder, only to look at them.
    pub fn branch(&self, branch: u64) -> Store {
        Store::open_read_only(self.disk.clone(), &self.branch_dir(branch))
    }

    fn chosen_path(&self, name: Name) -> PathBuf {
        self.dir.join(format!("{name}{CHOSEN_SUFFIX}"))
    }

    /// Takes in the checkpoint in the file `from`, which the caller has verified, beside the others and not yet as one of
    /// them: [`leave_behind`](Store::leave_behind) gives it its name. A file of this folder gets a second name, any other is
    /// copied, for what somebody else may change is not what a run should go on from.
    ///
    /// # Errors
    /// If there is no room, a storage operation fails, or a copy does not verify.
    pub fn take_in(&self, from: &Path, name: Name) -> Result<(), PublishError> {
        let to = self.chosen_path(name);
        if from.starts_with(&self.dir) {
            return self.name_twice(from, &to, name).map(drop);
        }
        self.copy_to(from, &to, name)
    }

    /// Removes what was taken in and never got its name, because the process died before it said what for. The file that it
    /// was taken from is untouched.
    ///
    /// # Errors
    /// If a storage operation fails.
    pub fn forget_taken_in(&self) -> Result<(), DiskError> {
        for entry in self.disk.list(&self.dir)? {
            let name = entry.name.strip_suffix(CHOSEN_SUFFIX);
            if name.is_some_and(|name| name.parse::<Name>().is_ok()) {
                self.disk.remove(&self.dir.join(&entry.name))?;
            }
        }
        Ok(())
    }

    /// Moves these files into the folder of the branch, and then gives the checkpoint that was taken in its name.
    ///
    /// A process or the power may die at any moment of it, and the same call finishes it later, as long as nothing was
    /// published in between.
    ///
    /// # Errors
    /// If a storage operation fails; what was moved stays moved.
    pub fn leave_behind(
        &self,
        branch: u64,
        files: &[BranchFile],
        taken_in: Option<Name>,
    ) -> Result<(), DiskError> {
        let chosen = taken_in.map(|name| (self.chosen_path(name), self.path(name)));
        if let Some((chosen, _)) = &chosen
            && !self.is_there(chosen)?
        {
            // It has its name, which it got when everything else was durable.
            return Ok(());
        }
        if mutant::is("branch-named-first")
            && let Some((chosen, path)) = &chosen
        {
            self.disk.rename(chosen, path)?;
        }
        if !files.is_empty() {
            self.move_away(&self.branch_dir(branch), files)?;
        }
        if let Some((chosen, path)) = chosen.filter(|_| !mutant::is("branch-named-first")) {
            self.disk.rename(&chosen, &path)?;
            mutant::unless("branch-name-sync-dir", || self.disk.sync_dir(&self.dir))?;
        }
        Ok(())
    }

    fn move_away(&self, folder: &Path, files: &[BranchFile]) -> Result<(), DiskError> {
        self.disk.create_dir_all(folder)?;
        for moved in files {
            let file = moved.to_string();
            let (from, mut to) = (self.dir.join(&file), folder.join(&file));
            if !self.is_there(&from)? {
                continue;
            }
            if self.is_there(&to)? {
                // A loss of power may leave the old name beside the new one.
                if self.is_copy(&from, &to) {
                    self.disk.remove(&from)?;
                    continue;
                }
                // The old link was moved: this is the one that was made since for the checkpoint that is gone on from.
                if matches!(moved, BranchFile::Link(_)) {
                    continue;
                }
                to = folder.join(free_name(&self.disk.list(folder)?, &file));
            }
            self.disk.rename(&from, &to)?;
        }
        // First where the names are, then where they were: no loss of power takes both.
        mutant::unless("branch-sync-dir", || {
            self.disk.sync_dir(folder)?;
            self.disk.sync_dir(&self.dir)
        })
    }

    fn is_there(&self, path: &Path) -> Result<bool, DiskError> {
        match self.disk.len_bytes(path) {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }
}
