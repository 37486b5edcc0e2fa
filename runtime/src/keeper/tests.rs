//! The order of what a keeper stores, on real files that are watched.

use std::path::Path;
use std::sync::Arc;

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
        &format!("HardLink {file}"),
        "Rename last.safetensors.tmp",
        "SyncDir checkpoints",
        &format!("HardLink {file}"),
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
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, b"rubbish").unwrap();
    let error = keeper.recover().unwrap_err();
    assert!(matches!(&error, RecoverError::NoneVerifies { rejected } if rejected.len() == 1), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), b"rubbish");
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
