use super::parts::{Part, parts};
use super::{HeadError, WeightsError, draw, load_weights, resize_head};
use crate::config::{Rename, WeightsPlan};
use crate::graph::model::{Dim, Graph, Node, Port, attribute};
use crate::graph::tensor::{Dtype, Tensor, ValueType, elements};
use safetensors::tensor::{TensorView, serialize_to_file};
use std::path::{Path, PathBuf};

fn node(op: &str, inputs: &[&str], output: &str) -> Node {
    let inputs = inputs.iter().map(|input| (*input).to_owned()).collect();
    Node::new(format!("node_{output}"), op, inputs, vec![output.to_owned()])
}

fn zeros(dims: &[usize]) -> Tensor {
    Tensor::from_f32(dims, &vec![0.0; elements(dims)])
}

fn graph(initializers: &[(&str, &[usize])], nodes: Vec<Node>, output: &str, classes: usize) -> Graph {
    let dims = vec![Dim::Symbol("batch".to_owned()), Dim::Fixed(classes)];
    Graph {
        name: "test".to_owned(),
        ir_version: 8,
        opset: 18,
        other_opsets: Vec::new(),
        inputs: vec![Port::fixed("x", Dtype::F32, &[1, 8])],
        outputs: vec![Port { name: output.to_owned(), dtype: Some(Dtype::F32), dims: Some(dims) }],
        value_info: Vec::new(),
        roles: Default::default(),
        initializers: initializers.iter().map(|(name, dims)| ((*name).to_owned(), zeros(dims))).collect(),
        nodes,
    }
}

fn transposed_b(mut node: Node) -> Node {
    node.attributes = vec![attribute::int("transB", 1)];
    node
}

fn initializer<'a>(graph: &'a Graph, name: &str) -> &'a Tensor {
    &graph.initializers.iter().find(|(known, _)| known == name).unwrap().1
}

/// A convolution, a normalisation, an embedding, a recurrent layer, and linear layers in the three forms exporters write.
fn everything() -> Graph {
    let mut lstm = node("LSTM", &["x", "lstm.w", "lstm.r", "lstm.b"], "l");
    lstm.attributes = vec![attribute::int("hidden_size", 16)];
    let nodes = vec![
        node("Conv", &["x", "conv.w", "conv.b"], "c"),
        node("BatchNormalization", &["c", "bn.w", "bn.b", "bn.mean", "bn.var"], "n"),
        node("Gather", &["table", "ids"], "e"),
        lstm,
        transposed_b(node("Gemm", &["n", "gemm.w", "gemm.b"], "g")),
        node("Transpose", &["linear.w"], "turned"),
        node("MatMul", &["g", "turned"], "m"),
        node("Add", &["m", "linear.b"], "a"),
        node("Gemm", &["a", "plain.w"], "y"),
        node("Mul", &["y", "scale"], "out"),
    ];
    let initializers: [(&str, &[usize]); 17] = [
        ("conv.w", &[8, 4, 3, 3]),
        ("conv.b", &[8]),
        ("bn.w", &[8]),
        ("bn.b", &[8]),
        ("bn.mean", &[8]),
        ("bn.var", &[8]),
        ("table", &[100, 50]),
        ("lstm.w", &[1, 64, 8]),
        ("lstm.r", &[1, 64, 16]),
        ("lstm.b", &[1, 128]),
        ("gemm.w", &[20, 9]),
        ("gemm.b", &[20]),
        ("linear.w", &[30, 20]),
        ("linear.b", &[30]),
        ("plain.w", &[30, 5]),
        ("scale", &[5]),
        ("unread", &[]),
    ];
    graph(&initializers, nodes, "out", 5)
}

