//! Files of every format version that was ever written are read to the bit, for ever.
//!
//! `tests/golden/v1` is a journal of two segments and a checkpoint as version 1 wrote them. They are never made again: a
//! change that can not read them needs a new version, with files of its own beside these.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails by panicking; what helps several tests is no test function itself"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use trainer_runtime::RunId;
use trainer_runtime::checkpoint::{Kind, Name, Request, Snapshot, Store, TensorView};
use trainer_runtime::disk::RealDisk;
use trainer_runtime::journal::{Durability, Journal, OpenOptions, Record, Tail, read};

const RUN_ID: RunId = RunId([0xd0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0xf5]);

/// Kind and payload of the records, the smallest and largest numbers among them.
fn records() -> Vec<(u16, Vec<u8>)> {
    vec![
        (1, b"first".to_vec()),
        (u16::MAX, Vec::new()),
        (4, (0..=255).collect()),
        (4, vec![0; 70]),
        (7, b"\xff\x00\n".to_vec()),
        (2, "größer".as_bytes().to_vec()),
    ]
}

struct State {
    weight: Vec<f32>,
    counts: Vec<i64>,
}

fn state() -> State {
    State {
        weight: vec![1.0, -0.0, f32::MIN_POSITIVE / 2.0, f32::INFINITY, f32::from_bits(0x7fc0_1234), 0.1],
        counts: vec![i64::MIN, -1, i64::MAX],
    }
}

impl Snapshot for State {
    fn tensors(&self) -> Vec<TensorView<'_>> {
        vec![
            TensorView::new("fc1.weight", vec![2, 3], &self.weight),
            TensorView::new("state/counts", vec![3], &self.counts),
            TensorView::new("optimizer/exp_avg/fc1.weight", vec![0], &[] as &[f32]),
        ]
    }
}

fn request() -> Request {
    let snapshot = Arc::new(state());
    let state = vec![0xaa, 0, 0x55];
    Request { kind: Kind::Epoch, run_id: RUN_ID, epoch: 3, step: 1200, state, snapshot }
}

fn golden(what: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1").join(what)
}

#[track_caller]
fn check_records(found: &[Record], expected: &[(u16, Vec<u8>)]) {
    let found: Vec<_> = found.iter().map(|r| (r.sequence, r.kind, r.payload.to_vec())).collect();
    let expected: Vec<_> =
        expected.iter().zip(1..).map(|((kind, payload), at)| (at, *kind, payload.clone())).collect();
    assert_eq!(found, expected);
}

#[track_caller]
fn open(dir: &Path) -> (Journal, Vec<Record>) {
    let options =
        OpenOptions { run_id: Some(RUN_ID), durability: Durability::Checkpoint, ..OpenOptions::default() };
    let opened = Journal::open(RealDisk::shared(), dir, options).unwrap();
    assert_eq!(opened.set_aside, None);
    (opened.journal, opened.records)
}

/// What `tests/golden` was made with, for the version to come.
#[test]
#[ignore = "writes new files into the folder that GOLDEN_DIR names"]
fn write_files_of_this_version() {
    let Some(dir) = std::env::var_os("GOLDEN_DIR").map(PathBuf::from) else { return };
    let records = records();
    for part in [&records[..4], &records[4..]] {
        let (mut journal, _) = open(&dir.join("journal"));
        for (kind, payload) in part {
            journal.append(*kind, payload).unwrap();
        }
        journal.close().unwrap();
    }
    Store::open(RealDisk::shared(), &dir.join("checkpoints")).unwrap().publish(request()).unwrap();
}

#[test]
fn a_journal_of_version_1_is_read_and_gone_on_with() {
    let contents = read(&RealDisk, &golden("journal")).unwrap();
    assert_eq!((contents.run_id, contents.tail), (Some(RUN_ID), Tail::Clean));
    check_records(&contents.records, &records());

    let dir = tempfile::tempdir().unwrap();
    for segment in ["00000001.wal", "00000002.wal"] {
        fs::copy(golden("journal").join(segment), dir.path().join(segment)).unwrap();
    }
    let (mut journal, found) = open(dir.path());
    check_records(&found, &records());
    journal.append(5, b"later").unwrap();
    journal.close().unwrap();
    check_records(&open(dir.path()).1, &[records(), vec![(5, b"later".to_vec())]].concat());
}

#[test]
fn a_checkpoint_of_version_1_is_loaded_to_the_bit_and_written_with_the_same_bytes() {
    let name = Name::new(Kind::Epoch, 3, 1200);
    let store = Store::open_read_only(RealDisk::shared(), &golden("checkpoints"));
    let checkpoint = store.load(name).unwrap();
    assert_eq!((checkpoint.meta().run_id, checkpoint.meta().epoch), (RUN_ID, 3));
    assert_eq!(checkpoint.state(), request().state);
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    let weight = checkpoint.tensor("fc1.weight").unwrap();
    assert_eq!(weight.shape, [2, 3]);
    assert_eq!(bits(&weight.to_vec().unwrap()), bits(&state().weight));
    assert_eq!(checkpoint.tensor("state/counts").unwrap().to_vec::<i64>().unwrap(), state().counts);
    assert_eq!(checkpoint.iter().count(), 4);

    let dir = tempfile::tempdir().unwrap();
    let written = Store::open(RealDisk::shared(), dir.path()).unwrap();
    written.publish(request()).unwrap();
    assert!(fs::read(written.path(name)).unwrap() == fs::read(store.path(name)).unwrap());
}
