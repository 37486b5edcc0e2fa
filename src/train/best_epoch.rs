//! What checkpoints and records keep of the best epoch.

use serde::Serialize;
use trainer_runtime::codec::{Decode, Encode};

/// The best epoch of a run; saved in checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Encode, Decode, Serialize)]
#[bincode(crate = "trainer_runtime::codec::bincode")]
pub struct Best {
    /// Value of the watched metric.
    pub value: f64,
    /// The epoch it was measured after, from 1.
    pub epoch: u64,
    /// The last step of that epoch, from 1.
    pub step: u64,
}
