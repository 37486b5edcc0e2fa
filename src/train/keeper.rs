//! What keeps a run: its journal and its checkpoints, in the order that makes both trustworthy.
//!
//! The journal is made durable before a checkpoint is written, and a checkpoint is announced in the journal only when
//! it is durable and verified; old checkpoints are deleted after that.

use super::best::Best;
use super::event::{CheckpointDropped, CheckpointDurable, Event};
use super::history::History;
use super::saved::{Saved, StateSnapshot};
use crate::config::{CheckpointPlan, Durability};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use thiserror::Error;
use trainer_runtime::RunId;
use trainer_runtime::atomic_file;
use trainer_runtime::checkpoint::{Kind, Link, Name, PublishError, Receipt, Request, Store};
use trainer_runtime::codec::{self, EncodeError};
use trainer_runtime::disk::{Disk, DiskError, RealDisk};
use trainer_runtime::journal::{self, AppendError, Journal, OpenError, OpenOptions, SetAside, SyncError};
use trainer_runtime::writer::{AsyncWriter, Submitted};

/// Name of the table of epochs in a work directory.
pub const HISTORY_CSV: &str = "history.csv";
/// Name of the settings in a work directory.
pub const SETTINGS: &str = "trainer.toml";
/// Name of the data fingerprints in a work directory.
pub const DATA_LOCK: &str = "data.lock.json";

