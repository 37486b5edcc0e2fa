//! `trainer check`: whether a model can be trained here, without data.

use super::args::GlobalArgs;
use super::exit::Exit;
use super::failure::{Failure, fail};
use super::output::print_text;
use super::run::load_library;
use super::settings_args::SettingsArgs;
use super::table::size;
use crate::config::{self, FlagValue, Origin, Value};
use crate::engine::device::choose;
use crate::engine::library::Host;
use crate::train::check::{
    BatchReport, DimReport, LossChoice, ParametersReport, PortReport, Report, check, read,
};
use crate::train::keeper::SETTINGS;
use clap::Args;
use std::io::Write;
use std::path::PathBuf;

/// Arguments of `trainer check`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Ends with 0 if the model can be trained here, and otherwise as `trainer run` would: with 2 for the model or the settings,
with 1 if ONNX Runtime can not be loaded. The report goes to stdout, what is wrong to stderr, too.

Examples:
  trainer check model.onnx                                   everything about it, and settings to begin with
  trainer check model.onnx --set model.dimensions.seq=128    with a size for a free dimension
  trainer check --config my.toml --json                      the model and loss of settings, for a program")]
pub struct CheckArgs {
    /// The ONNX file; that of the settings if it is not given
    #[arg(value_name = "MODEL")]
    pub model: Option<PathBuf>,
    /// Folder of a run whose settings are taken first
    #[arg(long, value_name = "DIR")]
    pub work_dir: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Settings.
    #[command(flatten)]
    pub settings: SettingsArgs,
}

/// Most names of parameters and nodes in the report for people; `--json` has all.
const LISTED: usize = 12;

/// Runs the command: the report goes to `out`, and where the model can not be trained the error says why.
///
/// # Errors
/// As a run with this model would end: with [`Exit::Usage`] for the model or the settings, with [`Exit::Failure`] if
/// ONNX Runtime can not be loaded.
pub fn run(args: &CheckArgs, global: &GlobalArgs, out: &mut dyn Write) -> Result<Exit, Failure> {
    let mut sources = args.settings.sources(None);
    sources.work_dir_file = args.work_dir.as_ref().map(|dir| dir.join(SETTINGS));
    if let (Some(dir), Some(settings)) = (&args.work_dir, &sources.work_dir_file)
        && !settings.is_file()
    {
        return Err(Failure::not_a_run(dir, &format!("no {SETTINGS}"), ""));
    }
    sources.without_data = true;
    if let Some(model) = &args.model {
        let value = Value::Text(model.to_string_lossy().into_owned());
        sources.flags.push(FlagValue { flag: "MODEL", key: "model.onnx", value });
    }
    let loaded = config::load(&sources).map_err(fail(Exit::Usage))?;
    let choice = match loaded.origin("loss.kind") {
        Origin::Default => LossChoice::Suggested,
        _ => LossChoice::Given,
    };
    let plan = loaded.plan;
    let candidate = read(plan.clone())?;
    let host = Host::of_this_process();
    let runtime = load_library(global, &plan, &host)?;
    let chosen = choose(plan.device, &runtime, &host).map_err(fail(Exit::Failure))?;
    log::debug!("ONNX Runtime {} on {}", runtime.version, chosen.place);
    let report = check(candidate, choice, &runtime, chosen.place);
    let text = if args.json { json(&report) } else { text(&report) };
    print_text(&text, out)?;
    if report.trainable {
        return Ok(Exit::Finished);
    }
    let reasons: Vec<String> = report.problems.iter().map(|problem| problem.message.clone()).collect();
    let path = report.file.path.display();
    Err(Failure::new(Exit::Usage, format!("{path} can not be trained here: {}", reasons.join("\n"))))
}

fn json(report: &Report) -> String {
    let text = serde_json::to_string_pretty(report).expect("names and numbers are always JSON");
    text + "\n"
}

/// The report for people: a title per part, the facts below it.
fn text(report: &Report) -> String {
    let mut page = Page::default();
    file(report, &mut page);
    parameters(&report.parameters, &mut page);
    operators(report, &mut page);
    memory(report, &mut page);
    suggestion(report, &mut page);
    for warning in &report.warnings {
        page.row("note", &warning.message);
    }
    for problem in &report.problems {
        page.row("problem", &problem.message);
    }
    let verdict = if report.trainable { "it can be trained here" } else { "it can not be trained here" };
    page.row("verdict", verdict);
    page.0
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn row(&mut self, name: &str, value: &str) {
        for (position, line) in value.lines().enumerate() {
            let name = if position == 0 { name } else { "" };
            self.0 += format!("{name:<11} {line}").trim_end();
            self.0.push('\n');
        }
    }
}

