//! The largest micro-batch that fits into memory, found before the first step by computing gradients with it.
//!
//! The candidates grow, and none is tried that would probably take more than there is: on a machine whose kernel promises
//! more memory than it has, a try that is too large is not an error but the end of the process.

use super::batching::{Batching, candidates};
use super::prepare::{PrepareError, Prepared};
use super::pressure::reserve;
use crate::data::LoadError;
use crate::engine::error::{EngineError, ErrorClass};
use std::path::Path;
use thiserror::Error;
use trainer_runtime::memory::{Reserve, headroom_bytes, resident_bytes};

/// The part of what is left that a try may take, by what the one before took.
const USABLE_SHARE: f64 = 0.8;

/// What has to be left when a try has ended: for threads and their stacks, batches made ahead, and the disorder of a heap.
const LEFT_BYTES: f64 = (48 << 20) as f64;

/// Why a try came to nothing.
#[derive(Debug, Error)]
pub(super) enum TryError {
    /// The graphs.
    #[error(transparent)]
    Prepare(#[from] Box<PrepareError>),
    /// The computation.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The data.
    #[error(transparent)]
    Load(#[from] LoadError),
}

impl TryError {
    fn is_out_of_memory(&self) -> bool {
        match self {
            Self::Prepare(error) => error.is_out_of_memory(),
            Self::Engine(error) => error.class == ErrorClass::OutOfMemory,
            Self::Load(_) => false,
        }
    }
}

/// What a process has and could still take, in bytes.
#[derive(Debug, Clone, Copy)]
struct Memory {
    resident_bytes: f64,
    headroom_bytes: f64,
}

impl Memory {
    /// Where nothing is known, everything may be tried.
    fn now() -> Self {
        let root = Path::new("/");
        Self {
            resident_bytes: resident_bytes(root).unwrap_or(0) as f64,
            headroom_bytes: headroom_bytes(root).map_or(f64::INFINITY, |bytes| bytes as f64),
        }
    }
}

/// Memory as a run holds it besides its sessions; none where there is not even that.
fn beside_gradients(state_bytes: usize) -> Option<(Reserve, Option<Reserve>)> {
    Some((Reserve::new(state_bytes, 0).ok()?, reserve(state_bytes)))
}

impl Prepared {
    /// Makes the micro-batch as large as memory allows, up to the batch.
    ///
    /// # Errors
    /// If not even the smallest that the model can do is computed.
    pub(super) fn fit_micro_batch(&mut self) -> Result<(), PrepareError> {
        let mut fitting: Option<(usize, f64)> = None;
        for candidate in candidates(self.plan.train.batch_size) {
            if candidate < self.batching.micro_batch {
                // Smaller than the model can do.
                continue;
            }
            self.engine.release_sessions();
            // What a step needs besides its gradients: the second set of the state while a checkpoint is written, and what
            // is set aside.
            let _besides = beside_gradients(self.engine.layout().bytes());
            let before = Memory::now();
            if let Some((size, taken_bytes)) = fitting {
                let expected_bytes = taken_bytes * candidate as f64 / size as f64;
                if expected_bytes > USABLE_SHARE * before.headroom_bytes {
                    log::debug!(
                        "micro-batch {candidate} would take about {expected_bytes:.0} bytes, too many"
                    );
                    break;
                }
            }
            match self.try_micro_batch(candidate) {
                Ok(()) => {
                    let after = Memory::now();
                    if after.headroom_bytes < LEFT_BYTES && fitting.is_some() {
                        break;
                    }
                    let taken_bytes = (after.resident_bytes - before.resident_bytes).max(0.0);
                    log::debug!("micro-batch {candidate} takes {taken_bytes:.0} bytes");
                    fitting = Some((candidate, taken_bytes));
                }
                Err(error) if error.is_out_of_memory() && fitting.is_some() => break,
                Err(TryError::Prepare(error)) => return Err(*error),
                Err(TryError::Engine(error)) => return Err(error.into()),
                // Training reports it with its place.
                Err(TryError::Load(_)) => break,
            }
        }
        let micro_batch = fitting.map_or(self.batching.micro_batch, |(size, _)| size);
        self.rebuild(Batching { micro_batch, ..self.batching })
    }

    /// Computes gradients of the first examples in parts of this size, as a step does, and forgets them.
    fn try_micro_batch(&mut self, micro_batch: usize) -> Result<(), TryError> {
        self.rebuild(Batching { micro_batch, ..self.batching }).map_err(Box::new)?;
        let examples: Vec<usize> = (0..micro_batch.min(self.train.0.len())).collect();
        let mut arrays = Vec::new();
        self.train.0.load(0, &examples, &mut arrays)?;
        let Self { engine, names, .. } = self;
        let computed = engine.gradients(names, &arrays, &mut |_, _, mask| mask.fill(true));
        // A batch of several parts needs the sums of their gradients as well.
        let kept = computed.and_then(|()| engine.accumulate());
        engine.abandon();
        Ok(kept?)
    }
}