#[test]
fn each_initializer_plays_the_part_its_operator_gives_it() {
    let parts = parts(&everything());
    let linear = |fan_in| Some(&Part::Linear { fan_in }).copied();
    for (name, fan_in) in [("conv.w", 36), ("conv.b", 36), ("gemm.w", 9), ("gemm.b", 9), ("plain.w", 30)] {
        assert_eq!(parts.get(name).copied(), linear(fan_in), "{name}");
    }
    for name in ["linear.w", "linear.b"] {
        assert_eq!(parts.get(name).copied(), linear(20), "{name}");
    }
    for (name, value) in [("bn.w", 1.0), ("bn.b", 0.0), ("bn.mean", 0.0), ("bn.var", 1.0)] {
        assert_eq!(parts.get(name), Some(&Part::Constant(value)), "{name}");
    }
    assert_eq!(parts.get("table"), Some(&Part::Embedding));
    for name in ["lstm.w", "lstm.r", "lstm.b"] {
        assert_eq!(parts.get(name), Some(&Part::Recurrent { hidden: 16 }), "{name}");
    }
    assert_eq!(parts.get("scale"), None);
}

#[test]
fn drawn_values_have_the_spread_of_pytorch_and_depend_on_the_seed_alone() {
    let mut first = everything();
    let result = draw(&mut first, 7);
    assert_eq!(result.kept, ["scale"]);
    assert_eq!(result.drawn.len(), 15);
    let spread = |name: &str| {
        let values = initializer(&first, name).to_f32().unwrap();
        let largest = values.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
        let square = values.iter().map(|value| value * value).sum::<f32>() / values.len() as f32;
        (largest, square.sqrt())
    };
    for (name, fan_in) in [("conv.w", 36.0_f32), ("gemm.w", 9.0), ("linear.w", 20.0), ("lstm.r", 16.0)] {
        let (largest, deviation) = spread(name);
        let bound = 1.0 / fan_in.sqrt();
        assert!(largest <= bound && largest > 0.9 * bound, "{name}: {largest} of {bound}");
        assert!((deviation / (bound / 3.0_f32.sqrt()) - 1.0).abs() < 0.15, "{name}: {deviation}");
    }
    let (largest, deviation) = spread("table");
    assert!((deviation - 1.0).abs() < 0.05 && largest > 3.0, "{deviation} {largest}");
    assert_eq!(initializer(&first, "bn.var").to_f32().unwrap(), [1.0; 8]);
    let [mut again, mut other] = [everything(), everything()];
    draw(&mut again, 7);
    draw(&mut other, 8);
    assert_eq!(first, again);
    assert_ne!(first, other);
}

#[track_caller]
fn check_resized(mut graph: Graph, weight: (&str, &[usize]), bias: (&str, &[usize])) {
    let resized = resize_head(&mut graph, "out", 3, 1).unwrap().unwrap();
    assert_eq!(resized.from, 10);
    assert_eq!(resized.initializers, [weight.0, bias.0]);
    for (name, dims) in [weight, bias] {
        assert_eq!(initializer(&graph, name).dims(), dims, "{name}");
        assert!(initializer(&graph, name).to_f32().unwrap().iter().all(|value| *value != 0.0), "{name}");
    }
    let last = graph.outputs[0].dims.as_ref().unwrap();
    assert_eq!(last[1], Dim::Fixed(3));
}

#[test]
fn the_last_layer_is_resized_in_every_form_it_is_exported_in() {
    let gemm = vec![transposed_b(node("Gemm", &["x", "w", "b"], "out"))];
    check_resized(graph(&[("w", &[10, 8]), ("b", &[10])], gemm, "out", 10), ("w", &[3, 8]), ("b", &[3]));
    let plain = vec![node("Gemm", &["x", "w", "b"], "logits"), node("Softmax", &["logits"], "out")];
    check_resized(graph(&[("w", &[8, 10]), ("b", &[10])], plain, "out", 10), ("w", &[8, 3]), ("b", &[3]));
    let product = vec![
        node("Transpose", &["w"], "turned"),
        node("MatMul", &["x", "turned"], "m"),
        node("Add", &["b", "m"], "out"),
    ];
    check_resized(graph(&[("w", &[10, 8]), ("b", &[10])], product, "out", 10), ("w", &[3, 8]), ("b", &[3]));
    let conv = vec![node("Conv", &["x", "w", "b"], "out")];
    let conv = graph(&[("w", &[10, 8, 1, 1]), ("b", &[10])], conv, "out", 10);
    check_resized(conv, ("w", &[3, 8, 1, 1]), ("b", &[3]));
}

