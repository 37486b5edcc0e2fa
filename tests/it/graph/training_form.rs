//! Normalisation and dropout in a training step, and in the evaluation beside it.

use super::steps::{Setup, check_close, outputs};
use super::{model_of, node, ramp};
use trainer::graph::draws::Distribution;
use trainer::graph::model::{Dim, attribute};
use trainer::graph::proto::AttributeProto;
use trainer::graph::step::{LOSS_SUM, LOSS_WEIGHT};
use trainer::graph::tensor::{Dtype, Tensor};

/// `y` is the normalised input, of two channels.
fn normalizer(prefix: &str) -> Setup {
    let names = ["scale", "bias", "mean", "var"];
    let frozen = |name: &str| {
        if ["mean", "var"].contains(&name) { format!("{prefix}{name}") } else { name.to_owned() }
    };
    let names: Vec<String> = names.iter().map(|name| frozen(name)).collect();
    let two = |values: [f32; 2]| Tensor::from_f32([2], &values);
    let values = [two([1.0, 2.0]), two([0.5, 0.0]), two([0.25, -1.0]), two([1.0, 4.0])];
    let initializers: Vec<(&str, Tensor)> = names.iter().map(String::as_str).zip(values).collect();
    let inputs: Vec<&str> = std::iter::once("x").chain(names.iter().map(String::as_str)).collect();
    let normalize = node("BatchNormalization", &inputs, &["y"], vec![attribute::float("momentum", 0.7)]);
    Setup::new(model_of(&[None, Some(2), Some(2)], &initializers, vec![normalize]), 2, &[2, 2])
}

/// Channel 0 holds 1, 2, 3, 6; channel 1 holds 0, 0, 0, 4.
fn normalizer_feeds(setup: &Setup) -> Vec<(String, Tensor)> {
    let x = Tensor::from_f32([2, 2, 2], &[1.0, 2.0, 0.0, 0.0, 3.0, 6.0, 0.0, 4.0]);
    let t = Tensor::from_f32([2, 2, 2], &[0.0; 8]);
    let feeds = [("x".to_owned(), x), ("trainer/target/t".to_owned(), t)];
    setup.values().into_iter().chain(feeds).collect()
}

#[test]
fn a_normalization_exported_for_inference_trains_with_batch_statistics_and_moves_the_running_ones_as_pytorch_does()
 {
    let setup = normalizer("");
    let step = setup.training().unwrap();
    let given = outputs(&step, &normalizer_feeds(&setup));
    // Means 3 and 1; variances 14/4 and 12/4; unbiased 14/3 and 4. ONNX's momentum 0.7 is PyTorch's 0.3.
    let normal = |x: f64, mean: f64, var: f64| (x - mean) / (var + 1e-5).sqrt();
    let first = |x| normal(x, 3.0, 3.5) + 0.5;
    let second = |x| normal(x, 1.0, 3.0) * 2.0;
    let expected =
        [first(1.0), first(2.0), second(0.0), second(0.0), first(3.0), first(6.0), second(0.0), second(4.0)];
    check_close(&given["trainer/predictions"].to_f64().unwrap(), &expected, 1e-5);
    assert_eq!(step.states, ["trainer/state/mean", "trainer/state/var"]);
    let mean = [0.7 * 0.25 + 0.3 * 3.0, -0.7 + 0.3 * 1.0];
    let var = [0.7 * 1.0 + 0.3 * 14.0 / 3.0, 0.7 * 4.0 + 0.3 * 4.0];
    check_close(&given["trainer/state/mean"].to_f64().unwrap(), &mean, 1e-6);
    check_close(&given["trainer/state/var"].to_f64().unwrap(), &var, 1e-6);
}

#[test]
fn an_evaluation_uses_the_running_statistics_and_gives_loss_and_predictions() {
    let setup = normalizer("");
    let step = setup.evaluation().unwrap();
    assert!(step.gradients.is_empty() && step.states.is_empty());
    let given = outputs(&step, &normalizer_feeds(&setup));
    let first = |x: f64| (x - 0.25) / (1.0_f64 + 1e-5).sqrt() + 0.5;
    let second = |x: f64| (x + 1.0) / (4.0_f64 + 1e-5).sqrt() * 2.0;
    let expected =
        [first(1.0), first(2.0), second(0.0), second(0.0), first(3.0), first(6.0), second(0.0), second(4.0)];
    check_close(&given["trainer/predictions"].to_f64().unwrap(), &expected, 1e-5);
    let squares: f64 = expected.iter().map(|x| x * x).sum();
    check_close(&given[LOSS_SUM].to_f64().unwrap(), &[squares], 1e-4);
    assert_eq!(given[LOSS_WEIGHT].to_f64().unwrap(), [8.0]);
}

#[test]
fn frozen_statistics_are_used_in_training_and_stay_as_they_are() {
    let frozen = normalizer("frozen_");
    let step = frozen.training().unwrap();
    assert!(step.states.is_empty());
    let predictions = outputs(&step, &normalizer_feeds(&frozen))["trainer/predictions"].clone();
    let free = normalizer("");
    let evaluated = outputs(&free.evaluation().unwrap(), &normalizer_feeds(&free));
    assert_eq!(predictions, evaluated["trainer/predictions"]);
}

