//! The walk backwards through the graph.

use super::compose::compose;
use super::rules::{Gradient, InputGrads, find};
use super::view::NodeView;
use crate::graph::emit::{Emit, Value};
use crate::graph::model::Node;
use std::collections::{HashMap, HashSet};
use thiserror::Error;

/// Nodes between the parameters and the loss that can not be differentiated.
#[derive(Debug, Error)]
#[error("{} of the model can not be differentiated:\n{}\nremedy: export the model with other operators, or freeze the \
         parameters before these nodes (`model.freeze`)", count(nodes.len()), listing(nodes))]
pub struct Unsupported {
    /// All of them, in the order of the graph.
    pub nodes: Vec<UnsupportedNode>,
}

/// One node that can not be differentiated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsupportedNode {
    /// Name of the node.
    pub name: String,
    /// Operator with its domain.
    pub op: String,
    /// Why.
    pub reason: String,
}

fn count(nodes: usize) -> String {
    if nodes == 1 { "1 node".to_owned() } else { format!("{nodes} nodes") }
}

fn listing(nodes: &[UnsupportedNode]) -> String {
    let lines: Vec<String> = nodes.iter().map(|n| format!("  {} ({}): {}", n.name, n.op, n.reason)).collect();
    lines.join("\n")
}

/// What [`differentiate`] appended.
#[derive(Debug)]
pub struct Backward {
    /// The gradient with respect to each wanted value; `None` where the loss does not depend on it.
    pub gradients: Vec<Option<Value>>,
    /// How many nodes come before those that were appended.
    pub forward_nodes: usize,
    /// The gradient of every value that the walk came by.
    pub of_value: HashMap<Value, Value>,
}

/// Appends to `emit` the nodes that compute the gradient of the scalar `loss` with respect to each of `wanted`.
///
/// The gradient of a value that the loss does not depend on is `None`. Gradients have the type of their value. The
/// nodes appear in a fixed order, so equal models give equal graphs.
///
/// # Errors
/// All nodes on the way whose operator has no rule for this version, is refused, or is used in a way that its rule does
/// not cover, at once.
pub fn backward(emit: &mut Emit, loss: Value, wanted: &[Value]) -> Result<Vec<Option<Value>>, Unsupported> {
    Ok(differentiate(emit, loss, wanted)?.gradients)
}

/// As [`backward`], and says what else came of it.
///
/// # Errors
/// As [`backward`].
pub fn differentiate(emit: &mut Emit, loss: Value, wanted: &[Value]) -> Result<Backward, Unsupported> {
    let not_composed = compose(emit, &[loss], wanted);
    let forward: Vec<Node> = emit.nodes().to_vec();
    let dependent = dependents(emit, &forward, wanted);
    let path = path_to_loss(emit, &forward, &dependent, &[loss]);
    let mut refused: Vec<UnsupportedNode> = forward
        .iter()
        .zip(&path)
        .filter(|(_, on_path)| **on_path)
        .filter_map(|(node, _)| refusal(node, emit.opset(), &not_composed))
        .collect();
    let mut walk = Walk { emit, dependent, pending: HashMap::new() };
    if refused.is_empty() {
        let one = walk.emit.scalar(1.0, loss);
        walk.pending.insert(loss, vec![one]);
        for (node, _) in forward.iter().zip(&path).rev().filter(|(_, on_path)| **on_path) {
            walk.emit.set_scope(&format!("gradient/{}", node.name));
            if let Err(reason) = walk.step(node) {
                refused.push(UnsupportedNode { name: node.name.clone(), op: node.qualified_op(), reason });
            }
        }
        refused.reverse();
    }
    if !refused.is_empty() {
        return Err(Unsupported { nodes: refused });
    }
    walk.emit.set_scope("gradient");
    let gradients = wanted.iter().map(|value| walk.total(*value)).collect();
    let single = walk.pending.into_iter().filter_map(|(value, parts)| match parts.as_slice() {
        [gradient] => Some((value, *gradient)),
        _ => None,
    });
    Ok(Backward { gradients, forward_nodes: forward.len(), of_value: single.collect() })
}

