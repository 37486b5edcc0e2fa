//! The optimizer on the CPU: from gradients to new parameters and slots, the half of a step that can not fail.
//!
//! Belongs here: PyTorch's update formulas as fused loops over plain `f32` slices, the gradient norm and clipping, and
//! which parameters are decayed. Does not belong here: where the slices come from (ONNX Runtime tensors, checkpoints),
//! the learning rate of a step (`schedule`), and the optimizer as an ONNX graph for other devices.
//!
//! A step is made in two phases. First the caller lists the tensors as [`Update`]s, which checks their lengths and may
//! fail. Then [`Optimizer::apply`] works through the list: it can not fail and allocates nothing of its own. Every
//! element is computed on its own by the same sequence of IEEE 754 operations, so the bits of the result depend neither
//! on the number of threads, nor on the instruction set, nor on whether the update was in place.

mod kernel;
mod norm;
mod pattern;
mod update;

#[cfg(test)]
mod tests;

pub use norm::{clip_factor, gradient_norm};
pub use pattern::matches_pattern;
pub use update::{Decay, LengthMismatch, MAX_SLOTS, Source, Update};

use crate::config::{OptimizerKind, OptimizerPlan};
use kernel::{Adam, Gradient, Kernel, Sgd};

/// What changes from step to step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepScalars {
    /// Number of this update, from 1; Adam's bias corrections depend on it.
    pub step: u64,
    /// Learning rate of this update.
    pub lr: f64,
    /// Factor of every gradient, applied first: 1 / denominator of the loss, times [`clip_factor`].
    pub grad_scale: f32,
    /// Bound of the absolute value of each gradient element, applied after `grad_scale`; not negative.
    pub clip_value: Option<f32>,
}

/// An optimizer with its settings. It holds no tensors: parameters and slots belong to the caller.
#[derive(Debug, Clone, PartialEq)]
pub struct Optimizer {
    plan: OptimizerPlan,
}

impl Optimizer {
    /// The optimizer that `plan` describes.
    #[must_use]
    pub fn new(plan: &OptimizerPlan) -> Self {
        Self { plan: plan.clone() }
    }

    /// Names of the state kept per parameter, as PyTorch calls it: each slot has the length of its parameter and
    /// starts at zero.
    #[must_use]
    pub fn slots(&self) -> &'static [&'static str] {
        match self.plan.kind {
            OptimizerKind::Sgd { momentum: 0.0, .. } => &[],
            OptimizerKind::Sgd { .. } => &["momentum_buffer"],
            OptimizerKind::Adam { .. } | OptimizerKind::AdamW { .. } => &["exp_avg", "exp_avg_sq"],
        }
    }

    /// Whether the parameter called `name` is decayed: it is unless one of the plan's `no_decay` patterns matches.
    #[must_use]
    pub fn decay(&self, name: &str) -> Decay {
        if self.plan.no_decay.iter().any(|pattern| matches_pattern(pattern, name)) {
            Decay::Skip
        } else {
            Decay::Apply
        }
    }

    /// An update that overwrites the state it reads. `slots` are in the order of [`Self::slots`]; those beyond its
    /// number are empty slices.
    ///
    /// # Errors
    /// If `gradient` or a slot has not the length of `parameter`.
    pub fn update_in_place<'a>(
        &self,
        parameter: &'a mut [f32],
        gradient: &'a [f32],
        slots: [&'a mut [f32]; MAX_SLOTS],
        decay: Decay,
    ) -> Result<Update<'a>, LengthMismatch> {
        Update::checked(None, parameter, gradient, slots, decay, self.slots())
    }

    /// An update that leaves the state it reads, `source`, as it is and writes to `parameter` and `slots`, whose old
    /// content does not matter. It gives the bits of [`Self::update_in_place`].
    ///
    /// # Errors
    /// If `gradient`, a slot or a part of `source` has not the length of `parameter`.
    pub fn update_into<'a>(
        &self,
        source: Source<'a>,
        parameter: &'a mut [f32],
        gradient: &'a [f32],
        slots: [&'a mut [f32]; MAX_SLOTS],
        decay: Decay,
    ) -> Result<Update<'a>, LengthMismatch> {
        Update::checked(Some(source), parameter, gradient, slots, decay, self.slots())
    }

    /// Updates all parameters and slots of a model in one parallel region of the current rayon pool.
    ///
    /// Formulas and order of operations are those of `torch.optim`'s single-tensor implementations: factors that are
    /// the same for all elements are computed in `f64` and rounded once to `f32`, all else is `f32`. A non-finite
    /// gradient makes the elements it belongs to non-finite; refusing such a step is the caller's decision, before
    /// this call.
    pub fn apply(&self, updates: &mut [Update<'_>], scalars: &StepScalars) {
        let decayed = self.kernel(scalars, self.plan.weight_decay);
        let undecayed = self.kernel(scalars, 0.0);
        update::apply_all(updates, &|decay| match decay {
            Decay::Apply => &decayed,
            Decay::Skip => &undecayed,
        });
    }

    /// The formula with all factors of this step.
    fn kernel(&self, scalars: &StepScalars, weight_decay: f64) -> Kernel {
        let gradient =
            Gradient { scale: scalars.grad_scale, limit: scalars.clip_value.unwrap_or(f32::INFINITY) };
        match self.plan.kind {
            OptimizerKind::Sgd { momentum, dampening, nesterov } => {
                // PyTorch takes the first gradient as the first momentum buffer, undampened.
                let dampening = if scalars.step <= 1 { 0.0 } else { dampening };
                let sgd = Sgd {
                    gradient,
                    weight_decay: weight_decay as f32,
                    momentum: momentum as f32,
                    fresh: (1.0 - dampening) as f32,
                    nesterov,
                    minus_lr: -scalars.lr as f32,
                };
                if momentum == 0.0 { Kernel::Sgd(sgd) } else { Kernel::SgdMomentum(sgd) }
            }
            OptimizerKind::Adam { betas, eps } => {
                Kernel::Adam(adam(gradient, scalars, betas, eps, weight_decay, 1.0))
            }
            OptimizerKind::AdamW { betas, eps } => {
                Kernel::Adam(adam(gradient, scalars, betas, eps, 0.0, 1.0 - scalars.lr * weight_decay))
            }
        }
    }
}

/// The factors of Adam (`weight_decay` added to the gradient) and AdamW (parameters multiplied by `keep` first).
fn adam(
    gradient: Gradient,
    scalars: &StepScalars,
    (beta1, beta2): (f64, f64),
    eps: f64,
    weight_decay: f64,
    keep: f64,
) -> Adam {
    let step = scalars.step as f64;
    let bias_correction1 = 1.0 - beta1.powf(step);
    let bias_correction2 = 1.0 - beta2.powf(step);
    Adam {
        gradient,
        weight_decay: weight_decay as f32,
        keep: keep as f32,
        fresh1: (1.0 - beta1) as f32,
        beta2: beta2 as f32,
        fresh2: (1.0 - beta2) as f32,
        bias_correction2_sqrt: bias_correction2.sqrt() as f32,
        eps: eps as f32,
        minus_step_size: -(scalars.lr / bias_correction1) as f32,
    }
}
