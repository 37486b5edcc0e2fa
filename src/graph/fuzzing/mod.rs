//! What the fuzz target `onnx_model` runs, and what the tests here run over its corpus.
//!
//! Belongs here: the target, which takes any bytes and panics where a promise is broken; a mutator that knows what an ONNX
//! file is made of; and a judge of shapes that stands in for ONNX Runtime. Does not belong here: anything that a program
//! would use; the module exists under `cfg(fuzzing)` and in tests alone.

mod mutate;
mod oracle;
mod shapes;
#[cfg(test)]
mod tests;

pub use mutate::mutate_model;
pub use oracle::PlainOracle;

use super::emit::Processor;
use super::inspect::{self, OutputShape};
use super::model::Graph;
use super::read::read_with_header;
use super::recompute::Recompute;
use super::start::{draw, resize_head};
use super::step::{self, StepSpec, Target};
use super::tensor::Dtype;
use super::write::to_bytes;
use super::{inference_form, read};
use crate::config::{LossKind, LossPlan, Precision};
use bytes::Bytes;
use std::collections::{BTreeMap, HashSet};
use std::path::Path;

/// A folder that is not there, so that no external data is ever found.
const NOWHERE: &str = "no-such-folder-of-fuzzing/model.onnx";

/// Reads the bytes as an ONNX file and does with the model all that needs no ONNX Runtime: it is examined, written and read
/// again, given other initial values and another last layer, and turned into graphs of training and of evaluation.
pub fn onnx_model(bytes: &[u8]) {
    let path = Path::new(NOWHERE);
    let (header, graph) = match read_with_header(path, Bytes::copy_from_slice(bytes)) {
        Ok(read) => read,
        Err(error) => {
            assert!(error.to_string().contains(NOWHERE), "the error does not name the file: {error}");
            return;
        }
    };
    let written = to_bytes(&graph);
    let again = read::read_bytes(path, Bytes::from(written.clone())).expect("what was written is a model");
    assert!(to_bytes(&again) == written, "a model changed when it was written and read again");
    let inference = inference_form::rewrite(&graph);
    // A product with a vector is written with two nodes more.
    let products = graph.nodes.iter().filter(|node| node.op == "MatMul").count();
    assert!(inference.nodes.len() <= graph.nodes.len() + 2 * products);
    // The sum chooses, so that one input takes one way.
    let choice = bytes.iter().fold(0_usize, |sum, byte| sum.wrapping_add(usize::from(*byte)));
    let dimensions = BTreeMap::from([("seq".to_owned(), 3), ("tokens".to_owned(), 3)]);
    let Ok(probe) = inspect::probe(&graph, &dimensions) else { return };
    assert!(inspect::warnings(&graph, &header, &probe).iter().all(|warning| !warning.message.is_empty()));
    assert!(inspect::operators(&graph).iter().map(|count| count.nodes).sum::<usize>() == graph.nodes.len());
    let graph = started(graph, choice);
    let loss = LossPlan { output: graph.outputs.first().map(|port| port.name.clone()), ..loss(choice) };
    let Ok(trainable) = step::trainable(&graph, &loss, |name| name.starts_with("frozen")) else { return };
    let names: HashSet<&str> = trainable.names().collect();
    let outputs: Vec<String> = graph.outputs.iter().map(|port| port.name.clone()).collect();
    _ = inspect::without_rule(&graph, &names, &outputs);
    _ = inspect::doubtful(&graph, names.iter().copied());
    let batch = probe.fixed_batch.unwrap_or(2);
    let inputs = probe.inputs(batch);
    let targets = [Target::new("y", if loss.kind.takes_labels() { Dtype::I64 } else { Dtype::F32 })];
    let recompute = match choice & 32 {
        0 => Recompute::Nothing,
        _ => Recompute::ToFit { budget_bytes: 0 },
    };
    let spec = StepSpec {
        recompute: &recompute,
        graph: &graph,
        trainable: &trainable,
        batch,
        inputs: &inputs,
        dimensions: &dimensions,
        loss: &loss,
        targets: &targets,
        processor: if choice & 64 == 0 { Processor::Cpu } else { Processor::Gpu },
        precision: Precision::F32,
    };
    if let Ok(types) = step::output_types(&spec, &PlainOracle) {
        let shapes: Vec<OutputShape> =
            types.into_iter().map(|(name, kind)| OutputShape { name, kind }).collect();
        if let Some(suggestion) = inspect::suggest(&graph, batch, &[], &shapes) {
            assert!(suggestion.toml("model.onnx", &shapes).contains("[loss]"));
        }
    }
    if let Ok(built) = step::training(&spec, &PlainOracle) {
        assert_eq!(built.gradients.len(), trainable.parameters.len());
        check_graph(&built.graph);
    }
    if let Ok(built) = step::evaluation(&spec, &PlainOracle) {
        check_graph(&built.graph);
    }
}

/// The model as the settings may have it begin.
fn started(mut graph: Graph, choice: usize) -> Graph {
    if choice & 8 != 0 {
        let drawn = draw(&mut graph, 1);
        assert!(drawn.drawn.len() + drawn.kept.len() <= graph.initializers.len());
    }
    if choice & 16 != 0
        && let Some(output) = graph.outputs.first().map(|port| port.name.clone())
    {
        _ = resize_head(&mut graph, &output, 3, 1);
    }
    graph
}

fn loss(choice: usize) -> LossPlan {
    LossPlan::new(match choice % 6 {
        0 | 1 => LossKind::CrossEntropy,
        2 | 3 => LossKind::Mse,
        4 => LossKind::BceWithLogits,
        _ => LossKind::Output,
    })
}

/// A graph that a run would execute: every value is there before it is read, and made once.
fn check_graph(graph: &Graph) {
    let inputs = graph.inputs.iter().map(|port| port.name.as_str());
    let mut known: HashSet<&str> =
        inputs.chain(graph.initializers.iter().map(|(name, _)| name.as_str())).collect();
    for node in &graph.nodes {
        for name in node.reads() {
            assert!(known.contains(name), "`{name}` is read by `{}` before it is there", node.name);
        }
        for name in node.outputs.iter().filter(|name| !name.is_empty()) {
            assert!(known.insert(name), "`{name}` is made twice");
        }
    }
    assert!(graph.outputs.iter().all(|port| known.contains(port.name.as_str())), "an output is not made");
}