/// Values that depend on one of `wanted` in a differentiable way.
pub(super) fn dependents(emit: &Emit, forward: &[Node], wanted: &[Value]) -> HashSet<Value> {
    let mut dependent: HashSet<Value> = wanted.iter().copied().collect();
    for node in forward {
        let flows = !matches!(find(node, emit.opset()).map(|rule| &rule.gradient), Some(Gradient::Zero(_)));
        let reads = node.reads().filter_map(|name| emit.find(name)).any(|value| dependent.contains(&value));
        if flows && reads && !is_detached(node) {
            let outputs = node.outputs.iter().filter_map(|name| emit.find(name));
            dependent.extend(outputs.filter(|value| emit.dtype(*value).is_float()));
        }
    }
    dependent
}

/// Whether a gradient stops at a node, because it is what PyTorch's `detach` was exported as: an Identity whose output is
/// called `detach`, or `detach_1` and so on.
pub(crate) fn is_detached(node: &Node) -> bool {
    let is_numbered = |rest: &str| rest.strip_prefix('_').is_some_and(|digits| digits.parse::<u32>().is_ok());
    let name = node.outputs.first().map_or("", |name| name.rsplit(['.', '/']).next().unwrap_or_default());
    let is_named_so = name.strip_prefix("detach").is_some_and(|rest| rest.is_empty() || is_numbered(rest));
    node.op == "Identity" && node.domain.is_empty() && is_named_so
}

/// For each node, whether a gradient has to pass through it from one of `ends`.
pub(super) fn path_to_loss(
    emit: &Emit,
    forward: &[Node],
    dependent: &HashSet<Value>,
    ends: &[Value],
) -> Vec<bool> {
    let mut reached: HashSet<Value> = ends.iter().copied().collect();
    let mut path = vec![false; forward.len()];
    for (node, on_path) in forward.iter().zip(&mut path).rev() {
        let outputs: Vec<Value> = node.outputs.iter().filter_map(|name| emit.find(name)).collect();
        if outputs.iter().any(|value| reached.contains(value) && dependent.contains(value)) {
            *on_path = true;
            reached.extend(node.reads().filter_map(|name| emit.find(name)));
        }
    }
    path
}

fn refusal(node: &Node, opset: i64, not_composed: &HashMap<String, String>) -> Option<UnsupportedNode> {
    let reason = match find(node, opset).map(|rule| &rule.gradient) {
        Some(Gradient::Composed(_)) => not_composed.get(&node.name)?.clone(),
        None => format!("no gradient rule for this operator in opset {opset}"),
        Some(Gradient::Refused(reason)) => (*reason).to_owned(),
        Some(_) => return None,
    };
    Some(UnsupportedNode { name: node.name.clone(), op: node.qualified_op(), reason })
}

struct Walk<'a> {
    emit: &'a mut Emit,
    dependent: HashSet<Value>,
    /// Contributions to the gradient of each value, one per consumer, in the order of the walk.
    pending: HashMap<Value, Vec<Value>>,
}

impl Walk<'_> {
    /// The sum of all contributions so far.
    fn total(&mut self, value: Value) -> Option<Value> {
        let parts = self.pending.get(&value)?.clone();
        let sum = parts.into_iter().reduce(|sum, part| self.emit.add(sum, part))?;
        self.pending.insert(value, vec![sum]);
        Some(sum)
    }

    fn step(&mut self, node: &Node) -> Result<(), String> {
        let mut view = NodeView::new(node, self.emit, &self.dependent);
        let output_grads: Vec<Option<Value>> =
            view.outputs.iter().map(|output| output.and_then(|output| self.total(output))).collect();
        if output_grads.iter().all(Option::is_none) {
            return Ok(());
        }
        let rule = find(node, self.emit.opset()).expect("nodes without a rule were reported before the walk");
        let Gradient::Rule(derive) = rule.gradient else { return Ok(()) };
        if !rule.all_outputs && output_grads.iter().skip(1).any(Option::is_some) {
            return Err(
                "only the first output has a gradient rule, but the loss depends on another one".to_owned()
            );
        }
        view.output_grads = output_grads;
        let grads: InputGrads = derive(&view, self.emit).map_err(|refusal| refusal.0)?;
        for (position, (input, grad)) in view.inputs.iter().zip(grads).enumerate() {
            let (Some(input), Some(grad), true) = (input, grad, view.needs(position)) else { continue };
            let dims = self.emit.dims(*input).to_vec();
            let grad = self.emit.reduce_to(grad, &dims);
            self.pending.entry(*input).or_default().push(grad);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
