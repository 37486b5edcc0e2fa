//! What is measured on the validation data: mean loss, accuracy, top-k accuracy and mean absolute error.
//!
//! Everything here works on values in host memory, batch by batch, adds up in `f64` and in the order of the examples,
//! so that the same predictions give the same bits.

use crate::config::Metric;

#[cfg(test)]
mod tests;

/// Targets of a batch, in row-major order.
#[derive(Debug, Clone, Copy)]
pub enum Targets<'a> {
    /// Class numbers, `[N, d1, ...]` for an output of `[N, C, d1, ...]`.
    Integer(&'a [i64]),
    /// Probabilities of the classes or values to predict, in the shape of the output.
    Real(&'a [f32]),
}

impl Targets<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Integer(values) => values.len(),
            Self::Real(values) => values.len(),
        }
    }
}

/// An output and its targets can not be measured together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MetricError {
    /// The number of values is not the one of the shape.
    #[error(
        "the output has {found} values, but its shape {shape:?} has {expected}; the model returned a wrong shape"
    )]
    OutputLength {
        /// Shape given for the output.
        shape: Vec<usize>,
        /// Values in the output.
        found: usize,
        /// Values of that shape.
        expected: usize,
    },
    /// The targets do not belong to the output.
    #[error(
        "{metric} of an output of shape {shape:?} needs {expected} target values, found {found}; \
         check the shape of the target array in [data]"
    )]
    TargetLength {
        /// The metric, as in the column name.
        metric: String,
        /// Shape of the output.
        shape: Vec<usize>,
        /// Targets in the batch.
        found: usize,
        /// Targets that shape needs.
        expected: usize,
    },
    /// A class number the output has no logit for.
    #[error(
        "target {found} at position {position} of the batch is no class of an output of shape {shape:?}, \
         expected 0 to {last_class}; correct the data, or set loss.ignore_index if it marks positions to leave out"
    )]
    ClassOutOfRange {
        /// Position among the targets of the batch, from 0.
        position: usize,
        /// The target.
        found: i64,
        /// The largest class number.
        last_class: usize,
        /// Shape of the output.
        shape: Vec<usize>,
    },
}

/// Name of a metric's column in `history.csv`, measured on the validation data: `val_accuracy`, `val_top5`, `val_mae`.
#[must_use]
pub fn validation_column(metric: Metric) -> String {
    format!("val_{}", name(metric))
}

/// Name of a metric in settings and messages: `accuracy`, `top5`, `mae`.
#[must_use]
pub fn name(metric: Metric) -> String {
    match metric {
        Metric::Accuracy => "accuracy".into(),
        Metric::TopK(k) => format!("top{k}"),
        Metric::Mae => "mae".into(),
    }
}

/// The mean of losses that are means of batches, each weighted by what it was divided by (examples, positions that
/// count, or the sum of their class weights), so that it is the mean over the whole data set.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct MeanLoss {
    weighted_sum: f64,
    denominator: f64,
}

impl MeanLoss {
    /// Adds a batch whose summed loss was divided by `denominator` to give `mean`. A batch in which nothing counts
    /// (denominator 0, mean NaN as in PyTorch) adds nothing.
    pub fn add(&mut self, mean: f64, denominator: f64) {
        if denominator != 0.0 {
            self.weighted_sum += mean * denominator;
            self.denominator += denominator;
        }
    }

    /// The mean of what was added; NaN if nothing was, or if a loss was NaN.
    #[must_use]
    pub fn value(&self) -> f64 {
        self.weighted_sum / self.denominator
    }
}

/// Adds up one metric over the batches of a data set.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricSum {
    metric: Metric,
    ignore_index: i64,
    sum: f64,
    count: u64,
}

impl MetricSum {
    /// Nothing measured yet. Integer targets equal to `ignore_index` do not count.
    #[must_use]
    pub fn new(metric: Metric, ignore_index: i64) -> Self {
        Self { metric, ignore_index, sum: 0.0, count: 0 }
    }

    /// What is measured.
    #[must_use]
    pub fn metric(&self) -> Metric {
        self.metric
    }

    /// Part of the examples that are right, in `[0, 1]`, or mean error; NaN if nothing counted.
    #[must_use]
    pub fn value(&self) -> f64 {
        self.sum / self.count as f64
    }

    /// Adds a batch: `output` in row-major order with `shape` `[N, C, d1, ...]`, or `[N]` for one logit or value per
    /// example. A batch padded to full size is given without its padding: the leading examples are a prefix of both
    /// slices.
    ///
    /// * Accuracy and top-k count each of the `N * d1 * ...` positions. The target's class is ranked among the `C`
    ///   logits, the lower class number first where logits are equal; it is right among the first 1 or `k`. Of
    ///   probability targets the class is the largest one, by the same order.
    /// * With one logit (`C` = 1 or shape `[N]`) accuracy is binary: a logit above 0 says yes, and so does a target
    ///   above 0.5.
    /// * A position with a NaN among its logits or probabilities is wrong; it never counts as right by chance.
    /// * The mean absolute error takes every value of the output; a NaN makes it NaN.
    ///
    /// # Errors
    /// If the lengths do not belong together or a class number is out of range. The sum is then as it was.
    pub fn add(&mut self, output: &[f32], shape: &[usize], targets: Targets<'_>) -> Result<(), MetricError> {
        let layout = Layout::new(shape);
        let expected = elements(shape.iter().copied());
        if output.len() != expected {
            return Err(MetricError::OutputLength { shape: shape.to_vec(), found: output.len(), expected });
        }
        let per_value = matches!(targets, Targets::Real(_)) || self.metric == Metric::Mae;
        let expected = if per_value { output.len() } else { layout.positions() };
        if targets.len() != expected {
            let (metric, found) = (name(self.metric), targets.len());
            return Err(MetricError::TargetLength { metric, shape: shape.to_vec(), found, expected });
        }
        let (sum, count) = match self.metric {
            Metric::Mae => self.absolute_errors(output, targets),
            Metric::Accuracy if layout.classes == 1 => self.binary(output, targets),
            Metric::Accuracy => self.ranked(output, shape, &layout, targets, 1)?,
            Metric::TopK(k) => self.ranked(output, shape, &layout, targets, k)?,
        };
        self.sum += sum;
        self.count += count;
        Ok(())
    }

