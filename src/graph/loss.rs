//! Losses, written as nodes over the model's output and the target.
//!
//! A loss is kept as a sum and the weight of that sum. Their quotient is what PyTorch's `reduction="mean"` gives, also
//! when a batch is computed in several parts: sums and weights simply add up.

use super::emit::{Emit, Value};
use super::tensor::{Tensor, elements};
use crate::config::{LossKind, LossPlan};
use thiserror::Error;

/// The two parts of a loss, both scalars of the type of the model's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LossParts {
    /// Sum over the examples.
    pub sum: Value,
    /// What the sum is divided by.
    pub weight: Value,
}

/// Why a loss does not fit its operands.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LossError {
    /// Shapes that do not belong together.
    #[error(
        "loss `{loss}`: the model's output has shape {output:?}, the target {target:?}; expected {expected}"
    )]
    Shapes {
        /// The loss.
        loss: &'static str,
        /// Dimensions of the model's output.
        output: Vec<usize>,
        /// Dimensions of the target.
        target: Vec<usize>,
        /// What would fit.
        expected: String,
    },
    /// A number of class weights other than the number of classes.
    #[error(
        "`loss.class_weights` has {found} weights, expected one for each of the {classes} classes of the model's output"
    )]
    ClassWeights {
        /// Weights given.
        found: usize,
        /// Classes of the output.
        classes: usize,
    },
    /// An output that is not a loss.
    #[error(
        "`loss.kind = \"output\"` needs an output with one element, found shape {found:?}; choose another loss or output"
    )]
    NotScalar {
        /// Dimensions of the output.
        found: Vec<usize>,
    },
    /// A loss without its target.
    #[error("loss `{loss}` needs a target, found none; name one under `[data.targets]`")]
    NoTarget {
        /// The loss.
        loss: &'static str,
    },
}

/// Whether labels equal to `loss.ignore_index` occur and must not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ignored {
    /// None occurs; the graph is spared the masking.
    Never,
    /// Some may occur.
    Possible,
}

/// Appends the loss of `output` against `target` for a batch of `examples`.
///
/// # Errors
/// If shapes do not fit; see [`LossError`].
pub fn build(
    emit: &mut Emit,
    plan: &LossPlan,
    output: Value,
    target: Option<Value>,
    examples: usize,
    ignored: Ignored,
) -> Result<LossParts, LossError> {
    emit.set_scope("loss");
    let loss = name(plan.kind);
    if plan.kind == LossKind::Output {
        if elements(emit.dims(output)) != 1 {
            return Err(LossError::NotScalar { found: emit.dims(output).to_vec() });
        }
        let mean = emit.reshape(output, &[]);
        let weight = emit.scalar(examples as f64, output);
        return Ok(LossParts { sum: emit.mul(mean, weight), weight });
    }
    let target = target.ok_or(LossError::NoTarget { loss })?;
    let same_shape = |emit: &Emit| {
        let (output, target) = (emit.dims(output).to_vec(), emit.dims(target).to_vec());
        if output == target {
            return Ok(());
        }
        Err(LossError::Shapes { loss, output, target, expected: "equal shapes".to_owned() })
    };
    let per_element = match plan.kind {
        LossKind::CrossEntropy if emit.dtype(target).is_float() => {
            same_shape(emit)?;
            return cross_entropy_of_probabilities(emit, plan, output, target);
        }
        LossKind::CrossEntropy => return cross_entropy_of_labels(emit, plan, output, target, ignored),
        LossKind::Mse | LossKind::L1 | LossKind::BceWithLogits | LossKind::Output => {
            same_shape(emit)?;
            let target = emit.cast(target, emit.dtype(output));
            element_loss(emit, plan.kind, output, target)
        }
    };
    let count = elements(emit.dims(output));
    let weight = emit.scalar(count as f64, output);
    Ok(LossParts { sum: emit.sum_all(per_element), weight })
}

fn name(kind: LossKind) -> &'static str {
    match kind {
        LossKind::CrossEntropy => "cross_entropy",
        LossKind::Mse => "mse",
        LossKind::L1 => "l1",
        LossKind::BceWithLogits => "bce_with_logits",
        LossKind::Output => "output",
    }
}

/// (o - t)^2, |o - t|, or log(1 + e^o) - o t, which is the binary cross entropy of the logit `o`
fn element_loss(emit: &mut Emit, kind: LossKind, output: Value, target: Value) -> Value {
    if kind == LossKind::BceWithLogits {
        let softplus = emit.softplus(output);
        let product = emit.mul(output, target);
        return emit.sub(softplus, product);
    }
    let difference = emit.sub(output, target);
    if kind == LossKind::L1 { emit.abs(difference) } else { emit.mul(difference, difference) }
}

