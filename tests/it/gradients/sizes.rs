//! No elements, one element, and a scalar, for every operator that works element by element.

use super::case::{Case, case};

/// Operators with a float64 kernel.
const DOUBLE: [&str; 13] =
    ["Neg", "Abs", "Exp", "Relu", "Sigmoid", "Tanh", "Sin", "Cos", "Identity", "Sum", "Max", "Min", "Clip"];
/// Operators whose operand has to be positive.
const POSITIVE: [&str; 3] = ["Log", "Sqrt", "Reciprocal"];
/// Operators for float32 alone, near a point where all of them are smooth.
const SINGLE: [&str; 19] = [
    "Erf",
    "Atan",
    "Asin",
    "Acos",
    "Tan",
    "Sinh",
    "Cosh",
    "Asinh",
    "Atanh",
    "LeakyRelu",
    "Elu",
    "Selu",
    "Celu",
    "HardSigmoid",
    "Softplus",
    "Softsign",
    "Shrink",
    "ThresholdedRelu",
    "Mean",
];

pub fn cases() -> Vec<Case> {
    let shaped = |op: &'static str, low: f64, high: f64| {
        [&[0, 3][..], &[1], &[]].map(|dims| case(op, "of this size").x_within(dims, low, high))
    };
    let double = DOUBLE.iter().flat_map(|op| shaped(op, 0.25, 0.75));
    let positive = POSITIVE.iter().flat_map(|op| shaped(op, 0.5, 2.0));
    let single = SINGLE.iter().flat_map(|op| shaped(op, 0.6, 0.75)).map(Case::single_curved);
    let pairs = ["Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Sum"].into_iter().flat_map(|op| {
        let pair =
            |a: &[usize], b: &[usize]| case(op, "of these sizes").x_within(a, 0.5, 2.0).x_within(b, 0.5, 2.0);
        [
            pair(&[0, 3], &[0, 3]),
            pair(&[0, 3], &[1]),
            pair(&[0, 1], &[1, 3]),
            pair(&[], &[]),
            pair(&[1, 1], &[]),
            pair(&[], &[2, 0]),
        ]
    });
    let axes = ["Softmax", "LogSoftmax"]
        .into_iter()
        .flat_map(|op| [&[0, 3][..], &[1], &[1, 1, 1]].map(|dims| case(op, "of this size").x(dims)));
    double.chain(positive).chain(single).chain(pairs).chain(axes).collect()
}
