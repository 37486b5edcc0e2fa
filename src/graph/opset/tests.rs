use super::table::since;
use super::{OpsetError, convert};
use crate::graph::autodiff::table;
use crate::graph::model::{Graph, Node, Port, attribute};
use crate::graph::proto::AttributeProto;
use crate::graph::tensor::{Dtype, Tensor};

/// A graph of one node that reads `x`, of rank 2, and the initializers given.
fn graph(op: &str, opset: i64, inputs: &[(&str, Tensor)], attributes: Vec<AttributeProto>) -> Graph {
    let names = std::iter::once("x").chain(inputs.iter().map(|(name, _)| *name));
    let mut node = Node::new("only", op, names.map(str::to_owned).collect(), vec!["y".to_owned()]);
    node.attributes = attributes;
    Graph {
        name: "one".to_owned(),
        ir_version: 10,
        opset,
        other_opsets: Vec::new(),
        inputs: vec![Port::fixed("x", Dtype::F32, &[2, 3])],
        outputs: vec![Port::inferred("y")],
        value_info: Vec::new(),
        roles: Default::default(),
        initializers: inputs.iter().map(|(name, tensor)| ((*name).to_owned(), tensor.clone())).collect(),
        nodes: vec![node],
    }
}

#[track_caller]
fn check_refused(graph: &Graph, to: i64, reason: &str) {
    let error = convert(graph, to).unwrap_err();
    assert!(matches!(error, OpsetError::Changed { .. }), "{error}");
    assert!(error.to_string().contains(reason), "{error}");
    assert!(error.to_string().contains("`only`"), "{error}");
}

#[test]
fn every_operator_with_a_gradient_is_in_the_table_with_the_opset_it_came_with() {
    for rule in table() {
        let since = since(rule.op).unwrap_or_else(|| panic!("{} is not in the table", rule.op));
        assert!(rule.until.is_none_or(|until| until >= since), "{} came with {since}", rule.op);
        // A row may begin later than its operator, for a form that gradients need.
        assert!(rule.since >= since, "{} came with {since}, its rule begins with {}", rule.op, rule.since);
    }
}

#[test]
fn an_operator_that_only_takes_further_types_is_kept_as_it_is() {
    let graph = graph("Transpose", 13, &[], vec![attribute::ints("perm", &[1, 0])]);
    let newer = convert(&graph, 26).unwrap();
    assert_eq!((newer.opset, newer.ir_version, &newer.nodes), (26, 13, &graph.nodes));
    let back = convert(&newer, 17).unwrap();
    assert_eq!((back.opset, back.ir_version, &back.nodes), (17, 8, &graph.nodes));
}

#[test]
fn axes_move_between_attribute_and_input() {
    let old =
        graph("ReduceMean", 17, &[], vec![attribute::ints("axes", &[1]), attribute::int("keepdims", 0)]);
    let new = convert(&old, 18).unwrap();
    assert_eq!(new.nodes[0].inputs[0], "x");
    let (name, axes) = &new.initializers[0];
    assert_eq!((&new.nodes[0].inputs[1], axes.to_i64().unwrap().as_slice()), (name, [1].as_slice()));
    assert_eq!((new.nodes[0].ints("axes"), new.nodes[0].int("keepdims")), (None, Some(0)));
    let back = convert(&new, 17).unwrap();
    assert_eq!((back.nodes[0].ints("axes"), back.nodes[0].inputs.len()), (Some([1].as_slice()), 1));
    assert!(back.initializers.is_empty());
    // ReduceSum has had its axes as an input since 13.
    assert_eq!(convert(&graph("ReduceSum", 13, &[], vec![]), 18).unwrap().nodes[0].inputs, ["x"]);
}

#[test]
fn axes_that_are_computed_can_not_become_an_attribute() {
    let mut graph = graph("ReduceMean", 18, &[], vec![]);
    graph.nodes[0].inputs.push("computed".to_owned());
    check_refused(&graph, 17, "its axes `computed` are computed");
    graph.nodes[0].inputs.truncate(1);
    graph.nodes[0].attributes.push(attribute::int("noop_with_empty_axes", 1));
    check_refused(&graph, 17, "noop_with_empty_axes");
}

#[test]
fn parts_are_counted_from_18_on() {
    let mut old = graph("Split", 17, &[], vec![]);
    old.nodes[0].outputs = vec!["y".to_owned(), "z".to_owned()];
    let new = convert(&old, 18).unwrap();
    assert_eq!(new.nodes[0].int("num_outputs"), Some(2));
    check_refused(&new, 17, "number of its parts");
    let sized = graph("Split", 17, &[("sizes", Tensor::from_i64([2], &[1, 2]))], vec![]);
    assert_eq!(convert(&sized, 18).unwrap().nodes, sized.nodes);
}

#[test]
fn what_was_not_there_is_left_away_only_where_that_means_the_same() {
    let reshape = |allowzero| {
        let shape = Tensor::from_i64([1], &[-1]);
        graph("Reshape", 18, &[("shape", shape)], vec![attribute::int("allowzero", allowzero)])
    };
    assert!(convert(&reshape(0), 13).unwrap().nodes[0].attributes.is_empty());
    check_refused(&reshape(1), 13, "allowzero was not there");
    let scatter = |reduction| graph("ScatterND", 18, &[], vec![attribute::string("reduction", reduction)]);
    assert_eq!(convert(&scatter("add"), 16).unwrap().nodes[0].string("reduction"), Some("add"));
    check_refused(&scatter("max"), 16, "reduction=max was not there");
    check_refused(&scatter("add"), 15, "reduction was not there");
    let pad = |mode| graph("Pad", 19, &[], vec![attribute::string("mode", mode)]);
    assert_eq!(convert(&pad("edge"), 13).unwrap().nodes, pad("edge").nodes);
    check_refused(&pad("wrap"), 18, "mode=wrap was not there");
}

#[test]
fn what_means_something_else_or_is_not_there_is_refused_both_ways() {
    check_refused(&graph("GroupNormalization", 20, &[], vec![]), 21, "no longer groups");
    check_refused(&graph("GroupNormalization", 21, &[], vec![]), 20, "no longer groups");
    check_refused(&graph("GridSample", 16, &[], vec![]), 20, "modes");
    check_refused(&graph("Gelu", 20, &[], vec![]), 19, "came with opset 20");
    check_refused(&graph("Unheard", 20, &[], vec![]), 19, "not known");
    let pool = |ceil| graph("AveragePool", 18, &[], vec![attribute::int("ceil_mode", ceil)]);
    assert!(convert(&pool(0), 22).is_ok());
    check_refused(&pool(1), 22, "ceil_mode=1");
    let pool = graph("AveragePool", 19, &[], vec![attribute::ints("dilations", &[1, 1])]);
    assert!(convert(&pool, 18).unwrap().nodes[0].attributes.is_empty());
    assert!(matches!(convert(&pool, 12), Err(OpsetError::Unknown { found: 12 })));
}

#[test]
fn operators_of_other_domains_have_versions_of_their_own() {
    let mut graph = graph("QuickGelu", 17, &[], vec![]);
    graph.nodes[0].domain = "com.microsoft".to_owned();
    assert_eq!(convert(&graph, 20).unwrap().nodes, graph.nodes);
}
