//! The tensors of a step as a checked list, and how the list is spread over threads.

use super::kernel::{self, Slots};
use super::step::{Kernel, Rule};
use crate::graph::update::Slot;

/// The most slots an optimizer keeps per parameter.
pub const MAX_SLOTS: usize = 3;

/// Elements one task works on: 64 KiB per tensor, enough that handing out a task costs nothing in comparison.
const TASK_ELEMENTS: usize = super::sums::TASK_ELEMENTS;

/// Elements copied at a time when an update is not in place; all tensors of such a block stay in the nearest caches.
const COPY_ELEMENTS: usize = 1024;

/// A slice of an update has not the length it needs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{part} holds {found} elements where {expected} are expected; gradient and slots must have the shape that \
     the optimizer states for their parameter, and slots it does not keep must be empty"
)]
#[non_exhaustive]
pub struct LengthMismatch {
    /// Which slice.
    pub part: &'static str,
    /// Its length.
    pub found: usize,
    /// The length it should have.
    pub expected: usize,
}

/// What an update writes: a parameter, its slots in the order of [`Optimizer::slots`](super::Optimizer::slots), and its
/// moving average; slots beyond those, and an average that is not kept, are empty.
#[derive(Debug)]
pub struct Target<'a> {
    /// Values of the parameter.
    pub parameter: &'a mut [f32],
    /// Its slots.
    pub slots: [&'a mut [f32]; MAX_SLOTS],
    /// Its moving average.
    pub average: &'a mut [f32],
}

/// The state an update starts from when it writes to other memory; the parts are those of [`Target`].
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// Values of the parameter.
    pub parameter: &'a [f32],
    /// Its slots.
    pub slots: [&'a [f32]; MAX_SLOTS],
    /// Its moving average.
    pub average: &'a [f32],
}

/// The slices of one parameter: what an update reads and where it writes. Made by
/// [`Optimizer::update_in_place`](super::Optimizer::update_in_place) and
/// [`Optimizer::update_into`](super::Optimizer::update_into), which check the lengths.
#[derive(Debug)]
pub struct Update<'a> {
    /// Position of the parameter in the optimizer.
    pub(super) index: usize,
    pub(super) target: Target<'a>,
    pub(super) gradient: &'a [f32],
    /// The state to start from where that is not the target itself.
    source: Option<Source<'a>>,
}

impl<'a> Update<'a> {
    /// An update from `source`, or in place where there is none.
    pub(super) fn checked(
        index: usize,
        source: Option<Source<'a>>,
        target: Target<'a>,
        gradient: &'a [f32],
        slots: &[Slot],
        averages: bool,
    ) -> Result<Self, LengthMismatch> {
        let elements = target.parameter.len();
        check_length("the gradient", gradient.len(), elements)?;
        let average = if averages { elements } else { 0 };
        check_length("the moving average", target.average.len(), average)?;
        if let Some(source) = &source {
            check_length("the parameter to read", source.parameter.len(), elements)?;
            check_length("the moving average to read", source.average.len(), average)?;
        }
        for (at, slot) in target.slots.iter().enumerate() {
            let (part, expected) = match slots.get(at) {
                Some(slot) => (slot.name, slot.dims.iter().product()),
                None => ("an unused optimizer slot", 0),
            };
            check_length(part, slot.len(), expected)?;
            if let Some(from) = source.as_ref().and_then(|source| source.slots.get(at)) {
                check_length(part, from.len(), expected)?;
            }
        }
        Ok(Self { index, target, gradient, source })
    }

    fn len(&self) -> usize {
        self.target.parameter.len()
    }

