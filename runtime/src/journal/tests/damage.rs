//! Torn, flipped, lost, exchanged and hostile bytes.

use std::path::Path;

use super::{
    RUN, check_records, kind, open, open_error, options, payload, segment, segment_bytes, with_segment,
    with_segments,
};
use crate::RunId;
use crate::disk::simulated::SimulatedDisk;
use crate::disk::{Disk, RealDisk};
use crate::journal::format::{FRAME_HEAD_BYTES, FrameHead, HEADER_BYTES, SegmentHeader, push_frame};
use crate::journal::{FrameFault, Journal, MAX_PAYLOAD_BYTES, OpenError, Tail, read};

/// A disk in memory with one segment of these bytes, and its directory.
fn in_memory(bytes: &[u8]) -> (SimulatedDisk, &'static Path) {
    let (disk, dir) = (SimulatedDisk::new(), Path::new("/journal"));
    disk.put(&segment(dir, 1), bytes);
    (disk, dir)
}

/// Where each frame begins, and where the last one ends: `ends[n]` is the end of record `n`.
fn frame_ends(count: u64) -> Vec<usize> {
    let mut at = HEADER_BYTES;
    let mut ends = vec![at];
    ends.extend((1..=count).map(|sequence| {
        at += FRAME_HEAD_BYTES + payload(sequence).len();
        at
    }));
    ends
}

#[test]
fn a_tail_torn_at_any_byte_is_set_aside_and_the_records_before_it_survive() {
    let bytes = segment_bytes(4, 7);
    let ends = frame_ends(7);
    for cut in HEADER_BYTES..bytes.len() {
        let (disk, dir) = in_memory(&bytes[..cut]);
        let whole = ends.iter().filter(|end| **end <= cut).count() as u64 - 1;
        let torn = &bytes[ends[whole as usize]..cut];
        let opened = Journal::open(disk.shared(), dir, options()).unwrap();
        check_records(&opened.records, whole);
        match opened.set_aside {
            None => assert!(torn.is_empty(), "cut at {cut}"),
            Some(set_aside) => {
                assert!(!torn.is_empty(), "cut at {cut}");
                assert_eq!(disk.read(&set_aside.path, 1 << 20).unwrap(), torn, "cut at {cut}");
            }
        }
        // What was repaired is whole, and goes on.
        let mut journal = opened.journal;
        let next = journal.append(kind(whole + 1), &payload(whole + 1)).unwrap();
        drop(journal);
        let reopened = Journal::open(disk.shared(), dir, options()).unwrap();
        assert_eq!((next, reopened.set_aside), (whole + 1, None));
        check_records(&reopened.records, whole + 1);
    }
}

#[test]
fn a_segment_cut_within_its_header_is_refused() {
    let bytes = segment_bytes(0, 1);
    for cut in 0..HEADER_BYTES {
        assert!(matches!(open_error(with_segment(&bytes[..cut]).path()), OpenError::Header { .. }), "{cut}");
    }
}

#[test]
fn every_flipped_bit_is_refused_or_set_aside_and_what_follows_it_is_counted() {
    let (synced, count) = (4, 7);
    let bytes = segment_bytes(synced, count);
    let ends = frame_ends(count);
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let (disk, dir) = in_memory(&damaged);
        let record = ends.iter().filter(|end| **end <= bit / 8).count() as u64;
        match read(&disk, dir) {
            Err(OpenError::Header { .. }) => assert_eq!(record, 0, "bit {bit}"),
            Err(OpenError::Damaged(damage)) => {
                // A later record says that this one was durable.
                assert!((1..=synced).contains(&record), "bit {bit}");
                assert_eq!(
                    (damage.sequence, damage.intact_records_after),
                    (record, count - record),
                    "bit {bit}"
                );
                assert_eq!(damage.offset_bytes, ends[record as usize - 1] as u64, "bit {bit}");
            }
            Ok(contents) => {
                assert!(record > synced, "bit {bit}");
                check_records(&contents.records, record - 1);
                let Tail::Torn { intact_records, .. } = contents.tail else {
                    panic!("bit {bit} went unnoticed")
                };
                assert_eq!(intact_records, count - record, "bit {bit}");
            }
            Err(error) => panic!("bit {bit}: {error}"),
        }
    }
}

