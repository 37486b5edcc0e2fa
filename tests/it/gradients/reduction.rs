use super::case::{Case, NEWEST, case};

pub fn cases() -> Vec<Case> {
    ["ReduceSum", "ReduceMean"]
        .into_iter()
        .flat_map(|op| [axes_as_input(op), without_axes(op)].concat())
        .chain(axes_as_attribute())
        .collect()
}

/// Since opset 13 for `ReduceSum`, since 18 for `ReduceMean`.
fn axes_as_input(op: &'static str) -> Vec<Case> {
    let opsets: &[i64] = if op == "ReduceSum" { &[13, 18, NEWEST] } else { &[18, 21, NEWEST] };
    let reduce = |about, x: &[usize]| case(op, about).x(x).opsets(opsets);
    vec![
        reduce("one axis", &[2, 3]).ints(&[1]),
        reduce("two axes", &[2, 3, 2]).ints(&[0, 2]),
        reduce("a negative axis", &[2, 3, 2]).ints(&[-2]),
        reduce("an axis that goes", &[2, 3, 2]).ints(&[1]).int("keepdims", 0),
        reduce("two axes that go", &[2, 3, 2]).ints(&[-1, 0]).int("keepdims", 0),
        reduce("an axis of one", &[2, 1, 2]).ints(&[1]).int("keepdims", 0),
        reduce("no axes listed, which is all", &[2, 3]).ints(&[]),
        reduce("no axes listed, which is none", &[2, 3]).ints(&[]).int("noop_with_empty_axes", 1),
        reduce("no axes given, which is none", &[2, 3]).absent().int("noop_with_empty_axes", 1),
        reduce("computed axes", &[2, 3]).fed_ints(&[1]).refused("axes are computed"),
    ]
}

fn without_axes(op: &'static str) -> Vec<Case> {
    vec![
        case(op, "all axes").x(&[2, 3]),
        case(op, "all axes, which go").x(&[2, 3]).int("keepdims", 0),
        case(op, "a scalar").x(&[]),
        case(op, "one element").x(&[1, 1]).int("keepdims", 0),
    ]
}

fn axes_as_attribute() -> Vec<Case> {
    let reduce = |about, x: &[usize]| case("ReduceMean", about).x(x).opsets(&[13, 17]);
    vec![
        reduce("listed axes", &[2, 3, 2]).list("axes", &[0, 2]),
        reduce("a negative axis", &[2, 3, 2]).list("axes", &[-2]),
        reduce("axes that go", &[2, 3, 2]).list("axes", &[-1, 0]).int("keepdims", 0),
    ]
}
