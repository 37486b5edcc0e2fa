//! All segments of a journal, verified and joined. Nothing is written here.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::{Damage, OpenError};
use super::format::{FrameFault, HeaderFault};
use super::scan::{Scan, scan, search_beyond};
use super::{Payload, Record, segment};
use crate::RunId;
use crate::disk::{Bytes, Disk};

/// What a journal holds.
#[derive(Debug)]
pub struct Contents {
    /// The run it belongs to; `None` when there is no segment yet.
    pub run_id: Option<RunId>,
    /// Every intact record, in order.
    pub records: Vec<Record>,
    /// How it ends.
    pub tail: Tail,
    pub(super) last: Option<LastSegment>,
}

/// Where appending goes on.
#[derive(Debug)]
pub(super) struct LastSegment {
    pub(super) path: PathBuf,
    pub(super) number: u64,
    pub(super) salt: u64,
    pub(super) valid_bytes: u64,
    pub(super) crc: u32,
    pub(super) next_sequence: u64,
}

/// How the last segment ends.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Tail {
    /// With an intact record, or empty.
    Clean,
    /// With bytes of which no intact record says that they were ever durable: a write that was cut, or that a power
    /// loss took. Nothing that was promised is in them.
    Torn {
        /// The segment.
        path: PathBuf,
        /// Where the torn bytes begin.
        offset_bytes: u64,
        /// How many there are.
        torn_bytes: u64,
        /// What is wrong with the first frame in them.
        fault: FrameFault,
        /// How many intact records, none of them promised, are among them behind a lost one.
        intact_records: u64,
    },
}

/// Reads a journal without changing it, and without its lock: for reports, also while a process appends to it. Of a
/// record that is being written at this instant, the tail reports a part.
///
/// # Errors
/// If a segment is missing, damaged, or can not be read. A directory that is missing is an empty journal.
pub fn read(disk: &dyn Disk, dir: &Path) -> Result<Contents, OpenError> {
    // Copied, not mapped: the process that holds the lock may shorten a torn segment meanwhile.
    load(disk, dir, |path| disk.read(path, u64::MAX).map(Bytes::from))
}

/// Verifies and joins all segments, each of them opened by `open`.
pub(super) fn load(
    disk: &dyn Disk,
    dir: &Path,
    open: impl Fn(&Path) -> Result<Bytes, crate::disk::DiskError>,
) -> Result<Contents, OpenError> {
    let mut contents = Contents { run_id: None, records: Vec::new(), tail: Tail::Clean, last: None };
    let numbers = segment_numbers(disk, dir)?;
    let count = numbers.len();
    for (index, (number, expected)) in numbers.into_iter().zip(1..).enumerate() {
        if number != expected {
            return Err(OpenError::Missing { path: dir.join(segment::file_name(expected)) });
        }
        let path = dir.join(segment::file_name(number));
        let bytes = Arc::new(open(&path)?);
        let scanned = scan(&bytes)
            .and_then(|scanned| check_continues(&scanned, number, &contents).map(|()| scanned))
            .map_err(|fault| OpenError::Header { path: path.clone(), fault })?;
        let is_last = index + 1 == count;
        if let Some(fault) = &scanned.fault {
            contents.tail = judge_fault(&path, &bytes, &scanned, fault, is_last)?;
        }
        contents.run_id = Some(scanned.header.run_id);
        contents.last = Some(LastSegment {
            path,
            number,
            salt: scanned.header.salt,
            valid_bytes: scanned.valid_bytes as u64,
            crc: scanned.crc,
            next_sequence: scanned.next_sequence(),
        });
        contents.records.extend(scanned.frames.into_iter().map(|frame| Record {
            sequence: frame.sequence,
            kind: frame.kind,
            payload: Payload { segment: bytes.clone(), range: frame.payload },
        }));
    }
    Ok(contents)
}

fn segment_numbers(disk: &dyn Disk, dir: &Path) -> Result<Vec<u64>, OpenError> {
    let entries = match disk.list(dir) {
        Err(error) if error.is_not_found() => Vec::new(),
        other => other?,
    };
    let mut numbers: Vec<u64> =
        entries.iter().filter_map(|entry| segment::parse_file_name(&entry.name)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Holds a segment's header against its name and against the segments before it.
fn check_continues(scanned: &Scan, number: u64, before: &Contents) -> Result<(), HeaderFault> {
    let header = &scanned.header;
    if header.number != number {
        return Err(HeaderFault::Number { found: header.number });
    }
    if let Some(expected) = before.run_id.filter(|expected| *expected != header.run_id) {
        return Err(HeaderFault::RunId { found: header.run_id, expected });
    }
    let (next_sequence, expected_crc) = before.last.as_ref().map_or((1, 0), |l| (l.next_sequence, l.crc));
    if header.first_sequence != next_sequence || header.previous_crc != expected_crc {
        return Err(HeaderFault::Continuation {
            found_sequence: header.first_sequence.saturating_sub(1),
            found_crc: header.previous_crc,
            expected_sequence: next_sequence.saturating_sub(1),
            expected_crc,
        });
    }
    Ok(())
}

/// Tells a torn tail from damage.
///
/// A power loss may take any of the bytes that were not yet durable, and keep later ones. So bytes that do not verify
/// are torn when no intact record, before or behind them, says that the record in their place was durable. A segment
/// with a successor was made durable before that one was created.
fn judge_fault(
    path: &Path,
    bytes: &[u8],
    scanned: &Scan,
    fault: &FrameFault,
    is_last: bool,
) -> Result<Tail, Damage> {
    let beyond = search_beyond(bytes, scanned);
    let sequence = scanned.next_sequence();
    let was_durable = scanned.watermark.max(beyond.watermark) >= sequence;
    if is_last && !was_durable && !beyond.gave_up && fault.may_be_torn() {
        return Ok(Tail::Torn {
            path: path.to_path_buf(),
            offset_bytes: scanned.valid_bytes as u64,
            torn_bytes: bytes.len().saturating_sub(scanned.valid_bytes) as u64,
            fault: fault.clone(),
            intact_records: beyond.intact_records,
        });
    }
    Err(Damage {
        path: path.to_path_buf(),
        offset_bytes: scanned.valid_bytes as u64,
        sequence,
        fault: fault.clone(),
        intact_records_after: beyond.intact_records,
        gave_up_counting: beyond.gave_up,
    })
}
