//! Repairing damaged journals: what is kept, what is set aside, and that nothing is ever deleted.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{RUN, check_records, kind, open, open_error, payload, segment, with_segments};
use crate::disk::RealDisk;
use crate::disk::fault::FaultDisk;
use crate::journal::format::{HEADER_BYTES, SegmentHeader};
use crate::journal::repair::examine;
use crate::journal::{OpenError, Tail, read};

/// Twelve records in six segments of two; made once, and copied.
fn good() -> tempfile::TempDir {
    static GOOD: OnceLock<BTreeMap<String, Vec<u8>>> = OnceLock::new();
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in GOOD.get_or_init(|| files(with_segments(12).path())) {
        fs::write(dir.path().join(name), bytes).unwrap();
    }
    dir
}

fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())).collect()
}

/// That every file there was is there, under its own name or another.
#[track_caller]
fn check_nothing_deleted(before: &BTreeMap<String, Vec<u8>>, dir: &Path) {
    let after = files(dir);
    for (name, bytes) in before {
        assert!(after.values().any(|found| found == bytes), "{name} is gone: {:?}", after.keys());
    }
}

fn edit(dir: &Path, number: u64, change: impl Fn(&mut Vec<u8>)) {
    let path = segment(dir, number);
    let mut bytes = fs::read(&path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

/// That a journal with this damage is refused, and repaired so that records 1 to `kept` stay, those up to `last` are
/// told as lost, so many of which are intact in what is set aside, and appending goes on.
#[track_caller]
fn check_repaired(damage: impl Fn(&Path), kept: u64, last: u64, intact: u64) {
    let dir = good();
    damage(dir.path());
    let before = files(dir.path());
    assert!(open_error(dir.path()).is_damage());

    let repair = examine(&RealDisk, dir.path()).unwrap();
    assert_eq!(files(dir.path()), before, "looking changes nothing");
    assert!(!repair.is_whole());
    check_records(&repair.records, kept);
    assert_eq!(repair.lost, Some(kept + 1..=last));
    assert_eq!(repair.set_aside.iter().map(|part| part.intact_records).sum::<u64>(), intact);
    repair.apply(&RealDisk::shared()).unwrap();
    check_whole_again(dir.path(), &before, kept);
}

#[track_caller]
fn check_whole_again(dir: &Path, before: &BTreeMap<String, Vec<u8>>, kept: u64) {
    check_nothing_deleted(before, dir);
    assert!(examine(&RealDisk, dir).unwrap().is_whole());
    let mut opened = open(dir);
    check_records(&opened.records, kept);
    assert_eq!((opened.set_aside, opened.journal.run_id()), (None, RUN));
    opened.journal.append(kind(kept + 1), &payload(kept + 1)).unwrap();
    opened.journal.close().unwrap();
    check_records(&open(dir).records, kept + 1);
    check_nothing_deleted(before, dir);
}

/// That a crash at any operation of the repair deletes nothing and leaves the same to be repaired.
#[track_caller]
fn check_crashes(damage: impl Fn(&Path), kept: u64) {
    for nth in 0.. {
        let dir = good();
        damage(dir.path());
        let before = files(dir.path());
        let disk = FaultDisk::default();
        let repair = examine(&disk, dir.path()).unwrap();
        let count = AtomicUsize::new(0);
        disk.set_hook(move |_, _| match count.fetch_add(1, Ordering::SeqCst) {
            at if at >= nth => Err(io::Error::other("the disk was told to fail")),
            _ => Ok(()),
        });
        let applied = repair.apply(&disk.shared());
        check_nothing_deleted(&before, dir.path());
        let again = examine(&RealDisk, dir.path()).unwrap();
        check_records(&again.records, kept);
        again.apply(&RealDisk::shared()).unwrap();
        check_whole_again(dir.path(), &before, kept);
        if applied.is_ok() {
            assert!(nth > 0);
            break;
        }
    }
}

/// Where each record of segment 2 begins: 3 and 4.
const SECOND: [usize; 2] = [HEADER_BYTES, HEADER_BYTES + 32 + 3];

#[test]
fn kept_segments_without_a_record_stay_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    // As failovers before the first record leave them.
    let mut previous_crc = 0;
    for number in 1..=3 {
        let header = SegmentHeader {
            run_id: RUN,
            number,
            first_sequence: 1,
            salt: number,
            previous_crc,
            born_records: 0,
        };
        fs::write(segment(dir.path(), number), header.encode()).unwrap();
        previous_crc = header.crc();
    }
    let kept = [1, 2].map(|number| fs::read(segment(dir.path(), number)).unwrap());
    edit(dir.path(), 3, |bytes| bytes[40] ^= 1);
    examine(&RealDisk, dir.path()).unwrap().apply(&RealDisk::shared()).unwrap();
    assert_eq!([1, 2].map(|number| fs::read(segment(dir.path(), number)).unwrap()), kept);
    assert!(open(dir.path()).records.is_empty());
}

#[test]
fn a_damaged_record_loses_itself_and_those_behind_it() {
    check_repaired(|dir| edit(dir, 2, |bytes| bytes[SECOND[1] + 8] ^= 1), 3, 12, 8);
    check_repaired(|dir| edit(dir, 2, |bytes| bytes[SECOND[0] + 30] ^= 1), 2, 12, 9);
    check_repaired(|dir| edit(dir, 1, |bytes| bytes[HEADER_BYTES..].fill(0)), 0, 12, 10);
}

#[test]
fn a_segment_that_is_cut_short_loses_those_behind_the_cut() {
    check_repaired(|dir| edit(dir, 2, |bytes| bytes.truncate(SECOND[1] + 5)), 3, 12, 8);
    check_repaired(|dir| edit(dir, 2, |bytes| bytes.truncate(SECOND[1])), 3, 12, 8);
    check_repaired(|dir| edit(dir, 2, |bytes| bytes.truncate(9)), 2, 12, 8);
    check_repaired(|dir| edit(dir, 2, Vec::clear), 2, 12, 8);
}

#[test]
fn a_damaged_header_loses_its_segment_and_those_behind_it_and_their_records_are_counted() {
    check_repaired(|dir| edit(dir, 2, |bytes| bytes[0] ^= 1), 2, 12, 10);
    check_repaired(|dir| edit(dir, 2, |bytes| bytes[60] ^= 1), 2, 12, 10);
    // With the salt gone, no record of that segment can be told from chance.
    check_repaired(|dir| edit(dir, 2, |bytes| bytes[48] ^= 1), 2, 12, 8);
    check_repaired(|dir| edit(dir, 1, |bytes| bytes[20] ^= 1), 0, 12, 12);
}

#[test]
fn a_missing_segment_loses_those_behind_it() {
    check_repaired(|dir| fs::remove_file(segment(dir, 2)).unwrap(), 2, 12, 8);
    check_repaired(|dir| fs::remove_file(segment(dir, 1)).unwrap(), 0, 12, 10);
    check_repaired(|dir| (2..=4).for_each(|n| fs::remove_file(segment(dir, n)).unwrap()), 2, 12, 4);
}

#[test]
fn a_segment_of_another_run_or_in_the_place_of_another_loses_those_behind_it() {
    check_repaired(|dir| _ = fs::copy(segment(dir, 5), segment(dir, 2)).unwrap(), 2, 12, 10);
    let other = with_segments(12);
    check_repaired(|dir| _ = fs::copy(segment(other.path(), 2), segment(dir, 2)).unwrap(), 2, 12, 10);
}

#[test]
fn a_crash_during_the_repair_deletes_nothing_and_leaves_the_same_to_be_repaired() {
    check_crashes(|dir| edit(dir, 2, |bytes| bytes[SECOND[1] + 8] ^= 1), 3);
    check_crashes(|dir| edit(dir, 1, |bytes| bytes[20] ^= 1), 0);
    check_crashes(|dir| fs::remove_file(segment(dir, 3)).unwrap(), 4);
}

#[test]
fn the_last_segment_can_be_damaged_too() {
    check_repaired(|dir| edit(dir, 6, |bytes| bytes[1] ^= 1), 10, 12, 2);
}

#[test]
fn a_segment_that_lost_what_it_was_born_with_is_made_again_with_the_rest() {
    let dir = good();
    // No record tells that 11 and 12 were durable: they are written again, in segment 7.
    drop(open(dir.path()));
    let before = files(dir.path());
    edit(dir.path(), 7, |bytes| bytes.truncate(HEADER_BYTES));
    let repair = examine(&RealDisk, dir.path()).unwrap();
    assert_eq!((repair.records.len(), repair.lost.clone()), (10, Some(11..=12)));
    repair.apply(&RealDisk::shared()).unwrap();
    let before = before.into_iter().filter(|(name, _)| !name.contains('7')).collect();
    check_whole_again(dir.path(), &before, 10);
}

#[test]
fn a_journal_without_one_good_header_becomes_an_empty_one_and_is_kept_aside() {
    let dir = with_segments(2);
    edit(dir.path(), 1, |bytes| bytes[..HEADER_BYTES].fill(0xee));
    let before = files(dir.path());
    let repair = examine(&RealDisk, dir.path()).unwrap();
    assert_eq!((repair.records.len(), repair.lost.clone(), repair.set_aside.len()), (0, None, 1));
    repair.apply(&RealDisk::shared()).unwrap();
    check_nothing_deleted(&before, dir.path());
    assert!(open(dir.path()).records.is_empty());
}

#[test]
fn a_whole_or_torn_or_missing_journal_needs_no_repair_and_is_not_touched() {
    let dir = good();
    let before = files(dir.path());
    let repair = examine(&RealDisk, dir.path()).unwrap();
    assert!(repair.is_whole() && repair.lost.is_none() && repair.tail == Tail::Clean);
    repair.apply(&RealDisk::shared()).unwrap();
    assert_eq!(files(dir.path()), before);

    let torn = with_segments(2);
    edit(torn.path(), 1, |bytes| bytes.truncate(bytes.len() - 1));
    let repair = examine(&RealDisk, torn.path()).unwrap();
    assert!(repair.is_whole() && matches!(repair.tail, Tail::Torn { .. }));

    let missing = examine(&RealDisk, &dir.path().join("missing")).unwrap();
    assert!(missing.is_whole() && missing.records.is_empty());
}

#[test]
fn a_segment_of_another_format_version_is_not_damage_and_stops_the_repair() {
    let dir = good();
    edit(dir.path(), 2, |bytes| bytes[SECOND[0] + 8] ^= 1);
    edit(dir.path(), 3, |bytes| {
        bytes[8] = 2;
        let crc = crc32fast::hash(&bytes[..HEADER_BYTES - 4]);
        bytes[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
    });
    let error = examine(&RealDisk, dir.path()).unwrap_err();
    assert!(matches!(error, OpenError::Version { found: 2, .. }), "{error}");
}

#[test]
fn a_repair_after_a_repair_takes_new_names() {
    let dir = good();
    for round in 0..3 {
        edit(dir.path(), 1, |bytes| bytes[1] ^= 1);
        let before = files(dir.path());
        examine(&RealDisk, dir.path()).unwrap().apply(&RealDisk::shared()).unwrap();
        check_nothing_deleted(&before, dir.path());
        let mut journal = open(dir.path()).journal;
        journal.append(1, format!("round {round}").as_bytes()).unwrap();
        journal.close().unwrap();
    }
    assert_eq!(read(&RealDisk, dir.path()).unwrap().records.len(), 1);
}
