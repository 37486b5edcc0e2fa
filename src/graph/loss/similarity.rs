//! Losses of pairs of vectors: cosine embedding and InfoNCE.

use super::super::emit::{Emit, Value};
use super::super::tensor::Tensor;
use super::elementwise::same_shape;
use super::{Counted, LossError, LossParts, Operands, is_label, reduce};

/// Added to squared lengths by `torch.nn.functional.cosine_embedding_loss`.
const COSINE_EPS: f64 = 1e-12;
/// Lower bound of a squared length: the square of the one that `torch.nn.functional.normalize` has.
const SQUARED_LENGTH_EPS: f64 = 1e-24;

/// 1 - cos(a, b) where the target is 1, max(0, cos(a, b) - margin) where it is -1; the vectors lie on axis 1
///
/// Without a second output the target is the second vector.
pub(super) fn cosine(emit: &mut Emit, operands: &Operands, margin: f64) -> Result<LossParts, LossError> {
    const LOSS: &str = "cosine";
    let output = operands.output;
    let (second, labels) = match (operands.other, operands.target) {
        (Some(other), labels) => (other, labels),
        (None, Some(target)) => (emit.cast(target, emit.dtype(output)), None),
        (None, None) => return Err(LossError::NoTarget { loss: LOSS }),
    };
    same_shape(emit, LOSS, output, second)?;
    let mut positions = emit.dims(output).to_vec();
    if positions.len() < 2 {
        let (output, target) = (positions, emit.dims(second).to_vec());
        let expected = "outputs [batch, features, ...]".to_owned();
        return Err(LossError::Shapes { loss: LOSS, output, target, expected });
    }
    positions.remove(1);
    let mut dot = |a: Value, b: Value| {
        let product = emit.mul(a, b);
        let sum = emit.reduce_sum(product, &[1]);
        emit.reshape(sum, &positions)
    };
    let (product, first, second) = (dot(output, second), dot(output, output), dot(second, second));
    let (first, second) = (emit.shift(first, COSINE_EPS), emit.shift(second, COSINE_EPS));
    let squares = emit.mul(first, second);
    let lengths = emit.sqrt(squares);
    let cosine = emit.div(product, lengths);
    let opposite = emit.neg(cosine);
    let mut values = emit.shift(opposite, 1.0);
    if let Some(labels) = labels {
        if emit.dims(labels) != positions {
            let (output, target) = (emit.dims(output).to_vec(), emit.dims(labels).to_vec());
            let expected = format!("1 or -1 per example and position, {positions:?}");
            return Err(LossError::Shapes { loss: LOSS, output, target, expected });
        }
        let excess = emit.shift(cosine, -margin);
        let unlike = emit.relu(excess);
        let zero = emit.scalar(0.0, labels);
        let is_alike = emit.greater(labels, zero);
        values = emit.select(is_alike, values, unlike);
    }
    let counted = Counted::new(emit, LOSS, operands, &positions)?;
    Ok(reduce(emit, values, counted.as_ref()))
}

/// -log softmax(cos(a_i, b_j) / temperature)_ii over the batch; symmetric: half of it, and half of it with a and b exchanged
///
/// A. van den Oord and others, "Representation Learning with Contrastive Predictive Coding", 2018.
pub(super) fn contrastive(
    emit: &mut Emit,
    operands: &Operands,
    temperature: f64,
    symmetric: bool,
) -> Result<LossParts, LossError> {
    const LOSS: &str = "contrastive";
    let first = operands.output;
    let second = operands.other.ok_or(LossError::NoTarget { loss: LOSS })?;
    same_shape(emit, LOSS, first, second)?;
    let &[examples, _] = emit.dims(first) else {
        let (output, target) = (emit.dims(first).to_vec(), emit.dims(second).to_vec());
        let expected = "two outputs [batch, features]".to_owned();
        return Err(LossError::Shapes { loss: LOSS, output, target, expected });
    };
    let (first, second) = (normalized(emit, first), normalized(emit, second));
    let cosines = emit.gemm(first, false, second, true);
    let logits = emit.scale(cosines, 1.0 / temperature);
    let order: Vec<i64> = (0..examples as i64).collect();
    let own = emit.constant(Tensor::from_i64(vec![examples, 1], &order));
    let is_own = is_label(emit, own, &[examples, examples]);
    let mut directions = vec![logits];
    if symmetric {
        directions.push(emit.transpose_last(logits));
    }
    let share = 1.0 / directions.len() as f64;
    let mut sum: Option<Value> = None;
    for logits in directions {
        let log_probabilities = emit.log_softmax(logits, 1);
        let chosen = emit.keep_where(is_own, log_probabilities);
        let total = emit.sum_all(chosen);
        let part = emit.scale(total, -share);
        sum = Some(sum.map_or(part, |sum| emit.add(sum, part)));
    }
    let weight = emit.scalar(examples as f64, logits);
    Ok(LossParts { sum: sum.unwrap_or(weight), weight })
}

/// x / max(|x|, 1e-12) for each row
fn normalized(emit: &mut Emit, x: Value) -> Value {
    let square = emit.mul(x, x);
    let sum = emit.reduce_sum(square, &[1]);
    let least = emit.scalar(SQUARED_LENGTH_EPS, sum);
    let is_long = emit.greater(sum, least);
    let bounded = emit.select(is_long, sum, least);
    let length = emit.sqrt(bounded);
    emit.div(x, length)
}
