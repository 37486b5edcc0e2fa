//! `trainer predict`: the answers of a trained model to examples without targets.

use super::args::GlobalArgs;
use super::exit::Exit;
use super::failure::{Failure, fail};
use super::output::print;
use super::run::counted;
use super::target;
use super::trained::{CheckpointReport, TrainedArgs, find, start};
use crate::config::{self, FlagValue, Plan, Value};
use crate::report::progress::Verbosity;
use crate::report::rows::RowsProgress;
use crate::train::infer::{
    Answer, Overwrite, PredictError, Predictor, Trained, WriteError, Writer, inference_file, refuse_existing,
};
use crate::train::prepare::PrepareError;
use clap::Args;
use serde::Serialize;
use std::fmt;
use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

/// Arguments of `trainer predict`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Inputs are found and scaled as the settings of the run say; targets are not needed. Of a model.onnx alone, they are called as
its inputs.

Examples:
  trainer predict exp --input new.npz --output answers.npz
  trainer predict exp --input new.csv --output classes.csv --argmax
  trainer predict exp --input photos/ --output answers.csv --probabilities --checkpoint last
  trainer predict model.onnx --input new.npz --output answers.npz")]
pub struct PredictArgs {
    /// Folder of a run, or an .onnx file
    #[arg(value_name = "DIR")]
    pub source: PathBuf,
    /// The examples: an .npz, .npy, .csv (also .csv.gz) or IDX file, or a folder of images
    #[arg(long, value_name = "FILE")]
    pub input: PathBuf,
    /// The answers: an .npz or .csv file
    #[arg(long, value_name = "FILE")]
    pub output: PathBuf,
    /// Replace the file of the answers if it is there
    #[arg(long)]
    pub force: bool,
    /// Examples per batch; as the run validates if not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub batch_size: Option<u64>,
    /// Which outputs of the model, in this order; all if not given
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub output_names: Vec<String>,
    /// The number of the class with the largest value (`prediction`) instead of the outputs
    #[arg(long)]
    pub argmax: bool,
    /// Probabilities (`probability`) instead of the outputs
    #[arg(long, conflicts_with = "argmax")]
    pub probabilities: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Which checkpoint, and on what to compute.
    #[command(flatten)]
    pub trained: TrainedArgs,
}

/// Runs the command: the answers go to a file, and a report to `out`.
///
/// # Errors
/// With [`Exit::Usage`] for examples that do not fit, with [`Exit::Damaged`] where the checkpoint does not verify, with
/// [`Exit::StorageFailed`] where the answers can not be stored.
pub fn run(args: &PredictArgs, global: &GlobalArgs, out: &mut dyn Write) -> Result<Exit, Failure> {
    let overwrite = if args.force { Overwrite::Allowed } else { Overwrite::Never };
    target::check(&args.output)?;
    refuse_existing(&args.output, overwrite).map_err(PredictError::Write)?;
    if target::is_same_file(&args.input, &args.output) {
        let message =
            format!("{} is the file of the examples; give the answers another name", args.output.display());
        return Err(Failure::new(Exit::Usage, message));
    }
    let (plan, graph, checkpoint) = if args.source.is_file() { of_file(args)? } else { of_run(args)? };
    let (runtime, place) = start(global, &plan)?;
    let answer = match (args.argmax, args.probabilities) {
        (true, _) => Answer::Argmax,
        (_, true) => Answer::Probabilities,
        _ => Answer::Outputs,
    };
    let mut predictor = Predictor::open(graph, &plan, &args.output_names, answer, &runtime, place)?;
    let batch = batch_size(args, &plan, &predictor);
    let mut examples = predictor.examples(&args.input)?;
    let mut writer =
        Writer::create(&args.output, overwrite, examples.file_names()).map_err(PredictError::Write)?;
    let verbosity = if global.quiet { Verbosity::Quiet } else { Verbosity::Normal };
    let progress = RowsProgress::new(examples.rows().map(|rows| rows as u64), verbosity);
    let since = Instant::now();
    let rows = predictor.answer_all(&mut examples, batch, &mut writer, &mut |done| progress.set(done))?;
    drop(progress);
    writer.publish().map_err(PredictError::Write)?;
    let report = Report {
        checkpoint,
        model: args.source.is_file().then(|| args.source.clone()),
        input: args.input.clone(),
        output: args.output.clone(),
        rows,
        batch_size: batch,
        answers: predictor.answers().map(str::to_owned).collect(),
        seconds: since.elapsed().as_secs_f64(),
    };
    print(&report, args.json, out)?;
    Ok(Exit::Finished)
}

type Model = (Plan, crate::train::infer::Model, Option<CheckpointReport>);

fn of_run(args: &PredictArgs) -> Result<Model, Failure> {
    let found = find(&args.source, &args.trained)?;
    let source = found.plan.model.source.clone();
    let trained = Trained::open(found.plan.clone()).map_err(|error| error.of_model(&source))?;
    found.check_model(trained.model_crc32)?;
    let graph = trained.with_state(&found.chosen).map_err(fail(Exit::Changed))?;
    Ok((trained.plan, graph, Some(CheckpointReport::of(&found.chosen))))
}

/// A model without a run: inputs are arrays of their names, unless settings say otherwise.
fn of_file(args: &PredictArgs) -> Result<Model, Failure> {
    if args.trained.checkpoint.is_some() {
        let message =
            "--checkpoint names a checkpoint of a run, and the model is a file: give the folder of the run";
        return Err(Failure::new(Exit::Usage, message.to_owned()));
    }
    let graph = inference_file(&args.source)?;
    let mut sources = args.trained.sources(None);
    sources.without_data = true;
    let value = Value::Text(args.source.to_string_lossy().into_owned());
    sources.flags.push(FlagValue { flag: "DIR", key: "model.onnx", value });
    let plan = config::load(&sources).map_err(fail(Exit::Usage))?.plan;
    Ok((plan, graph, None))
}

/// As asked for, as the model takes it, or as the run validates.
fn batch_size(args: &PredictArgs, plan: &Plan, predictor: &Predictor) -> usize {
    let of_plan = plan.train.eval_batch_size.unwrap_or(plan.train.batch_size);
    let asked = args.batch_size.map(|size| usize::try_from(size).unwrap_or(usize::MAX));
    match (predictor.fixed_batch(), asked) {
        (Some(fixed), Some(asked)) if fixed != asked => {
            log::warn!(
                "the model takes batches of {fixed} examples and no others; --batch-size {asked} is not used"
            );
            fixed
        }
        (Some(fixed), _) => fixed,
        (None, asked) => asked.unwrap_or(of_plan),
    }
}

/// What was answered. The fields are documented in docs/json.md.
#[derive(Debug, Serialize)]
struct Report {
    checkpoint: Option<CheckpointReport>,
    #[serde(serialize_with = "crate::cli::output::optional_path")]
    model: Option<PathBuf>,
    #[serde(serialize_with = "crate::cli::output::path")]
    input: PathBuf,
    #[serde(serialize_with = "crate::cli::output::path")]
    output: PathBuf,
    rows: u64,
    batch_size: usize,
    answers: Vec<String>,
    seconds: f64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} for {}, in {:.1} s",
            self.output.display(),
            self.answers.join(", "),
            counted(self.rows, "example"),
            self.seconds
        )
    }
}

impl From<PredictError> for Failure {
    fn from(error: PredictError) -> Self {
        match error {
            PredictError::Engine(error) => PrepareError::Engine(error).into(),
            PredictError::Write(WriteError::Disk(_)) => fail(Exit::StorageFailed)(error),
            other => fail(Exit::Usage)(other),
        }
    }
}
