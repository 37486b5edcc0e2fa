//! How a run ends: as it should, on request, or with an error.

use super::early_stopping::UnknownMonitor;
use super::evaluate::EvaluateError;
use super::event::StepDone;
use super::keeper::KeepError;
use super::prepare::PrepareError;
use crate::data::LoadError;
use crate::engine::error::EngineError;
use std::fmt;
use thiserror::Error;
use trainer_runtime::signals::Signal;

/// How a run, or this process's part of it, ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Ending {
    /// All epochs, or the most steps, are done.
    Complete,
    /// A metric no longer improved.
    StoppedEarly,
    /// The time is over; running again goes on.
    TimeIsOver,
    /// A signal stopped it; the state is saved.
    Signal(Signal),
}

/// Why training did not go on. Whatever was durable before still is.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RunError {
    /// Storage.
    #[error(transparent)]
    Keep(#[from] KeepError),
    /// Data.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// ONNX Runtime.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Validation.
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
    /// Early stopping watches something that is not measured.
    #[error(transparent)]
    Monitor(#[from] UnknownMonitor),
    /// A monitor without a value.
    #[error(
        "early stopping watches `{monitor}`, which this run does not measure; it measures {measured}: set \
             `train.early_stopping.monitor`, `metrics` or validation data"
    )]
    NotMeasured {
        /// The column watched.
        monitor: String,
        /// The columns there are.
        measured: String,
    },
    /// Too many batches gave a loss or gradient that is not finite.
    #[error(
        "training diverged: {refused} batches in a row gave a loss or gradient that is not finite, the last is batch {batch} of \
             epoch {epoch} (loss {loss}, gradient norm {gradient_norm}); lower `optimizer.lr`, set `train.clip_norm`, or raise \
             `train.max_refused_steps`; what was saved before goes on with `--allow-changed settings`"
    )]
    Diverged {
        /// Batches refused in a row.
        refused: u64,
        /// Epoch of the last one.
        epoch: u64,
        /// Its index in the epoch.
        batch: u64,
        /// Its loss.
        loss: f32,
        /// Its gradient norm.
        gradient_norm: f64,
    },
    /// The state itself is not finite.
    #[error(
        "training diverged: after step {step} parameters or optimizer state hold values that are not finite, so nothing was saved (last \
             good checkpoint: {last_good}); run again with a lower `optimizer.lr` or with `train.clip_norm` and `--allow-changed settings` to \
             go on from there, or start afresh in another --work-dir"
    )]
    NotFinite {
        /// The step.
        step: u64,
        /// The checkpoint that a resume would take.
        last_good: String,
    },
    /// Memory does not even suffice for one example at a time.
    #[error(
        "out of memory: {source_message}; the micro-batch was {micro_batch} and can not become smaller: use a smaller model or \
             inputs, an optimizer with less state (`optimizer.kind = \"sgd\"`), a smaller `train.eval_batch_size`, or a machine, device or \
             container with more memory", source_message = source.message
    )]
    OutOfMemory {
        /// Examples of a gradient computation when it ran out.
        micro_batch: usize,
        /// What ONNX Runtime said.
        source: EngineError,
    },
    /// Memory ran out, and the model can not do with less at a time.
    #[error("out of memory, and a micro-batch of {micro_batch} is too small for the model: {source}")]
    PartTooSmall {
        /// The micro-batch that was tried.
        micro_batch: usize,
        /// Why it does not do.
        source: Box<PrepareError>,
    },
    /// The graphs can not be compiled for other portions.
    #[error(transparent)]
    Rebuild(Box<PrepareError>),
    /// A thread panicked.
    #[error(
        "a thread panicked: {message}; this is a defect of the program, run again to go on from what is saved"
    )]
    Panicked {
        /// What it said.
        message: String,
    },
    /// A step computed again is not the step that the journal recorded.
    #[error(
        "step {step}, computed again after the last checkpoint, gave {what}: this is not the computation that was interrupted; use the \
             machine, library and threads of the run, or accept the difference with `--allow-changed environment`"
    )]
    NotReproduced {
        /// The step.
        step: u64,
        /// In what it differs.
        what: NotReproduced,
    },
    /// The disk was full for longer than the run waits.
    #[error(
        "the disk is full: {source}; step {step} is saved{}. Free some space and run the same command again to go on",
        if *is_saved { "" } else { ", what came after it is computed again" }
    )]
    DiskFull {
        /// The newest step that is saved.
        step: u64,
        /// Whether it is the last one.
        is_saved: bool,
        /// What found the disk full.
        source: trainer_runtime::keeper::KeepError,
    },
}

