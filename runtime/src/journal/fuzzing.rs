//! Fuzz targets over the bytes of a journal, and the mutator that makes its checksums right.

use std::path::Path;

use super::appender::Link;
use super::format::{
    FRAME_HEAD_BYTES, FrameHead, HEADER_BYTES, MAGIC, SegmentHeader, array_at, push_frame, u16_at, u32_at,
    u64_at,
};
use super::scan::{Scan, ScannedFrame, scan, search_beyond};
use super::{Durability, Journal, OpenOptions, Record, Tail, read, segment};
use crate::RunId;
use crate::disk::simulated::SimulatedDisk;
use crate::fuzzing::ignoring_checksums;

const DIR: &str = "journal";

/// Reads the bytes as the segments of a journal, one at each magic number. What is read is the only thing these bytes
/// can mean, can be appended to, and is then read again.
pub fn journal_scan(bytes: &[u8]) {
    let disk = SimulatedDisk::new();
    for (piece, number) in segments(bytes).into_iter().zip(1..) {
        let mut frames = Vec::new();
        if let Ok(scanned) = scan(piece, None, |frame| frames.push(frame)) {
            check_consistent(piece, &scanned, &frames);
            check_only_encoding(piece, &scanned, &frames);
        }
        disk.put(&Path::new(DIR).join(segment::file_name(number)), piece);
    }
    let alone = one_by_one(&disk);
    let Ok(contents) = read(&disk, Path::new(DIR)) else {
        assert!(open(&disk).is_err(), "a journal that can not be read was opened");
        return;
    };
    let (records, is_torn) = (plain(&contents.records), contents.tail != Tail::Clean);
    assert_eq!(alone, Some(records.clone()), "looking at segments one by one finds others");
    let mut opened = open(&disk).expect("a journal that was read can be opened");
    assert_eq!((plain(&opened.records), opened.set_aside.is_some()), (records.clone(), is_torn));
    opened.journal.append(7, b"appended").expect("a disk in memory takes what is written");
    drop(opened);
    let again = read(&disk, Path::new(DIR)).expect("what was appended to can be read");
    assert_eq!(again.tail, Tail::Clean);
    let mut expected = records;
    expected.push((expected.len() as u64 + 1, 7, b"appended".to_vec()));
    assert_eq!(plain(&again.records), expected);
}

/// The records of the segments, looked at one by one; `None` if one of them is damaged.
fn one_by_one(disk: &SimulatedDisk) -> Option<Vec<(u64, u16, Vec<u8>)>> {
    let listed = super::segments(disk, Path::new(DIR)).expect("a disk in memory can be listed");
    let mut records = Vec::new();
    for (path, _) in listed {
        let segment = super::read_segment(disk, &path).ok().filter(|segment| segment.damage.is_none())?;
        records.extend(plain(&segment.records));
    }
    Some(records)
}

/// Reads the bytes as one segment in which every checksum is taken for right, so that what lies behind them is
/// reached: ranges stay within the bytes, and searching ends.
pub fn journal_scan_unchecked(bytes: &[u8]) {
    ignoring_checksums(|| {
        let mut headed = SegmentHeader::encode(&header_of(bytes, 1, 1, 0));
        headed.extend_from_slice(bytes);
        for file in [bytes, &headed] {
            let mut frames = Vec::new();
            if let Ok(scanned) = scan(file, None, |frame| frames.push(frame)) {
                check_consistent(file, &scanned, &frames);
            }
        }
    });
}

fn open(disk: &SimulatedDisk) -> Result<super::Opened, super::OpenError> {
    let options = OpenOptions { durability: Durability::Checkpoint, ..OpenOptions::default() };
    Journal::open(disk.shared(), Path::new(DIR), options)
}

fn plain(records: &[Record]) -> Vec<(u64, u16, Vec<u8>)> {
    records.iter().map(|record| (record.sequence, record.kind, record.payload.to_vec())).collect()
}

/// The bytes, cut in front of every magic number but a first.
fn segments(bytes: &[u8]) -> Vec<&[u8]> {
    let mut starts: Vec<usize> = bytes
        .windows(MAGIC.len())
        .enumerate()
        .filter_map(|(at, window)| (window == MAGIC && at > 0).then_some(at))
        .collect();
    starts.insert(0, 0);
    starts.push(bytes.len());
    starts.windows(2).filter_map(|pair| bytes.get(*pair.first()?..*pair.last()?)).collect()
}

/// What a scan says agrees with itself and with the size of the segment.
fn check_consistent(segment: &[u8], scanned: &Scan, frames: &[ScannedFrame]) {
    let mut end = HEADER_BYTES;
    assert_eq!(scanned.count, frames.len() as u64);
    for (frame, count) in frames.iter().zip(0_u64..) {
        let sequence = scanned.header.first_sequence.saturating_add(count);
        assert_eq!((frame.sequence, frame.payload.start), (sequence, end + FRAME_HEAD_BYTES));
        assert!(frame.kind != 0 && frame.payload.end <= segment.len());
        end = frame.payload.end;
    }
    assert_eq!(scanned.valid_bytes, end);
    assert_eq!(scanned.fault.is_none(), end == segment.len());
    if scanned.fault.is_some() {
        let beyond = search_beyond(segment, scanned);
        assert!(beyond.intact_records as usize * FRAME_HEAD_BYTES <= segment.len() - end);
    }
}

