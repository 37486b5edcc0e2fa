//! Operators that are functions to ONNX Runtime, whose results it gives no shape to, give way to plain ones.

use super::PartialType;
use crate::graph::model::{Graph, Node, attribute};
use crate::graph::tensor::Dtype;
use std::collections::HashMap;

/// Since this opset `GreaterOrEqual` and `LessOrEqual` have types that ONNX Runtime infers.
const COMPARISONS: i64 = 16;

/// Writes such operators out; `false` if there was none.
pub(super) fn without_functions(graph: &mut Graph, types: &HashMap<String, PartialType>) -> bool {
    let given = graph.inputs.iter().filter_map(|port| Some((port.name.clone(), port.dtype?)));
    let constant = graph.initializers.iter().map(|(name, tensor)| (name.clone(), tensor.dtype()));
    let known: HashMap<String, Dtype> = given.chain(constant).collect();
    let dtype_of = |name: &String| known.get(name).copied().or_else(|| types.get(name)?.dtype);
    let mut changed = false;
    let mut nodes = Vec::with_capacity(graph.nodes.len());
    for node in std::mem::take(&mut graph.nodes) {
        let plain = match node.op.as_str() {
            _ if !node.domain.is_empty() => None,
            "CastLike" => node.inputs.get(1).and_then(dtype_of).map(|dtype| vec![cast(&node, dtype)]),
            "GreaterOrEqual" if graph.opset < COMPARISONS => Some(or_equal(&node, "Greater")),
            "LessOrEqual" if graph.opset < COMPARISONS => Some(or_equal(&node, "Less")),
            _ => None,
        };
        changed |= plain.is_some();
        nodes.extend(plain.unwrap_or_else(|| vec![node]));
    }
    graph.nodes = nodes;
    changed
}

/// A constant converted to the type of an activation does not depend on it.
fn cast(node: &Node, dtype: Dtype) -> Node {
    let inputs = node.inputs.iter().take(1).cloned().collect();
    let mut cast = Node::new(node.name.clone(), "Cast", inputs, node.outputs.clone());
    cast.attributes = vec![attribute::int("to", i64::from(dtype.code()))];
    cast
}

/// a >= b is a > b or a == b, also for what is no number.
fn or_equal(node: &Node, strict: &str) -> Vec<Node> {
    let output = node.outputs.first().map_or("", String::as_str);
    let part = |op: &str| {
        let name = format!("trainer/{output}/{op}");
        Node::new(name.clone(), op, node.inputs.clone(), vec![name])
    };
    let (strict, equal) = (part(strict), part("Equal"));
    let either = [&strict, &equal].iter().flat_map(|part| part.outputs.clone()).collect();
    let either = Node::new(node.name.clone(), "Or", either, node.outputs.clone());
    vec![strict, equal, either]
}
