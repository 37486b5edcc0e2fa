//! `trainer export`: a saved state as an ONNX file for inference, or its weights for PyTorch.

use super::args::GlobalArgs;
use super::exit::Exit;
use super::failure::{Failure, fail};
use super::output::print;
use super::target;
use super::trained::{CheckpointReport, TrainedArgs, find, start};
use crate::train::export::{self, Bits, Compared, ConvertError, Wanted, converted, weights};
use crate::train::infer::{Model, Overwrite, Trained, refuse_existing};
use crate::train::prepare::PrepareError;
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::fmt;
use std::io::Write;
use std::path::PathBuf;
use trainer_runtime::atomic_file;
use trainer_runtime::disk::RealDisk;

/// Arguments of `trainer export`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
A model with another opset, 16-bit weights or a fixed batch is run beside the original one before it is written, and refused if
it computes something else.

Examples:
  trainer export exp --output model.onnx --checkpoint best
  trainer export exp --output old.onnx --opset 17
  trainer export exp --output small.onnx --half
  trainer export exp --output weights.safetensors      for load_state_dict of PyTorch")]
pub struct ExportArgs {
    /// Folder of a run
    #[arg(value_name = "DIR")]
    pub work_dir: PathBuf,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    pub output: PathBuf,
    /// What to write; by the ending of the file if not given
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// Replace the file if it is there
    #[arg(long)]
    pub force: bool,
    /// Version of the default operator set; that of the model if not given
    #[arg(long, value_name = "N")]
    pub opset: Option<i64>,
    /// float16 weights; in an ONNX file computed with as in training, inputs and outputs staying float32
    #[arg(long)]
    pub half: bool,
    /// Examples per batch, for programs that want no free dimension
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=i64::MAX as u64))]
    pub batch: Option<u64>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Which checkpoint, and on what to compute.
    #[command(flatten)]
    pub trained: TrainedArgs,
}

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// The model for inference.
    Onnx,
    /// The weights alone, with PyTorch's names.
    Safetensors,
}

/// Runs the command: the file is written, and a report goes to `out`.
///
/// # Errors
/// With [`Exit::Usage`] for a model that can not be written so, with [`Exit::Damaged`] where the checkpoint does not
/// verify, with [`Exit::StorageFailed`] where the file can not be stored.
pub fn run(args: &ExportArgs, global: &GlobalArgs, out: &mut dyn Write) -> Result<Exit, Failure> {
    let format = format(args)?;
    if format == Format::Safetensors && (args.opset.is_some() || args.batch.is_some()) {
        let message =
            "--opset and --batch are for ONNX files, and weights alone have neither: leave them out";
        return Err(Failure::new(Exit::Usage, message.to_owned()));
    }
    let overwrite = if args.force { Overwrite::Allowed } else { Overwrite::Never };
    target::check(&args.output)?;
    refuse_existing(&args.output, overwrite).map_err(fail(Exit::Usage))?;
    let found = find(&args.work_dir, &args.trained)?;
    let source = found.plan.model.source.clone();
    let trained = Trained::open(found.plan.clone()).map_err(|error| error.of_model(&source))?;
    found.check_model(trained.model_crc32)?;
    let graph = trained.with_state(&found.chosen).map_err(fail(Exit::Changed))?;
    let report = Report {
        checkpoint: CheckpointReport::of(&found.chosen),
        output: args.output.clone(),
        format,
        half: args.half,
        ..Report::default()
    };
    let report = match format {
        Format::Onnx => write_model(args, global, &trained, graph, report)?,
        Format::Safetensors => write_weights(args, &trained, &graph, report)?,
    };
    print(&report, args.json, out)?;
    Ok(Exit::Finished)
}

/// As it is asked for, or by the ending of the file.
fn format(args: &ExportArgs) -> Result<Format, Failure> {
    let ending = args.output.extension().map(|ending| ending.to_string_lossy().to_lowercase());
    match (args.format, ending.as_deref()) {
        (Some(format), _) => Ok(format),
        (None, Some("onnx")) => Ok(Format::Onnx),
        (None, Some("safetensors")) => Ok(Format::Safetensors),
        _ => {
            let output = args.output.display();
            let message = format!(
                "{output} ends neither with .onnx nor with .safetensors; give it one of these endings, or say with `--format` \
                 what to write"
            );
            Err(Failure::new(Exit::Usage, message))
        }
    }
}

