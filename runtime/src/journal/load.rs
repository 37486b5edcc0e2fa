//! All segments of a journal, verified and joined. Nothing is written here.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::appender::Link;
use super::error::{Damage, OpenError};
use super::format::{
    FRAME_HEAD_BYTES, FrameFault, HEADER_BYTES, HeaderFault, SegmentHeader, frame_crc_before,
};
use super::scan::{Beyond, Scan, ScannedFrame, scan, search_beyond};
use super::{Payload, Record, segment};
use crate::RunId;
use crate::disk::{Bytes, Disk, DiskError};
use crate::mutant;

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

impl Contents {
    pub(super) fn empty() -> Contents {
        Contents { run_id: None, records: Vec::new(), tail: Tail::Clean, last: None }
    }

    /// Verifies the next segment, holds it against the one before, and adds what counts of it. One that is refused adds
    /// nothing.
    pub(super) fn add(
        &mut self,
        path: &Path,
        bytes: &Arc<Bytes>,
        number: u64,
        successor: Successor,
    ) -> Result<(), OpenError> {
        let known = self.records.len();
        let end = match successor {
            Successor::Behind(end) => end,
            Successor::None => None,
        };
        let read = self
            .scan(bytes, bytes.len(), end)
            .and_then(|scanned| check_continues(&scanned, number, self.last.as_ref()).map(|()| scanned))
            .map_err(|fault| OpenError::header(path, fault))
            .and_then(|scanned| Ok((judge(path, bytes, &scanned, successor)?, scanned)));
        match read {
            Ok((tail, scanned)) => {
                self.tail = tail;
                self.note_last(bytes, &scanned, known);
                Ok(())
            }
            Err(error) => {
                self.records.truncate(known);
                Err(error)
            }
        }
    }

    /// Adds a segment that is good up to here, and only so much of it.
    pub(super) fn add_start(&mut self, bytes: &Arc<Bytes>, good_bytes: usize) -> Result<Scan, HeaderFault> {
        let known = self.records.len();
        let scanned = self.scan(bytes, good_bytes, None)?;
        self.note_last(bytes, &scanned, known);
        Ok(scanned)
    }

    /// Adds the records of a segment.
    fn scan(&mut self, bytes: &Arc<Bytes>, len: usize, end: Option<Link>) -> Result<Scan, HeaderFault> {
        scan(bytes.get(..len).unwrap_or_default(), end, |ScannedFrame { sequence, kind, payload }| {
            let payload = Payload { segment: bytes.clone(), range: payload };
            self.records.push(Record { sequence, kind, payload });
        })
    }

    /// Notes where the journal ends, in a segment whose records are those from `known` on.
    fn note_last(&mut self, bytes: &Arc<Bytes>, scan: &Scan, known: usize) {
        let header = &scan.header;
        let end = scan.end();
        // A record behind the end that was promised is damage, which is refused.
        let sequence = scan.promised().min(end.sequence);
        let proven = sequence.saturating_sub(header.first_sequence.saturating_sub(1));
        let proven = self
            .records
            .get(known..)
            .unwrap_or_default()
            .iter()
            .take(usize::try_from(proven).unwrap_or(usize::MAX))
            .next_back();
        let proven = proven.map(|record| record.payload.range.clone());
        let crc = proven.as_ref().map_or_else(|| header.crc(), |range| frame_crc_before(bytes, range.start));
        let unproven = proven.map_or(HEADER_BYTES, |range| range.end)..scan.valid_bytes;
        self.run_id = Some(header.run_id);
        self.last = Some(LastSegment {
            run_id: header.run_id,
            number: header.number,
            salt: header.salt,
            after: follows(header),
            frames: Payload { segment: bytes.clone(), range: HEADER_BYTES..scan.valid_bytes },
            is_as_born: scan.count <= u64::from(header.born_records),
            end,
            durable: Link { sequence, crc },
            unproven: Payload { segment: bytes.clone(), range: unproven },
        });
    }
}

/// Where appending goes on.
#[derive(Debug)]
pub(super) struct LastSegment {
    pub(super) run_id: RunId,
    pub(super) number: u64,
    pub(super) salt: u64,
    /// The record that it goes on behind.
    pub(super) after: Link,
    /// Its frames.
    pub(super) frames: Payload,
    /// Whether nothing was appended to it since it got its name.
    pub(super) is_as_born: bool,
    /// The last record.
    pub(super) end: Link,
    /// The last record that the segment says was durable.
    pub(super) durable: Link,
    /// The frames behind that one.
    pub(super) unproven: Payload,
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
    open: impl Fn(&Path) -> Result<Bytes, DiskError>,
) -> Result<Contents, OpenError> {
    let mut segments = Vec::new();
    for (number, expected) in segment_numbers(disk, dir)?.into_iter().zip(1..) {
        if number != expected {
            return Err(OpenError::Missing { path: dir.join(segment::file_name(expected)) });
        }
        let path = dir.join(segment::file_name(number));
        let bytes = Arc::new(open(&path)?);
        segments.push((path, bytes));
    }
    let mut contents = Contents::empty();
    let mut segments = segments.into_iter().zip(1..).peekable();
    while let Some(((path, bytes), number)) = segments.next() {
        let successor = match segments.peek() {
            None => Successor::None,
            Some(((_, next), _)) => Successor::of(next),
        };
        contents.add(&path, &bytes, number, successor)?;
    }
    Ok(contents)
}

