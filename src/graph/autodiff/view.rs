//! What a gradient rule sees of the node it differentiates.

use crate::graph::emit::{Emit, Value};
use crate::graph::model::Node;
use crate::graph::tensor::Tensor;
use std::collections::HashSet;

/// A node, its values, the gradients of its outputs, and which inputs need a gradient.
#[derive(Debug)]
pub struct NodeView {
    /// The node itself, for its attributes.
    pub node: Node,
    pub(super) inputs: Vec<Option<Value>>,
    pub(super) outputs: Vec<Option<Value>>,
    pub(super) output_grads: Vec<Option<Value>>,
    pub(super) needed: Vec<bool>,
}

impl NodeView {
    /// The view of `node` in the graph under construction.
    pub(super) fn new(node: &Node, emit: &Emit, dependent: &HashSet<Value>) -> Self {
        let find = |names: &[String]| names.iter().map(|name| emit.find(name)).collect::<Vec<_>>();
        let (inputs, outputs) = (find(&node.inputs), find(&node.outputs));
        let needed =
            inputs.iter().map(|input| input.is_some_and(|input| dependent.contains(&input))).collect();
        Self { node: node.clone(), inputs, output_grads: vec![None; outputs.len()], outputs, needed }
    }

    /// The gradient of the first output.
    ///
    /// The driver calls a rule only when it is there, unless the rule differentiates all outputs.
    #[must_use]
    pub fn dy(&self) -> Value {
        self.output_grads
            .first()
            .copied()
            .flatten()
            .expect("the driver calls a rule with the gradient of output 0")
    }

    /// The gradients of all outputs, `None` where nothing that matters reads the output.
    #[must_use]
    pub fn output_grads(&self) -> &[Option<Value>] {
        &self.output_grads
    }

    /// A required input; the operator's specification says it is there, and ONNX Runtime has checked that.
    #[must_use]
    pub fn input(&self, position: usize) -> Value {
        self.optional_input(position).expect("ONNX Runtime refused models without the required inputs")
    }

    /// An optional input.
    #[must_use]
    pub fn optional_input(&self, position: usize) -> Option<Value> {
        self.inputs.get(position).copied().flatten()
    }

    /// All inputs.
    #[must_use]
    pub fn inputs(&self) -> &[Option<Value>] {
        &self.inputs
    }

    /// A required output.
    #[must_use]
    pub fn output(&self, position: usize) -> Value {
        self.outputs
            .get(position)
            .copied()
            .flatten()
            .expect("ONNX Runtime refused models without the required outputs")
    }

    /// An optional output that the node has and somebody may read.
    #[must_use]
    pub fn optional_output(&self, position: usize) -> Option<Value> {
        self.outputs.get(position).copied().flatten()
    }

    /// Whether the gradient of this input is used.
    #[must_use]
    pub fn needs(&self, position: usize) -> bool {
        self.needed.get(position).copied().unwrap_or(false)
    }

    /// The contents of an input that is a constant of the graph.
    #[must_use]
    pub fn known<'e>(&self, emit: &'e Emit, position: usize) -> Option<&'e Tensor> {
        emit.known(self.optional_input(position)?)
    }

    /// The attribute `axis`, counted from the front.
    #[must_use]
    pub fn axis(&self, default: i64, rank: usize) -> usize {
        from_front(self.node.int("axis").unwrap_or(default), rank)
    }

    /// Axes given as the attribute `axes` or, in newer versions of the operator, as an input; `None` if not given.
    #[must_use]
    pub fn axes(&self, emit: &Emit, input: usize, rank: usize) -> Option<Vec<usize>> {
        let listed = match self.node.ints("axes") {
            Some(axes) => axes.to_vec(),
            None => self.known(emit, input)?.to_i64()?,
        };
        Some(listed.into_iter().map(|axis| from_front(axis, rank)).collect())
    }
}

/// An axis counted from the front: ONNX counts negative ones from the end.
pub(super) fn from_front(axis: i64, rank: usize) -> usize {
    let counted = if axis < 0 { axis + rank as i64 } else { axis };
    usize::try_from(counted).unwrap_or(0)
}
