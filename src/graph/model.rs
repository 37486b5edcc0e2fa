//! The graph of a model as this project edits it: nodes in topological order, values by name.

use super::proto::{AttributeProto, GraphProto, attribute_type};
use super::tensor::{Dtype, Tensor};
use bytes::Bytes;
use prost::Message;
use std::collections::{HashMap, HashSet};

/// A graph of nodes over named values.
///
/// Invariants, established by [`super::read`] and kept by every edit: each value is produced once (by a graph input,
/// an initializer or a node output), nodes stand after the nodes whose outputs they read, node names are unique.
#[derive(Debug, Clone, PartialEq)]
pub struct Graph {
    /// Name of the graph.
    pub name: String,
    /// `ModelProto.ir_version`.
    pub ir_version: i64,
    /// Version of the default operator set.
    pub opset: i64,
    /// Versions of other operator sets, by domain.
    pub other_opsets: Vec<(String, i64)>,
    /// Values fed from outside.
    pub inputs: Vec<Port>,
    /// Values given back.
    pub outputs: Vec<Port>,
    /// Types of values within that inference does not find.
    pub value_info: Vec<Port>,
    /// Values with known contents.
    pub initializers: Vec<(String, Tensor)>,
    /// What some of them were in the model that was exported; empty where the file does not say.
    pub roles: HashMap<String, Role>,
    /// Operations.
    pub nodes: Vec<Node>,
}

/// What an initializer was in the program that the model was exported from, by the names of `torch.export`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// An `nn.Parameter`.
    Parameter,
    /// A registered buffer, which PyTorch does not train.
    Buffer,
    /// A tensor that the code of the model holds.
    Constant,
}

impl Role {
    const NAMES: [(Self, &'static str); 3] =
        [(Self::Parameter, "PARAMETER"), (Self::Buffer, "BUFFER"), (Self::Constant, "CONSTANT_TENSOR")];

    /// The role that `torch.export` calls so.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, known)| *known == name).map(|(role, _)| *role)
    }

    /// What `torch.export` calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(role, _)| *role == self).map_or("", |(_, name)| name)
    }
}

impl Graph {
    /// Drops the nodes, initializers and notes of types that the outputs do not need. Inputs stay.
    pub fn keep_needed(&mut self) {
        let mut needed: HashSet<String> = self.outputs.iter().map(|port| port.name.clone()).collect();
        self.nodes.reverse();
        self.nodes.retain(|node| {
            let is_needed = node.outputs.iter().any(|output| needed.contains(output));
            if is_needed {
                needed.extend(node.reads().map(str::to_owned));
            }
            is_needed
        });
        self.nodes.reverse();
        self.initializers.retain(|(name, _)| needed.contains(name));
        let made: HashSet<&String> = self.nodes.iter().flat_map(|node| &node.outputs).collect();
        self.value_info.retain(|port| made.contains(&port.name));
    }

    /// The same graph, which holds no memory of the file that it was read from, with zeros in the initializers of these
    /// names; see [`Tensor::zeros`].
    #[must_use]
    pub fn without_values_of(mut self, names: &HashSet<&str>) -> Self {
        for (name, tensor) in &mut self.initializers {
            *tensor = match names.contains(name.as_str()) {
                true => Tensor::zeros(tensor.kind().clone()),
                false => tensor.detached(),
            };
        }
        for attribute in self.nodes.iter_mut().flat_map(|node| &mut node.attributes) {
            // What was encoded can be decoded.
            if let Ok(copy) = AttributeProto::decode(Bytes::from(attribute.encode_to_vec())) {
                *attribute = copy;
            }
        }
        self
    }

    /// The values that a node reads, or that are outputs.
    #[must_use]
    pub fn read_values(&self) -> HashSet<String> {
        let outputs = self.outputs.iter().map(|port| port.name.as_str());
        self.nodes.iter().flat_map(Node::reads).chain(outputs).map(str::to_owned).collect()
    }

    /// Whether a node reads the value, or it is an output.
    #[must_use]
    pub fn is_read(&self, name: &str) -> bool {
        self.outputs.iter().any(|port| port.name == name)
            || self.nodes.iter().flat_map(Node::reads).any(|read| read == name)
    }
}

/// An input or output of a graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Name of the value.
    pub name: String,
    /// Element type; `None` for an output whose type is left to inference.
    pub dtype: Option<Dtype>,
    /// Dimensions; `None` if not even the rank is known.
    pub dims: Option<Vec<Dim>>,
}

