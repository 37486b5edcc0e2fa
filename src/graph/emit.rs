//! A graph under construction: every value has a known type, every operator is one method.
//!
//! Losses, gradients and optimizers are written with these methods. Each knows the shape of its result, so a rule never
//! has to guess; ONNX Runtime checks the same again when it builds the session.

use super::model::{Graph, Node, Port, attribute};
use super::proto::AttributeProto;
use super::tensor::{Dtype, Tensor, ValueType};
use std::collections::{HashMap, HashSet};

mod elementwise;
mod indexing;
mod ops;
mod scan;

pub use indexing::Reduction;
pub use ops::ConvShape;
pub use scan::Order;

/// A value of the graph under construction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value(u32);

/// The processor whose kernels a graph is written for. Where an operator's gradient has several forms, this chooses the
/// fastest; all of them compute the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Processor {
    /// The CPU execution provider.
    #[default]
    Cpu,
    /// An execution provider for graphics processors.
    Gpu,
}

/// A graph under construction.
#[derive(Debug, Clone)]
pub struct Emit {
    opset: i64,
    processor: Processor,
    other_opsets: Vec<(String, i64)>,
    names: Vec<String>,
    kinds: Vec<ValueType>,
    by_name: HashMap<String, Value>,
    nodes: Vec<Node>,
    initializers: Vec<Value>,
    contents: HashMap<Value, Tensor>,
    constants: HashMap<(ValueType, Vec<u8>), Value>,
    scope: String,
    made: usize,
    /// Values whose type inference does not find.
    hints: Vec<Value>,
}

/// Attributes whose name starts so are notes between the passes over a graph, which no other program knows.
pub(crate) const PRIVATE_ATTRIBUTE: &str = "trainer_";

/// Constants up to this size are made once and shared.
const SHARED_CONSTANT_BYTES: usize = 256;

impl Emit {
    /// An empty graph for this version of the default operator set.
    #[must_use]
    pub fn new(opset: i64, other_opsets: Vec<(String, i64)>) -> Self {
        Self {
            opset,
            processor: Processor::default(),
            other_opsets,
            names: Vec::new(),
            kinds: Vec::new(),
            by_name: HashMap::new(),
            nodes: Vec::new(),
            initializers: Vec::new(),
            contents: HashMap::new(),
            constants: HashMap::new(),
            scope: "trainer".to_owned(),
            made: 0,
            hints: Vec::new(),
        }
    }

    /// The version of the default operator set.
    #[must_use]
    pub fn opset(&self) -> i64 {
        self.opset
    }

    /// The processor to write for.
    #[must_use]
    pub fn processor(&self) -> Processor {
        self.processor
    }

    /// Writes for this processor from now on.
    pub fn set_processor(&mut self, processor: Processor) {
        self.processor = processor;
    }

    /// Whether `x` is computed with 32-bit floats on the CPU, where 16-bit ones are carried in them.
    #[must_use]
    pub fn is_single_on_cpu(&self, x: Value) -> bool {
        self.processor == Processor::Cpu && matches!(self.dtype(x), Dtype::F32 | Dtype::F16 | Dtype::Bf16)
    }

    /// Names what is emitted from now on: `trainer/<scope>/<operator>_<number>`, for messages of ONNX Runtime.
    pub fn set_scope(&mut self, scope: &str) {
        self.scope = format!("trainer/{scope}");
    }

    /// Registers a value that is fed from outside or made by a node pushed afterwards.
    pub fn declare(&mut self, name: &str, kind: ValueType) -> Value {
        let value = Value(u32::try_from(self.names.len()).expect("a graph has fewer than 2^32 values"));
        self.names.push(name.to_owned());
        self.kinds.push(kind);
        self.by_name.insert(name.to_owned(), value);
        value
    }

    /// Registers a value with known contents under its name in the model.
    pub fn declare_initializer(&mut self, name: &str, tensor: Tensor) -> Value {
        let value = self.declare(name, tensor.kind().clone());
        self.initializers.push(value);
        self.contents.insert(value, tensor);
        value
    }

    /// Appends a node all of whose values are declared.
    pub fn push(&mut self, node: Node) {
        self.nodes.push(node);
    }

    /// The nodes so far, in topological order.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The nodes so far, to be edited in place.
    pub fn nodes_mut(&mut self) -> &mut Vec<Node> {
        &mut self.nodes
    }

