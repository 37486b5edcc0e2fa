//! What a server was told of a run: a small file in the work directory.

use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::Path;
use trainer_runtime::atomic_file;
use trainer_runtime::disk::{DiskError, RealDisk};

/// Its name in a work directory.
pub const FILE_NAME: &str = "mlflow.json";

/// What was sent. It is written after each message that was taken, and before each with metrics.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Ledger {
    /// Version of the file: 1.
    pub(super) format: u32,
    /// The server.
    pub(super) uri: String,
    /// The run of the work directory.
    pub(super) trainer_run_id: String,
    /// The run on the server; `None` before it is made.
    pub(super) run_id: Option<String>,
    /// Where the server keeps its artifacts.
    pub(super) artifact_uri: String,
    /// Whether parameters and tags were sent.
    pub(super) has_params: bool,
    /// The last epoch that was sent.
    pub(super) epoch: u64,
    /// All steps up to this one were sent, as far as they are to be.
    pub(super) step: u64,
    /// How many records that discard steps are taken into account.
    pub(super) resets: u64,
    /// The message that was sent last and not confirmed.
    pub(super) pending: Option<Pending>,
    /// The step of the model that was sent.
    pub(super) artifact_step: Option<u64>,
    /// The status that the server has.
    pub(super) status: Option<String>,
}

/// A message with metrics. It is sent again with the same times, by which the server knows values that it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pending {
    /// The time of its values whose steps the journal gives none, in milliseconds since 1970.
    pub(super) timestamp_ms: u64,
    /// Up to which epoch.
    pub(super) epoch: u64,
    /// Up to which step.
    pub(super) step: u64,
}

impl Ledger {
    /// That of the work directory, if it is of this run and server; a new one otherwise. One that can not be understood is
    /// no loss: the server is asked for the run.
    pub(super) fn read(work_dir: &Path, uri: &str, trainer_run_id: &str) -> io::Result<Self> {
        let found: Option<Self> = match fs::read(work_dir.join(FILE_NAME)) {
            Ok(bytes) => serde_json::from_slice(&bytes).ok(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let is_of_run = |ledger: &Self| ledger.uri == uri && ledger.trainer_run_id == trainer_run_id;
        Ok(found.filter(is_of_run).unwrap_or_else(|| Self::new(uri, trainer_run_id)))
    }

    /// Of a run that the server was told nothing of.
    pub(super) fn new(uri: &str, trainer_run_id: &str) -> Self {
        Self { format: 1, uri: uri.to_owned(), trainer_run_id: trainer_run_id.to_owned(), ..Self::default() }
    }

    pub(super) fn write(&self, work_dir: &Path) -> Result<(), DiskError> {
        // Numbers and text are always JSON.
        let bytes = serde_json::to_vec_pretty(self).unwrap_or_default();
        atomic_file::write(&RealDisk, &work_dir.join(FILE_NAME), &bytes)
    }
}
