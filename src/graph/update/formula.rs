//! The formulas of the optimizers as standard operators, for one parameter.

use super::super::emit::{Emit, Value};
use super::{ParameterUpdate, Scalars, tensorwise};
use crate::config::OptimizerKind;

/// The new value of a parameter and its new slots.
pub(super) type Updated = (Value, Vec<Value>);

/// A parameter's update in progress.
pub(super) struct Step<'a> {
    pub(super) update: &'a ParameterUpdate,
    pub(super) parameter: Value,
    /// The mean gradient, clipped.
    pub(super) gradient: Value,
    pub(super) slots: &'a [Value],
    pub(super) scalars: &'a Scalars,
    /// The parameter's own learning rate, a scalar.
    pub(super) lr: Value,
}

impl Step<'_> {
    /// `g + weight_decay * p`
    fn decayed_gradient(&self, emit: &mut Emit) -> Value {
        if self.update.weight_decay == 0.0 {
            return self.gradient;
        }
        let pull = emit.scale(self.parameter, self.update.weight_decay);
        emit.add(self.gradient, pull)
    }

    /// `p * (1 - lr * weight_decay)`
    pub(super) fn decayed_parameter(&self, emit: &mut Emit) -> Value {
        if self.update.weight_decay == 0.0 {
            return self.parameter;
        }
        let shrink = emit.scale(self.lr, -self.update.weight_decay);
        let keep = emit.shift(shrink, 1.0);
        emit.mul(self.parameter, keep)
    }

    /// Gradient and parameter after weight decay, which acts on one of them.
    fn decayed(&self, emit: &mut Emit, decoupled: bool) -> (Value, Value) {
        if decoupled {
            (self.gradient, self.decayed_parameter(emit))
        } else {
            (self.decayed_gradient(emit), self.parameter)
        }
    }
}

/// `start + (1 - keep) * (end - start)`
pub(super) fn moved(emit: &mut Emit, start: Value, end: Value, keep: f64) -> Value {
    let way = emit.sub(end, start);
    let part = emit.scale(way, 1.0 - keep);
    emit.add(start, part)
}

/// `keep * average + (1 - keep) * x^2`
pub(super) fn mean_square(emit: &mut Emit, average: Value, x: Value, keep: f64) -> Value {
    let old = emit.scale(average, keep);
    let square = emit.mul(x, x);
    let fresh = emit.scale(square, 1.0 - keep);
    emit.add(old, fresh)
}

/// The update of one parameter; `slots` are those of [`super::slots`].
pub(super) fn update(emit: &mut Emit, step: &Step<'_>) -> Updated {
    match (&step.update.kind, step.slots) {
        (OptimizerKind::Sgd { momentum, nesterov, .. }, [buffer]) => {
            let gradient = step.decayed_gradient(emit);
            let old = emit.scale(*buffer, *momentum);
            let fresh = emit.mul(step.scalars.first, gradient);
            let buffer = emit.add(old, fresh);
            let ahead = emit.scale(buffer, *momentum);
            let direction = if *nesterov { emit.add(gradient, ahead) } else { buffer };
            let change = emit.mul(step.lr, direction);
            (emit.sub(step.parameter, change), vec![buffer])
        }
        (OptimizerKind::Adam { betas, eps }, [average, square]) => {
            adam(emit, step, (*average, *square), (*betas, *eps), false)
        }
        (OptimizerKind::AdamW { betas, eps }, [average, square]) => {
            adam(emit, step, (*average, *square), (*betas, *eps), true)
        }
        (OptimizerKind::NAdam { betas, eps, decoupled_weight_decay, .. }, [average, square]) => {
            nadam(emit, step, (*average, *square), (*betas, *eps), *decoupled_weight_decay)
        }
        (OptimizerKind::RAdam { betas, eps, decoupled_weight_decay }, [average, square]) => {
            radam(emit, step, (*average, *square), (*betas, *eps), *decoupled_weight_decay)
        }
        (OptimizerKind::RmsProp { .. }, slots) if !slots.is_empty() => rms_prop(emit, step),
        (OptimizerKind::Adagrad { eps, .. }, [sum]) => {
            let gradient = step.decayed_gradient(emit);
            let square = emit.mul(gradient, gradient);
            let sum = emit.add(*sum, square);
            let root = emit.sqrt(sum);
            let denominator = emit.shift(root, *eps);
            let ratio = emit.div(gradient, denominator);
            let rate = emit.mul(step.lr, step.scalars.first);
            let change = emit.mul(rate, ratio);
            (emit.sub(step.parameter, change), vec![sum])
        }
        (OptimizerKind::Adadelta { rho, eps }, [square, acc_delta]) => {
            let gradient = step.decayed_gradient(emit);
            let square = mean_square(emit, *square, gradient, *rho);
            let root = |emit: &mut Emit, x: Value| {
                let shifted = emit.shift(x, *eps);
                emit.sqrt(shifted)
            };
            let (below, above) = (root(emit, square), root(emit, *acc_delta));
            let ratio = emit.div(above, below);
            let delta = emit.mul(ratio, gradient);
            let acc_delta = mean_square(emit, *acc_delta, delta, *rho);
            let change = emit.mul(step.lr, delta);
            (emit.sub(step.parameter, change), vec![square, acc_delta])
        }
        (OptimizerKind::Lion { betas }, [average]) => {
            let direction = moved(emit, *average, step.gradient, betas.0);
            let sign = emit.sign(direction);
            let average = moved(emit, *average, step.gradient, betas.1);
            let change = emit.mul(step.lr, sign);
            let kept = step.decayed_parameter(emit);
            (emit.sub(kept, change), vec![average])
        }
        (OptimizerKind::Lamb { betas, eps }, [average, square]) => {
            tensorwise::lamb(emit, step, (*average, *square), *betas, *eps)
        }
        (OptimizerKind::Adafactor { eps, relative_eps, clip_threshold, .. }, slots) if !slots.is_empty() => {
            tensorwise::adafactor(emit, step, *eps, *relative_eps, *clip_threshold)
        }
        (OptimizerKind::Muon { momentum, nesterov, ns_steps, adjust_lr, .. }, [buffer]) => {
            tensorwise::muon(emit, step, *buffer, (*momentum, *nesterov), *ns_steps, *adjust_lr)
        }
        _ => {
            let gradient = step.decayed_gradient(emit);
            let change = emit.mul(step.lr, gradient);
            (emit.sub(step.parameter, change), Vec::new())
        }
    }
}

