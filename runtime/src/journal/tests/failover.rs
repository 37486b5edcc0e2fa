//! Writes and syncs that fail: the journal goes on in a new segment, or ends with the first failure.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use super::{RUN, check_records, kind, open, open_error, options, payload, segment, with_segment};
use crate::disk::fault::FaultDisk;
use crate::disk::{Operation, RealDisk};
use crate::journal::format::{FrameHead, HEADER_BYTES, SegmentHeader, push_frame};
use crate::journal::{
    AppendError, Durability, FrameFault, Journal, OpenError, OpenOptions, SyncError, Tail, read,
};

#[track_caller]
fn open_on(disk: &FaultDisk, dir: &Path, durability: Durability) -> Journal {
    let options = OpenOptions { durability, ..options() };
    let journal = Journal::open(disk.shared(), dir, options).unwrap().journal;
    disk.take_log();
    journal
}

#[track_caller]
fn append(journal: &mut Journal, sequences: std::ops::RangeInclusive<u64>) {
    for sequence in sequences {
        assert_eq!(journal.append(kind(sequence), &payload(sequence)).unwrap(), sequence);
    }
}

/// Lets the next operation of this kind fail, and no other.
fn fail_once(disk: &FaultDisk, failing: Operation) {
    let count = AtomicUsize::new(0);
    disk.set_hook(move |operation, _| {
        if operation == failing && count.fetch_add(1, Ordering::SeqCst) == 0 {
            return Err(io::Error::other("the disk was told to fail"));
        }
        Ok(())
    });
}

/// That the journal has gone on in segment 2 with this many records written again, has not touched segment 1 since, and
/// holds these records even if everything in segment 1 that was not durable is lost.
#[track_caller]
fn check_went_on(disk: &FaultDisk, mut journal: Journal, dir: &Path, durable: u64, records: u64, count: u64) {
    let failovers = journal.take_failovers();
    let [failover] = &failovers[..] else { panic!("{failovers:?}") };
    assert_eq!((&failover.from, &failover.to), (&segment(dir, 1), &segment(dir, 2)));
    assert_eq!((failover.records, failover.last_sequence), (records, durable + records));
    assert!(failover.to_string().contains("told to fail"), "{failover}");
    assert!(journal.durable_sequence() >= durable + records);
    disk.take_log();
    append(&mut journal, count + 1..=count + 2);
    journal.close().unwrap();
    let log = disk.take_log();
    assert!(log.iter().all(|entry| !entry.contains("00000001")), "{log:?}");

    check_records(&read(&RealDisk, dir).unwrap().records, count + 2);
    let first = std::fs::read(segment(dir, 1)).unwrap();
    let frames: usize = (1..=durable).map(|sequence| 32 + payload(sequence).len()).sum();
    let mut lost = first[..HEADER_BYTES + frames].to_vec();
    std::fs::write(segment(dir, 1), &lost).unwrap();
    check_records(&read(&RealDisk, dir).unwrap().records, count + 2);
    lost.extend([0xa5; 99]);
    std::fs::write(segment(dir, 1), &lost).unwrap();
    let opened = open(dir);
    assert_eq!(opened.set_aside, None);
    check_records(&opened.records, count + 2);
}

#[test]
fn a_failed_write_goes_on_in_a_new_segment_and_loses_no_record() {
    for durable in [0, 2, 3] {
        let (dir, disk) = (tempfile::tempdir().unwrap(), FaultDisk::default());
        let mut journal = open_on(&disk, dir.path(), Durability::Checkpoint);
        append(&mut journal, 1..=durable);
        journal.sync().unwrap();
        append(&mut journal, durable + 1..=3);
        fail_once(&disk, Operation::Write);
        append(&mut journal, 4..=4);
        check_went_on(&disk, journal, dir.path(), durable, 4 - durable, 4);
    }
}

