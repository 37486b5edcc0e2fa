//! The order of what a keeper stores, on real files that are watched; in `room`, what it does on a full disk; in `keep_only`,
//! cleaning up.

mod keep_only;
mod room;

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, mpsc};

use super::{Announce, Keeper, Options, Rank, RecoverError, Save};
use crate::checkpoint::{Kind, Link, Name, Receipt, Retention, Snapshot, TensorView};
use crate::codec::EncodeError;
use crate::disk::fault::FaultDisk;
use crate::disk::{Disk, Operation, RealDisk};
use crate::journal::{Durability, OpenOptions};

const STEP: u16 = 1;
const DURABLE: u16 = 2;
const DROPPED: u16 = 3;

struct Records;

impl Announce for Records {
    fn durable(&self, receipt: &Receipt) -> Result<(u16, Vec<u8>), EncodeError> {
        Ok((DURABLE, receipt.name.to_string().into_bytes()))
    }

    fn dropped(&self, name: Name) -> Result<(u16, Vec<u8>), EncodeError> {
        Ok((DROPPED, name.to_string().into_bytes()))
    }
}

struct Weights(Vec<f32>);

impl Snapshot for Weights {
    fn tensors(&self) -> Vec<TensorView<'_>> {
        vec![TensorView::new("weight", vec![self.0.len()], &self.0)]
    }
}

/// The state after a step, which ends the epoch of the same number.
fn save(step: u64, rank: Rank) -> Save {
    let snapshot = Arc::new(Weights(vec![step as f32; 8]));
    Save { kind: Kind::Epoch, rank, epoch: step, step, state: vec![step as u8], snapshot }
}

fn name(step: u64) -> Name {
    save(step, Rank::Ordinary).name()
}

/// Nothing is synced but what the keeper asks for.
fn options(keep_last: usize) -> Options {
    Options {
        journal: OpenOptions { durability: Durability::Checkpoint, ..OpenOptions::default() },
        retention: Retention { keep_last, ..Retention::default() },
    }
}

#[track_caller]
fn open_on(disk: Arc<dyn Disk>, work_dir: &Path) -> Keeper {
    Keeper::open(disk, work_dir, options(2), Box::new(Records)).unwrap().keeper
}

#[track_caller]
fn open(work_dir: &Path) -> Keeper {
    open_on(RealDisk::shared(), work_dir)
}

/// Kind and payload of each record that a later process finds.
#[track_caller]
fn records(work_dir: &Path) -> Vec<(u16, String)> {
    let opened = Keeper::open(RealDisk::shared(), work_dir, options(2), Box::new(Records)).unwrap();
    let text = |payload: &[u8]| String::from_utf8(payload.to_vec()).unwrap();
    opened.records.iter().map(|record| (record.kind, text(&record.payload))).collect()
}

#[test]
fn a_step_is_durable_before_its_checkpoint_and_that_before_its_record_and_its_links() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), FaultDisk::default());
    let mut keeper = open_on(disk.shared(), dir.path());
    keeper.append(STEP, b"1").unwrap();
    disk.take_log();
    keeper.save(save(1, Rank::Best)).unwrap();
    assert_eq!(keeper.flush().unwrap(), [name(1)]);
    let mut log = disk.take_log();
    log.retain(|entry| {
        let is_lasting = ["Sync", "Rename", "HardLink"].iter().any(|operation| entry.starts_with(operation));
        is_lasting || entry.contains(".wal")
    });
    let file = name(1).to_string();
    let expected = [
        "Sync 00000001.wal.tmp",
        &format!("Sync {file}.tmp"),
        &format!("Rename {file}.tmp"),
        "SyncDir checkpoints",
        "Write 00000001.wal.tmp",
        "Sync 00000001.wal.tmp",
        "HardLink last.safetensors.tmp",
        "Rename last.safetensors.tmp",
        "SyncDir checkpoints",
        "HardLink best.safetensors.tmp",
        "Rename best.safetensors.tmp",
        "SyncDir checkpoints",
    ];
    assert_eq!(log, expected);
}

#[test]
fn the_best_outlives_those_that_come_after_it_until_a_better_one_is_durable() {
    let dir = tempfile::tempdir().unwrap();
    let mut keeper = open(dir.path());
    let steps = |keeper: &Keeper| {
        keeper.store().list().unwrap().iter().map(|entry| entry.name.step).collect::<Vec<_>>()
    };
    for (step, rank) in
        [(1, Rank::Ordinary), (2, Rank::Best), (3, Rank::Ordinary), (4, Rank::Ordinary), (5, Rank::Ordinary)]
    {
        keeper.save_now(save(step, rank)).unwrap();
    }
    assert_eq!(steps(&keeper), [2, 4, 5]);
    keeper.save_now(save(6, Rank::Best)).unwrap();
    assert_eq!(steps(&keeper), [5, 6]);
    keeper.close().unwrap();
    let told: Vec<(u16, String)> = records(dir.path());
    let dropped: Vec<&str> =
        told.iter().filter(|(kind, _)| *kind == DROPPED).map(|(_, name)| name.as_str()).collect();
    assert_eq!(dropped, [1, 3, 2, 4].map(|step| name(step).to_string()));
    assert_eq!(told.iter().filter(|(kind, _)| *kind == DURABLE).count(), 6);
}