    /// Sum and number of the absolute errors.
    fn absolute_errors(&self, output: &[f32], targets: Targets<'_>) -> (f64, u64) {
        let error = |(value, target): (&f32, f64)| (f64::from(*value) - target).abs();
        match targets {
            Targets::Real(values) => {
                let pairs = output.iter().zip(values.iter().map(|target| f64::from(*target)));
                (pairs.map(error).sum(), output.len() as u64)
            }
            Targets::Integer(values) => {
                let counted = output.iter().zip(values).filter(|(_, target)| **target != self.ignore_index);
                let mut count = 0;
                let errors = counted.map(|(value, target)| error((value, *target as f64)));
                (errors.inspect(|_| count += 1).sum(), count)
            }
        }
    }

    /// Right answers and positions of a binary decision.
    fn binary(&self, output: &[f32], targets: Targets<'_>) -> (f64, u64) {
        let right =
            |logit: f32, target: f32| !logit.is_nan() && !target.is_nan() && (logit > 0.0) == (target > 0.5);
        let (mut sum, mut count) = (0_u64, 0_u64);
        let mut add = |logit: &f32, target: f32| {
            sum += u64::from(right(*logit, target));
            count += 1;
        };
        match targets {
            Targets::Real(values) => {
                output.iter().zip(values).for_each(|(logit, target)| add(logit, *target));
            }
            Targets::Integer(values) => {
                let counted = output.iter().zip(values).filter(|(_, target)| **target != self.ignore_index);
                counted.for_each(|(logit, target)| add(logit, if *target > 0 { 1.0 } else { 0.0 }));
            }
        }
        (sum as f64, count)
    }

    /// Positions whose target is among the `k` first by rank, and positions counted.
    fn ranked(
        &self,
        output: &[f32],
        shape: &[usize],
        layout: &Layout,
        targets: Targets<'_>,
        k: usize,
    ) -> Result<(f64, u64), MetricError> {
        let (mut sum, mut count) = (0_u64, 0_u64);
        for position in 0..layout.positions() {
            let target = match targets {
                Targets::Real(values) => largest(layout.classes_at(values, position)),
                Targets::Integer(values) => {
                    let found = values.get(position).copied().unwrap_or(self.ignore_index);
                    if found == self.ignore_index {
                        continue;
                    }
                    let class = usize::try_from(found).ok().filter(|class| *class < layout.classes);
                    let out_of_range = || MetricError::ClassOutOfRange {
                        position,
                        found,
                        last_class: layout.classes.saturating_sub(1),
                        shape: shape.to_vec(),
                    };
                    Some(class.ok_or_else(out_of_range)?)
                }
            };
            let rank = target.and_then(|class| rank(layout.classes_at(output, position), class));
            sum += u64::from(rank.is_some_and(|rank| rank < k));
            count += 1;
        }
        Ok((sum as f64, count))
    }
}

/// How positions and classes lie in `[N, C, d1, ...]`, the trailing axes taken as one.
struct Layout {
    examples: usize,
    classes: usize,
    inner: usize,
}

impl Layout {
    fn new(shape: &[usize]) -> Self {
        let mut axes = shape.iter().copied();
        let (examples, classes) = (axes.next().unwrap_or(1), axes.next().unwrap_or(1));
        Self { examples, classes, inner: elements(axes) }
    }

    fn positions(&self) -> usize {
        self.examples.saturating_mul(self.inner)
    }

    /// The values of all classes at a position, which are `inner` apart.
    fn classes_at<'a>(&self, values: &'a [f32], position: usize) -> impl Iterator<Item = f32> + Clone + 'a {
        let (example, inner) = (position / self.inner, position % self.inner);
        let first = example * self.classes * self.inner + inner;
        values.iter().copied().skip(first).step_by(self.inner).take(self.classes)
    }
}

/// The number of elements of a shape. One too large to count is larger than any slice, and refused for that.
fn elements(axes: impl Iterator<Item = usize>) -> usize {
    axes.fold(1, usize::saturating_mul)
}

/// The class with the largest value, the lowest such; none if there is a NaN or no class.
fn largest(values: impl Iterator<Item = f32>) -> Option<usize> {
    let mut best: Option<(usize, f32)> = None;
    for (class, value) in values.enumerate() {
        if value.is_nan() {
            return None;
        }
        if best.is_none_or(|(_, most)| value > most) {
            best = Some((class, value));
        }
    }
    best.map(|(class, _)| class)
}

/// How many classes come before `class` when sorted by value, largest first and equal ones by number; none if there is
/// a NaN.
fn rank(values: impl Iterator<Item = f32> + Clone, class: usize) -> Option<usize> {
    let own = values.clone().nth(class)?;
    let mut before = 0;
    for (other, value) in values.enumerate() {
        if value.is_nan() {
            return None;
        }
        before += usize::from(value > own || (value == own && other < class));
    }
    Some(before)
}
