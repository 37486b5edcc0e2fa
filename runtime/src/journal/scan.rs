//! What the bytes of one segment hold. Pure: nothing is written, and nothing is read but the bytes given.

use std::ops::Range;

use super::format::{
    FRAME_HEAD_BYTES, Frame, FrameFault, HEADER_BYTES, HeaderFault, SegmentHeader, decode_frame, peek_frame,
};

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
    pub(super) frames: Vec<ScannedFrame>,
    /// How many bytes the header and the intact frames have.
    pub(super) valid_bytes: usize,
    /// The checksum of the last intact frame, or of the header.
    pub(super) crc: u32,
    /// The highest sequence number that an intact frame says was durable.
    pub(super) watermark: u64,
    /// Why the bytes behind the intact frames are not a frame; `None` when there are none.
    pub(super) fault: Option<FrameFault>,
}

impl Scan {
    /// The number that the record behind the last intact one has.
    pub(super) fn next_sequence(&self) -> u64 {
        self.header.first_sequence.saturating_add(self.frames.len() as u64)
    }
}

/// Reads the frames of a segment up to the first that does not verify.
pub(super) fn scan(segment: &[u8]) -> Result<Scan, HeaderFault> {
    let (header, header_crc) = SegmentHeader::decode(segment)?;
    let mut scan = Scan {
        // The records before this segment were synced before it was created.
        watermark: header.first_sequence.saturating_sub(1),
        header,
        frames: Vec::new(),
        valid_bytes: HEADER_BYTES,
        crc: header_crc,
        fault: None,
    };
    while let Some(rest) = segment.get(scan.valid_bytes..).filter(|rest| !rest.is_empty()) {
        let frame = match next_frame(rest, &scan) {
            Ok(frame) => frame,
            Err(fault) => {
                scan.fault = Some(fault);
                break;
            }
        };
        let payload_start = scan.valid_bytes + FRAME_HEAD_BYTES;
        scan.frames.push(ScannedFrame {
            sequence: frame.head.sequence,
            kind: frame.head.kind,
            payload: payload_start..payload_start + frame.head.payload_bytes,
        });
        scan.valid_bytes += frame.len_bytes();
        scan.crc = frame.crc;
        scan.watermark = frame.head.watermark;
    }
    Ok(scan)
}

fn next_frame(rest: &[u8], scan: &Scan) -> Result<Frame, FrameFault> {
    let frame = decode_frame(rest, scan.header.salt)?;
    let expected = scan.next_sequence();
    let (sequence, watermark) = (frame.head.sequence, frame.head.watermark);
    if sequence != expected {
        return Err(FrameFault::Sequence { found: sequence, expected });
    }
    if frame.head.previous_crc != scan.crc {
        return Err(FrameFault::Chain { found: frame.head.previous_crc, expected: scan.crc });
    }
    if watermark >= sequence || watermark < scan.watermark {
        return Err(FrameFault::Watermark { sequence, found: watermark, previous: scan.watermark });
    }
    Ok(frame)
}

/// What is found behind the first frame that does not verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Beyond {
    /// How many intact frames.
    pub(super) intact_records: u64,
    /// The highest sequence number that one of them says was durable.
    pub(super) watermark: u64,
    /// Whether the search was given up before the end, so that there may be more.
    pub(super) gave_up: bool,
}

/// Searches for intact frames behind the first one that does not verify.
///
/// What has the looks of a frame and is none costs its checksum; on bytes made up of such looks the search is given up
/// after checksumming 16 times what there is to search.
pub(super) fn search_beyond(segment: &[u8], scan: &Scan) -> Beyond {
    let mut found = Beyond::default();
    let searched_bytes = segment.len().saturating_sub(scan.valid_bytes);
    let mut budget_bytes = searched_bytes.saturating_mul(16);
    let mut at = scan.valid_bytes + 1;
    while let Some(rest) = segment.get(at..).filter(|rest| rest.len() >= FRAME_HEAD_BYTES) {
        let Some(claimed_bytes) = looks_like_later_frame(rest, scan, searched_bytes) else {
            at += 1;
            continue;
        };
        if let Ok(frame) = decode_frame(rest, scan.header.salt) {
            found.intact_records += 1;
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

/// The size of the frame that the fixed fields claim, if they can be those of one behind the damaged one: cheap, and
/// `None` for nearly every offset.
fn looks_like_later_frame(rest: &[u8], scan: &Scan, searched_bytes: usize) -> Option<usize> {
    let most_frames = (searched_bytes / FRAME_HEAD_BYTES) as u64 + 1;
    let damaged = scan.next_sequence();
    let head = peek_frame(rest).ok()?;
    let can_follow = head.sequence > damaged
        && head.sequence <= damaged.saturating_add(most_frames)
        && head.watermark < head.sequence
        && head.watermark >= scan.watermark;
    can_follow.then_some(FRAME_HEAD_BYTES + head.payload_bytes)
}
