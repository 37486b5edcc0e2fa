//! From the model's graph to one in which every shape is a known number.
//!
//! The free dimensions are fixed, ONNX Runtime infers the shapes of all values, and whatever depends only on constants
//! and on known shapes is computed once, by ONNX Runtime too; branches that are decided are taken, and lists of tensors
//! written out. That is repeated until nothing changes, because a folded shape makes further shapes known.

use super::emit::Emit;
use super::model::{Graph, Node, Port};
use super::tensor::{Dtype, Tensor, ValueType};
use super::vector_products::write_out_vectors;
use std::collections::{HashMap, HashSet};
use thiserror::Error;

mod branch;
mod constants;
mod plain;
mod sequence;

use branch::take_known_branches;
pub use constants::MAX_CONSTANT_BYTES;
use constants::fold_once;
use plain::without_functions;
use sequence::write_out_lists;

/// What has to be asked of ONNX Runtime while a graph is built.
pub trait Oracle {
    /// Element type and dimensions of each output of `graph`, in order.
    ///
    /// # Errors
    /// If ONNX Runtime refuses the graph.
    fn infer(&self, graph: &Graph) -> Result<Vec<PartialType>, OracleError>;

    /// The contents of each output of `graph`, which has no inputs.
    ///
    /// # Errors
    /// If ONNX Runtime refuses the graph or fails to run it.
    fn evaluate(&self, graph: &Graph) -> Result<Vec<Tensor>, OracleError>;
}

/// What ONNX Runtime said against a graph.
#[derive(Debug, Error)]
#[error("{message}")]
pub struct OracleError {
    /// Its message, which names the node.
    pub message: String,
}

/// What is known of the type of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartialType {
    /// Element type; `None` if the value is no tensor of numbers.
    pub dtype: Option<Dtype>,
    /// Dimensions; `None` for one that depends on data.
    pub dims: Vec<Option<usize>>,
}

impl PartialType {
    fn complete(&self) -> Option<ValueType> {
        let dims: Option<Vec<usize>> = self.dims.iter().copied().collect();
        Some(ValueType::new(self.dtype?, dims?))
    }
}

/// Why a graph can not be given fixed shapes.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FoldError {
    /// ONNX Runtime refuses the model.
    #[error(
        "ONNX Runtime does not accept the model: {source}; check that it runs in the `onnxruntime` package with the same inputs"
    )]
    Refused {
        /// What it said.
        #[source]
        source: OracleError,
    },
    /// A constant beyond what a model can hold.
    #[error(
        "node `{node}` ({op}) makes a constant of {kind}, expected at most {MAX_CONSTANT_BYTES} bytes; the file is damaged, or \
         expands a constant that should be broadcast: export the model again"
    )]
    Constant {
        /// The node.
        node: String,
        /// Its operator.
        op: String,
        /// Type of the constant.
        kind: ValueType,
    },
    /// A value beyond all memory.
    #[error(
        "`{value}` is {kind}, which no memory holds, expected at most {MAX_ELEMENTS} elements; correct the size of its dimensions \
         (`model.dimensions`), or export the model again"
    )]
    Value {
        /// The value.
        value: String,
        /// Its type.
        kind: ValueType,
    },
    /// Shapes depend on the contents of the data.
    #[error("the shape of {} depends on the data or on a free dimension ({listing}), expected fixed shapes; {remedy}", count(*values))]
    Dynamic {
        /// How many values are concerned.
        values: usize,
        /// The first of them with what is known.
        listing: String,
        /// What to do about the operators that make them.
        remedy: &'static str,
    },
}

fn count(values: usize) -> String {
    if values == 1 { "1 value".to_owned() } else { format!("{values} values") }
}

impl From<OracleError> for FoldError {
    fn from(source: OracleError) -> Self {
        Self::Refused { source }
    }
}

/// Most elements of a value: half a terabyte of float32, and few enough that a product of two such counts does not overflow.
pub const MAX_ELEMENTS: usize = 1 << 37;

