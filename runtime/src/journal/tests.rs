use std::path::{Path, PathBuf};
use std::time::Duration;

use super::format::{FRAME_OVERHEAD_BYTES, HEADER_BYTES};
use super::{AppendError, Durability, Journal, OpenError, OpenOptions, Opened, Record, Tail, read};
use crate::RunId;
use crate::disk::RealDisk;

const RUN: RunId = RunId([7; 16]);

fn options() -> OpenOptions {
    OpenOptions { run_id: Some(RUN), durability: Durability::Checkpoint, ..OpenOptions::default() }
}

#[track_caller]
fn open(dir: &Path) -> Opened {
    Journal::open(RealDisk::shared(), dir, options()).unwrap()
}

fn segment(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:08}.wal"))
}

fn payload(sequence: u64) -> Vec<u8> {
    vec![sequence as u8; sequence as usize % 5]
}

fn kind(sequence: u64) -> u16 {
    sequence as u16 % 3 + 1
}

/// A journal with records 1 to `count`, of which those up to `synced` say that they are durable.
fn filled(dir: &Path, synced: u64, count: u64) {
    let mut journal = open(dir).journal;
    for sequence in 1..=count {
        assert_eq!(journal.append(kind(sequence), &payload(sequence)).unwrap(), sequence);
        if sequence == synced {
            journal.sync().unwrap();
        }
    }
}

#[track_caller]
fn check_records(records: &[Record], count: u64) {
    let found: Vec<_> = records.iter().map(|r| (r.sequence, r.kind, r.payload.to_vec())).collect();
    let expected: Vec<_> = (1..=count).map(|s| (s, kind(s), payload(s))).collect();
    assert_eq!(found, expected);
}

#[test]
fn records_are_read_in_order_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 4, 10);
    let opened = open(dir.path());
    assert_eq!((opened.set_aside, opened.journal.run_id()), (None, RUN));
    assert_eq!((opened.journal.next_sequence(), opened.journal.durable_sequence()), (11, 10));
    check_records(&opened.records, 10);
}
