//! The order in which everything is stored, on whichever thread.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::ballast::Ballast;
use super::notice::Notice;
use super::records::Records;
use super::writer::Outcome;
use super::{Announce, KeepError, Rank, Save};
use crate::checkpoint::{Link, LinkedBy, Name, Receipt, Request, Retention, Store};
use crate::disk::Disk;
use crate::mutant;

/// What the keeper and the thread that writes checkpoints share.
pub(super) struct Protocol {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) work_dir: PathBuf,
    pub(super) store: Store,
    pub(super) announce: Box<dyn Announce>,
    pub(super) retention: Retention,
    /// The step of the newest durable checkpoint, for whoever has to say it without asking.
    pub(super) durable_step: Arc<AtomicU64>,
    records: Mutex<Records>,
    state: Mutex<State>,
}

pub(super) struct State {
    pub(super) ballast: Ballast,
    pub(super) notices: Vec<Notice>,
    /// The newest checkpoint that is durable.
    pub(super) last_durable: Option<Name>,
    /// The best one that is durable: until a better one is, it is not dropped.
    pub(super) durable_best: Option<Name>,
    /// The first time that the disk was found full since there was room.
    pub(super) full: Option<KeepError>,
    /// The best so far, where it could not be written: it is written before anything that comes later, when there is room.
    pub(super) unsaved_best: Option<Save>,
    links_are_copies: bool,
}

impl Protocol {
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        work_dir: PathBuf,
        store: Store,
        records: Records,
        announce: Box<dyn Announce>,
        retention: Retention,
    ) -> Protocol {
        let state = State {
            ballast: Ballast::new(Arc::clone(&disk), &work_dir),
            notices: Vec::new(),
            last_durable: None,
            durable_best: None,
            full: None,
            unsaved_best: None,
            links_are_copies: false,
        };
        let (records, state) = (Mutex::new(records), Mutex::new(state));
        Protocol { disk, work_dir, store, announce, retention, durable_step: Arc::default(), records, state }
    }

    pub(super) fn records(&self) -> MutexGuard<'_, Records> {
        // A record is written whole or waits; nothing else is changed under the lock.
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // Changed in single assignments, so whole even if a holder panicked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends a record. If the disk is full, the reserved room is given up for it, and should even that not do, the
    /// record waits: either is an error of the next [`sync_records`](Protocol::sync_records) or collection, not of this.
    pub(super) fn append(&self, kind: u16, payload: &[u8]) -> Result<(), KeepError> {
        let appended = self.records().append(kind, payload);
        match appended {
            Err(error) if error.is_full() => {
                self.note_full(error)?;
                let written = self.records().try_again();
                match written {
                    Err(error) if error.is_full() => Ok(()),
                    other => other,
                }
            }
            other => other,
        }
    }

    /// Remembers that the disk is full, and gives up the reserved room.
    fn note_full(&self, error: KeepError) -> Result<(), KeepError> {
        let mut state = self.state();
        state.full.get_or_insert(error);
        Ok(state.ballast.release()?)
    }

    /// Takes the journal up after the disk was full, and makes it durable.
    pub(super) fn try_again(&self) -> Result<(), KeepError> {
        self.records().try_again()?;
        self.sync_records()
    }

    /// Makes every record appended so far durable. Appending goes on meanwhile.
    pub(super) fn sync_records(&self) -> Result<(), KeepError> {
        let handle = self.records().sync_handle()?;
        Ok(handle.wait()?)
    }

    /// Keeps a checkpoint, and before it the best so far, where that could not be written: a later state says of it that it
    /// is saved. Without it there, a run that is taken up from that state would never compute it again.
    pub(super) fn keep(&self, save: Save) -> Outcome {
        if save.rank == Rank::Ordinary && !mutant::is("keep-best-first") {
            self.keep_unsaved_best()?;
        }
        // Whatever is saved later is not the best; so this state, and only this, is held until it is kept.
        let best = (save.rank == Rank::Best).then(|| save.clone());
        let is_best = best.is_some();
        let kept = self.keep_in_order(save);
        if is_best {
            self.state().unsaved_best = best.filter(|_| kept.is_err());
        }
        kept
    }

    /// Keeps the best so far, if it could not be written when it was handed over.
    pub(super) fn keep_unsaved_best(&self) -> Result<(), KeepError> {
        let best = self.state().unsaved_best.take();
        best.map_or(Ok(()), |best| self.keep(best).map(drop))
    }

    /// All of what follows one another.
    fn keep_in_order(&self, save: Save) -> Outcome {
        let Save { kind, rank, epoch, step, state, snapshot } = save;
        let run_id = self.records().run_id();
        mutant::unless("keep-journal-sync", || self.sync_records())?;
        if mutant::is("keep-announced-first") {
            let name = Name::new(kind, epoch, step);
            let receipt = Receipt { name, len_bytes: 0, digest: [0; 16], seconds: 0.0 };
            let (kind, payload) = self.announce.durable(&receipt)?;
            self.append(kind, &payload)?;
            self.sync_records()?;
        }
        if mutant::is("keep-retired-first") {
            for older in self.store.list()? {
                self.disk.remove(&self.store.path(older.name))?;
            }
        }
        let receipt = self.store.publish(Request { kind, run_id, epoch, step, state, snapshot })?;
        let Receipt { name, len_bytes, seconds, .. } = receipt;
        log::debug!("checkpoint {name}: {len_bytes} bytes in {seconds:.3} s");
        let (kind, payload) = self.announce.durable(&receipt)?;
        self.append(kind, &payload)?;
        mutant::unless("keep-announcement-sync", || self.sync_records())?;
        // The best that had to wait for room may be older than what was saved meanwhile.
        let is_last = self.state().last_durable.is_none_or(|last| last.step <= name.step);
        if is_last {
            self.link(Link::Last, name)?;
        }
        if rank == Rank::Best {
            self.link(Link::Best, name)?;
            self.state().durable_best = Some(name);
        }
        // Only now is all of it done: whoever tries again after an error starts from what is said here.
        if is_last {
            self.set_durable(name);
        }
        self.retire(name)?;
        Ok(receipt)
    }

    pub(super) fn set_durable(&self, name: Name) {
        self.state().last_durable = Some(name);
        self.durable_step.store(name.step, Ordering::Release);
    }

    /// Makes a link name a checkpoint; the first time that it has to be a copy is noted.
    pub(super) fn link(&self, link: Link, name: Name) -> Result<(), KeepError> {
        let linked_by = self.store.link(link, name)?;
        if let LinkedBy::Copy { because } = linked_by {
            let mut state = self.state();
            if !std::mem::replace(&mut state.links_are_copies, true) {
                let dir = self.work_dir.join(super::CHECKPOINTS_DIR);
                state.notices.push(Notice::LinksAreCopies { dir, because });
            }
        }
        Ok(())
    }

    /// Drops what is no longer needed now that `newest` is there.
    fn retire(&self, newest: Name) -> Result<(), KeepError> {
        let state = self.state();
        let never: Vec<Name> =
            state.durable_best.into_iter().chain(state.last_durable).chain([newest]).collect();
        drop(state);
        for dropped in self.store.retire(&self.retention, &never)? {
            let (kind, payload) = self.announce.dropped(dropped)?;
            self.append(kind, &payload)?;
        }
        Ok(())
    }
}