#[test]
fn a_run_goes_on_from_the_newest_that_verifies_and_the_damaged_ones_are_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let mut keeper = open(dir.path());
    keeper.save_now(save(1, Rank::Best)).unwrap();
    keeper.save_now(save(2, Rank::Ordinary)).unwrap();
    let damaged = keeper.store().path(name(2));
    drop(keeper);
    let mut bytes = std::fs::read(&damaged).unwrap();
    let at = bytes.windows(4).rposition(|window| window == 2_f32.to_le_bytes()).unwrap();
    bytes[at] ^= 1;
    std::fs::write(&damaged, bytes).unwrap();

    let mut keeper = open(dir.path());
    let recovery = keeper.recover().unwrap();
    let (newest, checkpoint) = recovery.newest.unwrap();
    assert_eq!((newest, checkpoint.state()), (name(1), &[1][..]));
    let passed_over = keeper.take_up(newest, recovery.rejected, Some(name(1))).unwrap();
    let line = passed_over[0].to_string();
    for word in ["epoch-0002-step-00000002", "\"weight\"", ".damaged", "falling back to epoch-0001"] {
        assert!(line.contains(word), "{line}");
    }
    assert_eq!((passed_over.len(), keeper.last_durable()), (1, Some(name(1))));
    assert_eq!(keeper.store().load_link(Link::Last).unwrap().meta().step, 1);
}

#[test]
fn where_no_checkpoint_verifies_nothing_is_touched() {
    let dir = tempfile::tempdir().unwrap();
    let mut keeper = open(dir.path());
    keeper.save_now(save(1, Rank::Ordinary)).unwrap();
    let path = keeper.store().path(name(1));
    // Under all of its names.
    std::fs::write(&path, b"rubbish").unwrap();
    let error = keeper.recover().unwrap_err();
    assert!(matches!(&error, RecoverError::NoneVerifies { rejected } if rejected.len() == 1), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), b"rubbish");
}

#[test]
fn where_only_a_link_is_left_the_run_goes_on_from_what_it_names() {
    for has_links in [true, false] {
        let (dir, disk) = (tempfile::tempdir().unwrap(), FaultDisk::default());
        if !has_links {
            disk.fail(Operation::HardLink, io::ErrorKind::Unsupported);
        }
        let mut keeper = open_on(disk.shared(), dir.path());
        keeper.save_now(save(1, Rank::Best)).unwrap();
        keeper.save_now(save(2, Rank::Ordinary)).unwrap();
        let (first, second) = (keeper.store().path(name(1)), keeper.store().path(name(2)));
        drop(keeper);
        std::fs::remove_file(first).unwrap();
        // Where the links are copies, a damaged checkpoint does not damage them.
        if has_links { std::fs::remove_file(&second) } else { std::fs::write(&second, b"rubbish") }.unwrap();
        let mut keeper = open_on(disk.shared(), dir.path());
        let recovery = keeper.recover().unwrap();
        let newest = recovery.newest.unwrap().0;
        assert_eq!((newest, recovery.rejected.len()), (name(2), usize::from(!has_links)));
        keeper.take_up(newest, recovery.rejected, Some(name(1))).unwrap();
        assert_eq!(keeper.store().load(name(2)).unwrap().meta().step, 2);
    }
}

#[test]
fn a_best_checkpoint_that_is_damaged_is_set_aside_and_none_takes_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let mut keeper = open(dir.path());
    keeper.save_now(save(1, Rank::Best)).unwrap();
    keeper.save_now(save(2, Rank::Ordinary)).unwrap();
    let path = keeper.store().path(name(1));
    drop(keeper);
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    // In its place, so that the link, which is another name of the same bytes, is damaged with it.
    std::fs::write(&path, &bytes).unwrap();
    let mut keeper = open(dir.path());
    let recovery = keeper.recover().unwrap();
    let newest = recovery.newest.unwrap().0;
    assert_eq!((newest, recovery.rejected.len()), (name(2), 0));
    keeper.take_up(newest, recovery.rejected, Some(name(1))).unwrap();
    let said: Vec<String> = keeper.take_notices().iter().map(ToString::to_string).collect();
    let aside = format!("{}.damaged", path.display());
    assert!(
        said.iter().any(|line| line.contains("failed its checksum") && line.contains(&aside)),
        "{said:?}"
    );
    assert_eq!(std::fs::read(&aside).unwrap(), bytes);
    let link = keeper.store().link_path(Link::Best);
    assert!(!link.exists() && link.with_extension("safetensors.damaged").exists(), "{said:?}");
}

