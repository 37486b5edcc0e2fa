//! Branches, loops and lists that are known before the model runs.

use super::{branch, model_of, node, ramp, truth};
use crate::runtime_library::{oracle, run};
use std::collections::HashSet;
use trainer::graph::autodiff::backward;
use trainer::graph::emit::Emit;
use trainer::graph::fold::{FoldError, lower};
use trainer::graph::model::{Graph, Node, attribute};
use trainer::graph::proto::{
    AttributeProto, GraphProto, NodeProto, TensorProto, ValueInfoProto, attribute_type,
};
use trainer::graph::tensor::Tensor;

/// Lowers a model over `x [4, 3]`.
fn lowered(initializers: &[(&str, Tensor)], nodes: Vec<Node>) -> Result<Emit, FoldError> {
    let graph = model_of(&[Some(4), Some(3)], initializers, nodes);
    lower(&graph, &HashSet::new(), &oracle())
}

fn ops(emit: &Emit) -> Vec<&str> {
    emit.nodes().iter().map(|node| node.op.as_str()).collect()
}

fn finished(emit: Emit) -> Graph {
    let [x, y] = ["x", "y"].map(|name| emit.find(name).unwrap());
    emit.finish("lowered", &[x], &[y])
}

#[track_caller]
fn check_gives(emit: Emit, expected: &[f64]) {
    let y = run(&finished(emit), &[("x".to_owned(), ramp(&[4, 3]))])[0].to_f64().unwrap();
    assert_eq!(y.len(), expected.len());
    for (y, expected) in y.iter().zip(expected) {
        assert!((y - expected).abs() < 1e-6, "{y} is not {expected}");
    }
}

fn values() -> Vec<f64> {
    ramp(&[4, 3]).to_f64().unwrap()
}

fn scalar(value: i64) -> Tensor {
    Tensor::from_i64([], &[value])
}

