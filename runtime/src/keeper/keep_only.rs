//! Keeping no more of a run that is over than a few checkpoints by their links.

use super::{KeepError, Keeper};
use crate::checkpoint::{Entry, Link, LoadError, Name};
use crate::disk::remove_if_present;
use crate::mutant;

/// What was kept and what was dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cleaned {
    /// The links, each with the checkpoint it names, which verified.
    pub kept: Vec<(Link, Name)>,
    /// The checkpoints that were dropped, the oldest first.
    pub dropped: Vec<Entry>,
}

impl Cleaned {
    /// The room that the dropped checkpoints took.
    pub fn freed_bytes(&self) -> u64 {
        self.dropped.iter().map(|entry| entry.len_bytes).sum()
    }
}

/// Why nothing, or not everything, was dropped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeepOnlyError {
    /// What is to be kept is not good, so nothing was dropped.
    #[error(
        "{link} is to be kept and does not verify, so nothing was removed: {source}; keep another, or restore it"
    )]
    NotGood {
        /// The link.
        link: Link,
        /// Its fault, or that it is not there.
        source: LoadError,
    },
    /// A storage operation failed; some may have been dropped.
    #[error(transparent)]
    Keep(#[from] KeepError),
}

impl Keeper {
    /// Drops every checkpoint but those that these links name, after all of them verified; other links that name none of
    /// those go too. What was set aside as damaged, and the folders of branches, stay. For a run that is over: nothing is
    /// saved afterwards.
    ///
    /// # Errors
    /// If a link is not there or does not verify, which changes nothing, or a storage operation fails.
    pub fn keep_only(&mut self, links: &[Link]) -> Result<Cleaned, KeepOnlyError> {
        self.flush()?;
        self.sync()?;
        let mut kept: Vec<(Link, Name)> = Vec::new();
        for link in links.iter().copied() {
            let loaded = self.store().load_link(link);
            if loaded.is_err() && mutant::is("keep-only-unverified") {
                continue;
            }
            let checkpoint = loaded.map_err(|source| KeepOnlyError::NotGood { link, source })?;
            if kept.iter().all(|(other, _)| *other != link) {
                kept.push((link, checkpoint.meta().name()));
            }
        }
        let is_kept = |name: Name| kept.iter().any(|(_, kept)| *kept == name);
        let disk = |error| KeepOnlyError::Keep(KeepError::Disk(error));
        let all = self.store().list().map_err(disk)?;
        let dropped: Vec<Entry> = all.into_iter().filter(|entry| !is_kept(entry.name)).collect();
        for link in Link::ALL.into_iter().filter(|link| !links.contains(link)) {
            // One that does not verify is for a person to look at.
            let named = self.store().load_link(link).map(|checkpoint| checkpoint.meta().name());
            if named.is_ok_and(|name| !is_kept(name)) {
                remove_if_present(&**self.disk(), &self.store().link_path(link)).map_err(disk)?;
            }
        }
        for entry in &dropped {
            remove_if_present(&**self.disk(), &self.store().path(entry.name)).map_err(disk)?;
        }
        if !dropped.is_empty() {
            let folder = self.work_dir().join(super::CHECKPOINTS_DIR);
            mutant::unless("keep-only-sync-dir", || self.disk().sync_dir(&folder)).map_err(disk)?;
        }
        for entry in &dropped {
            let (kind, payload) = self.protocol.announce.dropped(entry.name).map_err(KeepError::from)?;
            self.append(kind, &payload)?;
        }
        self.sync()?;
        Ok(Cleaned { kept, dropped })
    }
}
