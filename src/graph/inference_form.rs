//! The form in which a trained model is used: running statistics in BatchNormalization, no Dropout, no product that ONNX
//! Runtime computes wrongly.

use super::model::{Graph, Node};
use super::tensor::Tensor;
use super::vector_products::write_out_vectors;
use std::collections::{HashMap, HashSet};

/// The model with BatchNormalization in its inference form and Dropout taken out, and products with stored vectors written
/// with matrices of one column.
///
/// Free dimensions stay free, names stay as they are.
#[must_use]
pub fn rewrite(graph: &Graph) -> Graph {
    let mut graph = graph.clone();
    let read: HashSet<String> =
        graph.nodes.iter().flat_map(Node::reads).map(str::to_owned).chain(outputs_of(&graph)).collect();
    for node in &mut graph.nodes {
        if !node.domain.is_empty() {
            continue;
        }
        match node.op.as_str() {
            "BatchNormalization" => {
                node.outputs.truncate(1);
                node.attributes.retain(|attribute| attribute.name != "training_mode");
            }
            "Dropout" if node.outputs.get(1).is_some_and(|mask| read.contains(mask)) => {
                // Somebody reads the mask, so the node stays; without its third input it drops nothing.
                node.inputs.truncate(2);
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
    let constants = graph.initializers.iter();
    let ranks: HashMap<String, usize> =
        constants.map(|(name, tensor)| (name.clone(), tensor.dims().len())).collect();
    write_out_vectors(&mut graph, |name| ranks.get(name).copied());
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

fn outputs_of(graph: &Graph) -> impl Iterator<Item = String> + '_ {
    graph.outputs.iter().map(|port| port.name.clone())
}

fn drop_unused(graph: &mut Graph) {
    let outputs = graph.outputs.iter().map(|port| port.name.as_str());
    let used: HashSet<&str> = graph.nodes.iter().flat_map(Node::reads).chain(outputs).collect();
    graph.initializers.retain(|(name, _)| used.contains(name.as_str()));
}
