//! What one checkpoint holds, and which of its tensors verify.

use super::state::StateReport;
use super::{InspectArgs, check_is_file, foreign};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::table::{Align, Table, number, size};
use crate::cli::tensors::Statistics;
use crate::report::recorded::Recorded;
use crate::train::event::EpochDone;
use rayon::prelude::*;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};
use trainer_runtime::checkpoint::{Examined, FORMAT_VERSION, FoundTensor, Meta, STATE_TENSOR, TensorCheck};
use trainer_runtime::disk::RealDisk;

/// A checkpoint.
#[derive(Debug, Serialize)]
pub struct CheckpointReport {
    #[serde(serialize_with = "crate::cli::output::path")]
    path: PathBuf,
    len_bytes: u64,
    format_version: u32,
    run_id: String,
    /// `step`, `epoch`, or `emergency-` and why.
    cause: String,
    epoch: u64,
    step: u64,
    /// Whether everything verifies.
    good: bool,
    /// What is wrong with the file as a whole.
    damage: Option<String>,
    /// Nothing if its bytes do not verify, or another program embeds the format.
    state: Option<StateReport>,
    /// Losses and metrics at the end of the epoch that ended with this step, by their columns; empty if the journal of the
    /// run does not lie beside the folder of the checkpoint, or no epoch ended there.
    metrics: BTreeMap<String, f64>,
    tensors: Vec<TensorReport>,
}

/// A tensor of a checkpoint.
#[derive(Debug, Serialize)]
pub struct TensorReport {
    /// Its name.
    pub name: String,
    /// The type of its elements, as in safetensors.
    pub dtype: String,
    /// Its dimensions, outermost first.
    pub shape: Vec<u64>,
    /// The bytes that it must have.
    pub len_bytes: u64,
    /// The checksum that is stored, as 8 hexadecimal digits.
    pub crc32: String,
    /// `good`, `damaged`, or `cut` where the file ends before it does.
    pub checksum: &'static str,
    /// What its elements come to; nothing for what does not verify, and for the state.
    pub statistics: Option<Statistics>,
}

impl TensorReport {
    fn of(tensor: &FoundTensor<'_>) -> Self {
        let check = tensor.check();
        let has_numbers = check == TensorCheck::Good && tensor.name != STATE_TENSOR;
        Self {
            name: tensor.name.to_owned(),
            dtype: format!("{:?}", tensor.dtype),
            shape: tensor.shape.to_vec(),
            len_bytes: tensor.expected_bytes,
            crc32: format!("{:08x}", tensor.crc),
            checksum: match check {
                TensorCheck::Good => "good",
                TensorCheck::Damaged { .. } => "damaged",
                TensorCheck::Cut { .. } => "cut",
            },
            statistics: has_numbers.then(|| Statistics::of(tensor.dtype, tensor.bytes)).flatten(),
        }
    }
}

impl CheckpointReport {
    /// Examines a file.
    ///
    /// # Errors
    /// If it can not be read, or its header does not verify.
    fn of(path: &Path) -> Result<Self, Failure> {
        let examined = open(path)?;
        let found: Vec<FoundTensor<'_>> = examined.tensors().collect();
        let tensors: Vec<TensorReport> = found.par_iter().map(TensorReport::of).collect();
        let damage = examined.fault().map(|fault| fault.to_string());
        let meta = examined.meta();
        Ok(Self {
            path: path.to_owned(),
            len_bytes: examined.len_bytes(),
            format_version: FORMAT_VERSION,
            run_id: meta.run_id.to_string(),
            cause: meta.kind.to_string(),
            epoch: meta.epoch,
            step: meta.step,
            good: damage.is_none() && tensors.iter().all(|tensor| tensor.checksum == "good"),
            damage,
            state: examined.state().and_then(StateReport::decode),
            metrics: metrics(path, meta),
            tensors,
        })
    }
}

