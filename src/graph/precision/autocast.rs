//! Casts around the operators that compute with 16-bit floats, in the forward graph.

use super::table::{Treatment, treatment};
use crate::graph::emit::{Emit, Value};
use crate::graph::model::{Node, attribute};
use crate::graph::tensor::{Dtype, Tensor, ValueType};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

/// How many nodes of each operator compute with 16-bit and with 32-bit floats.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Assignment {
    /// Nodes with 16-bit floats, by operator.
    pub low: BTreeMap<String, usize>,
    /// Nodes with 32-bit floats, by operator.
    pub single: BTreeMap<String, usize>,
}

impl fmt::Display for Assignment {
    /// For instance `16 bits: Gemm 3, Relu 2; 32 bits: Softmax 1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |counts: &BTreeMap<String, usize>| {
            let parts: Vec<String> = counts.iter().map(|(op, count)| format!("{op} {count}")).collect();
            if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
        };
        write!(f, "16 bits: {}; 32 bits: {}", list(&self.low), list(&self.single))
    }
}

/// Makes the nodes that the table says compute with `low`, and gives what became of each.
///
/// A value keeps its name and its 32 bits; where a node computes it in 16, a cast widens it, and the operators that take
/// 16 bits read what is before that cast. A parameter is cast anew for each of its readers, so that the gradients of
/// several readers are added up in 32 bits; ONNX Runtime merges the casts.
pub(in crate::graph) fn autocast(emit: &mut Emit, low: Dtype, parameters: &[Value]) -> Assignment {
    let nodes = std::mem::take(emit.nodes_mut());
    let mut pass = Pass {
        emit,
        low,
        parameters: parameters.iter().copied().collect(),
        narrowed: HashMap::new(),
        made_low: HashSet::new(),
        products: HashSet::new(),
        casts: 0,
    };
    let mut assignment = Assignment::default();
    for node in nodes {
        let Some(is_low) = pass.computes_low(&node) else {
            pass.emit.push(node);
            continue;
        };
        let counts = if is_low { &mut assignment.low } else { &mut assignment.single };
        *counts.entry(node.op.clone()).or_default() += 1;
        if is_low {
            pass.narrow(node);
        } else {
            pass.emit.push(node);
        }
    }
    assignment
}

struct Pass<'a> {
    emit: &'a mut Emit,
    low: Dtype,
    parameters: HashSet<Value>,
    /// The 16-bit form of a value.
    narrowed: HashMap<Value, Value>,
    /// Values that a node computes in 16 bits.
    made_low: HashSet<Value>,
    /// Values that are the product of a MatMul.
    products: HashSet<Value>,
    /// Casts to 16 bits so far.
    casts: usize,
}

