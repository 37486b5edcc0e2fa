//! From the model's graph to one in which every shape is a known number.
//!
//! The free dimensions are fixed, ONNX Runtime infers the shapes of all values, and whatever depends only on constants
//! and on known shapes is computed once, by ONNX Runtime too; branches that are decided are taken, and lists of tensors
//! written out. That is repeated until nothing changes, because a folded shape makes further shapes known.

use super::emit::Emit;
use super::model::{Graph, Node, Port};
use super::tensor::{Dtype, Tensor, ValueType};
use std::collections::{HashMap, HashSet};
use thiserror::Error;

mod branch;
mod plain;
mod sequence;

use branch::take_known_branches;
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
    /// Shapes depend on the contents of the data.
    #[error("the shape of {} depends on the data or on a free dimension ({listing}), expected fixed shapes; give free \
             dimensions a size with `model.dimensions.NAME`, or export the model without data-dependent shapes", count(*values))]
    Dynamic {
        /// How many values are concerned.
        values: usize,
        /// The first of them with what is known.
        listing: String,
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

/// Operators whose result is not a function of their inputs.
const RANDOM: &[&str] = &[
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
    "Multinomial",
    "Bernoulli",
    "Dropout",
];

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
        if !(plain || folded || branched || written) {
            break;
        }
        types = infer_all(&graph, oracle)?;
    }
    let mut emit = Emit::new(graph.opset, graph.other_opsets.clone());
    for port in &graph.inputs {
        let kind = port_type(port)
            .ok_or_else(|| dynamic(&[(port.name.clone(), "a free input dimension".to_owned())]))?;
        emit.declare(&port.name, kind);
    }
    for (name, tensor) in graph.initializers {
        emit.declare_initializer(&name, tensor);
    }
    let mut unknown = Vec::new();
    for node in graph.nodes {
        for output in node.outputs.iter().filter(|name| !name.is_empty()) {
            match types.get(output).and_then(PartialType::complete) {
                Some(kind) => _ = emit.declare(output, kind),
                None => {
                    let dims = types.get(output).map(|kind| &kind.dims);
                    // A state of a loop may have another shape after each step.
                    let why = if node.op == "Loop" {
                        "; loops that do not fold to constants are not differentiated"
                    } else {
                        ""
                    };
                    unknown.push((output.clone(), format!("{dims:?} of {}{why}", node.qualified_op())))
                }
            }
        }
        emit.push(node);
    }
    if unknown.is_empty() { Ok(emit) } else { Err(dynamic(&unknown)) }
}

fn dynamic(unknown: &[(String, String)]) -> FoldError {
    let first: Vec<String> = unknown.iter().take(3).map(|(name, dims)| format!("`{name}`: {dims}")).collect();
    FoldError::Dynamic { values: unknown.len(), listing: first.join(", ") }
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

/// Replaces every node that depends on constants and known shapes alone by its value; `false` if there was none.
fn fold_once(
    graph: &mut Graph,
    types: &HashMap<String, PartialType>,
    oracle: &dyn Oracle,
) -> Result<bool, OracleError> {
    let mut constants: HashSet<String> = graph.initializers.iter().map(|(name, _)| name.clone()).collect();
    let mut folded: HashSet<String> = HashSet::new();
    let mut shapes: Vec<(String, Tensor)> = Vec::new();
    let mut computed: Vec<Node> = Vec::new();
    let inputs: HashMap<String, ValueType> =
        graph.inputs.iter().filter_map(|port| Some((port.name.clone(), port_type(port)?))).collect();
    for node in &graph.nodes {
        let known_type = |name: &String| inputs.get(name).cloned().or_else(|| types.get(name)?.complete());
        if let (Some(shape), [output]) = (shape_of(node, known_type), node.outputs.as_slice()) {
            shapes.push((output.clone(), shape));
        } else if is_foldable(node, &constants) {
            computed.push(node.clone());
        } else {
            continue;
        }
        folded.insert(node.name.clone());
        constants.extend(node.outputs.iter().filter(|name| !name.is_empty()).cloned());
    }
    if folded.is_empty() {
        return Ok(false);
    }
    graph.nodes.retain(|node| !folded.contains(&node.name));
    graph.initializers.extend(shapes);
    let values = evaluate(graph, computed, oracle)?;
    graph.initializers.extend(values);
    Ok(true)
}

/// The value of a `Shape` or `Size` node over a value of known shape.
fn shape_of(node: &Node, known_type: impl Fn(&String) -> Option<ValueType>) -> Option<Tensor> {
    let [input] = node.inputs.as_slice() else { return None };
    let is = |op: &str| node.op == op && node.domain.is_empty();
    if !is("Shape") && !is("Size") {
        return None;
    }
    let dims = known_type(input)?.dims;
    if is("Size") {
        return Some(Tensor::from_i64(vec![], &[super::tensor::elements(&dims) as i64]));
    }
    let rank = dims.len() as i64;
    let bound = |name: &str, default: i64| {
        let given = node.int(name).unwrap_or(default);
        usize::try_from(if given < 0 { given + rank } else { given }.clamp(0, rank)).unwrap_or(0)
    };
    let kept = dims.get(bound("start", 0)..bound("end", rank)).unwrap_or_default();
    let values: Vec<i64> = kept.iter().map(|dim| *dim as i64).collect();
    Some(Tensor::from_i64(vec![values.len()], &values))
}

fn is_foldable(node: &Node, constants: &HashSet<String>) -> bool {
    let is_random = RANDOM.contains(&node.op.as_str()) || node.inner_ops().any(|op| RANDOM.contains(&op));
    let is_list = node.op.starts_with("Sequence") || node.op == "SplitToSequence";
    !is_random && !is_list && node.reads().all(|name| constants.contains(name))
}

/// Runs `computed` and gives the values that the rest of the graph reads.
fn evaluate(
    graph: &Graph,
    computed: Vec<Node>,
    oracle: &dyn Oracle,
) -> Result<Vec<(String, Tensor)>, OracleError> {
    let read: HashSet<&str> = graph
        .nodes
        .iter()
        .flat_map(Node::reads)
        .chain(graph.outputs.iter().map(|port| port.name.as_str()))
        .collect();
    let made = computed.iter().flat_map(|node| node.outputs.iter());
    let wanted: Vec<String> = made.filter(|name| read.contains(name.as_str())).cloned().collect();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let inputs: HashSet<&str> = computed.iter().flat_map(Node::reads).collect();
    let initializers = graph.initializers.iter();
    let initializers = initializers.filter(|(name, _)| inputs.contains(name.as_str())).cloned().collect();
    let part = Graph {
        inputs: Vec::new(),
        outputs: wanted.iter().map(Port::inferred).collect(),
        value_info: Vec::new(),
        initializers,
        nodes: computed,
        ..graph.clone()
    };
    Ok(wanted.into_iter().zip(oracle.evaluate(&part)?).collect())
}
