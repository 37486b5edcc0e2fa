//! What the caller is told when the journal has left a segment.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::disk::DiskError;

/// A write or sync of a segment failed, and the journal went on in a new one. Nothing is lost: what was not known to be
/// durable was written again, and is durable now.
#[derive(Debug, Clone)]
pub struct Failover {
    /// What failed.
    pub cause: Arc<DiskError>,
    /// The segment that was left. Nothing is written to it or believed of it any more; its records up to the last that
    /// was durable stay part of the journal.
    pub from: PathBuf,
    /// The segment in which the journal goes on.
    pub to: PathBuf,
    /// The last record at that time.
    pub last_sequence: u64,
    /// How many records were written again.
    pub records: u64,
}

impl fmt::Display for Failover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failover { cause, to, records, .. } = self;
        write!(
            f,
            "{cause}. The journal goes on in {}; the {records} records that were not yet durable are written again there",
            to.display()
        )
    }
}
