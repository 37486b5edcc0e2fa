//! A full disk: nothing is lost, nothing durable is removed, and the run goes on when there is room.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{STEP, Weights, name, open, open_on, records, save};
use crate::checkpoint::{EmergencyCause, Kind, Link, Name};
use crate::disk::Operation;
use crate::disk::fault::FaultDisk;
use crate::keeper::{BALLAST_FILE, KeepError, Keeper, Patience, Rank, Room, Save, Shortage, Waiting};

/// A disk that can become full: it then has no room but that of a ballast which is given up.
#[derive(Clone)]
struct SmallDisk {
    disk: FaultDisk,
    is_full: Arc<AtomicBool>,
    ballast: PathBuf,
}

impl SmallDisk {
    fn new(work_dir: &Path) -> SmallDisk {
        let (disk, is_full) = (FaultDisk::default(), Arc::new(AtomicBool::new(false)));
        let small = SmallDisk { disk, is_full, ballast: work_dir.join(BALLAST_FILE) };
        small.disk.set_free_bytes(1 << 40);
        small
    }

    /// From now on there is only the room of the ballast, once it is given up; `had_ballast` says whether there is one.
    fn fill(&self, had_ballast: bool) {
        self.is_full.store(true, Ordering::Relaxed);
        self.disk.set_free_bytes(100);
        let SmallDisk { disk, is_full, ballast } = self.clone();
        self.disk.set_hook(move |operation, file| {
            let is_given_up = had_ballast && !ballast.exists();
            let takes_room = matches!(operation, Operation::Write | Operation::Reserve);
            if is_full.load(Ordering::Relaxed) && takes_room && (!is_given_up || file.starts_with("ballast"))
            {
                return Err(io::ErrorKind::StorageFull.into());
            }
            Ok(())
        });
        if had_ballast {
            // What the ballast gives back when it goes.
            disk.set_free_bytes(1 << 19);
        }
    }

    fn make_room(&self) {
        self.is_full.store(false, Ordering::Relaxed);
        self.disk.set_free_bytes(1 << 40);
    }
}

/// Waits without spending time, and makes room at this look.
struct Looks {
    disk: SmallDisk,
    room_at: usize,
    pauses_s: Vec<u64>,
    told: Vec<String>,
    gives_up_at: usize,
}

impl Looks {
    fn new(disk: &SmallDisk, room_at: usize) -> Looks {
        let (pauses_s, told) = (Vec::new(), Vec::new());
        Looks { disk: disk.clone(), room_at, pauses_s, told, gives_up_at: usize::MAX }
    }
}

impl Patience for Looks {
    fn paused(&mut self, shortage: &Shortage) {
        self.told.push(format!("paused, saved: {}", shortage.is_saved));
    }

    fn wait(&mut self, _: &Shortage, pause: Duration) -> Waiting {
        self.pauses_s.push(pause.as_secs());
        if self.pauses_s.len() == self.room_at {
            self.disk.make_room();
        }
        if self.pauses_s.len() >= self.gives_up_at { Waiting::GiveUp } else { Waiting::GoOn }
    }

    fn resumed(&mut self) {
        self.told.push("resumed".to_owned());
    }
}

fn emergency(step: u64) -> Save {
    let snapshot = Arc::new(Weights(vec![step as f32; 8]));
    let kind = Kind::Emergency(EmergencyCause::DiskFull);
    Save { kind, rank: Rank::Ordinary, epoch: 1, step, state: Vec::new(), snapshot }
}

/// A run with a checkpoint at step 1, and the error that its next one gives on a full disk.
#[track_caller]
fn full(work_dir: &Path, reserves: bool) -> (SmallDisk, Keeper, KeepError) {
    let disk = SmallDisk::new(work_dir);
    let mut keeper = open_on(disk.disk.shared(), work_dir);
    if reserves {
        keeper.reserve(save(1, Rank::Ordinary).most_bytes()).unwrap();
        assert!(disk.ballast.exists());
    }
    keeper.save_now(save(1, Rank::Ordinary)).unwrap();
    disk.fill(reserves);
    let error = keeper.save(save(2, Rank::Ordinary)).unwrap_err();
    assert!(error.is_full(), "{error}");
    (disk, keeper, error)
}

#[test]
fn the_state_is_saved_in_the_reserve_and_the_run_goes_on_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, mut keeper, error) = full(dir.path(), true);
    let mut looks = Looks::new(&disk, 3);
    let room = keeper.wait_for_room(error, emergency(2), &mut looks).unwrap();
    assert!(matches!(room, Room::Returned));
    assert_eq!(looks.told, ["paused, saved: true", "resumed"]);
    assert_eq!(keeper.last_durable(), Some(emergency(2).name()));
    assert!(disk.ballast.exists(), "the reserve is there again");
    keeper.save_now(save(3, Rank::Ordinary)).unwrap();
}

