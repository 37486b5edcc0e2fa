//! Operators that are written out before gradients are taken.

use super::driver::{dependents, path_to_loss};
use super::rules::{Gradient, find};
use super::view::NodeView;
use crate::graph::emit::{Emit, Value};
use crate::graph::model::Node;
use std::collections::HashMap;

/// Puts the operators it is made of in the place of each node that has a composition, or a faster form for its shapes, and
/// through which a gradient has to pass on its way from one of `ends` to one of `wanted`. Compositions may hold compositions.
///
/// Gives the nodes that stay, by name, with the reason why their composition does not cover them.
pub(in crate::graph) fn compose(
    emit: &mut Emit,
    ends: &[Value],
    wanted: &[Value],
) -> HashMap<String, String> {
    let mut refused = HashMap::new();
    let mut again = true;
    while again {
        again = false;
        let forward: Vec<Node> = emit.nodes().to_vec();
        let dependent = dependents(emit, &forward, wanted);
        let path = path_to_loss(emit, &forward, &dependent, ends);
        let is_open = |node: &Node| {
            let rule = find(node, emit.opset()).filter(|_| !refused.contains_key(&node.name))?;
            if let Gradient::Composed(build) = rule.gradient { Some(build) } else { rule.faster }
        };
        let builders: Vec<_> = forward
            .iter()
            .zip(path)
            .map(|(node, on_path)| on_path.then(|| is_open(node)).flatten())
            .collect();
        if builders.iter().all(Option::is_none) {
            break;
        }
        emit.nodes_mut().clear();
        for (node, build) in forward.into_iter().zip(builders) {
            let Some(build) = build else {
                emit.push(node);
                continue;
            };
            emit.set_scope(&node.name);
            let before = emit.nodes().len();
            match build(&NodeView::new(&node, emit, &dependent), emit) {
                Ok(made) => {
                    rename(&node, &made, emit);
                    again = true;
                }
                Err(refusal) => {
                    emit.nodes_mut().truncate(before);
                    refused.insert(node.name.clone(), refusal.0);
                    emit.push(node);
                }
            }
        }
    }
    refused
}

/// Gives what was made the names of the node's outputs.
fn rename(node: &Node, made: &[Option<Value>], emit: &mut Emit) {
    for (output, value) in node.outputs.iter().zip(made).filter(|(output, _)| !output.is_empty()) {
        let Some(value) = value else { continue };
        let source = emit.name(*value).to_owned();
        emit.push(Node::new(format!("trainer/{output}"), "Identity", vec![source], vec![output.clone()]));
    }
}
