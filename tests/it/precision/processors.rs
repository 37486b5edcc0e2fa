//! Graphs with 16-bit floats as they are written for graphics processors, as far as they can be tried without one.
//!
//! On the CPU ONNX Runtime computes nodes of float16 in 32 bits, and refuses those of bfloat16 for want of a kernel, but
//! not before it has checked the types of all nodes.

use super::operators::{followers, model, products};
use super::{F16, LOW, noise, outputs, relative_difference};
use crate::reference_models::ReferenceModel;
use crate::runtime_library::Compiled;
use trainer::config::Precision;
use trainer::graph::emit::Processor;
use trainer::graph::model::Graph;
use trainer::graph::tensor::Dtype;

/// All types fit; whether there are kernels is another matter.
#[track_caller]
fn check_types(what: &str, graph: &Graph) {
    if let Err(message) = Compiled::new(graph) {
        assert!(message.contains("Could not find an implementation"), "{what}: {message}");
    }
}

#[test]
fn graphs_for_graphics_processors_have_fitting_types() {
    for (op, nodes) in products().into_iter().chain(followers()) {
        let model = model(nodes);
        for (precision, low) in LOW {
            let step = model.step(precision, Processor::Gpu);
            check_types(&format!("{op} in {low}"), &step.graph);
        }
    }
    for (precision, low) in LOW {
        let step = ReferenceModel::load("cnn-dynamo").training_graph_in(4, precision, Processor::Gpu);
        check_types(&format!("cnn in {low}"), &step.graph);
        let is_product = |op: &str| ["Conv", "Gemm", "MatMul"].contains(&op);
        assert!(step.graph.nodes.iter().any(|node| is_product(&node.op)));
    }
}

#[test]
fn in_float16_they_compute_what_the_graphs_for_the_cpu_do() {
    // The gradients of these ask where a result equals an operand, and the CPU rounds one of them and not the other.
    let asks_for_equality = |op: &str| ["Max", "Min"].contains(&op);
    let cases = products().into_iter().chain(followers()).filter(|(op, _)| !asks_for_equality(op));
    for (op, nodes) in cases {
        let model = model(nodes);
        let x = noise(&[2, 4, 4, 4], 7);
        let [on_cpu, on_gpu] = [Processor::Cpu, Processor::Gpu].map(|processor| {
            let step = model.step(F16, processor);
            outputs(&step, &model.feeds(&step, &x))
        });
        for (name, expected) in &on_cpu {
            let (found, expected) = (on_gpu[name].to_f64().unwrap(), expected.to_f64().unwrap());
            let difference = relative_difference(&found, &expected);
            // What is not rounded on the way there is as far off as a rounding.
            assert!(difference < 2.0 / 1024.0, "{op}, {name}: {difference}");
        }
    }
}

#[test]
fn parameters_and_gradients_have_32_bits_whatever_computes_them() {
    let model = ReferenceModel::load("mlp-dynamo");
    for precision in [Precision::Bf16, F16] {
        for processor in [Processor::Cpu, Processor::Gpu] {
            let graph = model.training_graph_in(4, precision, processor).graph;
            assert!(graph.inputs.iter().chain(&graph.outputs).all(|port| port.dtype != Some(Dtype::F16)));
            assert!(graph.outputs.iter().all(|port| port.dtype == Some(Dtype::F32)));
        }
    }
}
