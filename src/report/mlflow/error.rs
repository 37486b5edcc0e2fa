//! Why a server was not told.

use std::path::PathBuf;
use thiserror::Error;

/// MLflow's code for what is not there.
pub(super) const NOT_THERE: &str = "RESOURCE_DOES_NOT_EXIST";

/// Why a server was not told.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TrackError {
    /// What is named as the server is none.
    #[error("`{uri}` is no address of an MLflow server; write http://HOST:PORT or https://HOST in {place}")]
    Address {
        /// What is named.
        uri: String,
        /// The setting or variable that names it.
        place: &'static str,
    },
    /// It can not be reached, or took too long.
    #[error("the MLflow server {uri} does not answer: {reason}")]
    Unreachable {
        /// The server.
        uri: String,
        /// What happened.
        reason: String,
    },
    /// It answered with an error.
    #[error("the MLflow server refused {path} with {status}: {message}{}", remedy(*status))]
    Refused {
        /// What was asked.
        path: String,
        /// The HTTP status.
        status: u16,
        /// MLflow's code, such as `RESOURCE_DOES_NOT_EXIST`; empty if it gave none.
        code: String,
        /// What it said.
        message: String,
    },
    /// It is somewhere else. A message that is sent on would become a question.
    #[error("{uri} sends {path} on to {to}; name the server itself in `mlflow.uri`")]
    Elsewhere {
        /// The server.
        uri: String,
        /// What was asked.
        path: String,
        /// Where it says that this is.
        to: String,
    },
    /// It answered something that MLflow never does.
    #[error("{uri} answered {path} as no MLflow server does ({reason}); check `mlflow.uri`")]
    Garbage {
        /// The server.
        uri: String,
        /// What was asked.
        path: String,
        /// What is wrong with the answer.
        reason: String,
    },
    /// It does not know the run any more.
    #[error("the MLflow server has no run {run_id} any more; a new one is made there")]
    Gone {
        /// The run.
        run_id: String,
    },
    /// Somebody has deleted the run there, which can be undone.
    #[error(
        "run {run_id} was deleted on the MLflow server; restore it there, or remove {}, and a new one is made",
        ledger.display()
    )]
    Deleted {
        /// The run.
        run_id: String,
        /// The file that names it.
        ledger: PathBuf,
    },
    /// The server does not take artifacts itself.
    #[error(
        "the MLflow server keeps artifacts at {artifact_uri}, which is not sent through it; start it with --serve-artifacts, or \
         set mlflow.artifact = false"
    )]
    NotProxied {
        /// Where it keeps them.
        artifact_uri: String,
    },
    /// Something in the work directory can not be read or written.
    #[error("MLflow is not told: {}: {reason}", path.display())]
    Local {
        /// The file.
        path: PathBuf,
        /// What happened.
        reason: String,
    },
}

impl TrackError {
    /// Whether the server would never take this message. What is refused as wrong would be refused again.
    pub(super) fn is_for_good(&self) -> bool {
        matches!(self, Self::Refused { status: 400 | 413 | 422, .. } | Self::NotProxied { .. })
    }

    /// Whether only a person can change something about it, so that the end of a process does not wait.
    pub(super) fn is_for_a_person(&self) -> bool {
        matches!(
            self,
            Self::Address { .. } | Self::Deleted { .. } | Self::Elsewhere { .. } | Self::Garbage { .. }
        ) || matches!(self, Self::Refused { status: 401 | 403, .. })
    }
}

/// What helps where it is not in the words of the server.
fn remedy(status: u16) -> &'static str {
    match status {
        401 | 403 => {
            "; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, to those of somebody who may \
             write there"
        }
        _ => "",
    }
}
