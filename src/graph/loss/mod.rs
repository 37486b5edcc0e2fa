//! Losses, written as nodes over the model's outputs and the targets.
//!
//! A loss is kept as a sum and the weight of that sum. Their quotient is what PyTorch's `reduction="mean"` gives, also
//! when a batch is computed in several parts: sums and weights simply add up.

mod elementwise;
mod labels;
mod similarity;

use super::emit::{Emit, Value};
use super::tensor::{Tensor, elements};
use crate::config::{LossKind, LossPlan, Reduction};
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
        "`loss.{key}` has {found} weights, expected one for each of the {classes} classes of the model's output"
    )]
    ClassWeights {
        /// The setting.
        key: &'static str,
        /// Weights given.
        found: usize,
        /// Classes of the output.
        classes: usize,
    },
    /// More classes than a table of them is made for.
    #[error(
        "loss `{loss}`: the model's output has {found} classes, expected at most {MAX_CLASSES}; if another axis counts them, set \
         `loss.class_axis`"
    )]
    Classes {
        /// The loss.
        loss: &'static str,
        /// Classes of the output.
        found: usize,
    },
    /// An axis that the output does not have, or that of the examples.
    #[error(
        "`loss.class_axis` is {axis}, but the model's output has shape {output:?}; expected one of its axes but the first"
    )]
    ClassAxis {
        /// The setting.
        axis: i64,
        /// Dimensions of the model's output.
        output: Vec<usize>,
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
    /// Weights or a mask that do not lie along the output's leading axes.
    #[error(
        "loss `{loss}`: `{key}` has shape {found:?}, expected the leading axes of the positions {positions:?} of the model's \
         output: one value per example, or per example and position"
    )]
    Weights {
        /// The loss.
        loss: &'static str,
        /// `sample_weights` or `mask`.
        key: &'static str,
        /// Dimensions of the array.
        found: Vec<usize>,
        /// Dimensions of the output's positions.
        positions: Vec<usize>,
    },
}

/// Most classes: a table of their numbers is part of the graph, and a file of a few bytes can ask for any number.
pub const MAX_CLASSES: usize = 1 << 24;

/// Whether labels equal to `loss.ignore_index` occur and must not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ignored {
    /// None occurs; the graph is spared the masking.
    Never,
    /// Some may occur.
    Possible,
}

/// What a loss is computed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operands {
    /// The model's output.
    pub output: Value,
    /// A second output, for losses of two.
    pub other: Option<Value>,
    /// The target.
    pub target: Option<Value>,
    /// Weights: one per example, or per example and position.
    pub sample_weights: Option<Value>,
    /// 0 where a position does not count.
    pub mask: Option<Value>,
    /// Whether labels that do not count occur.
    pub ignored: Ignored,
}

impl Operands {
    /// One output against one target.
    #[must_use]
    pub fn new(output: Value, target: Option<Value>) -> Self {
        let (other, sample_weights, mask) = (None, None, None);
        Self { output, other, target, sample_weights, mask, ignored: Ignored::Never }
    }
}

/// Appends a loss for a batch of `examples`, without its further losses.
///
/// # Errors
/// If shapes do not fit; see [`LossError`].
pub fn build(
    emit: &mut Emit,
    plan: &LossPlan,
    operands: &Operands,
    examples: usize,
) -> Result<LossParts, LossError> {
    emit.set_scope("loss");
    let parts = match &plan.kind {
        LossKind::Output => of_output(emit, operands.output, examples)?,
        LossKind::Contrastive { temperature, symmetric, .. } => {
            similarity::contrastive(emit, operands, *temperature, *symmetric)?
        }
        LossKind::Cosine { margin, .. } => similarity::cosine(emit, operands, *margin)?,
        LossKind::CrossEntropy | LossKind::Nll => labels::build(emit, plan, operands)?,
        _ => elementwise::build(emit, plan, operands)?,
    };
    let weight = match plan.reduction {
        Reduction::Mean => return Ok(parts),
        Reduction::Sum => emit.scalar(1.0, parts.sum),
        Reduction::BatchMean => emit.scalar(examples as f64, parts.sum),
    };
    Ok(LossParts { weight, ..parts })
}

