//! How a trial stands, from what its own folder says: its journal, its lock, and a note of its failure.
//!
//! There is no state "running" in any file: a trial runs if its work directory is locked, which ends with its process.

use super::definition::Definition;
use crate::report::recorded::{ReadError, Recorded, Standing as RunStanding};
use crate::train::best::Direction;
use crate::train::export;
use crate::train::history::History;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use trainer_runtime::atomic_file;
use trainer_runtime::disk::{DiskError, RealDisk};
use trainer_runtime::lock::{Holder, WorkDirLock};

/// Why a run finished when its last epoch was the reason.
const ALL_EPOCHS: &str = "all epochs done";

/// The note of a failure in the folder of a trial.
pub const FAILURE: &str = "failure.json";

/// How a trial ended that will not be run again by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Version of the file: 1.
    pub format: u32,
    /// The exit code of the run; `None` if a signal killed it.
    pub exit_code: Option<i32>,
    /// The signal that killed it.
    pub signal: Option<i32>,
    /// The last thing it said.
    pub message: String,
}

/// How a trial stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It was not begun, or its folder is gone.
    New,
    /// A process works on it.
    Running(Holder),
    /// It has got as far as it was to.
    Finished,
    /// It is not done, and nobody works on it.
    Interrupted(String),
    /// It ended with an error.
    Failed(Failure),
}

impl State {
    /// One word for tables and programs.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Running(_) => "running",
            Self::Finished => "finished",
            Self::Interrupted(_) => "interrupted",
            Self::Failed(_) => "failed",
        }
    }
}

/// What a trial has come to.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    /// How it stands.
    pub state: State,
    /// Epochs that ended.
    pub epoch: u64,
    /// The best value of the metric so far, and its epoch.
    pub best: Option<(f64, u64)>,
}

impl Standing {
    /// Of the trial in `dir`, which is done after `epochs`, or when its run says so.
    #[must_use]
    pub fn of(dir: &Path, definition: &Definition, epochs: Option<u64>) -> Self {
        let failed =
            |message: String| State::Failed(Failure { format: 1, exit_code: None, signal: None, message });
        let bare = |state| Self { state, epoch: 0, best: None };
        if let Some(obstacle) = obstacle(dir) {
            let obstacle = obstacle.display();
            return bare(failed(format!("{obstacle} is no folder, as a trial needs there; move it aside")));
        }
        let note = match failure(dir) {
            Ok(note) => note,
            Err(error) => return bare(failed(format!("{FAILURE} can not be read: {error}"))),
        };
        let holder = WorkDirLock::holder(dir);
        let recorded = match Recorded::read(dir) {
            Ok(recorded) => recorded,
            Err(error) => {
                return bare(match (holder, note, error) {
                    (Ok(Some(holder)), ..) => State::Running(holder),
                    (_, Some(note), _) => State::Failed(note),
                    (_, None, ReadError::NoRun { .. }) => State::New,
                    (_, None, error) => failed(error.to_string()),
                });
            }
        };
        let history = &recorded.history;
        let state = match recorded.standing(dir) {
            Ok(RunStanding::Running(holder)) => State::Running(holder),
            Ok(RunStanding::Finished(reason)) if is_done(history, &reason, epochs, dir) => State::Finished,
            Ok(RunStanding::Finished(_)) => {
                note.map_or(State::Interrupted("is to go on".to_owned()), State::Failed)
            }
            Ok(RunStanding::Interrupted(words)) => note.map_or(State::Interrupted(words), State::Failed),
            Err(error) => failed(error.to_string()),
        };
        let epoch = history.epochs.keys().next_back().copied().unwrap_or(0);
        Self { state, epoch, best: best(history, &definition.metric, definition.direction, epochs) }
    }
}

/// What is in the way of a trial's folder: of it, or of one that it is in, something else that has its name.
#[must_use]
pub fn obstacle(dir: &Path) -> Option<PathBuf> {
    let is_there = |path: &&Path| !path.as_os_str().is_empty() && fs::symlink_metadata(path).is_ok();
    let nearest = dir.ancestors().find(is_there)?;
    // A link counts for what it leads to.
    (!nearest.is_dir()).then(|| nearest.to_owned())
}

/// Whether a run that ended has got as far as it was to, and left its model.
fn is_done(history: &History, reason: &str, epochs: Option<u64>, dir: &Path) -> bool {
    let ended = history.finished.as_ref().map_or(0, |finished| finished.epoch);
    let is_far = reason != ALL_EPOCHS || epochs.is_none_or(|epochs| ended >= epochs);
    is_far && dir.join(export::FILE_NAME).is_file()
}

/// The best value up to an epoch, and its epoch; the first of equal ones. What is not finite is no value.
fn best(history: &History, metric: &str, direction: Direction, up_to: Option<u64>) -> Option<(f64, u64)> {
    let epochs = history.epochs.values().filter(|epoch| up_to.is_none_or(|up_to| epoch.epoch <= up_to));
    let values = epochs.filter_map(|epoch| Some((epoch.value(metric)?, epoch.epoch)));
    values
        .filter(|(value, _)| value.is_finite())
        .reduce(|best, next| if direction.improves(next.0, best.0, 0.0) { next } else { best })
}

/// The note of a failure in the folder of a trial, if there is one.
///
/// # Errors
/// If it is there and can not be read.
pub fn failure(dir: &Path) -> io::Result<Option<Failure>> {
    match fs::read(dir.join(FAILURE)) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Notes that the trial in `dir` failed.
///
/// # Errors
/// If it can not be written.
pub fn note_failure(dir: &Path, failure: &Failure) -> Result<(), DiskError> {
    // Numbers and text are always JSON.
    let bytes = serde_json::to_vec_pretty(failure).unwrap_or_default();
    atomic_file::write(&RealDisk, &dir.join(FAILURE), &bytes)
}

/// Takes the note away, before the trial is tried again.
///
/// # Errors
/// If it is there and can not be removed.
pub fn forget_failure(dir: &Path) -> io::Result<()> {
    match fs::remove_file(dir.join(FAILURE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
