//! The end of a journal: the segment that takes the next frame, and every frame that is not known to be durable.
//!
//! The frames since the last durable record are kept in memory, so that a segment whose write or sync failed can be left
//! for good: the journal goes on in a new one, with those frames written again.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::format::{FRAME_HEAD_BYTES, FrameHead, Frames, HEADER_BYTES, SegmentHeader, peek_frame};
use super::segment;
use crate::RunId;
use crate::disk::{Disk, DiskError, DiskFile};
use crate::mutant;
use crate::run_id::random_bytes;

/// How much room is set aside at least, and at most, when a segment outgrows what it has.
const RESERVE_STEP_BYTES: std::ops::RangeInclusive<u64> = (64 << 10)..=(4 << 20);

/// Memory for frames beyond this is given back when the frames are durable.
const KEPT_CAPACITY_BYTES: usize = 1 << 20;

/// A place in the chain of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Link {
    /// The record there; 0 before the first.
    pub(super) sequence: u64,
    /// The checksum of its frame, or of the header of its segment where that begins behind it: what the next frame, or
    /// the next segment, names as its predecessor.
    pub(super) crc: u32,
}

impl Link {
    /// What the first segment names as its predecessor.
    pub(super) const START: Link = Link { sequence: 0, crc: 0 };
}

/// The segment that is appended to.
#[derive(Debug)]
pub(super) struct OpenSegment {
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) path: PathBuf,
    pub(super) number: u64,
    /// How its frames are made.
    pub(super) frames: Frames,
    pub(super) len_bytes: u64,
    /// Up to which size room is set aside for it.
    pub(super) reserved_bytes: u64,
}

/// Where appending goes on, and what is not yet durable.
#[derive(Debug)]
pub(super) struct Appender {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    pub(super) run_id: RunId,
    pub(super) segment: OpenSegment,
    /// The last record.
    pub(super) end: Link,
    /// The last record known to be durable.
    pub(super) durable: Link,
    /// The frames behind it.
    pub(super) pending: Pending,
}

/// A point to which a sync reaches, or to which an append is taken back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    end: Link,
    position: u64,
}

/// A segment that could not be started. The journal is as it was.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    #[error("the operating system gave no random number: {0}")]
    Random(io::Error),
    #[error(transparent)]
    Disk(DiskError),
}

impl Appender {
    /// The last record, and where its frame ends.
    pub(super) fn mark(&self) -> Mark {
        Mark { end: self.end, position: self.pending.end() }
    }

    /// Sets room aside for more bytes. A file system without room for a whole step is asked for just these.
    pub(super) fn reserve(&mut self, more_bytes: u64) -> Result<(), DiskError> {
        let needed_bytes = self.segment.len_bytes.saturating_add(more_bytes);
        if needed_bytes <= self.segment.reserved_bytes {
            return Ok(());
        }
        // As much again as there is: small segments take little, and large ones ask seldom.
        let (least_bytes, most_bytes) = RESERVE_STEP_BYTES.into_inner();
        let step_bytes = needed_bytes.saturating_add(needed_bytes.clamp(least_bytes, most_bytes));
        self.segment.reserved_bytes = match self.segment.file.reserve(step_bytes) {
            Err(error) if error.is_full() => {
                self.segment.file.reserve(needed_bytes)?;
                needed_bytes
            }
            outcome => outcome.map(|()| step_bytes)?,
        };
        Ok(())
    }

    /// Writes the frames of these records behind the last one. After an error nothing is known of the segment's end,
    /// and the frames are among the pending ones.
    pub(super) fn write(&mut self, records: &[(u16, &[u8])]) -> Result<(), DiskError> {
        let start = self.pending.bytes.len();
        for &(kind, payload) in records {
            let watermark = match self.durable.sequence {
                _ if mutant::is("watermark-never-written") => 0,
                _ if mutant::is("watermark-too-high") => self.end.sequence,
                durable => durable,
            };
            let head = FrameHead {
                payload_bytes: payload.len(),
                kind,
                sequence: self.end.sequence + 1,
                watermark,
                previous_crc: self.end.crc,
            };
            let crc = self.segment.frames.push(&mut self.pending.bytes, head, payload);
            self.end = Link { sequence: head.sequence, crc };
        }
        let frames = self.pending.bytes.get(start..).unwrap_or_default();
        self.segment.len_bytes += frames.len() as u64;
        match self.segment.file.write_all(frames) {
            Err(_) if mutant::is("journal-failed-write-repeated") => self.segment.file.write_all(frames),
            written => written,
        }
    }

    /// Notes that everything up to the mark is durable.
    pub(super) fn note_durable(&mut self, mark: Mark) {
        self.durable = mark.end;
        self.pending.drop_before(mark.position);
    }

