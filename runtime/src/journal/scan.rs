//! What the bytes of one segment hold. Pure: nothing is written, and nothing is read but the bytes given.

use std::ops::{Range, RangeInclusive};

use super::appender::Link;
use super::format::{
    FRAME_HEAD_BYTES, Frame, FrameFault, Frames, HEADER_BYTES, HeaderFault, SegmentHeader, peek_frame,
};
use crate::mutant;

/// One intact frame of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ScannedFrame {
    pub(super) sequence: u64,
    pub(super) kind: u16,
    /// Where its payload is in the segment.
    pub(super) payload: Range<usize>,
}

/// The intact frames at the start of a segment, and what ended them.
#[derive(Debug, Clone)]
pub(super) struct Scan {
    pub(super) header: SegmentHeader,
    /// How many frames.
    pub(super) count: u64,
    /// How many bytes the header and the intact frames have.
    pub(super) valid_bytes: usize,
    /// The checksum of the last intact frame, or of the header.
    pub(super) crc: u32,
    /// The highest sequence number that an intact frame says was durable.
    pub(super) watermark: u64,
    /// Why the bytes behind the intact frames are not a frame; `None` when there are none, or when they do not count.
    pub(super) fault: Option<FrameFault>,
}

impl Scan {
    /// The number that the record behind the last intact one has.
    pub(super) fn next_sequence(&self) -> u64 {
        self.header.first_sequence.saturating_add(self.count)
    }

    /// The last intact record.
    pub(super) fn end(&self) -> Link {
        Link { sequence: self.next_sequence().saturating_sub(1), crc: self.crc }
    }

    /// The last record that the segment says was durable. It need not be among the intact ones.
    pub(super) fn promised(&self) -> u64 {
        let before = self.header.first_sequence.saturating_sub(1);
        let born_records = if mutant::is("segment-born-records") { 0 } else { self.header.born_records };
        self.watermark.max(before.saturating_add(u64::from(born_records)))
    }
}

/// Reads the frames of a segment up to the first that does not verify, or to the record behind which another segment
/// goes on, and hands out each.
pub(super) fn scan(
    segment: &[u8],
    end: Option<Link>,
    mut take: impl FnMut(ScannedFrame),
) -> Result<Scan, HeaderFault> {
    let (header, header_crc) = SegmentHeader::decode(segment)?;
    let mut scan = Scan {
        // The records before this segment were durable before it was created.
        watermark: header.first_sequence.saturating_sub(1),
        header,
        count: 0,
        valid_bytes: HEADER_BYTES,
        crc: header_crc,
        fault: None,
    };
    let frames = Frames::new(scan.header.salt);
    while let Some(rest) = segment.get(scan.valid_bytes..).filter(|rest| !rest.is_empty()) {
        if end.is_some_and(|end| end == scan.end()) {
            break;
        }
        let frame = match frames.decode(rest).and_then(|frame| check_follows(frame, &scan)) {
            Ok(frame) => frame,
            Err(fault) => {
                scan.fault = Some(fault);
                break;
            }
        };
        let payload_start = scan.valid_bytes + FRAME_HEAD_BYTES;
        take(ScannedFrame {
            sequence: frame.head.sequence,
            kind: frame.head.kind,
            payload: payload_start..payload_start + frame.head.payload_bytes,
        });
        scan.valid_bytes += frame.len_bytes();
        scan.crc = frame.crc;
        scan.watermark = frame.head.watermark;
        scan.count += 1;
    }
    Ok(scan)
}

/// Holds a frame that verifies against those before it.
fn check_follows(frame: Frame, scan: &Scan) -> Result<Frame, FrameFault> {
    let expected = scan.next_sequence();
    let (sequence, watermark) = (frame.head.sequence, frame.head.watermark);
    if sequence != expected && !mutant::is("journal-frame-sequence") {
        return Err(FrameFault::Sequence { found: sequence, expected });
    }
    if frame.head.previous_crc != scan.crc && !mutant::is("journal-frame-chain") {
        return Err(FrameFault::Chain { found: frame.head.previous_crc, expected: scan.crc });
    }
    if watermark >= sequence || watermark < scan.watermark {
        return Err(FrameFault::Watermark { sequence, found: watermark, previous: scan.watermark });
    }
    Ok(frame)
}

/// The intact frames that are found behind the part of a segment that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Beyond {
    /// How many.
    pub(super) intact_records: u64,
    /// The highest sequence number of one of them; 0 if there is none.
    pub(super) last_sequence: u64,
    /// The highest sequence number that one of them says was durable.
    pub(super) watermark: u64,
    /// Whether the search was given up before the end, so that there may be more.
    pub(super) gave_up: bool,
}

/// Where to search for intact frames, and which.
struct Search {
    salt: u64,
    from: usize,
    /// The numbers that a record there can have.
    sequences: RangeInclusive<u64>,
    least_watermark: u64,
}

/// Searches for intact frames behind the part of a segment that counts.
pub(super) fn search_beyond(segment: &[u8], scan: &Scan) -> Beyond {
    let most_frames = (segment.len().saturating_sub(scan.valid_bytes) / FRAME_HEAD_BYTES) as u64 + 1;
    let next = scan.next_sequence();
    let sequences = next..=next.saturating_add(most_frames);
    search(
        segment,
        &Search {
            salt: scan.header.salt,
            from: scan.valid_bytes,
            sequences,
            least_watermark: scan.watermark,
        },
    )
}

/// Searches for intact frames in a segment of which nothing is known to be good, not even the header: if only its salt
/// is, they are found.
pub(super) fn search_any(segment: &[u8]) -> Beyond {
    let Some(salt) = SegmentHeader::salt_of(segment) else { return Beyond::default() };
    search(segment, &Search { salt, from: HEADER_BYTES, sequences: 1..=u64::MAX, least_watermark: 0 })
}

/// What has the looks of a frame and is none costs its checksum; on bytes made up of such looks the search is given up
/// after checksumming 16 times what there is to search.
fn search(segment: &[u8], search: &Search) -> Beyond {
    let mut found = Beyond::default();
    let mut budget_bytes = segment.len().saturating_sub(search.from).saturating_mul(16);
    let check = Frames::new(search.salt);
    let mut at = search.from;
    while let Some(rest) = segment.get(at..).filter(|rest| rest.len() >= FRAME_HEAD_BYTES) {
        let Some(claimed_bytes) = looks_like_frame(rest, search) else {
            at += 1;
            continue;
        };
        if let Ok(frame) = check.decode(rest) {
            found.intact_records += 1;
            found.last_sequence = found.last_sequence.max(frame.head.sequence);
            found.watermark = found.watermark.max(frame.head.watermark);
            at += frame.len_bytes();
            continue;
        }
        budget_bytes = budget_bytes.saturating_sub(claimed_bytes);
        if budget_bytes == 0 {
            found.gave_up = true;
            break;
        }
        at += 1;
    }
    found
}

/// The size of the frame that the fixed fields claim, if they can be those of one that is searched: cheap, and `None`
/// for nearly every offset.
fn looks_like_frame(rest: &[u8], search: &Search) -> Option<usize> {
    let head = peek_frame(rest).ok()?;
    let fits = search.sequences.contains(&head.sequence)
        && head.watermark < head.sequence
        && head.watermark >= search.least_watermark;
    fits.then_some(FRAME_HEAD_BYTES + head.payload_bytes)
}
