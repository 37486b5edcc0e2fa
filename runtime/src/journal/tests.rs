use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use super::format::{FRAME_HEAD_BYTES, FrameHead, HEADER_BYTES, SegmentHeader, push_frame};
use super::{
    AppendError, Durability, FrameFault, Journal, MAX_PAYLOAD_BYTES, OpenError, OpenOptions, Opened, Record,
    SyncError, Tail, read,
};
use crate::RunId;
use crate::disk::fault::FaultDisk;
use crate::disk::{Operation, RealDisk};
use crate::formats_doc::example;

const RUN: RunId = RunId([7; 16]);

fn options() -> OpenOptions {
    OpenOptions { run_id: Some(RUN), durability: Durability::Checkpoint, ..OpenOptions::default() }
}

#[track_caller]
fn open(dir: &Path) -> Opened {
    Journal::open(RealDisk::shared(), dir, options()).unwrap()
}

fn segment(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:08}.wal"))
}

fn payload(sequence: u64) -> Vec<u8> {
    vec![sequence as u8; sequence as usize % 5]
}

fn kind(sequence: u64) -> u16 {
    sequence as u16 % 3 + 1
}

/// A journal with records 1 to `count`, of which those up to `synced` say that they are durable.
fn filled(dir: &Path, synced: u64, count: u64) {
    let mut journal = open(dir).journal;
    for sequence in 1..=count {
        assert_eq!(journal.append(kind(sequence), &payload(sequence)).unwrap(), sequence);
        if sequence == synced {
            journal.sync().unwrap();
        }
    }
}

#[track_caller]
fn check_records(records: &[Record], count: u64) {
    let found: Vec<_> = records.iter().map(|r| (r.sequence, r.kind, r.payload.to_vec())).collect();
    let expected: Vec<_> = (1..=count).map(|s| (s, kind(s), payload(s))).collect();
    assert_eq!(found, expected);
}

#[test]
fn records_are_read_in_order_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 4, 10);
    let opened = open(dir.path());
    assert_eq!((opened.set_aside, opened.journal.run_id()), (None, RUN));
    assert_eq!((opened.journal.next_sequence(), opened.journal.durable_sequence()), (11, 10));
    check_records(&opened.records, 10);
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

/// A directory with one segment of these bytes.
fn with_segment(bytes: &[u8]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(segment(dir.path(), 1), bytes).unwrap();
    dir
}

#[track_caller]
fn segment_bytes(synced: u64, count: u64) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), synced, count);
    std::fs::read(segment(dir.path(), 1)).unwrap()
}

#[track_caller]
fn open_error(dir: &Path) -> OpenError {
    Journal::open(RealDisk::shared(), dir, options()).unwrap_err()
}

