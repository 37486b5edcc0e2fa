//! Each operator that computes with 16 bits, against the operator in 32 bits with rounded operands and a rounded result.

use super::{LOW, Model, noise, outputs, relative_difference, rounded};
use crate::graph::{model_of, node};
use crate::runtime_library::run;
use std::collections::{BTreeMap, BTreeSet};
use trainer::config::Precision;
use trainer::graph::autodiff::{Gradient, table};
use trainer::graph::emit::Processor;
use trainer::graph::model::{Graph, Node, Port, attribute};
use trainer::graph::precision::{Treatment, listed};
use trainer::graph::proto::AttributeProto;
use trainer::graph::tensor::{Dtype, Tensor};

/// How far a gradient may be off, relative to its norm: three roundings of half a unit in the last place each.
fn tolerance(low: Dtype) -> f64 {
    if low == Dtype::Bf16 { 3.0 / 256.0 } else { 3.0 / 2048.0 }
}

/// Images that two convolutions turn into `h` and `k`, both `[2, 4, 4, 4]`; then one node, which reads both.
fn follower(op: &'static str, inputs: &[&str], attributes: Vec<AttributeProto>) -> (&'static str, Vec<Node>) {
    let nodes = vec![
        node("Conv", &["x", "v"], &["h"], vec![]),
        node("Conv", &["x", "w"], &["k"], vec![]),
        node(op, inputs, &["y"], attributes),
    ];
    (op, nodes)
}

pub fn products() -> Vec<(&'static str, Vec<Node>)> {
    let int = attribute::int;
    let pads = attribute::ints("pads", &[1, 1, 1, 1]);
    let strides = attribute::ints("strides", &[2, 2]);
    let equation = attribute::string("equation", "bchw,cd->bdhw");
    let gemm = vec![int("transB", 1), attribute::float("alpha", 0.5)];
    vec![
        ("MatMul", vec![node("MatMul", &["x", "m"], &["y"], vec![])]),
        (
            "Gemm",
            vec![
                node("MatMul", &["x", "m"], &["h"], vec![]),
                node("Flatten", &["h"], &["flat"], vec![]),
                node("Gemm", &["flat", "g", "b"], &["y"], gemm),
            ],
        ),
        ("Conv", vec![node("Conv", &["x", "c", "b"], &["y"], vec![pads])]),
        ("ConvTranspose", vec![node("ConvTranspose", &["x", "c", "b"], &["y"], vec![strides])]),
        ("Einsum", vec![node("Einsum", &["x", "m"], &["y"], vec![equation])]),
    ]
}

pub fn followers() -> Vec<(&'static str, Vec<Node>)> {
    let int = attribute::int;
    let ints = attribute::ints;
    vec![
        follower("Abs", &["h"], vec![]),
        follower("Add", &["h", "k"], vec![]),
        follower("Clip", &["h", "zero", "bound"], vec![]),
        follower("Concat", &["h", "k"], vec![int("axis", 1)]),
        follower("DepthToSpace", &["h"], vec![int("blocksize", 2)]),
        follower("Expand", &["h", "wide"], vec![]),
        follower("Flatten", &["h"], vec![]),
        follower("Gather", &["h", "places"], vec![int("axis", 1)]),
        follower("GatherElements", &["h", "each"], vec![int("axis", 2)]),
        follower("GatherND", &["h", "points"], vec![]),
        follower("Identity", &["h"], vec![]),
        follower("Max", &["h", "k"], vec![]),
        follower("MaxPool", &["h"], vec![ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2])]),
        follower("Min", &["h", "k"], vec![]),
        follower("Mul", &["h", "k"], vec![]),
        follower("Neg", &["h"], vec![]),
        follower("Pad", &["h", "border"], vec![]),
        follower("Relu", &["h"], vec![]),
        follower("Reshape", &["h", "rows"], vec![]),
        follower("Slice", &["h", "from", "to"], vec![]),
        follower("SpaceToDepth", &["h"], vec![int("blocksize", 2)]),
        follower("Split", &["h"], vec![int("axis", 1), int("num_outputs", 1)]),
        follower("Squeeze", &["h"], vec![]),
        follower("Sub", &["h", "k"], vec![]),
        follower("Sum", &["h", "k", "h"], vec![]),
        follower("Tile", &["h", "repeats"], vec![]),
        follower("Transpose", &["h"], vec![ints("perm", &[0, 2, 3, 1])]),
        follower("Trilu", &["h"], vec![int("upper", 1)]),
        follower("Unsqueeze", &["h", "axis"], vec![]),
        follower("Where", &["pattern", "h", "k"], vec![]),
    ]
}

