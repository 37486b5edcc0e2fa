//! The targets over the committed corpora, and over a few seconds of seeded mutations of them.

use std::path::{Path, PathBuf};

use super::allocation::{CountingAllocator, peak_bytes, within_limits};
use super::{
    checkpoint_header, checkpoint_load, codec_decode, journal_scan, journal_scan_unchecked, operations,
    sign_checkpoint, sign_journal,
};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// How many mutations of its corpus a target gets.
const MUTATIONS: usize = 2000;

/// The same for the target that takes a hundred times as long.
const MUTATED_SEQUENCES: usize = 300;

/// The folder of a target's inputs.
fn corpus(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(name)
}

/// SplitMix64: enough to choose places and bytes, and always the same.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ bits >> 31) % end.max(1) as u64) as usize
    }

    fn mutate(&mut self, bytes: &mut Vec<u8>, other: &[u8]) {
        let at = self.below(bytes.len() + 1);
        let len = 1 + self.below(40);
        match self.below(6) {
            0 => bytes.truncate(at),
            1 => bytes.extend(other.iter().skip(at).take(len)),
            2 => _ = bytes.drain(at..(at + len).min(bytes.len())),
            3 => bytes.splice(at..at, (0..len).map(|at| at as u8)).for_each(drop),
            4 => bytes.iter_mut().skip(at).take(len).for_each(|byte| *byte = [0, 255][len % 2]),
            _ => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << (len % 8)),
        }
    }
}

/// Runs a target over its corpus and mutations of it, each put right by `sign`.
#[track_caller]
fn check_target(name: &str, target: fn(&[u8]), sign: fn(&[u8]) -> Vec<u8>) {
    check_mutations(name, MUTATIONS, target, sign);
}

#[track_caller]
fn check_mutations(name: &str, mutations: usize, target: fn(&[u8]), sign: fn(&[u8]) -> Vec<u8>) {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(corpus(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let inputs: Vec<Vec<u8>> = paths.iter().map(|path| std::fs::read(path).unwrap()).collect();
    assert!(!inputs.is_empty(), "{name} has no corpus");
    inputs.iter().for_each(|input| within_limits(input, target));
    let mut random = Random(1);
    for _ in 0..mutations {
        let mut input = inputs[random.below(inputs.len())].clone();
        for _ in 0..=random.below(4) {
            let other = random.below(inputs.len());
            random.mutate(&mut input, &inputs[other]);
        }
        within_limits(&sign(&input), target);
    }
}

#[test]
fn no_bytes_break_the_scan_of_a_journal() {
    check_target("journal_scan", journal_scan, <[u8]>::to_vec);
}

#[test]
fn no_bytes_behind_a_right_checksum_break_the_scan_of_a_journal() {
    check_target("journal_signed", journal_scan, sign_journal);
    check_target("journal_unchecked", journal_scan_unchecked, <[u8]>::to_vec);
}

#[test]
fn no_bytes_break_the_loading_of_a_checkpoint() {
    check_target("checkpoint_load", checkpoint_load, sign_checkpoint);
    check_target("checkpoint_header", checkpoint_header, <[u8]>::to_vec);
}

#[test]
fn no_bytes_have_two_meanings_to_the_codec() {
    check_target("codec", codec_decode, <[u8]>::to_vec);
}

#[test]
fn any_sequence_of_operations_and_crashes_ends_as_a_list_and_a_map_would() {
    check_mutations("operations", MUTATED_SEQUENCES, operations, <[u8]>::to_vec);
}

#[test]
fn the_memory_that_is_held_is_counted() {
    assert!((1 << 20..1 << 21).contains(&peak_bytes(|| drop(vec![1_u8; 1 << 20]))));
    assert!(std::panic::catch_unwind(|| within_limits(b"", |_| drop(vec![1_u8; 17 << 20]))).is_err());
}

/// Writes inputs to begin with, where a format has changed so that the committed ones are worth nothing any more:
/// `cargo test -p trainer-runtime write_seeds -- --ignored`, then `scripts/fuzz.sh` to grow them.
#[test]
#[ignore = "writes into fuzz/corpus"]
fn write_seeds() {
    use crate::formats_doc::example;
    let (segment, checkpoint) = (example("hex segment"), example("hex checkpoint"));
    let torn = segment[..segment.len() - 1].to_vec();
    let two_segments = sign_journal(&[&segment[..], &segment].concat());
    let mut lost_page = segment.clone();
    lost_page[70] = 1;
    let header_end = 8 + u64::from_le_bytes(*checkpoint.first_chunk().unwrap()) as usize;
    let header = [&checkpoint[49..header_end], &[0], &checkpoint[header_end..]].concat();
    let events = crate::codec::encode(&vec![("loss".to_owned(), 0.5)]).unwrap();
    let all_operations: Vec<u8> = (0..64).flat_map(|operation| [operation, 3, 77, 9, 200]).collect();
    for (target, inputs) in [
        ("journal_scan", vec![segment.clone(), torn.clone(), two_segments.clone()]),
        ("journal_signed", vec![segment.clone(), torn, two_segments, lost_page]),
        ("journal_unchecked", vec![segment.clone(), segment[64..].to_vec()]),
        ("checkpoint_load", vec![checkpoint]),
        ("checkpoint_header", vec![header]),
        ("codec", vec![events, crate::codec::encode(&"text".to_owned()).unwrap()]),
        ("operations", vec![all_operations]),
    ] {
        std::fs::create_dir_all(corpus(target)).unwrap();
        for (index, input) in inputs.into_iter().enumerate() {
            std::fs::write(corpus(target).join(format!("seed-{index}")), input).unwrap();
        }
    }
}
