//! What holds from the moment that a call has returned, whatever a power loss right behind it takes; and what a call
//! that was interrupted leaves.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use trainer_runtime::RunId;
use trainer_runtime::atomic_file;
use trainer_runtime::checkpoint::{Kind, Link, Name, Request, Retention, Snapshot, Store, TensorView};
use trainer_runtime::disk::simulated::{Fault, SimulatedDisk};
use trainer_runtime::disk::{Disk, Operation};
use trainer_runtime::journal::{self, Durability, Journal, OpenOptions, repair};
use trainer_runtime::keeper::{Announce, BALLAST_FILE, Keeper, Options};

/// Damage states behind each call.
const STATES: u64 = 200;

struct Weights(Vec<f32>);

impl Snapshot for Weights {
    fn tensors(&self) -> Vec<TensorView<'_>> {
        vec![TensorView::new("weight", vec![self.0.len()], &self.0)]
    }
}

fn dir() -> PathBuf {
    PathBuf::from("/exp")
}

fn store(disk: &SimulatedDisk) -> Store {
    Store::open(disk.shared(), &dir()).unwrap()
}

fn request(step: u64) -> Request {
    let snapshot = Arc::new(Weights(vec![step as f32; 1500]));
    Request { kind: Kind::Step, run_id: RunId([1; 16]), epoch: 1, step, state: Vec::new(), snapshot }
}

fn name(step: u64) -> Name {
    request(step).name()
}

/// A store with a checkpoint of each of these steps, all durable.
fn with_steps(steps: &[u64]) -> (SimulatedDisk, Store) {
    let disk = SimulatedDisk::new();
    let store = store(&disk);
    for step in steps {
        store.publish(request(*step)).unwrap();
    }
    disk.settle();
    (disk, store)
}

/// That this holds of every disk that a power loss now leaves.
#[track_caller]
fn check_holds(disk: &SimulatedDisk, what: &str, holds: impl Fn(&SimulatedDisk) -> bool) {
    for (loss, image) in disk.crash_images(disk.operations(), STATES, 5) {
        assert!(holds(&image), "not after {loss:?}: {what}");
    }
}

#[test]
fn a_checkpoint_that_was_published_is_there() {
    let (disk, store) = with_steps(&[1]);
    store.publish(request(2)).unwrap();
    check_holds(&disk, "the checkpoint verifies", |image| {
        Store::open_read_only(image.shared(), &dir()).load(name(2)).is_ok()
    });
}

#[test]
fn a_link_that_was_moved_names_the_new_checkpoint_and_while_it_is_moved_one_of_the_two() {
    for has_hard_links in [true, false] {
        let (disk, store) = with_steps(&[1, 2]);
        if !has_hard_links {
            disk.fail_when(|attempt| {
                (attempt.operation == Operation::HardLink).then_some(Fault::Unsupported)
            });
        }
        store.link(Link::Last, name(1)).unwrap();
        disk.settle();
        store.link(Link::Last, name(2)).unwrap();
        let linked = |image: &SimulatedDisk| {
            let link = Store::open_read_only(image.shared(), &dir()).load_link(Link::Last);
            link.map(|checkpoint| checkpoint.meta().step)
        };
        for point in disk.crash_points() {
            for (loss, image) in point.images(STATES, 3) {
                assert!(linked(&image).is_ok(), "{loss:?}");
            }
        }
        check_holds(&disk, "the link names the second", |image| linked(image).unwrap() == 2);
    }
}

#[test]
fn a_copy_that_the_disk_changes_is_not_given_the_name_of_a_link() {
    let (disk, store) = with_steps(&[1, 2]);
    let altered = disk.clone();
    disk.fail_when(move |attempt| match attempt.operation {
        Operation::HardLink => Some(Fault::Unsupported),
        Operation::Sync => {
            let mut bytes = altered.read(attempt.path, u64::MAX).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            altered.put(attempt.path, bytes);
            None
        }
        _ => None,
    });
    store.link(Link::Last, name(2)).unwrap_err();
    assert!(disk.len_bytes(&store.link_path(Link::Last)).unwrap_err().is_not_found());
}

#[test]
fn a_damaged_checkpoint_that_was_set_aside_is_no_longer_taken_for_one() {
    let (disk, store) = with_steps(&[1, 2]);
    let mut bytes = disk.read(&store.path(name(2)), u64::MAX).unwrap();
    bytes[9] ^= 1;
    disk.put(&store.path(name(2)), bytes);
    let aside = store.set_aside(name(2)).unwrap();
    check_holds(&disk, "only the good one has the name of a checkpoint", |image| {
        let search = Store::open_read_only(image.shared(), &dir()).newest_valid().unwrap();
        search.rejected.is_empty() && image.len_bytes(&aside).is_ok()
    });
}

