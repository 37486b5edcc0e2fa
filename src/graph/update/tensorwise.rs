//! The formulas in which an element's step depends on the whole tensor: LAMB, Adafactor, Muon.

use super::super::emit::{Emit, Value};
use super::super::tensor::elements;
use super::formula::{Step, Updated, mean_square, moved};
use super::slots::Factors;
use crate::config::AdjustLr;

/// Coefficients of the quintic Newton-Schulz iteration: K. Jordan, "Muon: An optimizer for hidden layers", 2024, as in
/// `torch.optim.Muon`.
pub const NEWTON_SCHULZ: (f64, f64, f64) = (3.4445, -4.775, 2.0315);
/// Lower bound of the norm that Muon divides by.
pub const NEWTON_SCHULZ_EPS: f64 = 1e-7;

/// What Muon multiplies the learning rate of a matrix `[rows, columns]` by.
#[must_use]
pub fn muon_lr_factor(adjust: AdjustLr, rows: usize, columns: usize) -> f64 {
    let (rows, columns) = (rows as f64, columns as f64);
    match adjust {
        AdjustLr::Original => (rows / columns).max(1.0).sqrt(),
        AdjustLr::MatchRmsAdamw => 0.2 * rows.max(columns).sqrt(),
    }
}

/// sqrt(sum x^2), a scalar
fn norm(emit: &mut Emit, x: Value) -> Value {
    let square = emit.mul(x, x);
    let sum = emit.sum_all(square);
    emit.sqrt(sum)
}

fn root_mean_square(emit: &mut Emit, x: Value) -> Value {
    let norm = norm(emit, x);
    let count = elements(emit.dims(x)).max(1);
    emit.scale(norm, 1.0 / (count as f64).sqrt())
}

fn at_least(emit: &mut Emit, x: Value, bound: f64) -> Value {
    let bound = emit.scalar(bound, x);
    let kind = emit.kind(x).clone();
    emit.op("Max", &[x, bound], vec![], kind)
}

/// r = m' / (sqrt(v') + eps) + weight_decay * p;   p = p - lr * |p| / |r| * r, the ratio 1 where a norm is 0
pub(super) fn lamb(
    emit: &mut Emit,
    step: &Step<'_>,
    (average, square): (Value, Value),
    betas: (f64, f64),
    eps: f64,
) -> Updated {
    let average = moved(emit, average, step.gradient, betas.0);
    let square = mean_square(emit, square, step.gradient, betas.1);
    let corrected = emit.div(average, step.scalars.first);
    let root = emit.sqrt(square);
    let root = emit.div(root, step.scalars.second);
    let denominator = emit.shift(root, eps);
    let mut direction = emit.div(corrected, denominator);
    if step.update.weight_decay != 0.0 {
        let pull = emit.scale(step.parameter, step.update.weight_decay);
        direction = emit.add(direction, pull);
    }
    let (above, below) = (norm(emit, step.parameter), norm(emit, direction));
    let (zero, one) = (emit.scalar(0.0, above), emit.scalar(1.0, above));
    let (has_length, has_direction) = (emit.greater(above, zero), emit.greater(below, zero));
    let is_defined = emit.and(has_length, has_direction);
    let ratio = emit.div(above, below);
    let trust = emit.select(is_defined, ratio, one);
    let rate = emit.mul(step.lr, trust);
    let change = emit.mul(rate, direction);
    (emit.sub(step.parameter, change), vec![average, square])
}

/// See `engine::optimizer::adafactor`.
pub(super) fn adafactor(
    emit: &mut Emit,
    step: &Step<'_>,
    eps: f64,
    relative_eps: f64,
    clip_threshold: f64,
) -> Updated {
    let (fresh, inverse_root_step) = (step.scalars.first, step.scalars.second);
    let square = emit.mul(step.gradient, step.gradient);
    let toward = |emit: &mut Emit, old: Value, new: Value| {
        let way = emit.sub(new, old);
        let part = emit.mul(way, fresh);
        emit.add(old, part)
    };
    let rank = emit.rank(step.gradient);
    let (estimate, slots) = match (Factors::of(emit.dims(step.gradient)), step.slots) {
        (Some(_), [row_var, col_var]) => {
            let row_mean = emit.reduce_mean(square, &[rank - 1]);
            let row_var = toward(emit, *row_var, row_mean);
            let col_mean = emit.reduce_mean(square, &[rank - 2]);
            let col_var = toward(emit, *col_var, col_mean);
            let product = emit.mul(row_var, col_var);
            let mean = emit.reduce_mean(row_var, &[rank - 2]);
            let mean = at_least(emit, mean, eps);
            (emit.div(product, mean), vec![row_var, col_var])
        }
        (_, slots) => {
            let variance = slots.first().copied().expect("the caller checked that there is a slot");
            let variance = toward(emit, variance, square);
            (variance, vec![variance])
        }
    };
    let bounded = at_least(emit, estimate, eps * eps);
    let root = emit.sqrt(bounded);
    let direction = emit.div(step.gradient, root);
    let length = root_mean_square(emit, direction);
    let length = emit.scale(length, 1.0 / clip_threshold);
    let clip = at_least(emit, length, 1.0);
    let scale = root_mean_square(emit, step.parameter);
    let scale = at_least(emit, scale, relative_eps);
    let kind = emit.kind(step.lr).clone();
    let rate = emit.op("Min", &[step.lr, inverse_root_step], vec![], kind);
    let rate = emit.mul(rate, scale);
    let rate = emit.div(rate, clip);
    let kept = step.decayed_parameter(emit);
    let change = emit.mul(rate, direction);
    (emit.sub(kept, change), slots)
}

/// See `engine::optimizer::muon`.
pub(super) fn muon(
    emit: &mut Emit,
    step: &Step<'_>,
    buffer: Value,
    (momentum, nesterov): (f64, bool),
    ns_steps: u32,
    adjust_lr: AdjustLr,
) -> Updated {
    let buffer = moved(emit, buffer, step.gradient, momentum);
    let direction = if nesterov { moved(emit, step.gradient, buffer, 1.0 - momentum) } else { buffer };
    let (rows, columns) = match emit.dims(direction) {
        [rows, columns] => (*rows, *columns),
        _ => (1, 1),
    };
    let is_tall = rows > columns;
    let mut x = if is_tall { emit.transpose_last(direction) } else { direction };
    let length = norm(emit, x);
    let length = at_least(emit, length, NEWTON_SCHULZ_EPS);
    x = emit.div(x, length);
    let (a, b, c) = NEWTON_SCHULZ;
    for _ in 0..ns_steps {
        let gram = emit.gemm(x, false, x, true);
        let square = emit.gemm(gram, false, gram, false);
        let linear = emit.scale(gram, b);
        let cubic = emit.scale(square, c);
        let mixed = emit.add(linear, cubic);
        let turned = emit.gemm(mixed, false, x, false);
        let kept = emit.scale(x, a);
        x = emit.add(kept, turned);
    }
    let x = if is_tall { emit.transpose_last(x) } else { x };
    let rate = emit.scale(step.lr, muon_lr_factor(adjust_lr, rows, columns));
    let change = emit.mul(rate, x);
    let kept = step.decayed_parameter(emit);
    (emit.sub(kept, change), vec![buffer])
}
