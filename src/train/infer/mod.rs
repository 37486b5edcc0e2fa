//! A trained model in use: which saved state is meant, what it is worth, what it answers.
//!
//! Belongs here: finding and verifying a checkpoint, giving its values to the model, evaluating it on examples with
//! targets, and its answers to examples without. Does not belong here: printing, training, and anything that changes a
//! work directory: nothing here does, and none of it needs the lock of a run.

mod branches;
mod which;
mod chosen;
mod trained;
mod evaluator;
mod predictor;
mod answer;
mod write;

pub use answer::{Answer, AnswerError};
pub use branches::branches;
pub use chosen::{ChooseError, Chosen, choose};
pub use evaluator::{Evaluator, Examples, OpenError, PartOfData};
pub(super) use predictor::feed;
pub use predictor::{Answered, PredictError, Predictor};
pub use trained::{Model, Trained, ValuesError, inference_file};
pub use which::{ParseWhichError, Which, available, find_file, not_there};
pub use write::{Overwrite, WriteError, Writer, refuse_existing};
