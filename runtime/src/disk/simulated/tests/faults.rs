//! What fails, when and how.

use std::io::ErrorKind;
use std::sync::{Arc, Mutex};

use super::{check_always, check_sometimes, path, with_file, write};
use crate::disk::simulated::{Fault, Lasting, SimulatedDisk, SyncMode};
use crate::disk::{Disk, Operation};

#[test]
fn each_fault_is_the_error_of_the_system_that_it_is_named_after_and_nothing_is_done() {
    let kinds = [
        (Fault::Io, Some(5)),
        (Fault::NoSpace, Some(28)),
        (Fault::Quota, Some(122)),
        (Fault::TooManyOpenFiles, Some(24)),
        (Fault::ReadOnly, Some(30)),
    ];
    for (fault, errno) in kinds {
        let disk = with_file(b"x");
        disk.fail_nth(0, fault, Lasting::Once);
        let error = disk.remove(path("d/f")).unwrap_err();
        assert_eq!((error.source.raw_os_error(), error.operation), (errno, Operation::Remove));
        assert!(error.to_string().contains("d/f"), "{error}");
        assert_eq!(disk.history()[0].to_string(), "Remove f (failed)");
        check_always(&disk, "d/f", Some(b"x"));
    }
}

#[test]
fn a_fault_hits_the_operation_it_is_for_once_or_from_then_on_until_the_disk_is_healed() {
    let outcomes =
        |disk: &SimulatedDisk| -> Vec<bool> { (0..4).map(|_| disk.read(path("d/f"), 9).is_ok()).collect() };
    let disk = with_file(b"x");
    disk.fail_nth(1, Fault::Io, Lasting::Once);
    assert_eq!(outcomes(&disk), [true, false, true, true]);
    disk.fail_nth(1, Fault::Io, Lasting::FromThenOn);
    assert_eq!(outcomes(&disk), [true, false, false, false]);
    disk.heal();
    assert_eq!(outcomes(&disk), [true; 4]);
}

#[test]
fn a_plan_sees_every_operation_before_it_is_done() {
    let disk = with_file(b"x");
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let log = seen.clone();
    disk.fail_when(move |attempt| {
        log.lock().unwrap().push(format!("{:?} {}", attempt.operation, attempt.name()));
        (attempt.operation == Operation::Write).then_some(Fault::Quota)
    });
    let file = disk.open_append(path("d/f")).unwrap();
    assert!(file.write(b"y").unwrap_err().is_full());
    file.sync_data().unwrap();
    assert_eq!(*seen.lock().unwrap(), ["Open f", "Write f", "Sync f"]);
    assert_eq!(disk.read(path("d/f"), 9).unwrap(), b"x");
}

#[test]
fn a_short_write_takes_half_and_nothing_else_is_affected() {
    let disk = with_file(b"");
    disk.fail_nth(0, Fault::ShortWrite, Lasting::FromThenOn);
    let file = disk.open_append(path("d/f")).unwrap();
    assert_eq!((file.write(b"abcd").unwrap(), file.write(b"e").unwrap()), (2, 1));
    file.write_all(b"fghij").unwrap();
    file.sync_data().unwrap();
    check_always(&disk, "d/f", Some(b"abefghij"));
}

#[test]
fn a_write_takes_no_more_than_the_limit() {
    let disk = with_file(b"");
    disk.limit_writes(3);
    assert_eq!(disk.open_append(path("d/f")).unwrap().write(b"abcd").unwrap(), 3);
}

#[test]
fn after_a_failed_sync_that_kept_the_pages_the_next_one_makes_them_durable() {
    let disk = with_file(b"");
    let file = write(&disk, "d/f", b"x");
    disk.fail_nth(0, Fault::Io, Lasting::Once);
    file.sync_data().unwrap_err();
    check_sometimes(&disk, "d/f", &[Some(b""), Some(b"x")]);
    file.sync_data().unwrap();
    check_always(&disk, "d/f", Some(b"x"));
}

#[test]
fn after_a_failed_sync_that_dropped_the_pages_the_next_one_succeeds_and_they_are_lost() {
    let disk = with_file(b"");
    disk.set_sync_mode(SyncMode::FailingDropsPages);
    let file = write(&disk, "d/f", b"x");
    disk.fail_nth(0, Fault::Io, Lasting::Once);
    file.sync_data().unwrap_err();
    file.write_all(b"y").unwrap();
    file.sync_data().unwrap();
    // Programs see what they wrote for as long as the power stays.
    assert_eq!(disk.read(path("d/f"), 9).unwrap(), b"xy");
    check_always(&disk, "d/f", Some(b"\0y"));
}

#[test]
fn a_lying_disk_says_that_all_is_durable_and_nothing_is() {
    let disk = with_file(b"");
    disk.set_sync_mode(SyncMode::Lying);
    let new = disk.create_new(path("d/new")).unwrap();
    new.write_all(b"x").unwrap();
    new.sync_data().unwrap();
    disk.sync_dir(path("d")).unwrap();
    check_sometimes(&disk, "d/new", &[None, Some(b""), Some(b"x")]);
    assert!(disk.history().iter().any(|recorded| recorded.to_string() == "Sync new (lied)"));
}

#[test]
fn a_disk_that_fills_up_takes_a_part_and_then_nothing_until_something_is_removed() {
    let disk = with_file(b"1234");
    disk.set_free_bytes(6);
    assert_eq!(disk.free_bytes(path("d")).unwrap(), 6);
    let file = disk.create_new(path("d/new")).unwrap();
    assert_eq!(file.write(b"abcdefgh").unwrap(), 6);
    assert_eq!(file.write(b"gh").unwrap_err().source.kind(), ErrorKind::StorageFull);
    disk.remove(path("d/f")).unwrap();
    assert_eq!(disk.free_bytes(path("d")).unwrap(), 4);
    file.write_all(b"gh").unwrap();
    assert_eq!(disk.read(path("d/new"), 9).unwrap(), b"abcdefgh");
}

#[test]
fn room_that_was_set_aside_is_there_when_the_disk_is_full() {
    let disk = with_file(b"12");
    disk.set_free_bytes(10);
    let file = disk.open_append(path("d/f")).unwrap();
    file.reserve(8).unwrap();
    assert_eq!((disk.free_bytes(path("d")).unwrap(), disk.len_bytes(path("d/f")).unwrap()), (4, 2));
    assert!(file.reserve(13).unwrap_err().is_full());
    disk.create_new(path("d/new")).unwrap().write_all(b"1234").unwrap();
    assert_eq!((file.write(b"3456789").unwrap(), disk.free_bytes(path("d")).unwrap()), (6, 0));
}