/// Why something could not be kept. What was durable before is untouched.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KeepError {
    /// The journal can not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A record could not be appended.
    #[error("the journal takes no further record: {0}")]
    Append(#[from] AppendError),
    /// The journal could not be made durable.
    #[error("the journal could not be made durable: {0}")]
    Sync(#[from] SyncError),
    /// A checkpoint could not be written.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// A storage operation failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A record or state is too large.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The thread that writes checkpoints could not be started.
    #[error("can not start the thread that writes checkpoints: {0}; raise the limit on threads")]
    Thread(std::io::Error),
}

/// The journal and the checkpoints of a run.
#[derive(Debug)]
pub struct Keeper {
    disk: Arc<dyn Disk>,
    work_dir: PathBuf,
    journal: Journal,
    store: Store,
    writer: AsyncWriter,
    keep_last: usize,
    /// The best epoch's checkpoint that waits to be written and must not be replaced by a newer one.
    waiting_best: Option<Name>,
    last_durable: Option<Name>,
    /// Its step, for whoever has to say it without asking.
    durable_step: Arc<AtomicU64>,
    /// The best epoch's checkpoint, once it is durable: until then its predecessor must not be dropped.
    durable_best: Option<Name>,
    /// What the journal says, kept up to date.
    pub history: History,
}

/// A run's storage as it was found.
#[derive(Debug)]
pub struct OpenedKeeper {
    /// The storage, ready to be written.
    pub keeper: Keeper,
    /// What was torn from the end of the journal.
    pub set_aside: Option<SetAside>,
    /// Records of the journal that this program does not understand.
    pub history_error: Option<super::event::EventError>,
}

impl Keeper {
    /// Opens the storage of the run in `work_dir`, whose lock the caller holds.
    ///
    /// # Errors
    /// If the journal is damaged or a storage operation fails.
    pub fn open(work_dir: &Path, plan: &CheckpointPlan) -> Result<OpenedKeeper, KeepError> {
        let disk = RealDisk::shared();
        let durability = match plan.durability {
            Durability::Step => journal::Durability::Step,
            Durability::Interval(seconds) => {
                journal::Durability::Interval(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
            }
            Durability::Checkpoint => journal::Durability::Checkpoint,
        };
        let options = OpenOptions { durability, ..OpenOptions::default() };
        let opened = Journal::open(Arc::clone(&disk), &work_dir.join("journal"), options)?;
        let store = Store::open(Arc::clone(&disk), &work_dir.join("checkpoints"))?;
        let (history, history_error) = match History::from_records(&opened.records) {
            Ok(history) => (history, None),
            Err(error) => (History::default(), Some(error)),
        };
        let keeper = Self {
            writer: AsyncWriter::new(store.clone()).map_err(KeepError::Thread)?,
            disk,
            work_dir: work_dir.to_owned(),
            journal: opened.journal,
            store,
            keep_last: plan.keep_last,
            waiting_best: None,
            last_durable: None,
            durable_step: Arc::default(),
            durable_best: None,
            history,
        };
        Ok(OpenedKeeper { keeper, set_aside: opened.set_aside, history_error })
    }

    /// The run's identity.
    #[must_use]
    pub fn run_id(&self) -> RunId {
        self.journal.run_id()
    }

    /// The checkpoints.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The disk everything is stored on.
    #[must_use]
    pub fn disk(&self) -> &dyn Disk {
        &*self.disk
    }

    /// The folder of the run.
    #[must_use]
    pub fn work_dir(&self) -> &Path {
        &self.work_dir
    }

    /// The newest checkpoint known to be durable.
    #[must_use]
    pub fn last_durable(&self) -> Option<Name> {
        self.last_durable
    }

    /// The step of the newest durable checkpoint, kept up to date; 0 if there is none.
    #[must_use]
    pub fn durable_step(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.durable_step)
    }

    fn set_durable(&mut self, name: Name) {
        self.last_durable = Some(name);
        self.durable_step.store(name.step, Ordering::Release);
    }

    /// Takes note of the checkpoint that the run was taken up from, and makes the links that a process which died behind
    /// its publication could not make.
    ///
    /// # Errors
    /// If a storage operation fails.
    pub fn take_up(&mut self, name: Name, best: Option<Best>) -> Result<(), KeepError> {
        self.set_durable(name);
        self.store.link(Link::Last, name)?;
        let best = best.map(best_name);
        if let Some(best) = best.filter(|best| self.store.path(*best).is_file()) {
            self.store.link(Link::Best, best)?;
            self.durable_best = Some(best);
        }
        Ok(())
    }

    /// Appends a record and folds it into the history.
    ///
    /// # Errors
    /// If it can not be written.
    pub fn record(&mut self, event: Event) -> Result<(), KeepError> {
        let (kind, payload) = event.encode()?;
        self.journal.append(kind, &payload)?;
        self.history.add(event);
        Ok(())
    }

    /// Makes everything recorded durable.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn sync(&mut self) -> Result<(), KeepError> {
        Ok(self.journal.sync()?)
    }

    /// Replaces a small file of the work directory.
    ///
    /// # Errors
    /// If a storage operation fails; the old file is still there then.
    pub fn write_file(&self, name: &str, bytes: &[u8]) -> Result<(), KeepError> {
        Ok(atomic_file::write(&*self.disk, &self.work_dir.join(name), bytes)?)
    }

    /// Writes the table of epochs.
    ///
    /// # Errors
    /// As [`Self::write_file`].
    pub fn write_history(&self) -> Result<(), KeepError> {
        self.write_file(HISTORY_CSV, self.history.to_csv().as_bytes())
    }

    fn request(
        &self,
        kind: Kind,
        epoch: u64,
        saved: &Saved,
        snapshot: StateSnapshot,
    ) -> Result<Request, KeepError> {
        let state = codec::encode(saved)?;
        let snapshot = Arc::new(snapshot);
        Ok(Request { kind, run_id: self.journal.run_id(), epoch, step: saved.step, state, snapshot })
    }

    /// Hands a checkpoint over to be written while the run goes on.
    ///
    /// # Errors
    /// If the journal can not be made durable first, or an earlier checkpoint failed.
    pub fn save(
        &mut self,
        kind: Kind,
        epoch: u64,
        saved: &Saved,
        snapshot: StateSnapshot,
    ) -> Result<(), KeepError> {
        let request = self.request(kind, epoch, saved, snapshot)?;
        let name = request.name();
        self.sync()?;
        if self.waiting_best.is_some() && !self.writer.is_idle() {
            self.flush(saved.best)?;
        }
        let is_best = kind == Kind::Epoch && saved.best.is_some_and(|best| best.step == saved.step);
        self.waiting_best = is_best.then_some(name);
        if let Submitted::Replaced(older) = self.writer.submit(request) {
            log::debug!("checkpoint {older} was not written: {name} took its place");
        }
        Ok(())
    }

    /// Writes a checkpoint and waits until it is durable. Those written in the background were waited for with
    /// [`Self::flush`].
    ///
    /// # Errors
    /// If it can not be written; checkpoints that are there stay.
    pub fn save_now(
        &mut self,
        kind: Kind,
        epoch: u64,
        saved: &Saved,
        snapshot: StateSnapshot,
    ) -> Result<Name, KeepError> {
        let request = self.request(kind, epoch, saved, snapshot)?;
        self.sync()?;
        let receipt = self.store.publish(request)?;
        let name = receipt.name;
        self.published(&receipt, saved.best)?;
        Ok(name)
    }

    /// Takes note of checkpoints that were finished in the background.
    ///
    /// # Errors
    /// If one failed, or the journal does.
    pub fn collect(&mut self, best: Option<Best>) -> Result<(), KeepError> {
        let outcomes = self.writer.poll();
        self.take(outcomes, best)
    }

    /// Waits for the checkpoints that are being written.
    ///
    /// # Errors
    /// As [`Self::collect`].
    pub fn flush(&mut self, best: Option<Best>) -> Result<(), KeepError> {
        let outcomes = self.writer.flush();
        self.waiting_best = None;
        self.take(outcomes, best)
    }

    fn take(
        &mut self,
        outcomes: Vec<Result<Receipt, PublishError>>,
        best: Option<Best>,
    ) -> Result<(), KeepError> {
        for outcome in outcomes {
            let receipt = outcome?;
            self.published(&receipt, best)?;
        }
        Ok(())
    }

    fn published(&mut self, receipt: &Receipt, best: Option<Best>) -> Result<(), KeepError> {
        let name = receipt.name;
        let (step, len_bytes) = (name.step, receipt.len_bytes);
        log::debug!("checkpoint {name}: {len_bytes} bytes in {:.3} s", receipt.seconds);
        self.record(Event::CheckpointDurable(CheckpointDurable {
            name: name.to_string(),
            step,
            len_bytes,
            digest: receipt.digest,
        }))?;
        self.sync()?;
        if self.waiting_best == Some(name) {
            self.waiting_best = None;
        }
        self.set_durable(name);
        self.store.link(Link::Last, name)?;
        if best.map(best_name) == Some(name) {
            self.store.link(Link::Best, name)?;
            self.durable_best = Some(name);
        }
        for dropped in self.store.retire(self.keep_last, self.durable_best)? {
            self.record(Event::CheckpointDropped(CheckpointDropped { name: dropped.to_string() }))?;
        }
        Ok(())
    }

    /// Names the last checkpoint the final one.
    ///
    /// # Errors
    /// If a storage operation fails.
    pub fn link_final(&self) -> Result<(), KeepError> {
        match self.last_durable {
            Some(name) => Ok(self.store.link(Link::Final, name)?),
            None => Ok(()),
        }
    }
}

/// The checkpoint of the best epoch.
fn best_name(best: Best) -> Name {
    Name::new(Kind::Epoch, best.epoch, best.step)
}
