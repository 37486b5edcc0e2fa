//! The form in which a trained model is used: running statistics in BatchNormalization, no Dropout.

use super::model::{Graph, Node};
use super::tensor::Tensor;
use std::collections::{HashMap, HashSet};

/// The model with BatchNormalization in its inference form and Dropout taken out.
///
/// Free dimensions stay free, names stay as they are.
#[must_use]
pub fn rewrite(graph: &Graph) -> Graph {
    let mut graph = graph.clone();
    for node in &mut graph.nodes {
        if !node.domain.is_empty() {
            continue;
        }
        match node.op.as_str() {
            "BatchNormalization" => {
                node.outputs.truncate(1);
                node.attributes.retain(|attribute| attribute.name != "training_mode");
            }
            "Dropout" => {
                let kept = Node::new(node.name.clone(), "Identity", vec![], vec![]);
                let (inputs, outputs) = (node.inputs.iter().take(1), node.outputs.iter().take(1));
                *node =
                    Node { inputs: inputs.cloned().collect(), outputs: outputs.cloned().collect(), ..kept };
            }
            _ => {}
        }
    }
    drop_unused(&mut graph);
    graph
}

/// The inference form with these values of parameters and states in place of the initial ones.
#[must_use]
pub fn with_values(graph: &Graph, values: &HashMap<String, Tensor>) -> Graph {
    let mut graph = rewrite(graph);
    for (name, tensor) in &mut graph.initializers {
        if let Some(trained) = values.get(name) {
            *tensor = trained.clone();
        }
    }
    graph
}

fn drop_unused(graph: &mut Graph) {
    let outputs = graph.outputs.iter().map(|port| port.name.as_str());
    let used: HashSet<&str> =
        graph.nodes.iter().flat_map(|node| node.inputs.iter().map(String::as_str)).chain(outputs).collect();
    graph.initializers.retain(|(name, _)| used.contains(name.as_str()));
}
