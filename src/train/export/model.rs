//! A trained model as an ONNX file of another kind than the one a run ends with: another opset, 16-bit weights, a fixed
//! batch. What computes something else than the model itself is never written.

use super::compare::{Compared, compare};
use super::sample::{Sample, sample};
use crate::config::Plan;
use crate::engine::error::EngineError;
use crate::engine::library::Runtime;
use crate::engine::oracle::RuntimeOracle;
use crate::engine::session::Place;
use crate::graph::fold::{Oracle, OracleError};
use crate::graph::model::{Dim, Graph, Node, Port};
use crate::graph::opset::{OpsetError, convert};
use crate::graph::precision::{HalveError, halve};
use crate::graph::tensor::{Dtype, Tensor};
use std::collections::{HashMap, HashSet};
use thiserror::Error;

/// How a model is to be written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The version of the default operator set; `None` keeps the model's.
    pub opset: Option<i64>,
    /// Whether weights have 16 bits, and the operators compute with them that do in training.
    pub half: bool,
    /// Examples per batch; `None` leaves that free.
    pub batch: Option<usize>,
}

impl Wanted {
    /// Whether the model is to be written as it is.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }
}

/// What became of a model.
#[derive(Debug)]
pub struct Converted {
    /// The model.
    pub graph: Graph,
    /// How it compares with what it was made from.
    pub compared: Compared,
    /// Initializers with 16 bits.
    pub halved_weights: usize,
}

/// Why a model can not be written so.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// The opset.
    #[error(transparent)]
    Opset(#[from] OpsetError),
    /// 16 bits.
    #[error(transparent)]
    Half(#[from] HalveError),
    /// ONNX Runtime can not say the types of the model's values.
    #[error("ONNX Runtime does not accept the model: {0}")]
    Oracle(#[from] OracleError),
    /// ONNX Runtime does not run one of the two.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The batch of the model is another.
    #[error("input `{input}` of the model takes batches of {found} and no others; leave `--batch` out")]
    FixedBatch {
        /// The input.
        input: String,
        /// The batch it takes.
        found: usize,
    },
    /// Other answers.
    #[error(
        "with these options output `{output}` is another: it differs by {difference} where its largest value is {largest}, on {examples} \
         examples ({data}); nothing was written, leave `--opset` and `--half` out"
    )]
    Differs {
        /// The output.
        output: String,
        /// The largest difference; NaN where one is finite and the other is not.
        difference: f64,
        /// The largest value of the original.
        largest: f64,
        /// Examples compared.
        examples: usize,
        /// Which.
        data: &'static str,
    },
}

/// Part of the largest value by which outputs may differ with another opset or a fixed batch: rounding in another order.
const ROUNDING: f64 = 1e-5;

/// Part of the largest value by which they may differ with 16-bit weights: beyond this something is wrong, and not rounded.
const HALF_ROUNDING: f64 = 0.25;

/// The model in its inference form with the trained values, written as it is wanted, after both were run on the same
/// examples.
///
/// # Errors
/// If it can not be written so, or computes something else then.
pub fn converted(
    graph: &Graph,
    plan: &Plan,
    wanted: Wanted,
    runtime: &Runtime,
    place: Place,
) -> Result<Converted, ConvertError> {
    let oracle = RuntimeOracle::new(runtime);
    let mut made = with_stored_constants(graph, &oracle)?;
    if let Some(batch) = wanted.batch {
        fix_batch(&mut made, batch)?;
    }
    if let Some(opset) = wanted.opset.filter(|opset| *opset != graph.opset) {
        made = convert(&made, opset)?;
    }
    let mut halved_weights = 0;
    if wanted.half {
        let types = element_types(&made, &oracle)?;
        let halved = halve(&made, &types)?;
        (made, halved_weights) = (halved.graph, halved.weights);
    }
    let Sample { arrays, examples, data } = sample(plan, graph, wanted.batch);
    let compared = compare(graph, &made, &arrays, runtime, place)?;
    let tolerance = if wanted.half { HALF_ROUNDING } else { ROUNDING };
    let compared = Compared { examples, data, ..compared };
    let beyond = compared.outputs.iter().find(|output| {
        let most = tolerance * output.largest.max(f64::from(f32::MIN_POSITIVE));
        output.difference.is_nan() || output.difference > most
    });
    if let Some(output) = beyond {
        let (difference, largest) = (output.difference, output.largest);
        return Err(ConvertError::Differs {
            output: output.name.clone(),
            difference,
            largest,
            examples,
            data,
        });
    }
    Ok(Converted { graph: made, compared, halved_weights })
}

