//! `trainer diff`: what two checkpoints differ in. Nothing is changed, and ONNX Runtime is not started.

use super::exit::Exit;
use super::failure::Failure;
use super::inspect::checkpoint::{open, shape};
use super::inspect::state::StateReport;
use super::output::print;
use super::table::{Align, Table, number};
use super::tensors::Distance;
use clap::Args;
use rayon::prelude::*;
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};
use trainer_runtime::checkpoint::{Examined, FoundTensor, STATE_TENSOR, TensorCheck};

/// Arguments of `trainer diff`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Ends as diff(1) does: with 0 if tensors and state are equal to the bit, with 1 if they differ; with 2 for wrong usage, with 5
if one of them is damaged. Run id, cause and the epoch a file was written in say where a checkpoint comes from: they are shown
and do not count.

Examples:
  trainer diff exp/checkpoints/best.safetensors exp/checkpoints/last.safetensors
  trainer diff a/checkpoints/final.safetensors b/checkpoints/final.safetensors && echo the same bits")]
pub struct DiffArgs {
    /// File of a checkpoint
    #[arg(value_name = "A")]
    pub a: PathBuf,
    /// File of the checkpoint to hold against it
    #[arg(value_name = "B")]
    pub b: PathBuf,
    /// List the tensors that are equal, too
    #[arg(long)]
    pub all: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs the command and says how the process should end: with 1 if they differ.
///
/// # Errors
/// If one of them is no checkpoint of ours, or does not verify.
pub fn run(args: &DiffArgs, out: &mut dyn Write) -> Result<Exit, Failure> {
    let (a, b) = (open_whole(&args.a)?, open_whole(&args.b)?);
    let report = Report::of(args, &a, &b);
    let exit = if report.equal { Exit::Finished } else { Exit::Failure };
    print(&report, args.json, out)?;
    Ok(exit)
}

/// Opens a checkpoint all of which verifies.
fn open_whole(path: &Path) -> Result<Examined, Failure> {
    if path.is_dir() {
        let shown = path.display();
        let message = format!(
            "{shown} is a folder; give the file of a checkpoint, such as {shown}/checkpoints/last.safetensors"
        );
        return Err(Failure::new(Exit::Usage, message));
    }
    let examined = open(path)?;
    let tensors: Vec<FoundTensor<'_>> = examined.tensors().collect();
    let bad = tensors.par_iter().filter(|tensor| tensor.check() != TensorCheck::Good).count();
    let what = match (examined.fault(), bad) {
        (Some(fault), _) => fault.to_string(),
        (None, 0) => return Ok(examined),
        (None, bad) => format!("{bad} of its {} tensors do not verify", tensors.len()),
    };
    let shown = path.display();
    let message = format!(
        "{shown} is damaged, so it is not compared: {what}; `trainer inspect {shown}` lists what verifies"
    );
    Err(Failure::new(Exit::Damaged, message))
}

/// What they differ in.
#[derive(Debug, Serialize)]
struct Report {
    #[serde(serialize_with = "crate::cli::output::path")]
    a: PathBuf,
    #[serde(serialize_with = "crate::cli::output::path")]
    b: PathBuf,
    /// Whether tensors and state are equal to the bit.
    equal: bool,
    /// Fields of where they come from that differ; they do not count.
    origin: Vec<FieldDifference>,
    /// Fields of the state that differ.
    state: Vec<FieldDifference>,
    summary: Summary,
    tensors: Vec<TensorDifference>,
    #[serde(skip)]
    lists_all: bool,
}

/// A field with its values in both.
#[derive(Debug, Serialize)]
struct FieldDifference {
    field: String,
    a: Value,
    b: Value,
}

/// How many tensors are how.
#[derive(Debug, Default, Serialize)]
struct Summary {
    equal: u64,
    differ: u64,
    other_shape: u64,
    only_in_a: u64,
    only_in_b: u64,
}

#[derive(Debug, Serialize)]
struct TensorDifference {
    name: String,
    /// `equal`, `differs`, `other_shape` (or another type), `only_in_a` or `only_in_b`.
    state: &'static str,
    a: Option<Form>,
    b: Option<Form>,
    /// How far they are apart, where they differ and are of one type and shape.
    distance: Option<Distance>,
}

/// The type and shape of a tensor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Form {
    dtype: String,
    shape: Vec<u64>,
}

impl Form {
    fn of(tensor: &FoundTensor<'_>) -> Self {
        Self { dtype: format!("{:?}", tensor.dtype), shape: tensor.shape.to_vec() }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.dtype, shape(&self.shape))
    }
}

impl Report {
    fn of(args: &DiffArgs, a: &Examined, b: &Examined) -> Self {
        let state = state_differences(a, b);
        let (of_a, of_b) = (by_name(a), by_name(b));
        let names: BTreeSet<&str> = of_a.keys().chain(of_b.keys()).copied().collect();
        let names: Vec<&str> = names.into_iter().collect();
        let tensors: Vec<TensorDifference> =
            names.par_iter().map(|name| TensorDifference::of(name, of_a.get(name), of_b.get(name))).collect();
        let mut summary = Summary::default();
        for tensor in &tensors {
            *summary.count(tensor.state) += 1;
        }
        let equal = state.is_empty() && summary.equal == tensors.len() as u64;
        let origin = origin_differences(a, b);
        let (a, b, lists_all) = (args.a.clone(), args.b.clone(), args.all);
        Self { a, b, equal, origin, state, summary, tensors, lists_all }
    }
}

