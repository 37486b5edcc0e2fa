//! What is measured on the validation data besides the loss.
//!
//! Belongs here: each metric from predictions and targets. Does not belong here: where those come from.
//!
//! Everything here works on values in host memory, batch by batch, adds up in `f64` and in the order of the examples,
//! so that the same predictions give the same bits.

mod auroc;
mod confusion;
mod layout;
mod regression;
mod truths;
#[cfg(test)]
mod tests;

pub use confusion::Confusion;
pub use truths::ConfusionSum;

use crate::config::Metric;
use auroc::Scores;
use layout::{Counted, Layout, elements, rank};
pub(super) use layout::{largest, log_softmax};
use regression::Determination;
use truths::{Truths, add_to_matrix, is_yes};

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
    format!("val_{metric}")
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

/// How predictions are read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    /// Integer targets with this value do not count.
    pub ignore_index: i64,
    /// One value per position says yes above this: 0 for logits, 0.5 for probabilities.
    pub threshold: f32,
    /// What the values on axis 1 are.
    pub axis_1: AxisOne,
}

/// What the values on axis 1 of an output are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AxisOne {
    /// Classes, one of which is right; a single one asks yes or no.
    Classes,
    /// Questions of their own, each answered yes or no.
    Questions,
}

impl Reading {
    fn layout(&self, shape: &[usize]) -> Layout {
        match self.axis_1 {
            AxisOne::Classes => Layout::new(shape),
            AxisOne::Questions => Layout { examples: elements(shape.iter().copied()), classes: 1, inner: 1 },
        }
    }
}

/// A batch of predictions and what they are compared with.
#[derive(Debug, Clone, Copy)]
pub struct Answers<'a> {
    /// Predictions in row-major order.
    pub output: &'a [f32],
    /// `[N, C, d1, ...]`, or `[N]` for one logit or value per example.
    pub shape: &'a [usize],
    /// What is right.
    pub targets: Targets<'a>,
    /// 0 where a position does not count: one number per example, or per example and the leading axes of positions.
    pub mask: Option<&'a [f32]>,
}

/// Adds up one metric over the batches of a data set.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricSum {
    metric: Metric,
    reading: Reading,
    sum: Sum,
}

/// What a metric keeps of the batches so far.
#[derive(Debug, Clone, PartialEq)]
enum Sum {
    /// A sum and what it is divided by.
    Mean {
        sum: f64,
        count: u64,
    },
    Confusion {
        matrix: Confusion,
        is_binary: bool,
    },
    Scores(Scores),
    Determination(Determination),
}

impl MetricSum {
    /// Nothing measured yet.
    #[must_use]
    pub fn new(metric: Metric, reading: Reading) -> Self {
        let sum = match metric {
            Metric::Accuracy | Metric::TopK(_) | Metric::Mae | Metric::Perplexity => {
                Sum::Mean { sum: 0.0, count: 0 }
            }
            Metric::Precision(_) | Metric::Recall(_) | Metric::F1(_) => {
                Sum::Confusion { matrix: Confusion::default(), is_binary: false }
            }
            Metric::Auroc => Sum::Scores(Scores::default()),
            Metric::R2 => Sum::Determination(Determination::default()),
        };
        Self { metric, reading, sum }
    }

    /// What is measured.
    #[must_use]
    pub fn metric(&self) -> Metric {
        self.metric
    }

    /// The metric of what was added; NaN if nothing counted.
    #[must_use]
    pub fn value(&self) -> f64 {
        match &self.sum {
            Sum::Mean { sum, count } if self.metric == Metric::Perplexity => (sum / *count as f64).exp(),
            Sum::Mean { sum, count } => sum / *count as f64,
            Sum::Scores(scores) => scores.value(),
            Sum::Determination(columns) => columns.value(),
            Sum::Confusion { matrix, is_binary } => {
                let (average, score): (_, fn(u64, u64, u64) -> f64) = match self.metric {
                    Metric::Precision(average) => (average, confusion::precision),
                    Metric::Recall(average) => (average, confusion::recall),
                    Metric::F1(average) => (average, confusion::f1),
                    _ => return f64::NAN,
                };
                if *is_binary && average == crate::config::Average::Macro {
                    matrix.score_of_yes(score)
                } else {
                    matrix.score(average, score)
                }
            }
        }
    }

