use bytes::Bytes;
use prost::Message;
use std::fs;
use std::path::Path;
use trainer::graph::model::Graph;
use trainer::graph::proto::{ModelProto, StringStringEntryProto, TensorProto};
use trainer::graph::read::{ReadError, read_file};
use trainer::graph::tensor::Tensor;
use trainer::graph::write::to_bytes;

use super::{model_of, node, ramp};

const VALUES: [f32; 4] = [1.0, -2.0, 3.5, 0.25];

fn entry(key: &str, value: impl ToString) -> StringStringEntryProto {
    StringStringEntryProto { key: key.to_owned(), value: value.to_string() }
}

fn external(name: &str, entries: Vec<StringStringEntryProto>) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        dims: vec![4],
        data_type: 1,
        data_location: 1,
        external_data: entries,
        ..Default::default()
    }
}

/// Writes a model whose initializers are these, and reads it.
fn read_with(folder: &Path, initializers: Vec<TensorProto>) -> Result<Graph, ReadError> {
    let graph = model_of(&[Some(4)], &[("w", ramp(&[4]))], vec![node("Mul", &["x", "w"], &["y"], vec![])]);
    let mut model = ModelProto::decode(Bytes::from(to_bytes(&graph))).unwrap();
    model.graph.as_mut().unwrap().initializer = initializers;
    let path = folder.join("model.onnx");
    fs::write(&path, model.encode_to_vec()).unwrap();
    read_file(&path)
}

fn folder_with_data(bytes: &[u8]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("weights.bin"), bytes).unwrap();
    folder
}

fn bytes_of(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

#[track_caller]
fn check_refused(folder: &Path, entries: Vec<StringStringEntryProto>, words: &[&str]) {
    let error = read_with(folder, vec![external("w", entries)]).expect_err("the data are unusable");
    let message = error.to_string();
    assert!(matches!(error, ReadError::ExternalData { .. }), "{message}");
    for word in ["model.onnx", "`w`"].iter().chain(words) {
        assert!(message.contains(word), "`{word}` is missing in: {message}");
    }
}

#[test]
fn a_file_beside_the_model_is_read() {
    let folder = folder_with_data(&bytes_of(&VALUES));
    let graph =
        read_with(folder.path(), vec![external("w", vec![entry("location", "weights.bin")])]).unwrap();
    assert_eq!(graph.initializers, [("w".to_owned(), Tensor::from_f32([4], &VALUES))]);
}

#[test]
fn offset_and_length_choose_a_part_of_the_file() {
    let padded = [vec![9; 8], bytes_of(&VALUES), vec![9; 3]].concat();
    let folder = folder_with_data(&padded);
    let entries = vec![entry("location", "./weights.bin"), entry("offset", 8), entry("length", 16)];
    let graph = read_with(folder.path(), vec![external("w", entries)]).unwrap();
    assert_eq!(graph.initializers[0].1, Tensor::from_f32([4], &VALUES));
}

#[test]
fn tensors_over_the_same_bytes_share_their_memory() {
    let folder = folder_with_data(&bytes_of(&VALUES));
    let location = || vec![entry("location", "weights.bin")];
    let graph = read_with(folder.path(), vec![external("w", location()), external("v", location())]).unwrap();
    let [w, v] = [0, 1].map(|at| graph.initializers[at].1.bytes().as_ptr());
    assert_eq!(w, v);
}

#[test]
fn a_folder_below_the_model_is_allowed() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("data")).unwrap();
    fs::write(folder.path().join("data/w.bin"), bytes_of(&VALUES)).unwrap();
    read_with(folder.path(), vec![external("w", vec![entry("location", "data/w.bin")])]).unwrap();
}

#[test]
fn paths_that_leave_the_folder_are_refused() {
    let outer = folder_with_data(&bytes_of(&VALUES));
    let inner = outer.path().join("inner");
    fs::create_dir(&inner).unwrap();
    check_refused(&inner, vec![entry("location", "../weights.bin")], &["leaves the model's folder"]);
    check_refused(&inner, vec![entry("location", "a/../../weights.bin")], &["leaves the model's folder"]);
    let absolute = outer.path().join("weights.bin");
    check_refused(&inner, vec![entry("location", absolute.display())], &["leaves the model's folder"]);
    check_refused(&inner, vec![entry("location", "")], &["leaves the model's folder"]);
}

#[test]
fn links_that_leave_the_folder_are_refused() {
    let outer = folder_with_data(&bytes_of(&VALUES));
    let inner = outer.path().join("inner");
    fs::create_dir(&inner).unwrap();
    std::os::unix::fs::symlink(outer.path().join("weights.bin"), inner.join("link.bin")).unwrap();
    check_refused(&inner, vec![entry("location", "link.bin")], &["link that leaves the model's folder"]);
    std::os::unix::fs::symlink(outer.path(), inner.join("up")).unwrap();
    check_refused(
        &inner,
        vec![entry("location", "up/weights.bin")],
        &["link that leaves the model's folder"],
    );
}

#[test]
fn a_link_within_the_folder_is_followed() {
    let folder = folder_with_data(&bytes_of(&VALUES));
    std::os::unix::fs::symlink("weights.bin", folder.path().join("link.bin")).unwrap();
    read_with(folder.path(), vec![external("w", vec![entry("location", "link.bin")])]).unwrap();
}

#[test]
fn a_truncated_file_is_refused_with_its_size_and_the_size_that_is_needed() {
    let folder = folder_with_data(&bytes_of(&VALUES[..3]));
    check_refused(folder.path(), vec![entry("location", "weights.bin")], &["12 bytes", "byte 16"]);
    let far = vec![entry("location", "weights.bin"), entry("offset", u64::MAX)];
    check_refused(folder.path(), far, &["truncated"]);
}

#[test]
fn entries_that_make_no_sense_are_refused() {
    let folder = folder_with_data(&bytes_of(&VALUES));
    let location = || entry("location", "weights.bin");
    check_refused(folder.path(), vec![], &["names no file"]);
    check_refused(folder.path(), vec![location(), entry("offset", "-4")], &["`offset` is `-4`"]);
    check_refused(folder.path(), vec![location(), entry("length", 15)], &["`length` is 15", "16 bytes"]);
    check_refused(folder.path(), vec![entry("location", "absent.bin")], &["absent.bin", "No such file"]);
    fs::create_dir(folder.path().join("folder.bin")).unwrap();
    check_refused(folder.path(), vec![entry("location", "folder.bin")], &["not a regular file"]);
}

#[test]
fn external_data_inside_a_node_is_refused() {
    let folder = folder_with_data(&bytes_of(&VALUES));
    let mut constant = node("Constant", &[], &["w"], vec![]);
    constant.attributes.push(trainer::graph::proto::AttributeProto {
        name: "value".to_owned(),
        t: Some(external("w", vec![entry("location", "../weights.bin")])),
        r#type: trainer::graph::proto::attribute_type::TENSOR,
        ..Default::default()
    });
    let graph = model_of(&[Some(4)], &[], vec![constant, node("Mul", &["x", "w"], &["y"], vec![])]);
    let path = folder.path().join("model.onnx");
    fs::write(&path, to_bytes(&graph)).unwrap();
    let message = read_file(&path).unwrap_err().to_string();
    assert!(message.contains("external data inside node `node_w`"), "{message}");
}
