use super::case::{Case, NEWEST, case};

const ALL: [&str; 10] = [
    "ReduceSum",
    "ReduceMean",
    "ReduceMax",
    "ReduceMin",
    "ReduceProd",
    "ReduceL1",
    "ReduceL2",
    "ReduceSumSquare",
    "ReduceLogSum",
    "ReduceLogSumExp",
];

pub fn cases() -> Vec<Case> {
    let of_each = |op| [axes_as_input(op), without_axes(op), axes_as_attribute(op)].concat();
    ALL.into_iter()
        .flat_map(of_each)
        .chain(special_values())
        .chain(running_sums())
        .chain(running_products())
        .collect()
}

/// Values that every reduction takes: the logarithm of a sum wants a positive one.
fn operand(op: &'static str, about: &'static str, dims: &[usize]) -> Case {
    if op == "ReduceLogSum" { case(op, about).x_within(dims, 0.25, 2.0) } else { case(op, about).x(dims) }
}

/// Since opset 13 for `ReduceSum`, since 18 for the others.
fn axes_as_input(op: &'static str) -> Vec<Case> {
    let opsets: &[i64] = if op == "ReduceSum" { &[13, 18, NEWEST] } else { &[18, 21, NEWEST] };
    let reduce = |about, x: &[usize]| operand(op, about, x).opsets(opsets);
    vec![
        reduce("one axis", &[2, 3]).ints(&[1]),
        reduce("two axes", &[2, 3, 2]).ints(&[0, 2]),
        reduce("a negative axis", &[2, 3, 2]).ints(&[-2]),
        reduce("an axis that goes", &[2, 3, 2]).ints(&[1]).int("keepdims", 0),
        reduce("two axes that go", &[2, 3, 2]).ints(&[-1, 0]).int("keepdims", 0),
        reduce("an axis of one", &[2, 1, 2]).ints(&[1]).int("keepdims", 0),
        reduce("no axes listed, which is all", &[2, 3]).ints(&[]),
        reduce("computed axes", &[2, 3]).fed_ints(&[1]).refused("depends on the data"),
    ]
}

fn without_axes(op: &'static str) -> Vec<Case> {
    vec![
        operand(op, "all axes", &[2, 3]),
        operand(op, "all axes, which go", &[2, 3]).int("keepdims", 0),
        operand(op, "a scalar", &[]),
        operand(op, "one element", &[1, 1]).int("keepdims", 0),
    ]
}

fn axes_as_attribute(op: &'static str) -> Vec<Case> {
    if op == "ReduceSum" {
        return Vec::new();
    }
    let reduce = |about, x: &[usize]| operand(op, about, x).opsets(&[13, 17]);
    vec![
        reduce("listed axes", &[2, 3, 2]).list("axes", &[0, 2]),
        reduce("a negative axis", &[2, 3, 2]).list("axes", &[-2]),
        reduce("axes that go", &[2, 3, 2]).list("axes", &[-1, 0]).int("keepdims", 0),
    ]
}

/// Sums and means of no axes are the operand; of the others ONNX Runtime makes different things.
fn special_values() -> Vec<Case> {
    let no_axes = ["ReduceSum", "ReduceMean"].into_iter().flat_map(|op| {
        let opsets: &[i64] = if op == "ReduceSum" { &[13, NEWEST] } else { &[18, NEWEST] };
        let reduce = |about| case(op, about).x(&[2, 3]).int("noop_with_empty_axes", 1).opsets(opsets);
        [reduce("no axes listed, which is none").ints(&[]), reduce("no axes given, which is none").absent()]
    });
    let reduce = |op, about, values: &[f64]| case(op, about).x_of(&[values.len()], values);
    let others = vec![
        reduce("ReduceProd", "one factor of 0", &[2.0, 0.0, -3.0]),
        reduce("ReduceProd", "two factors of 0", &[2.0, 0.0, 0.0]),
        case("ReduceProd", "rows with and without 0")
            .x_of(&[2, 2], &[0.0, 3.0, 2.0, -1.0])
            .list("axes", &[1])
            .opsets(&[13, 17]),
        reduce("ReduceL1", "0 at 0, as in PyTorch", &[0.0, -2.0, 3.0]).gives(&[0.0, -1.0, 1.0]),
        reduce("ReduceL2", "0 at 0, as in PyTorch", &[0.0, 0.0]).gives(&[0.0, 0.0]),
        reduce("ReduceMax", "equal parts to the largest, as torch.amax", &[3.0, 1.0, 3.0])
            .gives(&[0.5, 0.0, 0.5]),
        reduce("ReduceMin", "equal parts to the smallest, as torch.amin", &[3.0, 1.0, 1.0])
            .gives(&[0.0, 0.5, 0.5]),
        reduce("ReduceLogSumExp", "without overflow", &[900.0, 901.0, -900.0]),
        reduce("ReduceLogSumExp", "one number of -inf", &[f64::NEG_INFINITY, 0.0]).gives(&[0.0, 1.0]),
    ];
    no_axes.chain(others).collect()
}

fn running_sums() -> Vec<Case> {
    let sum = |about| case("CumSum", about).x(&[2, 4]).opsets(&[13, 14, NEWEST]);
    vec![
        sum("last axis").int_scalar(1),
        sum("a negative axis").int_scalar(-2),
        sum("exclusive").int_scalar(1).int("exclusive", 1),
        sum("reversed").int_scalar(1).int("reverse", 1),
        sum("reversed and exclusive").int_scalar(1).int("reverse", 1).int("exclusive", 1),
        case("CumSum", "one element").x(&[1]).int_scalar(0),
    ]
}

fn running_products() -> Vec<Case> {
    let product = |about| case("CumProd", about).x(&[2, 4]).opsets(&[26, NEWEST]);
    let zeros = |about| product(about).with_x(&[2.0, 0.0, -1.5, 3.0, 0.0, 1.0, 0.0, 2.0]).int_scalar(1);
    vec![
        product("last axis").int_scalar(1),
        product("a negative axis").int_scalar(-2),
        product("exclusive").int_scalar(1).int("exclusive", 1),
        product("reversed").int_scalar(1).int("reverse", 1),
        product("reversed and exclusive").int_scalar(1).int("reverse", 1).int("exclusive", 1),
        zeros("factors of 0"),
        zeros("exclusive, factors of 0").int("exclusive", 1),
        case("CumProd", "the middle axis").x(&[2, 3, 2]).int_scalar(1).opsets(&[26]),
        case("CumProd", "one axis").x(&[3]).int_scalar(0).opsets(&[26]),
    ]
}
