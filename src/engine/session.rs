//! Making sessions: one way for every graph of a run.

use super::error::EngineError;
use super::library::Runtime;
use crate::graph::model::Graph;
use crate::graph::write::to_bytes;
use ort::ep::CUDA;
use ort::ep::cuda::ConvAlgorithmSearch;
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use std::sync::Arc;

/// Where sessions run, decided once at the start of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The CPU execution provider.
    Cpu,
    /// The CUDA execution provider on the device with this ordinal.
    Cuda(u32),
}

/// How far ONNX Runtime may rewrite a graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Optimize {
    /// Not at all: names and types stay as written.
    Nothing,
    /// As much as it knows.
    Everything,
}

/// A session for `graph`.
///
/// # Errors
/// If ONNX Runtime does not accept the graph, or the execution provider does not start.
pub fn open(
    runtime: &Runtime,
    place: Place,
    graph: &Graph,
    optimize: Optimize,
) -> Result<Session, EngineError> {
    let bytes = to_bytes(graph);
    let work = || format!("building the session of `{}`", graph.name);
    let level = match optimize {
        Optimize::Nothing => GraphOptimizationLevel::Disable,
        Optimize::Everything => GraphOptimizationLevel::All,
    };
    let mut builder =
        Session::builder(runtime.environment()).map_err(|error| EngineError::new(work(), &error))?;
    builder = builder.with_optimization_level(level).map_err(|error| EngineError::new(work(), &error))?;
    // Planned as one block, what a graph needs is taken a second time beside what the first run left in the arena: twice the
    // memory, and no time gained that could be measured.
    builder = builder.with_memory_pattern(false).map_err(|error| EngineError::new(work(), &error))?;
    if let Place::Cuda(ordinal) = place {
        let device = i32::try_from(ordinal).unwrap_or(i32::MAX);
        // Neither reduced precision nor algorithms chosen by a race: equal runs give equal bits, near those of the CPU.
        let provider = CUDA::default()
            .with_device_id(device)
            .with_tf32(false)
            .with_conv_algorithm_search(ConvAlgorithmSearch::Default)
            .build()
            .error_on_failure();
        builder =
            builder.with_deterministic_compute(true).map_err(|error| EngineError::new(work(), &error))?;
        builder =
            builder.with_execution_providers([provider]).map_err(|error| EngineError::new(work(), &error))?;
    }
    builder.commit_from_memory(&bytes).map_err(|error| EngineError::new(work(), &error))
}

/// A handle that ends the run in progress, from any thread.
///
/// A cancelled step leaves the state as it was before the step.
#[derive(Clone)]
pub struct Cancel {
    options: Arc<ort::session::RunOptions>,
}

impl std::fmt::Debug for Cancel {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Cancel")
    }
}

impl Cancel {
    pub(super) fn new() -> Result<Self, EngineError> {
        let options = ort::session::RunOptions::new()
            .map_err(|error| EngineError::new("making run options", &error))?;
        Ok(Self { options: Arc::new(options) })
    }

    pub(super) fn options(&self) -> &ort::session::RunOptions {
        &self.options
    }

    /// Ends the run in progress with [`super::error::ErrorClass::Cancelled`], and every later one until [`Self::clear`].
    pub fn cancel(&self) {
        if let Err(error) = self.options.terminate() {
            log::warn!("the running step could not be cancelled, it will be waited for: {error}");
        }
    }

    /// Lets runs go on again.
    pub fn clear(&self) {
        if let Err(error) = self.options.unterminate() {
            log::warn!("a cancelled session could not be released: {error}");
        }
    }
}
