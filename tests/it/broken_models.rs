//! Models that are broken, each in one way: `trainer check` and `trainer run` say in one error which file, what was found,
//! what was expected and what to do.

use crate::data_files::{npy_f32, npy_i64, npz};
use crate::networks::linear;
use crate::work_dir::{Ended, WorkDir, test_data, trainer};
use bytes::Bytes;
use prost::Message;
use std::fs;
use trainer::graph::model::{Graph, Node, attribute};
use trainer::graph::proto::{
    AttributeProto, DimensionProto, DimensionValue, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    StringStringEntryProto, TensorProto, TensorShapeProto, TensorTypeProto, TypeProto, TypeValue,
    ValueInfoProto, attribute_type,
};
use trainer::graph::read::read_bytes;
use trainer::graph::tensor::{Dtype, Tensor, ValueType};
use trainer::graph::write::to_bytes;

/// A linear model of two inputs and the settings of a run that fits it.
fn good() -> WorkDir {
    let mut dir = WorkDir::new(&["train.epochs=1"]);
    let (x, y) = (npy_f32(&[4, 2], &[1.0; 8]), npy_i64(&[0, 1, 0, 1]));
    let data = dir.write("data.npz", npz(&[("x", x), ("y", y)]));
    dir.add(&[
        &format!("data.train={data}"),
        r#"data.inputs.x={array="x"}"#,
        r#"data.targets.y={array="y"}"#,
    ]);
    dir
}

/// That both commands refuse the model with these words in a single error.
#[track_caller]
fn check_file(dir: &WorkDir, path: &str, words: &[&str]) {
    let checked = Ended::of(trainer(["check", path]).args(["--device", "cpu", "--threads", "1"]));
    let ran = dir.run(&[&format!("model.onnx={path}")]);
    for ended in [checked, ran] {
        let errors = ended.stderr.lines().filter(|line| line.starts_with("error: ")).count();
        assert_eq!(errors, 1, "{}", ended.stderr);
        ended.check_code(2).check_says(&[path]).check_says(words);
    }
    assert!(dir.events().is_empty(), "something was recorded");
}

#[track_caller]
fn check_bytes(bytes: impl AsRef<[u8]>, words: &[&str]) {
    let dir = good();
    let path = dir.write("broken.onnx", bytes);
    check_file(&dir, &path, words);
}

fn message() -> ModelProto {
    ModelProto::decode(Bytes::from(linear(2, &[0.0, 0.0]))).unwrap()
}

/// The linear model after a change to its message.
#[track_caller]
fn check_message(change: impl FnOnce(&mut ModelProto), words: &[&str]) {
    let mut model = message();
    change(&mut model);
    check_bytes(model.encode_to_vec(), words);
}

#[track_caller]
fn check_weight(change: impl FnOnce(&mut TensorProto), words: &[&str]) {
    check_message(|model| change(&mut model.graph.as_mut().unwrap().initializer[0]), words);
}

/// The linear model after a change to its graph.
#[track_caller]
fn check_graph(change: impl FnOnce(&mut Graph), words: &[&str]) {
    let mut graph = read_bytes("linear.onnx".as_ref(), linear(2, &[0.0, 0.0]).into()).unwrap();
    change(&mut graph);
    check_bytes(to_bytes(&graph), words);
}

/// That both commands take the model.
#[track_caller]
fn check_trained(graph: &Graph) {
    let dir = good();
    let path = dir.write("unusual.onnx", to_bytes(graph));
    Ended::of(trainer(["check", &path]).args(["--device", "cpu", "--threads", "1"])).check_code(0);
    dir.run(&[&format!("model.onnx={path}")]).check_code(0);
}

fn node(op: &str, inputs: &[&str], output: &str) -> Node {
    Node::new(output, op, inputs.iter().map(|name| (*name).to_owned()).collect(), vec![output.to_owned()])
}

#[test]
fn a_truncated_file_is_called_that() {
    let whole = fs::read(test_data("models/cnn-script.onnx")).unwrap();
    check_bytes(
        &whole[..whole.len() / 2],
        &["is not an ONNX model", "truncated or damaged", "export the model again"],
    );
}