#[test]
fn a_write_that_fails_after_a_part_of_it_loses_no_record() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), FaultDisk::default());
    let mut journal = open_on(&disk, dir.path(), Durability::Checkpoint);
    append(&mut journal, 1..=3);
    disk.limit_writes(5);
    let writes = AtomicUsize::new(0);
    disk.set_hook(move |operation, _| {
        if operation == Operation::Write && writes.fetch_add(1, Ordering::SeqCst) == 2 {
            return Err(io::Error::other("the disk was told to fail"));
        }
        Ok(())
    });
    append(&mut journal, 4..=4);
    check_went_on(&disk, journal, dir.path(), 0, 4, 4);
}

#[test]
fn a_failed_sync_goes_on_in_a_new_segment_and_loses_no_record() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), FaultDisk::default());
    let mut journal = open_on(&disk, dir.path(), Durability::Checkpoint);
    append(&mut journal, 1..=2);
    journal.sync().unwrap();
    append(&mut journal, 3..=5);
    fail_once(&disk, Operation::Sync);
    journal.sync().unwrap();
    check_went_on(&disk, journal, dir.path(), 2, 3, 5);
}

#[test]
fn a_failed_sync_with_durability_step_goes_on_in_a_new_segment() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), FaultDisk::default());
    let mut journal = open_on(&disk, dir.path(), Durability::Step);
    append(&mut journal, 1..=2);
    fail_once(&disk, Operation::Sync);
    append(&mut journal, 3..=3);
    check_went_on(&disk, journal, dir.path(), 2, 1, 3);
}

#[test]
fn a_sync_that_fails_in_the_background_goes_on_in_a_new_segment() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), FaultDisk::default());
    let mut journal = open_on(&disk, dir.path(), Durability::Interval(Duration::from_millis(1)));
    fail_once(&disk, Operation::Sync);
    append(&mut journal, 1..=1);
    // Waits for what the thread does, or does it.
    journal.sync().unwrap();
    check_went_on(&disk, journal, dir.path(), 0, 1, 1);
}

#[test]
fn a_sync_that_fails_under_a_handle_goes_on_in_a_new_segment_while_the_journal_is_elsewhere() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), FaultDisk::default());
    let mut journal = open_on(&disk, dir.path(), Durability::Checkpoint);
    append(&mut journal, 1..=3);
    let handle = journal.sync_handle();
    assert!(!handle.is_durable() && handle.sequence() == 3);
    fail_once(&disk, Operation::Sync);
    std::thread::spawn(move || handle.wait().unwrap()).join().unwrap();
    check_went_on(&disk, journal, dir.path(), 0, 3, 3);
}

#[test]
fn appending_goes_on_while_a_handle_waits_and_what_is_appended_meanwhile_is_not_taken_for_durable() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), FaultDisk::default());
    let mut journal = open_on(&disk, dir.path(), Durability::Checkpoint);
    append(&mut journal, 1..=2);
    let handle = journal.sync_handle();
    let (entered, sync_entered) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    disk.set_hook(move |operation, _| {
        if operation == Operation::Sync {
            entered.send(()).unwrap();
            let _ = released.lock().unwrap().recv();
        }
        Ok(())
    });
    let waiting = std::thread::spawn(move || handle.wait());
    sync_entered.recv().unwrap();
    append(&mut journal, 3..=4);
    let later = journal.sync_handle();
    drop(release);
    waiting.join().unwrap().unwrap();
    assert_eq!(journal.durable_sequence(), 2);
    assert!(!later.is_durable());
    later.wait().unwrap();
    assert_eq!(journal.durable_sequence(), 4);
}