impl Summary {
    fn count(&mut self, state: &str) -> &mut u64 {
        match state {
            "equal" => &mut self.equal,
            "other_shape" => &mut self.other_shape,
            "only_in_a" => &mut self.only_in_a,
            "only_in_b" => &mut self.only_in_b,
            _ => &mut self.differ,
        }
    }
}

/// The tensors but for the state.
fn by_name(examined: &Examined) -> BTreeMap<&str, FoundTensor<'_>> {
    examined
        .tensors()
        .filter(|tensor| tensor.name != STATE_TENSOR)
        .map(|tensor| (tensor.name, tensor))
        .collect()
}

impl TensorDifference {
    fn of(name: &str, a: Option<&FoundTensor<'_>>, b: Option<&FoundTensor<'_>>) -> Self {
        let (state, distance) = match (a, b) {
            (Some(a), Some(b)) if a.dtype != b.dtype || a.shape != b.shape => ("other_shape", None),
            (Some(a), Some(b)) if a.bytes == b.bytes => ("equal", None),
            (Some(a), Some(b)) => ("differs", Distance::of(a.dtype, a.bytes, b.bytes)),
            (Some(_), None) => ("only_in_a", None),
            (None, _) => ("only_in_b", None),
        };
        Self { name: name.to_owned(), state, a: a.map(Form::of), b: b.map(Form::of), distance }
    }
}

/// Those of these fields that differ.
fn differing(a: Vec<(String, Value)>, b: Vec<(String, Value)>) -> Vec<FieldDifference> {
    let pairs = a.into_iter().zip(b).filter(|((_, a), (_, b))| a != b);
    pairs.map(|((field, a), (_, b))| FieldDifference { field, a, b }).collect()
}

fn origin_differences(a: &Examined, b: &Examined) -> Vec<FieldDifference> {
    let fields = |examined: &Examined| {
        let meta = examined.meta();
        vec![
            ("run_id".to_owned(), Value::from(meta.run_id.to_string())),
            ("cause".to_owned(), Value::from(meta.kind.to_string())),
            ("epoch".to_owned(), Value::from(meta.epoch)),
        ]
    };
    differing(fields(a), fields(b))
}

/// What the states differ in: every field that does; or `state` as a whole, where it is no training's, or where fields that
/// are not shown differ.
fn state_differences(a: &Examined, b: &Examined) -> Vec<FieldDifference> {
    let (step_a, step_b) = (a.meta().step, b.meta().step);
    let (a, b) = (a.state().unwrap_or_default(), b.state().unwrap_or_default());
    if a == b {
        return Vec::new();
    }
    let fields = |state: &[u8], step: u64| {
        let state = StateReport::decode(state)?;
        let mut fields = vec![("step".to_owned(), Value::from(step))];
        fields.extend(state.fields());
        Some(fields)
    };
    let shown = match (fields(a, step_a), fields(b, step_b)) {
        (Some(a), Some(b)) => differing(a, b),
        _ => Vec::new(),
    };
    if !shown.is_empty() {
        return shown;
    }
    let bytes =
        |state: &[u8]| Value::from(format!("{} bytes, CRC32 {:08x}", state.len(), crc32fast::hash(state)));
    vec![FieldDifference { field: "state".to_owned(), a: bytes(a), b: bytes(b) }]
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "A  {}\nB  {}", self.a.display(), self.b.display())?;
        let fields = self.origin.iter().map(|field| (field, "does not count"));
        let fields: Vec<_> = fields.chain(self.state.iter().map(|field| (field, ""))).collect();
        if !fields.is_empty() {
            let columns = [("field", Align::Left), ("A", Align::Left), ("B", Align::Left), ("", Align::Left)];
            let rows: Vec<Vec<String>> = fields
                .iter()
                .map(|(difference, note)| {
                    let FieldDifference { field, a, b } = difference;
                    vec![field.clone(), text(a), text(b), (*note).to_owned()]
                })
                .collect();
            write!(f, "\n{}", Table::new(columns).render(&rows))?;
        }
        let listed = self.tensors.iter().filter(|tensor| self.lists_all || tensor.state != "equal");
        let rows: Vec<Vec<String>> = listed.map(row_of).collect();
        if !rows.is_empty() {
            let table = Table::new([
                ("tensor", Align::Left),
                ("A", Align::Left),
                ("B", Align::Left),
                ("state", Align::Left),
                ("elements differing", Align::Right),
                ("max |A-B|", Align::Right),
                ("|A-B|/|A|", Align::Right),
            ]);
            write!(f, "\n{}", table.render(&rows))?;
        }
        let Summary { equal, differ, other_shape, only_in_a, only_in_b } = self.summary;
        let state = if self.state.is_empty() { "the state is equal" } else { "the state differs" };
        let verdict = if self.equal { "equal" } else { "different" };
        write!(
            f,
            "\n{verdict}: {equal} tensors are equal, {differ} differ, {other_shape} have another type or shape, \
             {only_in_a} are only in A, {only_in_b} only in B; {state}"
        )
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn row_of(tensor: &TensorDifference) -> Vec<String> {
    let form = |form: &Option<Form>| form.as_ref().map_or("-".to_owned(), ToString::to_string);
    let distance = tensor.distance;
    vec![
        tensor.name.clone(),
        form(&tensor.a),
        form(&tensor.b),
        tensor.state.replace('_', " "),
        distance.map_or("-".to_owned(), |distance| distance.differing.to_string()),
        number(distance.map(|distance| distance.max_abs)),
        number(distance.and_then(|distance| distance.relative_l2)),
    ]
}