fn file(report: &Report, page: &mut Page) {
    let file = &report.file;
    let others = file.other_opsets.iter().map(|(domain, version)| format!(", {domain} {version}"));
    let producer = file.producer.as_ref().map(|producer| format!(", written by {producer}"));
    page.row("file", &file.path.display().to_string());
    page.row(
        "",
        &format!(
            "opset {}{}, IR version {}, {}{}",
            file.opset,
            others.collect::<String>(),
            file.ir_version,
            size(file.bytes as u64),
            producer.unwrap_or_default()
        ),
    );
    for (title, ports) in [("input", &report.inputs), ("output", &report.outputs)] {
        ports.iter().for_each(|port| page.row(title, &port_text(port)));
    }
    for dimension in &report.free_dimensions {
        let what = match (dimension.is_batch, dimension.size, dimension.is_assumed) {
            (true, ..) => "is the batch".to_owned(),
            (false, Some(size), true) => format!(
                "is free and was taken as {size}; set it with `--set model.dimensions.{}=N`",
                dimension.name
            ),
            (false, size, _) => format!("is {}, by the settings", size.unwrap_or(0)),
        };
        page.row("dimension", &format!("{} {what}", dimension.name));
    }
}

fn port_text(port: &PortReport) -> String {
    let dims = port.shape.as_ref().map_or("of unknown shape".to_owned(), |dims| {
        let dims = dims.iter().map(|dim| match dim {
            DimReport::Size(size) => size.to_string(),
            DimReport::Symbol(symbol) => symbol.clone(),
            DimReport::Free(_) => "?".to_owned(),
        });
        format!("[{}]", dims.collect::<Vec<_>>().join(", "))
    });
    format!("{} {} {dims}", port.name, port.dtype.as_deref().unwrap_or("of unknown type"))
}

fn listed<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    let count = names.len();
    let mut names: Vec<String> = names.take(LISTED).map(str::to_owned).collect();
    if count > LISTED {
        names.push(format!("and {} more", count - LISTED));
    }
    names.join(", ")
}

fn parameters(found: &ParametersReport, page: &mut Page) {
    let statistics = match found.statistics.len() {
        0 => String::new(),
        count => format!("; {count} tensors of running statistics"),
    };
    page.row("parameters", &format!("{} in {} tensors{statistics}", found.elements, found.trained.len()));
    for reason in ["frozen", "no_path_to_loss"] {
        let names: Vec<&str> = found
            .not_trained
            .iter()
            .filter(|tensor| tensor.reason == reason)
            .map(|tensor| tensor.name.as_str())
            .collect();
        let why = if reason == "frozen" { "frozen" } else { "not trained, the loss does not depend on them" };
        if !names.is_empty() {
            page.row("", &format!("{why}: {}", listed(names.into_iter())));
        }
    }
    if !found.without_gradient.is_empty() {
        let names = listed(found.without_gradient.iter().map(String::as_str));
        page.row(
            "",
            &format!("will not change, only operators without a gradient lead to the loss: {names}"),
        );
    }
    if !found.doubtful.is_empty() {
        let names = listed(found.doubtful.iter().map(String::as_str));
        page.row(
            "",
            &format!(
                "no layer reads these as its weight; freeze those that are tables (`model.freeze`): {names}"
            ),
        );
    }
    if !found.tables.is_empty() {
        let names = listed(found.tables.iter().map(|tensor| tensor.name.as_str()));
        page.row("", &format!("tables of integers or truth values, which are not trained: {names}"));
    }
}

fn operators(report: &Report, page: &mut Page) {
    let counts = report.operators.iter().map(|operator| format!("{} {}", operator.nodes, operator.op));
    let nodes: usize = report.operators.iter().map(|operator| operator.nodes).sum();
    page.row("operators", &format!("{nodes} nodes: {}", counts.collect::<Vec<_>>().join(", ")));
}

fn memory(report: &Report, page: &mut Page) {
    let memory = &report.memory;
    page.row(
        "memory",
        &format!(
            "{} parameters, {} gradients, {} optimizer and statistics, {} second set while a checkpoint is written",
            size(memory.parameters_bytes as u64),
            size(memory.gradients_bytes as u64),
            size(memory.optimizer_bytes as u64),
            size(memory.spare_bytes as u64)
        ),
    );
    let row = |batch: &BatchReport| match (&batch.problem, batch.activation_bytes, batch.total_bytes) {
        (None, Some(activations), Some(total)) => {
            format!(
                "{:>5} examples at once: {} activations, {} in all",
                batch.batch,
                size(activations as u64),
                size(total as u64)
            )
        }
        (problem, ..) => {
            format!("{:>5} examples at once: {}", batch.batch, problem.as_deref().unwrap_or_default())
        }
    };
    memory.batches.iter().for_each(|batch| page.row("", &row(batch)));
    if !memory.batches.is_empty() {
        page.row("", "estimated from shapes; the program and ONNX Runtime take about 100 MB more");
    }
}

fn suggestion(report: &Report, page: &mut Page) {
    let Some(suggestion) = &report.suggestion else { return };
    let metrics = match suggestion.metrics.as_slice() {
        [] => String::new(),
        metrics => format!(" and {}", metrics.join(", ")),
    };
    page.row("suggested", &format!("{}{metrics}: {}", suggestion.loss, suggestion.reason));
    suggestion.note.iter().for_each(|note| page.row("", note));
    page.row("", "");
    for line in suggestion.toml.lines() {
        page.0 += format!("    {line}").trim_end();
        page.0.push('\n');
    }
    page.0.push('\n');
}