fn write_model(
    args: &ExportArgs,
    global: &GlobalArgs,
    trained: &Trained,
    graph: Model,
    mut report: Report,
) -> Result<Report, Failure> {
    let batch = args.batch.map(|batch| usize::try_from(batch).unwrap_or(usize::MAX));
    let wanted = Wanted { opset: args.opset.filter(|opset| *opset != graph.opset), half: args.half, batch };
    let from_opset = graph.opset;
    let mut model = graph;
    if !wanted.is_plain() {
        let (runtime, place) = start(global, &trained.plan)?;
        let made = converted(&model, &trained.plan, wanted, &runtime, place)?;
        report.compared = Some(ComparedReport::of(&made.compared));
        report.halved_weights = made.halved_weights;
        model = made.graph;
    }
    report.opset = Some(model.opset);
    report.model_opset = Some(from_opset);
    report.batch = args.batch;
    report.tensors = model.initializers.len();
    report.bytes = export::write(&model, &RealDisk, &args.output).map_err(fail(Exit::StorageFailed))?;
    Ok(report)
}

fn write_weights(
    args: &ExportArgs,
    trained: &Trained,
    graph: &Model,
    mut report: Report,
) -> Result<Report, Failure> {
    let bits = if args.half { Bits::Sixteen } else { Bits::AsTheyAre };
    let made = weights(trained, graph, bits).map_err(fail(Exit::Usage))?;
    if !made.unknown.is_empty() {
        log::warn!(
            "{} of the names are none of PyTorch's, because the exporter renamed or merged what they were (docs/predicting.md): {}",
            made.unknown.len(),
            made.unknown.join(", ")
        );
    }
    for (name, original) in &made.restored {
        log::info!("`{name}` is stored as `{original}`, transposed back");
    }
    atomic_file::write_among_others(&RealDisk, &args.output, &made.bytes)
        .map_err(fail(Exit::StorageFailed))?;
    report.tensors = made.tensors;
    report.bytes = made.bytes.len();
    report.halved_weights = if args.half { made.tensors } else { 0 };
    report.unknown_names = made.unknown;
    Ok(report)
}

/// What was written. The fields are documented in docs/json.md.
#[derive(Debug, Serialize)]
struct Report {
    checkpoint: CheckpointReport,
    #[serde(serialize_with = "crate::cli::output::path")]
    output: PathBuf,
    format: Format,
    bytes: usize,
    tensors: usize,
    opset: Option<i64>,
    model_opset: Option<i64>,
    half: bool,
    halved_weights: usize,
    batch: Option<u64>,
    compared: Option<ComparedReport>,
    unknown_names: Vec<String>,
}

impl Default for Report {
    fn default() -> Self {
        Self {
            checkpoint: CheckpointReport { path: PathBuf::new(), epoch: 0, step: 0, cause: String::new() },
            output: PathBuf::new(),
            format: Format::Onnx,
            bytes: 0,
            tensors: 0,
            opset: None,
            model_opset: None,
            half: false,
            halved_weights: 0,
            batch: None,
            compared: None,
            unknown_names: Vec::new(),
        }
    }
}

#[derive(Debug, Serialize)]
struct ComparedReport {
    examples: usize,
    data: &'static str,
    outputs: Vec<OutputReport>,
}

#[derive(Debug, Serialize)]
struct OutputReport {
    name: String,
    largest_difference: f64,
    largest_value: f64,
}

impl ComparedReport {
    fn of(compared: &Compared) -> Self {
        let outputs = compared.outputs.iter().map(|output| OutputReport {
            name: output.name.clone(),
            largest_difference: output.difference,
            largest_value: output.largest,
        });
        Self { examples: compared.examples, data: compared.data, outputs: outputs.collect() }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { checkpoint, output, bytes, tensors, .. } = self;
        write!(f, "{}: ", output.display())?;
        match (self.opset, self.model_opset) {
            (Some(opset), Some(of_model)) if opset != of_model => {
                write!(f, "ONNX, opset {opset} (the model's is {of_model})")?
            }
            (Some(opset), _) => write!(f, "ONNX, opset {opset}")?,
            _ => write!(f, "safetensors")?,
        }
        write!(f, ", {tensors} tensors, {bytes} bytes")?;
        if self.half {
            write!(f, ", {} tensors in float16", self.halved_weights)?;
        }
        if let Some(batch) = self.batch {
            write!(f, ", batches of {batch}")?;
        }
        writeln!(f)?;
        writeln!(
            f,
            "from {}: epoch {}, step {}",
            checkpoint.path.display(),
            checkpoint.epoch,
            checkpoint.step
        )?;
        let Some(compared) = &self.compared else { return Ok(()) };
        for OutputReport { name, largest_difference, largest_value } in &compared.outputs {
            writeln!(
                f,
                "output {name} differs by at most {largest_difference:.3e} where the largest value is {largest_value:.4}, on {} \
                 examples ({})",
                compared.examples, compared.data
            )?;
        }
        Ok(())
    }
}

impl From<ConvertError> for Failure {
    fn from(error: ConvertError) -> Self {
        match error {
            ConvertError::Engine(error) => PrepareError::Engine(error).into(),
            other => fail(Exit::Usage)(other),
        }
    }
}