#[test]
fn files_of_other_kinds_are_called_what_they_are() {
    check_bytes("", &["is not an ONNX model: it is empty"]);
    check_bytes("[model]\nonnx = \"model.onnx\"\n", &["it is text", "name the .onnx file itself"]);
    check_bytes(b"PK\x03\x04\x14\x00\x00\x00model/data.pkl", &["ZIP archive", "torch.onnx.export"]);
    check_bytes(b"\x80\x02}q\x00(X\x06\x00", &["Python pickle", "torch.onnx.export"]);
    check_bytes("version https://git-lfs.github.com/spec/v1\noid sha256:0\n", &["`git lfs pull`"]);
    let dir = good();
    check_file(&dir, &test_data("models/families/gpt.safetensors"), &["safetensors", "`model.weights`"]);
    check_file(&dir, &test_data("models"), &["Is a directory", "model.onnx"]);
    check_file(&dir, "/no/such.onnx", &["No such file", "check `model.onnx`"]);
}

#[test]
fn a_cycle_is_named_node_by_node() {
    check_graph(
        |graph| {
            graph.nodes[0].inputs[0] = "b".to_owned();
            graph.nodes[0].outputs[0] = "a".to_owned();
            graph.nodes.extend([node("Relu", &["a"], "b"), node("Add", &["b", "x"], "y")]);
        },
        &["`only` -> `b` -> `only` are a cycle", "export the model again"],
    );
    check_graph(
        |graph| {
            graph.nodes[0].outputs[0] = "a".to_owned();
            graph.nodes.insert(0, node("Relu", &["a"], "y"));
        },
        &["node `y` (Relu)", "only a later node produces, `only` (nodes out of order)"],
    );
}

#[test]
fn values_that_are_missing_or_there_twice_are_named() {
    check_graph(
        |graph| _ = graph.initializers.remove(0),
        &["node `only`", "`weight`", "missing initializer"],
    );
    let twice =
        |graph: &mut Graph| graph.initializers.push(("bias".to_owned(), Tensor::from_f32([1], &[0.0])));
    check_graph(twice, &["value `bias`", "defined twice, expected once"]);
}

/// Found by fuzzing: a left out input of a Clip was taken for an initializer without a name.
#[test]
fn a_value_without_a_name_is_refused_with_its_place() {
    let unnamed =
        |change: fn(&mut GraphProto)| move |model: &mut ModelProto| change(model.graph.as_mut().unwrap());
    check_message(
        unnamed(|graph| graph.initializer[0].name.clear()),
        &["initializer 0 of graph", "it has no name"],
    );
    check_message(unnamed(|graph| graph.input[0].name.clear()), &["input 0 of graph", "it has no name"]);
    check_message(unnamed(|graph| graph.output[0].name.clear()), &["output 0 of graph", "it has no name"]);
}

#[test]
fn tensors_whose_bytes_do_not_fit_are_named_with_both_sizes() {
    check_weight(|weight| weight.dims = vec![2, 3], &["`weight`", "float32[2, 3] needs 24 bytes, found 16"]);
    check_weight(
        |weight| weight.dims = vec![1 << 40, 1 << 40],
        &["`weight`", "more bytes than any memory has, found 16"],
    );
    check_weight(|weight| weight.dims = vec![-2, 2], &["`weight`", "negative dimension"]);
    check_weight(|weight| weight.data_type = 8, &["element type 8 (string)", "export the model in float32"]);
    check_weight(|weight| weight.data_type = 17, &["float8e4m3fn", "export the model in float32"]);
    check_weight(|weight| weight.data_type = 77, &["element type 77 is unknown", "export the model again"]);
}

#[test]
fn versions_beyond_those_known_are_refused_with_the_range() {
    let opset = |version: i64| move |model: &mut ModelProto| model.opset_import[0].version = version;
    check_message(opset(9), &["opset 9, expected 13 or newer", "opset_version"]);
    check_message(opset(27), &["opset 27, expected 13 to 26", "`opset_version=26`"]);
    check_message(
        |model| model.ir_version = 14,
        &["IR version 14, expected at most 13", "lower `ir_version`"],
    );
}

#[test]
fn operators_of_unknown_domains_are_all_named() {
    let change = |model: &mut ModelProto| {
        let nodes = &mut model.graph.as_mut().unwrap().node;
        "acme".clone_into(&mut nodes[0].domain);
        let more = NodeProto {
            name: "second".to_owned(),
            op_type: "Foo".to_owned(),
            domain: "acme".to_owned(),
            ..Default::default()
        };
        nodes.push(more);
        model.opset_import.push(OperatorSetIdProto { domain: "acme".to_owned(), version: 1 });
    };
    check_message(
        change,
        &["`only` (acme.Gemm), `second` (acme.Foo)", "expected operators of ONNX", "custom operators"],
    );
}

