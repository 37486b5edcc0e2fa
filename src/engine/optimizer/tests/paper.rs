//! Lion and LAMB against the formulas of their papers, written out in double precision.

use super::super::{Optimizer, StepScalars};
use super::{Tensors, apply_alone, numbers};
use crate::config::{OptimizerKind, OptimizerPlan};

const LR: f64 = 0.02;
const WEIGHT_DECAY: f64 = 0.1;
const ELEMENTS: usize = 50;

/// The state of a formula.
struct Reference {
    parameter: Vec<f64>,
    first: Vec<f64>,
    second: Vec<f64>,
}

/// Follows a formula for 20 steps.
#[track_caller]
fn check_follows(kind: OptimizerKind, formula: impl Fn(&mut Reference, &[f64], i32)) {
    let plan = OptimizerPlan { weight_decay: WEIGHT_DECAY, ..OptimizerPlan::new(kind.clone(), LR) };
    let optimizer = Optimizer::new(&plan, &[("w".to_owned(), vec![ELEMENTS])]);
    let start = numbers(ELEMENTS, 3);
    let mut tensors = Tensors::fresh(&optimizer, &start);
    let parameter = start.iter().map(|value| f64::from(*value)).collect();
    let mut reference = Reference { parameter, first: vec![0.0; ELEMENTS], second: vec![0.0; ELEMENTS] };
    for step in 1..=20 {
        tensors.gradient = numbers(ELEMENTS, 100 + step as u32);
        let gradient: Vec<f64> = tensors.gradient.iter().map(|value| f64::from(*value)).collect();
        let scalars = StepScalars { step: step as u64, lr: LR, grad_scale: 1.0, clip_value: None };
        apply_alone(&optimizer, &mut tensors, &scalars);
        formula(&mut reference, &gradient, step);
        for (found, expected) in tensors.parameter.iter().zip(&reference.parameter) {
            let off = (f64::from(*found) - expected).abs();
            assert!(off <= 2e-6 * expected.abs().max(1.0), "{kind:?}, step {step}: {found} {expected}");
        }
    }
}

#[test]
fn lion_is_the_algorithm_of_its_paper() {
    let (b1, b2) = (0.9, 0.99);
    check_follows(OptimizerKind::Lion { betas: (b1, b2) }, |state, gradient, _| {
        for ((p, m), g) in state.parameter.iter_mut().zip(&mut state.first).zip(gradient) {
            let c: f64 = b1 * *m + (1.0 - b1) * g;
            let sign = if c == 0.0 { 0.0 } else { c.signum() };
            *p -= LR * (sign + WEIGHT_DECAY * *p);
            *m = b2 * *m + (1.0 - b2) * g;
        }
    });
}

#[test]
fn lamb_is_the_algorithm_of_its_paper() {
    let ((b1, b2), eps) = ((0.9, 0.999), 1e-6);
    check_follows(OptimizerKind::Lamb { betas: (b1, b2), eps }, |state, gradient, step| {
        let norm = |values: &[f64]| values.iter().map(|value| value * value).sum::<f64>().sqrt();
        let mut direction = Vec::new();
        for (((p, m), v), g) in
            state.parameter.iter().zip(&mut state.first).zip(&mut state.second).zip(gradient)
        {
            *m = b1 * *m + (1.0 - b1) * g;
            *v = b2 * *v + (1.0 - b2) * g * g;
            let (m, v) = (*m / (1.0 - b1.powi(step)), *v / (1.0 - b2.powi(step)));
            direction.push(m / (v.sqrt() + eps) + WEIGHT_DECAY * p);
        }
        let ratio = norm(&state.parameter) / norm(&direction);
        for (p, r) in state.parameter.iter_mut().zip(&direction) {
            *p -= LR * ratio * r;
        }
    });
}
