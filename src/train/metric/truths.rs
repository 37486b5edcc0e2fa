//! The true classes of a batch, and the matrix of truths and answers.

use super::layout::{Counted, Layout, largest};
use super::{Answers, Confusion, MetricError, MetricSum, Reading, Targets};
use crate::config::Metric;

/// The matrix of (true class, predicted class) over the batches of a data set.
#[derive(Debug, Clone)]
pub struct ConfusionSum {
    reading: Reading,
    matrix: Confusion,
}

impl ConfusionSum {
    /// Nothing counted yet.
    #[must_use]
    pub fn new(reading: Reading) -> Self {
        Self { reading, matrix: Confusion::default() }
    }

    /// Adds a batch, read as by [`MetricSum::add`].
    ///
    /// # Errors
    /// If the lengths do not belong together or a class number is out of range. The matrix is then as it was.
    pub fn add(&mut self, answers: &Answers<'_>) -> Result<(), MetricError> {
        let layout = self.reading.layout(answers.shape);
        MetricSum::new(Metric::Accuracy, self.reading).check_lengths(answers, &layout)?;
        let is_binary = layout.classes == 1;
        let truths = Truths { answers, layout: &layout, reading: self.reading, is_binary };
        truths.check()?;
        add_to_matrix(&mut self.matrix, &truths);
        Ok(())
    }

    /// What was counted.
    #[must_use]
    pub fn matrix(&self) -> &Confusion {
        &self.matrix
    }
}

pub(super) fn add_to_matrix(matrix: &mut Confusion, truths: &Truths<'_>) {
    matrix.grow(truths.layout.classes.max(2));
    truths.each(|position, truth| {
        let mut values = truths.layout.classes_at(truths.answers.output, position);
        let predicted = if truths.is_binary {
            values.next().and_then(|value| is_yes(value, truths.reading.threshold))
        } else {
            largest(values)
        };
        if let Some(truth) = truth {
            matrix.add(truth, predicted);
        }
    });
}

/// 1 for a value above the threshold, 0 for others, nothing for NaN.
pub(super) fn is_yes(value: f32, threshold: f32) -> Option<usize> {
    (!value.is_nan()).then(|| usize::from(value > threshold))
}

/// The true classes of a batch.
pub(super) struct Truths<'a> {
    pub(super) answers: &'a Answers<'a>,
    pub(super) layout: &'a Layout,
    pub(super) reading: Reading,
    pub(super) is_binary: bool,
}

impl Truths<'_> {
    /// That every class number has a logit.
    pub(super) fn check(&self) -> Result<(), MetricError> {
        let Targets::Integer(values) = self.answers.targets else { return Ok(()) };
        if self.is_binary {
            return Ok(());
        }
        let is_class = |target: i64| usize::try_from(target).is_ok_and(|class| class < self.layout.classes);
        let wrong =
            |(_, target): &(usize, &i64)| **target != self.reading.ignore_index && !is_class(**target);
        match values.iter().enumerate().find(wrong) {
            None => Ok(()),
            Some((position, found)) => Err(MetricError::ClassOutOfRange {
                position,
                found: *found,
                last_class: self.layout.classes.saturating_sub(1),
                shape: self.answers.shape.to_vec(),
            }),
        }
    }

    /// Calls `visit` with each position that counts and its class; `None` for a target that is no number.
    pub(super) fn each(&self, mut visit: impl FnMut(usize, Option<usize>)) {
        let counted = Counted { mask: self.answers.mask, of: self.layout.positions() };
        for position in (0..self.layout.positions()).filter(|position| counted.counts(*position)) {
            let truth = match self.answers.targets {
                Targets::Integer(values) => {
                    let Some(target) = values.get(position).filter(|at| **at != self.reading.ignore_index)
                    else {
                        continue;
                    };
                    if self.is_binary {
                        Some(usize::from(*target > 0))
                    } else {
                        usize::try_from(*target).ok()
                    }
                }
                Targets::Real(values) if self.is_binary => {
                    values.get(position).and_then(|target| is_yes(*target, 0.5))
                }
                Targets::Real(values) => largest(self.layout.classes_at(values, position)),
            };
            visit(position, truth);
        }
    }
}
