//! `trainer eval`: loss and metrics of a saved state. Nothing is changed and no lock is taken, so it works while the run
//! goes on.

use super::args::GlobalArgs;
use super::exit::Exit;
use super::failure::{Failure, fail};
use super::output::print;
use super::trained::{CheckpointReport, Found, TrainedArgs, find, start};
use crate::train::batching::Batching;
use crate::train::evaluate::{EvaluateError, Measured};
use crate::train::event::EpochDone;
use crate::train::infer::{Evaluator, Examples, OpenError, PartOfData};
use crate::train::resume::decode_saved;
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;
use std::path::PathBuf;
use trainer_runtime::checkpoint::Kind;

/// Arguments of `trainer eval`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
With the threads, the device and the library of the run, the numbers are those that the run recorded, to the bit.

Examples:
  trainer eval exp                                    the best checkpoint on the validation data of the run
  trainer eval exp --checkpoint epoch:3 --json
  trainer eval exp --data test.npz                    other data, with arrays of the same names")]
pub struct EvalArgs {
    /// Folder of a run
    #[arg(value_name = "DIR")]
    pub work_dir: PathBuf,
    /// Evaluate on this file (or folder of images) instead of the data of the settings
    #[arg(long, value_name = "FILE", conflicts_with = "split")]
    pub data: Option<PathBuf>,
    /// Which part of the data of the settings
    #[arg(long, value_enum, default_value_t = SplitArg::Validation)]
    pub split: SplitArg,
    /// Examples per batch; as the run validates if not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub batch_size: Option<u64>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Which checkpoint, and on what to compute.
    #[command(flatten)]
    pub trained: TrainedArgs,
}

/// A part of the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SplitArg {
    /// What the model is measured on.
    Validation,
    /// What it is trained on.
    Train,
}

/// Runs the command: the report goes to `out`.
///
/// # Errors
/// With [`Exit::Usage`] where there is nothing to evaluate, with [`Exit::Damaged`] where the checkpoint does not verify.
pub fn run(args: &EvalArgs, global: &GlobalArgs, out: &mut dyn Write) -> Result<Exit, Failure> {
    let found = find(&args.work_dir, &args.trained)?;
    let (runtime, place) = start(global, &found.plan)?;
    let examples = match (&args.data, args.split) {
        (Some(path), _) => Examples::Of(path.clone()),
        (None, SplitArg::Validation) => Examples::OfSettings(PartOfData::Validation),
        (None, SplitArg::Train) => Examples::OfSettings(PartOfData::Train),
    };
    let eval_batch = eval_batch(args, &found)?;
    let mut evaluator = Evaluator::open(found.plan.clone(), &examples, eval_batch, &runtime, place)?;
    found.check_model(evaluator.model_crc32)?;
    for line in evaluator.load(&found.chosen).map_err(fail(Exit::Changed))? {
        log::warn!("{line}");
    }
    let measured = evaluator.measure().map_err(|error| match error {
        EvaluateError::Engine(error) => Failure::from(crate::train::prepare::PrepareError::Engine(error)),
        EvaluateError::Load(_) | EvaluateError::Metric(_) => fail(Exit::Usage)(error),
    })?;
    let of_validation = examples == Examples::OfSettings(PartOfData::Validation);
    let report = Report {
        checkpoint: CheckpointReport::of(&found.chosen),
        data: args.data.clone(),
        split: match (&args.data, args.split) {
            (Some(_), _) => None,
            (None, SplitArg::Validation) => Some("validation"),
            (None, SplitArg::Train) => Some("train"),
        },
        examples: evaluator.examples(),
        batch_size: evaluator.eval_batch(),
        recorded: recorded(&found).filter(|_| of_validation).map(|epoch| {
            let columns = epoch.validation.iter();
            columns.map(|(name, value)| (name.trim_start_matches("val_").to_owned(), *value)).collect()
        }),
        loss: measured.loss,
        metrics: measured.metrics.iter().map(|(metric, value)| (metric.to_string(), *value)).collect(),
        confusion: measured.confusion.as_ref().map(|matrix| {
            let row = |truth| (0..matrix.classes()).map(|predicted| matrix.count(truth, predicted)).collect();
            (0..matrix.classes()).map(row).collect()
        }),
        measured,
    };
    print(&report, args.json, out)?;
    Ok(Exit::Finished)
}