#[test]
fn a_write_that_fails_during_a_sync_makes_that_sync_count_for_nothing() {
    for sync_fails in [false, true] {
        let (dir, disk) = (tempfile::tempdir().unwrap(), FaultDisk::default());
        let mut journal = open_on(&disk, dir.path(), Durability::Checkpoint);
        append(&mut journal, 1..=2);
        let handle = journal.sync_handle();
        let (entered, sync_entered) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let (released, writes) = (Mutex::new(released), AtomicUsize::new(0));
        disk.set_hook(move |operation, name| {
            let is_first = name.starts_with("00000001");
            if operation == Operation::Sync && is_first {
                entered.send(()).unwrap();
                let _ = released.lock().unwrap().recv();
            }
            let write_fails = operation == Operation::Write && writes.fetch_add(1, Ordering::SeqCst) == 0;
            if write_fails || (operation == Operation::Sync && is_first && sync_fails) {
                return Err(io::Error::other("the disk was told to fail"));
            }
            Ok(())
        });
        let waiting = std::thread::spawn(move || handle.wait());
        sync_entered.recv().unwrap();
        append(&mut journal, 3..=3);
        assert_eq!(journal.durable_sequence(), 3);
        append(&mut journal, 4..=4);
        drop(release);
        waiting.join().unwrap().unwrap();
        assert_eq!(journal.durable_sequence(), 3);
        check_went_on(&disk, journal, dir.path(), 0, 3, 4);
    }
}

/// That the failure is final, every call returns the first one, and nothing that was appended is lost.
#[track_caller]
fn check_ended(disk: &FaultDisk, mut journal: Journal, dir: &Path, first: &str, intact: u64) {
    disk.heal();
    let handle = journal.sync_handle();
    let AppendError::Latched(cause) = journal.append(1, b"later").unwrap_err() else { panic!() };
    assert!(cause.to_string().contains(first), "{cause}");
    for outcome in [journal.sync(), handle.wait(), journal.close()] {
        assert!(matches!(outcome, Err(SyncError::Latched(again)) if Arc::ptr_eq(&again, &cause)));
    }
    check_records(&open(dir).records, intact);
}

#[test]
fn a_write_that_fails_in_the_new_segment_too_ends_the_journal_with_the_first_failure() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), FaultDisk::default());
    let mut journal = open_on(&disk, dir.path(), Durability::Checkpoint);
    append(&mut journal, 1..=1);
    disk.fail(Operation::Write, io::ErrorKind::StorageFull);
    let error = journal.append(kind(2), &payload(2)).unwrap_err();
    assert!(matches!(&error, AppendError::Disk(cause) if cause.is_full()), "{error}");
    check_ended(&disk, journal, dir.path(), "could not write to", 1);
}

#[test]
fn a_sync_that_fails_in_the_new_segment_too_ends_the_journal_with_the_first_failure() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), FaultDisk::default());
    let mut journal = open_on(&disk, dir.path(), Durability::Checkpoint);
    append(&mut journal, 1..=1);
    disk.fail(Operation::Sync, io::ErrorKind::Other);
    assert!(matches!(journal.sync(), Err(SyncError::Disk(_))));
    assert_eq!(journal.durable_sequence(), 0);
    check_ended(&disk, journal, dir.path(), "could not sync", 1);
}

#[test]
fn a_next_segment_that_can_not_be_made_ends_the_journal() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), FaultDisk::default());
    let options = OpenOptions { segment_limit_bytes: 100, ..options() };
    let mut journal = Journal::open(disk.shared(), dir.path(), options).unwrap().journal;
    append(&mut journal, 1..=2);
    disk.fail(Operation::Rename, io::ErrorKind::Other);
    assert!(matches!(journal.append(1, &[0; 50]), Err(AppendError::Disk(_))));
    // Both are durable, and still the journal says that it has ended.
    disk.heal();
    assert!(matches!(journal.sync(), Err(SyncError::Latched(_))));
    journal.sync_handle().wait().unwrap();
    drop(journal);
    check_records(&open(dir.path()).records, 2);
}

