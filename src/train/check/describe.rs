//! Findings in the form in which they are reported.

use super::report::{
    DimReport, DimensionReport, ExcludedReport, FileReport, NodeReport, OperatorReport, ParametersReport,
    PortReport, ProblemReport, SuggestionReport, TensorReport, WarningReport,
};
use super::{OutputShape, Shapes};
use crate::graph::autodiff::UnsupportedNode;
use crate::graph::fold::FoldError;
use crate::graph::inspect::{self, ASSUMED_SIZE, Probe, Suggestion};
use crate::graph::model::{Dim, Graph, Port};
use crate::graph::read::Header;
use crate::graph::step::{Excluded, StepError, Trainable};
use crate::graph::tensor::Tensor;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub(super) fn problem(kind: &'static str, message: String) -> ProblemReport {
    ProblemReport { kind, message, nodes: Vec::new() }
}

/// The problem that an error of a graph is; sizes that were assumed may be the cause of those about shapes.
pub(super) fn of_step(error: &StepError, assumed: &[String]) -> ProblemReport {
    let kind = match error {
        StepError::Gradient(unsupported) => {
            return operators_without_rule(unsupported.nodes.clone());
        }
        StepError::Fold(FoldError::Refused { .. }) => "onnxruntime",
        StepError::Fold(_) | StepError::TrainForm(_) => "shapes",
        StepError::NotFed { .. } | StepError::InputShape { .. } => "inputs",
        _ => "loss",
    };
    let mut message = error.to_string();
    if !assumed.is_empty() && ["onnxruntime", "shapes", "inputs"].contains(&kind) {
        message += &format!(
            " (with {ASSUMED_SIZE} as the assumed size of {}; give sizes with `--set model.dimensions.NAME=N`)",
            assumed.join(", ")
        );
    }
    problem(kind, message)
}

pub(super) fn operators_without_rule(nodes: Vec<UnsupportedNode>) -> ProblemReport {
    let unsupported = crate::graph::autodiff::Unsupported { nodes };
    let message = unsupported.to_string();
    let node = |node: UnsupportedNode| NodeReport { name: node.name, op: node.op, reason: node.reason };
    ProblemReport { kind: "operators", message, nodes: unsupported.nodes.into_iter().map(node).collect() }
}

pub(super) fn file(path: PathBuf, header: &Header, graph: &Graph) -> FileReport {
    let producer = format!("{} {}", header.producer_name, header.producer_version);
    let producer = producer.trim().to_owned();
    FileReport {
        path,
        bytes: header.file_bytes,
        ir_version: header.ir_version,
        opset: graph.opset,
        other_opsets: graph.other_opsets.iter().cloned().collect(),
        producer: (!producer.is_empty()).then_some(producer),
        functions: header.functions.clone(),
    }
}

fn dim(dim: &Dim) -> DimReport {
    match dim {
        Dim::Fixed(size) => DimReport::Size(*size),
        Dim::Symbol(symbol) => DimReport::Symbol(symbol.clone()),
        Dim::Unknown => DimReport::Free(None),
    }
}

pub(super) fn port(port: &Port) -> PortReport {
    PortReport {
        name: port.name.clone(),
        dtype: port.dtype.map(|dtype| dtype.name().to_owned()),
        shape: port.dims.as_ref().map(|dims| dims.iter().map(dim).collect()),
    }
}

/// The outputs, with what was inferred where the file is silent.
pub(super) fn outputs(graph: &Graph, shapes: Option<&Shapes>) -> Vec<PortReport> {
    let inferred = |declared: &Port| {
        let mut report = port(declared);
        let Some((batch, _, outputs)) = shapes else { return report };
        let Some(output) = outputs.iter().find(|output| output.name == declared.name) else { return report };
        report.dtype = Some(output.kind.dtype.name().to_owned());
        if report.shape.is_none() {
            let sized = output.kind.dims.iter().enumerate().map(|(axis, size)| {
                if axis == 0 && size == batch { DimReport::Free(None) } else { DimReport::Size(*size) }
            });
            report.shape = Some(sized.collect());
        }
        report
    };
    graph.outputs.iter().map(inferred).collect()
}