    /// The value with this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Value> {
        self.by_name.get(name).copied()
    }

    /// The name of a value.
    #[must_use]
    pub fn name(&self, value: Value) -> &str {
        self.names.get(value.0 as usize).expect("values are made by this graph only")
    }

    /// Element type and dimensions of a value.
    #[must_use]
    pub fn kind(&self, value: Value) -> &ValueType {
        self.kinds.get(value.0 as usize).expect("values are made by this graph only")
    }

    /// Dimensions of a value.
    #[must_use]
    pub fn dims(&self, value: Value) -> &[usize] {
        &self.kind(value).dims
    }

    /// Element type of a value.
    #[must_use]
    pub fn dtype(&self, value: Value) -> Dtype {
        self.kind(value).dtype
    }

    /// Number of dimensions of a value.
    #[must_use]
    pub fn rank(&self, value: Value) -> usize {
        self.dims(value).len()
    }

    /// The contents of a value if they are known.
    #[must_use]
    pub fn known(&self, value: Value) -> Option<&Tensor> {
        self.contents.get(&value)
    }

    /// Makes every value of this type a 32-bit float, its contents included, and gives those values in their order. What
    /// their nodes compute is the caller's concern.
    pub(super) fn widen(&mut self, from: Dtype) -> Vec<Value> {
        let mut widened = Vec::new();
        for (index, kind) in (0_u32..).zip(&mut self.kinds).filter(|(_, kind)| kind.dtype == from) {
            kind.dtype = Dtype::F32;
            widened.push(Value(index));
        }
        for value in &widened {
            if let Some(tensor) = self.contents.get_mut(value)
                && let Some(numbers) = tensor.to_f64()
            {
                *tensor = Tensor::from_f64(Dtype::F32, tensor.dims().to_vec(), &numbers);
            }
        }
        self.constants.retain(|(kind, _), _| kind.dtype != from);
        widened
    }

    /// A constant; small equal ones are shared.
    pub fn constant(&mut self, tensor: Tensor) -> Value {
        let key = (tensor.kind().clone(), tensor.bytes().to_vec());
        let small = tensor.bytes().len() <= SHARED_CONSTANT_BYTES;
        if small && let Some(value) = self.constants.get(&key) {
            return *value;
        }
        self.made += 1;
        let name = format!("trainer/constant_{}", self.made);
        let value = self.declare_initializer(&name, tensor);
        if small {
            self.constants.insert(key, value);
        }
        value
    }

    /// A scalar of the element type of `like`.
    pub fn scalar(&mut self, number: f64, like: Value) -> Value {
        let dtype = self.dtype(like);
        self.constant(Tensor::from_f64(dtype, vec![], &[number]))
    }

    /// A list of 64-bit integers, as the shape operators take them.
    pub fn list(&mut self, numbers: &[i64]) -> Value {
        self.constant(Tensor::from_i64(vec![numbers.len()], numbers))
    }

    /// Any operator with one output whose type the caller knows.
    pub fn op(
        &mut self,
        op: &str,
        inputs: &[Value],
        attributes: Vec<AttributeProto>,
        kind: ValueType,
    ) -> Value {
        let inputs: Vec<Option<Value>> = inputs.iter().copied().map(Some).collect();
        let outputs = self.multi_op(op, &inputs, attributes, vec![kind]);
        outputs.into_iter().next().expect("one type was given, so one output was made")
    }

    /// Any operator with several outputs, absent inputs allowed.
    pub fn multi_op(
        &mut self,
        op: &str,
        inputs: &[Option<Value>],
        attributes: Vec<AttributeProto>,
        kinds: Vec<ValueType>,
    ) -> Vec<Value> {
        self.made += 1;
        let name = format!("{}/{op}_{}", self.scope, self.made);
        let several = kinds.len() > 1;
        let made = kinds.into_iter().enumerate().map(|(position, kind)| {
            let output = if several { format!("{name}.{position}") } else { name.clone() };
            self.declare(&output, kind)
        });
        let made: Vec<Value> = made.collect();
        let inputs =
            inputs.iter().map(|input| input.map_or(String::new(), |value| self.name(value).to_owned()));
        let mut node = Node::new(name, op, inputs.collect(), Vec::new());
        node.outputs = made.iter().map(|value| self.name(*value).to_owned()).collect();
        node.attributes = attributes;
        self.nodes.push(node);
        made
    }

    /// The output of an existing node at this position, which the node is made to give if it did not.
    pub fn extra_output(&mut self, node_name: &str, position: usize, kind: ValueType) -> Value {
        let node = self
            .nodes
            .iter()
            .position(|node| node.name == node_name)
            .expect("the node is part of this graph");
        let outputs = self.nodes.get(node).map(|node| node.outputs.as_slice()).unwrap_or_default();
        let present = outputs.get(position).filter(|name| !name.is_empty());
        if let Some(value) = present.and_then(|name| self.find(name)) {
            return value;
        }
        let name = format!("trainer/{node_name}.{position}");
        let value = self.declare(&name, kind);
        if let Some(node) = self.nodes.get_mut(node) {
            let length = node.outputs.len().max(position + 1);
            node.outputs.resize(length, String::new());
            if let Some(slot) = node.outputs.get_mut(position) {
                *slot = name;
            }
        }
        value
    }

    /// Gives `value` a name of its own among the graph's outputs.
    pub fn name_output(&mut self, value: Value, name: &str) -> Value {
        let named = self.declare(name, self.kind(value).clone());
        let node = Node::new(name, "Identity", vec![self.name(value).to_owned()], vec![name.to_owned()]);
        self.nodes.push(node);
        named
    }

    /// The size in bytes of each value, by name.
    #[must_use]
    pub fn value_bytes(&self) -> HashMap<String, usize> {
        self.names.iter().cloned().zip(self.kinds.iter().map(ValueType::size_bytes)).collect()
    }

    /// States the type of a value in the finished graph, where ONNX Runtime could not infer it.
    pub fn hint(&mut self, value: Value) {
        self.hints.push(value);
    }

    /// Drops the nodes that these outputs do not need, and gives how many of the first `count` nodes are left.
    pub fn prune(&mut self, outputs: &[Value], count: usize) -> usize {
        let mut needed: HashSet<String> = outputs.iter().map(|value| self.name(*value).to_owned()).collect();
        let rest = self.nodes.split_off(count.min(self.nodes.len()));
        let mut keep_needed = |mut nodes: Vec<Node>| {
            nodes.reverse();
            nodes.retain(|node| {
                let is_used = node.outputs.iter().any(|output| needed.contains(output));
                if is_used {
                    needed.extend(node.reads().map(str::to_owned));
                }
                is_used
            });
            nodes.reverse();
            nodes
        };
        let rest = keep_needed(rest);
        self.nodes = keep_needed(std::mem::take(&mut self.nodes));
        let left = self.nodes.len();
        self.nodes.extend(rest);
        left
    }

    /// The finished graph: what the outputs need and nothing else.
    #[must_use]
    pub fn finish(mut self, name: &str, inputs: &[Value], outputs: &[Value]) -> Graph {
        self.prune(outputs, 0);
        let mut nodes = std::mem::take(&mut self.nodes);
        let mut needed: HashSet<String> = outputs.iter().map(|value| self.name(*value).to_owned()).collect();
        needed.extend(nodes.iter().flat_map(Node::reads).map(str::to_owned));
        let made: HashSet<&str> = nodes.iter().flat_map(|node| &node.outputs).map(String::as_str).collect();
        let hinted = self.hints.iter().filter(|value| made.contains(self.name(**value)));
        let value_info =
            hinted.map(|value| Port::fixed(self.name(*value), self.dtype(*value), self.dims(*value)));
        let value_info = value_info.collect();
        for node in &mut nodes {
            node.attributes.retain(|attribute| !attribute.name.starts_with(PRIVATE_ATTRIBUTE));
        }
        let port = |value: &Value| Port::fixed(self.name(*value), self.dtype(*value), self.dims(*value));
        let kept = self.initializers.iter().filter(|value| needed.contains(self.name(**value)));
        let kept =
            kept.filter_map(|value| Some((self.name(*value).to_owned(), self.contents.get(value)?.clone())));
        Graph {
            name: name.to_owned(),
            ir_version: 8,
            opset: self.opset,
            other_opsets: self.other_opsets.clone(),
            inputs: inputs.iter().filter(|value| needed.contains(self.name(**value))).map(port).collect(),
            outputs: outputs.iter().map(port).collect(),
            value_info,
            initializers: kept.collect(),
            roles: HashMap::new(),
            nodes,
        }
    }
}

/// The dimensions of the result of a broadcasting operator, by the rule of ONNX (and numpy).
///
/// `None` if the shapes do not broadcast.
#[must_use]
pub fn broadcast(left: &[usize], right: &[usize]) -> Option<Vec<usize>> {
    let rank = left.len().max(right.len());
    let at = |dims: &[usize], axis: usize| {
        (axis + dims.len()).checked_sub(rank).and_then(|i| dims.get(i)).copied().unwrap_or(1)
    };
    (0..rank)
        .map(|axis| match (at(left, axis), at(right, axis)) {
            (a, b) if a == b => Some(a),
            (1, b) => Some(b),
            (a, 1) => Some(a),
            _ => None,
        })
        .collect()
}

fn ints(name: &str, values: &[usize]) -> AttributeProto {
    let values: Vec<i64> = values.iter().map(|value| *value as i64).collect();
    attribute::ints(name, &values)
}