#[test]
fn an_ended_journal_goes_on_when_there_is_room_again_and_without_the_record_that_was_refused() {
    for durability in
        [Durability::Step, Durability::Checkpoint, Durability::Interval(Duration::from_millis(1))]
    {
        let (dir, disk) = (tempfile::tempdir().unwrap(), FaultDisk::default());
        let mut journal = open_on(&disk, dir.path(), durability);
        append(&mut journal, 1..=3);
        disk.set_hook(|operation, _| match operation {
            Operation::Write | Operation::Sync => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        });
        assert!(journal.append(9, b"refused").is_err());
        assert!(journal.try_again().is_err());
        disk.heal();
        journal.try_again().unwrap();
        assert_eq!(journal.take_failovers().len(), 1);
        append(&mut journal, 4..=6);
        journal.close().unwrap();
        check_records(&open(dir.path()).records, 6);
    }
}

#[test]
fn a_record_refused_by_a_failed_sync_does_not_come_back_when_the_journal_goes_on() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), FaultDisk::default());
    let mut journal = open_on(&disk, dir.path(), Durability::Step);
    append(&mut journal, 1..=2);
    disk.fail(Operation::Sync, io::ErrorKind::Other);
    assert!(matches!(journal.append(9, b"refused"), Err(AppendError::Disk(_))));
    disk.heal();
    journal.try_again().unwrap();
    append(&mut journal, 3..=3);
    check_records(&read(&RealDisk, dir.path()).unwrap().records, 3);
}

#[test]
fn a_full_disk_that_says_so_before_the_write_refuses_one_record_and_ends_nothing() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), FaultDisk::default());
    let mut journal = open_on(&disk, dir.path(), Durability::Checkpoint);
    disk.fail(Operation::Reserve, io::ErrorKind::StorageFull);
    assert!(matches!(journal.append(1, b"x"), Err(AppendError::NoSpace(_))));
    assert_eq!(disk.take_log(), ["Reserve 00000001.wal.tmp"; 2]);
    journal.sync().unwrap();
    disk.heal();
    append(&mut journal, 1..=2);
    drop(journal);
    check_records(&open(dir.path()).records, 2);
}

#[test]
fn room_that_can_not_be_set_aside_for_another_reason_makes_the_journal_go_on_elsewhere() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), FaultDisk::default());
    let mut journal = open_on(&disk, dir.path(), Durability::Checkpoint);
    fail_once(&disk, Operation::Reserve);
    append(&mut journal, 1..=1);
    check_went_on(&disk, journal, dir.path(), 0, 0, 1);
}

#[test]
fn whichever_operation_fails_once_or_for_ever_no_record_that_was_appended_is_lost() {
    let scripts: [fn(&mut Journal); 3] = [
        |journal| drop(journal.append(kind(4), &payload(4))),
        |journal| drop(journal.sync()),
        |journal| drop(journal.sync_handle().wait()),
    ];
    for (nth, script) in (0..9).flat_map(|nth| scripts.map(|script| (nth, script))) {
        for for_ever in [false, true] {
            let (dir, disk) = (tempfile::tempdir().unwrap(), FaultDisk::default());
            let mut journal = open_on(&disk, dir.path(), Durability::Checkpoint);
            append(&mut journal, 1..=1);
            journal.sync().unwrap();
            append(&mut journal, 2..=3);
            let count = AtomicUsize::new(0);
            disk.set_hook(move |operation, _| {
                let at = count.fetch_add(1, Ordering::SeqCst);
                // The first operation fails, so that the journal goes on elsewhere, and one on that way.
                if at == 0 || at == nth || (for_ever && at > nth) {
                    return Err(io::Error::other(format!("told to fail at {operation:?}")));
                }
                Ok(())
            });
            script(&mut journal);
            let known = journal.next_sequence() - 1;
            let durable = journal.durable_sequence();
            // A process that dies here leaves this.
            disk.set_hook(|_, _| Err(io::ErrorKind::Other.into()));
            drop(journal);
            let found = read(&RealDisk, dir.path()).unwrap().records.len() as u64;
            assert!(found >= known && known >= 3 && durable >= 1, "{nth} {for_ever}: {found} {known}");
            check_records(&open(dir.path()).records, found);
        }
    }
}

