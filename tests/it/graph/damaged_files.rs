use crate::reference_models::{NAMES, folder};
use bytes::Bytes;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;
use std::path::Path;
use trainer::config::Builtin;
use trainer::graph::builtin;
use trainer::graph::read::read_bytes;
use trainer::graph::write::to_bytes;
use trainer::random::{Purpose, stream};

/// Flips per model; each is read and, if it still is a model, written again.
const FLIPS: usize = 1500;

fn read(bytes: &[u8]) -> Result<trainer::graph::model::Graph, trainer::graph::read::ReadError> {
    read_bytes(Path::new("model.onnx"), Bytes::copy_from_slice(bytes))
}

fn small_model() -> Vec<u8> {
    to_bytes(&builtin::build(Builtin::Cnn, "x", &[2, 2], 2, 1))
}

#[test]
fn a_model_cut_anywhere_is_refused() {
    let bytes = small_model();
    read(&bytes).unwrap();
    let dense = 0..bytes.len().min(2000);
    let sparse = (2000..bytes.len()).step_by(61);
    let end = bytes.len().saturating_sub(200)..bytes.len();
    for length in dense.chain(sparse).chain(end) {
        let error = read(&bytes[..length]).expect_err("a part of a model is no model");
        assert!(error.to_string().starts_with("model.onnx"), "{error}");
    }
}

fn flipped(bytes: &[u8], rng: &mut ChaCha8Rng, within: usize) -> Vec<u8> {
    let mut damaged = bytes.to_vec();
    let at = rng.next_u64() as usize % within;
    damaged[at] ^= 1 << (rng.next_u32() % 8);
    damaged
}

#[test]
fn flipped_bits_never_panic() {
    let mut rng = stream(3, Purpose::Init, 0, 0);
    let exported = NAMES.map(|name| std::fs::read(folder().join(format!("{name}.onnx"))).unwrap());
    for bytes in exported.iter().chain([&small_model()]) {
        for _ in 0..FLIPS {
            let damaged = flipped(bytes, &mut rng, bytes.len());
            if let Ok(graph) = read(&damaged) {
                assert!(!to_bytes(&graph).is_empty());
            }
        }
    }
}

#[test]
fn random_bytes_are_no_model() {
    let mut rng = stream(4, Purpose::Init, 0, 0);
    for length in 0..400 {
        let bytes: Vec<u8> = (0..length).map(|_| rng.next_u32() as u8).collect();
        assert!(read(&bytes).is_err());
    }
}

#[test]
fn a_length_field_that_promises_more_than_the_file_has_allocates_nothing() {
    // Field 7 (graph), length-delimited, with a length of 2^60.
    let mut bytes = vec![0x3a];
    bytes.extend([0x80; 8]);
    bytes.push(0x10);
    assert!(read(&bytes).is_err());
}

#[test]
fn nesting_beyond_any_real_model_is_refused_without_exhausting_the_stack() {
    // A graph inside an attribute inside a node inside a graph, 5000 times.
    let mut inner: Vec<u8> = Vec::new();
    for _ in 0..5000 {
        for tag in [0x32, 0x2a, 0x0a] {
            let mut outer = vec![tag];
            prost::encode_length_delimiter(inner.len(), &mut outer).unwrap();
            outer.append(&mut inner);
            inner = outer;
        }
    }
    let mut bytes = vec![0x3a];
    prost::encode_length_delimiter(inner.len(), &mut bytes).unwrap();
    bytes.append(&mut inner);
    assert!(read(&bytes).is_err());
}