#[test]
fn a_last_layer_with_the_wanted_classes_keeps_its_values() {
    let nodes = vec![transposed_b(node("Gemm", &["x", "w", "b"], "out"))];
    let mut graph = graph(&[("w", &[10, 8]), ("b", &[10])], nodes, "out", 10);
    let before = graph.clone();
    assert_eq!(resize_head(&mut graph, "out", 10, 1).unwrap(), None);
    assert_eq!(graph, before);
}

#[test]
fn a_last_layer_that_can_not_be_resized_is_refused_and_the_model_kept() {
    let pooled = vec![node("Gemm", &["x", "w", "b"], "g"), node("ReduceMean", &["g"], "out")];
    let mut other = graph(&[("w", &[8, 10]), ("b", &[10])], pooled, "out", 10);
    let before = other.clone();
    let error = resize_head(&mut other, "out", 3, 1).unwrap_err();
    assert!(matches!(&error, HeadError::Operator { op, .. } if op == "ReduceMean"), "{error}");
    let tied = vec![
        node("Gather", &["w", "ids"], "e"),
        node("Transpose", &["w"], "turned"),
        node("MatMul", &["e", "turned"], "out"),
    ];
    let mut tied = graph(&[("w", &[10, 8])], tied, "out", 10);
    let error = resize_head(&mut tied, "out", 3, 1).unwrap_err();
    assert!(matches!(&error, HeadError::Tied { initializer, .. } if initializer == "w"), "{error}");
    let computed = vec![node("Gemm", &["x", "x"], "out")];
    let error = resize_head(&mut graph(&[], computed, "out", 10), "out", 3, 1).unwrap_err();
    assert!(matches!(error, HeadError::NoWeight { .. }), "{error}");
    assert_eq!(other, before);
}

#[test]
fn a_node_without_names_is_not_taken_for_the_layer_before_itself() {
    let nameless = vec![node("Softmax", &[""], ""), node("Softmax", &[""], "out")];
    let error = resize_head(&mut graph(&[], nameless, "out", 10), "out", 3, 1).unwrap_err();
    assert!(matches!(error, HeadError::Operator { .. }), "{error}");
}

fn two_layers() -> Graph {
    let nodes =
        vec![node("Gemm", &["x", "a.weight", "a.bias"], "h"), node("Gemm", &["h", "b.weight"], "out")];
    graph(&[("a.weight", &[2, 2]), ("a.bias", &[2]), ("b.weight", &[2, 1])], nodes, "out", 1)
}

/// A safetensors file of these tensors.
fn file(folder: &Path, tensors: &[(&str, Tensor)]) -> PathBuf {
    let path = folder.join("weights.safetensors");
    let views = tensors.iter().map(|(name, tensor)| {
        let dtype = match tensor.dtype() {
            Dtype::F32 => safetensors::Dtype::F32,
            Dtype::F16 => safetensors::Dtype::F16,
            Dtype::F64 => safetensors::Dtype::F64,
            Dtype::I64 => safetensors::Dtype::I64,
            other => panic!("{other}"),
        };
        (*name, TensorView::new(dtype, tensor.dims().to_vec(), tensor.bytes()).unwrap())
    });
    serialize_to_file(views, None, &path).unwrap();
    path
}

fn plan(path: PathBuf, rules: &[&str], strict: bool) -> WeightsPlan {
    WeightsPlan { path, names: rules.iter().map(|rule| Rename::parse(rule).unwrap()).collect(), strict }
}

fn floats(dtype: Dtype, dims: &[usize], values: &[f64]) -> Tensor {
    Tensor::from_f64(dtype, dims, values)
}

