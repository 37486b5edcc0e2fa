//! The records of memory that runs short, and of what comes of it: other portions, and the death of a process.

use serde::Serialize;
use trainer_runtime::codec::{Decode, Encode};

/// Memory that could not be had.
#[derive(Debug, Clone, PartialEq, Encode, Decode, Serialize)]
#[bincode(crate = "trainer_runtime::codec::bincode")]
pub struct OutOfMemory {
    /// Updates applied at that moment.
    pub step: u64,
    /// Epoch of the batch that was being computed, from 1.
    pub epoch: u64,
    /// Its index in the epoch, from 0; the number of batches means the validation at the end of the epoch.
    pub batch: u64,
    /// Examples of a gradient computation at that moment.
    pub micro_batch: u64,
    /// The size asked for, where the error names it.
    pub requested_bytes: Option<u64>,
    /// What was being done, and what ONNX Runtime said.
    pub message: String,
}

/// Other portions of the batches. Records of steps and epochs after `step`, and of portions from `epoch` and `batch`
/// on, are void: they are computed anew with these portions.
#[derive(Debug, Clone, PartialEq, Encode, Decode, Serialize)]
#[bincode(crate = "trainer_runtime::codec::bincode")]
pub struct MicroBatchChanged {
    /// Updates applied in the state from which on they hold.
    pub step: u64,
    /// Epoch of the first batch computed with them, from 1.
    pub epoch: u64,
    /// Its index in the epoch, from 0; the number of batches means the validation at the end of the epoch.
    pub batch: u64,
    /// Examples of a gradient computation.
    pub micro_batch: u64,
    /// Examples of a validation batch.
    pub eval_batch: u64,
    /// Why, in words.
    pub reason: String,
}

/// The death of a process that worked on the run.
#[derive(Debug, Clone, PartialEq, Encode, Decode, Serialize)]
#[bincode(crate = "trainer_runtime::codec::bincode")]
pub struct WorkerDied {
    /// What happened, in words.
    pub cause: String,
    /// The signal that killed it.
    pub signal: Option<u32>,
    /// The exit code, if it exited.
    pub exit_code: Option<u32>,
    /// Processes that the kernel killed for memory meanwhile, in its control group or, without one, on the machine.
    pub oom_kills: u64,
}

/// Memory that is about to run out.
#[derive(Debug, Clone, PartialEq, Encode, Decode, Serialize)]
#[bincode(crate = "trainer_runtime::codec::bincode")]
pub struct MemoryPressure {
    /// Updates applied at that moment.
    pub step: u64,
    /// Whose memory: `control group` or `machine`.
    pub scope: String,
    /// Bytes in use that can not be reclaimed.
    pub used_bytes: u64,
    /// The most there can be.
    pub limit_bytes: u64,
    /// How fast use grew.
    pub growth_bytes_per_s: f64,
    /// Why it was taken for pressure, in words.
    pub reason: String,
}
