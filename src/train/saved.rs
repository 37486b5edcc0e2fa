//! What a checkpoint holds besides tensors: everything that the next step depends on.
//!
//! Nothing here depends on time or on the process, so equal runs give equal bytes.

use super::best::Best;
use super::early_stopping::EarlyStoppingState;
use super::schedule::PlateauState;
use crate::engine::state::{Layout, StateSet, TensorRole};
use std::sync::Arc;
use trainer_runtime::checkpoint::{Snapshot, TensorView};
use trainer_runtime::codec::{Decode, Encode};

/// The position and the small states of a run after a step.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[bincode(crate = "trainer_runtime::codec::bincode")]
pub struct Saved {
    /// Version of this structure; [`Saved::VERSION`].
    pub version: u32,
    /// Updates applied.
    pub step: u64,
    /// Epoch of the next batch, from 1.
    pub epoch: u64,
    /// Index of the next batch; the number of batches means that the epoch's end is still to come.
    pub batch: u64,
    /// Sum over the epoch's batches so far of mean loss times weight.
    pub epoch_loss_sum: f64,
    /// Sum of those weights.
    pub epoch_loss_weight: f64,
    /// Batches refused in a row up to now.
    pub refused_in_a_row: u64,
    /// Batches refused in the whole run.
    pub refused: u64,
    /// Learning rate of the last update.
    pub last_lr: f64,
    /// Reduction on a plateau.
    pub plateau: PlateauState,
    /// Early stopping.
    pub early_stopping: EarlyStoppingState,
    /// The column that best tracking and early stopping watch; empty before the first epoch ended.
    pub watched: String,
    /// The best epoch.
    pub best: Option<Best>,
    /// CRC32 of the settings that bind a resume.
    pub plan_fingerprint: u32,
}

impl Saved {
    /// The version that this program writes and reads.
    pub const VERSION: u32 = 1;

    /// The beginning of a run.
    #[must_use]
    pub fn start(plan_fingerprint: u32) -> Self {
        Self {
            version: Self::VERSION,
            step: 0,
            epoch: 1,
            batch: 0,
            epoch_loss_sum: 0.0,
            epoch_loss_weight: 0.0,
            refused_in_a_row: 0,
            refused: 0,
            last_lr: 0.0,
            plateau: PlateauState::default(),
            early_stopping: EarlyStoppingState::default(),
            watched: String::new(),
            best: None,
            plan_fingerprint,
        }
    }
}

/// The tensors of a state under the names they have in a checkpoint.
#[derive(Debug)]
pub struct StateSnapshot {
    /// The state; it does not change while this is held.
    pub set: Arc<StateSet>,
    /// Its names and shapes.
    pub layout: Arc<Layout>,
}

/// The name of a tensor in a checkpoint: parameters under their ONNX names, the rest under a prefix.
#[must_use]
pub fn tensor_name(role: &TensorRole<'_>) -> String {
    match role {
        TensorRole::Parameter(name) => (*name).to_owned(),
        TensorRole::Slot(slot, name) => format!("optimizer/{slot}/{name}"),
        TensorRole::Average(name) => format!("ema/{name}"),
        TensorRole::State(name) => format!("state/{name}"),
    }
}

impl Snapshot for StateSnapshot {
    fn tensors(&self) -> Vec<TensorView<'_>> {
        let named = self.layout.tensors().zip(self.set.host_slices());
        named.map(|((role, dims), values)| TensorView::new(tensor_name(&role), dims, values)).collect()
    }
}
