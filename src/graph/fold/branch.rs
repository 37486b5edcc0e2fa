//! `If` nodes whose condition is known give way to the branch that is taken.

use crate::graph::model::{Graph, Node};
use crate::graph::proto::{AttributeProto, GraphProto, NodeProto, attribute_type};
use crate::graph::read::{make_names_unique, name_unread_parts, plain_node};
use crate::graph::rename::{defined, renamed};
use std::collections::HashMap;

/// Puts the nodes of the branch in the place of every `If` whose condition is a constant; `false` if there was none.
pub(super) fn take_known_branches(graph: &mut Graph) -> bool {
    let constants: HashMap<&str, bool> = graph
        .initializers
        .iter()
        .filter_map(|(name, tensor)| Some((name.as_str(), *tensor.bytes().first()? != 0)))
        .collect();
    let branch_of = |node: &Node| {
        let is_if = node.op == "If" && node.domain.is_empty();
        let condition = constants.get(node.inputs.first()?.as_str()).filter(|_| is_if)?;
        let name = if *condition { "then_branch" } else { "else_branch" };
        node.attributes.iter().find(|attribute| attribute.name == name)?.g.clone()
    };
    let branches: Vec<Option<GraphProto>> = graph.nodes.iter().map(branch_of).collect();
    if branches.iter().all(Option::is_none) {
        return false;
    }
    let mut nodes = Vec::with_capacity(graph.nodes.len());
    for (node, branch) in std::mem::take(&mut graph.nodes).into_iter().zip(branches) {
        match branch {
            Some(branch) => nodes.extend(written_out(&node, branch)),
            None => nodes.push(node),
        }
    }
    make_names_unique(&mut nodes);
    name_unread_parts(&mut nodes);
    graph.nodes = nodes;
    true
}

/// The nodes of a branch under names of their own, and the values that the node gave.
fn written_out(node: &Node, branch: GraphProto) -> Vec<Node> {
    let inner = defined(&branch);
    let prefix = node.name.clone();
    let name_of = move |name: &str| {
        if inner.contains(name) { format!("{prefix}/{name}") } else { name.to_owned() }
    };
    let constants = branch.initializer.into_iter().map(|tensor| {
        let output = tensor.name.clone();
        let value = AttributeProto {
            name: "value".to_owned(),
            t: Some(tensor),
            r#type: attribute_type::TENSOR,
            ..Default::default()
        };
        NodeProto {
            op_type: "Constant".to_owned(),
            output: vec![output],
            attribute: vec![value],
            ..Default::default()
        }
    });
    let passed = node.outputs.iter().zip(&branch.output).filter(|(given, _)| !given.is_empty());
    let passed: Vec<Node> = passed
        .map(|(given, made)| {
            let made = vec![name_of(&made.name)];
            Node::new(format!("{}/{given}", node.name), "Identity", made, vec![given.clone()])
        })
        .collect();
    let moved = constants.chain(branch.node).enumerate().map(|(position, inner)| {
        let mut moved = plain_node(&renamed(inner, &name_of), position);
        moved.name = format!("{}/{}", node.name, moved.name);
        moved
    });
    moved.chain(passed).collect()
}