/// The intact frames, written again, give the bytes that they were read from.
fn check_only_encoding(segment: &[u8], scanned: &Scan, frames: &[ScannedFrame]) {
    let mut written = scanned.header.encode();
    let mut previous_crc = scanned.header.crc();
    for frame in frames {
        let payload = segment.get(frame.payload.clone()).unwrap_or_default();
        let head_at = frame.payload.start - FRAME_HEAD_BYTES;
        let watermark = u64_at(segment, head_at + 16).unwrap_or_default();
        let (kind, sequence) = (frame.kind, frame.sequence);
        let head = FrameHead { payload_bytes: payload.len(), kind, sequence, watermark, previous_crc };
        previous_crc = push_frame(&mut written, scanned.header.salt, head, payload);
    }
    assert_eq!(Some(&*written), segment.get(..scanned.valid_bytes), "another encoding was accepted");
}

/// The header that these bytes would have as that of this segment: their run, salt, and number of records at birth,
/// everything else as it must be.
fn header_of(bytes: &[u8], number: u64, first_sequence: u64, previous_crc: u32) -> SegmentHeader {
    let run_id = RunId(array_at(bytes, 16).unwrap_or_default());
    let salt = u64_at(bytes, 48).unwrap_or_default();
    let born_records = u32_at(bytes, 56).unwrap_or_default();
    SegmentHeader { run_id, number, first_sequence, salt, previous_crc, born_records }
}

/// Makes the bytes a journal that verifies, as far as they do not ask for damage: headers, lengths, numbers and
/// checksums are put right. Two fields that are otherwise fixed say what to leave wrong: a frame whose reserved field
/// is not 0 keeps its bytes as they are, as a lost page would, and the frames behind it go on as if it were whole; a
/// frame whose kind has the highest bit set keeps its numbers, and only its checksum is put right. A segment whose first
/// record is one that the segment before has, too, goes on behind the one before that.
pub fn sign_journal(bytes: &[u8]) -> Vec<u8> {
    let mut signed = Vec::with_capacity(bytes.len() + HEADER_BYTES);
    let mut before = vec![Link::START];
    let run_id = header_of(bytes, 1, 1, 0).run_id;
    for (piece, number) in segments(bytes).into_iter().zip(1..) {
        let wanted = u64_at(piece, 40).unwrap_or_default();
        let follows = before.iter().find(|link| link.sequence + 1 == wanted).or(before.last());
        let after = *follows.unwrap_or(&Link::START);
        let header = SegmentHeader { run_id, ..header_of(piece, number, after.sequence + 1, after.crc) };
        signed.extend_from_slice(&header.encode());
        let frames = piece.get(HEADER_BYTES..).unwrap_or_default();
        before = sign_frames(frames, &header, &mut signed);
    }
    signed
}

/// Signs the frames of a segment; returns every place behind which another segment can go on.
fn sign_frames(mut rest: &[u8], header: &SegmentHeader, signed: &mut Vec<u8>) -> Vec<Link> {
    let (mut sequence, mut crc) = (header.first_sequence, header.crc());
    let mut links = vec![Link { sequence: sequence - 1, crc }];
    let mut durable = header.first_sequence - 1;
    while let Some((head_bytes, behind)) = rest.split_at_checked(FRAME_HEAD_BYTES) {
        let claimed_bytes = u32_at(head_bytes, 0).unwrap_or_default() as usize;
        let payload_bytes = claimed_bytes % (behind.len() + 1);
        let (payload, next) = behind.split_at(payload_bytes);
        let kind = u16_at(head_bytes, 4).unwrap_or_default().max(1);
        let watermark = u64_at(head_bytes, 16).unwrap_or_default();
        let keeps_numbers = kind & 0x8000 != 0;
        let head = if keeps_numbers {
            let sequence = u64_at(head_bytes, 8).unwrap_or_default();
            let previous_crc = u32_at(head_bytes, 24).unwrap_or_default();
            FrameHead { payload_bytes, kind, sequence, watermark, previous_crc }
        } else {
            durable = watermark.clamp(durable, sequence - 1);
            FrameHead { payload_bytes, kind, sequence, watermark: durable, previous_crc: crc }
        };
        let head_at = signed.len();
        crc = push_frame(signed, header.salt, head, payload);
        if u16_at(head_bytes, 6) != Some(0) {
            signed.truncate(head_at);
            signed.extend_from_slice(head_bytes);
            signed.extend_from_slice(payload);
        }
        links.push(Link { sequence, crc });
        sequence += 1;
        rest = next;
    }
    signed.extend_from_slice(rest);
    links
}
