//! Products with a vector on the right are written as products with a matrix of one column.
//!
//! ONNX Runtime up to 1.31.1 joins `Transpose` and the MatMul behind it into one operator, which computes something else
//! where the right operand is a vector: no error, other numbers. A column is not affected.

use super::model::{Graph, Node};
use super::tensor::Tensor;

/// Writes every such product out whose right operand is known to have one axis and the left one not; `false` if there was
/// none. `rank_of` gives the number of axes of a value, if it is known.
pub(super) fn write_out_vectors(graph: &mut Graph, rank_of: impl Fn(&str) -> Option<usize>) -> bool {
    let is_product = |node: &Node| match node.inputs.as_slice() {
        [left, right] if node.op == "MatMul" && node.domain.is_empty() => {
            rank_of(right) == Some(1) && rank_of(left) != Some(1)
        }
        _ => false,
    };
    let products: Vec<bool> = graph.nodes.iter().map(is_product).collect();
    if !products.contains(&true) {
        return false;
    }
    const LAST: &str = "trainer/last_axis";
    if !graph.initializers.iter().any(|(name, _)| name == LAST) {
        graph.initializers.push((LAST.to_owned(), Tensor::from_i64([1], &[-1])));
    }
    let mut nodes = Vec::with_capacity(graph.nodes.len());
    for (node, is_product) in std::mem::take(&mut graph.nodes).into_iter().zip(products) {
        match (is_product, node.inputs.as_slice()) {
            (true, [left, right]) => nodes.extend(with_column(&node, left, right, LAST)),
            _ => nodes.push(node),
        }
    }
    graph.nodes = nodes;
    true
}

/// A v   is   A [v], whose last axis goes away again
fn with_column(node: &Node, left: &str, right: &str, last: &str) -> [Node; 3] {
    let output = node.outputs.first().map_or("", String::as_str);
    let named = |part: &str| format!("trainer/{output}/{part}");
    let node_of = |name: String, op: &str, inputs: [&str; 2], output: String| {
        Node::new(name, op, inputs.map(str::to_owned).to_vec(), vec![output])
    };
    [
        node_of(named("column"), "Unsqueeze", [right, last], named("column")),
        node_of(node.name.clone(), "MatMul", [left, &named("column")], named("product")),
        node_of(named("squeezed"), "Squeeze", [&named("product"), last], output.to_owned()),
    ]
}
