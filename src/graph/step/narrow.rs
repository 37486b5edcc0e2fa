//! A training step with 16-bit floats: what of the model computes with them, and the scale of the loss.

use super::{LOSS_SCALE, StepError, StepSpec, loss_outputs};
use crate::config::Reduction;
use crate::graph::autodiff::compose;
use crate::graph::emit::{Emit, Value};
use crate::graph::loss::LossParts;
use crate::graph::precision::{Assignment, autocast};
use crate::graph::tensor::{Dtype, ValueType};

/// Lets the operators that may compute with 16-bit floats. Those that are formulas over others are written out before,
/// so that each part of the formula is treated as what it is.
pub(super) fn narrow(
    spec: &StepSpec<'_>,
    emit: &mut Emit,
    low: Dtype,
    parameters: &[Value],
) -> Result<Assignment, StepError> {
    let ends = loss_outputs(spec.graph, spec.loss)?;
    let ends: Vec<Value> = ends.iter().filter_map(|name| emit.find(name)).collect();
    // What can not be written out is reported when gradients are taken.
    _ = compose(emit, &ends, parameters);
    Ok(autocast(emit, low, parameters))
}

/// The factors that keep gradients in the range of float16.
pub(super) struct Scaling {
    /// The loss scale, which is fed.
    pub(super) scale: Value,
    /// What the sum of the loss is multiplied with before gradients are taken: the scale over the weight, because it is
    /// the mean loss whose gradients a scale is made for.
    pub(super) factor: Value,
    /// What the gradients are multiplied with, in 32 bits.
    pub(super) inverse: Value,
}

impl Scaling {
    pub(super) fn of(emit: &mut Emit, parts: &LossParts, reduction: Reduction) -> Self {
        let scale = emit.declare(LOSS_SCALE, ValueType::new(Dtype::F32, vec![]));
        let one = emit.scalar(1.0, scale);
        let divisor = match reduction {
            Reduction::Sum => one,
            Reduction::Mean | Reduction::BatchMean => {
                // Nothing of the part counts: its gradient is 0 with any factor.
                let zero = emit.scalar(0.0, parts.weight);
                let counts = emit.greater(parts.weight, zero);
                emit.select(counts, parts.weight, one)
            }
        };
        let (factor, inverse) = (emit.div(scale, divisor), emit.div(divisor, scale));
        Self { scale, factor, inverse }
    }
}