/// One dimension of a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dim {
    /// A known size.
    Fixed(usize),
    /// A free size with a name; equal names mean equal sizes.
    Symbol(String),
    /// A free size without a name.
    Unknown,
}

impl Port {
    /// A port of known type and shape.
    #[must_use]
    pub fn fixed(name: impl Into<String>, dtype: Dtype, dims: &[usize]) -> Self {
        let dims = dims.iter().map(|dim| Dim::Fixed(*dim)).collect();
        Self { name: name.into(), dtype: Some(dtype), dims: Some(dims) }
    }

    /// An output whose type is left to inference.
    #[must_use]
    pub fn inferred(name: impl Into<String>) -> Self {
        Self { name: name.into(), dtype: None, dims: None }
    }
}

/// One operation.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Unique name, used in every message about this node.
    pub name: String,
    /// Operator, for instance `Conv`.
    pub op: String,
    /// Domain of the operator; empty for the standard one.
    pub domain: String,
    /// Names of the values read; an empty name is an absent optional input.
    pub inputs: Vec<String>,
    /// Names of the values produced; an empty name is an absent optional output.
    pub outputs: Vec<String>,
    /// Attributes.
    pub attributes: Vec<AttributeProto>,
}

impl Node {
    /// A node of the standard domain without attributes.
    #[must_use]
    pub fn new(name: impl Into<String>, op: &str, inputs: Vec<String>, outputs: Vec<String>) -> Self {
        Self {
            name: name.into(),
            op: op.to_owned(),
            domain: String::new(),
            inputs,
            outputs,
            attributes: Vec::new(),
        }
    }

    fn attribute(&self, name: &str, kind: i32) -> Option<&AttributeProto> {
        self.attributes.iter().find(|attribute| attribute.name == name && attribute.r#type == kind)
    }

    /// The integer attribute with this name.
    #[must_use]
    pub fn int(&self, name: &str) -> Option<i64> {
        Some(self.attribute(name, attribute_type::INT)?.i)
    }

    /// The float attribute with this name.
    #[must_use]
    pub fn float(&self, name: &str) -> Option<f32> {
        Some(self.attribute(name, attribute_type::FLOAT)?.f)
    }

    /// The list-of-integers attribute with this name.
    #[must_use]
    pub fn ints(&self, name: &str) -> Option<&[i64]> {
        Some(&self.attribute(name, attribute_type::INTS)?.ints)
    }

    /// The string attribute with this name, if it is UTF-8.
    #[must_use]
    pub fn string(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(&self.attribute(name, attribute_type::STRING)?.s).ok()
    }

    /// All values of the surrounding graph that the node reads: its inputs, and what graphs of its own take from there.
    pub fn reads(&self) -> impl Iterator<Item = &str> {
        let mut captured = Vec::new();
        for graph in self.inner_graphs() {
            collect_captured(graph, &HashSet::new(), &mut captured);
        }
        self.inputs.iter().map(String::as_str).chain(captured).filter(|name| !name.is_empty())
    }

    /// Whether it has graphs of its own.
    #[must_use]
    pub fn has_inner_graphs(&self) -> bool {
        self.inner_graphs().next().is_some()
    }

    /// Whether it only gives a value another name or shape: ONNX Runtime copies nothing.
    #[must_use]
    pub fn is_renaming(&self) -> bool {
        const OPS: [&str; 5] = ["Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze"];
        self.domain.is_empty() && OPS.contains(&self.op.as_str())
    }

    fn inner_graphs(&self) -> impl Iterator<Item = &GraphProto> {
        self.attributes.iter().flat_map(|attribute| attribute.g.iter().chain(&attribute.graphs))
    }

    /// The operators in graphs of its own.
    pub fn inner_ops(&self) -> impl Iterator<Item = &str> {
        let mut ops = Vec::new();
        for graph in self.inner_graphs() {
            collect_ops(graph, &mut ops);
        }
        ops.into_iter()
    }

    /// `op`, or `domain.op` outside the standard domain.
    #[must_use]
    pub fn qualified_op(&self) -> String {
        if self.domain.is_empty() { self.op.clone() } else { format!("{}.{}", self.domain, self.op) }
    }
}

/// Names that `graph` reads and neither it nor a graph around it, up to the node, defines.
///
/// The depth of the recursion is bounded: protobuf messages are decoded to a fixed depth only.
fn collect_captured<'a>(graph: &'a GraphProto, outer: &HashSet<&'a str>, names: &mut Vec<&'a str>) {
    let mut defined = outer.clone();
    defined.extend(graph.input.iter().map(|input| input.name.as_str()));
    defined.extend(graph.initializer.iter().map(|tensor| tensor.name.as_str()));
    defined.extend(graph.node.iter().flat_map(|node| node.output.iter().map(String::as_str)));
    let inputs = graph.node.iter().flat_map(|node| node.input.iter().map(String::as_str));
    let read = inputs.chain(graph.output.iter().map(|output| output.name.as_str()));
    names.extend(read.filter(|name| !defined.contains(name)));
    for inner in inner_graphs(graph) {
        collect_captured(inner, &defined, names);
    }
}

