use super::{model_of, node, ramp};
use crate::reference_models::{NAMES, ReferenceModel, folder};
use bytes::Bytes;
use prost::Message;
use std::path::Path;
use trainer::graph::model::{Graph, Port};
use trainer::graph::proto::{ModelProto, SparseTensorProto, TensorProto};
use trainer::graph::read::{ReadError, read_bytes, read_file};
use trainer::graph::tensor::{Dtype, Tensor};
use trainer::graph::write::to_bytes;

fn read(bytes: Vec<u8>) -> Result<Graph, ReadError> {
    read_bytes(Path::new("dir/model.onnx"), Bytes::from(bytes))
}

/// `y = (x * w) + b`
fn affine() -> Graph {
    let nodes = vec![node("Mul", &["x", "w"], &["h"], vec![]), node("Add", &["h", "b"], &["y"], vec![])];
    model_of(&[None, Some(3)], &[("w", ramp(&[3])), ("b", ramp(&[1]))], nodes)
}

#[track_caller]
fn check_refused(bytes: Vec<u8>, words: &[&str]) {
    let message = read(bytes).expect_err("the model is at fault").to_string();
    for word in ["dir/model.onnx"].iter().chain(words) {
        assert!(message.contains(word), "`{word}` is missing in: {message}");
    }
}

/// The affine model after a change to its graph.
#[track_caller]
fn check_graph_refused(change: impl FnOnce(&mut Graph), words: &[&str]) {
    let mut graph = affine();
    change(&mut graph);
    check_refused(to_bytes(&graph), words);
}

/// The affine model after a change to its message.
#[track_caller]
fn check_message_refused(change: impl FnOnce(&mut ModelProto), words: &[&str]) {
    let mut model = ModelProto::decode(Bytes::from(to_bytes(&affine()))).unwrap();
    change(&mut model);
    check_refused(model.encode_to_vec(), words);
}

#[test]
fn a_model_written_and_read_again_is_equal() {
    for graph in NAMES.map(|name| ReferenceModel::load(name).graph).into_iter().chain([affine()]) {
        assert_eq!(read(to_bytes(&graph)).unwrap(), graph);
    }
}

#[test]
fn what_pytorch_names_is_kept() {
    let graph = read_file(&folder().join("mlp-script.onnx")).unwrap();
    assert_eq!(graph.opset, 18);
    assert_eq!(graph.inputs[0].name, "x");
    assert_eq!(graph.outputs[0].name, "logits");
    let names: Vec<&str> = graph.initializers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias", "fc3.weight", "fc3.bias"]);
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let message = read_file(Path::new("nowhere/model.onnx")).unwrap_err().to_string();
    assert!(message.contains("nowhere/model.onnx") && message.contains("No such file"), "{message}");
}

#[test]
fn nodes_in_a_cycle_or_out_of_order_are_refused() {
    check_graph_refused(|graph| graph.nodes.reverse(), &["node_y", "only a later node produces", "`h`"]);
    let cycle = |graph: &mut Graph| graph.nodes[0].inputs[0] = "y".to_owned();
    check_graph_refused(cycle, &["node_h", "`y`", "cycle"]);
    let own_output = |graph: &mut Graph| graph.nodes[0].inputs[0] = "h".to_owned();
    check_graph_refused(own_output, &["node_h", "`h`"]);
}

#[test]
fn a_missing_initializer_is_named_with_its_reader() {
    let remove = |graph: &mut Graph| graph.initializers.retain(|(name, _)| name != "w");
    check_graph_refused(remove, &["node_h", "(Mul)", "`w`", "nothing produces"]);
}

#[test]
fn an_output_that_nothing_produces_is_refused() {
    let rename = |graph: &mut Graph| graph.outputs[0].name = "z".to_owned();
    check_graph_refused(rename, &["`z`", "nothing produces"]);
}

