//! Lists of tensors that are known element by element give way to the tensors.
//!
//! PyTorch's exporter writes `split` and `chunk` as a list of parts of which each is taken by its position.

use super::PartialType;
use crate::graph::model::{Graph, Node, attribute};
use crate::graph::tensor::Tensor;
use std::collections::{HashMap, HashSet};

/// Most parts of a list that is written out: a file of a few bytes can cut a value of any size into parts of one.
const MAX_PARTS: i64 = 4096;

/// Writes out every list that is made at once and whose elements are taken at known positions or joined; `false` if there
/// was none.
pub(super) fn write_out_lists(graph: &mut Graph, types: &HashMap<String, PartialType>) -> bool {
    let known: HashMap<String, Tensor> = graph.initializers.iter().cloned().collect();
    let known = |name: &String| known.get(name).and_then(Tensor::to_i64);
    let mut lists: HashMap<String, List> = HashMap::new();
    let input_dims = |name: &String| dims_of(graph, types, name);
    for node in graph.nodes.iter().filter(|node| node.domain.is_empty()) {
        let list = match node.op.as_str() {
            "SequenceConstruct" => Some(List { elements: node.inputs.clone(), split: None }),
            "SplitToSequence" => split(node, known, input_dims),
            _ => None,
        };
        if let (Some(list), Some(name)) = (list, node.outputs.first()) {
            lists.insert(name.clone(), list);
        }
    }
    let read_otherwise: HashSet<String> = graph
        .nodes
        .iter()
        .flat_map(|node| node.reads().map(move |name| (node, name)))
        .filter(|(node, name)| lists.get(*name).is_some_and(|list| use_of(node, list, known).is_none()))
        .map(|(_, name)| name.to_owned())
        .chain(graph.outputs.iter().map(|port| port.name.clone()))
        .collect();
    lists.retain(|name, _| !read_otherwise.contains(name));
    if lists.is_empty() {
        return false;
    }
    let mut nodes = Vec::with_capacity(graph.nodes.len());
    for node in std::mem::take(&mut graph.nodes) {
        let made = node.outputs.first().and_then(|name| lists.get(name));
        let read = node.inputs.first().and_then(|name| lists.get(name));
        match (made, read.and_then(|list| use_of(&node, list, known))) {
            (Some(list), _) => {
                if let Some((node, sizes)) = &list.split {
                    nodes.push(node.clone());
                    graph.initializers.push(sizes.clone());
                }
            }
            (None, Some(node)) => nodes.push(node),
            (None, None) => nodes.push(node),
        }
    }
    graph.nodes = nodes;
    true
}

/// A list whose elements have names.
struct List {
    elements: Vec<String>,
    /// The node that makes them, with the sizes it reads, if they are parts of one value.
    split: Option<(Node, (String, Tensor))>,
}

fn dims_of(graph: &Graph, types: &HashMap<String, PartialType>, name: &String) -> Option<Vec<usize>> {
    let port = graph.inputs.iter().find(|port| port.name == *name);
    if let Some(port) = port {
        return super::port_type(port).map(|kind| kind.dims);
    }
    let constant = graph.initializers.iter().find(|(other, _)| other == name);
    constant
        .map(|(_, tensor)| tensor.dims().to_vec())
        .or_else(|| types.get(name)?.complete().map(|kind| kind.dims))
}

