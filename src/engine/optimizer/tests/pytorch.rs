//! Against PyTorch's own updates, which `scripts/reference/optimizers.py` wrote down.

use super::super::{Optimizer, StepScalars, clip_factor, gradient_norm};
use super::{Tensors, apply_alone};
use crate::config::{AdjustLr, EmaPlan, OptimizerKind, OptimizerPlan};
use serde_json::Value;

fn f32s(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap() as f32).collect()
}

/// The algorithm that a case describes.
fn kind_of(case: &Value) -> OptimizerKind {
    let number = |key: &str, default: f64| case.get(key).map_or(default, |value| value.as_f64().unwrap());
    let pair = |key: &str| (case[key][0].as_f64().unwrap(), case[key][1].as_f64().unwrap());
    let is = |key: &str| case.get(key).and_then(Value::as_bool).unwrap_or(false);
    let (eps, momentum) = (|| number("eps", 1e-8), number("momentum", 0.0));
    match case["kind"].as_str().unwrap() {
        "sgd" => {
            OptimizerKind::Sgd { momentum, dampening: number("dampening", 0.0), nesterov: is("nesterov") }
        }
        "adam" => OptimizerKind::Adam { betas: pair("betas"), eps: eps() },
        "adamw" => OptimizerKind::AdamW { betas: pair("betas"), eps: eps() },
        "rmsprop" => OptimizerKind::RmsProp {
            alpha: number("alpha", 0.0),
            eps: eps(),
            momentum,
            centered: is("centered"),
        },
        "adagrad" => OptimizerKind::Adagrad { lr_decay: number("lr_decay", 0.0), eps: eps() },
        "adadelta" => OptimizerKind::Adadelta { rho: number("rho", 0.0), eps: eps() },
        "nadam" => OptimizerKind::NAdam {
            betas: pair("betas"),
            eps: eps(),
            momentum_decay: number("momentum_decay", 0.0),
            decoupled_weight_decay: is("decoupled_weight_decay"),
        },
        "radam" => OptimizerKind::RAdam {
            betas: pair("betas"),
            eps: eps(),
            decoupled_weight_decay: is("decoupled_weight_decay"),
        },
        "adafactor" => OptimizerKind::Adafactor {
            beta2_decay: number("beta2_decay", 0.0),
            eps: pair("eps").0,
            relative_eps: pair("eps").1,
            clip_threshold: number("d", 1.0),
        },
        "muon" => OptimizerKind::Muon {
            momentum,
            nesterov: is("nesterov"),
            ns_steps: 5,
            adjust_lr: match case.get("adjust_lr_fn") {
                Some(_) => AdjustLr::MatchRmsAdamw,
                None => AdjustLr::Original,
            },
            betas: (0.9, 0.999),
            eps: 1e-8,
            adamw_patterns: Vec::new(),
        },
        other => panic!("unknown kind {other}"),
    }
}

fn optimizer_of(case: &Value, dims: &[usize]) -> Optimizer {
    let number = |key: &str| case.get(key).map(|value| value.as_f64().unwrap());
    let ema = number("ema_decay").map(|decay| EmaPlan { decay, is_used: true });
    let weight_decay = number("weight_decay").unwrap_or(0.0);
    let plan =
        OptimizerPlan { weight_decay, ema, ..OptimizerPlan::new(kind_of(case), number("lr").unwrap()) };
    Optimizer::new(&plan, &[("w".to_owned(), dims.to_vec())])
}

/// Follows a case through all its updates.
#[track_caller]
fn check_against_pytorch(reference: &Value, case: &Value) {
    let name = case["name"].as_str().unwrap();
    let given = &reference["tensors"][case.get("tensor").map_or(0, |at| at.as_u64().unwrap() as usize)];
    let dims: Vec<usize> =
        given["dims"].as_array().unwrap().iter().map(|dim| dim.as_u64().unwrap() as usize).collect();
    let optimizer = optimizer_of(case, &dims);
    let start = f32s(&given["start"]);
    let mut tensors = Tensors::fresh(&optimizer, &start);
    let gradients = given["gradients"].as_array().unwrap();
    let after = case["after"].as_array().unwrap();
    assert_eq!((gradients.len(), after.len()), (20, 20));
    // Muon mixes all elements of a matrix, so rounding is relative to the largest.
    let tolerance = if case["kind"] == "muon" { 2e-5 } else { 1e-6 };
    // An element that has been large keeps the rounding errors it had then, even where it passes near zero.
    let mut magnitudes: Vec<f32> = start.iter().map(|value| value.abs()).collect();
    for ((gradient, expected), step) in gradients.iter().zip(after).zip(1..) {
        tensors.gradient = f32s(gradient);
        let norm = gradient_norm(&[&tensors.gradient]);
        let grad_scale = case.get("clip_norm").map_or(1.0, |max| clip_factor(norm, max.as_f64().unwrap()));
        let scalars = StepScalars {
            step,
            lr: case["lr"].as_f64().unwrap(),
            grad_scale: grad_scale as f32,
            clip_value: case.get("clip_value").map(|bound| bound.as_f64().unwrap() as f32),
        };
        apply_alone(&optimizer, &mut tensors, &scalars);
        let found = if tensors.average.is_empty() { &tensors.parameter } else { &tensors.average };
        for ((found, expected), magnitude) in found.iter().zip(f32s(expected)).zip(&mut magnitudes) {
            *magnitude = expected.abs().max(*magnitude);
            let scale = if tolerance > 1e-6 { magnitude.max(1.0) } else { *magnitude };
            assert!(
                (found - expected).abs() <= tolerance * scale,
                "{name}, step {step}: {found} where PyTorch has {expected}"
            );
        }
    }
}

#[test]
fn every_update_of_every_case_is_the_one_pytorch_makes() {
    let text = include_str!("../../../../tests/data/optimizers.json");
    let reference: Value = serde_json::from_str(text).unwrap();
    let cases = reference["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 39);
    for case in cases {
        check_against_pytorch(&reference, case);
    }
}