/// -sum q w log softmax(output), q = (1 - s) onehot(label) + s / classes, over sum w[label]
///
/// The definition of `torch.nn.CrossEntropyLoss` with label smoothing `s` and class weights `w`.
fn cross_entropy_of_labels(
    emit: &mut Emit,
    plan: &LossPlan,
    output: Value,
    labels: Value,
    ignored: Ignored,
) -> Result<LossParts, LossError> {
    let dims = emit.dims(output).to_vec();
    let classes = class_count(emit, plan, output)?;
    let mut expected = dims.clone();
    expected.remove(1);
    if emit.dims(labels) != expected {
        let found = emit.dims(labels).to_vec();
        let expected = format!("one label per example and position, {expected:?}");
        return Err(LossError::Shapes { loss: "cross_entropy", output: dims, target: found, expected });
    }
    let mut wide = dims.clone();
    if let Some(axis) = wide.get_mut(1) {
        *axis = 1;
    }
    let labels = emit.reshape(labels, &wide);
    let counted = (ignored == Ignored::Possible).then(|| {
        let marker = emit.constant(Tensor::from_i64(vec![], &[plan.ignore_index]));
        let out = emit.equal(labels, marker);
        emit.not(out)
    });
    let is_label = is_label(emit, labels, &dims);
    let chosen = counted.map_or(is_label, |counted| emit.and(is_label, counted));
    let weights = class_weights(emit, plan, output);
    let weight = match (weights, counted) {
        (None, None) => emit.scalar(elements(&wide) as f64, output),
        (None, Some(counted)) => {
            let ones = emit.cast(counted, emit.dtype(output));
            emit.sum_all(ones)
        }
        (Some(weights), _) => {
            let of_labels = emit.keep_where(chosen, weights);
            emit.sum_all(of_labels)
        }
    };
    let log_probabilities = emit.log_softmax(output, 1);
    let weighted = weights.map_or(log_probabilities, |weights| emit.mul(log_probabilities, weights));
    // Chosen by `Where`, not multiplied by 0 and 1: a class whose logit is -inf, as masks make it, would give NaN.
    let sharp = emit.keep_where(chosen, weighted);
    let mut sum = emit.sum_all(sharp);
    if plan.label_smoothing > 0.0 {
        let everywhere = counted.map_or(weighted, |counted| emit.keep_where(counted, weighted));
        let smooth = emit.sum_all(everywhere);
        let smooth = emit.scale(smooth, plan.label_smoothing / classes as f64);
        let sharp = emit.scale(sum, 1.0 - plan.label_smoothing);
        sum = emit.add(sharp, smooth);
    }
    Ok(LossParts { sum: emit.neg(sum), weight })
}

/// -sum w t' log softmax(output), t' = (1 - s) t + s / classes, over the number of examples and positions
fn cross_entropy_of_probabilities(
    emit: &mut Emit,
    plan: &LossPlan,
    output: Value,
    target: Value,
) -> Result<LossParts, LossError> {
    let classes = class_count(emit, plan, output)?;
    let mut coefficients = target;
    if plan.label_smoothing > 0.0 {
        let sharp = emit.scale(target, 1.0 - plan.label_smoothing);
        coefficients = emit.shift(sharp, plan.label_smoothing / classes as f64);
    }
    if let Some(weights) = class_weights(emit, plan, output) {
        coefficients = emit.mul(coefficients, weights);
    }
    let positions = elements(emit.dims(output)) / classes.max(1);
    let weight = emit.scalar(positions as f64, output);
    let log_probabilities = emit.log_softmax(output, 1);
    let product = emit.mul(log_probabilities, coefficients);
    let sum = emit.sum_all(product);
    Ok(LossParts { sum: emit.neg(sum), weight })
}

fn class_count(emit: &Emit, plan: &LossPlan, output: Value) -> Result<usize, LossError> {
    let dims = emit.dims(output);
    let [_, classes, ..] = dims else {
        let expected = "an output [batch, classes, ...]".to_owned();
        return Err(LossError::Shapes {
            loss: "cross_entropy",
            output: dims.to_vec(),
            target: vec![],
            expected,
        });
    };
    if !plan.class_weights.is_empty() && plan.class_weights.len() != *classes {
        return Err(LossError::ClassWeights { found: plan.class_weights.len(), classes: *classes });
    }
    Ok(*classes)
}

/// The class weights shaped to broadcast over `[batch, classes, ...]`, if there are any.
fn class_weights(emit: &mut Emit, plan: &LossPlan, output: Value) -> Option<Value> {
    if plan.class_weights.is_empty() {
        return None;
    }
    let mut dims = vec![1; emit.rank(output)];
    if let Some(axis) = dims.get_mut(1) {
        *axis = plan.class_weights.len();
    }
    let dtype = emit.dtype(output);
    Some(emit.constant(Tensor::from_f64(dtype, dims, &plan.class_weights)))
}

/// Truth values `[batch, classes, ...]`: whether a class is the label, which is given as `[batch, 1, ...]`.
fn is_label(emit: &mut Emit, labels: Value, dims: &[usize]) -> Value {
    let classes = dims.get(1).copied().unwrap_or(0);
    let mut order_dims = vec![1; dims.len()];
    if let Some(axis) = order_dims.get_mut(1) {
        *axis = classes;
    }
    let order: Vec<f64> = (0..classes).map(|class| class as f64).collect();
    let order = emit.constant(Tensor::from_f64(emit.dtype(labels), order_dims, &order));
    emit.equal(labels, order)
}