#[test]
fn refusing_a_damaged_journal_changes_no_file() {
    let mut bytes = segment_bytes(4, 7);
    bytes[HEADER_BYTES + 1] ^= 1;
    let dir = with_segment(&bytes);
    let message = open_error(dir.path()).to_string();
    assert!(message.contains("byte 64") && message.contains("6 intact records follow"), "{message}");
    assert_eq!(std::fs::read(segment(dir.path(), 1)).unwrap(), bytes);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn unsynced_records_behind_a_lost_page_are_torn_and_not_damage() {
    let mut bytes = segment_bytes(4, 7);
    let ends = frame_ends(7);
    bytes[ends[4]..ends[5]].fill(0);
    let opened = open(with_segment(&bytes).path());
    check_records(&opened.records, 4);
    let Some(Tail::Torn { intact_records, .. }) = opened.set_aside.map(|aside| aside.tail) else { panic!() };
    assert_eq!(intact_records, 2);
}

#[test]
fn a_tail_of_zeros_holds_no_records() {
    let mut bytes = segment_bytes(2, 3);
    bytes.extend([0; 4096]);
    let dir = with_segment(&bytes);
    check_records(&open(dir.path()).records, 3);
}

#[test]
fn a_tail_torn_twice_at_one_place_is_set_aside_twice() {
    let bytes = segment_bytes(0, 2);
    let dir = with_segment(&bytes[..bytes.len() - 1]);
    let first = open(dir.path()).set_aside.unwrap().path;
    std::fs::remove_file(segment(dir.path(), 2)).unwrap();
    std::fs::write(segment(dir.path(), 1), &bytes[..bytes.len() - 1]).unwrap();
    let second = open(dir.path()).set_aside.unwrap().path;
    assert_ne!(first, second);
    assert_eq!(std::fs::read(first).unwrap(), std::fs::read(second).unwrap());
}

#[test]
fn bytes_cut_from_a_torn_tail_do_not_verify_when_they_come_back() {
    let bytes = segment_bytes(0, 3);
    let ends = frame_ends(3);
    let mut lost_second = bytes.clone();
    lost_second[ends[1]..ends[2]].fill(0);
    let dir = with_segment(&lost_second);
    // The same record is appended again, as a computation that is repeated does.
    open(dir.path()).journal.append(kind(2), &payload(2)).unwrap();
    let last = segment(dir.path(), 2);
    let returned = [std::fs::read(&last).unwrap(), bytes[ends[2]..ends[3]].to_vec()].concat();
    std::fs::write(&last, returned).unwrap();
    let opened = open(dir.path());
    check_records(&opened.records, 2);
    assert!(opened.set_aside.is_some());
}

#[test]
fn bytes_behind_a_size_that_was_lost_do_not_verify_when_they_come_back() {
    let dir = with_segment(&segment_bytes(0, 1));
    let before = {
        let mut journal = open(dir.path()).journal;
        journal.append(1, b"lost 2").unwrap();
        journal.append(1, b"lost 3").unwrap();
        drop(journal);
        std::fs::read(segment(dir.path(), 2)).unwrap()
    };
    let ends = [HEADER_BYTES + 33, HEADER_BYTES + 33 + 38];
    // A power loss leaves the size as it was when the segment was durable: nothing is torn.
    std::fs::write(segment(dir.path(), 2), &before[..ends[0]]).unwrap();
    let mut opened = open(dir.path());
    check_records(&opened.records, 1);
    assert!(opened.set_aside.is_none());
    opened.journal.append(1, b"other2").unwrap();
    opened.journal.close().unwrap();
    // Another one brings the old bytes back, behind a record that is durable and has the size of the one before.
    let last =
        [segment(dir.path(), 3), segment(dir.path(), 2)].into_iter().find(|path| path.exists()).unwrap();
    let bytes = std::fs::read(&last).unwrap();
    std::fs::write(&last, [&bytes, &before[ends[1]..]].concat()).unwrap();
    let opened = open(dir.path());
    assert_eq!((opened.records.len(), &*opened.records[1].payload), (2, &b"other2"[..]));
}

#[test]
fn a_durable_record_lost_with_its_whole_sector_is_damage_even_if_one_record_follows() {
    let mut bytes = segment_bytes(4, 5);
    let ends = frame_ends(5);
    bytes[ends[3]..ends[4]].fill(0);
    let OpenError::Damaged(damage) = open_error(with_segment(&bytes).path()) else { panic!() };
    assert_eq!((damage.sequence, damage.intact_records_after), (4, 1));
}

#[test]
fn frames_that_changed_places_are_damage() {
    let bytes = segment_bytes(0, 6);
    let ends = frame_ends(6);
    // Both have a payload of one byte.
    let (first, sixth) = (bytes[ends[0]..ends[1]].to_vec(), bytes[ends[5]..ends[6]].to_vec());
    let swapped = [&bytes[..ends[0]], &sixth, &bytes[ends[1]..ends[5]], &first].concat();
    assert!(matches!(open_error(with_segment(&swapped).path()), OpenError::Damaged(_)));
    let doubled = [&bytes[..ends[1]], &bytes[ends[0]..]].concat();
    assert!(matches!(open_error(with_segment(&doubled).path()), OpenError::Damaged(_)));
}

#[test]
fn a_missing_segment_is_named() {
    for number in [1, 2] {
        let dir = with_segments(12);
        std::fs::remove_file(segment(dir.path(), number)).unwrap();
        let error = open_error(dir.path());
        assert!(
            matches!(&error, OpenError::Missing { path } if *path == segment(dir.path(), number)),
            "{error}"
        );
    }
}

#[test]
fn a_segment_that_is_not_the_one_in_its_name_or_of_another_run_is_refused() {
    let dir = with_segments(12);
    std::fs::copy(segment(dir.path(), 2), segment(dir.path(), 3)).unwrap();
    assert!(open_error(dir.path()).to_string().contains("it says that it is segment 2"));

    let (dir, other) = (with_segments(12), with_segments(12));
    std::fs::copy(segment(other.path(), 2), segment(dir.path(), 2)).unwrap();
    // Same run, same number, same records: only the checksum that it continues from gives it away.
    assert!(open_error(dir.path()).to_string().contains("continues after record"));
}

#[test]
fn a_segment_that_fits_in_everything_but_its_run_is_refused() {
    let dir = with_segments(12);
    let path = segment(dir.path(), 2);
    let mut bytes = std::fs::read(&path).unwrap();
    let (header, _) = SegmentHeader::decode(&bytes).unwrap();
    let other = SegmentHeader { run_id: RunId([8; 16]), ..header };
    bytes.splice(..HEADER_BYTES, other.encode());
    std::fs::write(&path, bytes).unwrap();
    assert!(open_error(dir.path()).to_string().contains("it belongs to run 0808"));
}

#[test]
fn a_record_beyond_the_limit_is_none_even_if_it_verifies() {
    let mut bytes = segment_bytes(0, 0);
    let (header, crc) = SegmentHeader::decode(&bytes).unwrap();
    for excess in [0, 1] {
        bytes.truncate(HEADER_BYTES);
        let payload = vec![1; MAX_PAYLOAD_BYTES + excess];
        let head = FrameHead { payload_bytes: 0, kind: 1, sequence: 1, watermark: 0, previous_crc: crc };
        push_frame(&mut bytes, header.salt, head, &payload);
        let contents = read(&RealDisk, with_segment(&bytes).path()).unwrap();
        assert_eq!(contents.records.len(), 1 - excess);
        let is_refused =
            matches!(&contents.tail, Tail::Torn { fault: FrameFault::PayloadTooLong { .. }, .. });
        assert_eq!(is_refused, excess == 1, "{:?}", contents.tail);
    }
}

#[test]
fn a_tail_torn_in_a_segment_that_has_a_successor_is_damage() {
    let dir = with_segments(12);
    let bytes = std::fs::read(segment(dir.path(), 1)).unwrap();
    std::fs::write(segment(dir.path(), 1), &bytes[..bytes.len() - 1]).unwrap();
    assert!(matches!(open_error(dir.path()), OpenError::Damaged(damage) if damage.intact_records_after == 0));
}

/// A segment's header, and a way to put verified frames with any numbers behind it.
fn forged(frames: &[(u16, u64, u64)]) -> Vec<u8> {
    let header = SegmentHeader {
        run_id: RUN,
        number: 1,
        first_sequence: 1,
        salt: 5,
        previous_crc: 0,
        born_records: 0,
    };
    let mut bytes = header.encode();
    let mut crc = header.crc();
    for &(kind, sequence, watermark) in frames {
        let head = FrameHead { payload_bytes: 0, kind, sequence, watermark, previous_crc: crc };
        crc = push_frame(&mut bytes, header.salt, head, b"");
    }
    bytes
}

#[test]
fn frames_that_verify_with_impossible_numbers_are_damage_and_never_a_torn_tail() {
    let wrong_sequence = forged(&[(1, 1, 0), (1, 3, 0)]);
    let own_watermark = forged(&[(1, 1, 0), (1, 2, 2)]);
    let falling_watermark = forged(&[(1, 1, 0), (1, 2, 1), (1, 3, 0)]);
    for bytes in [wrong_sequence, own_watermark, falling_watermark] {
        assert!(matches!(open_error(with_segment(&bytes).path()), OpenError::Damaged(_)));
    }
}

#[test]
fn a_frame_that_was_written_behind_another_than_the_one_before_it_is_damage() {
    let header = SegmentHeader {
        run_id: RUN,
        number: 1,
        first_sequence: 1,
        salt: 5,
        previous_crc: 0,
        born_records: 0,
    };
    let head = |sequence, previous_crc| FrameHead {
        payload_bytes: 1,
        kind: 1,
        sequence,
        watermark: 0,
        previous_crc,
    };
    let mut bytes = header.encode();
    push_frame(&mut bytes, header.salt, head(1, header.crc()), b"a");
    let other = push_frame(&mut Vec::new(), header.salt, head(1, header.crc()), b"b");
    push_frame(&mut bytes, header.salt, head(2, other), b"c");
    let OpenError::Damaged(damage) = open_error(with_segment(&bytes).path()) else { panic!() };
    assert!(matches!(damage.fault, FrameFault::Chain { .. }));
}

#[test]
fn kind_zero_never_parses_even_when_it_verifies() {
    let contents = read(&RealDisk, with_segment(&forged(&[(0, 1, 0)])).path()).unwrap();
    assert!(contents.records.is_empty());
    assert!(matches!(contents.tail, Tail::Torn { fault: FrameFault::KindZero, .. }));
}

#[test]
fn a_claimed_length_beyond_the_limit_or_the_file_is_not_believed() {
    for length in [u32::MAX, MAX_PAYLOAD_BYTES as u32 + 1, 1] {
        let mut bytes = forged(&[(1, 1, 0)]);
        bytes[HEADER_BYTES..HEADER_BYTES + 4].copy_from_slice(&length.to_le_bytes());
        let contents = read(&RealDisk, with_segment(&bytes).path()).unwrap();
        assert!(contents.records.is_empty() && matches!(contents.tail, Tail::Torn { .. }), "{length}");
    }
}

#[test]
fn bytes_made_up_of_the_looks_of_frames_are_refused_in_bounded_time() {
    let mut bytes = forged(&[]);
    bytes.extend([0xff; FRAME_HEAD_BYTES]);
    let count = 40_000_usize;
    for at in 0..count {
        // Each claims to reach far into the file, so that each costs a long checksum.
        let payload_bytes = (count - at) * FRAME_HEAD_BYTES / 2;
        bytes.extend((payload_bytes as u32).to_le_bytes());
        bytes.extend([1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend([0; 16]);
    }
    let error = open_error(with_segment(&bytes).path());
    assert!(matches!(&error, OpenError::Damaged(damage) if damage.gave_up_counting), "{error}");
}

#[test]
fn random_bytes_behind_a_header_are_never_records_and_never_a_panic() {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for length in 0..600 {
        let mut bytes = forged(&[]);
        bytes.extend((0..length).map(|_| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // Small values more often than not, as fields have them.
            if random >> 63 == 1 { 0 } else { (random >> 56) as u8 }
        }));
        let (disk, dir) = in_memory(&bytes);
        assert!(read(&disk, dir).unwrap().records.is_empty());
    }
}

#[test]
fn another_format_version_is_refused_by_path_and_number_and_is_no_damage() {
    let mut same_layout = segment_bytes(0, 1);
    same_layout[8] = 2;
    let crc = crc32fast::hash(&same_layout[..HEADER_BYTES - 4]);
    same_layout[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
    let other_layout = [&same_layout[..12], &[0xee; 30]].concat();
    for bytes in [same_layout, other_layout] {
        let dir = with_segment(&bytes);
        let error = open_error(dir.path());
        assert!(matches!(error, OpenError::Version { found: 2, supported: 1, .. }) && !error.is_damage());
        let message = error.to_string();
        for word in ["00000001.wal", "version 2", "reads version 1", "use the version of the program"] {
            assert!(message.contains(word), "{message}");
        }
    }
}

#[test]
fn a_damaged_version_is_damage_and_not_another_version() {
    for bit in 0..32 {
        let mut bytes = segment_bytes(0, 1);
        bytes[8 + bit / 8] ^= 1 << (bit % 8);
        assert!(open_error(with_segment(&bytes).path()).is_damage());
    }
}
