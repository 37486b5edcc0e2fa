//! The form in which a trained model is used: running statistics in BatchNormalization, no Dropout, no product that ONNX
//! Runtime computes wrongly.

use super::model::{Graph, Node};
use super::tensor::Tensor;
use super::vector_products::write_out_vectors;
use std::collections::{HashMap, HashSet};

/// The model with BatchNormalization in its inference form and Dropout taken out, and products with stored vectors written
/// with matrices of one column.
///
/// Free dimensions stay free, names stay as they are. What Dropout alone read, as the constants of its rate and mode that
/// exporters write as nodes, goes with it; what nothing read before stays.
#[must_use]
pub fn rewrite(graph: &Graph) -> Graph {
    let mut graph = graph.clone();
    let read = graph.read_values();
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
    drop_orphans(&mut graph, &read);
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

/// Drops the nodes of whose results some were read before and none is any more.
fn drop_orphans(graph: &mut Graph, read_before: &HashSet<String>) {
    loop {
        let (read, nodes) = (graph.read_values(), graph.nodes.len());
        let any = |node: &Node, of: &HashSet<String>| node.outputs.iter().any(|output| of.contains(output));
        graph.nodes.retain(|node| any(node, &read) || !any(node, read_before));
        if graph.nodes.len() == nodes {
            break;
        }
    }
    let made: HashSet<&String> = graph.nodes.iter().flat_map(|node| &node.outputs).collect();
    graph.value_info.retain(|port| made.contains(&port.name));
}

fn drop_unused(graph: &mut Graph) {
    let used = graph.read_values();
    graph.initializers.retain(|(name, _)| used.contains(name));
}

#[cfg(test)]
mod tests {
    use super::rewrite;
    use crate::graph::model::{Graph, Node, Port};
    use crate::graph::tensor::Tensor;

    #[test]
    fn what_dropout_alone_read_goes_with_it_and_what_nothing_read_stays() {
        let node = |op: &str, inputs: &[&str], output: &str| {
            let texts = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
            Node::new(output.to_owned(), op, texts(inputs), texts(&[output]))
        };
        let graph = Graph {
            name: "main".to_owned(),
            ir_version: 8,
            opset: 17,
            other_opsets: Vec::new(),
            roles: Default::default(),
            inputs: vec![Port::inferred("x")],
            outputs: vec![Port::inferred("y")],
            value_info: vec![Port::inferred("rate"), Port::inferred("kept")],
            initializers: ["w", "scale", "spare"]
                .map(|name| (name.to_owned(), Tensor::from_f32([1], &[1.0])))
                .to_vec(),
            nodes: vec![
                node("Constant", &[], "rate_constant"),
                node("Mul", &["rate_constant", "scale"], "rate"),
                node("Constant", &[], "mode"),
                node("Dropout", &["x", "rate", "mode"], "kept"),
                node("Mul", &["kept", "w"], "y"),
                node("Exp", &["spare"], "never_read"),
            ],
        };
        let rewritten = rewrite(&graph);
        let ops: Vec<&str> = rewritten.nodes.iter().map(|node| node.op.as_str()).collect();
        assert_eq!(ops, ["Identity", "Mul", "Exp"]);
        let names: Vec<&str> = rewritten.initializers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["w", "spare"]);
        assert_eq!(rewritten.value_info, [Port::inferred("kept")]);
    }
}