/// Everything that a node may read.
fn operands() -> Vec<(&'static str, Tensor)> {
    let pattern = (0..64).map(|i| u8::from(i % 3 == 0)).collect::<Vec<u8>>();
    let kind = trainer::graph::tensor::ValueType::new(Dtype::Bool, vec![4, 4, 4]);
    let each: Vec<i64> = (0..128).map(|i| i % 4).collect();
    let list = |numbers: &[i64]| Tensor::from_i64([numbers.len()], numbers);
    vec![
        ("v", noise(&[4, 4, 1, 1], 1)),
        ("w", noise(&[4, 4, 1, 1], 2)),
        ("m", noise(&[4, 4], 3)),
        ("g", noise(&[4, 64], 4)),
        ("b", noise(&[4], 5)),
        ("c", noise(&[4, 4, 3, 3], 6)),
        ("zero", Tensor::from_f32([], &[0.0])),
        ("bound", Tensor::from_f32([], &[0.625])),
        ("wide", list(&[3, 2, 4, 4, 4])),
        ("places", list(&[3, 0, 1])),
        ("each", Tensor::from_i64([2, 4, 4, 4], &each)),
        ("points", Tensor::from_i64([2, 2], &[1, 3, 0, 2])),
        ("border", list(&[0, 0, 1, 2, 0, 0, 1, 0])),
        ("rows", list(&[8, -1])),
        ("from", list(&[0, 1, 0, 1])),
        ("to", list(&[2, 4, 3, 4])),
        ("repeats", list(&[1, 2, 1, 1])),
        ("axis", list(&[0])),
        ("pattern", Tensor::new(kind, pattern).unwrap()),
    ]
}

pub fn model(nodes: Vec<Node>) -> Model {
    let read = |name: &str| nodes.iter().any(|node| node.inputs.iter().any(|input| input == name));
    let made = |name: &str| nodes.iter().any(|node| node.outputs.iter().any(|output| output == name));
    let initializers: Vec<(&str, Tensor)> =
        operands().into_iter().filter(|(name, _)| read(name) && !made(name)).collect();
    Model::new(model_of(&[None, Some(4), Some(4), Some(4)], &initializers, nodes), &[2, 4, 4, 4])
}

/// What the nodes give when each reads numbers of 16 bits, computes with 32 and rounds what it gives.
fn expected(model: &Model, x: &Tensor, low: Dtype) -> Tensor {
    let mut values: BTreeMap<String, Tensor> =
        model.graph.initializers.iter().map(|(name, tensor)| (name.clone(), rounded(tensor, low))).collect();
    values.insert("x".to_owned(), rounded(x, low));
    for node in &model.graph.nodes {
        let named = |name: &String| (name.clone(), values[name].clone());
        let is_setting = |(_, tensor): &(String, Tensor)| !tensor.dtype().is_float();
        let read: BTreeSet<&String> = node.inputs.iter().collect();
        let (settings, data): (Vec<_>, Vec<_>) = read.into_iter().map(named).partition(is_setting);
        let port =
            |(name, tensor): &(String, Tensor)| Port::fixed(name.clone(), tensor.dtype(), tensor.dims());
        let graph = Graph {
            inputs: data.iter().map(port).collect(),
            outputs: node.outputs.iter().map(Port::inferred).collect(),
            initializers: settings,
            nodes: vec![node.clone()],
            ..model.graph.clone()
        };
        let given = run(&graph, &data);
        values.extend(node.outputs.iter().cloned().zip(given.iter().map(|tensor| rounded(tensor, low))));
    }
    values["y"].clone()
}

/// Whether other operators take its place before gradients are taken, and thus before types are chosen.
fn is_written_out(op: &str) -> bool {
    table().any(|rule| rule.op == op && matches!(rule.gradient, Gradient::Composed(_)))
}

