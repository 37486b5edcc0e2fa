//! The formulas that treat each element alone, with the factors of one step, and the loops over slices.
//!
//! The loops are plain zips which the compiler turns into vector instructions.

mod adaptive;
mod momentum;

pub(super) use adaptive::{Adadelta, Adagrad, Adam, Moments, NAdam, RAdam, RmsProp};
pub(super) use momentum::{Lion, Sgd};

use super::vectorized::vectorized;

/// How a raw gradient becomes the one the formulas use.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gradient {
    /// Factor, applied first.
    pub(super) scale: f32,
    /// Bound of the absolute value; infinite means none.
    pub(super) limit: f32,
}

impl Gradient {
    /// Scaled, then bounded. NaN stays NaN, which `f32::min` and `f32::max` would hide.
    #[inline(always)]
    pub(super) fn prepare(self, raw: f32) -> f32 {
        let scaled = raw * self.scale;
        if scaled > self.limit {
            self.limit
        } else if scaled < -self.limit {
            -self.limit
        } else {
            scaled
        }
    }
}

/// `start + weight * (end - start)`, computed from the nearer end as `torch.lerp` does.
#[inline(always)]
pub(super) fn lerp(start: f32, end: f32, weight: f32) -> f32 {
    let way = end - start;
    if weight < 0.5 { start + weight * way } else { end - way * (1.0 - weight) }
}

/// `x`, but at least `bound`. NaN stays NaN, which `f32::max` would hide.
#[inline(always)]
pub(super) fn at_least(x: f32, bound: f32) -> f32 {
    if x < bound { bound } else { x }
}

/// A formula that updates an element from its gradient and its `SLOTS` slots.
pub(super) trait Formula<const SLOTS: usize> {
    /// Updates one element in place.
    fn element(&self, parameter: &mut f32, raw: f32, slots: [&mut f32; SLOTS]);
}

#[inline(always)]
fn with_none(formula: &impl Formula<0>, parameter: &mut [f32], gradient: &[f32]) {
    for (p, g) in parameter.iter_mut().zip(gradient) {
        formula.element(p, *g, []);
    }
}

#[inline(always)]
fn with_one(formula: &impl Formula<1>, parameter: &mut [f32], gradient: &[f32], slots: Slots<'_>) {
    let [first, ..] = slots;
    for ((p, g), a) in parameter.iter_mut().zip(gradient).zip(first) {
        formula.element(p, *g, [a]);
    }
}

#[inline(always)]
fn with_two(formula: &impl Formula<2>, parameter: &mut [f32], gradient: &[f32], slots: Slots<'_>) {
    let [first, second, _] = slots;
    for (((p, g), a), b) in parameter.iter_mut().zip(gradient).zip(first).zip(second) {
        formula.element(p, *g, [a, b]);
    }
}

#[inline(always)]
fn with_three(formula: &impl Formula<3>, parameter: &mut [f32], gradient: &[f32], slots: Slots<'_>) {
    let [first, second, third] = slots;
    for ((((p, g), a), b), c) in parameter.iter_mut().zip(gradient).zip(first).zip(second).zip(third) {
        formula.element(p, *g, [a, b, c]);
    }
}

/// The slots of a tensor, or of a part of it; those that the formula does not use are empty.
pub(super) type Slots<'a> = [&'a mut [f32]; super::MAX_SLOTS];

/// A formula with the factors of one step. The slots stand in the order of [`crate::graph::update::slots`].
#[derive(Debug, Clone, Copy)]
pub(super) enum Elementwise {
    /// SGD without momentum.
    Sgd(Sgd),
    /// SGD with momentum.
    SgdMomentum(Sgd),
    /// Adam and AdamW.
    Adam(Adam),
    /// Adam with Nesterov's momentum.
    NAdam(NAdam),
    /// Rectified Adam.
    RAdam(RAdam),
    /// RMSprop.
    RmsProp(RmsProp),
    /// RMSprop with momentum.
    RmsPropMomentum(RmsProp),
    /// RMSprop around the mean gradient.
    RmsPropCentered(RmsProp),
    /// RMSprop with both.
    RmsPropCenteredMomentum(RmsProp),
    /// Adagrad.
    Adagrad(Adagrad),
    /// Adadelta.
    Adadelta(Adadelta),
    /// Lion.
    Lion(Lion),
}

vectorized! {
    /// Updates `parameter` and the slots in place. All slices that the formula uses have one length; that is the invariant
    /// of `Update`.
    fn run / run_portable(kernel: &Elementwise, p: &mut [f32], g: &[f32], slots: Slots<'_>) {
        match kernel {
            Elementwise::Sgd(formula) => with_none(formula, p, g),
            Elementwise::SgdMomentum(formula) => with_one(formula, p, g, slots),
            Elementwise::Adam(formula) => with_two(formula, p, g, slots),
            Elementwise::NAdam(formula) => with_two(formula, p, g, slots),
            Elementwise::RAdam(formula) => with_two(formula, p, g, slots),
            Elementwise::RmsProp(formula) => with_one(formula, p, g, slots),
            Elementwise::RmsPropMomentum(formula) => with_two(&adaptive::WithMomentum(*formula), p, g, slots),
            Elementwise::RmsPropCentered(formula) => with_two(&adaptive::Centered(*formula), p, g, slots),
            Elementwise::RmsPropCenteredMomentum(formula) => with_three(formula, p, g, slots),
            Elementwise::Adagrad(formula) => with_one(formula, p, g, slots),
            Elementwise::Adadelta(formula) => with_two(formula, p, g, slots),
            Elementwise::Lion(formula) => with_one(formula, p, g, slots),
        }
    }
}

vectorized! {
    /// Moves each average the part `fresh` of the way to its parameter; `fresh` = 1 makes it the parameter.
    fn move_average / move_average_portable(average: &mut [f32], parameter: &[f32], fresh: f32) {
        for (average, parameter) in average.iter_mut().zip(parameter) {
            *average = lerp(*average, *parameter, fresh);
        }
    }
}