#[test]
fn values_defined_twice_are_refused() {
    check_graph_refused(|graph| graph.initializers.push(("w".to_owned(), ramp(&[3]))), &["`w`", "twice"]);
    check_graph_refused(|graph| graph.nodes[1].outputs[0] = "h".to_owned(), &["node_y", "`h`", "twice"]);
    check_graph_refused(|graph| graph.nodes[1].outputs[0] = "x".to_owned(), &["node_y", "`x`", "twice"]);
}

#[test]
fn names_of_the_training_graph_are_reserved() {
    let rename = |graph: &mut Graph| {
        graph.initializers[0].0 = "trainer/w".to_owned();
        graph.nodes[0].inputs[1] = "trainer/w".to_owned();
    };
    check_graph_refused(rename, &["`trainer/w`", "rename"]);
}

#[test]
fn old_and_absent_opsets_are_refused_with_the_version_found() {
    check_graph_refused(|graph| graph.opset = 12, &["opset 12", "13 or newer"]);
    check_message_refused(|model| model.opset_import.clear(), &["opset 0"]);
}

#[test]
fn sparse_initializers_are_refused_with_a_remedy() {
    let add = |model: &mut ModelProto| {
        model.graph.as_mut().unwrap().sparse_initializer.push(SparseTensorProto::default());
    };
    check_message_refused(add, &["sparse initializer", "dense"]);
}

#[test]
fn a_message_without_a_graph_is_no_model() {
    check_message_refused(|model| model.graph = None, &["no graph"]);
}

fn first_initializer(model: &mut ModelProto) -> &mut TensorProto {
    &mut model.graph.as_mut().unwrap().initializer[0]
}

#[test]
fn tensors_whose_bytes_do_not_fit_their_shape_are_refused() {
    let grow = |model: &mut ModelProto| first_initializer(model).dims = vec![4];
    check_message_refused(grow, &["`w`", "float32[4]", "16 bytes", "found 12"]);
    let absurd = |model: &mut ModelProto| first_initializer(model).dims = vec![i64::MAX, i64::MAX];
    check_message_refused(absurd, &["`w`", "found 12"]);
    let negative = |model: &mut ModelProto| first_initializer(model).dims = vec![-3];
    check_message_refused(negative, &["`w`", "negative"]);
    let unknown = |model: &mut ModelProto| first_initializer(model).data_type = 99;
    check_message_refused(unknown, &["`w`", "element type 99"]);
    let text = |model: &mut ModelProto| first_initializer(model).data_type = 8;
    check_message_refused(text, &["`w`", "element type 8"]);
}

#[test]
fn every_way_to_store_elements_is_read() {
    let stored = |dtype: Dtype, fill: fn(&mut TensorProto)| {
        let mut model = ModelProto::decode(Bytes::from(to_bytes(&affine()))).unwrap();
        let tensor = first_initializer(&mut model);
        tensor.raw_data = None;
        tensor.data_type = dtype.code();
        fill(tensor);
        read(model.encode_to_vec()).unwrap().initializers[0].1.clone()
    };
    let expected = |dtype| Tensor::from_f64(dtype, [3], &[1.0, 0.0, 3.0]);
    let small = |tensor: &mut TensorProto| tensor.int32_data = vec![1, 0, 3];
    for dtype in [Dtype::I32, Dtype::I16, Dtype::U16, Dtype::I8, Dtype::U8] {
        assert_eq!(stored(dtype, small), expected(dtype));
    }
    assert_eq!(stored(Dtype::F32, |tensor| tensor.float_data = vec![1.0, 0.0, 3.0]), expected(Dtype::F32));
    assert_eq!(stored(Dtype::F64, |tensor| tensor.double_data = vec![1.0, 0.0, 3.0]), expected(Dtype::F64));
    assert_eq!(stored(Dtype::I64, |tensor| tensor.int64_data = vec![1, 0, 3]), expected(Dtype::I64));
    for dtype in [Dtype::U32, Dtype::U64] {
        assert_eq!(stored(dtype, |tensor| tensor.uint64_data = vec![1, 0, 3]), expected(dtype));
    }
    let halves = |tensor: &mut TensorProto| tensor.int32_data = vec![0x3c00, 0, 0x4200];
    assert_eq!(stored(Dtype::F16, halves), expected(Dtype::F16));
}