#[test]
fn external_data_that_are_elsewhere_or_not_there_are_refused() {
    let external = |location: &str| {
        let location = location.to_owned();
        move |weight: &mut TensorProto| {
            weight.raw_data = None;
            weight.data_location = 1;
            weight.external_data =
                vec![StringStringEntryProto { key: "location".to_owned(), value: location }];
        }
    };
    check_weight(
        external("../weights.bin"),
        &["`../weights.bin` leaves the model's folder", "beside the model"],
    );
    check_weight(
        external("/etc/hostname"),
        &["`/etc/hostname` leaves the model's folder", "beside the model"],
    );
    check_weight(external("absent.bin"), &["absent.bin: No such file", "it must lie in the model's folder"]);
    let dir = good();
    let mut model = message();
    external("weights.bin")(&mut model.graph.as_mut().unwrap().initializer[0]);
    let path = dir.write("broken.onnx", model.encode_to_vec());
    let data = dir.write("weights.bin", [0; 12]);
    check_file(&dir, &path, &["has 12 bytes and the tensor would end at byte 16", "export the model again"]);
    fs::remove_file(&data).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", &data).unwrap();
    check_file(&dir, &path, &["is a link that leaves the model's folder", "copy the file"]);
}

#[test]
fn constants_beyond_all_memory_are_refused_before_they_are_made() {
    let grow = |graph: &mut Graph| {
        graph.initializers.push(("shape".to_owned(), Tensor::from_i64([2], &[1 << 20, 1 << 20])));
        graph.nodes[0].outputs[0] = "h".to_owned();
        graph.nodes.push(node("ConstantOfShape", &["shape"], "huge"));
        graph.nodes.push(node("ReduceSum", &["huge"], "sum"));
        graph.nodes.push(node("Mul", &["h", "sum"], "y"));
    };
    check_graph(
        grow,
        &["node `huge` (ConstantOfShape)", "float32[1048576, 1048576]", "expected at most 2147483647 bytes"],
    );
}

#[test]
fn weights_that_are_no_numbers_are_named_with_their_place() {
    for (value, text) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (f32::NEG_INFINITY, "-inf")] {
        check_graph(
            |graph| graph.initializers[0].1 = Tensor::from_f32([2, 2], &[0.0, 1.0, value, 3.0]),
            &[
                &format!("parameter `weight` holds {text} at element 2"),
                "expected finite numbers",
                "`model.freeze",
            ],
        );
    }
}

