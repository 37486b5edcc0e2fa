//! The bytes of segment headers and frames, as `docs/formats.md` draws them.

use crc32fast::Hasher;

use crate::RunId;
use crate::mutant;

/// The first bytes of every segment. The line ends show a transfer that changed them.
pub(super) const MAGIC: [u8; 8] = *b"TRNJ\r\n\x1a\n";

/// The version that this crate writes, and the only one that it reads.
pub const FORMAT_VERSION: u32 = 1;

/// The size of a segment header.
pub(super) const HEADER_BYTES: usize = 64;

/// A frame's bytes before its payload, the last four of which are its checksum.
pub(super) const FRAME_HEAD_BYTES: usize = 32;

const CRC_BYTES: usize = 4;

/// What a frame's checksum covers besides the payload.
const COVERED_HEAD_BYTES: usize = FRAME_HEAD_BYTES - CRC_BYTES;

/// The largest payload: 16 MiB.
pub const MAX_PAYLOAD_BYTES: usize = 16 << 20;

/// What a segment says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) run_id: RunId,
    /// Counts from 1.
    pub(super) number: u64,
    /// The sequence number of its first record, whether there is one yet or not.
    pub(super) first_sequence: u64,
    /// Random, so that bytes left over from another file do not verify here.
    pub(super) salt: u64,
    /// The checksum of the frame that the first one follows; of the header of its segment, if that has none; 0 in the
    /// first segment. A segment fits only behind that frame.
    pub(super) previous_crc: u32,
    /// How many records it held when it got its name. They were durable before that.
    pub(super) born_records: u32,
}

/// Why the first bytes of a file are not a segment header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderFault {
    /// The file is shorter than a header.
    #[error("it has {found_bytes} bytes, fewer than the {HEADER_BYTES} of a header")]
    Short {
        /// The size of the file.
        found_bytes: usize,
    },
    /// The magic bytes are missing.
    #[error("it does not begin with the magic bytes of a journal segment")]
    Magic,
    /// It was written in a format that this version does not read.
    #[error("it has format version {found}, and this program reads version {FORMAT_VERSION}")]
    Version {
        /// The version it has.
        found: u32,
    },
    /// The header does not match its checksum.
    #[error("its header checksum is {found:08x}, and its header gives {expected:08x}")]
    Crc {
        /// The checksum stored.
        found: u32,
        /// The checksum of the bytes.
        expected: u32,
    },
    /// It belongs to another run.
    #[error("it belongs to run {found}, and the segments before it to run {expected}")]
    RunId {
        /// The run it names.
        found: RunId,
        /// The run of the first segment.
        expected: RunId,
    },
    /// Its number is not the one in its name.
    #[error("it says that it is segment {found}")]
    Number {
        /// The number in the header.
        found: u64,
    },
    /// It does not continue the segment before it.
    #[error(
        "it continues after record {found_sequence} (checksum {found_crc:08x}), and the segment before it ends with \
         record {expected_sequence} (checksum {expected_crc:08x})"
    )]
    Continuation {
        /// The record that it says it follows.
        found_sequence: u64,
        /// The checksum that it says it follows.
        found_crc: u32,
        /// The last record of the segment before.
        expected_sequence: u64,
        /// The checksum of that record.
        expected_crc: u32,
    },
}

impl SegmentHeader {
    /// The header's bytes.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = self.covered_bytes();
        let crc = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The header's checksum, which the first frame has as its `previous_crc`.
    pub(super) fn crc(&self) -> u32 {
        crc32fast::hash(&self.covered_bytes())
    }

    /// The header without its checksum.
    fn covered_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.previous_crc.to_le_bytes());
        bytes.extend_from_slice(&self.run_id.0);
        bytes.extend_from_slice(&self.number.to_le_bytes());
        bytes.extend_from_slice(&self.first_sequence.to_le_bytes());
        bytes.extend_from_slice(&self.salt.to_le_bytes());
        bytes.extend_from_slice(&self.born_records.to_le_bytes());
        bytes
    }

    /// The salt in the header at the start of a file, whether the header verifies or not.
    pub(super) fn salt_of(file: &[u8]) -> Option<u64> {
        u64_at(file, 48)
    }

    /// The header at the start of a file, and its checksum.
    pub(super) fn decode(file: &[u8]) -> Result<(SegmentHeader, u32), HeaderFault> {
        let short = || HeaderFault::Short { found_bytes: file.len() };
        if !file.starts_with(&MAGIC) && file.len() >= MAGIC.len() {
            return Err(HeaderFault::Magic);
        }
        let version = u32_at(file, 8).ok_or_else(short)?;
        let covered = file.get(..HEADER_BYTES - CRC_BYTES);
        let stored = u32_at(file, HEADER_BYTES - CRC_BYTES);
        // Before the checksum: another version may keep its own somewhere else. But a header that is one of this version
        // in everything else is one of this version, damaged in that field.
        if version != FORMAT_VERSION
            && covered.is_none_or(|covered| stored != Some(crc_as_this_version(covered)))
        {
            return Err(HeaderFault::Version { found: version });
        }
        let covered = covered.ok_or_else(short)?;
        let found = stored.ok_or_else(short)?;
        let expected = crc32fast::hash(covered);
        if is_wrong(found, expected) && !mutant::is("journal-header-crc") {
            return Err(HeaderFault::Crc { found, expected });
        }
        let header = SegmentHeader {
            previous_crc: u32_at(file, 12).ok_or_else(short)?,
            run_id: RunId(array_at(file, 16).ok_or_else(short)?),
            number: u64_at(file, 32).ok_or_else(short)?,
            first_sequence: u64_at(file, 40).ok_or_else(short)?,
            salt: u64_at(file, 48).ok_or_else(short)?,
            born_records: u32_at(file, 56).ok_or_else(short)?,
        };
        Ok((header, found))
    }
}