/// In which batches the run validated at that place, so that the bits are the same.
fn eval_batch(args: &EvalArgs, found: &Found) -> Result<usize, Failure> {
    if let Some(size) = args.batch_size {
        return Ok(usize::try_from(size).unwrap_or(usize::MAX));
    }
    let (_, of_plan) = Batching::of_plan(&found.plan.train);
    let Some(recorded) = &found.recorded else { return Ok(of_plan) };
    let saved = decode_saved(found.chosen.name(), &found.chosen.checkpoint).map_err(fail(Exit::Damaged))?;
    let journaled = recorded.history.batching_at((saved.epoch, saved.batch));
    Ok(journaled.map_or(of_plan, |batching| batching.eval_batch.min(of_plan)))
}

/// What the run itself measured for this state, if it did.
fn recorded(found: &Found) -> Option<&EpochDone> {
    let meta = found.chosen.meta();
    let recorded = found.recorded.as_ref().filter(|recorded| recorded.run_id == meta.run_id)?;
    let epoch = recorded.history.epochs.get(&meta.epoch)?;
    (meta.kind == Kind::Epoch && epoch.step == meta.step && !epoch.validation.is_empty()).then_some(epoch)
}

/// What was measured. The fields are documented in docs/json.md.
#[derive(Debug, Serialize)]
struct Report {
    checkpoint: CheckpointReport,
    #[serde(serialize_with = "crate::cli::output::optional_path")]
    data: Option<PathBuf>,
    split: Option<&'static str>,
    examples: usize,
    batch_size: usize,
    loss: f64,
    metrics: BTreeMap<String, f64>,
    confusion: Option<Vec<Vec<u64>>>,
    recorded: Option<BTreeMap<String, f64>>,
    #[serde(skip)]
    measured: Measured,
}

impl Report {
    /// Whether the run recorded the same bits; nothing where it recorded none.
    fn is_as_recorded(&self) -> Option<bool> {
        let recorded = self.recorded.as_ref()?;
        let is_equal = |name: &str, value: f64| {
            recorded.get(name).is_none_or(|recorded| recorded.to_bits() == value.to_bits())
        };
        let metrics = self.metrics.iter().all(|(name, value)| is_equal(name, *value));
        Some(metrics && is_equal("loss", self.loss))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CheckpointReport { path, epoch, step, .. } = &self.checkpoint;
        writeln!(f, "checkpoint  {}: epoch {epoch}, step {step}", path.display())?;
        let data = match (&self.data, self.split) {
            (Some(path), _) => path.display().to_string(),
            (None, Some("train")) => "training data of the run".to_owned(),
            (None, _) => "validation data of the run".to_owned(),
        };
        writeln!(f, "data        {data}, {} examples", self.examples)?;
        writeln!(f, "loss        {:.6}", self.loss)?;
        for (metric, value) in &self.measured.metrics {
            writeln!(f, "{:<11} {value:.6}", metric.to_string())?;
        }
        match self.is_as_recorded() {
            Some(true) => writeln!(f, "            as the run recorded them, to the bit")?,
            Some(false) => {
                let values = self.recorded.iter().flatten();
                let values: Vec<String> = values.map(|(name, value)| format!("{name} {value:.6}")).collect();
                writeln!(
                    f,
                    "            the run recorded {}: data, settings, device, threads or library are others now",
                    values.join(", ")
                )?;
            }
            None => {}
        }
        match self.measured.confusion.as_ref().filter(|matrix| matrix.classes() <= PRINTED_CLASSES) {
            Some(matrix) => write!(
                f,
                "confusion, a row per true class, a column per predicted one:\n{}",
                matrix.to_table()
            ),
            None => Ok(()),
        }
    }
}

/// Most classes of a confusion matrix that is printed for people; `--json` has it in any case.
const PRINTED_CLASSES: usize = 24;

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Prepare(error) => (*error).into(),
            other => fail(Exit::Usage)(other),
        }
    }
}