#[test]
fn weights_are_loaded_by_name_after_the_rules_and_converted() {
    let folder = tempfile::tempdir().unwrap();
    let tensors = [
        ("module.a.weight", floats(Dtype::F32, &[2, 2], &[1.0, 2.0, 3.0, 4.0])),
        ("module.a.gamma", floats(Dtype::F16, &[2], &[0.5, -0.25])),
        ("state/b.weight", floats(Dtype::F64, &[2, 1], &[0.1, 0.2])),
        ("module.a.num_batches_tracked", Tensor::from_i64([], &[3])),
        ("optimizer/exp_avg/a.weight", floats(Dtype::F32, &[1], &[0.0])),
    ];
    let plan = plan(file(folder.path(), &tensors), &["module.a.gamma -> a.bias", "module.* -> *"], true);
    let mut graph = two_layers();
    let loaded = load_weights(&mut graph, &plan).unwrap();
    assert_eq!(loaded.loaded, ["a.weight", "a.bias", "b.weight"]);
    assert!(loaded.missing.is_empty() && loaded.unexpected.is_empty(), "{loaded:?}");
    assert_eq!(initializer(&graph, "a.weight").to_f32().unwrap(), [1.0, 2.0, 3.0, 4.0]);
    assert_eq!(initializer(&graph, "a.bias").to_f32().unwrap(), [0.5, -0.25]);
    assert_eq!(initializer(&graph, "b.weight").to_f32().unwrap(), [0.1, 0.2]);
}

#[test]
fn missing_and_unexpected_names_are_refused_or_listed() {
    let folder = tempfile::tempdir().unwrap();
    let tensors = [
        ("a.weight", floats(Dtype::F32, &[2, 2], &[1.0; 4])),
        ("c.weight", floats(Dtype::F32, &[1], &[1.0])),
    ];
    let path = file(folder.path(), &tensors);
    let mut graph = two_layers();
    let error = load_weights(&mut graph, &plan(path.clone(), &[], true)).unwrap_err().to_string();
    for words in
        ["missing in the file: `a.bias`, `b.weight`", "unexpected in it: `c.weight`", "weights_strict"]
    {
        assert!(error.contains(words), "{error}");
    }
    assert_eq!(graph, two_layers(), "a refusal changes nothing");
    let loaded = load_weights(&mut graph, &plan(path, &[], false)).unwrap();
    assert_eq!(
        (loaded.missing, loaded.unexpected),
        (vec!["a.bias".into(), "b.weight".into()], vec!["c.weight".into()])
    );
    assert_eq!(initializer(&graph, "a.weight").to_f32().unwrap(), [1.0; 4]);
}

#[test]
fn weights_of_other_shapes_and_types_and_double_names_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut graph = two_layers();
    let mut refusal = |tensors: &[(&str, Tensor)], rules: &[&str]| {
        load_weights(&mut graph, &plan(file(folder.path(), tensors), rules, false)).unwrap_err()
    };
    let error = refusal(&[("a.weight", floats(Dtype::F32, &[4], &[0.0; 4]))], &[]);
    assert!(matches!(&error, WeightsError::Shape { found, .. } if *found == [4]), "{error}");
    let error = refusal(&[("a.bias", Tensor::from_i64([2], &[1, 2]))], &[]);
    assert!(matches!(error, WeightsError::ElementType { .. }), "{error}");
    let bias = || floats(Dtype::F32, &[2], &[0.0; 2]);
    let error = refusal(&[("a.bias", bias()), ("z.bias", bias())], &["z.bias -> a.bias"]);
    assert!(matches!(error, WeightsError::Twice { .. }), "{error}");
    assert_eq!(graph, two_layers());
}

#[test]
fn what_is_no_safetensors_file_is_refused_whatever_its_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let whole =
        std::fs::read(file(folder.path(), &[("a.bias", floats(Dtype::F32, &[2], &[0.0; 2]))])).unwrap();
    let path = folder.path().join("damaged.safetensors");
    let mut graph = two_layers();
    for len in 0..whole.len() {
        std::fs::write(&path, &whole[..len]).unwrap();
        let error = load_weights(&mut graph, &plan(path.clone(), &[], false)).unwrap_err();
        assert!(matches!(error, WeightsError::Format { .. }), "{len} bytes: {error}");
    }
    std::fs::write(&path, u64::MAX.to_le_bytes()).unwrap();
    assert!(load_weights(&mut graph, &plan(path, &[], false)).is_err());
    let error = load_weights(&mut graph, &plan(folder.path().to_owned(), &[], false)).unwrap_err();
    assert!(matches!(error, WeightsError::Io { .. }), "{error}");
    let kind = ValueType::new(Dtype::F32, vec![2]);
    assert_eq!(*initializer(&graph, "a.bias").kind(), kind);
}
