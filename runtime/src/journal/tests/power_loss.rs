//! Power losses around failed writes and syncs, on a disk that forgets what it could not sync, as Linux does.

use std::path::Path;

use super::{check_records, kind, options, payload};
use crate::disk::Operation;
use crate::disk::simulated::{Fault, Lasting, SimulatedDisk, SyncMode};
use crate::journal::{Journal, read};

const DIR: &str = "/journal";
const IMAGES: u64 = 24;

/// A disk, and what was promised on it: after so many operations, so many records.
struct Promises {
    disk: SimulatedDisk,
    made: Vec<(usize, u64)>,
}

impl Promises {
    fn new(sync_mode: SyncMode) -> Promises {
        let disk = SimulatedDisk::new();
        disk.set_sync_mode(sync_mode);
        Promises { disk, made: Vec::new() }
    }

    #[track_caller]
    fn open(&mut self) -> Journal {
        let opened = Journal::open(self.disk.shared(), Path::new(DIR), options()).unwrap();
        self.note(&opened.journal);
        opened.journal
    }

    fn note(&mut self, journal: &Journal) {
        self.made.push((self.disk.operations(), journal.durable_sequence()));
    }

    /// Appends so many records; one that can not be appended is the last.
    fn append(&mut self, journal: &mut Journal, count: u64) {
        for _ in 0..count {
            let sequence = journal.next_sequence();
            if journal.append(kind(sequence), &payload(sequence)).is_err() {
                break;
            }
            self.note(journal);
        }
    }

    fn sync(&mut self, journal: &mut Journal) {
        let _ = journal.sync();
        self.note(journal);
    }

    /// That whenever the power fails, the journal opens, with every record that was promised before, each as it was.
    #[track_caller]
    fn check(&self) {
        let promised = |operations| {
            let made = self.made.iter().filter(|(when, _)| *when <= operations);
            made.map(|(_, records)| *records).max().unwrap_or_default()
        };
        for point in self.disk.crash_points() {
            let after = point.after_operation();
            for (loss, image) in point.images(IMAGES, 7) {
                let found = read(&image, Path::new(DIR));
                let found = found.unwrap_or_else(|error| panic!("after {after}, {loss:?}: {error}"));
                let count = found.records.len() as u64;
                assert!(count >= promised(after), "after {after}, {loss:?}: {count} < {}", promised(after));
                let opened = Journal::open(image.shared(), Path::new(DIR), options()).unwrap();
                check_records(&opened.records, count);
            }
        }
    }
}

/// One operation of this kind fails, the one with this number, from when the journal is open.
fn fail_nth(disk: &SimulatedDisk, failing: Operation, nth: usize) {
    let count = std::sync::atomic::AtomicUsize::new(0);
    disk.fail_when(move |attempt| {
        let is_it =
            attempt.operation == failing && count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == nth;
        is_it.then_some(Fault::Io)
    });
}

#[test]
fn whatever_fails_once_a_power_loss_takes_nothing_that_was_promised() {
    for failing in
        [Operation::Write, Operation::Sync, Operation::Rename, Operation::SyncDir, Operation::Create]
    {
        for nth in 0..3 {
            let mut run = Promises::new(SyncMode::FailingDropsPages);
            let mut journal = run.open();
            fail_nth(&run.disk, failing, nth);
            run.append(&mut journal, 2);
            run.sync(&mut journal);
            run.append(&mut journal, 3);
            run.sync(&mut journal);
            run.append(&mut journal, 2);
            run.sync(&mut journal);
            drop(journal);
            run.check();
        }
    }
}

#[test]
fn what_a_process_could_not_sync_the_next_one_makes_durable_before_it_promises_it() {
    let mut run = Promises::new(SyncMode::FailingDropsPages);
    let mut journal = run.open();
    run.append(&mut journal, 2);
    run.sync(&mut journal);
    run.append(&mut journal, 3);
    run.disk.fail_when(|attempt| (attempt.operation == Operation::Sync).then_some(Fault::Io));
    run.sync(&mut journal);
    assert_eq!(journal.durable_sequence(), 2);
    drop(journal);
    run.disk.heal();

    // The system still shows all five, and will not write them.
    assert_eq!(read(&run.disk, Path::new(DIR)).unwrap().records.len(), 5);
    let mut journal = run.open();
    assert_eq!(journal.durable_sequence(), 5);
    run.append(&mut journal, 2);
    run.sync(&mut journal);
    drop(journal);
    run.check();
}

#[test]
fn a_disk_that_is_full_for_a_while_takes_nothing_that_was_promised() {
    let mut run = Promises::new(SyncMode::FailingDropsPages);
    let mut journal = run.open();
    run.append(&mut journal, 2);
    run.sync(&mut journal);
    run.append(&mut journal, 2);
    run.disk.fail_nth(0, Fault::NoSpace, Lasting::FromThenOn);
    run.append(&mut journal, 1);
    run.disk.heal();
    journal.try_again().unwrap();
    run.append(&mut journal, 2);
    run.sync(&mut journal);
    assert_eq!(journal.durable_sequence(), 6);
    drop(journal);
    run.check();
}