/// A branch that scales `x` by a constant of its own, all under names that any other branch may use, too.
fn scaling(name: &str, factor: f32) -> AttributeProto {
    let constant = TensorProto {
        name: "factor".to_owned(),
        data_type: 1,
        float_data: vec![factor],
        ..Default::default()
    };
    let multiply = NodeProto {
        op_type: "Mul".to_owned(),
        input: vec!["x".to_owned(), "factor".to_owned()],
        output: vec!["scaled".to_owned()],
        ..Default::default()
    };
    let graph = GraphProto {
        name: name.to_owned(),
        node: vec![multiply],
        initializer: vec![constant],
        output: vec![ValueInfoProto { name: "scaled".to_owned(), r#type: None, ..Default::default() }],
        ..Default::default()
    };
    AttributeProto {
        name: name.to_owned(),
        g: Some(graph),
        r#type: attribute_type::GRAPH,
        ..Default::default()
    }
}

#[test]
fn a_branch_is_taken_where_the_condition_is_known() {
    for (condition, factor) in [(true, 2.0), (false, 3.0)] {
        let branches = vec![scaling("then_branch", 2.0), scaling("else_branch", 3.0)];
        let emit = lowered(&[("c", truth(condition))], vec![node("If", &["c"], &["y"], branches)]).unwrap();
        assert_eq!(ops(&emit), ["Mul", "Identity"]);
        let expected: Vec<f64> = values().iter().map(|x| x * factor).collect();
        check_gives(emit, &expected);
    }
}

#[test]
fn a_condition_about_a_shape_is_known_and_equal_names_in_two_branches_do_not_meet() {
    let branches = || vec![scaling("then_branch", 2.0), scaling("else_branch", 3.0)];
    let nodes = vec![
        node("Shape", &["x"], &["shape"], vec![]),
        node("Gather", &["shape", "first"], &["rows"], vec![]),
        node("Equal", &["rows", "four"], &["c"], vec![]),
        node("Not", &["c"], &["d"], vec![]),
        node("If", &["c"], &["a"], branches()),
        node("If", &["d"], &["b"], branches()),
        node("Add", &["a", "b"], &["y"], vec![]),
    ];
    let emit = lowered(&[("first", scalar(0)), ("four", scalar(4))], nodes).unwrap();
    assert!(!ops(&emit).contains(&"If"));
    let expected: Vec<f64> = values().iter().map(|x| x * 5.0).collect();
    check_gives(emit, &expected);
}

#[test]
fn gradients_pass_through_the_branch_that_was_taken() {
    let branches = vec![scaling("then_branch", 2.0), scaling("else_branch", 3.0)];
    let mut emit = lowered(&[("c", truth(true))], vec![node("If", &["c"], &["y"], branches)]).unwrap();
    let [x, y] = ["x", "y"].map(|name| emit.find(name).unwrap());
    let loss = emit.sum_all(y);
    let grad = backward(&mut emit, loss, &[x]).unwrap()[0].unwrap();
    let graph = emit.finish("backward", &[x], &[grad]);
    assert_eq!(run(&graph, &[("x".to_owned(), ramp(&[4, 3]))])[0].to_f64().unwrap(), [2.0; 12]);
}

#[test]
fn a_branch_that_the_data_decide_stays() {
    let nodes = vec![
        node("ReduceSum", &["x"], &["sum"], vec![attribute::int("keepdims", 0)]),
        node("Greater", &["sum", "zero"], &["c"], vec![]),
        node("If", &["c"], &["y"], vec![branch("then_branch", "x"), branch("else_branch", "x")]),
    ];
    let emit = lowered(&[("zero", Tensor::from_f32([], &[0.0]))], nodes).unwrap();
    assert_eq!(ops(&emit).last(), Some(&"If"));
}

/// Adds up the numbers below 4 and scales `x` by the sum.
#[test]
fn a_loop_over_constants_is_computed_once() {
    let port = |name: &str, code: i32| {
        let kind = trainer::graph::proto::TensorTypeProto {
            elem_type: code,
            shape: Some(trainer::graph::proto::TensorShapeProto { dim: vec![] }),
        };
        let value = Some(trainer::graph::proto::TypeValue::Tensor(kind));
        let kind = Some(trainer::graph::proto::TypeProto { value });
        ValueInfoProto { name: name.to_owned(), r#type: kind, ..Default::default() }
    };
    let inner = |op: &str, inputs: &[&str], output: &str| NodeProto {
        op_type: op.to_owned(),
        input: inputs.iter().map(|name| (*name).to_owned()).collect(),
        output: vec![output.to_owned()],
        ..Default::default()
    };
    let body = GraphProto {
        name: "body".to_owned(),
        node: vec![inner("Identity", &["go"], "go_on"), inner("Add", &["sum", "i"], "next")],
        input: vec![port("i", 7), port("go", 9), port("sum", 7)],
        output: vec![port("go_on", 9), port("next", 7)],
        ..Default::default()
    };
    let body = AttributeProto {
        name: "body".to_owned(),
        g: Some(body),
        r#type: attribute_type::GRAPH,
        ..Default::default()
    };
    let nodes = vec![
        node("Loop", &["count", "go_in", "start"], &["total"], vec![body]),
        node("Cast", &["total"], &["factor"], vec![attribute::int("to", 1)]),
        node("Mul", &["x", "factor"], &["y"], vec![]),
    ];
    let emit = lowered(&[("count", scalar(4)), ("go_in", truth(true)), ("start", scalar(0))], nodes).unwrap();
    assert_eq!(ops(&emit), ["Mul"]);
    let expected: Vec<f64> = values().iter().map(|x| x * 6.0).collect();
    check_gives(emit, &expected);
}

/// `SplitToSequence` by sizes of 3 and then 1, of which the second part comes first.
#[test]
fn parts_that_are_taken_by_position_become_a_split() {
    for (name, sizes) in [("chunk", scalar(3)), ("sizes", Tensor::from_i64([2], &[3, 1]))] {
        let nodes = vec![
            node("SplitToSequence", &["x", name], &["parts"], vec![attribute::int("axis", 0)]),
            node("SequenceAt", &["parts", "last"], &["b"], vec![]),
            node("SequenceAt", &["parts", "first"], &["a"], vec![]),
            node("Concat", &["b", "a"], &["y"], vec![attribute::int("axis", 0)]),
        ];
        let emit = lowered(&[(name, sizes), ("last", scalar(-1)), ("first", scalar(0))], nodes).unwrap();
        assert_eq!(ops(&emit), ["Split", "Identity", "Identity", "Concat"]);
        let values = values();
        check_gives(emit, &[&values[9..], &values[..9]].concat());
    }
}

#[test]
fn a_list_that_is_joined_again_becomes_a_concat() {
    let nodes = vec![
        node("SequenceConstruct", &["x", "x"], &["list"], vec![]),
        node("ConcatFromSequence", &["list"], &["y"], vec![attribute::int("axis", 0)]),
    ];
    let emit = lowered(&[], nodes).unwrap();
    assert_eq!(ops(&emit), ["Concat"]);
    check_gives(emit, &[values(), values()].concat());
}

#[test]
fn a_list_whose_positions_the_data_decide_is_refused() {
    let nodes = vec![
        node("SplitToSequence", &["x"], &["parts"], vec![]),
        node("ReduceMax", &["x"], &["largest"], vec![attribute::int("keepdims", 0)]),
        node("Cast", &["largest"], &["position"], vec![attribute::int("to", 7)]),
        node("SequenceAt", &["parts", "position"], &["y"], vec![]),
    ];
    assert!(lowered(&[], nodes).is_err());
}
