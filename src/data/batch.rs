//! Batches in memory, and how an epoch is cut into them.

use std::num::NonZeroUsize;
use std::ops::Range;

use super::array::Dtype;

/// The elements of an array in memory, row-major.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "each variant is the element type it is named after")]
pub enum Values {
    F32(Vec<f32>),
    F64(Vec<f64>),
    I32(Vec<i32>),
    I64(Vec<i64>),
    U8(Vec<u8>),
    Bool(Vec<bool>),
}

impl Values {
    /// Element type.
    #[must_use]
    pub const fn dtype(&self) -> Dtype {
        match self {
            Self::F32(_) => Dtype::F32,
            Self::F64(_) => Dtype::F64,
            Self::I32(_) => Dtype::I32,
            Self::I64(_) => Dtype::I64,
            Self::U8(_) => Dtype::U8,
            Self::Bool(_) => Dtype::Bool,
        }
    }

    const fn empty(dtype: Dtype) -> Self {
        match dtype {
            Dtype::F32 => Self::F32(Vec::new()),
            Dtype::F64 => Self::F64(Vec::new()),
            Dtype::I32 => Self::I32(Vec::new()),
            // Binding refuses to hand over the stored-only types.
            Dtype::I64 | Dtype::U16 | Dtype::U32 => Self::I64(Vec::new()),
            Dtype::U8 => Self::U8(Vec::new()),
            Dtype::Bool => Self::Bool(Vec::new()),
        }
    }

    fn resize(&mut self, len: usize) {
        match self {
            Self::F32(values) => values.resize(len, 0.0),
            Self::F64(values) => values.resize(len, 0.0),
            Self::I32(values) => values.resize(len, 0),
            Self::I64(values) => values.resize(len, 0),
            Self::U8(values) => values.resize(len, 0),
            Self::Bool(values) => values.resize(len, false),
        }
    }
}

/// An array in memory. Axis 0 of the shape counts the examples.
#[derive(Debug, Clone, PartialEq)]
pub struct HostArray {
    /// Axis lengths.
    pub shape: Vec<usize>,
    /// As many elements as the shape says.
    pub values: Values,
}

impl HostArray {
    pub(crate) const fn empty(dtype: Dtype) -> Self {
        Self { shape: Vec::new(), values: Values::empty(dtype) }
    }

    /// A copy of the examples in `range`, which lies within the batch.
    #[must_use]
    pub fn part(&self, range: &Range<usize>) -> Self {
        let mut shape = self.shape.clone();
        let Some(examples) = shape.first_mut() else { return self.clone() };
        *examples = range.len();
        let example: usize = self.shape.iter().skip(1).product();
        let elements = range.start * example..range.end * example;
        fn cut<T: Copy>(values: &[T], elements: Range<usize>) -> Vec<T> {
            values.get(elements).unwrap_or_default().to_vec()
        }
        let values = match &self.values {
            Values::F32(values) => Values::F32(cut(values, elements)),
            Values::F64(values) => Values::F64(cut(values, elements)),
            Values::I32(values) => Values::I32(cut(values, elements)),
            Values::I64(values) => Values::I64(cut(values, elements)),
            Values::U8(values) => Values::U8(cut(values, elements)),
            Values::Bool(values) => Values::Bool(cut(values, elements)),
        };
        Self { shape, values }
    }

    /// The array with its last example repeated until there are so many.
    #[must_use]
    pub fn padded(&self, examples: usize) -> Self {
        let rows = self.shape.first().copied().unwrap_or(0);
        let missing = examples.saturating_sub(rows);
        let last = self.part(&(rows.saturating_sub(1)..rows));
        fn extended<T: Copy>(values: &[T], last: &[T], times: usize) -> Vec<T> {
            values.iter().copied().chain(last.iter().copied().cycle().take(last.len() * times)).collect()
        }
        let values = match (&self.values, &last.values) {
            (Values::F32(values), Values::F32(last)) => Values::F32(extended(values, last, missing)),
            (Values::F64(values), Values::F64(last)) => Values::F64(extended(values, last, missing)),
            (Values::I32(values), Values::I32(last)) => Values::I32(extended(values, last, missing)),
            (Values::I64(values), Values::I64(last)) => Values::I64(extended(values, last, missing)),
            (Values::U8(values), Values::U8(last)) => Values::U8(extended(values, last, missing)),
            (Values::Bool(values), Values::Bool(last)) => Values::Bool(extended(values, last, missing)),
            // A part has the type of the whole.
            (values, _) => values.clone(),
        };
        let mut shape = self.shape.clone();
        if let Some(first) = shape.first_mut() {
            *first = rows + missing;
        }
        Self { shape, values }
    }

    /// Gives the array this type and shape, keeping its memory where it can. The content is unspecified.
    pub(crate) fn reset(&mut self, dtype: Dtype, examples: usize, example_shape: &[usize]) {
        if self.values.dtype() != dtype {
            self.values = Values::empty(dtype);
        }
        self.shape.clear();
        self.shape.push(examples);
        self.shape.extend_from_slice(example_shape);
        self.values.resize(self.shape.iter().product());
    }
}