#[test]
fn checkpoints_that_were_dropped_do_not_come_back() {
    let (disk, store) = with_steps(&[1, 2, 3, 4]);
    let retention = Retention { keep_last: 2, ..Retention::default() };
    assert_eq!(store.retire(&retention, &[name(4)]).unwrap(), [name(1), name(2)]);
    check_holds(&disk, "the last two are there and no others", |image| {
        let listed = Store::open_read_only(image.shared(), &dir()).list().unwrap();
        listed.iter().map(|entry| entry.name).eq([name(3), name(4)])
    });
}

#[test]
fn what_a_process_found_of_the_one_before_it_is_durable_before_it_goes_on() {
    let (disk, store) = with_steps(&[1]);
    // The process before died where it had renamed, and not yet synced the directory.
    disk.fail_when(|attempt| (attempt.operation == Operation::SyncDir).then_some(Fault::Io));
    store.publish(request(2)).unwrap_err();
    disk.heal();
    Store::open(disk.shared(), &dir()).unwrap();
    check_holds(&disk, "the second verifies", |image| {
        Store::open_read_only(image.shared(), &dir()).load(name(2)).is_ok()
    });
}

#[test]
fn a_small_file_that_was_replaced_is_the_new_one() {
    let (disk, path) = (SimulatedDisk::new(), Path::new("/exp/f"));
    disk.put(path, vec![1; 6000]);
    atomic_file::write(&disk, path, &[2; 7000]).unwrap();
    check_holds(&disk, "it is the new one", |image| image.read(path, u64::MAX).unwrap() == [2; 7000]);
}

struct Nothing;

impl Announce for Nothing {
    fn durable(
        &self,
        _: &trainer_runtime::checkpoint::Receipt,
    ) -> Result<(u16, Vec<u8>), trainer_runtime::codec::EncodeError> {
        Ok((1, Vec::new()))
    }

    fn dropped(&self, _: Name) -> Result<(u16, Vec<u8>), trainer_runtime::codec::EncodeError> {
        Ok((2, Vec::new()))
    }
}

#[test]
fn room_that_was_reserved_is_there_in_its_whole_size() {
    let disk = SimulatedDisk::new();
    let mut keeper =
        Keeper::open(disk.shared(), &dir(), Options::default(), Box::new(Nothing)).unwrap().keeper;
    disk.settle();
    keeper.reserve(5000).unwrap();
    let path = dir().join(BALLAST_FILE);
    let len_bytes = disk.len_bytes(&path).unwrap();
    check_holds(&disk, "all of it is there", |image| {
        image.read(&path, u64::MAX).is_ok_and(|bytes| bytes.len() as u64 == len_bytes)
    });
}

const RECORDS: u64 = 12;

/// A journal of several segments, in which one bit of a durable record is the other way round, and how many records are
/// before that one.
fn damaged_journal() -> (SimulatedDisk, u64) {
    let disk = SimulatedDisk::new();
    let options =
        OpenOptions { durability: Durability::Step, segment_limit_bytes: 200, ..OpenOptions::default() };
    let mut journal = Journal::open(disk.shared(), &dir(), options).unwrap().journal;
    for number in 1..=RECORDS {
        journal.append(1, &[number as u8; 20]).unwrap();
    }
    journal.close().unwrap();
    let path = dir().join("00000002.wal");
    let mut bytes = disk.read(&path, u64::MAX).unwrap();
    // In the payload of its second record.
    bytes[64 + 52 + 40] ^= 1;
    disk.put(&path, bytes);
    let error = journal::read(&disk, &dir()).unwrap_err();
    assert!(error.is_damage(), "{error}");
    let kept = repair::examine(&disk, &dir()).unwrap().records.len() as u64;
    (disk, kept)
}

#[test]
fn a_power_loss_in_a_repair_leaves_a_journal_that_is_repaired_or_can_be_and_deletes_nothing() {
    let (disk, kept) = damaged_journal();
    let before: Vec<Vec<u8>> = disk.files().iter().map(|(_, bytes)| bytes.to_vec()).collect();
    let repair = |disk: &SimulatedDisk| {
        let found = repair::examine(disk, &dir()).map_err(|error| error.to_string())?;
        found.apply(&disk.shared()).map_err(|error| error.to_string())
    };
    repair(&disk).unwrap();
    let records =
        |disk: &SimulatedDisk| journal::read(disk, &dir()).map(|contents| contents.records.len() as u64);
    assert_eq!(records(&disk).unwrap(), kept);
    check_holds(&disk, "it is repaired", |image| records(image).is_ok_and(|count| count == kept));
    for point in disk.crash_points() {
        let after = point.after_operation();
        for (loss, image) in point.images(STATES, 11) {
            let place = format!("after {after} operations of the repair, {loss:?}");
            for bytes in &before {
                let is_there = image.files().iter().any(|(_, found)| **found == bytes[..]);
                assert!(is_there, "{place}: a file is gone");
            }
            if records(&image).is_err() {
                repair(&image).unwrap_or_else(|error| panic!("{place}: {error}"));
            }
            assert_eq!(records(&image).unwrap(), kept, "{place}");
        }
    }
}