/// The parts of `SplitToSequence`; `None` if their sizes are not known or it drops the axis.
fn split(
    node: &Node,
    known: impl Fn(&String) -> Option<Vec<i64>>,
    dims_of: impl Fn(&String) -> Option<Vec<usize>>,
) -> Option<List> {
    let input = node.inputs.first()?;
    let dims = dims_of(input)?;
    let axis = node.int("axis").unwrap_or(0);
    let counted = if axis < 0 { axis + dims.len() as i64 } else { axis };
    let size = *dims.get(usize::try_from(counted).ok()?)? as i64;
    let given = node.inputs.get(1).filter(|name| !name.is_empty());
    let in_chunks = |chunk: i64| -> Option<Vec<i64>> {
        let starts = (0..size).step_by(usize::try_from(chunk).ok()?);
        let is_long = size / chunk > MAX_PARTS;
        (!is_long).then(|| starts.map(|start| chunk.min(size - start)).collect())
    };
    let sizes = match given {
        None if node.int("keepdims").unwrap_or(1) == 0 => return None,
        None => in_chunks(1)?,
        Some(name) => match known(name)?.as_slice() {
            // A scalar says the size of each part, of which the last may be smaller; ONNX Runtime takes one number as that.
            [chunk] if *chunk > 0 => in_chunks(*chunk)?,
            sizes => sizes.to_vec(),
        },
    };
    if sizes.iter().try_fold(0_i64, |sum, size| sum.checked_add(*size)) != Some(size) {
        return None;
    }
    let list = node.outputs.first()?;
    let elements: Vec<String> = (0..sizes.len()).map(|position| format!("{list}/{position}")).collect();
    let sizes_name = format!("{list}/sizes");
    let mut parts =
        Node::new(node.name.clone(), "Split", vec![input.clone(), sizes_name.clone()], elements.clone());
    parts.attributes = vec![attribute::int("axis", axis)];
    let sizes = Tensor::from_i64(vec![sizes.len()], &sizes);
    Some(List { elements, split: Some((parts, (sizes_name, sizes))) })
}

/// The node that does without the list what `node` does with it.
fn use_of(node: &Node, list: &List, known: impl Fn(&String) -> Option<Vec<i64>>) -> Option<Node> {
    let is = |op: &str| node.op == op && node.domain.is_empty();
    if is("SequenceAt") {
        let [position] = *known(node.inputs.get(1)?)?.as_slice() else { return None };
        let counted = if position < 0 { position + list.elements.len() as i64 } else { position };
        let element = list.elements.get(usize::try_from(counted).ok()?)?;
        return Some(Node::new(node.name.clone(), "Identity", vec![element.clone()], node.outputs.clone()));
    }
    if is("ConcatFromSequence") && node.int("new_axis").unwrap_or(0) == 0 {
        let mut joined = Node::new(node.name.clone(), "Concat", list.elements.clone(), node.outputs.clone());
        joined.attributes = vec![attribute::int("axis", node.int("axis")?)];
        return Some(joined);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::write_out_lists;
    use crate::graph::model::{Graph, Node, Port};
    use crate::graph::tensor::{Dtype, Tensor};
    use std::collections::HashMap;

    /// Whether a value of this size is written out in parts of these sizes, or of one without them.
    #[track_caller]
    fn check_written_out(size: usize, sizes: Option<&[i64]>, expected: bool) {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let inputs = if sizes.is_some() { names(&["x", "sizes"]) } else { names(&["x"]) };
        let first = ("first".to_owned(), Tensor::from_i64([], &[0]));
        let sizes = sizes.map(|sizes| ("sizes".to_owned(), Tensor::from_i64([sizes.len()], sizes)));
        let mut graph = Graph {
            name: "g".to_owned(),
            ir_version: 8,
            opset: 18,
            other_opsets: Vec::new(),
            value_info: Vec::new(),
            roles: HashMap::new(),
            inputs: vec![Port::fixed("x", Dtype::F32, &[size])],
            outputs: vec![Port::inferred("y")],
            initializers: sizes.into_iter().chain([first]).collect(),
            nodes: vec![
                Node::new("split", "SplitToSequence", inputs, names(&["parts"])),
                Node::new("at", "SequenceAt", names(&["parts", "first"]), names(&["y"])),
            ],
        };
        assert_eq!(write_out_lists(&mut graph, &HashMap::new()), expected);
    }

    #[test]
    fn a_value_is_not_cut_into_billions_of_parts() {
        check_written_out(8, None, true);
        check_written_out(1 << 40, None, false);
        check_written_out(1 << 40, Some(&[3]), false);
        check_written_out(1 << 40, Some(&[1 << 39, 1 << 39]), true);
    }

    #[test]
    fn sizes_whose_sum_is_no_number_are_left_to_onnxruntime() {
        check_written_out(8, Some(&[i64::MAX, i64::MAX, 10]), false);
    }
}
