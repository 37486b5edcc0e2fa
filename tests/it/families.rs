//! Small models of many families, exported by both of PyTorch's exporters, follow PyTorch.
//!
//! `scripts/reference/whole_models/small.py` wrote the models, their data, the settings, and what PyTorch made of them:
//! 20 losses, the first gradient of each parameter, the running statistics at the end.

use crate::work_dir::{WorkDir, test_data};
use safetensors::SafeTensors;
use std::path::Path;
use trainer::graph::model::Graph;
use trainer::graph::read::read_file;
use trainer_runtime::checkpoint::Checkpoint;

const STEPS: usize = 20;

/// Largest relative difference of a loss that is taken for rounding.
const LOSS_TOLERANCE: f64 = 1e-4;

/// Largest difference of a gradient or of running statistics, relative in norm.
const NORM_TOLERANCE: f64 = 1e-4;

/// What rounding may leave of a gradient that is zero, such as that of a bias before a batch normalisation, as part of the
/// norm of all gradients together.
const ZERO_TOLERANCE: f64 = 1e-6;

/// A learning rate so large that a parameter after one step is its gradient, and a power of two, so that dividing by it
/// rounds nothing.
const GRADIENT_LR: f64 = 1_048_576.0;

/// What PyTorch made of a family.
struct Reference {
    bytes: Vec<u8>,
}

impl Reference {
    fn of(family: &str) -> Self {
        Self { bytes: std::fs::read(test_data(&format!("models/families/{family}.safetensors"))).unwrap() }
    }

    /// Names and values of the tensors under a prefix.
    fn under(&self, prefix: &str) -> Vec<(String, Vec<f64>)> {
        let tensors = SafeTensors::deserialize(&self.bytes).unwrap();
        let named = tensors.iter().filter_map(|(name, view)| Some((name.strip_prefix(prefix)?, view)));
        let single = |bytes: &[u8]| f64::from(f32::from_le_bytes(bytes.try_into().unwrap()));
        named.map(|(name, view)| (name.to_owned(), view.data().chunks(4).map(single).collect())).collect()
    }

    fn losses(&self) -> Vec<f64> {
        let tensors = SafeTensors::deserialize(&self.bytes).unwrap();
        let double = |bytes: &[u8]| f64::from_le_bytes(bytes.try_into().unwrap());
        tensors.tensor("losses").unwrap().data().chunks(8).map(double).collect()
    }

    /// How many parameters the model has; tied ones count once.
    fn parameters(&self) -> usize {
        let (_, header) = SafeTensors::read_metadata(&self.bytes).unwrap();
        header.metadata().as_ref().unwrap()["parameters"].parse().unwrap()
    }
}

/// A run with the family's settings and these.
fn run(family: &str, model: &str, settings: &[&str]) -> WorkDir {
    let config = test_data(&format!("models/families/{family}.toml"));
    let mut dir = WorkDir::new(&["--config", &config, &format!("model.onnx={model}")]);
    dir.add(settings);
    dir.finish(&[]);
    dir
}

/// Trains 20 steps and compares every loss, the first gradient of each parameter and the running statistics.
#[track_caller]
fn check_follows_pytorch(family: &str) {
    let reference = Reference::of(family);
    for exporter in ["dynamo", "script"] {
        let name = format!("{family}-{exporter}");
        let model = test_data(&format!("models/families/{name}.onnx"));
        let twenty_steps = run(family, &model, &[]);
        check_losses(&name, &twenty_steps, &reference.losses());
        let statistics = reference.under(&format!("statistics/{exporter}/"));
        check_statistics(&name, &twenty_steps.final_checkpoint(), &statistics);
        let lr = format!("optimizer.lr={GRADIENT_LR:.1}");
        let one_step = run(family, &model, &[&lr, "train.max_steps=1"]);
        let graph = read_file(Path::new(&model)).unwrap();
        check_gradients(&name, &graph, &one_step.final_checkpoint(), &reference);
    }
}

