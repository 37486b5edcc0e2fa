//! Writing, and what happens when the disk refuses.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use super::{
    check_records, kind, open, options, payload, segment, segment_bytes, with_segment, with_segments,
};
use crate::disk::fault::FaultDisk;
use crate::disk::{Operation, RealDisk};
use crate::journal::{AppendError, Durability, Journal, MAX_PAYLOAD_BYTES, OpenOptions, read};

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
    assert_eq!(read(&RealDisk, dir.path()).unwrap().records.len(), 2);
    assert!(segment(dir.path(), 2).exists() && !segment(dir.path(), 3).exists());
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

/// What was asked of the disk since the last look, but for looking, and for setting room aside.
fn changes(disk: &FaultDisk) -> Vec<String> {
    let looking = ["List", "Map", "Read", "Remove", "Reserve"];
    let mut log = disk.take_log();
    log.retain(|entry| !looking.iter().any(|looking| entry.starts_with(looking)));
    log
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
    assert_eq!(changes(&disk), ["Write 00000001.wal.tmp", "Sync 00000001.wal.tmp"]);
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
    assert_eq!(changes(&disk), ["Write 00000001.wal.tmp", "Sync 00000001.wal.tmp"]);
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

/// What opening asks of the disk, but for reading and listing.
#[track_caller]
fn check_opening(dir: &Path, expected: &[&str]) {
    let disk = FaultDisk::default();
    Journal::open(disk.shared(), dir, options()).unwrap();
    let directory = dir.file_name().unwrap().to_string_lossy().into_owned();
    let log: Vec<_> = changes(&disk).iter().map(|entry| entry.replace(&directory, "DIR")).collect();
    assert_eq!(log, expected);
}

const CREATES_FIRST: [&str; 5] = [
    "Create 00000001.wal.tmp",
    "Write 00000001.wal.tmp",
    "Sync 00000001.wal.tmp",
    "Rename 00000001.wal.tmp",
    "SyncDir DIR",
];

#[test]
fn a_new_segment_is_durable_before_it_has_its_name_and_its_name_before_it_is_used() {
    let dir = tempfile::tempdir().unwrap();
    check_opening(dir.path(), &[&["CreateDir DIR"], &CREATES_FIRST[..]].concat());
}

#[test]
fn what_a_dead_process_left_is_written_again_before_it_is_counted_as_durable() {
    let dir = with_segment(&segment_bytes(0, 2));
    let creates_second = CREATES_FIRST.map(|entry| entry.replace("0001", "0002"));
    let mut expected = vec!["CreateDir DIR", "SyncDir DIR"];
    expected.extend(creates_second.iter().map(String::as_str));
    check_opening(dir.path(), &expected);
    // Nothing was appended since: the same again, in the place of that segment.
    check_opening(dir.path(), &expected);
    let segments = std::fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(segments, 2);
    check_records(&read(&RealDisk, dir.path()).unwrap().records, 2);
}

#[test]
fn a_torn_tail_is_durable_elsewhere_before_it_is_cut_and_the_cut_is_durable_before_appending_goes_on() {
    let bytes = segment_bytes(0, 2);
    let dir = with_segment(&bytes[..bytes.len() - 1]);
    let aside = "00000001.wal.torn-at-97";
    let sets_aside = ["Create", "Write", "Sync"].map(|operation| format!("{operation} {aside}"));
    let mut expected = vec!["CreateDir DIR"];
    expected.extend(sets_aside.iter().map(String::as_str));
    expected.extend(["SyncDir DIR", "Open 00000001.wal", "Truncate 00000001.wal", "Sync 00000001.wal"]);
    expected.push("SyncDir DIR");
    let creates_second = CREATES_FIRST.map(|entry| entry.replace("0001", "0002"));
    expected.extend(creates_second.iter().map(String::as_str));
    check_opening(dir.path(), &expected);
}

#[test]
fn a_segment_is_not_synced_again_while_the_failure_of_another_sync_of_it_is_not_yet_known() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), FaultDisk::default());
    let mut journal = open_on(&disk, dir.path(), Durability::Interval(Duration::from_millis(1)));
    let (entered, has_entered) = mpsc::channel();
    let (second, has_second) = mpsc::channel();
    let (syncs, has_second) = (AtomicUsize::new(0), Mutex::new(has_second));
    disk.set_hook(move |operation, name| {
        if operation != Operation::Sync || !name.starts_with("00000001") {
            return Ok(());
        }
        if syncs.fetch_add(1, Ordering::SeqCst) > 0 {
            second.send(()).unwrap();
            return Ok(());
        }
        entered.send(()).unwrap();
        // Time for the second sync to overtake this one. It must not come, so waiting for it ends by the clock.
        let _ = has_second.lock().unwrap().recv_timeout(Duration::from_millis(50));
        Err(io::Error::other("the disk was told to fail"))
    });
    journal.append(1, b"a").unwrap();
    has_entered.recv().unwrap();
    journal.sync().unwrap();
    let log = changes(&disk);
    assert_eq!(log.iter().filter(|entry| *entry == "Sync 00000001.wal.tmp").count(), 1, "{log:?}");
    assert_eq!(journal.take_failovers().len(), 1);
}