    /// Forgets the records behind the mark: their append failed, and nothing more will be written to this segment.
    pub(super) fn forget_after(&mut self, mark: Mark) {
        self.end = mark.end;
        self.pending.forget_after(mark.position);
    }

    /// Goes on in a new segment, which holds every record that is not known to be durable and continues behind the last
    /// one that is. It is durable, all of it, before it gets its name. Returns how many records were written again.
    pub(super) fn start_segment(&mut self) -> Result<u64, StartError> {
        let born = Born::new(self.run_id, self.segment.number + 1, self.durable, &self.pending.bytes)
            .map_err(StartError::Random)?;
        self.segment = born.create(&*self.disk, &self.dir).map_err(StartError::Disk)?;
        self.end = born.end;
        self.note_durable(self.mark());
        Ok(u64::from(born.header.born_records))
    }
}

/// A segment before it is there: its header and the records that it is born with.
#[derive(Debug)]
pub(super) struct Born {
    header: SegmentHeader,
    bytes: Vec<u8>,
    /// The last record.
    pub(super) end: Link,
}

impl Born {
    /// The segment that continues behind `after` with the records of these frames, which are whole, under a salt of its
    /// own.
    pub(super) fn new(run_id: RunId, number: u64, after: Link, old_frames: &[u8]) -> io::Result<Born> {
        let mut salt = random_bytes().map(u64::from_le_bytes)?;
        if mutant::is("segment-salt") {
            salt = 0;
        }
        let header = SegmentHeader {
            run_id,
            number,
            first_sequence: after.sequence + 1,
            salt,
            previous_crc: after.crc,
            // A frame has 32 bytes at least, and 128 GiB of them are not kept in memory.
            born_records: u32::try_from(frames(old_frames).count()).unwrap_or(u32::MAX),
        };
        let mut bytes = header.encode();
        let new_frames = Frames::new(salt);
        let mut end = Link { sequence: after.sequence, crc: header.crc() };
        for (head, payload) in frames(old_frames) {
            let head = FrameHead { watermark: after.sequence, previous_crc: end.crc, ..head };
            end = Link { sequence: head.sequence, crc: new_frames.push(&mut bytes, head, payload) };
        }
        Ok(Born { header, bytes, end })
    }

    /// Creates the segment, durably, and opens it for appending.
    pub(super) fn create(&self, disk: &dyn Disk, dir: &Path) -> Result<OpenSegment, DiskError> {
        let SegmentHeader { number, salt, .. } = self.header;
        let (path, file) = segment::create(disk, dir, number, &self.bytes)?;
        let len_bytes = self.bytes.len() as u64;
        Ok(OpenSegment {
            file,
            path,
            number,
            frames: Frames::new(salt),
            len_bytes,
            reserved_bytes: len_bytes,
        })
    }
}

/// The frames in a row of whole ones.
fn frames(mut bytes: &[u8]) -> impl Iterator<Item = (FrameHead, &[u8])> {
    std::iter::from_fn(move || {
        let head = peek_frame(bytes).ok()?;
        let payload = bytes.get(FRAME_HEAD_BYTES..FRAME_HEAD_BYTES + head.payload_bytes)?;
        bytes = bytes.get(FRAME_HEAD_BYTES + head.payload_bytes..)?;
        Some((head, payload))
    })
}

/// Frames that are not known to be durable, as they were written.
#[derive(Debug, Default)]
pub(super) struct Pending {
    bytes: Vec<u8>,
    /// How many bytes were here and became durable.
    dropped: u64,
}

impl Pending {
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn len_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// The position behind the last frame; positions never fall, also when frames are dropped.
    fn end(&self) -> u64 {
        self.dropped + self.bytes.len() as u64
    }

    fn drop_before(&mut self, position: u64) {
        let count = self.index(position);
        self.bytes.drain(..count);
        self.dropped += count as u64;
        if self.bytes.capacity() > KEPT_CAPACITY_BYTES && self.bytes.len() < KEPT_CAPACITY_BYTES {
            self.bytes.shrink_to(KEPT_CAPACITY_BYTES);
        }
    }

    fn forget_after(&mut self, position: u64) {
        self.bytes.truncate(self.index(position));
    }

    /// What is before the first frame or behind the last counts as the first or last.
    fn index(&self, position: u64) -> usize {
        usize::try_from(position.saturating_sub(self.dropped)).unwrap_or(usize::MAX).min(self.bytes.len())
    }
}

/// The size of a segment that has no frame.
pub(super) const EMPTY_SEGMENT_BYTES: u64 = HEADER_BYTES as u64;
