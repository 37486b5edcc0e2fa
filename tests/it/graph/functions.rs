//! Functions local to a model.

use super::{model_of, node, ramp};
use crate::runtime_library::run;
use bytes::Bytes;
use prost::Message;
use std::path::Path;
use trainer::graph::model::{Graph, Node, attribute};
use trainer::graph::proto::{
    AttributeProto, FunctionProto, ModelProto, NodeProto, OperatorSetIdProto, attribute_type,
};
use trainer::graph::read::{ReadError, read_bytes};
use trainer::graph::write::to_bytes;

const DOMAIN: &str = "local";

fn inner(op: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    NodeProto { op_type: op.to_owned(), input: owned(inputs), output: owned(outputs), ..Default::default() }
}

fn calling(op: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    NodeProto { domain: DOMAIN.to_owned(), ..inner(op, inputs, outputs) }
}

fn function(name: &str, inputs: &[&str], outputs: &[&str], nodes: Vec<NodeProto>) -> FunctionProto {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    FunctionProto {
        name: name.to_owned(),
        domain: DOMAIN.to_owned(),
        input: owned(inputs),
        output: owned(outputs),
        node: nodes,
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: 18 }],
        ..Default::default()
    }
}

/// A model over `x [2, 3]` and `w [3]` whose nodes call these functions.
fn read(nodes: Vec<Node>, functions: Vec<FunctionProto>) -> Result<Graph, ReadError> {
    let mut graph = model_of(&[Some(2), Some(3)], &[("w", ramp(&[3]))], nodes);
    graph.other_opsets = vec![(DOMAIN.to_owned(), 1)];
    let mut model = ModelProto::decode(Bytes::from(to_bytes(&graph))).unwrap();
    model.functions = functions;
    read_bytes(Path::new("model.onnx"), Bytes::from(model.encode_to_vec()))
}

fn call(op: &str, inputs: &[&str], outputs: &[&str], attributes: Vec<AttributeProto>) -> Node {
    Node { domain: DOMAIN.to_owned(), ..node(op, inputs, outputs, attributes) }
}

/// y = x * sigmoid(x) + b, with `b` optional at the call
fn swish() -> FunctionProto {
    function(
        "Swish",
        &["a"],
        &["r"],
        vec![inner("Sigmoid", &["a"], &["s"]), inner("Mul", &["a", "s"], &["r"])],
    )
}

fn elu_with_slope(default: Option<f32>) -> FunctionProto {
    let mut elu = inner("Elu", &["a"], &["r"]);
    elu.attribute = vec![AttributeProto {
        name: "alpha".to_owned(),
        ref_attr_name: "slope".to_owned(),
        r#type: attribute_type::FLOAT,
        ..Default::default()
    }];
    let defaults = default.map(|slope| attribute::float("slope", slope));
    FunctionProto {
        attribute: if defaults.is_none() { vec!["slope".to_owned()] } else { vec![] },
        attribute_proto: defaults.into_iter().collect(),
        ..function("Sloped", &["a"], &["r"], vec![elu])
    }
}

#[track_caller]
fn check_gives(graph: &Graph, expected: impl Fn(f64, f64) -> f64) {
    let x = ramp(&[2, 3]);
    let y = run(graph, &[("x".to_owned(), x.clone())])[0].to_f64().unwrap();
    let (x, w) = (x.to_f64().unwrap(), ramp(&[3]).to_f64().unwrap());
    for (at, y) in y.iter().enumerate() {
        let expected = expected(x[at], w[at % 3]);
        assert!((y - expected).abs() < 1e-6, "element {at} is {y}, expected {expected}");
    }
}

#[track_caller]
fn check_refused(nodes: Vec<Node>, functions: Vec<FunctionProto>, text: &str) {
    let message = read(nodes, functions).expect_err("the functions are at fault").to_string();
    assert!(message.contains(text), "`{text}` is missing in: {message}");
}

fn swish_of(x: f64) -> f64 {
    x / (1.0 + (-x).exp())
}

#[test]
fn a_call_gives_way_to_the_nodes_of_the_function_and_its_domain_is_gone() {
    let graph = read(vec![call("Swish", &["x"], &["y"], vec![])], vec![swish()]).unwrap();
    let ops: Vec<&str> = graph.nodes.iter().map(|node| node.op.as_str()).collect();
    assert_eq!(ops, ["Sigmoid", "Mul"]);
    assert!(graph.other_opsets.is_empty());
    check_gives(&graph, |x, _| swish_of(x));
}