#[test]
fn batch_statistics_of_a_single_value_are_refused_with_the_node() {
    let mut setup = normalizer("");
    setup.batch = 1;
    setup.inputs[0].1 = vec![2, 1];
    setup.graph.inputs[0].dims = Some(vec![Dim::Unknown; 3]);
    let message = setup.training().unwrap_err().to_string();
    assert!(message.contains("node_y") && message.contains("data.drop_last"), "{message}");
}

fn dropout(ratio: Option<f32>) -> Setup {
    let mut inputs = vec!["h"];
    let mut initializers = vec![("w", ramp(&[4]))];
    if let Some(ratio) = ratio {
        inputs.push("ratio");
        initializers.push(("ratio", Tensor::from_f32([], &[ratio])));
    }
    let nodes = vec![node("Mul", &["x", "w"], &["h"], vec![]), node("Dropout", &inputs, &["y"], vec![])];
    Setup::new(model_of(&[None, Some(4)], &initializers, nodes), 1, &[4])
}

#[test]
fn dropout_takes_its_mask_from_outside_and_scales_what_it_keeps() {
    let setup = dropout(Some(0.75));
    let step = setup.training().unwrap();
    assert_eq!(step.masks.len(), 1);
    assert_eq!((step.masks[0].ratio, step.masks[0].dims.as_slice()), (0.75, &[1, 4][..]));
    let mut values = setup.values();
    values.push(("x".to_owned(), Tensor::from_f32([1, 4], &[10.0; 4])));
    values.push(("trainer/target/t".to_owned(), Tensor::from_f32([1, 4], &[0.0; 4])));
    values.push((step.masks[0].input.clone(), Tensor::from_f64(Dtype::Bool, [1, 4], &[1.0, 0.0, 0.0, 1.0])));
    let given = outputs(&step, &values);
    check_close(&given["trainer/predictions"].to_f64().unwrap(), &[4.0, 0.0, 0.0, -16.0], 1e-5);
    // d/dw of (x w / 0.25)^2 where kept.
    let gradient = &given[&step.gradients[0]];
    check_close(&gradient.to_f64().unwrap(), &[2.0 * 4.0 * 40.0, 0.0, 0.0, 2.0 * -16.0 * 40.0], 1e-2);
}

#[test]
fn dropout_without_a_ratio_drops_half_and_a_ratio_out_of_range_is_refused() {
    assert_eq!(dropout(None).training().unwrap().masks[0].ratio, 0.5);
    let message = dropout(Some(1.0)).training().unwrap_err().to_string();
    assert!(message.contains("node_y") && message.contains("ratio 1"), "{message}");
}

/// `y = h + numbers` with `h = x w`; the numbers are those of an operator that draws.
fn drawing(op: &str, attributes: Vec<AttributeProto>) -> Setup {
    let nodes = vec![
        node("Mul", &["x", "w"], &["h"], vec![]),
        node(op, &["h"], &["numbers"], attributes),
        node("Add", &["h", "numbers"], &["y"], vec![]),
    ];
    Setup::new(model_of(&[None, Some(4)], &[("w", ramp(&[4]))], nodes), 2, &[4])
}

/// That a node gives way to an input, in training and in evaluation, and that what is fed decides the result.
#[track_caller]
fn check_drawn_outside(op: &str, attributes: Vec<AttributeProto>, expected: Distribution, gives: [f64; 4]) {
    let setup = drawing(op, attributes);
    for step in [setup.training().unwrap(), setup.evaluation().unwrap()] {
        let [draw] = step.draws.as_slice() else { panic!("{op}: {:?}", step.draws) };
        assert_eq!((draw.distribution, draw.dims.as_slice()), (expected, &[2, 4][..]), "{op}");
        let mut values = setup.values();
        values.push(("x".to_owned(), Tensor::from_f32([2, 4], &[1.0; 8])));
        values.push(("trainer/target/t".to_owned(), Tensor::from_f32([2, 4], &[0.0; 8])));
        values.push((
            draw.input.clone(),
            Tensor::from_f32([2, 4], &[0.0, 0.5, -0.5, 2.0, 0.0, 0.5, -0.5, 2.0]),
        ));
        let given = outputs(&step, &values)["trainer/predictions"].to_f64().unwrap();
        check_close(&given, &[gives, gives].concat(), 1e-6);
    }
}

#[test]
fn numbers_that_a_model_draws_come_from_outside() {
    let normal = vec![attribute::float("mean", 1.0), attribute::float("scale", 0.25)];
    let expected = Distribution::Normal { mean: 1.0, scale: 0.25 };
    check_drawn_outside("RandomNormalLike", normal, expected, [0.1, 0.3, -0.2, 1.6]);
    let expected = Distribution::Uniform { low: 0.0, high: 1.0 };
    check_drawn_outside("RandomUniformLike", vec![], expected, [0.1, 0.3, -0.2, 1.6]);
    // 1 where the number is below the probability, which is 0.1, -0.2, 0.3, -0.4.
    check_drawn_outside("Bernoulli", vec![], expected, [1.1, -0.2, 1.3, -0.4]);
}