/// The type, unless no memory holds such a value.
fn of_possible_size(value: &str, kind: ValueType) -> Result<ValueType, FoldError> {
    if kind.elements() <= MAX_ELEMENTS && kind.dims.iter().all(|dim| *dim <= MAX_ELEMENTS) {
        return Ok(kind);
    }
    Err(FoldError::Value { value: value.to_owned(), kind })
}

/// Turns `graph` into a graph under construction with all shapes known.
///
/// `variables` are the initializers that change while training: they become inputs, so nothing is folded through them.
/// The inputs of `graph` must have fixed dimensions.
///
/// # Errors
/// If ONNX Runtime refuses the graph, or shapes stay unknown.
pub fn lower(graph: &Graph, variables: &HashSet<&str>, oracle: &dyn Oracle) -> Result<Emit, FoldError> {
    let mut graph = graph.clone();
    let (moved, kept) =
        graph.initializers.into_iter().partition(|(name, _)| variables.contains(name.as_str()));
    graph.initializers = kept;
    let moved: Vec<(String, Tensor)> = moved;
    graph
        .inputs
        .extend(moved.iter().map(|(name, tensor)| Port::fixed(name.clone(), tensor.dtype(), tensor.dims())));
    let mut types = infer_all(&graph, oracle)?;
    loop {
        let plain = without_functions(&mut graph, &types);
        let folded = fold_once(&mut graph, &types, oracle)?;
        let branched = take_known_branches(&mut graph);
        let written = write_out_lists(&mut graph, &types);
        let ranks = ranks(&graph, &types);
        let columns = write_out_vectors(&mut graph, |name| ranks.get(name).copied());
        if !(plain || folded || branched || written || columns) {
            break;
        }
        types = infer_all(&graph, oracle)?;
    }
    let mut emit = Emit::new(graph.opset, graph.other_opsets.clone());
    for port in &graph.inputs {
        let kind = port_type(port)
            .ok_or_else(|| dynamic(&[(port.name.clone(), "a free input dimension".to_owned())], OTHER))?;
        emit.declare(&port.name, of_possible_size(&port.name, kind)?);
    }
    for (name, tensor) in graph.initializers {
        emit.declare_initializer(&name, tensor);
    }
    let mut unknown = Vec::new();
    let ops: HashSet<String> = graph.nodes.iter().map(|node| node.op.clone()).collect();
    for node in graph.nodes {
        for output in node.outputs.iter().filter(|name| !name.is_empty()) {
            match types.get(output).and_then(PartialType::complete) {
                Some(kind) => _ = emit.declare(output, of_possible_size(output, kind)?),
                None => {
                    let dims =
                        types.get(output).map_or("of unknown rank".to_owned(), |kind| shape_text(&kind.dims));
                    // A state of a loop may have another shape after each step.
                    let why = if node.op == "Loop" {
                        "; loops that do not fold to constants are not differentiated"
                    } else {
                        ""
                    };
                    unknown.push((output.clone(), format!("{dims} of {}{why}", node.qualified_op())))
                }
            }
        }
        emit.push(node);
    }
    if unknown.is_empty() { Ok(emit) } else { Err(dynamic(&unknown, remedy(&ops))) }
}

/// The number of axes of each value whose shape is known.
fn ranks(graph: &Graph, types: &HashMap<String, PartialType>) -> HashMap<String, usize> {
    let inputs = graph.inputs.iter().filter_map(|port| Some((port.name.clone(), port.dims.as_ref()?.len())));
    let constants = graph.initializers.iter().map(|(name, tensor)| (name.clone(), tensor.dims().len()));
    let made = types.iter().filter_map(|(name, kind)| Some((name.clone(), kind.complete()?.dims.len())));
    inputs.chain(constants).chain(made).collect()
}

/// Dimensions for people: `[4, ?]`.
fn shape_text(dims: &[Option<usize>]) -> String {
    let dims: Vec<String> =
        dims.iter().map(|dim| dim.map_or("?".to_owned(), |dim| dim.to_string())).collect();
    format!("[{}]", dims.join(", "))
}