#[test]
fn nodes_without_a_name_or_with_a_doubled_one_get_one_of_their_own() {
    let mut graph = affine();
    graph.nodes.push(node("Neg", &["y"], &["z"], vec![]));
    graph.nodes.push(node("Neg", &["y"], &["a"], vec![]));
    for (node, name) in graph.nodes.iter_mut().zip(["same", "same", "same#2", ""]) {
        node.name = name.to_owned();
    }
    let names = read(to_bytes(&graph)).unwrap().nodes.into_iter().map(|node| node.name);
    assert_eq!(names.collect::<Vec<_>>(), ["same", "same#2", "same#2#2", "Neg_3"]);
}

#[test]
fn thousands_of_equal_node_names_are_told_apart_quickly() {
    let mut graph = model_of(&[Some(1)], &[], vec![]);
    for at in 0..20_000 {
        let input = if at == 0 { "x".to_owned() } else { format!("v{}", at - 1) };
        let output = if at == 19_999 { "y".to_owned() } else { format!("v{at}") };
        let mut neg = node("Neg", &[&input], &[&output], vec![]);
        "same".clone_into(&mut neg.name);
        graph.nodes.push(neg);
    }
    let nodes = read(to_bytes(&graph)).unwrap().nodes;
    let names: std::collections::HashSet<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names.len(), 20_000);
}

#[test]
fn initializers_listed_among_the_inputs_are_no_inputs() {
    let mut graph = affine();
    graph.inputs.push(trainer::graph::model::Port::fixed("w", Dtype::F32, &[3]));
    let read = read(to_bytes(&graph)).unwrap();
    assert_eq!(read.inputs.len(), 1);
    assert!(read.initializers.iter().any(|(name, _)| name == "w"));
}

/// A model of PyTorch's older exporter, which notes no roles: numbers among its initializers are parameters unless their
/// names are those of exporters.
#[test]
fn a_number_of_the_older_exporter_is_a_parameter_if_it_is_called_like_one() {
    let mut model = ModelProto::decode(to_bytes(&affine()).as_slice()).unwrap();
    let number = |name: &str| trainer::graph::write::tensor_proto(name, &ramp(&[]));
    let names = ["logit_scale", "blocks.0.alpha", "onnx::Mul_12", "/Constant_output_0", "val_3", "17"];
    model.graph.as_mut().unwrap().initializer.extend(names.map(number));
    let parameters = |model: &ModelProto| {
        let mut names: Vec<String> = read(model.encode_to_vec()).unwrap().roles.into_keys().collect();
        names.sort();
        names
    };
    assert!(parameters(&model).is_empty(), "another program's");
    model.producer_name = "pytorch".to_owned();
    assert_eq!(parameters(&model), ["blocks.0.alpha", "logit_scale"]);
}

/// As PyTorch's older exporter writes it with `training=TRAINING` and opset 13; ONNX Runtime knows no shape of the others.
#[test]
fn before_opset_14_outputs_of_batch_normalization_that_nothing_reads_are_left_out() {
    let outputs = ["y", "mean", "var", "saved_mean", "saved_var"];
    let model = |opset, more: &[&str]| {
        let norm = node("BatchNormalization", &["x", "s", "b", "m", "v"], &outputs, vec![]);
        let constants = ["s", "b", "m", "v"].map(|name| (name, ramp(&[3])));
        let mut graph = model_of(&[None, Some(3)], &constants, vec![norm]);
        graph.outputs.extend(more.iter().map(|name| Port::inferred(*name)));
        graph.opset = opset;
        read(to_bytes(&graph)).unwrap().nodes[0].outputs.len()
    };
    assert_eq!(model(13, &[]), 1);
    assert_eq!(model(13, &["var"]), 5);
    assert_eq!(model(15, &[]), 5);
}
