//! The losses of a plan, attached to a graph: which outputs and targets each of them takes.

use super::{Feed, StepError, StepSpec, listing};
use crate::config::{LossKind, LossPlan, TargetUse};
use crate::graph::emit::{Emit, Value};
use crate::graph::loss::{self, Ignored, LossParts, Operands};
use crate::graph::model::Graph;
use crate::graph::tensor::{Dtype, ValueType};

/// An array of the data that a loss reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Name under `[data.targets]`.
    pub name: String,
    /// `I64` for class labels, which have one element per example and position; otherwise the type of the data.
    pub dtype: Dtype,
    /// Dimensions per example where the data decide them, as for weights and masks; `None` means that the loss does: class
    /// labels have the output's without the classes, other targets the output's.
    pub shape: Option<Vec<usize>>,
    /// Whether labels that do not count occur.
    pub ignored: Ignored,
}

impl Target {
    /// A target whose shape the loss decides.
    #[must_use]
    pub fn new(name: impl Into<String>, dtype: Dtype) -> Self {
        Self { name: name.into(), dtype, shape: None, ignored: Ignored::Never }
    }
}

/// What the names of a graph's inputs for targets begin with.
const TARGET_PREFIX: &str = "trainer/target/";

/// Name of a graph's input for a target.
#[must_use]
pub fn target_input(name: &str) -> String {
    format!("{TARGET_PREFIX}{name}")
}

/// All outputs that the losses of a plan read: that of the first loss first.
///
/// # Errors
/// If the settings name none and the model has several, or they name one the model does not have.
pub fn loss_outputs(graph: &Graph, plan: &LossPlan) -> Result<Vec<String>, StepError> {
    let mut outputs = Vec::new();
    for (table, term) in plan.named_terms() {
        outputs.push(output_of(graph, term, &table)?);
        if let Some(other) = term.kind.other_output() {
            outputs.push(known_output(graph, other, &format!("{table}.other_output"))?);
        }
    }
    Ok(outputs)
}

/// The name of the output that one loss reads.
///
/// # Errors
/// As [`loss_outputs`].
pub fn loss_output(graph: &Graph, plan: &LossPlan) -> Result<String, StepError> {
    output_of(graph, plan, "loss")
}

/// As [`loss_output`], for the loss that the settings have in this table.
fn output_of(graph: &Graph, plan: &LossPlan, table: &str) -> Result<String, StepError> {
    match (&plan.output, graph.outputs.as_slice()) {
        (Some(name), _) => known_output(graph, name, &format!("{table}.output")),
        (None, [only]) => Ok(only.name.clone()),
        (None, outputs) => {
            let available = listing(outputs.iter().map(|port| &port.name));
            Err(StepError::ChooseOutput { table: table.to_owned(), found: outputs.len(), available })
        }
    }
}

fn known_output(graph: &Graph, name: &str, key: &str) -> Result<String, StepError> {
    if graph.outputs.iter().any(|port| port.name == name) {
        return Ok(name.to_owned());
    }
    let available = listing(graph.outputs.iter().map(|port| &port.name));
    Err(StepError::NoSuchName { what: "output", name: name.to_owned(), available, key: key.to_owned() })
}

/// What the losses of a plan come to.
pub(super) struct Objective {
    /// The output of the first loss, which metrics look at.
    pub(super) output: Value,
    /// The target of the first loss.
    pub(super) target: Option<Value>,
    /// All losses together.
    pub(super) parts: LossParts,
    /// Targets that hold labels, with the number of classes of the output they belong to.
    pub(super) classes: Vec<(String, usize)>,
}

/// Appends the losses to the graph; the targets they take become feeds.
pub(super) fn attach(
    spec: &StepSpec<'_>,
    emit: &mut Emit,
    feeds: &mut Vec<Feed>,
) -> Result<Objective, StepError> {
    let mut first = None;
    let mut terms = Vec::new();
    let mut classes = Vec::new();
    for plan in spec.loss.terms() {
        let operands = operands(spec, plan, emit, feeds)?;
        first.get_or_insert(operands);
        let labels =
            operands.target.filter(|target| plan.kind.takes_labels() && !emit.dtype(*target).is_float());
        if let (Some(target), Some(count)) = (labels, emit.dims(operands.output).get(1)) {
            let input = emit.name(target);
            classes.push((input.strip_prefix(TARGET_PREFIX).unwrap_or(input).to_owned(), *count));
        }
        terms.push((plan.weight, loss::build(emit, plan, &operands, spec.batch)?));
    }
    let Operands { output, target, .. } = first.expect("a plan has at least one loss");
    let parts = loss::combine(emit, &terms).expect("a plan has at least one loss");
    Ok(Objective { output, target, parts, classes })
}