fn branch(name: &str, nodes: Vec<NodeProto>, output: &str) -> AttributeProto {
    let output = vec![ValueInfoProto { name: output.to_owned(), r#type: None, ..Default::default() }];
    let graph = GraphProto { name: name.to_owned(), node: nodes, output, ..Default::default() };
    AttributeProto {
        name: name.to_owned(),
        g: Some(graph),
        r#type: attribute_type::GRAPH,
        ..Default::default()
    }
}

#[test]
fn a_branch_that_the_data_decide_is_named() {
    let inner = |op: &str, output: &str| NodeProto {
        op_type: op.to_owned(),
        input: vec!["h".to_owned()],
        output: vec![output.to_owned()],
        ..Default::default()
    };
    let decide = |graph: &mut Graph| {
        graph.initializers.push(("zero".to_owned(), Tensor::from_f32([], &[0.0])));
        graph.nodes[0].outputs[0] = "h".to_owned();
        let mut sum = node("ReduceSum", &["h"], "sum");
        sum.attributes.push(attribute::int("keepdims", 0));
        graph.nodes.extend([sum, node("Greater", &["sum", "zero"], "c")]);
        let mut choice = node("If", &["c"], "y");
        choice.attributes = vec![
            branch("then_branch", vec![inner("Relu", "t")], "t"),
            branch("else_branch", vec![inner("Neg", "e")], "e"),
        ];
        graph.nodes.push(choice);
    };
    check_graph(decide, &["y (If)", "remedy: "]);
}

#[test]
fn a_loop_that_the_data_decide_is_named() {
    let value = |name: &str, code: i32, dims: &[i64]| {
        let dim =
            dims.iter().map(|dim| DimensionProto { value: Some(DimensionValue::Value(*dim)) }).collect();
        let kind = TensorTypeProto { elem_type: code, shape: Some(TensorShapeProto { dim }) };
        let kind = TypeProto { value: Some(TypeValue::Tensor(kind)) };
        ValueInfoProto { name: name.to_owned(), r#type: Some(kind), ..Default::default() }
    };
    let inner = |op: &str, input: &str, output: &str| NodeProto {
        op_type: op.to_owned(),
        input: vec![input.to_owned()],
        output: vec![output.to_owned()],
        ..Default::default()
    };
    let decide = |graph: &mut Graph| {
        let go = Tensor::new(ValueType::new(Dtype::Bool, []), vec![1_u8]).unwrap();
        graph.initializers.push(("go".to_owned(), go));
        graph.nodes[0].outputs[0] = "h".to_owned();
        let mut sum = node("ReduceSum", &["h"], "sum");
        sum.attributes.push(attribute::int("keepdims", 0));
        let mut count = node("Cast", &["sum"], "count");
        count.attributes.push(attribute::int("to", 7));
        let body = GraphProto {
            name: "body".to_owned(),
            node: vec![inner("Identity", "go_in", "go_on"), inner("Sigmoid", "state", "next")],
            input: vec![value("i", 7, &[]), value("go_in", 9, &[]), value("state", 1, &[4, 2])],
            output: vec![value("go_on", 9, &[]), value("next", 1, &[4, 2])],
            ..Default::default()
        };
        let mut repeat = node("Loop", &["count", "go", "h"], "y");
        repeat.attributes = vec![AttributeProto {
            name: "body".to_owned(),
            g: Some(body),
            r#type: attribute_type::GRAPH,
            ..Default::default()
        }];
        graph.nodes.extend([sum, count, repeat]);
    };
    check_graph(
        decide,
        &[
            "`y`: [?] of Loop; loops that do not fold to constants are not differentiated",
            "a loop of as many steps as the data say",
        ],
    );
}

/// ONNX allows it, and ONNX Runtime runs such models: names of nodes tell people which one is meant, no more.
#[test]
fn nodes_that_share_a_name_are_trained_as_any_others() {
    let mut graph = read_bytes("linear.onnx".as_ref(), linear(2, &[0.0, 0.0]).into()).unwrap();
    graph.nodes[0].outputs[0] = "a".to_owned();
    for name in ["gamma", "beta"] {
        graph.initializers.push((name.to_owned(), Tensor::from_f32([2], &[1.0, 1.0])));
    }
    for (from, to) in [("a", "b"), ("b", "y")] {
        let mut normalize = node("LayerNormalization", &[from, "gamma", "beta"], to);
        normalize.name = "twin".to_owned();
        graph.nodes.push(normalize);
    }
    check_trained(&graph);
}

/// Found by fuzzing: the gradient of a Split asked for the type of every part.
#[test]
fn a_part_of_a_split_that_has_no_name_gets_no_gradient_and_the_others_do() {
    let mut graph = read_bytes("linear.onnx".as_ref(), linear(2, &[0.0; 4]).into()).unwrap();
    graph.nodes[0].outputs[0] = "all".to_owned();
    graph.initializers.push(("parts".to_owned(), Tensor::from_i64([2], &[2, 2])));
    let mut split = node("Split", &["all", "parts"], "y");
    split.outputs.push(String::new());
    split.attributes = vec![attribute::int("axis", 1)];
    graph.nodes.push(split);
    graph.outputs[0].dims = None;
    check_trained(&graph);
}

/// Such a model is trained, since it may be meant; but what is trained then is not what PyTorch would train.
#[test]
fn what_an_exporter_changed_without_a_trace_is_said_when_a_run_begins_and_not_again() {
    let mut graph = read_bytes("linear.onnx".as_ref(), linear(2, &[0.0, 0.0]).into()).unwrap();
    graph.nodes[0].outputs[0] = "h".to_owned();
    graph.nodes.push(node("Gemm", &["h", "weight", "bias"], "y"));
    let dir = good();
    let path = dir.write("merged.onnx", to_bytes(&graph));
    let words = "the model: a bias or normalisation weight belongs to several layers at once (`bias`)";
    let model = format!("model.onnx={path}");
    let begun = dir.run(&[&model]).check_code(0);
    let resumed = dir.run(&[&model, "train.epochs=2"]).check_code(0);
    assert_eq!([&begun, &resumed].map(|ended| ended.stderr.matches(words).count()), [1, 0], "{begun:?}");
}

/// What it says depends on the operator: without its input, nothing that is trained may be left before the loss.
#[test]
fn a_node_without_its_first_input_is_one_error() {
    for op in ["Dropout", "BatchNormalization", "Relu"] {
        check_graph(
            |graph| {
                graph.nodes[0].outputs[0] = "h".to_owned();
                graph.nodes.push(node(
                    op,
                    &["", "", "", "", ""][..if op == "BatchNormalization" { 5 } else { 1 }],
                    "y",
                ));
            },
            &["broken.onnx"],
        );
    }
}
