//! Flipped, cut and forged bytes.

use super::{fault, published_bytes};
use crate::checkpoint::{Checkpoint, Dtype, LoadFault, MAX_HEADER_BYTES};
use crate::disk::Bytes;

#[test]
fn every_flipped_bit_of_a_checkpoint_is_refused_and_a_tensor_is_named() {
    let bytes = published_bytes();
    let good = Checkpoint::verify(Bytes::from(bytes.clone())).unwrap();
    let data_bytes: usize = good.iter().map(|tensor| tensor.bytes.len()).sum();
    let data_start = bytes.len() - data_bytes;
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let found = fault(damaged);
        let in_data = bit / 8 >= data_start;
        assert_eq!(matches!(found, LoadFault::TensorCrc { .. }), in_data, "bit {bit}: {found}");
    }
}

#[test]
fn every_truncation_and_every_extension_is_refused() {
    let bytes = published_bytes();
    for end in 0..bytes.len() {
        fault(bytes[..end].to_vec());
    }
    assert!(matches!(fault([&bytes[..], &[0]].concat()), LoadFault::DataSize { .. }));
}

/// A file with this header, whose checksum is right, and this many bytes of data.
fn forged(metadata: &str, tensors: &str, data_bytes: usize) -> Vec<u8> {
    let header = format!(r#"{{"__metadata__":{{"header_crc32":"00000000"{metadata}}}{tensors}}}"#);
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.bytes());
    let crc = format!("{:08x}", crc32fast::hash(&bytes));
    bytes.splice(41..49, crc.bytes());
    bytes.extend(vec![0; data_bytes]);
    bytes
}

const META: &str = r#","format_version":"1","run_id":"00000000000000000000000000000000","epoch":"1","step":"1","cause":"step""#;

/// The checksum of a state of no bytes, and of a byte 0.
const CRCS: &str = r#","crc32/trainer/state":"00000000","crc32/t":"d202ef8d""#;

const STATE: &str = r#","trainer/state":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}"#;

/// Refused with a fault that says this.
#[track_caller]
fn check_forged(metadata: &str, tensors: &str, data_bytes: usize, says: &str) {
    let found = fault(forged(metadata, tensors, data_bytes)).to_string();
    assert!(found.contains(says), "{found}");
}

