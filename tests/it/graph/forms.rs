use super::{branch, model_of, node, ramp, truth};
use crate::reference_models::{NAMES, ReferenceModel};
use crate::runtime_library::run;
use std::collections::HashMap;
use trainer::config::Builtin;
use trainer::graph::builtin;
use trainer::graph::inference_form::{rewrite, with_values};
use trainer::graph::model::{Dim, Graph, Port, attribute};
use trainer::graph::read::read_bytes;
use trainer::graph::tensor::{Dtype, Tensor, elements};
use trainer::graph::write::to_bytes;

fn input(graph: &Graph, batch: usize) -> Vec<(String, Tensor)> {
    let dims = graph.inputs[0].dims.as_ref().unwrap().iter();
    let dims: Vec<usize> = dims.map(|dim| if let Dim::Fixed(size) = dim { *size } else { batch }).collect();
    let values: Vec<f32> = (0..elements(&dims)).map(|i| (i as f32 * 0.7).sin()).collect();
    vec![(graph.inputs[0].name.clone(), Tensor::from_f32(dims, &values))]
}

/// The outputs of a model after it was written to a file and read again.
#[track_caller]
fn outputs(graph: &Graph, batch: usize) -> Vec<Tensor> {
    let written = read_bytes("model.onnx".as_ref(), to_bytes(graph).into()).unwrap();
    run(&written, &input(graph, batch))
}

#[test]
fn a_model_exported_for_inference_gives_the_same_bits_in_its_inference_form() {
    for name in ["mlp-dynamo", "mlp-script", "cnn-dynamo"] {
        let graph = ReferenceModel::load(name).graph;
        for batch in [1, 5] {
            assert_eq!(outputs(&rewrite(&graph), batch), outputs(&graph, batch), "{name}");
        }
    }
}

#[test]
fn a_model_exported_in_training_mode_uses_running_statistics_in_its_inference_form() {
    let [dynamo, script] = ["cnn-dynamo", "cnn-script"].map(ReferenceModel::load);
    assert!(script.graph.nodes.iter().any(|node| node.int("training_mode") == Some(1)));
    let values: HashMap<String, Tensor> =
        dynamo.trainable.parameters.iter().chain(&dynamo.trainable.states).cloned().collect();
    let found = outputs(&with_values(&script.graph, &values), 3);
    let expected = outputs(&dynamo.graph, 3);
    for (found, expected) in found[0].to_f64().unwrap().iter().zip(expected[0].to_f64().unwrap()) {
        assert!((found - expected).abs() < 1e-5, "{found} {expected}");
    }
}

#[test]
fn trained_values_take_the_place_of_the_initial_ones() {
    let model = ReferenceModel::load("mlp-script");
    let zero = Tensor::from_f32([10, 48], &[0.0; 480]);
    let bias = Tensor::from_f32([10], &[0.5; 10]);
    let values = HashMap::from([("fc3.weight".to_owned(), zero), ("fc3.bias".to_owned(), bias)]);
    let found = outputs(&with_values(&model.graph, &values), 2);
    assert_eq!(found, [Tensor::from_f32([2, 10], &[0.5; 20])]);
}

#[test]
fn dropout_passes_everything_in_the_inference_form() {
    let dropout = |outputs: &[&str]| node("Dropout", &["x", "ratio", "training"], outputs, vec![]);
    let constants = [("ratio", Tensor::from_f32([], &[0.5])), ("training", truth(true))];
    let plain = model_of(&[None, Some(64)], &constants, vec![dropout(&["y"])]);
    let form = rewrite(&plain);
    assert_eq!(outputs(&form, 2)[0], input(&form, 2)[0].1);
    assert!(form.initializers.is_empty(), "what only Dropout read is gone");

    let mut masked = model_of(&[None, Some(64)], &constants, vec![dropout(&["y", "mask"])]);
    masked.outputs.push(Port { name: "mask".to_owned(), dtype: Some(Dtype::Bool), dims: None });
    let given = outputs(&rewrite(&masked), 2);
    assert_eq!(given[0], input(&masked, 2)[0].1);
    assert!(given[1].bytes().iter().all(|kept| *kept == 1));
}

#[test]
fn free_dimensions_stay_free() {
    for name in NAMES {
        let graph = ReferenceModel::load(name).graph;
        assert_eq!(rewrite(&graph).inputs, graph.inputs);
    }
}

