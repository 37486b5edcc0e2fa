//! Why a file is not a model.

use super::{MAX_IR_VERSION, MAX_OPSET, MIN_OPSET};
use std::path::PathBuf;
use thiserror::Error;

/// Why a file is not a model that can be worked with.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The file can not be read.
    #[error("can not read the model {path}: {source}; check `model.onnx`")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The bytes are no ONNX model.
    #[error(
        "{path} is not an ONNX model: {reason}; expected a file written by `torch.onnx.export` or another ONNX exporter"
    )]
    NotOnnx {
        /// The file.
        path: PathBuf,
        /// What is wrong with the bytes.
        reason: String,
    },
    /// The default operator set is too old or absent.
    #[error(
        "{path} uses opset {found}, expected {MIN_OPSET} or newer; export the model again with a newer opset_version"
    )]
    Opset {
        /// The file.
        path: PathBuf,
        /// The version found; 0 if none is declared.
        found: i64,
    },
    /// The default operator set is newer than the gradient rules.
    #[error(
        "{path} uses opset {found}, expected {MIN_OPSET} to {MAX_OPSET}; export the model again with `opset_version={MAX_OPSET}` or lower"
    )]
    NewOpset {
        /// The file.
        path: PathBuf,
        /// The version found.
        found: i64,
    },
    /// The format itself is newer than this reader.
    #[error(
        "{path} has IR version {found}, expected at most {MAX_IR_VERSION}; export the model again with an older `onnx` package, or \
         lower `ir_version` there"
    )]
    IrVersion {
        /// The file.
        path: PathBuf,
        /// The version found.
        found: i64,
    },
    /// Operators of domains that ONNX Runtime does not have.
    #[error(
        "{path} has operators that ONNX Runtime does not have: {listing}; expected operators of ONNX, ai.onnx.ml or \
         com.microsoft; export the model without custom operators, or with them as functions local to the model"
    )]
    Domain {
        /// The file.
        path: PathBuf,
        /// The nodes with domain and operator.
        listing: String,
    },
    /// The graph breaks a rule of ONNX.
    #[error(
        "{path}: {what}: {problem}; the file is damaged or was written by a faulty tool, export the model again"
    )]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The node, value or initializer concerned.
        what: String,
        /// Found and expected.
        problem: String,
    },
    /// A feature of ONNX that this program does not handle.
    #[error("{path}: {what} is not supported; {remedy}")]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The feature and where it stands.
        what: String,
        /// What to do.
        remedy: String,
    },
    /// External data that can not be used.
    #[error("{path}: external data of initializer `{initializer}`: {problem}")]
    ExternalData {
        /// The model file.
        path: PathBuf,
        /// The initializer.
        initializer: String,
        /// Found, expected and remedy.
        problem: String,
    },
}