    fn reborrow(&mut self) -> Update<'_> {
        let Target { parameter, slots: [first, second, third], average } = &mut self.target;
        let target = Target { parameter, slots: [first, second, third], average };
        Update { index: self.index, target, gradient: self.gradient, source: self.source }
    }

    /// The elements before `middle` and the others; only where slots have the length of their parameter. A slice that is
    /// empty stays empty in both.
    fn split_at(self, middle: usize) -> (Self, Self) {
        let Target { parameter, slots: [first, second, third], average } = self.target;
        let (head, tail) = parameter.split_at_mut(middle);
        let (head_gradient, tail_gradient) = self.gradient.split_at(middle);
        let (head_first, tail_first) = cut(first, middle);
        let (head_second, tail_second) = cut(second, middle);
        let (head_third, tail_third) = cut(third, middle);
        let (head_average, tail_average) = cut(average, middle);
        let (head_source, tail_source) = self.source.map(|source| source.split_at(middle)).unzip();
        let front =
            Target { parameter: head, slots: [head_first, head_second, head_third], average: head_average };
        let back =
            Target { parameter: tail, slots: [tail_first, tail_second, tail_third], average: tail_average };
        let index = self.index;
        let front = Self { index, target: front, gradient: head_gradient, source: head_source };
        (front, Self { index, target: back, gradient: tail_gradient, source: tail_source })
    }

    /// Copies the source, if there is one, so that the rest of the update is in place.
    pub(super) fn copy_source(&mut self) {
        let Some(source) = self.source.take() else { return };
        self.target.parameter.copy_from_slice(source.parameter);
        self.target.average.copy_from_slice(source.average);
        for (to, from) in self.target.slots.iter_mut().zip(source.slots) {
            to.copy_from_slice(from);
        }
    }

    fn run(mut self, kernel: &Kernel) {
        let Rule::Elementwise(formula) = &kernel.rule else { return };
        while self.source.is_some() && self.len() > COPY_ELEMENTS {
            let (block, rest) = self.split_at(COPY_ELEMENTS);
            block.run_block(formula, kernel.fresh_average);
            self = rest;
        }
        self.run_block(formula, kernel.fresh_average);
    }

    fn run_block(mut self, formula: &kernel::Elementwise, fresh_average: f32) {
        self.copy_source();
        let Target { parameter, slots, average } = self.target;
        kernel::run(formula, parameter, self.gradient, slots as Slots<'_>);
        kernel::move_average(average, parameter, fresh_average);
    }
}

impl Source<'_> {
    fn split_at(self, middle: usize) -> (Self, Self) {
        let cut = |slice: &'_ [f32]| middle.min(slice.len());
        let (head, tail) = self.parameter.split_at(middle);
        let (head_average, tail_average) = self.average.split_at(cut(self.average));
        let [first, second, third] = self.slots.map(|slot| slot.split_at(cut(slot)));
        let front = Self { parameter: head, slots: [first.0, second.0, third.0], average: head_average };
        (front, Self { parameter: tail, slots: [first.1, second.1, third.1], average: tail_average })
    }
}

fn cut(slice: &mut [f32], middle: usize) -> (&mut [f32], &mut [f32]) {
    slice.split_at_mut(middle.min(slice.len()))
}

fn check_length(part: &'static str, found: usize, expected: usize) -> Result<(), LengthMismatch> {
    if found == expected { Ok(()) } else { Err(LengthMismatch { part, found, expected }) }
}

/// Runs every update whose kernel treats each element alone; `kernel_of` gives the kernel of a parameter.
///
/// The list is halved by elements until a task is small, then the tensor itself: small tensors share a task, a large
/// one is shared by many. Nothing is allocated, and as every element stands alone, how the work is cut changes no bit.
pub(super) fn apply_elementwise<'k, F>(updates: &mut [Update<'_>], kernel_of: &F)
where
    F: Fn(usize) -> &'k Kernel + Sync,
{
    let elements: usize = updates.iter().map(Update::len).sum();
    match updates {
        [only] => {
            let kernel = kernel_of(only.index);
            apply_one(only.reborrow(), kernel);
        }
        several if several.is_empty() || elements <= TASK_ELEMENTS => {
            for update in several {
                let kernel = kernel_of(update.index);
                update.reborrow().run(kernel);
            }
        }
        several => {
            let (front, back) = several.split_at_mut(halfway(several, elements));
            rayon::join(|| apply_elementwise(front, kernel_of), || apply_elementwise(back, kernel_of));
        }
    }
}

/// Where to cut a list of at least two so that both parts hold about as many elements and neither is empty.
fn halfway(updates: &[Update<'_>], elements: usize) -> usize {
    let mut before = 0;
    let reaching_half = updates.iter().take_while(|update| {
        before += update.len();
        before < elements.div_ceil(2)
    });
    reaching_half.count().clamp(1, updates.len() - 1)
}

fn apply_one(update: Update<'_>, kernel: &Kernel) {
    if !matches!(kernel.rule, Rule::Elementwise(_)) {
        return;
    }
    if update.len() <= TASK_ELEMENTS {
        update.run(kernel);
        return;
    }
    let middle = super::sums::half(update.len());
    let (front, back) = update.split_at(middle);
    rayon::join(|| apply_one(front, kernel), || apply_one(back, kernel));
}
