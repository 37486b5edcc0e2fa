//! Going back to an older checkpoint: the branch that ends leaves its later checkpoints in a folder of its own.

use std::path::Path;

use super::{KeepError, Keeper};
use crate::checkpoint::{BranchFile, Name};
use crate::disk::DiskError;
use crate::mutant;

/// What a branch that ends leaves behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// Its number, which is that of its folder.
    pub branch: u64,
    /// What goes into the folder.
    pub moved: Vec<BranchFile>,
    /// The checkpoint that the run goes on from, where that is none of its own: it comes from elsewhere.
    pub taken_in: Option<Name>,
}

impl Keeper {
    /// Ends a branch, with the record that says so; `from` is the file of what is [taken in](Cut::taken_in), which the
    /// caller has verified. In this order:
    ///
    /// 1. what is taken in is durable, under a name that is no checkpoint's;
    /// 2. the record is durable;
    /// 3. files are moved;
    /// 4. what is taken in gets its name.
    ///
    /// A process that dies before 2 has changed nothing that counts. One that dies behind it leaves a record from which
    /// the next process knows what to [finish](Keeper::finish_cut), before it looks for a checkpoint.
    ///
    /// # Errors
    /// If a storage operation fails; behind 2, the next process finishes it.
    pub fn cut(
        &mut self,
        cut: &Cut,
        from: Option<&Path>,
        (kind, payload): (u16, &[u8]),
    ) -> Result<(), KeepError> {
        if let (Some(from), Some(name)) = (from, cut.taken_in) {
            self.store().take_in(from, name)?;
        }
        if mutant::is("cut-moved-first") {
            self.finish_cut(cut)?;
        }
        self.append(kind, payload)?;
        mutant::unless("cut-record-sync", || self.sync())?;
        Ok(self.finish_cut(cut)?)
    }

    /// Moves what a cut that is recorded leaves behind, as far as that is not done.
    ///
    /// # Errors
    /// If a storage operation fails.
    pub fn finish_cut(&self, cut: &Cut) -> Result<(), DiskError> {
        self.store().leave_behind(cut.branch, &cut.moved, cut.taken_in)
    }
}
