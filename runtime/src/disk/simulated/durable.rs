//! What is durable, and what is not yet: the state from which a power loss takes its choice.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::files::{FileId, Files, NameChange, Names, apply, is_in};
use super::history::Effect;

/// A disk after some of its operations: what a power loss leaves in any case, and what it may take or leave.
#[derive(Debug, Clone)]
pub(super) struct Durable {
    pub(super) names: Names,
    /// Changes of names in their order, each of which a power loss takes whole or leaves whole.
    pub(super) pending_names: Vec<NameChange>,
    pub(super) files: BTreeMap<FileId, DurableFile>,
}

/// The bytes of a file that are durable, and the changes since.
#[derive(Debug, Clone, Default)]
pub(super) struct DurableFile {
    pub(super) base: Arc<Vec<u8>>,
    pub(super) pending: Vec<Pending>,
}

/// A change of a file's bytes that is not durable.
#[derive(Debug, Clone)]
pub(super) struct Pending {
    pub(super) change: Change,
    /// A failed sync has dropped its pages: no later sync makes it durable.
    pub(super) dropped: bool,
}

#[derive(Debug, Clone)]
pub(super) enum Change {
    Write { offset: usize, bytes: Arc<[u8]> },
    SetLen(usize),
}

impl Change {
    /// The size of the file behind this change.
    pub(super) fn len_after(&self, before: usize) -> usize {
        match self {
            Change::Write { offset, bytes } => before.max(offset.saturating_add(bytes.len())),
            Change::SetLen(len) => *len,
        }
    }
}

impl Durable {
    /// A disk on which everything is durable.
    pub(super) fn new(files: &Files) -> Durable {
        let files_of = |(file, bytes): (&FileId, &Arc<Vec<u8>>)| {
            (*file, DurableFile { base: bytes.clone(), pending: Vec::new() })
        };
        Durable {
            names: files.names.clone(),
            pending_names: Vec::new(),
            files: files.contents.iter().map(files_of).collect(),
        }
    }

    /// Takes note of an operation.
    pub(super) fn apply(&mut self, effect: &Effect) {
        match effect {
            Effect::Nothing => {}
            Effect::Names(change) if change.is_empty() => {}
            Effect::Names(change) => self.pending_names.push(change.clone()),
            Effect::Write { file, offset_bytes, bytes } => {
                self.pend(*file, Change::Write { offset: *offset_bytes as usize, bytes: bytes.clone() });
            }
            Effect::SetLen { file, len_bytes } => self.pend(*file, Change::SetLen(*len_bytes as usize)),
            Effect::Sync { file } => self.files.entry(*file).or_default().sync(),
            Effect::DropPages { file } => {
                for pending in &mut self.files.entry(*file).or_default().pending {
                    pending.dropped = true;
                }
            }
            Effect::SyncDir { dir } => self.sync_dir(dir),
        }
    }

    fn pend(&mut self, file: FileId, change: Change) {
        self.files.entry(file).or_default().pending.push(Pending { change, dropped: false });
    }

    /// The names in this directory become durable; of a rename into another directory, the part in this one.
    fn sync_dir(&mut self, dir: &Path) {
        for change in &mut self.pending_names {
            let (synced, rest): (NameChange, NameChange) =
                std::mem::take(change).into_iter().partition(|(path, _)| is_in(path, dir));
            apply(&mut self.names, &synced);
            *change = rest;
        }
        self.pending_names.retain(|change| !change.is_empty());
    }
}

impl DurableFile {
    /// The file is durable as it is; where pages were dropped, zeros are.
    fn sync(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        let bytes = Arc::make_mut(&mut self.base);
        for Pending { change, dropped } in pending {
            bytes.resize(change.len_after(bytes.len()), 0);
            if let (Change::Write { offset, bytes: written }, false) = (&change, dropped) {
                let place = bytes.get_mut(*offset..).and_then(|rest| rest.get_mut(..written.len()));
                // The line above has made room for it.
                if let Some(place) = place {
                    place.copy_from_slice(written);
                }
            }
        }
    }
}
