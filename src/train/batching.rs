//! In which portions batches are computed, and how the portions become smaller where memory runs out.
//!
//! Gradients of the parts of a batch are added up, so the portions change neither the effective batch nor, but for
//! rounding, the loss. They change the bits, so the journal says which portions held where.

use super::event::MicroBatchChanged;
use crate::config::{MicroBatch, Plan, TrainPlan};
use crate::data::{BatchPlan, HostArray};
use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

/// Settings whose change goes before what the journal says of portions.
pub const PORTION_KEYS: [&str; 3] = ["train.micro_batch", "train.batch_size", "train.eval_batch_size"];

/// The sizes of the portions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batching {
    /// Most examples of one gradient computation; at least 1.
    pub micro_batch: usize,
    /// Most examples of one validation batch; at least 1.
    pub eval_batch: usize,
}

/// Which graph needs less memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Portion {
    /// The gradient computation.
    Training,
    /// The validation.
    Evaluation,
}

impl Batching {
    /// What the settings ask for; `None` for the micro-batch that is to be found out.
    #[must_use]
    pub fn of_plan(plan: &TrainPlan) -> (Option<usize>, usize) {
        let eval_batch = plan.eval_batch_size.unwrap_or(plan.batch_size);
        let micro_batch = match plan.micro_batch {
            MicroBatch::Whole => Some(plan.batch_size),
            MicroBatch::Examples(examples) => Some(examples),
            MicroBatch::Auto => None,
        };
        (micro_batch, eval_batch)
    }

    /// What the journal says.
    #[must_use]
    pub fn of(changed: &MicroBatchChanged) -> Self {
        let size = |examples: u64| usize::try_from(examples).unwrap_or(usize::MAX).max(1);
        Self { micro_batch: size(changed.micro_batch), eval_batch: size(changed.eval_batch) }
    }

    /// The next smaller portions; `None` where one example at a time is not small enough.
    #[must_use]
    pub fn smaller(self, portion: Portion) -> Option<Self> {
        let halved = |examples: usize| (examples > 1).then(|| examples.div_ceil(2));
        match portion {
            Portion::Training => halved(self.micro_batch).map(|micro_batch| Self { micro_batch, ..self }),
            Portion::Evaluation => halved(self.eval_batch).map(|eval_batch| Self { eval_batch, ..self }),
        }
    }
}

impl fmt::Display for Batching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "micro-batch {}, validation batch {}", self.micro_batch, self.eval_batch)
    }
}

/// The ranges of examples in which a batch of this size is computed.
#[must_use]
pub fn parts(batch: usize, micro_batch: usize) -> Vec<Range<usize>> {
    let size = micro_batch.clamp(1, batch.max(1));
    (0..batch).step_by(size).map(|start| start..(start + size).min(batch)).collect()
}

/// The sizes of the parts in which the batches of `plan` are computed, the largest first.
pub(super) fn part_sizes(plan: &BatchPlan, micro_batch: usize) -> Vec<usize> {
    let last = plan.batches().saturating_sub(1);
    let mut sizes = BTreeSet::new();
    for batch in [plan.size_of(0), plan.size_of(last)] {
        sizes.extend(parts(batch, micro_batch).into_iter().map(|part| part.len()));
    }
    sizes.into_iter().rev().collect()
}

/// Some of the examples of a batch.
#[must_use]
pub fn take_part(arrays: &[HostArray], range: &Range<usize>) -> Vec<HostArray> {
    arrays.iter().map(|array| array.part(range)).collect()
}

/// The micro-batches that are tried where the largest that fits is looked for: halves of the batch, the smallest first.
pub(super) fn candidates(batch: usize) -> Vec<usize> {
    let mut sizes = vec![batch.max(1)];
    while let Some(last) = sizes.last().copied().filter(|last| *last > 1) {
        sizes.push(last.div_ceil(2));
    }
    sizes.reverse();
    sizes
}

/// Batches of an epoch of so many examples; at least 1.
#[must_use]
pub fn batches_per_epoch(examples: usize, plan: &Plan) -> u64 {
    BatchPlan::new(examples, plan.train.batch_size, plan.data.drop_last).map_or(1, |plan| plan.batches())
}

/// The index of the next batch in an epoch that was begun with batches of another size.
///
/// Examples that were trained are not left out: where the sizes do not divide each other, the first few of the next batch are
/// trained a second time. An epoch that was through stays so.
#[must_use]
pub fn converted_batch(batch: u64, examples: usize, old: &Plan, new: &Plan) -> u64 {
    if old.train.batch_size == new.train.batch_size {
        return batch;
    }
    let batches = batches_per_epoch(examples, new);
    if batch >= batches_per_epoch(examples, old) {
        return batches;
    }
    (batch.saturating_mul(old.train.batch_size as u64) / new.train.batch_size as u64)
        .min(batches.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::{Batching, Portion, candidates, converted_batch, parts};
    use crate::config::{Plan, Sources, load};

    fn batches_of(size: usize) -> Plan {
        let sets = vec![format!("train.batch_size={size}")];
        load(&Sources { sets, ..Sources::default() }).unwrap().plan
    }

    #[test]
    fn an_epoch_that_was_begun_goes_on_where_its_examples_end_whatever_the_size_of_batches() {
        let next = |batch, old, new| converted_batch(batch, 100, &batches_of(old), &batches_of(new));
        assert_eq!([next(0, 16, 4), next(3, 16, 4), next(3, 16, 16)], [0, 12, 3]);
        // 48 examples are done: the 4th batch of 15 begins with the 46th, of which none is left out.
        assert_eq!(next(3, 16, 15), 3);
        // 7 batches of 16 are an epoch of 100, and so are 2 of 64.
        assert_eq!([next(7, 16, 64), next(6, 16, 64), next(7, 16, 1)], [2, 1, 100]);
    }

    #[test]
    fn a_batch_is_cut_into_micro_batches_with_the_rest_at_the_end() {
        assert_eq!(parts(10, 4), [0..4, 4..8, 8..10]);
        assert_eq!(parts(8, 4), [0..4, 4..8]);
        for (whole, size) in [(parts(3, 4), 3), (parts(5, usize::MAX), 5)] {
            assert_eq!(whole, std::slice::from_ref(&(0..size)));
        }
    }

    #[test]
    fn portions_are_halved_down_to_one_example_and_no_further() {
        let mut sizes = Vec::new();
        let mut portions = Some(Batching { micro_batch: 48, eval_batch: 7 });
        while let Some(batching) = portions {
            sizes.push(batching.micro_batch);
            assert_eq!(batching.eval_batch, 7);
            portions = batching.smaller(Portion::Training);
        }
        assert_eq!(sizes, [48, 24, 12, 6, 3, 2, 1]);
        assert_eq!(candidates(48), [1, 2, 3, 6, 12, 24, 48]);
        assert_eq!(candidates(1), [1]);
        let smallest = Batching { micro_batch: 1, eval_batch: 2 };
        assert_eq!(smallest.smaller(Portion::Evaluation).map(|smaller| smaller.eval_batch), Some(1));
        assert_eq!(Batching { eval_batch: 1, ..smallest }.smaller(Portion::Evaluation), None);
    }
}