/// The checksum that a header would have with the version that this crate writes.
fn crc_as_this_version(covered: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(&MAGIC);
    hasher.update(&FORMAT_VERSION.to_le_bytes());
    hasher.update(covered.get(MAGIC.len() + size_of::<u32>()..).unwrap_or_default());
    hasher.finalize()
}

/// The fixed fields of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameHead {
    pub(super) payload_bytes: usize,
    pub(super) kind: u16,
    pub(super) sequence: u64,
    /// The highest sequence number known to be durable when this frame was written.
    pub(super) watermark: u64,
    /// The checksum of the frame before it; of the header, for the first of a segment.
    pub(super) previous_crc: u32,
}

/// A frame that matches its checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) head: FrameHead,
    pub(super) crc: u32,
}

impl Frame {
    pub(super) fn len_bytes(&self) -> usize {
        FRAME_HEAD_BYTES + self.head.payload_bytes
    }
}

/// Why bytes are not the frame that should be there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameFault {
    /// The segment ends within the frame.
    #[error("the frame needs {needed_bytes} bytes and {found_bytes} are left")]
    Cut {
        /// The size of the frame, or of the smallest one where not even its length is there.
        needed_bytes: usize,
        /// How many bytes are left in the segment.
        found_bytes: usize,
    },
    /// The kind is 0, which no frame has: bytes of zeros are never a frame.
    #[error("the kind of the frame is 0")]
    KindZero,
    /// The reserved field is not 0.
    #[error("the reserved field of the frame is {found}")]
    Reserved {
        /// What is there.
        found: u16,
    },
    /// The length is beyond the limit.
    #[error("the frame claims a payload of {found_bytes} bytes, and {MAX_PAYLOAD_BYTES} is the most")]
    PayloadTooLong {
        /// The length it claims.
        found_bytes: usize,
    },
    /// The checksum does not match.
    #[error("the checksum of the frame is {found:08x}, and its bytes give {expected:08x}")]
    Crc {
        /// The checksum stored.
        found: u32,
        /// The checksum of the bytes.
        expected: u32,
    },
    /// The frame verifies and is not the next one.
    #[error("the frame holds record {found} in the place of record {expected}")]
    Sequence {
        /// The sequence number it has.
        found: u64,
        /// The next one.
        expected: u64,
    },
    /// The frame verifies and was not written behind the one before it.
    #[error("the frame follows one with checksum {found:08x}, and the one before it has {expected:08x}")]
    Chain {
        /// The checksum that it says it follows.
        found: u32,
        /// The checksum of the frame before it.
        expected: u32,
    },
    /// The next segment takes the place of records that an intact frame here says were durable.
    #[error(
        "the next segment goes on behind record {continued_after}, and a record here says that {found} were durable"
    )]
    Superseded {
        /// The record behind which the next segment goes on.
        continued_after: u64,
        /// What the record says.
        found: u64,
    },
    /// The frame verifies and says that more, or less, was durable than can be.
    #[error("record {sequence} says that {found} were durable, after {previous} were")]
    Watermark {
        /// The record's own number.
        sequence: u64,
        /// What it says.
        found: u64,
        /// What the record before it says.
        previous: u64,
    },
}

impl FrameFault {
    /// Whether a write that was cut or lost could have left this. A frame that verifies was written whole: if its
    /// numbers are wrong, the writer was.
    pub(super) fn may_be_torn(&self) -> bool {
        matches!(
            self,
            FrameFault::Cut { .. }
                | FrameFault::KindZero
                | FrameFault::Reserved { .. }
                | FrameFault::PayloadTooLong { .. }
                | FrameFault::Crc { .. }
        )
    }
}

