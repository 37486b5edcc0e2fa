//! The tensors of a step as a checked list, and how the list is spread over threads.

use super::kernel::Kernel;

/// The most slots an optimizer keeps per parameter.
pub const MAX_SLOTS: usize = 2;

/// Elements one task works on: 64 KiB per tensor, enough that handing out a task costs nothing in comparison.
const TASK_ELEMENTS: usize = 16 * 1024;

/// Elements copied at a time when an update is not in place; all tensors of such a block stay in the nearest caches.
const COPY_ELEMENTS: usize = 1024;

/// Whether weight decay acts on a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decay {
    /// The optimizer's weight decay.
    Apply,
    /// None, as is usual for biases and the parameters of normalisations.
    Skip,
}

/// A slice of an update has not the length it needs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{part} holds {found} elements where {expected} are expected; gradient and slots must have the shape of \
     their parameter, and slots the optimizer does not keep must be empty"
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

/// The slices of one parameter: what an update reads and where it writes. Made by
/// [`Optimizer::update_in_place`](super::Optimizer::update_in_place) and
/// [`Optimizer::update_into`](super::Optimizer::update_into), which check the lengths.
#[derive(Debug)]
pub struct Update<'a> {
    parameter: &'a mut [f32],
    gradient: &'a [f32],
    slots: [&'a mut [f32]; MAX_SLOTS],
    /// The state to start from where that is not `parameter` and `slots` themselves.
    source: Option<Source<'a>>,
    decay: Decay,
}

/// The state an update starts from when it writes to other memory.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// Values of the parameter.
    pub parameter: &'a [f32],
    /// Its slots, in the order of [`Optimizer::slots`](super::Optimizer::slots); those beyond are empty.
    pub slots: [&'a [f32]; MAX_SLOTS],
}

impl<'a> Update<'a> {
    /// An update from `source`, or in place where there is none, for an optimizer with the slots `slot_names`.
    pub(super) fn checked(
        source: Option<Source<'a>>,
        parameter: &'a mut [f32],
        gradient: &'a [f32],
        slots: [&'a mut [f32]; MAX_SLOTS],
        decay: Decay,
        slot_names: &'static [&'static str],
    ) -> Result<Self, LengthMismatch> {
        let elements = parameter.len();
        check_length("the gradient", gradient.len(), elements)?;
        if let Some(source) = &source {
            check_length("the parameter to read", source.parameter.len(), elements)?;
        }
        for (index, slot) in slots.iter().enumerate() {
            let (part, expected) = match slot_names.get(index) {
                Some(name) => (*name, elements),
                None => ("an unused optimizer slot", 0),
            };
            check_length(part, slot.len(), expected)?;
            if let Some(from) = source.as_ref().and_then(|source| source.slots.get(index)) {
                check_length(part, from.len(), expected)?;
            }
        }
        Ok(Self { parameter, gradient, slots, source, decay })
    }

    fn len(&self) -> usize {
        self.parameter.len()
    }

    fn reborrow(&mut self) -> Update<'_> {
        let [first, second] = &mut self.slots;
        Update {
            parameter: self.parameter,
            gradient: self.gradient,
            slots: [first, second],
            source: self.source,
            decay: self.decay,
        }
    }

    /// The elements before `middle` and the others. A slice that is empty stays empty in both.
    fn split_at(self, middle: usize) -> (Self, Self) {
        let (head, tail) = self.parameter.split_at_mut(middle);
        let (head_gradient, tail_gradient) = self.gradient.split_at(middle);
        let [first, second] = self.slots;
        let (head_first, tail_first) = first.split_at_mut(middle.min(first.len()));
        let (head_second, tail_second) = second.split_at_mut(middle.min(second.len()));
        let (head_source, tail_source) = self.source.map(|source| source.split_at(middle)).unzip();
        let (decay, slots) = (self.decay, [head_first, head_second]);
        let front = Self { parameter: head, gradient: head_gradient, slots, source: head_source, decay };
        let slots = [tail_first, tail_second];
        let back = Self { parameter: tail, gradient: tail_gradient, slots, source: tail_source, decay };
        (front, back)
    }

    fn run(mut self, kernel: &Kernel) {
        while self.source.is_some() && self.len() > COPY_ELEMENTS {
            let (block, rest) = self.split_at(COPY_ELEMENTS);
            block.run_block(kernel);
            self = rest;
        }
        self.run_block(kernel);
    }

    fn run_block(self, kernel: &Kernel) {
        let [first, second] = self.slots;
        if let Some(source) = self.source {
            let [from_first, from_second] = source.slots;
            self.parameter.copy_from_slice(source.parameter);
            first.copy_from_slice(from_first);
            second.copy_from_slice(from_second);
        }
        kernel.run(self.parameter, self.gradient, first, second);
    }
}

impl Source<'_> {
    fn split_at(self, middle: usize) -> (Self, Self) {
        let (head, tail) = self.parameter.split_at(middle);
        let [first, second] = self.slots.map(|slot| slot.split_at(middle.min(slot.len())));
        let front = Self { parameter: head, slots: [first.0, second.0] };
        (front, Self { parameter: tail, slots: [first.1, second.1] })
    }
}

fn check_length(part: &'static str, found: usize, expected: usize) -> Result<(), LengthMismatch> {
    if found == expected { Ok(()) } else { Err(LengthMismatch { part, found, expected }) }
}

/// Runs every update with the kernel that `kernel_for` names for it.
///
/// The list is halved by elements until a task is small, then the tensor itself: small tensors share a task, a large
/// one is shared by many. Nothing is allocated, and as every element stands alone, how the work is cut changes no bit.
pub(super) fn apply_all<'k, F>(updates: &mut [Update<'_>], kernel_for: &F)
where
    F: Fn(Decay) -> &'k Kernel + Sync,
{
    let elements: usize = updates.iter().map(Update::len).sum();
    match updates {
        [only] => {
            let kernel = kernel_for(only.decay);
            apply_one(only.reborrow(), kernel);
        }
        several if several.is_empty() || elements <= TASK_ELEMENTS => {
            for update in several {
                let kernel = kernel_for(update.decay);
                update.reborrow().run(kernel);
            }
        }
        several => {
            let (front, back) = several.split_at_mut(halfway(several, elements));
            rayon::join(|| apply_all(front, kernel_for), || apply_all(back, kernel_for));
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
    if update.len() <= TASK_ELEMENTS {
        update.run(kernel);
        return;
    }
    // Cut at a multiple of the task size, so that parts start at cache lines where the tensor does.
    let tasks = update.len().div_ceil(TASK_ELEMENTS);
    let (front, back) = update.split_at(tasks / 2 * TASK_ELEMENTS);
    rayon::join(|| apply_one(front, kernel), || apply_one(back, kernel));
}
