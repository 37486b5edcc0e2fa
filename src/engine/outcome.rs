//! What goes into a step besides data, and what comes out of it.

use ndarray::ArrayViewD;

/// How the gradients of a step are bounded before they are applied.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Clipping {
    /// Upper bound of the global norm.
    pub norm: Option<f64>,
    /// Upper bound of each element's absolute value.
    pub value: Option<f64>,
}

/// The outcome of a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepOutcome {
    /// Mean loss of the batch before the update.
    pub loss: f32,
    /// What the loss sum was divided by.
    pub weight: f64,
    /// Global L2 norm of the mean gradient, before clipping.
    pub gradient_norm: f64,
    /// Whether the update was applied; it is not if loss or norm are not finite.
    pub applied: bool,
}

impl StepOutcome {
    /// Whether nothing of the batch counted, as with ignored labels only: there was no loss to take a step for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.weight == 0.0
    }
}

/// The outcome of evaluating one batch.
#[derive(Debug)]
pub struct Evaluated<'a> {
    /// Sum of the loss.
    pub loss_sum: f32,
    /// Weight of that sum.
    pub weight: f32,
    /// The predictions, the examples on axis 0.
    pub predictions: ArrayViewD<'a, f32>,
}