#[test]
fn a_tail_torn_at_any_byte_is_set_aside_and_the_records_before_it_survive() {
    let bytes = segment_bytes(4, 7);
    let ends = frame_ends(7);
    for cut in HEADER_BYTES..bytes.len() {
        let dir = with_segment(&bytes[..cut]);
        let whole = ends.iter().filter(|end| **end <= cut).count() as u64 - 1;
        let torn = &bytes[ends[whole as usize]..cut];
        let opened = open(dir.path());
        check_records(&opened.records, whole);
        match opened.set_aside {
            None => assert!(torn.is_empty(), "cut at {cut}"),
            Some(set_aside) => {
                assert!(!torn.is_empty(), "cut at {cut}");
                assert_eq!(std::fs::read(set_aside.path).unwrap(), torn, "cut at {cut}");
            }
        }
        // What was repaired is whole, and goes on.
        let mut journal = opened.journal;
        let next = journal.append(kind(whole + 1), &payload(whole + 1)).unwrap();
        drop(journal);
        let reopened = open(dir.path());
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
        let dir = with_segment(&damaged);
        let record = ends.iter().filter(|end| **end <= bit / 8).count() as u64;
        match read(&RealDisk, dir.path()) {
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
fn reading_changes_nothing_and_needs_no_directory() {
    let bytes = segment_bytes(0, 3);
    let dir = with_segment(&bytes[..bytes.len() - 2]);
    let contents = read(&RealDisk, dir.path()).unwrap();
    assert_eq!(contents.run_id, Some(RUN));
    check_records(&contents.records, 2);
    assert!(matches!(contents.tail, Tail::Torn { .. }));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);

    let missing = dir.path().join("missing");
    let contents = read(&RealDisk, &missing).unwrap();
    assert!(contents.records.is_empty() && contents.run_id.is_none() && !missing.exists());
}

/// A journal of several segments, each of a few records.
fn with_segments(count: u64) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let options = OpenOptions { segment_limit_bytes: 160, ..options() };
    let mut journal = Journal::open(RealDisk::shared(), dir.path(), options).unwrap().journal;
    for sequence in 1..=count {
        journal.append(kind(sequence), &payload(sequence)).unwrap();
    }
    dir
}

#[test]
fn full_segments_are_followed_by_new_ones_and_read_as_one_journal() {
    let dir = with_segments(12);
    assert!(segment(dir.path(), 4).exists());
    for file in std::fs::read_dir(dir.path()).unwrap() {
        assert!(file.unwrap().metadata().unwrap().len() <= 160);
    }
    let opened = open(dir.path());
    check_records(&opened.records, 12);
    assert_eq!(opened.set_aside, None);
}

#[test]
fn a_record_larger_than_a_segment_gets_one_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let options = OpenOptions { segment_limit_bytes: 100, ..options() };
    let mut journal = Journal::open(RealDisk::shared(), dir.path(), options).unwrap().journal;
    for _ in 0..2 {
        journal.append(1, &[1; 300]).unwrap();
    }
    drop(journal);
    assert_eq!(open(dir.path()).records.len(), 2);
    assert!(segment(dir.path(), 2).exists() && !segment(dir.path(), 3).exists());
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
fn a_tail_torn_in_a_segment_that_has_a_successor_is_damage() {
    let dir = with_segments(12);
    let bytes = std::fs::read(segment(dir.path(), 1)).unwrap();
    std::fs::write(segment(dir.path(), 1), &bytes[..bytes.len() - 1]).unwrap();
    assert!(matches!(open_error(dir.path()), OpenError::Damaged(damage) if damage.intact_records_after == 0));
}

#[test]
fn a_half_made_segment_is_made_again() {
    let dir = with_segments(3);
    std::fs::write(dir.path().join("00000002.wal.tmp"), b"TRN").unwrap();
    let options = OpenOptions { segment_limit_bytes: 160, ..options() };
    let mut journal = Journal::open(RealDisk::shared(), dir.path(), options).unwrap().journal;
    for sequence in 4..=6 {
        journal.append(kind(sequence), &payload(sequence)).unwrap();
    }
    drop(journal);
    check_records(&open(dir.path()).records, 6);
}

#[test]
fn unacceptable_records_are_refused_and_nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = open(dir.path()).journal;
    assert!(matches!(journal.append(0, b"x"), Err(AppendError::KindZero)));
    let too_long = vec![0; MAX_PAYLOAD_BYTES + 1];
    let batch: [(u16, &[u8]); 2] = [(1, b"fine"), (1, &too_long)];
    assert!(matches!(journal.append_batch(&batch), Err(AppendError::PayloadTooLong { .. })));
    assert_eq!(journal.append_batch(&[]).unwrap(), 0);
    assert_eq!(journal.append(kind(1), &payload(1)).unwrap(), 1);
    drop(journal);
    check_records(&open(dir.path()).records, 1);
}

#[track_caller]
fn open_on(disk: &FaultDisk, dir: &Path, durability: Durability) -> Journal {
    let options = OpenOptions { durability, ..options() };
    let journal = Journal::open(disk.shared(), dir, options).unwrap().journal;
    disk.take_log();
    journal
}

#[test]
fn a_batch_is_one_write_and_durability_step_syncs_it_before_returning() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), FaultDisk::default());
    let mut journal = open_on(&disk, dir.path(), Durability::Step);
    assert_eq!(journal.append_batch(&[(1, b"a"), (2, b""), (3, b"c")]).unwrap(), 3);
    // The file is known to the disk by the name under which it was created.
    assert_eq!(disk.take_log(), ["Write 00000001.wal.tmp", "Sync 00000001.wal.tmp"]);
    assert_eq!(journal.durable_sequence(), 3);
}