/// The fixed fields at the start of `bytes`, if they can be those of a frame that ends within `bytes`. Nothing is
/// checksummed yet.
pub(super) fn peek_frame(bytes: &[u8]) -> Result<FrameHead, FrameFault> {
    let cut = |needed_bytes| FrameFault::Cut { needed_bytes, found_bytes: bytes.len() };
    let cut_head = || cut(FRAME_HEAD_BYTES);
    let payload_bytes = u32_at(bytes, 0).ok_or_else(cut_head)? as usize;
    let kind = u16_at(bytes, 4).ok_or_else(cut_head)?;
    let reserved = u16_at(bytes, 6).ok_or_else(cut_head)?;
    let sequence = u64_at(bytes, 8).ok_or_else(cut_head)?;
    let watermark = u64_at(bytes, 16).ok_or_else(cut_head)?;
    let previous_crc = u32_at(bytes, 24).ok_or_else(cut_head)?;
    if kind == 0 && !mutant::is("journal-kind-zero") {
        return Err(FrameFault::KindZero);
    }
    if reserved != 0 {
        return Err(FrameFault::Reserved { found: reserved });
    }
    if payload_bytes > MAX_PAYLOAD_BYTES && !mutant::is("journal-frame-length-cap") {
        return Err(FrameFault::PayloadTooLong { found_bytes: payload_bytes });
    }
    let needed_bytes = FRAME_HEAD_BYTES + payload_bytes;
    if bytes.len() < needed_bytes {
        return Err(cut(needed_bytes));
    }
    Ok(FrameHead { payload_bytes, kind, sequence, watermark, previous_crc })
}

/// The frames of one segment, under its salt, which each checksum begins with and which is taken in once.
#[derive(Debug, Clone)]
pub(super) struct Frames {
    salted: Hasher,
}

impl Frames {
    pub(super) fn new(salt: u64) -> Frames {
        let mut salted = Hasher::new();
        salted.update(&salt.to_le_bytes());
        Frames { salted }
    }

    /// Appends a frame to a buffer and returns its checksum, which the next one has as its `previous_crc`. The payload
    /// counts, not what the head says of its size.
    pub(super) fn push(&self, out: &mut Vec<u8>, head: FrameHead, payload: &[u8]) -> u32 {
        let start = out.len();
        out.reserve(FRAME_HEAD_BYTES + payload.len());
        // The caller has held the payload against MAX_PAYLOAD_BYTES, which fits.
        out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        out.extend_from_slice(&head.kind.to_le_bytes());
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&head.sequence.to_le_bytes());
        out.extend_from_slice(&head.watermark.to_le_bytes());
        out.extend_from_slice(&head.previous_crc.to_le_bytes());
        let crc = self.crc(out.get(start..).unwrap_or_default(), payload);
        out.extend_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(payload);
        crc
    }

    /// The frame at the start of `bytes`, held against its own checksum: a frame verifies wherever it is found.
    pub(super) fn decode(&self, bytes: &[u8]) -> Result<Frame, FrameFault> {
        let head = peek_frame(bytes)?;
        let needed_bytes = FRAME_HEAD_BYTES + head.payload_bytes;
        let cut = || FrameFault::Cut { needed_bytes, found_bytes: bytes.len() };
        let found = u32_at(bytes, COVERED_HEAD_BYTES).ok_or_else(cut)?;
        let covered_head = bytes.get(..COVERED_HEAD_BYTES).ok_or_else(cut)?;
        let payload = bytes.get(FRAME_HEAD_BYTES..needed_bytes).ok_or_else(cut)?;
        let expected = self.crc(covered_head, payload);
        if is_wrong(found, expected) && !mutant::is("journal-frame-crc") {
            return Err(FrameFault::Crc { found, expected });
        }
        Ok(Frame { head, crc: found })
    }

    /// CRC-32 (as in zlib) over the salt, the fields of the head before the checksum, and the payload.
    fn crc(&self, covered_head: &[u8], payload: &[u8]) -> u32 {
        let mut hasher = self.salted.clone();
        hasher.update(covered_head);
        hasher.update(payload);
        hasher.finalize()
    }
}

/// Appends a frame under this salt.
#[cfg(any(test, fuzzing))]
pub(super) fn push_frame(out: &mut Vec<u8>, salt: u64, head: FrameHead, payload: &[u8]) -> u32 {
    Frames::new(salt).push(out, head, payload)
}

/// The checksum of the frame whose payload begins here.
pub(super) fn frame_crc_before(bytes: &[u8], payload_start: usize) -> u32 {
    u32_at(bytes, payload_start.saturating_sub(CRC_BYTES)).unwrap_or_default()
}

/// Whether a stored checksum is not that of the bytes. Fuzzing can look behind a checksum that it would never guess.
fn is_wrong(found: u32, expected: u32) -> bool {
    #[cfg(any(test, fuzzing))]
    if crate::fuzzing::checksums_ignored() {
        return false;
    }
    found != expected
}

pub(super) fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    array_at(bytes, at).map(u16::from_le_bytes)
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array_at(bytes, at).map(u32::from_le_bytes)
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    array_at(bytes, at).map(u64::from_le_bytes)
}