    /// Adds a batch. A batch padded to full size is given without its padding: the leading examples are a prefix of all
    /// slices.
    ///
    /// * Accuracy and top-k count each of the `N * d1 * ...` positions. The target's class is ranked among the `C`
    ///   logits, the lower class number first where logits are equal; it is right among the first 1 or `k`. Of
    ///   probability targets the class is the largest one, by the same order.
    /// * With one logit (`C` = 1 or shape `[N]`) the question is binary: an output above the threshold says yes, and so
    ///   does a target above 0.5. Precision, recall and F1 are then those of yes, unless they are micro-averaged.
    /// * A position with a NaN among its logits or probabilities is wrong; it never counts as right by chance.
    /// * The perplexity is `e` to the mean negative log-probability of the targets' classes.
    /// * The mean absolute error and r2 take every value of the output; a NaN makes them NaN.
    ///
    /// # Errors
    /// If the lengths do not belong together or a class number is out of range. The sum is then as it was.
    pub fn add(&mut self, answers: &Answers<'_>) -> Result<(), MetricError> {
        let layout = self.reading.layout(answers.shape);
        self.check_lengths(answers, &layout)?;
        let is_binary = layout.classes == 1;
        if self.takes_every_value() {
            self.add_values(answers);
            return Ok(());
        }
        let truths = Truths { answers, layout: &layout, reading: self.reading, is_binary };
        truths.check()?;
        let (metric, threshold) = (self.metric, self.reading.threshold);
        match &mut self.sum {
            Sum::Mean { sum, count } => truths.each(|position, truth| {
                let values = layout.classes_at(answers.output, position);
                *count += 1;
                *sum += match metric {
                    Metric::Perplexity => {
                        // One logit is that of yes against a logit of 0 for no.
                        let binary = [0.0].into_iter().chain(values.clone().take(1));
                        let truth = truth.unwrap_or(usize::MAX);
                        let log = if is_binary {
                            log_softmax(binary).nth(truth)
                        } else {
                            log_softmax(values).nth(truth)
                        };
                        -log.unwrap_or(f64::NAN)
                    }
                    _ if is_binary => {
                        let answer = values.clone().next().and_then(|value| is_yes(value, threshold));
                        f64::from(u8::from(answer.is_some() && answer == truth))
                    }
                    _ => {
                        let most = if let Metric::TopK(k) = metric { k } else { 1 };
                        let rank = truth.and_then(|class| rank(values, class));
                        f64::from(u8::from(rank.is_some_and(|rank| rank < most)))
                    }
                };
            }),
            Sum::Confusion { matrix, is_binary: asks_yes } => {
                *asks_yes = is_binary;
                add_to_matrix(matrix, &truths);
            }
            Sum::Scores(scores) => truths.each(|position, truth| {
                let values = layout.classes_at(answers.output, position);
                let truth = truth.unwrap_or(usize::MAX);
                match layout.classes {
                    1 => scores.add(truth, values),
                    2 => {
                        let both: Vec<f32> = values.collect();
                        let difference = both.iter().rev().copied().reduce(|yes, no| yes - no);
                        scores.add(truth, difference.into_iter());
                    }
                    _ => scores.add(truth, log_softmax(values).map(|log| log as f32)),
                }
            }),
            Sum::Determination(_) => {}
        }
        Ok(())
    }

    fn takes_every_value(&self) -> bool {
        matches!(self.metric, Metric::Mae | Metric::R2)
    }

    fn check_lengths(&self, answers: &Answers<'_>, layout: &Layout) -> Result<(), MetricError> {
        let shape = answers.shape.to_vec();
        let expected = elements(answers.shape.iter().copied());
        if answers.output.len() != expected {
            return Err(MetricError::OutputLength { shape, found: answers.output.len(), expected });
        }
        let per_value = matches!(answers.targets, Targets::Real(_)) || self.takes_every_value();
        let expected = if per_value { answers.output.len() } else { layout.positions() };
        if answers.targets.len() != expected {
            let (metric, found) = (self.metric.to_string(), answers.targets.len());
            return Err(MetricError::TargetLength { metric, shape, found, expected });
        }
        Ok(())
    }

    /// Adds every value of the output with its target.
    fn add_values(&mut self, answers: &Answers<'_>) {
        let counted = Counted { mask: answers.mask, of: answers.output.len() };
        let per_example = answers.output.len() / answers.shape.first().copied().unwrap_or(1).max(1);
        let ignored = self.reading.ignore_index;
        let target = |at: usize| match answers.targets {
            Targets::Real(values) => values.get(at).map(|target| f64::from(*target)),
            Targets::Integer(values) => {
                values.get(at).filter(|target| **target != ignored).map(|target| *target as f64)
            }
        };
        for (at, value) in answers.output.iter().enumerate() {
            let Some(target) = target(at).filter(|_| counted.counts(at)) else { continue };
            let value = f64::from(*value);
            match &mut self.sum {
                Sum::Mean { sum, count } => {
                    *sum += (value - target).abs();
                    *count += 1;
                }
                Sum::Determination(columns) => columns.add(at % per_example.max(1), value, target),
                Sum::Confusion { .. } | Sum::Scores(_) => {}
            }
        }
    }
}
