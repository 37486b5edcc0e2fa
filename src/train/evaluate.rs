//! Loss and metrics of the committed state on the validation data.

use super::metric::{
    Answers, AxisOne, Confusion, ConfusionSum, MeanLoss, MetricError, MetricSum, Reading, Targets,
    validation_column,
};
use super::prepare::Prepared;
use crate::config::{LossKind, LossPlan};
use crate::data::{Batches, Cursor, HostArray, LoadError, Prefetch, Values};
use crate::engine::error::EngineError;
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

/// Evaluates all validation examples: `val_loss` first, then a column per metric. Nothing without validation data.
///
/// # Errors
/// If reading or computing fails; the state is untouched in any case.
pub fn validate(prepared: &mut Prepared) -> Result<Vec<(String, f64)>, EvaluateError> {
    if prepared.validation.is_none() {
        return Ok(Vec::new());
    }
    let mut loss = MeanLoss::default();
    let reading = reading(&prepared.plan.loss);
    let mut metrics: Vec<MetricSum> =
        prepared.plan.metrics.iter().map(|metric| MetricSum::new(*metric, reading)).collect();
    each_batch(prepared, |(sum, weight), answers| {
        loss.add(sum / weight, weight);
        answers.map_or(Ok(()), |answers| metrics.iter_mut().try_for_each(|metric| metric.add(&answers)))
    })?;
    let mut columns = vec![("val_loss".to_owned(), loss.value())];
    columns.extend(metrics.iter().map(|metric| (validation_column(metric.metric()), metric.value())));
    Ok(columns)
}

/// The confusion matrix of the validation examples; nothing without validation data, and for outputs that are no classes or
/// more of them than a matrix is good for.
///
/// # Errors
/// As [`validate`].
pub fn confusion(prepared: &mut Prepared) -> Result<Option<Confusion>, EvaluateError> {
    let names_classes = matches!(
        prepared.plan.loss.kind,
        LossKind::CrossEntropy | LossKind::Nll | LossKind::Bce | LossKind::BceWithLogits
    );
    if !names_classes || prepared.validation.is_none() {
        return Ok(None);
    }
    let mut sum = ConfusionSum::new(reading(&prepared.plan.loss));
    let mut too_many = false;
    each_batch(prepared, |_, answers| {
        let Some(answers) = answers else { return Ok(()) };
        too_many |= answers.shape.get(1).is_some_and(|classes| *classes > MAX_CONFUSION_CLASSES);
        if too_many { Ok(()) } else { sum.add(&answers) }
    })?;
    Ok(Some(sum.matrix()).filter(|matrix| !too_many && matrix.classes() > 0).cloned())
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

/// Calls `visit` for each validation batch with sum and weight of the loss, and with the predictions and what they are
/// compared with where there is something.
fn each_batch(
    prepared: &mut Prepared,
    mut visit: impl FnMut((f64, f64), Option<Answers<'_>>) -> Result<(), MetricError>,
) -> Result<(), EvaluateError> {
    let Some((loader, sampler)) = prepared.validation.clone() else { return Ok(()) };
    let first = Cursor { epoch: 1, batch: 0 };
    let mut batches = Batches::start(loader, sampler, first, 1, Prefetch::Ahead(NonZeroUsize::MIN));
    while let Some(batch) = batches.next()? {
        let evaluated = prepared.engine.evaluate(&prepared.names, &batch.arrays)?;
        let array = |position: Option<usize>| position.and_then(|position| batch.arrays.get(position));
        let mask = array(prepared.mask_position).and_then(reals);
        let targets = array(prepared.target_position).and_then(|array| match &array.values {
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

fn reals(array: &HostArray) -> Option<&[f32]> {
    match &array.values {
        Values::F32(values) => Some(values),
        _ => None,
    }
}