/// The weighted sum of several losses, as the sum and weight of one: the weight is that of the first.
///
/// Each loss is the mean over its own weight. Over a batch in several parts that is exact where the weights of all losses
/// are in the same proportion in every part, as they are unless ignored labels or weights of examples decide them.
pub fn combine(emit: &mut Emit, terms: &[(f64, LossParts)]) -> Option<LossParts> {
    let ((factor, first), further) = terms.split_first()?;
    let mut sum = if *factor == 1.0 { first.sum } else { emit.scale(first.sum, *factor) };
    for (factor, parts) in further {
        // A loss of which nothing counts adds nothing.
        let (zero, one) = (emit.scalar(0.0, parts.weight), emit.scalar(1.0, parts.weight));
        let counts = emit.greater(parts.weight, zero);
        let divisor = emit.select(counts, parts.weight, one);
        let mean = emit.div(parts.sum, divisor);
        let share = emit.mul(mean, first.weight);
        let share = emit.scale(share, *factor);
        sum = emit.add(sum, share);
    }
    Some(LossParts { sum, weight: first.weight })
}

fn of_output(emit: &mut Emit, output: Value, examples: usize) -> Result<LossParts, LossError> {
    if elements(emit.dims(output)) != 1 {
        return Err(LossError::NotScalar { found: emit.dims(output).to_vec() });
    }
    let mean = emit.reshape(output, &[]);
    let weight = emit.scalar(examples as f64, output);
    Ok(LossParts { sum: emit.mul(mean, weight), weight })
}

/// What each position counts: the product of the weights of its example and of the mask.
struct Counted {
    /// Factors that broadcast over the positions.
    factors: Value,
    /// Whether a position counts at all, broadcasting alike; without a mask all do.
    kept: Option<Value>,
}

impl Counted {
    /// The weights for positions of these dimensions, shaped to broadcast over them; `None` where all count alike.
    fn new(
        emit: &mut Emit,
        loss: &'static str,
        operands: &Operands,
        positions: &[usize],
    ) -> Result<Option<Self>, LossError> {
        let dtype = emit.dtype(operands.output);
        let mut factors: Option<Value> = None;
        let mut kept = None;
        for (key, array) in [("sample_weights", operands.sample_weights), ("mask", operands.mask)] {
            let Some(array) = array else { continue };
            let found = emit.dims(array).to_vec();
            if !positions.starts_with(&found) {
                return Err(LossError::Weights { loss, key, found, positions: positions.to_vec() });
            }
            let mut wide = found;
            wide.resize(positions.len(), 1);
            let array = emit.reshape(array, &wide);
            let mut factor = emit.cast(array, dtype);
            if key == "mask" {
                let zero = emit.scalar(0.0, factor);
                let is_out = emit.equal(factor, zero);
                let is_in = emit.not(is_out);
                factor = emit.cast(is_in, dtype);
                kept = Some(is_in);
            }
            factors = Some(match factors {
                Some(product) => emit.mul(product, factor),
                None => factor,
            });
        }
        Ok(factors.map(|factors| Self { factors, kept }))
    }

    /// Sum and weight of the values at positions of these dimensions.
    fn reduce(&self, emit: &mut Emit, values: Value) -> LossParts {
        let dims = emit.dims(values).to_vec();
        // Left out rather than multiplied by 0: what stands at a position that does not count may be no number.
        let values = self.kept.map_or(values, |kept| emit.keep_where(kept, values));
        let weighted = emit.mul(values, self.factors);
        let sum = emit.sum_all(weighted);
        let total = emit.sum_all(self.factors);
        let share = elements(&dims) as f64 / elements(emit.dims(self.factors)).max(1) as f64;
        LossParts { sum, weight: emit.scale(total, share) }
    }
}

/// Sum and weight of values, each of which counts once or as `counted` says.
fn reduce(emit: &mut Emit, values: Value, counted: Option<&Counted>) -> LossParts {
    match counted {
        Some(counted) => counted.reduce(emit, values),
        None => {
            let weight = emit.scalar(elements(emit.dims(values)) as f64, values);
            LossParts { sum: emit.sum_all(values), weight }
        }
    }
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