#[test]
fn two_calls_of_a_function_do_not_share_values() {
    let nodes = vec![
        call("Swish", &["x"], &["h"], vec![]),
        call("Swish", &["w"], &["v"], vec![]),
        node("Add", &["h", "v"], &["y"], vec![]),
    ];
    check_gives(&read(nodes, vec![swish()]).unwrap(), |x, w| swish_of(x) + swish_of(w));
}

#[test]
fn functions_may_call_functions() {
    let twice = function(
        "Twice",
        &["a"],
        &["r"],
        vec![calling("Swish", &["a"], &["s"]), calling("Swish", &["s"], &["r"])],
    );
    let nodes = vec![call("Twice", &["x"], &["y"], vec![])];
    check_gives(&read(nodes, vec![twice, swish()]).unwrap(), |x, _| swish_of(swish_of(x)));
}

#[test]
fn attributes_of_the_call_reach_the_nodes_and_otherwise_defaults_do() {
    let elu = |x: f64, slope: f64| if x > 0.0 { x } else { slope * (x.exp() - 1.0) };
    let with = |given: Option<f32>, default: Option<f32>| {
        let given = given.map(|slope| attribute::float("slope", slope)).into_iter().collect();
        read(vec![call("Sloped", &["x"], &["y"], given)], vec![elu_with_slope(default)]).unwrap()
    };
    check_gives(&with(Some(0.5), Some(2.0)), |x, _| elu(x, 0.5));
    check_gives(&with(None, Some(2.0)), |x, _| elu(x, 2.0));
    // Neither given nor a default: the operator's own default.
    check_gives(&with(None, None), |x, _| elu(x, 1.0));
}

#[test]
fn an_input_that_the_call_leaves_out_is_absent_in_the_function() {
    let bounded = function(
        "Bounded",
        &["a", "low", "high"],
        &["r"],
        vec![inner("Clip", &["a", "low", "high"], &["r"])],
    );
    let graph = read(vec![call("Bounded", &["x"], &["y"], vec![])], vec![bounded]).unwrap();
    assert_eq!(graph.nodes[0].inputs, ["x", "", ""]);
    check_gives(&graph, |x, _| x);
}

#[test]
fn an_output_that_the_call_leaves_out_has_a_name_of_its_own() {
    let both = function(
        "Both",
        &["a"],
        &["p", "q"],
        vec![inner("Exp", &["a"], &["p"]), inner("Neg", &["p"], &["q"])],
    );
    let graph = read(vec![call("Both", &["x"], &["", "y"], vec![])], vec![both]).unwrap();
    check_gives(&graph, |x, _| -x.exp());
}

#[test]
fn functions_at_fault_are_refused_by_name() {
    let itself = function("Loop", &["a"], &["r"], vec![calling("Loop", &["a"], &["r"])]);
    check_refused(
        vec![call("Loop", &["x"], &["y"], vec![])],
        vec![itself],
        "function `Loop`: it calls itself",
    );
    check_refused(vec![call("Swish", &["x", "w"], &["y"], vec![])], vec![swish()], "called with 2 inputs");
    let mut other = swish();
    other.opset_import[0].version = 17;
    check_refused(
        vec![call("Swish", &["x"], &["y"], vec![])],
        vec![other],
        "`Swish` in opset 17 of a model in opset 18",
    );
}

/// Each function calls the next one twice, so the last one would be called 2^40 times.
#[test]
fn functions_that_would_fill_the_memory_are_refused() {
    let level = |at: usize| {
        let next = format!("f{}", at + 1);
        let nodes = vec![calling(&next, &["a"], &["s"]), calling(&next, &["s"], &["r"])];
        function(&format!("f{at}"), &["a"], &["r"], nodes)
    };
    let mut functions: Vec<FunctionProto> = (0..40).map(level).collect();
    functions.push(function("f40", &["a"], &["r"], vec![inner("Neg", &["a"], &["r"])]));
    check_refused(vec![call("f0", &["x"], &["y"], vec![])], functions, "are written out to more than");
    let chain = |at: usize| {
        function(&format!("f{at}"), &["a"], &["r"], vec![calling(&format!("f{}", at + 1), &["a"], &["r"])])
    };
    check_refused(
        vec![call("f0", &["x"], &["y"], vec![])],
        (0..50_000).map(chain).collect(),
        "more than 64 functions",
    );
}