#[test]
fn whoever_gives_up_on_a_full_disk_has_the_state_and_everything_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, mut keeper, error) = full(dir.path(), true);
    let mut looks = Looks { gives_up_at: 1, ..Looks::new(&disk, usize::MAX) };
    let room = keeper.wait_for_room(error, emergency(2), &mut looks).unwrap();
    assert!(matches!(room, Room::GivenUp { is_saved: true, cause } if cause.is_full()));
    disk.make_room();
    drop(keeper);
    let keeper = open(dir.path());
    let there: Vec<Name> = keeper.store().list().unwrap().iter().map(|entry| entry.name).collect();
    assert_eq!(there, [name(1), emergency(2).name()]);
}

#[test]
fn without_a_reserve_the_state_waits_in_memory_and_is_saved_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, mut keeper, error) = full(dir.path(), false);
    let mut looks = Looks::new(&disk, 7);
    let room = keeper.wait_for_room(error, emergency(2), &mut looks).unwrap();
    assert!(matches!(room, Room::Returned));
    assert_eq!(looks.told, ["paused, saved: false", "resumed"]);
    assert_eq!(looks.pauses_s, [1, 2, 4, 8, 16, 30, 30], "each pause is twice as long, up to the longest");
    assert_eq!(keeper.last_durable(), Some(emergency(2).name()));
}

#[test]
fn a_disk_that_becomes_full_while_a_checkpoint_is_written_is_an_error_that_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let disk = SmallDisk::new(dir.path());
    let mut keeper = open_on(disk.disk.shared(), dir.path());
    keeper.reserve(save(1, Rank::Ordinary).most_bytes()).unwrap();
    disk.fill(true);
    disk.disk.set_free_bytes(1 << 40);
    keeper.save(save(1, Rank::Ordinary)).unwrap();
    let error = keeper.flush().unwrap_err();
    assert!(error.is_full(), "{error}");
    disk.disk.set_free_bytes(100);
    let mut looks = Looks { gives_up_at: 1, ..Looks::new(&disk, usize::MAX) };
    disk.disk.set_free_bytes(1 << 19);
    let room = keeper.wait_for_room(error, emergency(1), &mut looks).unwrap();
    assert!(matches!(room, Room::GivenUp { is_saved: true, .. }));
}

/// A disk that becomes full behind a best checkpoint of step 1, with its reserve.
fn full_behind_a_best(dir: &Path) -> (SmallDisk, Keeper) {
    let disk = SmallDisk::new(dir);
    let mut keeper = open_on(disk.disk.shared(), dir);
    keeper.reserve(save(1, Rank::Ordinary).most_bytes()).unwrap();
    keeper.save_now(save(1, Rank::Best)).unwrap();
    disk.fill(true);
    (disk, keeper)
}

#[test]
fn the_best_that_found_the_disk_full_is_saved_when_there_is_room_and_does_not_become_the_last() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, mut keeper) = full_behind_a_best(dir.path());
    // As with a quota: the file system has room, and the user has not.
    disk.disk.set_free_bytes(1 << 40);
    keeper.save(save(2, Rank::Best)).unwrap();
    let error = keeper.flush().unwrap_err();
    let mut looks = Looks::new(&disk, 1);
    keeper.wait_for_room(error, emergency(4), &mut looks).unwrap();
    assert_eq!(keeper.last_durable(), Some(emergency(4).name()));
    let step = |link| keeper.store().load_link(link).unwrap().meta().step;
    assert_eq!((step(Link::Best), step(Link::Last)), (2, 4));
}

/// That a best checkpoint which finds the disk full, before or while it is written, is there when the wait is given up: the
/// state that is saved says that it is the best, so nobody would compute it again.
#[track_caller]
fn check_best_given_up(is_full_before: bool) {
    let dir = tempfile::tempdir().unwrap();
    let (disk, mut keeper) = full_behind_a_best(dir.path());
    let error = if is_full_before {
        keeper.save(save(2, Rank::Best)).unwrap_err()
    } else {
        disk.disk.set_free_bytes(1 << 40);
        keeper.save(save(2, Rank::Best)).unwrap();
        keeper.flush().unwrap_err()
    };
    // What the reserve gives back, which is not enough to go on.
    disk.disk.set_free_bytes(1 << 19);
    let mut looks = Looks { gives_up_at: 1, ..Looks::new(&disk, usize::MAX) };
    let room = keeper.wait_for_room(error, emergency(4), &mut looks).unwrap();
    assert!(matches!(room, Room::GivenUp { is_saved: true, .. }), "{room:?}");
    disk.make_room();
    drop(keeper);
    let mut keeper = open(dir.path());
    let newest = keeper.recover().unwrap().newest.unwrap().0;
    assert_eq!(newest, emergency(4).name());
    keeper.take_up(newest, Vec::new(), Some(name(2))).unwrap();
    assert_eq!(keeper.store().load_link(Link::Best).unwrap().meta().step, 2);
}

