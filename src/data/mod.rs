//! Training and validation data: files are opened, checked and fingerprinted once, then served as batches.
//!
//! ```text
//! DataPlan -> Dataset -> Split -> Loader (bound to what the model wants) -> Batches (Order + BatchPlan, prefetched)
//! ```
//!
//! Belongs here: file formats, conversion of stored values to what a model takes, the order of the examples, and the
//! thread which prepares the next batch. Does not belong here: what a model wants ([`Feed`] only states it), settings
//! and their defaults (`config`), and anything that is saved: the position in the data is `(epoch, batch)`, from which
//! everything here follows.
//!
//! Files are memory-mapped, so a data set may be larger than memory as long as it is stored uncompressed. A file that
//! is in use must not be written to: it is checked when the run starts, and the operating system ends a process that
//! reads beyond the end of a mapped file which was shortened meanwhile.

mod array;
mod batch;
mod bind;
mod check;
mod content;
mod convert;
mod dataset;
mod digits;
mod fingerprint;
#[cfg(test)]
mod fixtures;
mod images;
mod loader;
mod map;
mod order;
mod prefetch;
mod read;
mod unlabelled;

pub use array::{Dtype, Place};
pub use batch::{Batch, BatchPlan, BatchPlanError, HostArray, Values};
pub use bind::{BindError, Feed};
pub use check::CheckError;
pub use dataset::{ArrayInfo, Dataset, OpenError, Role, Split, SplitName};
pub use fingerprint::{DataChange, DataLock, Fingerprint};
pub use images::{FolderError, ImageError};
pub use loader::{LoadError, Loader};
pub use order::Order;
pub use prefetch::{Batches, Cursor, Prefetch, Sampler};
pub use read::ReadError;
pub use unlabelled::{Unlabelled, UnlabelledError};
