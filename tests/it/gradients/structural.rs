use super::case::{Case, case};
use trainer::graph::proto::{
    DimensionProto, DimensionValue, GraphProto, NodeProto, TensorShapeProto, TensorTypeProto, TypeProto,
    TypeValue, ValueInfoProto,
};

pub fn cases() -> Vec<Case> {
    vec![
        case("Identity", "rank 2").x(&[2, 3]),
        case("Cast", "to float64").x(&[2, 3]).int("to", 11).single_linear(),
        case("Cast", "to the same type").x(&[2, 3]).int("to", 1).single_linear(),
        case("Cast", "to integers, which have no gradient").x(&[2, 3]).int("to", 7).gives_none(),
        case("Dropout", "a mask").x(&[2, 6]).fixed(&[], &[0.25]).training(),
        case("Dropout", "the default ratio").x(&[6]).training(),
        case("Dropout", "a ratio of 0").x(&[6]).fixed(&[], &[0.0]).training(),
        case("Dropout", "not in training form").x(&[6]).refused("computed"),
    ]
    .into_iter()
    .chain(control_flow())
    .collect()
}

fn control_flow() -> Vec<Case> {
    vec![
        case("If", "branches that read a variable")
            .captured(&[2])
            .fed_truth(true)
            .graph("then_branch", body(&[], &[("x0", "then")]))
            .graph("else_branch", body(&[], &[("x0", "else")]))
            .single_linear()
            .refused("branches"),
        case("Loop", "a carried variable")
            .int_scalar(2)
            .bools(&[], &[true])
            .x(&[2])
            .graph("body", body(&[("i", 7), ("go", 9), ("a", 1)], &[("go", "go_on"), ("a", "b")]))
            .single_linear()
            .refused("loops"),
        case("Scan", "over a variable")
            .x(&[3, 2])
            .graph("body", body(&[("a", 1)], &[("a", "b")]))
            .int("num_scan_inputs", 1)
            .single_linear()
            .refused("scans"),
    ]
}

/// A graph with these inputs (name and element type) that passes values on under other names; floats are `[2]`, the
/// others scalars.
fn body(inputs: &[(&str, i32)], passed: &[(&str, &str)]) -> GraphProto {
    let shape_of = |elem_type: i32| {
        let size = DimensionProto { value: Some(DimensionValue::Value(2)) };
        Some(TensorShapeProto { dim: if elem_type == 1 { vec![size] } else { vec![] } })
    };
    let typed = |name: &str, elem_type: i32| ValueInfoProto {
        name: name.to_owned(),
        r#type: Some(TypeProto {
            value: Some(TypeValue::Tensor(TensorTypeProto { elem_type, shape: shape_of(elem_type) })),
        }),
        ..Default::default()
    };
    let type_of = |name: &str| inputs.iter().find(|(input, _)| *input == name).map_or(1, |(_, kind)| *kind);
    let node = |(from, to): &(&str, &str)| NodeProto {
        input: vec![(*from).to_owned()],
        output: vec![(*to).to_owned()],
        op_type: "Identity".to_owned(),
        ..Default::default()
    };
    GraphProto {
        name: "body".to_owned(),
        node: passed.iter().map(node).collect(),
        input: inputs.iter().map(|(name, kind)| typed(name, *kind)).collect(),
        output: passed.iter().map(|(from, to)| typed(to, type_of(from))).collect(),
        ..Default::default()
    }
}
