//! What can go wrong while ONNX Runtime works, sorted by what the caller can do about it.

use thiserror::Error;

/// An error of ONNX Runtime, with the piece of work it interrupted.
#[derive(Debug, Error)]
#[error("{work}: {message}{}", advice(*.class))]
pub struct EngineError {
    /// What was being done.
    pub work: String,
    /// What kind of error it is.
    pub class: ErrorClass,
    /// What ONNX Runtime said, which names the node.
    pub message: String,
}

/// Kinds of errors of ONNX Runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// Memory could not be allocated; the state is intact and less work at once may succeed.
    OutOfMemory,
    /// The run was cancelled through its handle; the state is intact.
    Cancelled,
    /// The graph is not accepted.
    InvalidGraph,
    /// Anything else.
    Other,
}

fn advice(class: ErrorClass) -> &'static str {
    match class {
        ErrorClass::OutOfMemory => {
            "; out of memory: lower `train.micro_batch` (the effective batch stays the same) or `train.batch_size`"
        }
        ErrorClass::InvalidGraph => {
            "; ONNX Runtime does not accept the graph, check the model with the `onnxruntime` package"
        }
        ErrorClass::Cancelled | ErrorClass::Other => "",
    }
}

impl EngineError {
    /// Wraps an error of `ort` that came up during `work`.
    #[must_use]
    pub fn new<R>(work: impl Into<String>, error: &ort::Error<R>) -> Self {
        let message = error.message().to_owned();
        Self { work: work.into(), class: classify(error.code(), &message), message }
    }
}

/// The class of an error from its code and its text, as ONNX Runtime 1.31 words it.
fn classify(code: ort::ErrorCode, message: &str) -> ErrorClass {
    if message.contains("terminate flag") {
        return ErrorClass::Cancelled;
    }
    if is_out_of_memory(message) {
        return ErrorClass::OutOfMemory;
    }
    match code {
        ort::ErrorCode::InvalidGraph | ort::ErrorCode::InvalidProtobuf | ort::ErrorCode::InvalidArgument => {
            ErrorClass::InvalidGraph
        }
        _ => ErrorClass::Other,
    }
}

/// Whether ONNX Runtime says by this that memory could not be had: from its arenas, the C++ runtime, CUDA, cuBLAS or cuDNN.
#[must_use]
pub fn is_out_of_memory(message: &str) -> bool {
    const MEMORY: [&str; 8] = [
        "Failed to allocate memory",
        "Available memory of",
        "bad_alloc",
        "out of memory",
        "CUDA failure 2:",
        "CUBLAS_STATUS_ALLOC_FAILED",
        "CUDNN_STATUS_ALLOC_FAILED",
        "CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED",
    ];
    MEMORY.iter().any(|text| message.contains(text))
}

/// The size that could not be had, where the text of ONNX Runtime names it.
#[must_use]
pub fn requested_bytes(message: &str) -> Option<u64> {
    let number_after = |words: &str| {
        let rest = message.split_once(words)?.1;
        let end = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
        rest.get(..end)?.parse().ok()
    };
    number_after("requested buffer of size ").or_else(|| number_after("requested bytes of "))
}

#[cfg(test)]
mod tests {
    use super::{ErrorClass, classify, requested_bytes};
    use ort::ErrorCode;

    #[test]
    fn texts_of_onnxruntime_are_sorted_by_what_can_be_done() {
        let class = |code, text| classify(code, text);
        let failed = ErrorCode::GenericFailure;
        assert_eq!(
            class(failed, "Failed to allocate memory for requested buffer of size 1"),
            ErrorClass::OutOfMemory
        );
        assert_eq!(
            class(failed, "Available memory of 1 is smaller than requested bytes of 2"),
            ErrorClass::OutOfMemory
        );
        assert_eq!(class(ErrorCode::RuntimeException, "std::bad_alloc"), ErrorClass::OutOfMemory);
        assert_eq!(class(failed, "Exiting due to terminate flag being set to true"), ErrorClass::Cancelled);
        assert_eq!(class(ErrorCode::InvalidGraph, "x"), ErrorClass::InvalidGraph);
        assert_eq!(class(failed, "x"), ErrorClass::Other);
        let workspace = "CUDNN failure 4002: CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED ; GPU=0";
        assert_eq!(class(failed, workspace), ErrorClass::OutOfMemory);
    }

    #[test]
    fn the_size_asked_for_is_read_from_the_text_where_it_is_there() {
        let text = "Failed to allocate memory for requested buffer of size 123456";
        assert_eq!(requested_bytes(text), Some(123_456));
        let arena = "Available memory of 10 is smaller than requested bytes of 99 in the arena";
        assert_eq!(requested_bytes(arena), Some(99));
        assert_eq!(requested_bytes("requested buffer of size many"), None);
        assert_eq!(requested_bytes("std::bad_alloc"), None);
    }
}