#[test]
fn durability_checkpoint_syncs_only_when_told_to_and_only_what_is_new() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), FaultDisk::default());
    let mut journal = open_on(&disk, dir.path(), Durability::Checkpoint);
    journal.append(1, b"a").unwrap();
    assert_eq!(journal.durable_sequence(), 0);
    journal.sync().unwrap();
    journal.sync().unwrap();
    assert_eq!(disk.take_log(), ["Write 00000001.wal.tmp", "Sync 00000001.wal.tmp"]);
    assert_eq!(journal.durable_sequence(), 1);
}

#[test]
fn durability_interval_syncs_by_itself_and_appending_does_not_wait_for_it() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), FaultDisk::default());
    let mut journal = open_on(&disk, dir.path(), Durability::Interval(Duration::from_millis(1)));
    let (entered, sync_entered) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    disk.set_hook(move |operation, _| {
        if operation == Operation::Sync {
            entered.send(()).unwrap();
            // An error means that the test has ended the waiting for all syncs to come.
            let _ = released.lock().unwrap().recv();
        }
        Ok(())
    });
    journal.append(1, b"a").unwrap();
    sync_entered.recv().unwrap();
    // The sync is under way and stays so.
    assert_eq!(journal.append(1, b"b").unwrap(), 2);
    assert_eq!(journal.durable_sequence(), 0);
    drop(release);
    // The second record starts a sync of its own, which begins after the first has ended.
    sync_entered.recv().unwrap();
    assert!(journal.durable_sequence() >= 1);
    journal.close().unwrap();
}

#[track_caller]
fn check_latched(disk: &FaultDisk, mut journal: Journal, dir: &Path, intact: u64) {
    disk.heal();
    assert!(matches!(journal.append(1, b"later"), Err(AppendError::Latched(_))));
    assert!(matches!(journal.sync(), Err(SyncError::Latched(_))));
    assert!(matches!(journal.close(), Err(SyncError::Latched(_))));
    check_records(&open(dir).records, intact);
}

#[test]
fn a_failed_write_latches_the_journal_even_when_the_disk_recovers() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), FaultDisk::default());
    let mut journal = open_on(&disk, dir.path(), Durability::Checkpoint);
    journal.append(kind(1), &payload(1)).unwrap();
    disk.fail(Operation::Write, io::ErrorKind::StorageFull);
    let error = journal.append(kind(2), &payload(2)).unwrap_err();
    assert!(matches!(&error, AppendError::Disk(cause) if cause.is_full()), "{error}");
    check_latched(&disk, journal, dir.path(), 1);
}

#[test]
fn a_failed_sync_latches_the_journal_even_when_the_disk_recovers() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), FaultDisk::default());
    let mut journal = open_on(&disk, dir.path(), Durability::Checkpoint);
    journal.append(kind(1), &payload(1)).unwrap();
    disk.fail(Operation::Sync, io::ErrorKind::Other);
    assert!(matches!(journal.sync(), Err(SyncError::Disk(_))));
    assert_eq!(journal.durable_sequence(), 0);
    check_latched(&disk, journal, dir.path(), 1);
}

#[test]
fn a_sync_that_fails_in_the_background_latches_the_journal() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), FaultDisk::default());
    let mut journal = open_on(&disk, dir.path(), Durability::Interval(Duration::from_millis(1)));
    let (failed, has_failed) = mpsc::channel();
    disk.set_hook(move |operation, _| {
        if operation == Operation::Sync {
            failed.send(()).unwrap();
            return Err(io::Error::other("the disk was told to fail"));
        }
        Ok(())
    });
    journal.append(kind(1), &payload(1)).unwrap();
    has_failed.recv().unwrap();
    // This waits for the failed sync to be recorded, and finds it.
    assert!(matches!(journal.sync(), Err(SyncError::Latched(_))));
    check_latched(&disk, journal, dir.path(), 1);
}

