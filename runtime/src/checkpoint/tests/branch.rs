//! Leaving checkpoints behind, taking one in, and a loss of power at every moment of both.

use std::path::{Path, PathBuf};

use super::super::names::BranchFile;
use super::{Link, Store, epoch, name};
use crate::disk::simulated::SimulatedDisk;

/// Damage states that are tried at each crash point.
const STATES: u64 = 12;

fn dir() -> PathBuf {
    PathBuf::from("checkpoints")
}

/// A store with epochs 1 to 4, of which the last is `last` and `best`.
fn four_epochs() -> (SimulatedDisk, Store) {
    let disk = SimulatedDisk::new();
    let store = Store::open(disk.shared(), &dir()).unwrap();
    for step in [10, 20, 30, 40] {
        store.publish(epoch(step)).unwrap();
    }
    store.link(Link::Last, name(40)).unwrap();
    store.link(Link::Best, name(40)).unwrap();
    disk.settle();
    (disk, store)
}

/// Everything after the second epoch.
fn later() -> Vec<BranchFile> {
    let links = [Link::Last, Link::Best].map(BranchFile::Link);
    [name(30), name(40)].map(BranchFile::Checkpoint).into_iter().chain(links).collect()
}

fn names(store: &Store) -> Vec<u64> {
    store.list().unwrap().iter().map(|entry| entry.name.step).collect()
}

#[test]
fn what_is_left_behind_is_in_the_folder_of_its_branch_and_no_longer_taken() {
    let (disk, store) = four_epochs();
    store.leave_behind(1, &later(), None).unwrap();
    assert_eq!((names(&store), names(&store.branch(1))), (vec![10, 20], vec![30, 40]));
    assert_eq!(store.newest_valid().unwrap().newest.unwrap().meta().step, 20);
    assert!(store.load_link(Link::Best).is_err());
    assert_eq!(store.branch(1).load_link(Link::Best).unwrap().meta().step, 40);
    store.leave_behind(1, &later(), None).unwrap();
    assert_eq!(disk.files().len(), 6, "doing it again changed something");
}

#[test]
fn a_loss_of_power_at_any_moment_is_made_good_by_doing_it_again_and_takes_no_file() {
    for taken_in in [None, Some(name(40))] {
        let (disk, store) = four_epochs();
        // Another state under the name of one that is there, as another branch has it.
        let other = dir().join("branch-7/epoch-0004-step-00000040.safetensors");
        if taken_in.is_some() {
            let folder = Store::open(disk.shared(), &dir().join("branch-7")).unwrap();
            folder.publish(super::request(super::Kind::Epoch, 4, 40)).unwrap();
            store.take_in(&other, name(40)).unwrap();
            disk.settle();
        }
        let before: Vec<Vec<u8>> = disk.files().iter().map(|(_, bytes)| bytes.to_vec()).collect();
        store.leave_behind(1, &later(), taken_in).unwrap();
        for point in disk.crash_points() {
            for (loss, image) in point.images(STATES, 5) {
                let place = format!("{taken_in:?}, {loss:?}");
                let found = Store::open(image.shared(), &dir()).unwrap();
                found.leave_behind(1, &later(), taken_in).unwrap_or_else(|error| panic!("{place}: {error}"));
                let expected = if taken_in.is_some() { vec![10, 20, 40] } else { vec![10, 20] };
                assert_eq!((names(&found), names(&found.branch(1))), (expected, vec![30, 40]), "{place}");
                for bytes in &before {
                    let is_there = image.files().iter().any(|(_, found)| **found == bytes[..]);
                    assert!(is_there, "{place}: a file is gone");
                }
            }
        }
    }
}

#[test]
fn what_is_taken_in_from_outside_is_a_copy_and_is_no_checkpoint_before_it_has_its_name() {
    let (disk, store) = four_epochs();
    let outside = Store::open(disk.shared(), Path::new("elsewhere")).unwrap();
    outside.publish(epoch(50)).unwrap();
    store.take_in(&outside.path(name(50)), name(50)).unwrap();
    assert_eq!(names(&store), [10, 20, 30, 40]);
    store.leave_behind(1, &[], Some(name(50))).unwrap();
    assert_eq!(names(&store), [10, 20, 30, 40, 50]);
    let files = disk.files();
    assert!(files.iter().all(|(path, _)| !path.starts_with(dir().join("branch-1"))), "{files:?}");
    disk.put(&outside.path(name(50)), b"changed");
    assert_eq!(store.load(name(50)).unwrap().meta().step, 50);
}

#[test]
fn what_was_left_behind_and_taken_in_stays_so_whatever_power_is_lost() {
    let (disk, store) = four_epochs();
    let outside = Store::open(disk.shared(), Path::new("elsewhere")).unwrap();
    outside.publish(super::request(super::Kind::Epoch, 4, 40)).unwrap();
    disk.settle();
    store.take_in(&outside.path(name(40)), name(40)).unwrap();
    // From here on a record may tell of it.
    for (loss, image) in disk.crash_images(disk.operations(), 64, 3) {
        let found = Store::open(image.shared(), &dir()).unwrap();
        found.leave_behind(1, &later(), Some(name(40))).unwrap();
        assert_eq!(names(&found), [10, 20, 40], "{loss:?}: what was taken in is gone");
    }
    store.leave_behind(1, &later(), Some(name(40))).unwrap();
    for (loss, image) in disk.crash_images(disk.operations(), 64, 4) {
        let found = Store::open(image.shared(), &dir()).unwrap();
        assert_eq!((names(&found), names(&found.branch(1))), (vec![10, 20, 40], vec![30, 40]), "{loss:?}");
    }
}

#[test]
fn what_was_left_behind_alone_stays_so_whatever_power_is_lost() {
    let (disk, store) = four_epochs();
    store.leave_behind(1, &later(), None).unwrap();
    for (loss, image) in disk.crash_images(disk.operations(), 64, 5) {
        let found = Store::open(image.shared(), &dir()).unwrap();
        assert_eq!((names(&found), names(&found.branch(1))), (vec![10, 20], vec![30, 40]), "{loss:?}");
    }
}

#[test]
fn links_that_were_made_since_are_not_moved_when_it_is_done_again() {
    let (disk, store) = four_epochs();
    store.leave_behind(1, &later(), None).unwrap();
    for link in [Link::Last, Link::Best] {
        store.link(link, name(20)).unwrap();
    }
    let before = disk.files().len();
    store.leave_behind(1, &later(), None).unwrap();
    assert_eq!(disk.files().len(), before);
    for link in [Link::Last, Link::Best] {
        let steps = [&store, &store.branch(1)].map(|store| store.load_link(link).unwrap().meta().step);
        assert_eq!(steps, [20, 40], "{link}");
    }
}

#[test]
fn what_was_taken_in_for_nothing_is_forgotten_and_the_file_it_came_from_stays() {
    let (disk, store) = four_epochs();
    let before = disk.files().len();
    store.take_in(&store.path(name(20)), name(20)).unwrap();
    disk.put(&dir().join("notes.chosen"), b"of a person");
    store.forget_taken_in().unwrap();
    assert_eq!(disk.files().len(), before + 1);
    assert_eq!(names(&store), [10, 20, 30, 40]);
}