const OTHER: &str = "give free dimensions a size with `model.dimensions.NAME`, or export the model without data-dependent \
                     shapes";

/// What to do about values of unknown shape in a model with these operators.
fn remedy(ops: &HashSet<String>) -> &'static str {
    let has = |known: &[&str]| known.iter().any(|op| ops.contains(*op));
    if has(&["NonZero", "Compress", "Unique", "NonMaxSuppression"]) {
        "`x[mask]`, `torch.nonzero` and `torch.where(mask)` pick as many elements as the data say: compute on all of them, and \
         choose with `torch.where(mask, a, b)` or multiply by the mask"
    } else if has(&["Loop", "SequenceEmpty", "SequenceInsert"]) {
        "a loop of as many steps as the data say can not be trained: write it over a fixed number, or as operations on whole \
         tensors (`nn.Embedding` and a sum in the place of `nn.EmbeddingBag`)"
    } else {
        OTHER
    }
}

fn dynamic(unknown: &[(String, String)], remedy: &'static str) -> FoldError {
    let first: Vec<String> = unknown.iter().take(3).map(|(name, dims)| format!("`{name}`: {dims}")).collect();
    FoldError::Dynamic { values: unknown.len(), listing: first.join(", "), remedy }
}

fn port_type(port: &Port) -> Option<ValueType> {
    let dims: Option<Vec<usize>> = port
        .dims
        .as_ref()?
        .iter()
        .map(|dim| if let super::model::Dim::Fixed(n) = dim { Some(*n) } else { None })
        .collect();
    Some(ValueType::new(port.dtype?, dims?))
}

/// The types of all values that nodes produce.
fn infer_all(graph: &Graph, oracle: &dyn Oracle) -> Result<HashMap<String, PartialType>, OracleError> {
    let mut exposed = graph.clone();
    let names: Vec<String> = graph
        .nodes
        .iter()
        .flat_map(|node| node.outputs.iter())
        .filter(|name| !name.is_empty())
        .cloned()
        .collect();
    if names.is_empty() {
        return Ok(HashMap::new());
    }
    exposed.outputs = names.iter().map(Port::inferred).collect();
    let types = oracle.infer(&exposed)?;
    let mut types: HashMap<String, PartialType> = names.into_iter().zip(types).collect();
    for name in of_unknown_rank(graph, &types, oracle)? {
        if let Some(kind) = types.get_mut(&name) {
            kind.dims = vec![None];
        }
    }
    Ok(types)
}

/// The values that have no dimensions because not even their number is known.
///
/// ONNX Runtime says the same of them as of scalars. But the shape of a scalar has no elements, and that of the others has
/// a number of elements that is not known.
fn of_unknown_rank(
    graph: &Graph,
    types: &HashMap<String, PartialType>,
    oracle: &dyn Oracle,
) -> Result<Vec<String>, OracleError> {
    let without_dims =
        |name: &&String| types.get(*name).is_some_and(|kind| kind.dtype.is_some() && kind.dims.is_empty());
    let outputs = graph.nodes.iter().flat_map(|node| node.outputs.iter());
    let names: Vec<String> = outputs.filter(without_dims).cloned().collect();
    if names.is_empty() {
        return Ok(names);
    }
    let mut probed = graph.clone();
    for (position, name) in names.iter().enumerate() {
        let shape = format!("trainer/shape_of/{position}");
        probed.nodes.push(Node::new(shape.clone(), "Shape", vec![name.clone()], vec![shape]));
    }
    probed.outputs =
        (0..names.len()).map(|position| Port::inferred(format!("trainer/shape_of/{position}"))).collect();
    let shapes = oracle.infer(&probed)?;
    let is_unknown = |shape: &PartialType| shape.dims.first().copied().flatten() != Some(0);
    Ok(names.into_iter().zip(shapes).filter(|(_, shape)| is_unknown(shape)).map(|(name, _)| name).collect())
}