#[test]
fn an_initializer_that_only_a_branch_reads_stays() {
    let choice = node("If", &["go"], &["w"], vec![branch("then_branch", "w1"), branch("else_branch", "w2")]);
    let constants = [("go", truth(false)), ("w1", ramp(&[3])), ("w2", Tensor::from_f32([3], &[2.0; 3]))];
    let graph =
        model_of(&[None, Some(3)], &constants, vec![choice, node("Mul", &["x", "w"], &["y"], vec![])]);
    let form = rewrite(&graph);
    assert_eq!(form.initializers.len(), 3);
    assert_eq!(outputs(&form, 2), outputs(&graph, 2));
}

/// Builds a network and runs it on a batch.
#[track_caller]
fn check_builtin(kind: Builtin, example: &[usize], classes: usize) -> Graph {
    let graph = builtin::build(kind, "x", example, classes, 7);
    for batch in [1, 3] {
        let logits = &outputs(&graph, batch)[0];
        assert_eq!(logits.dims(), [batch, classes]);
        assert!(logits.to_f64().unwrap().iter().all(|x| x.is_finite()));
    }
    graph
}

#[test]
fn builtin_networks_run_on_every_shape_of_example() {
    for example in [&[64][..], &[1, 8, 8], &[3, 9, 7], &[8, 8], &[5], &[1, 1, 1]] {
        for kind in [Builtin::Mlp, Builtin::Cnn] {
            check_builtin(kind, example, 10);
        }
    }
}

#[test]
fn builtin_networks_are_functions_of_their_seed() {
    let build = |seed| builtin::build(Builtin::Mlp, "x", &[8], 3, seed);
    assert_eq!(build(1), build(1));
    assert_ne!(build(1), build(2));
}

#[test]
fn builtin_weights_are_spread_as_pytorch_spreads_them() {
    let graph = builtin::build(Builtin::Mlp, "x", &[100], 10, 7);
    let (_, weight) = graph.initializers.iter().find(|(name, _)| name == "fc1.weight").unwrap();
    let values = weight.to_f64().unwrap();
    let bound = 0.1;
    assert!(values.iter().all(|x| x.abs() <= bound));
    let variance = values.iter().map(|x| x * x).sum::<f64>() / values.len() as f64;
    assert!((variance - bound * bound / 3.0).abs() < 1e-4, "{variance}");
}

#[test]
fn attributes_survive_the_inference_form() {
    let normalize = node(
        "BatchNormalization",
        &["x", "scale", "bias", "mean", "var"],
        &["y", "new_mean", "new_var"],
        vec![attribute::float("epsilon", 0.5), attribute::int("training_mode", 1)],
    );
    let two = |values: [f32; 2]| Tensor::from_f32([2], &values);
    let constants = [
        ("scale", two([2.0, 1.0])),
        ("bias", two([0.0, 1.0])),
        ("mean", two([1.0, 0.0])),
        ("var", two([0.5, 3.5])),
    ];
    let graph = model_of(&[None, Some(2)], &constants, vec![normalize]);
    let form = rewrite(&graph);
    let given = run(&form, &[("x".to_owned(), Tensor::from_f32([1, 2], &[3.0, 4.0]))]);
    // (3 - 1) / sqrt(0.5 + 0.5) * 2 and 4 / sqrt(3.5 + 0.5) + 1
    assert_eq!(given[0].to_f64().unwrap(), [4.0, 3.0]);
}

#[test]
fn a_transposed_value_by_a_stored_vector_is_computed_right_in_the_inference_form() {
    let nodes = vec![
        node("Transpose", &["x"], &["columns"], vec![attribute::ints("perm", &[0, 2, 1])]),
        node("MatMul", &["columns", "v"], &["y"], vec![]),
    ];
    let vector = Tensor::from_f32([3], &[2.0, -1.0, 0.25]);
    let graph = rewrite(&model_of(&[None, Some(3), Some(2)], &[("v", vector)], nodes));
    let x = Tensor::from_f32([1, 3, 2], &[1.0, -2.0, 0.5, 4.0, 3.0, -1.0]);
    let given = run(&graph, &[("x".to_owned(), x)]);
    assert_eq!(given[0].dims(), [1, 2]);
    assert_eq!(given[0].to_f64().unwrap(), [2.25, -8.25]);
}
