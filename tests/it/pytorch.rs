//! Models that PyTorch exported, trained from the same weights on the same order of data, follow PyTorch.
//!
//! `scripts/reference/models.py` wrote the models, the data and what PyTorch made of them.

use crate::work_dir::{WorkDir, test_data};
use serde_json::Value as Json;
use std::path::Path;
use trainer::graph::model::Graph;
use trainer::graph::read::read_file;

/// Largest relative difference that is taken for rounding.
const TOLERANCE: f64 = 1e-4;

#[track_caller]
fn check_close(what: &str, found: f64, expected: f64) {
    assert!((found / expected - 1.0).abs() <= TOLERANCE, "{what}: {found}, PyTorch has {expected}");
}

fn expected(network: &str) -> Json {
    let text = std::fs::read_to_string(test_data("models/expected.json")).unwrap();
    serde_json::from_str::<Json>(&text).unwrap()[network].clone()
}

/// Trains 50 steps with each optimizer and compares every loss, the first gradient and the running statistics.
#[track_caller]
fn check_follows_pytorch(model: &str) {
    let expected = expected(&model[..3]);
    let graph = read_file(Path::new(&test_data(&format!("models/{model}.onnx")))).unwrap();
    let sgd = ["optimizer.kind=sgd", "optimizer.momentum=0.9", "--lr", "0.05"];
    let adam = ["optimizer.kind=adam", "--lr", "1e-3"];
    let adamw = ["optimizer.kind=adamw", "--lr", "1e-3"];
    for (optimizer, settings) in [("sgd", &sgd[..]), ("adam", &adam), ("adamw", &adamw)] {
        let dir = digits160(model, settings);
        dir.finish(&[]);
        check_losses(&dir, optimizer, &expected["losses"][optimizer]);
        check_first_gradient(&dir, &expected["gradient_norms_of_first_step"]);
        check_statistics(&dir, &graph, &expected["running_statistics_after_last_step"][optimizer]);
    }
}

fn digits160(model: &str, settings: &[&str]) -> WorkDir {
    let onnx = format!("model.onnx={}", test_data(&format!("models/{model}.onnx")));
    let data = format!("data.train={}", test_data("models/digits160.npz"));
    let arrays = [r#"data.inputs.x={array="images"}"#, r#"data.targets.y={array="labels"}"#];
    let mut dir = WorkDir::new(&[&onnx, &data, arrays[0], arrays[1]]);
    dir.add(&["data.shuffle=false", "--batch-size", "16", "--epochs", "5"]);
    dir.add(settings);
    dir
}

#[track_caller]
fn check_losses(dir: &WorkDir, optimizer: &str, expected: &Json) {
    let expected = expected.as_array().unwrap();
    let steps = dir.steps();
    assert_eq!((steps.len(), expected.len()), (50, 50));
    for (step, expected) in steps.iter().zip(expected) {
        let what = format!("{optimizer}, loss of step {}", step.step);
        check_close(&what, f64::from(f32::from_bits(step.loss_bits)), expected.as_f64().unwrap());
    }
}

#[track_caller]
fn check_first_gradient(dir: &WorkDir, norms: &Json) {
    let squares = norms.as_object().unwrap().values().map(|norm| norm.as_f64().unwrap().powi(2));
    check_close("norm of the first gradient", dir.steps()[0].gradient_norm, squares.sum::<f64>().sqrt());
}

/// Statistics are compared as vectors: a mean of one channel may be next to 0.
#[track_caller]
fn check_statistics(dir: &WorkDir, graph: &Graph, expected: &Json) {
    let checkpoint = dir.final_checkpoint();
    for (name, expected) in expected.as_object().unwrap() {
        let initial = graph.initializers.iter().find(|(initializer, _)| initializer == name).unwrap();
        let initial = initial.1.to_f64().unwrap();
        let expected = expected.as_array().unwrap().iter().zip(initial);
        let expected: Vec<f64> =
            expected.map(|(value, initial)| value.as_f64().unwrap() + left_of(name, initial)).collect();
        let found = checkpoint.tensor(&format!("state/{name}")).unwrap_or_else(|| panic!("no {name}"));
        let found = found.to_vec::<f32>().unwrap();
        assert_eq!(found.len(), expected.len(), "{name}");
        let norm = expected.iter().map(|value| value * value).sum::<f64>().sqrt();
        let pairs = found.iter().zip(&expected);
        let distance =
            pairs.map(|(found, expected)| (f64::from(*found) - expected).powi(2)).sum::<f64>().sqrt();
        assert!(distance <= TOLERANCE * norm, "{name}: {found:?}, PyTorch has {expected:?}");
    }
}

/// What is left after 50 steps of a statistic that did not start from PyTorch's fresh one: the script exporter runs
/// the model in training mode while it traces it.
fn left_of(name: &str, initial: f64) -> f64 {
    let fresh = if name.ends_with("running_var") { 1.0 } else { 0.0 };
    0.9_f64.powi(50) * (initial - fresh)
}

#[test]
fn a_perceptron_of_the_dynamo_exporter_follows_pytorch_for_50_steps() {
    check_follows_pytorch("mlp-dynamo");
}

#[test]
fn a_perceptron_of_the_script_exporter_follows_pytorch_for_50_steps() {
    check_follows_pytorch("mlp-script");
}

#[test]
fn a_residual_network_of_the_dynamo_exporter_follows_pytorch_for_50_steps() {
    check_follows_pytorch("cnn-dynamo");
}

#[test]
fn a_residual_network_of_the_script_exporter_follows_pytorch_for_50_steps() {
    check_follows_pytorch("cnn-script");
}