/// What the journal of the checkpoint's run, where that lies beside it, says of the epoch that ended with it.
fn metrics(path: &Path, meta: &Meta) -> BTreeMap<String, f64> {
    let work_dir = path.parent().map(|dir| dir.join(".."));
    let recorded = work_dir.and_then(|dir| Recorded::read(&dir).ok());
    let Some(recorded) = recorded.filter(|recorded| recorded.run_id == meta.run_id) else {
        return BTreeMap::new();
    };
    let epoch = recorded.history.epochs.values().rfind(|epoch| epoch.step == meta.step);
    let columns = |epoch: &EpochDone| {
        let train_loss = ("train_loss".to_owned(), epoch.train_loss);
        epoch.validation.iter().cloned().chain([train_loss]).collect()
    };
    epoch.map(columns).unwrap_or_default()
}

/// Opens a checkpoint whose header verifies.
///
/// # Errors
/// If the file can not be read, is no checkpoint of ours, or its header is damaged.
pub fn open(path: &Path) -> Result<Examined, Failure> {
    check_is_file(path)?;
    Examined::open(&RealDisk, path).map_err(|error| foreign::refuse(path, error))
}

pub(super) fn print(args: &InspectArgs, out: &mut dyn Write) -> Result<Exit, Failure> {
    let report = CheckpointReport::of(&args.path)?;
    let exit = if report.good { Exit::Finished } else { Exit::Damaged };
    output::print(&report, args.json, out)?;
    Ok(exit)
}

impl fmt::Display for CheckpointReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |name: &str, value: &str| writeln!(f, "{name:<14}{value}");
        row("checkpoint", &self.path.display().to_string())?;
        row("run", &self.run_id)?;
        row("cause", &self.cause)?;
        row("epoch", &self.epoch.to_string())?;
        row("step", &self.step.to_string())?;
        row("size", &format!("{} ({} bytes)", size(self.len_bytes), self.len_bytes))?;
        match &self.state {
            Some(state) => state.lines().iter().try_for_each(|(name, value)| row(name, value))?,
            None => row("state", "not one that this version of `trainer run` writes, or damaged")?,
        }
        self.metrics.iter().try_for_each(|(column, value)| row(column, &number(Some(*value))))?;
        let table = Table::new([
            ("tensor", Align::Left),
            ("dtype", Align::Left),
            ("shape", Align::Left),
            ("norm", Align::Right),
            ("min", Align::Right),
            ("max", Align::Right),
            ("not finite", Align::Right),
            ("checksum", Align::Left),
        ]);
        let rows: Vec<Vec<String>> = self.tensors.iter().map(row_of).collect();
        write!(f, "\n{}\n", table.render(&rows))?;
        if let Some(damage) = &self.damage {
            writeln!(f, "DAMAGED: {damage}")?;
        }
        let bad = self.tensors.iter().filter(|tensor| tensor.checksum != "good").count();
        match (bad, self.tensors.len()) {
            (0, all) if self.good => write!(f, "all {all} tensors verify"),
            (0, all) => write!(f, "all {all} tensors verify, the file does not"),
            (bad, all) => write!(f, "DAMAGED: {bad} of {all} tensors do not verify"),
        }
    }
}

fn row_of(tensor: &TensorReport) -> Vec<String> {
    let statistics = tensor.statistics;
    let state = if tensor.checksum == "good" { "good" } else { &tensor.checksum.to_uppercase() };
    vec![
        tensor.name.clone(),
        tensor.dtype.clone(),
        shape(&tensor.shape),
        number(statistics.map(|statistics| statistics.norm)),
        number(statistics.and_then(|statistics| statistics.min)),
        number(statistics.and_then(|statistics| statistics.max)),
        statistics.map_or("-".to_owned(), |statistics| statistics.non_finite.to_string()),
        state.to_owned(),
    ]
}

/// `[64, 3, 3, 3]`; `[]` for a scalar.
#[must_use]
pub fn shape(dims: &[u64]) -> String {
    let dims: Vec<String> = dims.iter().map(ToString::to_string).collect();
    format!("[{}]", dims.join(", "))
}