#[track_caller]
fn check_losses(name: &str, dir: &WorkDir, expected: &[f64]) {
    let steps = dir.steps();
    assert_eq!((steps.len(), expected.len()), (STEPS, STEPS), "{name}");
    for (step, expected) in steps.iter().zip(expected) {
        let found = f64::from(f32::from_bits(step.loss_bits));
        let is_close = (found / expected - 1.0).abs() <= LOSS_TOLERANCE;
        assert!(is_close, "{name}, loss of step {}: {found}, PyTorch has {expected}", step.step);
    }
}

#[track_caller]
fn check_statistics(name: &str, checkpoint: &Checkpoint, expected: &[(String, Vec<f64>)]) {
    for (buffer, expected) in expected {
        let found = values(checkpoint, &format!("state/{buffer}"));
        let difference = distance(&found, expected) / norm(expected);
        assert!(difference <= NORM_TOLERANCE, "{name}: {buffer} is off by {difference:.1e}");
    }
}

/// Every parameter must be trained, under one of its names, with the gradient that PyTorch has.
#[track_caller]
fn check_gradients(name: &str, graph: &Graph, after: &Checkpoint, reference: &Reference) {
    let expected = reference.under("gradient/");
    let total = norm(&expected.iter().flat_map(|(_, gradient)| gradient.clone()).collect::<Vec<_>>());
    let mut trained = 0;
    for (parameter, expected) in &expected {
        if after.tensor(parameter).is_none() {
            continue;
        }
        trained += 1;
        let (_, before) =
            graph.initializers.iter().find(|(initializer, _)| initializer == parameter).unwrap();
        let before = before.to_f64().unwrap();
        let pairs = before.iter().zip(values(after, parameter));
        let found: Vec<f64> = pairs.map(|(before, after)| (before - after) / GRADIENT_LR).collect();
        let difference = distance(&found, expected);
        let allowed = NORM_TOLERANCE * norm(expected) + ZERO_TOLERANCE * total;
        assert!(
            difference <= allowed,
            "{name}: the gradient of {parameter} is off by {:.1e}",
            difference / norm(expected)
        );
    }
    assert_eq!(trained, reference.parameters(), "{name}: parameters that are trained");
}

#[track_caller]
fn values(checkpoint: &Checkpoint, name: &str) -> Vec<f64> {
    let tensor = checkpoint.tensor(name).unwrap_or_else(|| panic!("no {name}"));
    tensor.to_vec::<f32>().unwrap().into_iter().map(f64::from).collect()
}

fn norm(values: &[f64]) -> f64 {
    values.iter().map(|value| value * value).sum::<f64>().sqrt()
}

#[track_caller]
fn distance(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    norm(&found.iter().zip(expected).map(|(found, expected)| found - expected).collect::<Vec<_>>())
}

#[test]
fn a_perceptron_with_every_activation_follows_pytorch() {
    check_follows_pytorch("activations");
}

#[test]
fn a_u_net_follows_pytorch() {
    check_follows_pytorch("unet");
}

#[test]
fn a_character_gpt_with_a_tied_head_follows_pytorch() {
    check_follows_pytorch("gpt");
}

#[test]
fn an_encoder_that_passes_over_padding_follows_pytorch() {
    check_follows_pytorch("bert");
}

#[test]
fn a_bidirectional_lstm_tagger_follows_pytorch() {
    check_follows_pytorch("lstm");
}

#[test]
fn a_gru_forecaster_follows_pytorch() {
    check_follows_pytorch("gru");
}

#[test]
fn a_tabular_model_with_embeddings_follows_pytorch() {
    check_follows_pytorch("tabular");
}

#[test]
fn a_convolutional_autoencoder_follows_pytorch() {
    check_follows_pytorch("autoencoder");
}

#[test]
fn a_model_with_two_outputs_and_two_losses_follows_pytorch() {
    check_follows_pytorch("two_losses");
}

/// Its scales are single numbers, its turns are buffers, and a vector weighs its positions.
#[test]
fn a_decoder_with_rotary_positions_follows_pytorch() {
    check_follows_pytorch("llama");
}
