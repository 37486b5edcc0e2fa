//! Loss and metrics of the committed state on the validation data.

use super::metric::{MeanLoss, MetricError, MetricSum, Targets, validation_column};
use super::prepare::Prepared;
use crate::data::{Batches, Cursor, LoadError, Prefetch, Values};
use crate::engine::error::EngineError;
use std::num::NonZeroUsize;
use thiserror::Error;

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
    let Some((loader, sampler)) = prepared.validation.clone() else { return Ok(Vec::new()) };
    let first = Cursor { epoch: 1, batch: 0 };
    let mut batches = Batches::start(loader, sampler, first, 1, Prefetch::Ahead(NonZeroUsize::MIN));
    let mut loss = MeanLoss::default();
    let ignore_index = prepared.plan.loss.ignore_index;
    let mut metrics: Vec<MetricSum> =
        prepared.plan.metrics.iter().map(|metric| MetricSum::new(*metric, ignore_index)).collect();
    while let Some(batch) = batches.next()? {
        let evaluated = prepared.engine.evaluate(&prepared.names, &batch.arrays)?;
        let weight = f64::from(evaluated.weight);
        loss.add(f64::from(evaluated.loss_sum) / weight, weight);
        let target = prepared.target_position.and_then(|position| batch.arrays.get(position));
        let targets = target.and_then(|array| match &array.values {
            Values::I64(labels) => Some(Targets::Integer(labels)),
            Values::F32(values) => Some(Targets::Real(values)),
            _ => None,
        });
        // A tensor of ONNX Runtime is contiguous and row-major, so there always is a slice.
        if let (Some(targets), Some(predictions)) = (targets, evaluated.predictions.as_slice()) {
            for metric in &mut metrics {
                metric.add(predictions, evaluated.predictions.shape(), targets)?;
            }
        }
        batches.recycle(batch);
    }
    let mut columns = vec![("val_loss".to_owned(), loss.value())];
    columns.extend(metrics.iter().map(|metric| (validation_column(metric.metric()), metric.value())));
    Ok(columns)
}
