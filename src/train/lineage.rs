//! Records of which line of steps a run follows, and under which name.

use super::best_epoch::Best;
use serde::Serialize;
use std::fmt;
use trainer_runtime::codec::{Decode, Encode};

/// A branch ends: the run goes on from a checkpoint that somebody chose, and not from where the branch had got.
#[derive(Debug, Clone, PartialEq, Encode, Decode, Serialize)]
#[bincode(crate = "trainer_runtime::codec::bincode")]
pub struct BranchCut {
    /// Number of the branch that ends, from 1; the next branch has a larger one.
    pub branch: u64,
    /// Number of the branch that the checkpoint is of: that one, or one that ended before.
    pub of_branch: u64,
    /// File name of the checkpoint.
    pub checkpoint: String,
    /// Updates applied in it. What was recorded beyond is of the branch that ends.
    pub step: u64,
    /// Epoch of its next batch.
    pub epoch: u64,
    /// Index of that batch in the epoch.
    pub batch: u64,
    /// Whether the checkpoint came from elsewhere than the run's checkpoints, and waits beside them for its name.
    pub taken_in: bool,
    /// Names of the checkpoints and links that go into the folder of the branch that ends.
    pub moved: Vec<String>,
    /// The last update of the branch that ends.
    pub reached_step: u64,
    /// The last epoch that it ended; 0 if none.
    pub reached_epoch: u64,
    /// Its best epoch, if it has one.
    pub best: Option<Best>,
}

/// `branch 1 ended at step 92, epoch 4, best 0.0423 at epoch 3; the run goes on from epoch-0002-step-00000046.safetensors`.
impl fmt::Display for BranchCut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "branch {} ended at step {}", self.branch, self.reached_step)?;
        if self.reached_epoch > 0 {
            write!(f, ", epoch {}", self.reached_epoch)?;
        }
        if let Some(best) = self.best {
            write!(f, ", best {:.4} at epoch {}", best.value, best.epoch)?;
        }
        write!(f, "; the run goes on from {}", self.checkpoint)?;
        if self.of_branch == self.branch { Ok(()) } else { write!(f, " of branch {}", self.of_branch) }
    }
}

/// The name that somebody gave the run.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[bincode(crate = "trainer_runtime::codec::bincode")]
pub struct RunNamed {
    /// 1 to 64 letters and digits of ASCII, `.`, `_` and `-`.
    pub name: String,
}
