//! Losses of classes, which lie on axis 1 of the output: cross entropy and negative log likelihood.

use super::super::emit::{Emit, Value};
use super::super::tensor::{Tensor, elements};
use super::elementwise::{positions, same_shape};
use super::{Counted, Ignored, LossError, LossParts, MAX_CLASSES, Operands, is_label};
use crate::config::{LossKind, LossPlan};

/// Appends the loss of an output `[batch, classes, ...]` against labels `[batch, ...]` or probabilities.
pub(super) fn build(emit: &mut Emit, plan: &LossPlan, operands: &Operands) -> Result<LossParts, LossError> {
    let loss = plan.kind.name();
    let target = operands.target.ok_or(LossError::NoTarget { loss })?;
    let dims = emit.dims(operands.output).to_vec();
    let classes = class_count(plan, &dims)?;
    let of_probabilities = plan.kind == LossKind::CrossEntropy && emit.dtype(target).is_float();
    if of_probabilities {
        same_shape(emit, loss, operands.output, target)?;
    }
    let mut wide = dims.clone();
    if let Some(axis) = wide.get_mut(1) {
        *axis = 1;
    }
    let counted = counted(emit, loss, operands, &dims, &wide)?;
    let log_probabilities = match plan.kind {
        LossKind::Nll => operands.output,
        _ => emit.log_softmax(operands.output, 1),
    };
    let case = Case { plan, dims, wide, classes, log_probabilities, counted };
    if of_probabilities {
        Ok(case.of_probabilities(emit, target))
    } else {
        case.of_labels(emit, target, operands.ignored)
    }
}

/// The weights of positions, which lie on all axes but the second, as `[batch, 1, ...]`.
fn counted(
    emit: &mut Emit,
    loss: &'static str,
    operands: &Operands,
    dims: &[usize],
    wide: &[usize],
) -> Result<Option<Counted>, LossError> {
    let mut positions = dims.to_vec();
    positions.remove(1);
    let Some(counted) = Counted::new(emit, loss, operands, &positions)? else { return Ok(None) };
    let mut widen = |value: Value| {
        let full = emit.expand(value, &positions);
        emit.reshape(full, wide)
    };
    Ok(Some(Counted { factors: widen(counted.factors), kept: counted.kept.map(widen) }))
}

/// A loss of classes whose operands fit.
struct Case<'a> {
    plan: &'a LossPlan,
    /// Of the output: `[batch, classes, ...]`.
    dims: Vec<usize>,
    /// `[batch, 1, ...]`.
    wide: Vec<usize>,
    classes: usize,
    log_probabilities: Value,
    /// Shaped like `wide`.
    counted: Option<Counted>,
}

