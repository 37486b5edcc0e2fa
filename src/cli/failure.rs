//! Errors on their way out of the process, each with the exit code it means.

use super::exit::Exit;
use crate::engine::error::{EngineError, ErrorClass};
use crate::train::evaluate::EvaluateError;
use crate::train::keeper::KeepError;
use crate::train::outcome::RunError;
use crate::train::prepare::PrepareError;

/// A failure of the command: printed once, as a chain of causes, then the process ends with `exit`.
#[derive(Debug)]
pub struct Failure {
    /// How the process ends.
    pub exit: Exit,
    /// What happened.
    pub error: anyhow::Error,
}

impl Failure {
    /// A failure that is told in one message.
    #[must_use]
    pub fn new(exit: Exit, message: String) -> Self {
        Self { exit, error: anyhow::Error::msg(message) }
    }
}

/// Turns an error into a failure with this exit code.
pub fn fail<E: std::error::Error + Send + Sync + 'static>(exit: Exit) -> impl Fn(E) -> Failure {
    move |error| Failure { exit, error: anyhow::Error::new(error) }
}

impl From<KeepError> for Failure {
    fn from(error: KeepError) -> Self {
        fail(Exit::StorageFailed)(error)
    }
}

impl From<PrepareError> for Failure {
    fn from(error: PrepareError) -> Self {
        let exit = match &error {
            PrepareError::Engine(error) => of_engine(error),
            _ => Exit::Usage,
        };
        fail(exit)(error)
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        let exit = match &error {
            RunError::Keep(_) => Exit::StorageFailed,
            RunError::Engine(error) | RunError::Evaluate(EvaluateError::Engine(error)) => of_engine(error),
            RunError::Monitor(_) | RunError::NotMeasured { .. } => Exit::Usage,
            RunError::Diverged { .. } => Exit::Diverged,
            RunError::NotReproduced { .. } => Exit::Changed,
            _ => Exit::Failure,
        };
        fail(exit)(error)
    }
}

fn of_engine(error: &EngineError) -> Exit {
    if error.class == ErrorClass::OutOfMemory { Exit::OutOfMemory } else { Exit::Failure }
}
