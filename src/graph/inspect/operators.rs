//! The operators of a model, and what of its initializers looks like no parameter.

use crate::graph::autodiff::{Gradient, UnsupportedNode, find};
use crate::graph::model::{Graph, Node};
use crate::graph::start::layer_initializers;
use std::collections::{BTreeMap, HashSet};

/// How often an operator occurs, and how it is differentiated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorCount {
    /// Operator, with its domain outside the standard one.
    pub op: String,
    /// Nodes of it.
    pub nodes: usize,
    /// `rule`, `composed` (written out before gradients are taken), `zero` (no gradient flows through it), `refused` (unless
    /// it can be computed beforehand) or `missing`.
    pub gradient: &'static str,
}

/// All operators, the most frequent first.
#[must_use]
pub fn operators(graph: &Graph) -> Vec<OperatorCount> {
    let mut counts: BTreeMap<String, OperatorCount> = BTreeMap::new();
    for node in &graph.nodes {
        let gradient = match find(node, graph.opset).map(|rule| &rule.gradient) {
            Some(Gradient::Rule(_)) => "rule",
            Some(Gradient::Composed(_)) => "composed",
            Some(Gradient::Zero(_)) => "zero",
            Some(Gradient::Refused(_)) => "refused",
            None => "missing",
        };
        let op = node.qualified_op();
        counts.entry(op.clone()).or_insert(OperatorCount { op, nodes: 0, gradient }).nodes += 1;
    }
    let mut counts: Vec<OperatorCount> = counts.into_values().collect();
    counts.sort_by_key(|count| std::cmp::Reverse(count.nodes));
    counts
}

/// The nodes between `parameters` and `outputs` whose operator has no rule, as far as names tell.
///
/// Without shapes nothing is known of what can be computed beforehand, so this may name a node that would go away; a
/// training graph that can be built knows better.
#[must_use]
pub fn without_rule(graph: &Graph, parameters: &HashSet<&str>, outputs: &[String]) -> Vec<UnsupportedNode> {
    let rule = |node: &Node| find(node, graph.opset).map(|rule| &rule.gradient);
    let mut dependent: HashSet<&str> = parameters.clone();
    let mut on_way: Vec<&Node> = Vec::new();
    for node in &graph.nodes {
        if !matches!(rule(node), Some(Gradient::Zero(_))) && node.reads().any(|name| dependent.contains(name))
        {
            dependent.extend(node.outputs.iter().map(String::as_str));
            on_way.push(node);
        }
    }
    let mut reached: HashSet<&str> = outputs.iter().map(String::as_str).collect();
    let mut found = Vec::new();
    for node in on_way.into_iter().rev() {
        if !node.outputs.iter().any(|name| reached.contains(name.as_str())) {
            continue;
        }
        reached.extend(node.reads());
        let reason = match rule(node) {
            None => format!("no gradient rule for this operator in opset {}", graph.opset),
            Some(Gradient::Refused(reason)) => (*reason).to_owned(),
            Some(_) => continue,
        };
        found.push(UnsupportedNode { name: node.name.clone(), op: node.qualified_op(), reason });
    }
    found.reverse();
    found
}

/// Of these trained initializers the ones that no layer reads as its weight or bias. They may be parameters of their own,
/// such as the positions of a transformer, or tables that PyTorch kept as buffers; the file does not say which.
#[must_use]
pub fn doubtful<'a>(graph: &Graph, parameters: impl Iterator<Item = &'a str>) -> Vec<String> {
    let layers = layer_initializers(graph);
    // PyTorch's modules call their parameters so, and buffers never.
    let is_named_so = |name: &str| {
        let last = name.rsplit('.').next().unwrap_or(name);
        last.starts_with("weight") || last.starts_with("bias")
    };
    // Where the file says what they are there is no doubt.
    let is_told = |name: &str| graph.roles.contains_key(name);
    let is_doubtful = |name: &&str| !layers.contains(*name) && !is_named_so(name) && !is_told(name);
    parameters.filter(is_doubtful).map(str::to_owned).collect()
}
