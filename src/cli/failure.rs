//! Errors on their way out of the process, each with the exit code it means.

use super::exit::Exit;
use crate::engine::error::{EngineError, ErrorClass};
use crate::report::recorded::ReadError;
use crate::train::keeper::KeepError;
use crate::train::outcome::RunError;
use crate::train::prepare::PrepareError;
use std::path::Path;
use trainer_runtime::journal::OpenError;
use trainer_runtime::keeper;

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

    /// A folder that is no run's: what it lacks, and what else than a run's folder the command takes.
    #[must_use]
    pub fn not_a_run(dir: &Path, lacks: &str, or: &str) -> Self {
        // A name that was mistyped lacks everything, and that is what to say of it.
        let has = if dir.exists() { format!("it has {lacks}") } else { "there is no such folder".to_owned() };
        let dir = dir.display();
        let message = format!(
            "{dir} is not the folder of a run: {has}; give the folder that `trainer run --work-dir` was given{or}"
        );
        Self::new(Exit::Usage, message)
    }

    /// The chain of causes on one line. A cause that the message before it has quoted is not told twice.
    #[must_use]
    pub fn message(&self) -> String {
        let mut message = String::new();
        for cause in self.error.chain().map(ToString::to_string) {
            if message.is_empty() {
                message = cause;
            } else if !message.contains(&cause) {
                message += ": ";
                message += &cause;
            }
        }
        message
    }
}

/// Turns an error into a failure with this exit code.
pub fn fail<E: std::error::Error + Send + Sync + 'static>(exit: Exit) -> impl Fn(E) -> Failure {
    move |error| Failure { exit, error: anyhow::Error::new(error) }
}

impl Failure {
    /// A run in `work_dir` whose journal can not be shown.
    #[must_use]
    pub fn unread(work_dir: &Path, error: ReadError) -> Self {
        match error {
            ReadError::NoRun { .. } => Self::not_a_run(work_dir, "no journal", ""),
            // A newer program's, which a repair refuses as well.
            ReadError::Journal(error @ OpenError::Version { .. }) => fail(Exit::Damaged)(error),
            ReadError::Journal(error) => {
                let exit = if error.is_damage() { Exit::Damaged } else { Exit::StorageFailed };
                let remedy = super::repair::command(work_dir);
                Self::new(exit, format!("{error}; `{remedy}` says what can be kept"))
            }
            other => fail(Exit::Damaged)(other),
        }
    }
}

impl From<KeepError> for Failure {
    fn from(error: KeepError) -> Self {
        fail(Exit::StorageFailed)(error)
    }
}

impl From<keeper::KeepError> for Failure {
    fn from(error: keeper::KeepError) -> Self {
        fail(Exit::StorageFailed)(error)
    }
}

impl From<PrepareError> for Failure {
    fn from(error: PrepareError) -> Self {
        let exit = match &error {
            error if error.is_out_of_memory() => Exit::OutOfMemory,
            PrepareError::Engine(error) => of_engine(error),
            _ => Exit::Usage,
        };
        fail(exit)(error)
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        let by_kind = match &error {
            RunError::Keep(_) | RunError::DiskFull { .. } => Exit::StorageFailed,
            RunError::Monitor(_) | RunError::NotMeasured { .. } => Exit::Usage,
            RunError::Diverged { .. } | RunError::NotFinite { .. } => Exit::Diverged,
            RunError::NotReproduced { .. } => Exit::Changed,
            RunError::OutOfMemory { .. } | RunError::PartTooSmall { .. } => Exit::OutOfMemory,
            _ => Exit::Failure,
        };
        let exit = error.engine().map_or(by_kind, of_engine);
        fail(exit)(error)
    }
}

fn of_engine(error: &EngineError) -> Exit {
    if error.class == ErrorClass::OutOfMemory { Exit::OutOfMemory } else { Exit::Failure }
}

#[cfg(test)]
mod tests {
    use super::{Exit, Failure};
    use anyhow::Context as _;

    #[test]
    fn a_cause_that_is_quoted_already_is_not_told_twice() {
        let error = std::io::Error::other("disk gone");
        let quoted = anyhow::Error::new(error).context("can not read a.toml: disk gone; check the path");
        assert_eq!(
            Failure { exit: Exit::Failure, error: quoted }.message(),
            "can not read a.toml: disk gone; check the path"
        );
        let plain = Err::<(), _>(std::io::Error::other("disk gone")).context("can not read a.toml");
        assert_eq!(
            Failure { exit: Exit::Failure, error: plain.unwrap_err() }.message(),
            "can not read a.toml: disk gone"
        );
    }
}