/// A tensor `t` with this description, behind the state.
#[track_caller]
fn check_forged_tensor(description: &str, says: &str) {
    check_forged(&format!("{META}{CRCS}"), &format!(r#"{STATE},"t":{{{description}}}"#), 1, says);
}

#[test]
fn a_forged_header_without_a_fault_is_loaded() {
    let tensors = format!(r#"{STATE},"t":{{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#);
    let metadata = format!(r#"{META}{CRCS},"unknown":"passed over""#);
    assert_eq!(Checkpoint::verify(Bytes::from(forged(&metadata, &tensors, 1))).unwrap().meta().step, 1);
}

#[test]
fn tensors_that_overlap_or_leave_a_hole_are_refused() {
    check_forged_tensor(r#""dtype":"U8","shape":[1],"data_offsets":[1,2]"#, "must begin at 0");
    check_forged_tensor(r#""dtype":"U8","shape":[1],"data_offsets":[1,0]"#, "placed at 1..0");
    check_forged_tensor(r#""dtype":"U8","shape":[2],"data_offsets":[0,1]"#, "have 2 bytes");
    check_forged_tensor(r#""dtype":"U8","shape":[2],"data_offsets":[0,2]"#, "describes 2");
    let overlapping = format!(
        r#"{STATE},"t":{{"dtype":"U8","shape":[1],"data_offsets":[0,1]}},"u":{{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#
    );
    check_forged(&format!(r#"{META}{CRCS},"crc32/u":"d202ef8d""#), &overlapping, 1, "must begin at 1");
}

#[test]
fn hostile_shapes_are_refused() {
    let huge = u64::MAX;
    check_forged_tensor(
        &format!(r#""dtype":"F64","shape":[{huge}],"data_offsets":[0,1]"#),
        "no number of bytes",
    );
    check_forged_tensor(
        &format!(r#""dtype":"U8","shape":[{huge},2],"data_offsets":[0,1]"#),
        "no number of bytes",
    );
    let (dimension, bytes) = (huge / 8, huge / 8);
    check_forged_tensor(
        &format!(r#""dtype":"U8","shape":[{dimension}],"data_offsets":[0,{bytes}]"#),
        "describes 2305",
    );
    let ones = vec!["1"; 17].join(",");
    check_forged_tensor(&format!(r#""dtype":"U8","shape":[{ones}],"data_offsets":[0,1]"#), "16 dimensions");
    check_forged_tensor(r#""dtype":"U8","shape":[-1],"data_offsets":[0,1]"#, "malformed");
    check_forged_tensor(r#""dtype":"U9","shape":[1],"data_offsets":[0,1]"#, "malformed");
    check_forged_tensor(r#""dtype":"F4","shape":[1],"data_offsets":[0,1]"#, "no number of bytes");
}

#[test]
fn duplicates_and_checksums_that_do_not_belong_are_refused() {
    check_forged(META, &format!("{STATE}{STATE}"), 0, "there twice");
    check_forged(&format!(r#"{META},"step":"2""#), STATE, 0, "there twice");
    check_forged(META, &format!(r#"{STATE},"__metadata__":{{}}"#), 0, "there twice");
    check_forged(&format!("{META}{CRCS}{CRCS}"), STATE, 0, "there twice");
    check_forged(META, STATE, 0, "has no checksum");
    check_forged(&format!("{META}{CRCS}"), STATE, 0, "which is no tensor");
    check_forged(&format!(r#"{META},"crc32/t":"D202EF8D""#), STATE, 0, "is no checksum");
}

#[test]
fn metadata_that_are_missing_or_from_another_version_are_refused() {
    check_forged(
        &META.replace(r#""format_version":"1""#, r#""format_version":"2""#),
        "",
        0,
        "format version 2",
    );
    check_forged(&META.replace(r#""step":"1","#, ""), "", 0, r#"lack "step""#);
    check_forged(&META.replace(r#""cause":"step""#, r#""cause":"whim""#), "", 0, r#""whim" for "cause""#);
    check_forged(META, "", 0, "must be a list of U8");
    check_forged(META, ",]", 0, "malformed");
}

#[test]
fn metadata_that_are_passed_over_are_texts_too_as_every_reader_demands() {
    check_forged(&format!(r#"{META},"unknown":7"#), "", 0, "malformed");
    let mut bytes = forged(&format!(r#"{META},"unknown":"?""#), STATE, 0);
    let at = bytes.iter().position(|byte| *byte == b'?').unwrap();
    bytes[at] = 0xff;
    let resigned = crate::fuzzing::sign_checkpoint(&bytes);
    assert!(fault(resigned).to_string().contains("utf-8"));
}

#[test]
fn hostile_header_lengths_are_refused() {
    for (length, says) in [
        (u64::MAX, "16777216 is the most"),
        (MAX_HEADER_BYTES + 1, "16777216 is the most"),
        (MAX_HEADER_BYTES, "ends within its header"),
        (0, "not a file that this program wrote"),
    ] {
        let mut bytes = published_bytes();
        bytes[..8].copy_from_slice(&length.to_le_bytes());
        let found = fault(bytes).to_string();
        assert!(found.contains(says), "{length}: {found}");
    }
}

#[test]
fn a_file_of_another_program_is_not_taken_for_a_checkpoint() {
    let data = [0; 4];
    let view = safetensors::tensor::TensorView::new(Dtype::F32, vec![1], &data).unwrap();
    let bytes = safetensors::serialize([("t", view)], None).unwrap();
    assert_eq!(fault(bytes), LoadFault::NotOurs);
}