fn collect_ops<'a>(graph: &'a GraphProto, ops: &mut Vec<&'a str>) {
    ops.extend(graph.node.iter().map(|node| node.op_type.as_str()));
    for inner in inner_graphs(graph) {
        collect_ops(inner, ops);
    }
}

fn inner_graphs(graph: &GraphProto) -> impl Iterator<Item = &GraphProto> {
    let attributes = graph.node.iter().flat_map(|node| node.attribute.iter());
    attributes.flat_map(|attribute| attribute.g.iter().chain(&attribute.graphs))
}

/// Makers of attributes.
pub mod attribute {
    use super::{AttributeProto, Bytes, attribute_type};

    /// An integer.
    #[must_use]
    pub fn int(name: &str, value: i64) -> AttributeProto {
        AttributeProto { name: name.to_owned(), i: value, r#type: attribute_type::INT, ..Default::default() }
    }

    /// A float.
    #[must_use]
    pub fn float(name: &str, value: f32) -> AttributeProto {
        AttributeProto {
            name: name.to_owned(),
            f: value,
            r#type: attribute_type::FLOAT,
            ..Default::default()
        }
    }

    /// A list of integers.
    #[must_use]
    pub fn ints(name: &str, values: &[i64]) -> AttributeProto {
        AttributeProto {
            name: name.to_owned(),
            ints: values.to_vec(),
            r#type: attribute_type::INTS,
            ..Default::default()
        }
    }

    /// A string.
    #[must_use]
    pub fn string(name: &str, value: &str) -> AttributeProto {
        let s = Bytes::copy_from_slice(value.as_bytes());
        AttributeProto { name: name.to_owned(), s, r#type: attribute_type::STRING, ..Default::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Builtin;
    use crate::graph::builtin;
    use crate::graph::read::read_bytes;
    use crate::graph::write::to_bytes;
    use std::path::Path;

    #[test]
    fn a_graph_without_values_holds_nothing_of_the_file_and_keeps_what_is_not_trained() {
        let mut model = builtin::build(Builtin::Mlp, "x", &[28, 28], 10, 1);
        let constant = Node::new("c", "Constant", vec![], vec![]);
        let value = super::super::write::tensor_proto("c", &Tensor::from_f32(vec![2], &[1.0, 2.0]));
        let attributes = vec![AttributeProto {
            name: "value".into(),
            t: Some(value),
            r#type: attribute_type::TENSOR,
            ..Default::default()
        }];
        model.nodes.push(Node { outputs: vec!["c".into()], attributes, ..constant });
        model.outputs.push(Port::inferred("c"));
        let file = Bytes::from(to_bytes(&model));
        let read = read_bytes(Path::new("model.onnx"), file.clone()).unwrap();
        assert!(!file.is_unique(), "the reader copies nothing");

        let without = read.clone().without_values_of(&HashSet::from(["fc1.weight", "fc1.bias"]));
        let stays_zero = |name: &str, tensor: &Tensor| {
            name.starts_with("fc1.") && tensor.bytes().iter().all(|byte| *byte == 0)
        };
        for ((name, before), (_, after)) in read.initializers.iter().zip(&without.initializers) {
            assert_eq!(before.kind(), after.kind());
            assert!(stays_zero(name, after) || before == after, "{name}");
        }
        assert_eq!(read.nodes, without.nodes);
        drop(read);
        assert!(file.is_unique(), "something still holds the bytes of the file");
    }
}