#[test]
fn whoever_gives_up_on_a_full_disk_has_the_best_that_found_it_full() {
    check_best_given_up(true);
    check_best_given_up(false);
}

#[test]
fn nothing_later_is_saved_before_a_best_that_failed() {
    let dir = tempfile::tempdir().unwrap();
    let disk = SmallDisk::new(dir.path());
    let mut keeper = open_on(disk.disk.shared(), dir.path());
    keeper.save_now(save(1, Rank::Best)).unwrap();
    let fails = Arc::new(AtomicBool::new(true));
    let still_fails = Arc::clone(&fails);
    disk.disk.set_hook(move |operation, file| {
        let is_best = file.starts_with("epoch-0002") && operation == Operation::Sync;
        if is_best && still_fails.load(Ordering::Relaxed) {
            return Err(io::Error::other("the disk was told to fail"));
        }
        Ok(())
    });
    keeper.save_now(save(2, Rank::Best)).unwrap_err();
    keeper.save_now(save(3, Rank::Ordinary)).unwrap_err();
    assert_eq!(keeper.last_durable(), Some(name(1)));
    fails.store(false, Ordering::Relaxed);
    keeper.save_now(save(3, Rank::Ordinary)).unwrap();
    let step = |link| keeper.store().load_link(link).unwrap().meta().step;
    assert_eq!((step(Link::Best), step(Link::Last)), (2, 3));
}

/// Records of steps that are appended on a full disk, and of one before and one behind.
#[track_caller]
fn check_appended(reserves: bool) {
    let dir = tempfile::tempdir().unwrap();
    let disk = SmallDisk::new(dir.path());
    let mut keeper = open_on(disk.disk.shared(), dir.path());
    if reserves {
        keeper.reserve(save(1, Rank::Ordinary).most_bytes()).unwrap();
    }
    keeper.append(STEP, b"1").unwrap();
    disk.fill(reserves);
    // More than the room that the journal has set aside for itself.
    let long = vec![b'2'; 1 << 20];
    keeper.append(STEP, &long).unwrap();
    keeper.append(STEP, b"3").unwrap();
    let error = keeper.collect().unwrap_err();
    assert!(error.is_full(), "{error}");
    let mut looks = Looks::new(&disk, 2);
    keeper.wait_for_room(error, emergency(3), &mut looks).unwrap();
    keeper.append(STEP, b"4").unwrap();
    keeper.collect().unwrap();
    drop(keeper);
    let steps: Vec<u8> = records(dir.path())
        .iter()
        .filter(|(kind, _)| *kind == STEP)
        .map(|(_, payload)| payload.as_bytes()[0])
        .collect();
    assert_eq!(steps, b"1234");
}

#[test]
fn records_that_find_the_disk_full_are_written_in_the_reserve_in_their_order() {
    check_appended(true);
}

#[test]
fn records_that_find_the_disk_full_wait_for_room_and_are_written_in_their_order() {
    check_appended(false);
}

#[test]
fn a_disk_without_room_for_the_reserve_is_noted_and_gets_none() {
    let dir = tempfile::tempdir().unwrap();
    let disk = SmallDisk::new(dir.path());
    let mut keeper = open_on(disk.disk.shared(), dir.path());
    disk.disk.set_free_bytes(3 << 20);
    keeper.reserve(1 << 20).unwrap();
    let notice = keeper.take_notices()[0].to_string();
    assert!(notice.contains("3145728 bytes free and 4194304 are wanted"), "{notice}");
    assert!(!disk.ballast.exists());
}

#[test]
fn a_reserve_of_another_size_is_made_anew_and_one_of_this_size_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let disk = SmallDisk::new(dir.path());
    let mut keeper = open_on(disk.disk.shared(), dir.path());
    let len_bytes = || std::fs::metadata(&disk.ballast).unwrap().len();
    keeper.reserve(1000).unwrap();
    assert_eq!(len_bytes(), 1000 + (1 << 20));
    disk.disk.take_log();
    keeper.reserve(1000).unwrap();
    assert!(disk.disk.take_log().iter().all(|entry| entry.starts_with("Examine")));
    keeper.reserve(5000).unwrap();
    assert_eq!(len_bytes(), 5000 + (1 << 20));
    keeper.release_reserve().unwrap();
    assert!(!disk.ballast.exists());
}