pub(super) fn free_dimensions(
    probe: &Probe,
    graph: &Graph,
    given: &BTreeMap<String, u64>,
) -> Vec<DimensionReport> {
    let mut found: Vec<DimensionReport> = Vec::new();
    let mut add = |name: String, is_batch: bool, size: Option<usize>, is_assumed: bool| {
        if !found.iter().any(|known| known.name == name) {
            found.push(DimensionReport { name, is_batch, size, is_assumed });
        }
    };
    for port in &graph.inputs {
        for (axis, dim) in port.dims.as_deref().unwrap_or_default().iter().enumerate() {
            let is_free = matches!(dim, Dim::Symbol(_) | Dim::Unknown);
            let name = match dim {
                Dim::Symbol(symbol) => symbol.clone(),
                _ => format!("{}[{axis}]", port.name),
            };
            let is_batch = axis == 0 || probe.batch_symbol.as_ref() == Some(&name);
            let size = given.get(&name).and_then(|size| usize::try_from(*size).ok());
            let is_assumed = !is_batch && size.is_none();
            if is_free {
                add(name, is_batch, size.or(is_assumed.then_some(ASSUMED_SIZE)), is_assumed);
            }
        }
    }
    found
}

fn tensor((name, tensor): &(String, Tensor)) -> TensorReport {
    TensorReport { name: name.clone(), shape: tensor.dims().to_vec() }
}

pub(super) fn parameters(
    graph: &Graph,
    trainable: &Trainable,
    without_gradient: Vec<String>,
) -> ParametersReport {
    let excluded = |(name, reason): &(String, Excluded)| ExcludedReport {
        name: name.clone(),
        reason: match reason {
            Excluded::Frozen => "frozen".to_owned(),
            Excluded::Scalar => "scalar".to_owned(),
            Excluded::Buffer => "buffer".to_owned(),
            Excluded::Constant => "constant".to_owned(),
            Excluded::Setting => "setting".to_owned(),
            Excluded::NoPathToLoss => "no_path_to_loss".to_owned(),
            Excluded::ElementType(dtype) => dtype.name().to_owned(),
        },
    };
    let is_table = |(_, tensor): &&(String, Tensor)| !tensor.dtype().is_float() && !tensor.dims().is_empty();
    let trained = trainable.parameters.iter().map(|(name, _)| name.as_str());
    ParametersReport {
        elements: trainable.parameter_elements(),
        trained: trainable.parameters.iter().map(tensor).collect(),
        statistics: trainable.states.iter().map(tensor).collect(),
        not_trained: trainable.excluded.iter().map(excluded).collect(),
        doubtful: inspect::doubtful(graph, trained),
        without_gradient,
        tables: graph.initializers.iter().filter(is_table).map(tensor).collect(),
    }
}

pub(super) fn operators(graph: &Graph) -> Vec<OperatorReport> {
    let counts = inspect::operators(graph).into_iter();
    counts
        .map(|count| OperatorReport { op: count.op, nodes: count.nodes, gradient: count.gradient })
        .collect()
}

pub(super) fn warnings(graph: &Graph, header: &Header, probe: &Probe) -> Vec<WarningReport> {
    let found = inspect::warnings(graph, header, probe).into_iter();
    found.map(|warning| WarningReport { kind: warning.kind.name(), message: warning.message }).collect()
}

pub(super) fn suggestion(suggestion: &Suggestion, path: &Path, inputs: &[OutputShape]) -> SuggestionReport {
    SuggestionReport {
        loss: suggestion.loss.kind.name(),
        output: suggestion.loss.output.clone(),
        class_axis: suggestion.loss.class_axis,
        metrics: suggestion.metrics.iter().map(ToString::to_string).collect(),
        target: suggestion.target.clone(),
        reason: suggestion.reason.clone(),
        note: suggestion.note,
        toml: suggestion.toml(&path.to_string_lossy(), inputs),
    }
}