fn operands(
    spec: &StepSpec<'_>,
    plan: &LossPlan,
    emit: &mut Emit,
    feeds: &mut Vec<Feed>,
) -> Result<Operands, StepError> {
    let produced =
        |emit: &Emit, name: String| emit.find(&name).ok_or(StepError::NotProduced { output: name });
    let output = produced(emit, loss_output(spec.graph, plan)?)?;
    let output = classes_second(emit, plan, output)?;
    let other = match plan.kind.other_output() {
        Some(name) => Some(produced(emit, known_output(spec.graph, name, "loss.other_output")?)?),
        None => None,
    };
    let find = |name: &str| spec.targets.iter().find(|target| target.name == name);
    let target = match (plan.kind.target(), &plan.target) {
        (TargetUse::Never, _) | (TargetUse::IfNamed, None) => None,
        (_, Some(name)) => find(name),
        (TargetUse::Always, None) => {
            // Weights and masks are targets with a shape of their own.
            spec.targets.iter().find(|target| target.shape.is_none())
        }
    };
    let mut fed = |emit: &mut Emit, target: &Target, dims: Vec<usize>| {
        let input = target_input(&target.name);
        let kind = ValueType::new(target.dtype, dims);
        match emit.find(&input) {
            Some(value) if *emit.kind(value) == kind => Ok(value),
            Some(value) => Err(loss::LossError::Shapes {
                loss: plan.kind.name(),
                output: emit.dims(output).to_vec(),
                target: emit.dims(value).to_vec(),
                expected: format!("{kind} for `{}`, which another loss takes otherwise", target.name),
            }),
            None => {
                let value = emit.declare(&input, kind.clone());
                feeds.push(Feed { name: target.name.clone(), input, kind });
                Ok(value)
            }
        }
    };
    let with_batch = |shape: &[usize]| std::iter::once(spec.batch).chain(shape.iter().copied()).collect();
    let mut operands = Operands { other, ..Operands::new(output, None) };
    if let Some(target) = target {
        operands.ignored = target.ignored;
        let dims = target_dims(&plan.kind, target.dtype, emit.dims(output));
        operands.target = Some(fed(emit, target, dims)?);
    }
    for (named, slot) in
        [(&plan.sample_weights, &mut operands.sample_weights), (&plan.mask, &mut operands.mask)]
    {
        if let Some(target) = named.as_deref().and_then(find) {
            let shape = target.shape.clone().unwrap_or_default();
            *slot = Some(fed(emit, target, with_batch(&shape))?);
        }
    }
    Ok(operands)
}

/// The output with its classes on axis 1.
fn classes_second(emit: &mut Emit, plan: &LossPlan, output: Value) -> Result<Value, StepError> {
    let rank = emit.rank(output);
    let axis = if plan.class_axis < 0 { plan.class_axis + rank as i64 } else { plan.class_axis };
    if axis == 1 || !plan.kind.takes_labels() {
        return Ok(output);
    }
    let axis = usize::try_from(axis).ok().filter(|axis| (1..rank).contains(axis));
    let axis = axis.ok_or_else(|| loss::LossError::ClassAxis {
        axis: plan.class_axis,
        output: emit.dims(output).to_vec(),
    })?;
    let mut perm: Vec<usize> = (0..rank).filter(|other| *other != axis).collect();
    perm.insert(1, axis);
    emit.set_scope("loss");
    Ok(emit.transpose(output, &perm))
}

/// The dimensions of a target for an output of these dimensions.
fn target_dims(kind: &LossKind, dtype: Dtype, output: &[usize]) -> Vec<usize> {
    let mut dims = output.to_vec();
    let is_per_position = (kind.takes_labels() && dtype == Dtype::I64)
        || matches!(kind, LossKind::Cosine { other: Some(_), .. });
    if is_per_position && dims.len() > 1 {
        dims.remove(1);
    }
    dims
}