/// What follows a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Successor {
    /// None: its end may be torn.
    None,
    /// One that goes on behind this record, or, if its header does not verify, behind nobody knows which.
    Behind(Option<Link>),
}

impl Successor {
    pub(super) fn of(segment: &[u8]) -> Successor {
        Successor::Behind(header_of(segment).map(|header| follows(&header)))
    }
}

pub(super) fn segment_numbers(disk: &dyn Disk, dir: &Path) -> Result<Vec<u64>, OpenError> {
    let entries = match disk.list(dir) {
        Err(error) if error.is_not_found() => Vec::new(),
        other => other?,
    };
    let mut numbers: Vec<u64> =
        entries.iter().filter_map(|entry| segment::parse_file_name(&entry.name)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Refuses a segment of another format version.
pub(super) fn check_version(path: &Path, segment: &[u8]) -> Result<(), OpenError> {
    match SegmentHeader::decode(segment) {
        Err(fault @ HeaderFault::Version { .. }) => Err(OpenError::header(path, fault)),
        _ => Ok(()),
    }
}

/// What a segment says of itself, if its header verifies.
pub(super) fn header_of(segment: &[u8]) -> Option<SegmentHeader> {
    SegmentHeader::decode(segment).ok().map(|(header, _)| header)
}

/// The record that a segment says it goes on behind.
fn follows(header: &SegmentHeader) -> Link {
    Link { sequence: header.first_sequence.wrapping_sub(1), crc: header.previous_crc }
}

/// Holds a segment's header against its name and against the segment before it.
fn check_continues(scanned: &Scan, number: u64, before: Option<&LastSegment>) -> Result<(), HeaderFault> {
    let header = &scanned.header;
    if header.number != number && !mutant::is("segment-number") {
        return Err(HeaderFault::Number { found: header.number });
    }
    if let Some(expected) = before
        .map(|before| before.run_id)
        .filter(|expected| *expected != header.run_id && !mutant::is("segment-run"))
    {
        return Err(HeaderFault::RunId { found: header.run_id, expected });
    }
    let (expected, found) = (before.map_or(Link::START, |before| before.end), follows(header));
    if found != expected && !mutant::is("segment-continuation") {
        return Err(HeaderFault::Continuation {
            found_sequence: found.sequence,
            found_crc: found.crc,
            expected_sequence: expected.sequence,
            expected_crc: expected.crc,
        });
    }
    Ok(())
}

/// Tells a torn tail from damage.
///
/// A power loss may take any of the bytes that were not yet durable, and keep later ones. So bytes that do not verify
/// are torn when nothing says that the record in their place was durable: no intact frame, before or behind them, nor
/// the header. In a segment with a successor, what is behind the record where that one goes on does not count: it was
/// not durable when the successor was made, or it would go on behind it.
pub(super) fn judge(path: &Path, bytes: &[u8], scanned: &Scan, successor: Successor) -> Result<Tail, Damage> {
    let sequence = scanned.next_sequence();
    let has_more = bytes.len() > scanned.valid_bytes;
    let beyond = if has_more { search_beyond(bytes, scanned) } else { Beyond::default() };
    let mut promised = scanned.promised().max(beyond.watermark);
    if mutant::is("watermark-ignored") {
        promised = scanned.header.first_sequence.saturating_sub(1);
    }
    let damage = |fault| Damage {
        path: path.to_path_buf(),
        offset_bytes: scanned.valid_bytes as u64,
        sequence,
        fault,
        intact_records_after: beyond.intact_records,
        gave_up_counting: beyond.gave_up,
    };
    match &scanned.fault {
        None if promised < sequence && !beyond.gave_up => Ok(Tail::Clean),
        None if successor == Successor::Behind(Some(scanned.end())) && mutant::is("segment-superseded") => {
            Ok(Tail::Clean)
        }
        None if successor == Successor::Behind(Some(scanned.end())) => Err(damage(FrameFault::Superseded {
            continued_after: sequence.saturating_sub(1),
            found: promised,
        })),
        // The segment ends before a record that it had when it got its name.
        None => Err(damage(FrameFault::Cut { needed_bytes: FRAME_HEAD_BYTES, found_bytes: 0 })),
        Some(fault) => {
            let may_be_torn = successor == Successor::None && fault.may_be_torn();
            if !may_be_torn || promised >= sequence || beyond.gave_up {
                return Err(damage(fault.clone()));
            }
            Ok(Tail::Torn {
                path: path.to_path_buf(),
                offset_bytes: scanned.valid_bytes as u64,
                torn_bytes: bytes.len().saturating_sub(scanned.valid_bytes) as u64,
                fault: fault.clone(),
                intact_records: beyond.intact_records,
            })
        }
    }
}
