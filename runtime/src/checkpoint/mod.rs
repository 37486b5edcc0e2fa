//! The tensors of a run, as files that are complete and verified or not there at all.
//!
//! Here: the file format (a safetensors file with checksums in its metadata), the names of the files, publishing,
//! finding the newest that verifies, dropping old ones, and leaving those of another branch behind. Not here: when to save, and what the tensors mean.
//!
//! What [`Store::publish`] promises, for each way to fail:
//!
//! * **It returns an error**: the checkpoints that were there are there; the new one is not, unless the last sync of
//!   the directory failed, after which a power loss decides.
//! * **The process dies in it**: the new one is there, whole, or not at all. A temporary file may remain, which the
//!   next [`Store::open`] removes.
//! * **Power is lost after it returned**: the new one is there, whole.
//! * **The disk changes it later**: loading refuses it and names the tensor.

mod branch;
mod error;
mod examine;
mod header;
mod link;
mod load;
mod names;
mod retire;
mod store;
mod tensor;
mod write;

pub use branch::BRANCH_DIR_PREFIX;
pub use error::{LoadError, LoadFault, PublishError, Rejected};
pub use examine::{Examined, FoundTensor, TensorCheck};
pub(crate) use header::most_bytes;
pub use header::{FORMAT_VERSION, MAX_HEADER_BYTES, MAX_RANK, Meta, TensorFault};
pub use link::LinkedBy;
pub use load::{Checkpoint, LoadedTensor};
pub use names::{BranchFile, EmergencyCause, Kind, Link, Name, ParseNameError, STATE_TENSOR};
pub use retire::Retention;
pub use safetensors::Dtype;
pub use store::{Entry, Receipt, Request, Search, Store};
pub use tensor::{Element, ElementError, Snapshot, TensorView};

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
#[cfg(test)]
mod tests;
