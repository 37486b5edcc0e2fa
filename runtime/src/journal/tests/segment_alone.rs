//! Segments that are looked at one by one.

use super::{check_records, segment, segment_bytes, with_segment, with_segments};
use crate::disk::RealDisk;
use crate::journal::{OpenError, Record, Tail, is_segment, read, read_segment, segments};

#[test]
fn the_segments_of_a_journal_have_its_records_one_behind_the_other() {
    let dir = with_segments(12);
    // What another process finds unproven is written again to a segment of its own, and counts once.
    super::open(dir.path());
    let mut records: Vec<Record> = Vec::new();
    let listed = segments(&RealDisk, dir.path()).unwrap();
    assert!(listed.len() > 3, "{listed:?}");
    for ((path, len_bytes), number) in listed.iter().zip(1..) {
        let found = read_segment(&RealDisk, path).unwrap();
        assert_eq!((found.number, found.len_bytes, &found.damage), (number, *len_bytes, &None));
        records.extend(found.records);
    }
    check_records(&records, 12);
    assert_eq!(read(&RealDisk, dir.path()).unwrap().records.len(), 12);
}

#[test]
fn a_damaged_record_is_told_with_the_good_ones_before_it_and_a_torn_one_is_no_damage() {
    let mut bytes = segment_bytes(6, 6);
    let dir = with_segment(&bytes[..bytes.len() - 1]);
    let path = segment(dir.path(), 1);
    let torn = read_segment(&RealDisk, &path).unwrap();
    assert!(torn.damage.is_none() && matches!(torn.tail, Tail::Torn { .. }), "{torn:?}");
    check_records(&torn.records, 5);

    bytes = segment_bytes(3, 6);
    bytes[64 + 40] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let damaged = read_segment(&RealDisk, &path).unwrap();
    assert_eq!(damaged.damage.as_ref().map(|damage| damage.sequence), Some(2));
    check_records(&damaged.records, 1);
}

#[test]
fn a_file_that_is_no_segment_is_told_by_its_first_bytes() {
    assert!(is_segment(&segment_bytes(0, 0)) && !is_segment(b"TRNJ") && !is_segment(b""));
    let dir = with_segment(b"something else, and longer than the magic bytes");
    let refused = read_segment(&RealDisk, &segment(dir.path(), 1)).unwrap_err();
    assert!(matches!(refused, OpenError::Header { .. }), "{refused}");
    assert_eq!(segments(&RealDisk, &dir.path().join("missing")).unwrap(), []);
}

#[test]
fn a_segment_with_the_name_of_another_is_refused() {
    let dir = with_segment(&segment_bytes(0, 2));
    let other = segment(dir.path(), 5);
    std::fs::rename(segment(dir.path(), 1), &other).unwrap();
    assert!(read_segment(&RealDisk, &other).is_err());
}
