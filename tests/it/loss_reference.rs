//! Losses and their gradients against PyTorch's (`scripts/reference/losses.py`).

use crate::runtime_library::Compiled;
use crate::work_dir::test_data;
use serde_json::Value as Json;
use trainer::config::{LossKind, LossPlan, Reduction};
use trainer::graph::autodiff::backward;
use trainer::graph::emit::{Emit, Value};
use trainer::graph::loss::{Ignored, LossParts, Operands, build, combine};
use trainer::graph::tensor::{Dtype, Tensor, ValueType};

fn plan_of(case: &Json) -> LossPlan {
    let number = |key: &str, default: f64| case.get(key).map_or(default, |value| value.as_f64().unwrap());
    let flag = |key: &str| case.get(key).is_some_and(|value| value.as_bool().unwrap());
    let floats = |key: &str| case.get(key).map_or(Vec::new(), numbers);
    let other = case.get("other").map(|_| "other".to_owned());
    let kind = match case["kind"].as_str().unwrap() {
        "cross_entropy" => LossKind::CrossEntropy,
        "nll" => LossKind::Nll,
        "mse" => LossKind::Mse,
        "l1" => LossKind::L1,
        "huber" => LossKind::Huber { delta: number("delta", 1.0) },
        "smooth_l1" => LossKind::SmoothL1 { beta: number("beta", 1.0) },
        "bce" => LossKind::Bce,
        "bce_with_logits" => LossKind::BceWithLogits,
        "kl_div" => LossKind::KlDiv { log_target: flag("log_target") },
        "cosine" => LossKind::Cosine { other, margin: number("margin", 0.0) },
        "contrastive" => LossKind::Contrastive {
            other: other.unwrap(),
            temperature: number("temperature", 1.0),
            symmetric: flag("symmetric"),
        },
        unknown => panic!("unknown loss {unknown}"),
    };
    let reduction = match case.get("reduction").and_then(Json::as_str) {
        Some("sum") => Reduction::Sum,
        Some("batchmean") => Reduction::BatchMean,
        _ => Reduction::Mean,
    };
    LossPlan {
        reduction,
        label_smoothing: number("label_smoothing", 0.0),
        class_weights: floats("class_weights"),
        pos_weight: floats("pos_weight"),
        ..LossPlan::new(kind)
    }
}

fn numbers(value: &Json) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

/// The arrays of a case, by name.
fn arrays(case: &Json, dtype: Dtype) -> Vec<(String, Tensor)> {
    let named = ["output", "other", "target", "sample_weights", "mask"];
    let found = named.into_iter().filter_map(|name| Some((name, case.get(name)?)));
    found
        .map(|(name, array)| {
            let dims: Vec<usize> = numbers(&array["dims"]).into_iter().map(|dim| dim as usize).collect();
            let values = numbers(&array["values"]);
            let dtype = if array["integers"].as_bool().unwrap() { Dtype::I64 } else { dtype };
            (name.to_owned(), Tensor::from_f64(dtype, dims, &values))
        })
        .collect()
}

/// The graph of a loss under construction, with its inputs.
struct Built {
    emit: Emit,
    inputs: Vec<Value>,
    operands: Operands,
    examples: usize,
}

fn declare(arrays: &[(String, Tensor)]) -> Built {
    let mut emit = Emit::new(18, Vec::new());
    let declared: Vec<(&str, Value)> = arrays
        .iter()
        .map(|(name, tensor)| {
            let kind = ValueType::new(tensor.dtype(), tensor.dims());
            (name.as_str(), emit.declare(name, kind))
        })
        .collect();
    let find = |name: &str| declared.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    let operands = Operands {
        output: find("output").unwrap(),
        other: find("other"),
        target: find("target"),
        sample_weights: find("sample_weights"),
        mask: find("mask"),
        ignored: Ignored::Possible,
    };
    let inputs = declared.iter().map(|(_, value)| *value).collect();
    Built { emit, inputs, operands, examples: arrays[0].1.dims()[0] }
}

/// Runs a loss: the mean and its gradients with respect to both outputs.
fn run(mut built: Built, parts: LossParts, arrays: &[(String, Tensor)]) -> (f64, Vec<Vec<f64>>) {
    let leaves: Vec<Value> =
        [Some(built.operands.output), built.operands.other].into_iter().flatten().collect();
    let gradients = backward(&mut built.emit, parts.sum, &leaves).unwrap();
    let mut outputs =
        vec![built.emit.name_output(parts.sum, "sum"), built.emit.name_output(parts.weight, "weight")];
    for (at, gradient) in gradients.into_iter().enumerate() {
        outputs.push(built.emit.name_output(gradient.expect("the loss depends on it"), &format!("g{at}")));
    }
    let graph = built.emit.finish("loss", &built.inputs, &outputs);
    let used: Vec<_> = arrays
        .iter()
        .filter(|(name, _)| graph.inputs.iter().any(|port| port.name == *name))
        .cloned()
        .collect();
    let found = Compiled::new(&graph).unwrap().run(&used).unwrap();
    let found: Vec<Vec<f64>> = found.iter().map(|tensor| tensor.to_f64().unwrap()).collect();
    let weight = found[1][0];
    let gradients = found[2..].iter().map(|gradient| gradient.iter().map(|g| g / weight).collect());
    (found[0][0] / weight, gradients.collect())
}

