//! Journal, checkpoints, lock and signals for long computations that must not lose a step.
//!
//! This crate knows nothing of neural networks: it keeps numbered records and named tensors, and brings them back
//! after the process was interrupted, killed, or lost its power. The parts, in the order a program meets them:
//!
//! * [`lock`]: one process at a time in a work directory.
//! * [`signals`]: stop and save requests from outside.
//! * [`memory`]: memory that is about to run out, said in time.
//! * [`supervisor`]: a small parent that starts a program again when it died.
//! * [`journal`]: what happened, as an append-only sequence of records.
//! * [`checkpoint`]: the tensors, as safetensors files that are complete and verified or not there at all.
//! * [`keeper`]: both together, in the order that makes them trustworthy; most programs need no other.
//! * [`codec`]: how records and other small state become bytes.
//! * [`clock`]: moments as people read them.
//! * [`atomic_file`]: small files that are replaced whole or not at all.
//! * [`disk`]: the one seam through which everything above is stored.
//!
//! The bytes on disk are drawn in `docs/formats.md`.
//!
//! # Example
//!
//! ```
//! use std::sync::Arc;
//! use trainer_runtime::checkpoint::{Kind, Request, Snapshot, Store, TensorView};
//! use trainer_runtime::codec::{self, Decode, Encode};
//! use trainer_runtime::disk::RealDisk;
//! use trainer_runtime::journal::{Journal, OpenOptions};
//! use trainer_runtime::lock::WorkDirLock;
//!
//! const STEP_DONE: u16 = 1;
//!
//! #[derive(Encode, Decode)]
//! #[bincode(crate = "trainer_runtime::codec::bincode")]
//! struct StepDone {
//!     loss: f64,
//! }
//!
//! struct Weights(Vec<f32>);
//!
//! impl Snapshot for Weights {
//!     fn tensors(&self) -> Vec<TensorView<'_>> {
//!         vec![TensorView::new("weight", vec![self.0.len()], &self.0)]
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let temporary = tempfile::tempdir()?;
//! # let work_dir = temporary.path().join("exp");
//! let disk = RealDisk::shared();
//! let _lock = WorkDirLock::acquire(&work_dir)?;
//!
//! let opened = Journal::open(disk.clone(), &work_dir.join("journal"), OpenOptions::default())?;
//! let mut journal = opened.journal;
//! let store = Store::open(disk, &work_dir.join("checkpoints"))?;
//!
//! let sequence = journal.append(STEP_DONE, &codec::encode(&StepDone { loss: 0.5 })?)?;
//! assert_eq!(sequence, 1);
//! journal.sync()?;
//!
//! let receipt = store.publish(Request {
//!     kind: Kind::Epoch,
//!     run_id: journal.run_id(),
//!     epoch: 1,
//!     step: 1,
//!     state: vec![7],
//!     snapshot: Arc::new(Weights(vec![1.0, 2.0])),
//! })?;
//! assert_eq!(receipt.name.to_string(), "epoch-0001-step-00000001.safetensors");
//!
//! let newest = store.newest_valid()?.newest.expect("one was just published");
//! let weight = newest.tensor("weight").expect("the snapshot has it");
//! assert_eq!(weight.to_vec::<f32>()?, [1.0, 2.0]);
//! # Ok(())
//! # }
//! ```

pub mod disk;

pub mod atomic_file;
pub mod checkpoint;
pub mod clock;
pub mod codec;
#[cfg(test)]
mod formats_doc;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
pub mod journal;
pub mod keeper;
pub mod lock;
pub mod memory;
mod mutant;
mod run_id;
pub mod signals;
pub mod supervisor;

pub use run_id::{ParseRunIdError, RunId};