/// One batch: what the model and the loss take, in the order of the feeds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Batch {
    /// Epoch, counted from 1.
    pub epoch: u64,
    /// Index of the batch within its epoch, counted from 0.
    pub batch: u64,
    /// The examples of the split that are in it, in this order.
    pub examples: Vec<usize>,
    /// One array per feed.
    pub arrays: Vec<HostArray>,
}

/// How an epoch over `examples` is cut into batches; all but the last have the same size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchPlan {
    examples: usize,
    batch_size: NonZeroUsize,
    batches: u64,
}

/// Why an epoch can not be cut into batches.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BatchPlanError {
    /// A batch size of 0.
    #[error("found `train.batch_size` 0; expected at least 1")]
    BatchSize,
    /// Nothing to train on.
    #[error("found no examples; expected at least 1")]
    NoExamples,
    /// Every batch would be left out.
    #[error(
        "the {examples} examples do not fill one batch of {batch_size}, and `data.drop_last` leaves out what does not; \
         lower `train.batch_size` or set `data.drop_last = false`"
    )]
    TooFewExamples {
        /// Examples of the split.
        examples: usize,
        /// Examples per batch.
        batch_size: usize,
    },
}

impl BatchPlan {
    /// Cuts `examples` into batches of `batch_size`; with `drop_last` a smaller last one is left out.
    ///
    /// # Errors
    /// If not a single batch comes out.
    pub fn new(examples: usize, batch_size: usize, drop_last: bool) -> Result<Self, BatchPlanError> {
        let batch_size = NonZeroUsize::new(batch_size).ok_or(BatchPlanError::BatchSize)?;
        if examples == 0 {
            return Err(BatchPlanError::NoExamples);
        }
        let batches = if drop_last { examples / batch_size } else { examples.div_ceil(batch_size.get()) };
        if batches == 0 {
            return Err(BatchPlanError::TooFewExamples { examples, batch_size: batch_size.get() });
        }
        Ok(Self { examples, batch_size, batches: batches as u64 })
    }

    /// Batches per epoch, at least 1.
    #[must_use]
    pub const fn batches(&self) -> u64 {
        self.batches
    }

    /// Examples of the split; a dropped last batch is counted.
    #[must_use]
    pub const fn examples(&self) -> usize {
        self.examples
    }

    /// Examples of all batches but the last.
    #[must_use]
    pub const fn batch_size(&self) -> usize {
        self.batch_size.get()
    }

    /// Positions in the epoch's order that form a batch; empty beyond the last batch.
    #[must_use]
    pub fn range(&self, batch: u64) -> Range<usize> {
        if batch >= self.batches {
            return self.examples..self.examples;
        }
        // Below the number of batches neither the conversion nor the product can overflow.
        let start = usize::try_from(batch).unwrap_or(usize::MAX).saturating_mul(self.batch_size.get());
        start..start.saturating_add(self.batch_size.get()).min(self.examples)
    }

    /// Examples of a batch: the batch size, less in the last one, 0 beyond it.
    #[must_use]
    pub fn size_of(&self, batch: u64) -> usize {
        self.range(batch).len()
    }
}

#[cfg(test)]
mod tests {
    use super::{BatchPlan, BatchPlanError};

    #[track_caller]
    fn check_sizes(examples: usize, batch_size: usize, drop_last: bool, expected: &[usize]) {
        let plan = BatchPlan::new(examples, batch_size, drop_last).unwrap();
        let sizes: Vec<usize> = (0..plan.batches()).map(|batch| plan.size_of(batch)).collect();
        assert_eq!(sizes, expected);
        assert_eq!(plan.size_of(plan.batches()), 0);
        let mut position = 0;
        for batch in 0..plan.batches() {
            assert_eq!(plan.range(batch).start, position);
            position = plan.range(batch).end;
        }
    }

    #[test]
    fn an_epoch_is_cut_without_gaps_and_the_last_batch_may_be_smaller() {
        check_sizes(10, 4, false, &[4, 4, 2]);
        check_sizes(10, 4, true, &[4, 4]);
        check_sizes(8, 4, false, &[4, 4]);
        check_sizes(8, 4, true, &[4, 4]);
        check_sizes(3, 4, false, &[3]);
        check_sizes(1, 1, true, &[1]);
        check_sizes(5, usize::MAX, false, &[5]);
    }

    #[test]
    fn an_epoch_without_a_single_batch_is_refused_with_advice() {
        let error = BatchPlan::new(3, 4, true).unwrap_err();
        assert!(matches!(error, BatchPlanError::TooFewExamples { examples: 3, batch_size: 4 }));
        assert!(error.to_string().contains("drop_last = false"), "{error}");
        assert!(matches!(BatchPlan::new(3, 0, false), Err(BatchPlanError::BatchSize)));
        assert!(matches!(BatchPlan::new(0, 4, false), Err(BatchPlanError::NoExamples)));
    }
}
