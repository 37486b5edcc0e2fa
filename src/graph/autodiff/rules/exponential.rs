//! Exponentials, logarithms and what is built on them.

use super::{NodeView, Rule, Ruled, one, rule};
use crate::graph::emit::Emit;

pub(super) const RULES: &[Rule] = &[
    rule("Exp", exp),
    rule("Log", log),
    rule("Erf", erf),
    rule("Softmax", softmax),
    rule("LogSoftmax", log_softmax),
];

/// y = e^x   gives   dx = dy * y
fn exp(node: &NodeView, emit: &mut Emit) -> Ruled {
    one(emit.mul(node.dy(), node.output(0)))
}

/// y = log(x)   gives   dx = dy / x
fn log(node: &NodeView, emit: &mut Emit) -> Ruled {
    one(emit.div(node.dy(), node.input(0)))
}

/// y = erf(x)   gives   dx = dy * 2 / sqrt(pi) * e^(-x^2)
fn erf(node: &NodeView, emit: &mut Emit) -> Ruled {
    let square = emit.mul(node.input(0), node.input(0));
    let exponent = emit.neg(square);
    let bell = emit.exp(exponent);
    let slope = emit.scale(bell, std::f64::consts::FRAC_2_SQRT_PI);
    one(emit.mul(node.dy(), slope))
}

/// y = softmax(x)   gives   dx = y * (dy - sum(dy * y))
fn softmax(node: &NodeView, emit: &mut Emit) -> Ruled {
    let (dy, y) = (node.dy(), node.output(0));
    let axis = node.axis(-1, emit.rank(y));
    let product = emit.mul(dy, y);
    let sum = emit.reduce_sum(product, &[axis]);
    let centred = emit.sub(dy, sum);
    one(emit.mul(y, centred))
}

/// y = log softmax(x)   gives   dx = dy - e^y * sum(dy)
fn log_softmax(node: &NodeView, emit: &mut Emit) -> Ruled {
    let (dy, y) = (node.dy(), node.output(0));
    let axis = node.axis(-1, emit.rank(y));
    let sum = emit.reduce_sum(dy, &[axis]);
    let probabilities = emit.exp(y);
    let share = emit.mul(probabilities, sum);
    one(emit.sub(dy, share))
}
