//! Loss and metrics of the committed state on examples, most often those for validation.

use super::metric::{
    Answers, AxisOne, Confusion, ConfusionSum, MeanLoss, MetricError, MetricSum, Reading, Targets,
    validation_column,
};
use super::prepare::Prepared;
use crate::config::{LossKind, LossPlan, Metric};
use crate::data::{Batches, Cursor, HostArray, LoadError, Loader, Prefetch, Sampler, Values};
use crate::engine::error::EngineError;
use crate::engine::step::Engine;
use std::num::NonZeroUsize;
use thiserror::Error;

/// Name of the confusion matrix in a work directory.
pub const CONFUSION_CSV: &str = "confusion.csv";

/// Most classes of which a confusion matrix is written.
const MAX_CONFUSION_CLASSES: usize = 1000;

/// Why an evaluation did not end.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EvaluateError {
    /// A batch could not be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// ONNX Runtime failed or was cancelled.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Predictions and targets do not fit.
    #[error(transparent)]
    Metric(#[from] MetricError),
}

/// What is evaluated: examples, where targets are among them, and the engine that holds the state.
pub(super) struct Subject<'a> {
    pub(super) engine: &'a mut Engine,
    pub(super) loss: &'a LossPlan,
    pub(super) examples: (Loader, Sampler),
    pub(super) names: &'a [String],
    pub(super) target_position: Option<usize>,
    pub(super) mask_position: Option<usize>,
}

/// What an evaluation came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// The mean loss.
    pub loss: f64,
    /// The metrics that were asked for.
    pub metrics: Vec<(Metric, f64)>,
    /// How often each class was taken for each other one; nothing for outputs that are no classes, or more of them than
    /// a matrix is good for.
    pub confusion: Option<Confusion>,
}

/// Evaluates all validation examples: `val_loss` first, then a column per metric. Nothing without validation data.
///
/// # Errors
/// If reading or computing fails; the state is untouched in any case.
pub fn validate(prepared: &mut Prepared) -> Result<Vec<(String, f64)>, EvaluateError> {
    let metrics = prepared.plan.metrics.clone();
    let Some(subject) = Subject::of_run(prepared) else { return Ok(Vec::new()) };
    let measured = subject.measure(&metrics, Matrix::NotWanted)?;
    let mut columns = vec![("val_loss".to_owned(), measured.loss)];
    columns.extend(measured.metrics.iter().map(|(metric, value)| (validation_column(*metric), *value)));
    Ok(columns)
}

/// The confusion matrix of the validation examples; nothing without validation data, and for outputs that are no classes or
/// more of them than a matrix is good for.
///
/// # Errors
/// As [`validate`].
pub fn confusion(prepared: &mut Prepared) -> Result<Option<Confusion>, EvaluateError> {
    let Some(subject) = Subject::of_run(prepared).filter(|subject| names_classes(subject.loss)) else {
        return Ok(None);
    };
    Ok(subject.measure(&[], Matrix::Wanted)?.confusion)
}

/// Whether a confusion matrix is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Matrix {
    Wanted,
    NotWanted,
}

impl<'a> Subject<'a> {
    /// The validation examples of a run, if it has any.
    fn of_run(prepared: &'a mut Prepared) -> Option<Self> {
        let Prepared { engine, plan, names, target_position, mask_position, validation, .. } = prepared;
        let examples = validation.clone()?;
        let (target_position, mask_position) = (*target_position, *mask_position);
        Some(Self { engine, loss: &plan.loss, examples, names, target_position, mask_position })
    }

    /// Evaluates all examples in their order.
    ///
    /// # Errors
    /// As [`validate`].
    pub(super) fn measure(self, metrics: &[Metric], matrix: Matrix) -> Result<Measured, EvaluateError> {
        let reading = reading(self.loss);
        let is_matrix = matrix == Matrix::Wanted && names_classes(self.loss);
        let mut confusion = is_matrix.then(|| ConfusionSum::new(reading));
        let mut loss = MeanLoss::default();
        let mut metrics: Vec<MetricSum> =
            metrics.iter().map(|metric| MetricSum::new(*metric, reading)).collect();
        self.each_batch(|(sum, weight), answers| {
            loss.add(sum / weight, weight);
            let Some(answers) = answers else { return Ok(()) };
            metrics.iter_mut().try_for_each(|metric| metric.add(&answers))?;
            if answers.shape.get(1).is_some_and(|classes| *classes > MAX_CONFUSION_CLASSES) {
                confusion = None;
            }
            confusion.as_mut().map_or(Ok(()), |confusion| confusion.add(&answers))
        })?;
        Ok(Measured {
            loss: loss.value(),
            metrics: metrics.iter().map(|metric| (metric.metric(), metric.value())).collect(),
            confusion: confusion.map(|sum| sum.matrix().clone()).filter(|matrix| matrix.classes() > 0),
        })
    }

    /// Calls `visit` for each batch with sum and weight of the loss, and with the predictions and what they are compared
    /// with where there is something.
    fn each_batch(
        self,
        mut visit: impl FnMut((f64, f64), Option<Answers<'_>>) -> Result<(), MetricError>,
    ) -> Result<(), EvaluateError> {
        let (loader, sampler) = self.examples;
        let first = Cursor { epoch: 1, batch: 0 };
        let mut batches = Batches::start(loader, sampler, first, 1, Prefetch::Ahead(NonZeroUsize::MIN));
        while let Some(batch) = batches.next()? {
            let evaluated = self.engine.evaluate(self.names, &batch.arrays)?;
            let array = |position: Option<usize>| position.and_then(|position| batch.arrays.get(position));
            let mask = array(self.mask_position).and_then(reals);
            let targets = array(self.target_position).and_then(|array| match &array.values {
                Values::I64(labels) => Some(Targets::Integer(labels)),
                _ => reals(array).map(Targets::Real),
            });
            // A tensor of ONNX Runtime is contiguous and row-major, so there always is a slice.
            let answers = targets.zip(evaluated.predictions.as_slice()).map(|(targets, output)| Answers {
                output,
                shape: evaluated.predictions.shape(),
                targets,
                mask,
            });
            visit((f64::from(evaluated.loss_sum), f64::from(evaluated.weight)), answers)?;
            batches.recycle(batch);
        }
        Ok(())
    }
}

/// Whether the predictions of the first loss say classes.
fn names_classes(loss: &LossPlan) -> bool {
    matches!(loss.kind, LossKind::CrossEntropy | LossKind::Nll | LossKind::Bce | LossKind::BceWithLogits)
}

/// How the predictions of the first loss are to be read.
fn reading(loss: &LossPlan) -> Reading {
    let threshold = if loss.kind == LossKind::Bce { 0.5 } else { 0.0 };
    let axis_1 = match loss.kind {
        LossKind::Bce | LossKind::BceWithLogits => AxisOne::Questions,
        _ => AxisOne::Classes,
    };
    Reading { ignore_index: loss.ignore_index, threshold, axis_1 }
}

fn reals(array: &HostArray) -> Option<&[f32]> {
    match &array.values {
        Values::F32(values) => Some(values),
        _ => None,
    }
}