/// In what a step that was computed again differs from what the journal recorded: the first difference there is.
#[derive(Debug, Clone, PartialEq)]
pub enum NotReproduced {
    /// It is of another batch: an earlier batch was left out that was not before, or the other way round.
    Batch {
        /// Epoch and batch, from 0, now.
        found: (u64, u64),
        /// The same in the journal.
        recorded: (u64, u64),
    },
    /// The loss.
    Loss {
        /// Now.
        found: f32,
        /// In the journal.
        recorded: f32,
    },
    /// The loss scale after a batch that changed it.
    LossScale {
        /// Now.
        found: f32,
        /// In the journal.
        recorded: f32,
    },
    /// The parameters after the step.
    Parameters {
        /// Their digest now.
        found: u64,
        /// In the journal.
        recorded: u64,
    },
}

impl NotReproduced {
    /// The first difference between a step as it was computed and as it was recorded.
    #[must_use]
    pub fn of(found: &StepDone, recorded: &StepDone) -> Option<Self> {
        let place = |step: &StepDone| (step.epoch, step.batch);
        if place(found) != place(recorded) {
            return Some(Self::Batch { found: place(found), recorded: place(recorded) });
        }
        if found.loss_bits != recorded.loss_bits {
            let (found, recorded) = (f32::from_bits(found.loss_bits), f32::from_bits(recorded.loss_bits));
            return Some(Self::Loss { found, recorded });
        }
        match (found.digest, recorded.digest) {
            (Some(found), Some(recorded)) if found != recorded => Some(Self::Parameters { found, recorded }),
            _ => None,
        }
    }
}

impl fmt::Display for NotReproduced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Batch { found, recorded } => write!(
                f,
                "batch {} of epoch {} where the journal recorded batch {} of epoch {}",
                found.1, found.0, recorded.1, recorded.0
            ),
            Self::Loss { found, recorded } => {
                write!(f, "loss {found} where the journal recorded {recorded}")
            }
            Self::LossScale { found, recorded } => {
                write!(f, "a loss scale of {found} where the journal recorded {recorded}")
            }
            Self::Parameters { found, recorded } => {
                write!(
                    f,
                    "parameters with the digest {found:016x} where the journal recorded {recorded:016x}"
                )
            }
        }
    }
}

impl RunError {
    /// The error of ONNX Runtime behind this one, in training or in validation.
    #[must_use]
    pub fn engine(&self) -> Option<&EngineError> {
        match self {
            Self::Engine(error)
            | Self::Evaluate(EvaluateError::Engine(error))
            | Self::OutOfMemory { source: error, .. } => Some(error),
            Self::Rebuild(error) => match &**error {
                PrepareError::Engine(error) => Some(error),
                _ => None,
            },
            _ => None,
        }
    }

    /// The same, if it is the error of a computation.
    #[must_use]
    pub fn into_engine(self) -> Option<EngineError> {
        match self {
            Self::Engine(error) | Self::Evaluate(EvaluateError::Engine(error)) => Some(error),
            Self::Rebuild(error) => match *error {
                PrepareError::Engine(error) => Some(error),
                _ => None,
            },
            _ => None,
        }
    }
}
