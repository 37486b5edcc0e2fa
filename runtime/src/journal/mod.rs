//! What happened, as an append-only sequence of records in segment files.
//!
//! Here: the format of segments and frames, appending, reading, and putting a torn tail aside. Not here: what a record
//! means; a payload is bytes and a kind is a number that the embedding program assigns.
//!
//! Three promises, one for each way to fail:
//!
//! * **The process dies**: every record whose append returned is read again.
//! * **Power is lost**: every record up to the durable watermark is read again; which records those are, the
//!   [`Durability`] says. Of later ones a prefix is read; the rest is put aside and reported.
//! * **A write or sync fails**: nothing is tried again on that segment, since what is on the disk is then unknown. The
//!   journal goes on in a new one, with every record that was not yet durable ([`Journal::take_failovers`]). If that
//!   fails too, it takes no further record ([`AppendError::Latched`]).
//!
//! Damage is never read over: an intact record that says its predecessor was durable, while that predecessor does not
//! verify, makes [`Journal::open`] refuse with path, offset and the number of intact records beyond.

mod appender;
mod error;
mod failover;
mod format;
mod load;
pub mod repair;
mod torn;
mod scan;
mod segment;
mod segment_alone;
mod sync;
mod write;

use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;

pub use error::{AppendError, Damage, OpenError, SyncError};
pub use failover::Failover;
pub use format::{FORMAT_VERSION, FrameFault, HeaderFault, MAX_PAYLOAD_BYTES};
pub use load::{Contents, Tail, read};
pub use segment_alone::{Segment, is_segment, read_segment, segments};
pub use sync::SyncHandle;
pub use torn::SetAside;
pub use write::{Durability, Journal, OpenOptions, Opened};

use crate::disk::Bytes;
use format::MAGIC;

/// One record as it was read.
#[derive(Debug, Clone)]
pub struct Record {
    /// Its place in the journal; the first is 1, and each is one more than the one before.
    pub sequence: u64,
    /// What it means to the embedding program; never 0.
    pub kind: u16,
    /// Its contents.
    pub payload: Payload,
}

/// The verified bytes of a record, shared with the segment they were read from.
#[derive(Clone)]
pub struct Payload {
    segment: Arc<Bytes>,
    range: Range<usize>,
}

impl Deref for Payload {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.segment.get(self.range.clone()).unwrap_or_default()
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.len())
    }
}

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
#[cfg(test)]
mod tests;
