//! The journal on real files: here reading, and what the tests share; in `append`, writing; in `failover`, writes
//! and syncs that fail; in `damage`, everything that can be wrong with the bytes; in `power_loss`, power losses around
//! failures; in `repair`, what is done about damage; in `segment_alone`, segments one by one.

mod append;
mod damage;
mod failover;
mod power_loss;
mod repair;
mod segment_alone;

use std::path::{Path, PathBuf};

use super::format::{FrameHead, SegmentHeader, push_frame};
use super::{Durability, Journal, OpenError, OpenOptions, Opened, Record, Tail, read};
use crate::RunId;
use crate::disk::RealDisk;
use crate::formats_doc::example;

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

/// A directory with one segment of these bytes.
fn with_segment(bytes: &[u8]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(segment(dir.path(), 1), bytes).unwrap();
    dir
}

#[track_caller]
fn segment_bytes(synced: u64, count: u64) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), synced, count);
    std::fs::read(segment(dir.path(), 1)).unwrap()
}

#[track_caller]
fn open_error(dir: &Path) -> OpenError {
    Journal::open(RealDisk::shared(), dir, options()).unwrap_err()
}

#[test]
fn reading_changes_nothing_and_needs_no_directory() {
    let bytes = segment_bytes(0, 3);
    let dir = with_segment(&bytes[..bytes.len() - 2]);
    let contents = read(&RealDisk, dir.path()).unwrap();
    assert_eq!(contents.run_id, Some(RUN));
    check_records(&contents.records, 2);
    assert!(matches!(contents.tail, Tail::Torn { .. }));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);

    let missing = dir.path().join("missing");
    let contents = read(&RealDisk, &missing).unwrap();
    assert!(contents.records.is_empty() && contents.run_id.is_none() && !missing.exists());
}

/// A journal of several segments, each of a few records.
fn with_segments(count: u64) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let options = OpenOptions { segment_limit_bytes: 160, ..options() };
    let mut journal = Journal::open(RealDisk::shared(), dir.path(), options).unwrap().journal;
    for sequence in 1..=count {
        journal.append(kind(sequence), &payload(sequence)).unwrap();
    }
    dir
}

#[test]
fn an_existing_journal_keeps_its_run_id() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 0, 1);
    let options = OpenOptions { run_id: Some(RunId([9; 16])), ..options() };
    assert_eq!(Journal::open(RealDisk::shared(), dir.path(), options).unwrap().journal.run_id(), RUN);
}

/// The segment that `docs/formats.md` shows.
fn documented_segment() -> Vec<u8> {
    let run_id = RunId(std::array::from_fn(|at| at as u8));
    let salt = 0x1122_3344_5566_7788;
    let header =
        SegmentHeader { run_id, number: 1, first_sequence: 1, salt, previous_crc: 0, born_records: 0 };
    let mut bytes = header.encode();
    let first =
        FrameHead { payload_bytes: 3, kind: 2, sequence: 1, watermark: 0, previous_crc: header.crc() };
    let previous_crc = push_frame(&mut bytes, salt, first, b"abc");
    let second = FrameHead { payload_bytes: 0, kind: 1, sequence: 2, watermark: 1, previous_crc };
    push_frame(&mut bytes, salt, second, b"");
    bytes
}

#[test]
fn a_segment_is_written_as_the_document_shows_it() {
    assert_eq!(documented_segment(), example("hex segment"));
}

#[test]
fn the_segment_in_the_document_is_read() {
    let dir = with_segment(&example("hex segment"));
    let contents = read(&RealDisk, dir.path()).unwrap();
    assert_eq!(contents.run_id.unwrap().to_string(), "000102030405060708090a0b0c0d0e0f");
    let found: Vec<_> = contents.records.iter().map(|r| (r.sequence, r.kind, r.payload.to_vec())).collect();
    assert_eq!(found, [(1, 2, b"abc".to_vec()), (2, 1, Vec::new())]);
    assert_eq!(contents.tail, Tail::Clean);
}