impl Case<'_> {
    /// -sum q w log p, q = (1 - s) onehot(label) + s / classes, over sum w[label]
    ///
    /// The definition of `torch.nn.CrossEntropyLoss` with label smoothing `s` and class weights `w`, and without
    /// smoothing that of `torch.nn.NLLLoss`.
    fn of_labels(self, emit: &mut Emit, labels: Value, ignored: Ignored) -> Result<LossParts, LossError> {
        let mut expected = self.dims.clone();
        expected.remove(1);
        if emit.dims(labels) != expected {
            let found = emit.dims(labels).to_vec();
            let expected = format!("one label per example and position, {expected:?}");
            let loss = self.plan.kind.name();
            return Err(LossError::Shapes { loss, output: self.dims, target: found, expected });
        }
        let labels = emit.reshape(labels, &self.wide);
        let is_counted = (ignored == Ignored::Possible).then(|| {
            let marker = emit.constant(Tensor::from_i64(vec![], &[self.plan.ignore_index]));
            let out = emit.equal(labels, marker);
            emit.not(out)
        });
        let kept = [is_counted, self.counted.as_ref().and_then(|counted| counted.kept)];
        let kept = kept.into_iter().flatten().reduce(|a, b| emit.and(a, b));
        let is_label = is_label(emit, labels, &self.dims);
        let chosen = kept.map_or(is_label, |kept| emit.and(is_label, kept));
        let weights = self.class_weights(emit);
        let weighted =
            weights.map_or(self.log_probabilities, |weights| emit.mul(self.log_probabilities, weights));
        // Chosen by `Where`, not multiplied by 0 and 1: a class whose logit is -inf, as masks make it, would give NaN.
        let sharp = emit.keep_where(chosen, weighted);
        let mut sum = self.sum(emit, sharp);
        if self.plan.label_smoothing > 0.0 {
            let everywhere = kept.map_or(weighted, |kept| emit.keep_where(kept, weighted));
            let smooth = self.sum(emit, everywhere);
            let smooth = emit.scale(smooth, self.plan.label_smoothing / self.classes as f64);
            let sharp = emit.scale(sum, 1.0 - self.plan.label_smoothing);
            sum = emit.add(sharp, smooth);
        }
        let weight = match (weights, kept) {
            (None, None) => self.total(emit),
            (None, Some(kept)) => {
                let ones = emit.cast(kept, emit.dtype(self.log_probabilities));
                self.sum(emit, ones)
            }
            (Some(weights), _) => {
                let of_labels = emit.keep_where(chosen, weights);
                self.sum(emit, of_labels)
            }
        };
        Ok(LossParts { sum: emit.neg(sum), weight })
    }

    /// -sum w t' log softmax(output), t' = (1 - s) t + s / classes, over the number of examples and positions
    fn of_probabilities(self, emit: &mut Emit, target: Value) -> LossParts {
        let mut coefficients = target;
        if self.plan.label_smoothing > 0.0 {
            let sharp = emit.scale(target, 1.0 - self.plan.label_smoothing);
            coefficients = emit.shift(sharp, self.plan.label_smoothing / self.classes as f64);
        }
        if let Some(weights) = self.class_weights(emit) {
            coefficients = emit.mul(coefficients, weights);
        }
        let mut product = emit.mul(self.log_probabilities, coefficients);
        if let Some(kept) = self.counted.as_ref().and_then(|counted| counted.kept) {
            product = emit.keep_where(kept, product);
        }
        let sum = self.sum(emit, product);
        LossParts { sum: emit.neg(sum), weight: self.total(emit) }
    }

    /// The sum of values `[batch, classes or 1, ...]`, each times the weight of its position.
    fn sum(&self, emit: &mut Emit, values: Value) -> Value {
        let values = self.counted.as_ref().map_or(values, |counted| emit.mul(values, counted.factors));
        emit.sum_all(values)
    }

    /// What all positions count together.
    fn total(&self, emit: &mut Emit) -> Value {
        match &self.counted {
            Some(counted) => emit.sum_all(counted.factors),
            None => emit.scalar(positions(&self.dims) as f64, self.log_probabilities),
        }
    }

    /// The class weights shaped to broadcast over `[batch, classes, ...]`, if there are any.
    fn class_weights(&self, emit: &mut Emit) -> Option<Value> {
        if self.plan.class_weights.is_empty() {
            return None;
        }
        let mut dims = vec![1; self.dims.len()];
        if let Some(axis) = dims.get_mut(1) {
            *axis = self.plan.class_weights.len();
        }
        debug_assert_eq!(elements(&dims), self.classes);
        let dtype = emit.dtype(self.log_probabilities);
        Some(emit.constant(Tensor::from_f64(dtype, dims, &self.plan.class_weights)))
    }
}

fn class_count(plan: &LossPlan, dims: &[usize]) -> Result<usize, LossError> {
    let [_, classes, ..] = dims else {
        let (loss, output, target) = (plan.kind.name(), dims.to_vec(), vec![]);
        let expected = "an output [batch, classes, ...]".to_owned();
        return Err(LossError::Shapes { loss, output, target, expected });
    };
    if *classes > MAX_CLASSES {
        let (loss, found) = (plan.kind.name(), *classes);
        return Err(LossError::Classes { loss, found });
    }
    if !plan.class_weights.is_empty() && plan.class_weights.len() != *classes {
        let (key, found) = ("class_weights", plan.class_weights.len());
        return Err(LossError::ClassWeights { key, found, classes: *classes });
    }
    Ok(*classes)
}