impl Pass<'_> {
    /// Whether a node computes with 16-bit floats; `None` if it has nothing to do with 32-bit ones.
    fn computes_low(&self, node: &Node) -> Option<bool> {
        let values = |names: &[String]| -> Vec<Value> {
            names.iter().filter(|name| !name.is_empty()).filter_map(|name| self.emit.find(name)).collect()
        };
        let (inputs, outputs) = (values(&node.inputs), values(&node.outputs));
        let is_single = |value: &&Value| self.emit.dtype(**value) == Dtype::F32;
        let floats = || inputs.iter().filter(is_single);
        if floats().count() + outputs.iter().filter(is_single).count() == 0 {
            return None;
        }
        let is_plain = node.domain.is_empty() && node.inner_ops().next().is_none();
        // A model with other floats of its own decides for itself what they are combined with.
        let is_mixed = inputs
            .iter()
            .chain(&outputs)
            .any(|value| self.emit.dtype(*value).is_float() && self.emit.dtype(*value) != Dtype::F32);
        if !is_plain || is_mixed || floats().count() == 0 {
            return Some(false);
        }
        Some(match treatment(&node.op) {
            Treatment::Single => false,
            Treatment::Low => true,
            Treatment::Follow => {
                floats().any(|value| self.made_low.contains(value))
                    && floats().all(|value| {
                        self.made_low.contains(value) || self.is_neutral(*value) || self.is_bias(node, *value)
                    })
            }
        })
    }

    /// Whether a value is a scalar constant that 16 bits represent exactly. Another would be off by as much as a rounded
    /// result, and always to the same side.
    fn is_neutral(&self, value: Value) -> bool {
        let numbers = self.emit.known(value).and_then(Tensor::to_f64);
        matches!(numbers.as_deref(), Some([number]) if self.low.represents(*number))
    }

    /// Whether a value is the bias of a linear layer that was exported as MatMul and Add.
    fn is_bias(&self, node: &Node, value: Value) -> bool {
        let has_product = node
            .inputs
            .iter()
            .filter_map(|name| self.emit.find(name))
            .any(|input| self.products.contains(&input));
        let is_stored = self.parameters.contains(&value) || self.emit.known(value).is_some();
        node.op == "Add" && has_product && is_stored && self.emit.rank(value) == 1
    }

    /// Appends a node that reads and writes 16-bit floats, and the casts around it.
    fn narrow(&mut self, mut node: Node) {
        for name in node.inputs.iter_mut().filter(|name| !name.is_empty()) {
            let Some(value) = self.emit.find(name) else { continue };
            if self.emit.dtype(value) == Dtype::F32 {
                let narrowed = self.narrowed(value, &node.name);
                *name = self.emit.name(narrowed).to_owned();
            }
        }
        let mut widened = Vec::new();
        for name in node.outputs.iter_mut().filter(|name| !name.is_empty()) {
            let Some(value) = self.emit.find(name) else { continue };
            if self.emit.dtype(value) != Dtype::F32 {
                continue;
            }
            let narrow_name = format!("trainer/{}/{name}", self.low);
            let kind = ValueType::new(self.low, self.emit.dims(value));
            let narrow = self.emit.declare(&narrow_name, kind);
            self.narrowed.insert(value, narrow);
            self.made_low.insert(value);
            if node.op == "MatMul" {
                self.products.insert(value);
            }
            widened.push((narrow_name.clone(), std::mem::replace(name, narrow_name)));
        }
        let owner = node.name.clone();
        self.emit.push(node);
        for (narrow, wide) in widened {
            self.emit.push(cast(&owner, narrow, wide, Dtype::F32));
        }
    }

    /// The 16-bit form of a value, for a node of this name.
    fn narrowed(&mut self, value: Value, reader: &str) -> Value {
        if let Some(narrowed) = self.narrowed.get(&value) {
            return *narrowed;
        }
        // Constants stay constants: a rule may have to know them.
        let known = self.emit.known(value).map(|tensor| (tensor.dims().to_vec(), tensor.to_f64()));
        let narrowed = match known {
            Some((dims, Some(numbers))) => self.emit.constant(Tensor::from_f64(self.low, dims, &numbers)),
            _ => {
                self.casts += 1;
                let name = format!("trainer/{}/{}/of/{}", self.low, self.casts, self.emit.name(value));
                let kind = ValueType::new(self.low, self.emit.dims(value));
                let narrowed = self.emit.declare(&name, kind);
                self.emit.push(cast(reader, self.emit.name(value).to_owned(), name, self.low));
                narrowed
            }
        };
        if !self.parameters.contains(&value) {
            self.narrowed.insert(value, narrowed);
        }
        narrowed
    }
}

/// A cast that belongs to the node called `owner`, and is called so that patterns which name that one name it as well.
pub(super) fn cast(owner: &str, from: String, to: String, dtype: Dtype) -> Node {
    let mut node = Node::new(format!("{owner}/cast/{to}"), "Cast", vec![from], vec![to]);
    node.attributes.push(attribute::int("to", i64::from(dtype.code())));
    node
}
