//! A run as its journal tells of it, for every command that looks at one. Nothing is changed and no lock is taken, so it
//! works while the run goes on.

use crate::train::event::{Event, EventError};
use crate::train::history::History;
use std::path::{Path, PathBuf};
use thiserror::Error;
use trainer_runtime::RunId;
use trainer_runtime::disk::RealDisk;
use trainer_runtime::journal::{self, OpenError};
use trainer_runtime::keeper::JOURNAL_DIR;
use trainer_runtime::lock::{Holder, LockError, WorkDirLock};

/// What a journal holds.
#[derive(Debug)]
pub struct Recorded {
    /// The run.
    pub run_id: RunId,
    /// Every record, in order.
    pub events: Vec<Event>,
    /// What they come to.
    pub history: History,
}

/// Why the journal of a run can not be shown.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReadError {
    /// There is none.
    #[error("{} is not the folder of a run: it has no journal", dir.display())]
    NoRun {
        /// The folder.
        dir: PathBuf,
    },
    /// It is damaged, or can not be read.
    #[error(transparent)]
    Journal(#[from] OpenError),
    /// Another version of this program wrote it.
    #[error(transparent)]
    Event(#[from] EventError),
}

impl Recorded {
    /// Reads the journal of the run in `work_dir`.
    ///
    /// # Errors
    /// If there is none, or it can not be read.
    pub fn read(work_dir: &Path) -> Result<Self, ReadError> {
        // Below a file, there is not even a folder to look into.
        if work_dir.exists() && !work_dir.is_dir() {
            return Err(ReadError::NoRun { dir: work_dir.to_owned() });
        }
        let contents = journal::read(&RealDisk, &work_dir.join(JOURNAL_DIR))?;
        let Some(run_id) = contents.run_id else {
            return Err(ReadError::NoRun { dir: work_dir.to_owned() });
        };
        let mut events = Vec::with_capacity(contents.records.len());
        for record in &contents.records {
            events.push(Event::decode(record.sequence, record.kind, &record.payload)?);
        }
        let mut history = History::default();
        events.iter().cloned().for_each(|event| history.add(event));
        Ok(Self { run_id, events, history })
    }

    /// How the run in `work_dir`, whose journal this is, stands now.
    ///
    /// # Errors
    /// If its lock can not be asked.
    pub fn standing(&self, work_dir: &Path) -> Result<Standing, LockError> {
        if let Some(holder) = WorkDirLock::holder(work_dir)? {
            return Ok(Standing::Running(holder));
        }
        Ok(match (&self.history.finished, &self.history.last_end) {
            (Some(finished), _) => Standing::Finished(finished.reason.clone()),
            (None, Some(end)) => Standing::Interrupted(end.clone()),
            (None, None) => Standing::Interrupted("ended without a word".to_owned()),
        })
    }
}

/// How a run stands. Whether it is running, its lock says: a process that dies in any way has it no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// A process works on it.
    Running(Holder),
    /// Complete, for this reason.
    Finished(String),
    /// Not complete, and nobody works on it; how the last process ended.
    Interrupted(String),
}