/// The new moments, and the root of the second one.
fn moments(
    emit: &mut Emit,
    (average, square): (Value, Value),
    gradient: Value,
    betas: (f64, f64),
) -> (Value, Value) {
    (moved(emit, average, gradient, betas.0), mean_square(emit, square, gradient, betas.1))
}

fn adam(
    emit: &mut Emit,
    step: &Step<'_>,
    slots: (Value, Value),
    (betas, eps): ((f64, f64), f64),
    decoupled: bool,
) -> Updated {
    let (gradient, kept) = step.decayed(emit, decoupled);
    let (average, square) = moments(emit, slots, gradient, betas);
    let root = emit.sqrt(square);
    let corrected = emit.div(root, step.scalars.second);
    let denominator = emit.shift(corrected, eps);
    let ratio = emit.div(average, denominator);
    let rate = emit.div(step.lr, step.scalars.first);
    let change = emit.mul(rate, ratio);
    (emit.sub(kept, change), vec![average, square])
}

fn nadam(
    emit: &mut Emit,
    step: &Step<'_>,
    slots: (Value, Value),
    (betas, eps): ((f64, f64), f64),
    decoupled: bool,
) -> Updated {
    let (gradient, kept) = step.decayed(emit, decoupled);
    let (average, square) = moments(emit, slots, gradient, betas);
    let corrected = emit.div(square, step.scalars.third);
    let root = emit.sqrt(corrected);
    let denominator = emit.shift(root, eps);
    let now = emit.mul(step.scalars.first, gradient);
    let ahead = emit.mul(step.scalars.second, average);
    let both = emit.add(now, ahead);
    let ratio = emit.div(both, denominator);
    let change = emit.mul(step.lr, ratio);
    (emit.sub(kept, change), vec![average, square])
}

/// With the variance rectified where `third` is above 0, and without one elsewhere.
fn radam(
    emit: &mut Emit,
    step: &Step<'_>,
    slots: (Value, Value),
    (betas, eps): ((f64, f64), f64),
    decoupled: bool,
) -> Updated {
    let (gradient, kept) = step.decayed(emit, decoupled);
    let (average, square) = moments(emit, slots, gradient, betas);
    let root = emit.sqrt(square);
    let denominator = emit.shift(root, eps);
    let rectified = emit.div(step.scalars.second, denominator);
    let zero = emit.scalar(0.0, average);
    let one = emit.scalar(1.0, average);
    let is_rectified = emit.greater(step.scalars.third, zero);
    let factor = emit.select(is_rectified, rectified, one);
    let rate = emit.div(step.lr, step.scalars.first);
    let scaled = emit.mul(rate, average);
    let change = emit.mul(scaled, factor);
    (emit.sub(kept, change), vec![average, square])
}

fn rms_prop(emit: &mut Emit, step: &Step<'_>) -> Updated {
    let OptimizerKind::RmsProp { alpha, eps, momentum, centered } = &step.update.kind else {
        return (step.parameter, step.slots.to_vec());
    };
    let mut slots = step.slots.iter().copied();
    let gradient = step.decayed_gradient(emit);
    let square = slots.next().map(|square| mean_square(emit, square, gradient, *alpha));
    let buffer = slots.next().filter(|_| *momentum > 0.0);
    let grad_avg = step.slots.last().filter(|_| *centered);
    let square = square.expect("the caller checked that there is a slot");
    let grad_avg = grad_avg.map(|average| moved(emit, *average, gradient, *alpha));
    let variance = grad_avg.map_or(square, |average| {
        let mean_squared = emit.mul(average, average);
        let difference = emit.sub(square, mean_squared);
        emit.relu(difference)
    });
    let root = emit.sqrt(variance);
    let denominator = emit.shift(root, *eps);
    let ratio = emit.div(gradient, denominator);
    let buffer = buffer.map(|buffer| {
        let old = emit.scale(buffer, *momentum);
        emit.add(old, ratio)
    });
    let change = emit.mul(step.lr, buffer.unwrap_or(ratio));
    let new_slots = [Some(square), buffer, grad_avg].into_iter().flatten().collect();
    (emit.sub(step.parameter, change), new_slots)
}
