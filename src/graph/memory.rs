//! How much memory the values of a graph take at once, from their shapes.
//!
//! ONNX Runtime frees a value behind its last reader and lets many operators write over what they read last. The estimate
//! does the same over the nodes in their order: what lives at the worst moment. The real order may be another, kernels have
//! workspace of their own, and freed memory comes in pieces; `docs/check.md` says how far off it was where it was measured.

use super::model::Graph;
use std::collections::{HashMap, HashSet};

/// Operators that ONNX Runtime may let write over an input of the same size which nobody reads afterwards.
const IN_PLACE: &[&str] = &[
    "Abs",
    "Add",
    "And",
    "Cast",
    "Ceil",
    "Clip",
    "Div",
    "Elu",
    "Erf",
    "Exp",
    "Floor",
    "LeakyRelu",
    "Log",
    "Mul",
    "Neg",
    "Not",
    "Or",
    "Reciprocal",
    "Relu",
    "Selu",
    "Sigmoid",
    "Sqrt",
    "Sub",
    "Tanh",
    "BatchNormalization",
    "Softmax",
    "LogSoftmax",
];

/// The largest number of bytes of values that nodes make and that are alive at once. Inputs, initializers and outputs of the
/// graph are not counted: they have memory of their own. `bytes_of` gives the size of a value.
#[must_use]
pub fn peak_bytes(graph: &Graph, bytes_of: impl Fn(&str) -> usize) -> usize {
    let blocks = blocks(graph);
    // What becomes an output under another name is written to the output's memory at once.
    let of_outputs: HashSet<usize> =
        graph.outputs.iter().filter_map(|port| blocks.get(port.name.as_str()).copied()).collect();
    let block = |name: &str| blocks.get(name).copied().filter(|block| !of_outputs.contains(block));
    let mut last_reader: HashMap<usize, usize> = HashMap::new();
    for (position, node) in graph.nodes.iter().enumerate() {
        for name in node.reads().chain(node.outputs.iter().map(String::as_str)) {
            if let Some(block) = block(name) {
                last_reader.insert(block, position);
            }
        }
    }
    let mut held: HashMap<usize, usize> = HashMap::new();
    let (mut now, mut peak) = (0_usize, 0_usize);
    for (position, node) in graph.nodes.iter().enumerate() {
        let mut made: Vec<(usize, usize)> = Vec::new();
        for name in &node.outputs {
            if let Some(block) = block(name).filter(|block| !held.contains_key(block)) {
                made.push((block, bytes_of(name)));
            }
        }
        let is_last = |block: &usize| last_reader.get(block) == Some(&position);
        let read: HashSet<usize> = node.reads().filter_map(block).filter(is_last).collect();
        let is_in_place = node.domain.is_empty() && IN_PLACE.contains(&node.op.as_str());
        let mut reused = None;
        if let (true, [(_, size)]) = (is_in_place, made.as_slice()) {
            reused = read.iter().find(|block| held.get(block) == Some(size)).copied();
            now = now.saturating_sub(reused.map_or(0, |_| *size));
        }
        for (block, size) in made {
            held.insert(block, size);
            now = now.saturating_add(size);
        }
        peak = peak.max(now);
        if let Some(reused) = reused {
            held.remove(&reused);
        }
        for block in
            read.into_iter().chain(node.outputs.iter().filter_map(|name| block(name)).filter(is_last))
        {
            now = now.saturating_sub(held.remove(&block).unwrap_or(0));
        }
    }
    peak
}

/// The block of memory that each value lies in, by number: values that are each other's other names share one.
fn blocks(graph: &Graph) -> HashMap<&str, usize> {
    let mut blocks: HashMap<&str, usize> = HashMap::new();
    let mut own: HashSet<&str> = graph.inputs.iter().map(|port| port.name.as_str()).collect();
    own.extend(graph.initializers.iter().map(|(name, _)| name.as_str()));
    for node in &graph.nodes {
        let source = node.inputs.first().map_or("", String::as_str);
        for name in node.outputs.iter().filter(|name| !name.is_empty()) {
            if node.is_renaming() && own.contains(source) {
                own.insert(name);
                continue;
            }
            let shared = node.is_renaming().then(|| blocks.get(source).copied()).flatten();
            let next = blocks.len();
            blocks.insert(name, shared.unwrap_or(next));
        }
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::peak_bytes;
    use crate::graph::model::{Graph, Node, Port};
    use crate::graph::tensor::Dtype;

    /// The peak of nodes that read one value each and make the next one, with these sizes.
    #[track_caller]
    fn check_peak(nodes: &[(&str, &str, &str)], sizes: &[(&str, usize)], expected: usize) {
        let node = |(op, inputs, output): &(&str, &str, &str)| {
            let inputs = inputs.split(' ').map(str::to_owned).collect();
            Node::new(*output, op, inputs, vec![(*output).to_owned()])
        };
        let graph = Graph {
            name: "g".to_owned(),
            ir_version: 8,
            opset: 18,
            other_opsets: Vec::new(),
            value_info: Vec::new(),
            roles: Default::default(),
            inputs: vec![Port::fixed("x", Dtype::F32, &[1])],
            outputs: vec![Port::fixed("y", Dtype::F32, &[1])],
            initializers: Vec::new(),
            nodes: nodes.iter().map(node).collect(),
        };
        let size = |name: &str| sizes.iter().find(|(known, _)| *known == name).map_or(0, |(_, size)| *size);
        assert_eq!(peak_bytes(&graph, size), expected);
    }

    #[test]
    fn a_value_is_held_up_to_its_last_reader() {
        let nodes =
            [("MatMul", "x", "a"), ("MatMul", "a", "b"), ("MatMul", "b", "c"), ("MatMul", "c a", "y")];
        check_peak(&nodes, &[("a", 100), ("b", 10), ("c", 20), ("y", 5000)], 130);
        check_peak(&nodes[..2], &[("a", 100), ("b", 10)], 110);
    }

    #[test]
    fn an_output_has_memory_of_its_own_under_all_its_names() {
        check_peak(&[("MatMul", "x", "a"), ("Identity", "a", "y")], &[("a", 100), ("y", 100)], 0);
    }

    #[test]
    fn another_name_takes_no_memory_and_keeps_the_value_alive() {
        let nodes =
            [("MatMul", "x", "a"), ("Reshape", "a", "r"), ("MatMul", "x", "b"), ("MatMul", "r b", "y")];
        check_peak(&nodes, &[("a", 100), ("r", 100), ("b", 7)], 107);
    }

    #[test]
    fn an_operator_writes_over_what_it_reads_last_if_the_sizes_are_equal() {
        check_peak(
            &[("MatMul", "x", "a"), ("Relu", "a", "b"), ("MatMul", "b", "y")],
            &[("a", 100), ("b", 100)],
            100,
        );
        check_peak(
            &[("MatMul", "x", "a"), ("Cast", "a", "b"), ("MatMul", "b", "y")],
            &[("a", 100), ("b", 50)],
            150,
        );
    }
}
