//! What keeps a run: the keeper of `trainer-runtime`, with the records and the history of training.

use super::best::Best;
use super::event::{BranchCut, CheckpointDropped, CheckpointDurable, Event, EventError};
use super::history::History;
use super::saved::{Saved, StateSnapshot};
use super::status::{SaveTime, Status};
use crate::config::{CheckpointPlan, Durability};
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use trainer_runtime::RunId;
use trainer_runtime::checkpoint::{Kind, Name, Receipt, Rejected, Retention};
use trainer_runtime::codec::{self, EncodeError};
use trainer_runtime::disk::Disk;
use trainer_runtime::journal::{self, SetAside};
use trainer_runtime::keeper::{self, Announce, Cut, Options, PassedOver, Rank, Save};

/// Name of the table of epochs in a work directory.
pub const HISTORY_CSV: &str = "history.csv";
/// Name of the same table with an object of JSON per line.
pub const HISTORY_JSONL: &str = "history.jsonl";
/// Name of the settings in a work directory.
pub const SETTINGS: &str = "trainer.toml";
/// Name of the data fingerprints in a work directory.
pub const DATA_LOCK: &str = "data.lock.json";

/// Why something could not be kept. What was durable before is untouched.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KeepError {
    /// Journal or checkpoints can not be opened.
    #[error(transparent)]
    Open(#[from] keeper::OpenError),
    /// Something could not be stored.
    #[error(transparent)]
    Keep(#[from] keeper::KeepError),
    /// A record or state is too large.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

/// The journal and the checkpoints of a run, and what its journal comes to.
#[derive(Debug)]
pub struct Keeper {
    inner: keeper::Keeper,
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
    pub history_error: Option<EventError>,
}

/// How the journal of a training tells of checkpoints.
#[derive(Debug, Clone, Default)]
pub struct TrainingRecords {
    /// Is told how long a save takes.
    pub status: Status,
}

impl Announce for TrainingRecords {
    fn durable(&self, receipt: &Receipt) -> Result<(u16, Vec<u8>), EncodeError> {
        self.status.set_save_time(SaveTime::Measured(receipt.seconds));
        let durable = CheckpointDurable {
            name: receipt.name.to_string(),
            step: receipt.name.step,
            len_bytes: receipt.len_bytes,
            digest: receipt.digest,
        };
        Event::CheckpointDurable(durable).encode()
    }

    fn dropped(&self, name: Name) -> Result<(u16, Vec<u8>), EncodeError> {
        Event::CheckpointDropped(CheckpointDropped { name: name.to_string() }).encode()
    }
}

impl Keeper {
    /// Opens the storage of the run in `work_dir`, whose lock the caller holds.
    ///
    /// # Errors
    /// If the journal is damaged or a storage operation fails.
    pub fn open(
        disk: Arc<dyn Disk>,
        work_dir: &Path,
        plan: &CheckpointPlan,
        status: &Status,
    ) -> Result<OpenedKeeper, KeepError> {
        let records = TrainingRecords { status: status.clone() };
        let opened = keeper::Keeper::open(disk, work_dir, options(plan), Box::new(records))?;
        let (history, history_error) = match History::from_records(&opened.records) {
            Ok(history) => (history, None),
            Err(error) => (History::default(), Some(error)),
        };
        let keeper = Self { inner: opened.keeper, history };
        Ok(OpenedKeeper { keeper, set_aside: opened.set_aside, history_error })
    }

    /// Goes on from a recovered checkpoint, setting newer ones that are damaged aside.
    ///
    /// # Errors
    /// If a storage operation fails.
    pub fn take_up(
        &mut self,
        name: Name,
        rejected: Vec<Rejected>,
        best: Option<Best>,
    ) -> Result<Vec<PassedOver>, KeepError> {
        Ok(self.inner.take_up(name, rejected, best.map(best_name))?)
    }

    /// Appends a record and folds it into the history.
    ///
    /// # Errors
    /// If it can not be written.
    pub fn record(&mut self, event: Event) -> Result<(), KeepError> {
        let (kind, payload) = event.encode()?;
        self.inner.append(kind, &payload)?;
        self.history.add(event);
        Ok(())
    }

    /// Ends the branch that goes on; `from` is the file of the checkpoint that is taken in, if one is.
    ///
    /// # Errors
    /// As [`keeper::Keeper::cut`].
    pub fn cut(&mut self, cut: &Cut, from: Option<&Path>, record: BranchCut) -> Result<(), KeepError> {
        let event = Event::BranchCut(record);
        let (kind, payload) = event.encode()?;
        self.inner.cut(cut, from, (kind, &payload))?;
        self.history.add(event);
        Ok(())
    }

    /// Writes the tables of epochs, each whole or not at all.
    ///
    /// # Errors
    /// If a storage operation fails; the old table is still there then.
    pub fn write_history(&self) -> Result<(), KeepError> {
        self.inner.write_file(HISTORY_CSV, self.history.to_csv().as_bytes())?;
        Ok(self.inner.write_file(HISTORY_JSONL, self.history.to_jsonl().as_bytes())?)
    }

    /// Hands a checkpoint over to be written while the run goes on.
    ///
    /// # Errors
    /// As [`keeper::Keeper::save`].
    pub fn save(
        &mut self,
        kind: Kind,
        epoch: u64,
        saved: &Saved,
        snapshot: StateSnapshot,
    ) -> Result<(), KeepError> {
        self.inner.save(to_save(kind, epoch, saved, snapshot)?)?;
        Ok(())
    }

    /// Writes a checkpoint and waits until it is durable.
    ///
    /// # Errors
    /// As [`keeper::Keeper::save_now`].
    pub fn save_now(
        &mut self,
        kind: Kind,
        epoch: u64,
        saved: &Saved,
        snapshot: StateSnapshot,
    ) -> Result<Name, KeepError> {
        Ok(self.inner.save_now(to_save(kind, epoch, saved, snapshot)?)?)
    }
}

impl Keeper {
    /// Whether a checkpoint with this identity is of this run: it may be one that the run had before its journal was lost. Names
    /// tell nothing, they are equal across runs.
    #[must_use]
    pub fn is_of_this_run(&self, run_id: RunId) -> bool {
        run_id == self.run_id() || self.history.former_run_ids.contains(&run_id.to_string())
    }
}

impl Deref for Keeper {
    type Target = keeper::Keeper;

    fn deref(&self) -> &Self::Target {
        &self.inner
    }
}

impl DerefMut for Keeper {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.inner
    }
}

fn options(plan: &CheckpointPlan) -> Options {
    let durability = match plan.durability {
        Durability::Step => journal::Durability::Step,
        Durability::Interval(seconds) => {
            journal::Durability::Interval(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
        }
        Durability::Checkpoint => journal::Durability::Checkpoint,
    };
    Options {
        journal: journal::OpenOptions { durability, ..journal::OpenOptions::default() },
        retention: Retention {
            keep_last: plan.keep_last,
            keep_every_epochs: plan.keep_every_epochs,
            keep_every_steps: plan.keep_every_steps,
        },
    }
}

/// The state as it is handed over to be saved.
pub(super) fn to_save(
    kind: Kind,
    epoch: u64,
    saved: &Saved,
    snapshot: StateSnapshot,
) -> Result<Save, KeepError> {
    let is_best = kind == Kind::Epoch && saved.best.is_some_and(|best| best.step == saved.step);
    let rank = if is_best { Rank::Best } else { Rank::Ordinary };
    let state = codec::encode(saved)?;
    Ok(Save { kind, rank, epoch, step: saved.step, state, snapshot: Arc::new(snapshot) })
}

/// The checkpoint of the best epoch.
fn best_name(best: Best) -> Name {
    Name::new(Kind::Epoch, best.epoch, best.step)
}