/// Operators that are not computed beforehand: their results may be far larger than what they read, or are drawn.
const NOT_COMPUTED: &[&str] = &[
    "Bernoulli",
    "ConstantOfShape",
    "Dropout",
    "Expand",
    "EyeLike",
    "Multinomial",
    "OneHot",
    "Pad",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
    "Range",
    "Resize",
    "Tile",
];

/// The same graph with its constants among the initializers, and what depends on constants and on whole numbers alone.
/// Weights are not touched.
fn with_stored_constants(graph: &Graph, oracle: &dyn Oracle) -> Result<Graph, OracleError> {
    let outputs: HashSet<&str> = graph.outputs.iter().map(|port| port.name.as_str()).collect();
    let whole = graph.initializers.iter().filter(|(_, tensor)| !tensor.dtype().is_float());
    let mut known: HashSet<&str> = whole.clone().map(|(name, _)| name.as_str()).collect();
    let (mut computed, mut nodes) = (Vec::new(), Vec::new());
    for node in &graph.nodes {
        let is_constant = node.op == "Constant" || !node.inputs.is_empty();
        let is_known = is_constant
            && node.domain.is_empty()
            && !node.has_inner_graphs()
            && !NOT_COMPUTED.contains(&node.op.as_str())
            && node.inputs.iter().all(|input| known.contains(input.as_str()))
            && node.outputs.iter().all(|output| !output.is_empty() && !outputs.contains(output.as_str()));
        if is_known {
            known.extend(node.outputs.iter().map(String::as_str));
            computed.push(node.clone());
        } else {
            nodes.push(node.clone());
        }
    }
    if computed.is_empty() {
        return Ok(graph.clone());
    }
    let read: HashSet<&str> = nodes.iter().flat_map(Node::reads).collect();
    let made = computed.iter().flat_map(|node| &node.outputs);
    let names: Vec<String> = made.filter(|name| read.contains(name.as_str())).cloned().collect();
    let asked = Graph {
        inputs: Vec::new(),
        outputs: names.iter().map(Port::inferred).collect(),
        value_info: Vec::new(),
        initializers: whole.cloned().collect(),
        nodes: computed,
        ..graph.clone()
    };
    // Of constants that nothing reads there is nothing to compute, and ONNX Runtime refuses a graph without results.
    let values: Vec<Tensor> = if names.is_empty() { Vec::new() } else { oracle.evaluate(&asked)? };
    let mut stored = graph.clone();
    stored.initializers.retain(|(name, tensor)| {
        tensor.dtype().is_float() || read.contains(name.as_str()) || outputs.contains(name.as_str())
    });
    stored.initializers.extend(names.into_iter().zip(values));
    let made: HashSet<&String> = nodes.iter().flat_map(|node| &node.outputs).collect();
    stored.value_info.retain(|port| made.contains(&port.name));
    stored.nodes = nodes;
    Ok(stored)
}

/// The element type of every value that a node makes.
fn element_types(graph: &Graph, oracle: &dyn Oracle) -> Result<HashMap<String, Dtype>, OracleError> {
    let made = graph.nodes.iter().flat_map(|node| &node.outputs).filter(|name| !name.is_empty());
    let names: Vec<String> = made.cloned().collect();
    let exposed = Graph { outputs: names.iter().map(Port::inferred).collect(), ..graph.clone() };
    let types = oracle.infer(&exposed)?;
    Ok(names.into_iter().zip(types).filter_map(|(name, kind)| Some((name, kind.dtype?))).collect())
}

/// Fixes the first dimension of the inputs, and of all values with the same symbol.
fn fix_batch(graph: &mut Graph, batch: usize) -> Result<(), ConvertError> {
    let mut symbols = Vec::new();
    for port in &mut graph.inputs {
        match port.dims.as_mut().and_then(|dims| dims.first_mut()) {
            Some(Dim::Fixed(found)) if *found != batch => {
                return Err(ConvertError::FixedBatch { input: port.name.clone(), found: *found });
            }
            Some(Dim::Symbol(name)) => symbols.push(name.clone()),
            Some(free @ Dim::Unknown) => *free = Dim::Fixed(batch),
            _ => {}
        }
    }
    let ports = graph.inputs.iter_mut().chain(&mut graph.outputs).chain(&mut graph.value_info);
    for dim in ports.filter_map(|port| port.dims.as_mut()).flatten() {
        if matches!(dim, Dim::Symbol(name) if symbols.contains(name)) {
            *dim = Dim::Fixed(batch);
        }
    }
    Ok(())
}