#[test]
fn links_that_a_process_could_not_make_any_more_are_made_by_the_next() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), FaultDisk::default());
    let mut keeper = open_on(disk.shared(), dir.path());
    keeper.save_now(save(1, Rank::Best)).unwrap();
    disk.fail(Operation::HardLink, std::io::ErrorKind::Other);
    keeper.save_now(save(2, Rank::Best)).unwrap_err();
    drop(keeper);
    let mut keeper = open(dir.path());
    let recovery = keeper.recover().unwrap();
    keeper.take_up(recovery.newest.unwrap().0, recovery.rejected, Some(name(2))).unwrap();
    for link in [Link::Last, Link::Best] {
        assert_eq!(keeper.store().load_link(link).unwrap().meta().step, 2, "{link}");
    }
}

#[test]
fn neither_a_hand_over_nor_an_append_waits_for_the_disk() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), FaultDisk::default());
    let mut keeper = open_on(disk.shared(), dir.path());
    keeper.append(STEP, b"1").unwrap();
    let (entered, has_entered) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let (entered, released) = (Mutex::new(entered), Mutex::new(released));
    disk.set_hook(move |operation, file| {
        if operation == Operation::Sync {
            _ = entered.lock().unwrap().send(file.to_owned());
            // Every sync is held until the end of the test.
            _ = released.lock().unwrap().recv();
        }
        Ok(())
    });
    keeper.save(save(1, Rank::Ordinary)).unwrap();
    assert!(has_entered.recv().unwrap().contains(".wal"), "the journal is synced first");
    keeper.append(STEP, b"2").unwrap();
    assert!(keeper.collect().unwrap().is_empty());
    drop(release);
    assert_eq!(keeper.flush().unwrap(), [name(1)]);
}

#[test]
fn the_state_is_let_go_when_it_is_written_and_not_only_when_it_is_durable() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), FaultDisk::default());
    let mut keeper = open_on(disk.shared(), dir.path());
    let save = save(1, Rank::Ordinary);
    let snapshot = Arc::downgrade(&save.snapshot);
    let (seen, is_seen) = mpsc::channel();
    let seen = Mutex::new(seen);
    disk.set_hook(move |operation, file| {
        if operation == Operation::Sync && file.contains(".safetensors") {
            _ = seen.lock().unwrap().send(snapshot.strong_count());
        }
        Ok(())
    });
    keeper.save(save).unwrap();
    keeper.flush().unwrap();
    assert_eq!(is_seen.recv().unwrap(), 0);
}

/// That a file system which answers a hard link so gets copies instead, and that this is said once.
#[track_caller]
fn check_copied(errno: rustix::io::Errno) {
    let (dir, disk) = (tempfile::tempdir().unwrap(), FaultDisk::default());
    let mut keeper = open_on(disk.shared(), dir.path());
    disk.set_hook(move |operation, _| match operation {
        Operation::HardLink => Err(io::Error::from_raw_os_error(errno.raw_os_error())),
        _ => Ok(()),
    });
    for (step, rank) in [(1, Rank::Best), (2, Rank::Ordinary)] {
        keeper.save_now(save(step, rank)).unwrap();
    }
    keeper.link_final().unwrap();
    let notices: Vec<String> = keeper.take_notices().iter().map(ToString::to_string).collect();
    assert!(notices.len() == 1 && notices[0].contains("makes no hard links"), "{notices:?}");
    for (link, step) in [(Link::Best, 1), (Link::Last, 2), (Link::Final, 2)] {
        let (copy, original) = (keeper.store().link_path(link), keeper.store().path(name(step)));
        assert_eq!(std::fs::read(copy).unwrap(), std::fs::read(original).unwrap(), "{link}");
        assert_eq!(keeper.store().load_link(link).unwrap().meta().step, step);
    }
    let left = RealDisk.list(&dir.path().join("checkpoints")).unwrap();
    assert!(left.iter().all(|entry| !entry.name.ends_with(".tmp")), "{left:?}");
}

#[test]
fn where_there_are_no_hard_links_best_last_and_final_are_verified_copies() {
    use rustix::io::Errno;
    for errno in [Errno::PERM, Errno::OPNOTSUPP, Errno::MLINK, Errno::XDEV, Errno::NOSYS] {
        check_copied(errno);
    }
}

#[test]
fn a_copy_that_does_not_verify_leaves_the_old_one() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), FaultDisk::default());
    let mut keeper = open_on(disk.shared(), dir.path());
    let no_links = io::Error::from(io::ErrorKind::Unsupported).kind();
    disk.fail(Operation::HardLink, no_links);
    keeper.save_now(save(1, Rank::Ordinary)).unwrap();
    disk.set_hook(move |operation, file| match operation {
        Operation::HardLink => Err(io::Error::from(io::ErrorKind::Unsupported)),
        Operation::Write if file.starts_with("last") => Err(io::Error::other("the disk was told to fail")),
        _ => Ok(()),
    });
    keeper.save_now(save(2, Rank::Ordinary)).unwrap_err();
    assert_eq!(keeper.store().load_link(Link::Last).unwrap().meta().step, 1);
    assert_eq!(keeper.recover().unwrap().newest.unwrap().0, name(2), "the checkpoint itself is there");
}
