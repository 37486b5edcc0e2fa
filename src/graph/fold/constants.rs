//! What depends on constants and known shapes alone is computed once.

use super::{FoldError, Oracle, OracleError, PartialType, port_type};
use crate::graph::model::{Graph, Node, Port};
use crate::graph::tensor::{Tensor, ValueType, elements};
use std::collections::{HashMap, HashSet};

/// Most bytes of a constant that is computed: a protobuf message holds no more. A file of a few bytes can ask for any size.
pub const MAX_CONSTANT_BYTES: usize = i32::MAX as usize;

/// Operators whose result can be larger than what they read by any factor. They are computed when the size is known.
const GROWING: &[&str] =
    &["ConstantOfShape", "Expand", "EyeLike", "OneHot", "Pad", "Range", "Resize", "Tile", "Upsample"];

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

/// Replaces every node that depends on constants and known shapes alone by its value; `false` if there was none.
///
/// # Errors
/// If a value would be larger than [`MAX_CONSTANT_BYTES`], or can not be computed.
pub(super) fn fold_once(
    graph: &mut Graph,
    types: &HashMap<String, PartialType>,
    oracle: &dyn Oracle,
) -> Result<bool, FoldError> {
    let stored: HashSet<String> = graph.initializers.iter().map(|(name, _)| name.clone()).collect();
    let mut constants = stored.clone();
    let mut folded: HashSet<String> = HashSet::new();
    let mut shapes: Vec<(String, Tensor)> = Vec::new();
    let mut computed: Vec<Node> = Vec::new();
    let inputs: HashMap<String, ValueType> =
        graph.inputs.iter().filter_map(|port| Some((port.name.clone(), port_type(port)?))).collect();
    for node in &graph.nodes {
        let known_type = |name: &String| inputs.get(name).cloned().or_else(|| types.get(name)?.complete());
        if let (Some(shape), [output]) = (shape_of(node, known_type), node.outputs.as_slice()) {
            shapes.push((output.clone(), shape));
        } else if is_foldable(node, &constants) && is_of_known_size(node, types, &stored)? {
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
        return Some(Tensor::from_i64(vec![], &[elements(&dims) as i64]));
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

/// Whether the results are small enough as far as their types tell. Those of an operator that can make them as large as it
/// likes must have a type, which they have when everything that the operator reads is stored.
fn is_of_known_size(
    node: &Node,
    types: &HashMap<String, PartialType>,
    stored: &HashSet<String>,
) -> Result<bool, FoldError> {
    let mut is_known = true;
    for output in node.outputs.iter().filter(|name| !name.is_empty()) {
        match types.get(output).and_then(PartialType::complete) {
            Some(kind) if kind.elements().saturating_mul(kind.dtype.size_bytes()) > MAX_CONSTANT_BYTES => {
                let (node, op) = (node.name.clone(), node.qualified_op());
                return Err(FoldError::Constant { node, op, kind });
            }
            Some(_) => {}
            None => is_known = false,
        }
    }
    let is_growing = node.domain.is_empty() && GROWING.contains(&node.op.as_str());
    Ok(is_known || !is_growing || node.reads().all(|name| stored.contains(name)))
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