#[track_caller]
fn check_operator(op: &str, nodes: Vec<Node>) {
    let model = model(nodes);
    let x = noise(&[2, 4, 4, 4], 7);
    let single = model.step(Precision::F32, Processor::Cpu);
    let in_single = outputs(&single, &model.feeds(&single, &x));
    for (precision, low) in LOW {
        let step = model.step(precision, Processor::Cpu);
        let assignment = step.assignment.clone().unwrap();
        assert!(assignment.low.contains_key(op) || is_written_out(op), "{op}: {assignment}");
        assert!(assignment.single.is_empty(), "{op}: {assignment}");
        let given = outputs(&step, &model.feeds(&step, &x));
        let predictions = &given[&step.predictions.0];
        assert!(*predictions == expected(&model, &x, low), "{op} in {low}: {:?}", predictions.to_f64());
        assert_ne!(*predictions, in_single[&single.predictions.0], "{op} in {low} is that of 32 bits");
        for (gradient, name) in step.gradients.iter().zip(&model.trainable.parameters) {
            let (found, wanted) = (given[gradient].to_f64().unwrap(), in_single[gradient].to_f64().unwrap());
            let difference = relative_difference(&found, &wanted);
            assert!(
                difference > 0.0 && difference < tolerance(low),
                "{op} in {low}, {}: {difference}",
                name.0
            );
        }
    }
}

#[test]
fn products_multiply_rounded_numbers_add_up_in_32_bits_and_round_the_sum() {
    for (op, nodes) in products() {
        check_operator(op, nodes);
    }
}

#[test]
fn what_follows_a_product_rounds_each_result_once() {
    for (op, nodes) in followers() {
        check_operator(op, nodes);
    }
}

#[test]
fn every_operator_of_the_lists_has_a_case() {
    let of = |cases: Vec<(&'static str, Vec<Node>)>| {
        let mut ops: Vec<&str> = cases.into_iter().map(|(op, _)| op).collect();
        ops.sort_unstable();
        ops
    };
    assert_eq!(of(products()), listed(Treatment::Low));
    assert_eq!(of(followers()), listed(Treatment::Follow));
}

/// Y = X W   gives   dW = X' dY, of rounded X and dY, rounded.
#[test]
fn the_gradient_of_a_product_is_a_product_of_rounded_numbers() {
    let graph = model_of(
        &[None, Some(8)],
        &[("m", noise(&[8, 3], 1))],
        vec![node("MatMul", &["x", "m"], &["y"], vec![])],
    );
    let model = Model::new(graph, &[5, 8]);
    let x = noise(&[5, 8], 2);
    for (precision, low) in LOW {
        let step = model.step(precision, Processor::Cpu);
        let given = outputs(&step, &model.feeds(&step, &x));
        let y = given[&step.predictions.0].to_f64().unwrap();
        // The loss is the sum of y^2. In float16 its gradient goes through the network multiplied by 256 over the
        // number of elements, and is brought back in 32 bits.
        let scale = if low == Dtype::F16 { 256.0_f32 / 15.0 } else { 1.0 };
        let dy: Vec<f64> = y.iter().map(|y| f64::from(2.0 * *y as f32 * scale)).collect();
        let dy = rounded(&Tensor::from_f64(Dtype::F32, vec![5, 3], &dy), low);
        let product = Graph {
            inputs: vec![Port::fixed("a", Dtype::F32, &[5, 8]), Port::fixed("b", Dtype::F32, &[5, 3])],
            outputs: vec![Port::inferred("c")],
            initializers: Vec::new(),
            nodes: vec![node("Gemm", &["a", "b"], &["c"], vec![attribute::int("transA", 1)])],
            ..model.graph.clone()
        };
        let operands = [("a".to_owned(), rounded(&x, low)), ("b".to_owned(), dy)];
        let product = rounded(&run(&product, &operands)[0], low).to_f64().unwrap();
        let inverse = if low == Dtype::F16 { 15.0_f32 / 256.0 } else { 1.0 };
        let expected: Vec<f64> = product.iter().map(|x| f64::from(*x as f32 * inverse)).collect();
        assert_eq!(given[&step.gradients[0]].to_f64().unwrap(), expected, "{low}");
    }
}