#[test]
fn more_than_16_mib_that_are_not_durable_are_made_so_before_more_is_appended() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), FaultDisk::default());
    let mut journal = open_on(&disk, dir.path(), Durability::Checkpoint);
    let large = vec![1; 6 << 20];
    for _ in 0..3 {
        journal.append(1, &large).unwrap();
    }
    assert_eq!(journal.durable_sequence(), 2);
    fail_once(&disk, Operation::Sync);
    journal.sync().unwrap();
    assert_eq!(journal.take_failovers()[0].records, 1);
    drop(journal);
    assert_eq!(open(dir.path()).records.len(), 3);
}

/// Segment 1 with three records, of which the last says that `watermark` were durable, and segment 2 that goes on behind
/// the first record, with one of its own.
fn superseded(watermark: u64, damage: impl Fn(&mut Vec<u8>)) -> tempfile::TempDir {
    let first = SegmentHeader {
        run_id: RUN,
        number: 1,
        first_sequence: 1,
        salt: 5,
        previous_crc: 0,
        born_records: 0,
    };
    let mut bytes = first.encode();
    let mut crcs = vec![first.crc()];
    for (sequence, watermark) in [(1, 0), (2, 1), (3, watermark)] {
        let previous_crc = crcs[sequence as usize - 1];
        let payload_bytes = payload(sequence).len();
        let head = FrameHead { payload_bytes, kind: kind(sequence), sequence, watermark, previous_crc };
        crcs.push(push_frame(&mut bytes, first.salt, head, &payload(sequence)));
    }
    damage(&mut bytes);
    let dir = with_segment(&bytes);
    let second = SegmentHeader {
        number: 2,
        first_sequence: 2,
        salt: 6,
        previous_crc: crcs[1],
        born_records: 1,
        ..first
    };
    let mut bytes = second.encode();
    let head =
        FrameHead { payload_bytes: 2, kind: kind(2), sequence: 2, watermark: 1, previous_crc: second.crc() };
    push_frame(&mut bytes, second.salt, head, &payload(2));
    std::fs::write(segment(dir.path(), 2), bytes).unwrap();
    dir
}

#[test]
fn records_of_the_next_segment_take_the_place_of_those_that_were_not_durable() {
    check_records(&open(superseded(1, |_| {}).path()).records, 2);
    let end_of_first = HEADER_BYTES + 32 + payload(1).len();
    for byte in end_of_first..end_of_first + 60 {
        check_records(&open(superseded(1, |bytes| bytes[byte] ^= 1).path()).records, 2);
    }
}

#[test]
fn a_next_segment_that_takes_the_place_of_promised_records_is_damage() {
    let OpenError::Damaged(damage) = open_error(superseded(2, |_| {}).path()) else { panic!() };
    assert_eq!(damage.fault, FrameFault::Superseded { continued_after: 1, found: 2 });
    assert_eq!(damage.intact_records_after, 2);
}

#[test]
fn a_damaged_record_before_the_one_where_the_next_segment_goes_on_is_damage() {
    let error = open_error(superseded(1, |bytes| bytes[HEADER_BYTES + 9] ^= 1).path());
    assert!(matches!(&error, OpenError::Damaged(damage) if damage.sequence == 1), "{error}");
}

#[test]
fn a_record_that_a_segment_had_when_it_got_its_name_is_never_torn() {
    let dir = superseded(1, |_| {});
    let path = segment(dir.path(), 2);
    let whole = std::fs::read(&path).unwrap();
    for cut in HEADER_BYTES..whole.len() {
        std::fs::write(&path, &whole[..cut]).unwrap();
        assert!(
            matches!(open_error(dir.path()), OpenError::Damaged(damage) if damage.sequence == 2),
            "{cut}"
        );
    }
    std::fs::write(&path, [&whole[..], &[0; 7]].concat()).unwrap();
    assert!(matches!(read(&RealDisk, dir.path()).unwrap().tail, Tail::Torn { .. }));
}