#[track_caller]
fn check_close(what: &str, found: f64, expected: f64, tolerance: f64) {
    assert!(
        (found - expected).abs() <= tolerance * expected.abs().max(1.0),
        "{what}: {found}, PyTorch has {expected}"
    );
}

#[track_caller]
fn check_case(case: &Json, dtype: Dtype, tolerance: f64) {
    let plan = plan_of(case);
    let arrays = arrays(case, dtype);
    let mut built = declare(&arrays);
    let parts = build(&mut built.emit, &plan, &built.operands, built.examples).unwrap();
    let (loss, gradients) = run(built, parts, &arrays);
    let what = format!("{plan:?} in {dtype}");
    check_close(&what, loss, case["loss"].as_f64().unwrap(), tolerance);
    for (name, gradient) in ["output_gradient", "other_gradient"].iter().zip(gradients) {
        for (found, expected) in gradient.iter().zip(numbers(&case[name])) {
            check_close(&format!("{what}, {name}"), *found, expected, tolerance);
        }
    }
}

fn reference() -> Json {
    serde_json::from_str(&std::fs::read_to_string(test_data("losses.json")).unwrap()).unwrap()
}

#[test]
fn every_loss_and_its_gradient_is_that_of_pytorch() {
    let reference = reference();
    let cases = reference["cases"].as_array().unwrap();
    assert!(cases.len() >= 30, "{}", cases.len());
    for case in cases {
        check_case(case, Dtype::F32, 2e-5);
        // ONNX Runtime has Softplus in float32 only.
        if case["kind"] != "bce_with_logits" {
            check_case(case, Dtype::F64, 1e-6);
        }
    }
}

#[test]
fn several_losses_add_up_by_their_weights() {
    let reference = reference();
    let all = reference["cases"].as_array().unwrap();
    let case =
        |kind: &str| all.iter().find(|case| case["kind"] == kind && case.get("mask").is_none()).unwrap();
    // Two losses over the same output and target, which have other weights in the mean.
    let (mse, l1) = (case("mse"), case("l1"));
    let arrays = arrays(mse, Dtype::F64);
    let mut built = declare(&arrays);
    let mut terms = Vec::new();
    for (factor, case) in [(0.5, mse), (3.0, l1)] {
        let operands = built.operands;
        terms.push((factor, build(&mut built.emit, &plan_of(case), &operands, built.examples).unwrap()));
    }
    let parts = combine(&mut built.emit, &terms).unwrap();
    let (loss, gradients) = run(built, parts, &arrays);
    let both = |key: &str, at: usize| {
        let of = |case: &Json| {
            if key == "loss" { case["loss"].as_f64().unwrap() } else { numbers(&case[key])[at] }
        };
        0.5 * of(mse) + 3.0 * of(l1)
    };
    check_close("loss", loss, both("loss", 0), 1e-9);
    for (at, found) in gradients[0].iter().enumerate() {
        check_close("gradient", *found, both("output_gradient", at), 1e-9);
    }
}

#[test]
fn a_further_loss_of_which_nothing_counts_adds_nothing() {
    let all = reference();
    let mse = &all["cases"].as_array().unwrap().iter().find(|case| case["kind"] == "mse").unwrap().clone();
    let mut arrays = arrays(mse, Dtype::F64);
    arrays.push(("mask".to_owned(), Tensor::from_f64(Dtype::F64, [3], &[0.0; 3])));
    let mut built = declare(&arrays);
    let masked = built.operands;
    let plain = Operands { mask: None, ..masked };
    let first = build(&mut built.emit, &plan_of(mse), &plain, 3).unwrap();
    let second = build(&mut built.emit, &plan_of(mse), &masked, 3).unwrap();
    let parts = combine(&mut built.emit, &[(1.0, first), (1.0, second)]).unwrap();
    let (loss, _) = run(built, parts, &arrays);
    check_close("loss", loss, mse["loss"].as_f64().unwrap(), 1e-9);
}

#[test]
fn what_stands_at_a_masked_position_may_be_no_number() {
    let output = [1.0, f64::NAN, 2.0, 5.0];
    let arrays = vec![
        ("output".to_owned(), Tensor::from_f64(Dtype::F32, [2, 2], &output)),
        ("target".to_owned(), Tensor::from_f64(Dtype::F32, [2, 2], &[0.0; 4])),
        ("mask".to_owned(), Tensor::from_f64(Dtype::F32, [2, 2], &[1.0, 0.0, 1.0, 0.0])),
    ];
    let mut built = declare(&arrays);
    let parts = build(&mut built.emit, &LossPlan::new(LossKind::Mse), &built.operands, 2).unwrap();
    let (loss, _) = run(built, parts, &arrays);
    assert_eq!(loss, 2.5);
}

#[test]
fn weights_that_do_not_lie_along_the_leading_axes_are_refused_with_both_shapes() {
    let arrays = vec![
        ("output".to_owned(), Tensor::from_f64(Dtype::F32, [2, 3], &[0.0; 6])),
        ("target".to_owned(), Tensor::from_f64(Dtype::F32, [2, 3], &[0.0; 6])),
        ("mask".to_owned(), Tensor::from_f64(Dtype::F32, [2, 2], &[1.0; 4])),
    ];
    let mut built = declare(&arrays);
    let error = build(&mut built.emit, &LossPlan::new(LossKind::Mse), &built.operands, 2).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("`mask` has shape [2, 2]") && message.contains("[2, 3]"), "{message}");
}
