//! The optimizer on the CPU: from gradients to new parameters and slots, the half of a step that can not fail.
//!
//! Belongs here: the update formulas as fused loops over plain `f32` slices, the gradient norm and clipping, and which
//! parameter is updated how. Does not belong here: where the slices come from (ONNX Runtime tensors, checkpoints),
//! the learning rate of a step (`schedule`), and the optimizer as an ONNX graph for other devices.
//!
//! A step is made in two phases. First the caller lists the tensors as [`Update`]s, which checks their lengths and may
//! fail. Then [`Optimizer::apply`] works through the list: it can not fail. Every element is computed by the same
//! sequence of IEEE 754 operations, and sums are taken in an order that the shapes fix, so the bits of the result depend
//! neither on the number of threads, nor on the instruction set, nor on whether the update was in place.

mod adafactor;
mod assignment;
mod factors;
mod kernel;
mod lamb;
mod matmul;
mod muon;
mod norm;
mod step;
mod sums;
mod update;
mod vectorized;

#[cfg(test)]
mod tests;

pub use factors::{StepFactors, step_factors};
pub use norm::{clip_factor, gradient_norm};
pub use update::{LengthMismatch, MAX_SLOTS, Source, Target, Update};

use crate::config::{EmaPlan, OptimizerPlan};
use crate::graph::update::{Averages, ParameterUpdate, Slot, slots};
use kernel::Gradient;
use std::collections::TryReserveError;
use step::Kernel;

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

/// An optimizer for the parameters of one model. It holds no tensors: parameters and slots belong to the caller.
#[derive(Debug, Clone, PartialEq)]
pub struct Optimizer {
    parameters: Vec<Parameter>,
    /// What the parameters have in common, each once.
    sorts: Vec<ParameterUpdate>,
    ema: Option<EmaPlan>,
}

/// One parameter.
#[derive(Debug, Clone, PartialEq)]
struct Parameter {
    update: ParameterUpdate,
    slots: Vec<Slot>,
    /// Position among the sorts.
    sort: usize,
}

/// Memory that an update needs besides the tensors of the state; made once, so that a step allocates none.
#[derive(Debug, Default)]
pub struct Scratch(Vec<f32>);

impl Optimizer {
    /// The optimizer that `plan` describes, for parameters given by name and dimensions.
    #[must_use]
    pub fn new(plan: &OptimizerPlan, parameters: &[(String, Vec<usize>)]) -> Self {
        let mut sorts: Vec<ParameterUpdate> = Vec::new();
        let assigned = parameters.iter().map(|(name, dims)| {
            let update = assignment::assign(plan, name, dims);
            let sort = ParameterUpdate { dims: Vec::new(), ..update.clone() };
            let sort = sorts.iter().position(|known| *known == sort).unwrap_or_else(|| {
                sorts.push(sort);
                sorts.len() - 1
            });
            Parameter { slots: slots(&update.kind, dims), update, sort }
        });
        let parameters = assigned.collect();
        Self { parameters, sorts, ema: plan.ema }
    }

    /// The state kept for parameter `index`, as PyTorch calls it; each slot starts at zero.
    #[must_use]
    pub fn slots(&self, index: usize) -> &[Slot] {
        self.parameters.get(index).map_or(&[], |parameter| &parameter.slots)
    }

    /// Whether a moving average of each parameter is kept.
    #[must_use]
    pub fn averages(&self) -> Averages {
        if self.ema.is_some() { Averages::Kept } else { Averages::None }
    }

    /// How each parameter is updated.
    pub fn updates(&self) -> impl Iterator<Item = &ParameterUpdate> {
        self.parameters.iter().map(|parameter| &parameter.update)
    }

    /// Memory for [`Self::apply`].
    ///
    /// # Errors
    /// If there is not enough.
    pub fn scratch(&self) -> Result<Scratch, TryReserveError> {
        let elements = self.updates().map(step::scratch_elements).max().unwrap_or(0);
        let mut memory = Vec::new();
        memory.try_reserve_exact(elements)?;
        memory.resize(elements, 0.0);
        Ok(Scratch(memory))
    }

    /// An update of parameter `index` that overwrites the state it reads.
    ///
    /// # Errors
    /// If the gradient, a slot or the average has not the length it needs.
    pub fn update_in_place<'a>(
        &self,
        index: usize,
        target: Target<'a>,
        gradient: &'a [f32],
    ) -> Result<Update<'a>, LengthMismatch> {
        Update::checked(index, None, target, gradient, self.slots(index), self.ema.is_some())
    }

    /// An update of parameter `index` that leaves the state it reads, `source`, as it is and writes to `target`, whose
    /// old content does not matter. It gives the bits of [`Self::update_in_place`].
    ///
    /// # Errors
    /// If the gradient or a part of `source` or `target` has not the length it needs.
    pub fn update_into<'a>(
        &self,
        index: usize,
        source: Source<'a>,
        target: Target<'a>,
        gradient: &'a [f32],
    ) -> Result<Update<'a>, LengthMismatch> {
        Update::checked(index, Some(source), target, gradient, self.slots(index), self.ema.is_some())
    }

    /// Updates all parameters and slots of a model in the current rayon pool. `scratch` is that of [`Self::scratch`].
    ///
    /// Formulas and order of operations are those of `torch.optim`'s single-tensor implementations: factors that are
    /// the same for all elements are computed in `f64` and rounded once to `f32`, all else is `f32`. A non-finite
    /// gradient makes the elements it belongs to non-finite; refusing such a step is the caller's decision, before
    /// this call.
    pub fn apply(&self, updates: &mut [Update<'_>], scalars: &StepScalars, scratch: &mut Scratch) {
        let fresh_average = self.fresh_average(scalars.step) as f32;
        let kernel = |sort: &ParameterUpdate| Kernel { rule: step::rule(sort, scalars), fresh_average };
        let kernels: Vec<Kernel> = self.sorts.iter().map(kernel).collect();
        let known = "updates are made by this optimizer, for parameters it knows";
        let kernel_of = |index: usize| {
            let sort = self.parameters.get(index).map(|parameter| parameter.sort);
            sort.and_then(|sort| kernels.get(sort)).expect(known)
        };
        update::apply_elementwise(updates, &kernel_of);
        for update in updates {
            let parameter = self.parameters.get(update.index).expect(known);
            step::apply_whole(update, &parameter.update, kernel_of(update.index), &mut scratch.0);
        }
    }

    /// The part of the way to the parameters that the moving average goes in update `step`, counted from 1: all of it in
    /// the first, 1 - decay in the others. 1 if no average is kept.
    #[must_use]
    pub fn fresh_average(&self, step: u64) -> f64 {
        self.ema.filter(|_| step > 1).map_or(1.0, |ema| 1.0 - ema.decay)
    }
}

/// The factors that the Adam family has in common.
fn adaptive_moments(
    gradient: Gradient,
    weight_decay: f32,
    keep: f32,
    (beta1, beta2): (f64, f64),
    eps: f64,
) -> kernel::Moments {
    kernel::Moments {
        gradient,
        weight_decay,
        keep,
        fresh1: (1.0 - beta1) as f32,
        beta2: beta2 as f32,
        fresh2: (1.0 - beta2) as f32,
        eps: eps as f32,
    }
}
