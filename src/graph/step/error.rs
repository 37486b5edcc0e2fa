//! Why no graph can be built from a model.

use crate::graph::autodiff::Unsupported;
use crate::graph::fold::FoldError;
use crate::graph::loss::LossError;
use crate::graph::tensor::Dtype;
use crate::graph::train_form::TrainFormError;
use thiserror::Error;

/// Why no training or evaluation graph can be built from a model.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StepError {
    /// Shapes can not be fixed.
    #[error(transparent)]
    Fold(#[from] FoldError),
    /// The model has no training form.
    #[error(transparent)]
    TrainForm(#[from] TrainFormError),
    /// The loss does not fit.
    #[error(transparent)]
    Loss(#[from] LossError),
    /// Operators without a gradient.
    #[error(transparent)]
    Gradient(#[from] Unsupported),
    /// Names in the settings that the model does not have.
    #[error("the model has no {what} `{name}`, it has {available}; correct `{key}`")]
    NoSuchName {
        /// Input, output.
        what: &'static str,
        /// The name asked for.
        name: String,
        /// What there is.
        available: String,
        /// The settings key.
        key: String,
    },
    /// Inputs of the model that no data feed.
    #[error(
        "no data are mapped to the model's input `{input}`; add `data.inputs.{input} = {{ array = \"...\" }}`"
    )]
    NotFed {
        /// The input.
        input: String,
    },
    /// An input whose free dimensions data do not determine.
    #[error(
        "input `{input}` of the model has shape {found}, but the data have {given:?} per example; map another array or export the \
             model for this shape"
    )]
    InputShape {
        /// The input.
        input: String,
        /// Its dimensions in the model.
        found: String,
        /// Per-example dimensions of the data.
        given: Vec<usize>,
    },
    /// A model exported for batches of one size.
    #[error(
        "input `{input}` of the model takes batches of exactly {found} examples, and one of {batch} is needed; export the model \
             with a free batch axis (docs/exporting.md), or train with `train.batch_size = {found}`, `data.drop_last = true` and a \
             number of validation examples that {found} divides"
    )]
    FixedBatch {
        /// The input.
        input: String,
        /// The batch that the model is for.
        found: usize,
        /// The batch that the run needs.
        batch: usize,
    },
    /// An output that no node makes once branches are decided and constants folded.
    #[error(
        "nothing makes the model's output `{output}` once its branches are decided; the file is damaged or was written by a faulty \
             tool, export the model again"
    )]
    NotProduced {
        /// The output.
        output: String,
    },
    /// A model with no or several outputs where one must be chosen.
    #[error("the model has {found} outputs ({available}), expected one; choose it with `{table}.output`")]
    ChooseOutput {
        /// The table of the settings that the loss stands in.
        table: String,
        /// How many there are.
        found: usize,
        /// Their names.
        available: String,
    },
    /// Nothing to train.
    #[error(
        "the loss depends on no trainable parameter of the model ({considered} float initializers, none of them trainable); check \
             `model.freeze` and `loss.output`, and that the model was exported with its weights as initializers"
    )]
    NothingToTrain {
        /// Float initializers that were considered.
        considered: usize,
    },
    /// Parameters of another element type alone.
    #[error(
        "nothing can be trained: all {considered} float initializers of the model are {found}, expected float32; export it after \
             `model.float()`"
    )]
    OnlyFloat32 {
        /// Float initializers that were considered.
        considered: usize,
        /// Their type, or that of the first.
        found: Dtype,
    },
}
