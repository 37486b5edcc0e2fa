//! Losses that compare each element of the output with one of the target.

use super::super::emit::{Emit, Value};
use super::super::tensor::{Tensor, elements};
use super::{Counted, LossError, LossParts, Operands, reduce};
use crate::config::{LossKind, LossPlan};

/// Lower bound of a logarithm in binary cross entropy, as in PyTorch.
const MIN_LOG: f64 = -100.0;

/// Appends the loss of output and target of one shape.
pub(super) fn build(emit: &mut Emit, plan: &LossPlan, operands: &Operands) -> Result<LossParts, LossError> {
    let loss = plan.kind.name();
    let output = operands.output;
    let target = operands.target.ok_or(LossError::NoTarget { loss })?;
    same_shape(emit, loss, output, target)?;
    let target = emit.cast(target, emit.dtype(output));
    let positions = emit.dims(output).to_vec();
    let counted = Counted::new(emit, loss, operands, &positions)?;
    let values = match &plan.kind {
        LossKind::L1 => {
            let difference = emit.sub(output, target);
            emit.abs(difference)
        }
        LossKind::Huber { delta } => huber(emit, output, target, *delta),
        LossKind::SmoothL1 { beta } => {
            let huber = huber(emit, output, target, *beta);
            emit.scale(huber, 1.0 / beta)
        }
        LossKind::Bce => bce(emit, output, target),
        LossKind::BceWithLogits => bce_with_logits(emit, output, target, &plan.pos_weight)?,
        LossKind::KlDiv { log_target } => kl_div(emit, output, target, *log_target),
        _ => {
            let difference = emit.sub(output, target);
            emit.mul(difference, difference)
        }
    };
    Ok(reduce(emit, values, counted.as_ref()))
}

pub(super) fn same_shape(
    emit: &Emit,
    loss: &'static str,
    output: Value,
    target: Value,
) -> Result<(), LossError> {
    let (output, target) = (emit.dims(output).to_vec(), emit.dims(target).to_vec());
    if output == target {
        return Ok(());
    }
    Err(LossError::Shapes { loss, output, target, expected: "equal shapes".to_owned() })
}

/// d^2 / 2 where |d| <= delta, delta (|d| - delta / 2) elsewhere, d = o - t
fn huber(emit: &mut Emit, output: Value, target: Value, delta: f64) -> Value {
    let difference = emit.sub(output, target);
    let distance = emit.abs(difference);
    let bound = emit.scalar(delta, distance);
    let is_near = emit.less_or_equal(distance, bound);
    let square = emit.mul(difference, difference);
    let near = emit.scale(square, 0.5);
    let beyond = emit.shift(distance, -0.5 * delta);
    let far = emit.scale(beyond, delta);
    emit.select(is_near, near, far)
}

/// -(t max(log o, -100) + (1 - t) max(log(1 - o), -100))
///
/// At o = 0 and o = 1 exactly, where the bound holds, the gradient of the bounded part is 0; PyTorch has up to 1e12 there.
fn bce(emit: &mut Emit, output: Value, target: Value) -> Value {
    let one = emit.scalar(1.0, output);
    let yes = bounded_log(emit, output);
    let opposite = emit.sub(one, output);
    let no = bounded_log(emit, opposite);
    let unlikely = emit.sub(one, target);
    let yes = emit.mul(target, yes);
    let no = emit.mul(unlikely, no);
    let both = emit.add(yes, no);
    emit.neg(both)
}

/// max(log x, -100), with gradient 0 where x is not above 0
fn bounded_log(emit: &mut Emit, x: Value) -> Value {
    let (zero, one) = (emit.scalar(0.0, x), emit.scalar(1.0, x));
    let bound = emit.scalar(MIN_LOG, x);
    let is_positive = emit.greater(x, zero);
    // The logarithm of 0 must not be computed: 0 times its gradient would be no number.
    let safe = emit.select(is_positive, x, one);
    let log = emit.log(safe);
    let is_within = emit.greater(log, bound);
    let is_within = emit.and(is_positive, is_within);
    emit.select(is_within, log, bound)
}

/// log(1 + e^o) - o t, which is the binary cross entropy of the logit `o`; with a weight w of positive answers
/// (1 - t) o + (1 + (w - 1) t) log(1 + e^-o)
fn bce_with_logits(
    emit: &mut Emit,
    output: Value,
    target: Value,
    pos_weight: &[f64],
) -> Result<Value, LossError> {
    if pos_weight.is_empty() {
        let softplus = emit.softplus(output);
        let product = emit.mul(output, target);
        return Ok(emit.sub(softplus, product));
    }
    let classes = emit.dims(output).last().copied().unwrap_or(1);
    if pos_weight.len() != 1 && pos_weight.len() != classes {
        return Err(LossError::ClassWeights { key: "pos_weight", found: pos_weight.len(), classes });
    }
    let less_one: Vec<f64> = pos_weight.iter().map(|weight| weight - 1.0).collect();
    let less_one = emit.constant(Tensor::from_f64(emit.dtype(output), vec![less_one.len()], &less_one));
    let extra = emit.mul(target, less_one);
    let factor = emit.shift(extra, 1.0);
    let opposite = emit.neg(output);
    let softplus = emit.softplus(opposite);
    let positive = emit.mul(factor, softplus);
    let product = emit.mul(output, target);
    let linear = emit.sub(output, product);
    Ok(emit.add(linear, positive))
}

/// t (log t - o), 0 where t is 0; of logarithms e^t (t - o)
fn kl_div(emit: &mut Emit, output: Value, target: Value, log_target: bool) -> Value {
    if log_target {
        let probability = emit.exp(target);
        let difference = emit.sub(target, output);
        return emit.mul(probability, difference);
    }
    let (zero, one) = (emit.scalar(0.0, target), emit.scalar(1.0, target));
    let is_positive = emit.greater(target, zero);
    let safe = emit.select(is_positive, target, one);
    let log = emit.log(safe);
    let entropy = emit.mul(target, log);
    let cross = emit.mul(target, output);
    emit.sub(entropy, cross)
}

/// The number of positions of an output with classes on axis 1.
pub(super) fn positions(dims: &[usize]) -> usize {
    elements(dims) / dims.get(1).copied().unwrap_or(1).max(1)
}