#[test]
fn a_new_segment_that_can_not_be_made_latches_the_journal() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), FaultDisk::default());
    let options = OpenOptions { segment_limit_bytes: 100, ..options() };
    let mut journal = Journal::open(disk.shared(), dir.path(), options).unwrap().journal;
    journal.append(kind(1), &payload(1)).unwrap();
    disk.fail(Operation::Rename, io::ErrorKind::Other);
    assert!(matches!(journal.append(1, &[0; 50]), Err(AppendError::Disk(_))));
    check_latched(&disk, journal, dir.path(), 1);
}

#[test]
fn a_write_that_the_system_takes_in_parts_is_completed() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), FaultDisk::default());
    disk.limit_writes(3);
    let mut journal = open_on(&disk, dir.path(), Durability::Checkpoint);
    journal.append(kind(1), &payload(1)).unwrap();
    drop(journal);
    check_records(&open(dir.path()).records, 1);
}

#[test]
fn whichever_operation_of_opening_fails_the_next_opening_loses_nothing() {
    let torn = segment_bytes(2, 5);
    let torn = &torn[..torn.len() - 1];
    for nth in 0.. {
        let (dir, disk) = (with_segment(torn), FaultDisk::default());
        disk.fail_nth(nth);
        let opened = Journal::open(disk.shared(), dir.path(), options());
        check_records(&open(dir.path()).records, 4);
        if opened.is_ok() {
            assert!(nth > 8, "opening a torn journal takes more than {nth} operations");
            return;
        }
    }
}

/// A segment's header, and a way to put verified frames with any numbers behind it.
fn forged(frames: &[(u16, u64, u64)]) -> Vec<u8> {
    let header = SegmentHeader { run_id: RUN, number: 1, first_sequence: 1, salt: 5, previous_crc: 0 };
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
        let contents = read(&RealDisk, with_segment(&bytes).path()).unwrap();
        assert!(contents.records.is_empty());
    }
}

#[test]
fn other_format_versions_are_refused_by_number() {
    let mut bytes = segment_bytes(0, 1);
    bytes[8] = 2;
    let message = open_error(with_segment(&bytes).path()).to_string();
    assert!(message.contains("format version 2") && message.contains("reads version 1"), "{message}");
}

#[test]
fn an_existing_journal_keeps_its_run_id() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 0, 1);
    let options = OpenOptions { run_id: Some(RunId([9; 16])), ..options() };
    assert_eq!(Journal::open(RealDisk::shared(), dir.path(), options).unwrap().journal.run_id(), RUN);
}

/// The segment that `docs/formats.md` shows.
fn documented_segment() -> Vec<u8> {
    let run_id = RunId(std::array::from_fn(|at| at as u8));
    let salt = 0x1122_3344_5566_7788;
    let header = SegmentHeader { run_id, number: 1, first_sequence: 1, salt, previous_crc: 0 };
    let mut bytes = header.encode();
    let first = FrameHead { payload_bytes: 3, kind: 2, sequence: 1, watermark: 0, previous_crc: header.crc() };
    let previous_crc = push_frame(&mut bytes, salt, first, b"abc");
    let second = FrameHead { payload_bytes: 0, kind: 1, sequence: 2, watermark: 1, previous_crc };
    push_frame(&mut bytes, salt, second, b"");
    bytes
}

#[test]
fn a_segment_is_written_as_the_document_shows_it() {
    assert_eq!(documented_segment(), example("hex segment"));
}

#[test]
fn the_segment_in_the_document_is_read() {
    let dir = with_segment(&example("hex segment"));
    let contents = read(&RealDisk, dir.path()).unwrap();
    assert_eq!(contents.run_id.unwrap().to_string(), "000102030405060708090a0b0c0d0e0f");
    let found: Vec<_> = contents.records.iter().map(|r| (r.sequence, r.kind, r.payload.to_vec())).collect();
    assert_eq!(found, [(1, 2, b"abc".to_vec()), (2, 1, Vec::new())]);
    assert_eq!(contents.tail, Tail::Clean);
}
