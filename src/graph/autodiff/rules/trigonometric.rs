//! Trigonometric and hyperbolic functions and their inverses.

use super::{NodeView, Rule, Ruled, one, rule};
use crate::graph::emit::{Emit, Value};

pub(super) const RULES: &[Rule] = &[
    rule("Sin", sin),
    rule("Cos", cos),
    rule("Tan", tan),
    rule("Asin", asin),
    rule("Acos", acos),
    rule("Atan", atan),
    rule("Sinh", sinh),
    rule("Cosh", cosh),
    rule("Asinh", asinh),
    rule("Acosh", acosh),
    rule("Atanh", atanh),
];

/// y = sin(x)   gives   dx = dy * cos(x)
fn sin(node: &NodeView, emit: &mut Emit) -> Ruled {
    let slope = emit.cos(node.input(0));
    one(emit.mul(node.dy(), slope))
}

/// y = cos(x)   gives   dx = -dy * sin(x)
fn cos(node: &NodeView, emit: &mut Emit) -> Ruled {
    let sin = emit.sin(node.input(0));
    let product = emit.mul(node.dy(), sin);
    one(emit.neg(product))
}

/// y = tan(x)   gives   dx = dy * (1 + y^2)
fn tan(node: &NodeView, emit: &mut Emit) -> Ruled {
    let slope = square_and(node.output(0), 1.0, 1.0, emit);
    one(emit.mul(node.dy(), slope))
}

/// `sign * x^2 + number`
fn square_and(x: Value, sign: f64, number: f64, emit: &mut Emit) -> Value {
    let square = emit.mul(x, x);
    let signed = if sign < 0.0 { emit.neg(square) } else { square };
    emit.shift(signed, number)
}

/// `dy / sqrt(sign * x^2 + number)`
fn over_root(node: &NodeView, sign: f64, number: f64, emit: &mut Emit) -> Value {
    let under = square_and(node.input(0), sign, number, emit);
    let root = emit.sqrt(under);
    emit.div(node.dy(), root)
}

/// y = asin(x)   gives   dx = dy / sqrt(1 - x^2)
fn asin(node: &NodeView, emit: &mut Emit) -> Ruled {
    one(over_root(node, -1.0, 1.0, emit))
}

/// y = acos(x)   gives   dx = -dy / sqrt(1 - x^2)
fn acos(node: &NodeView, emit: &mut Emit) -> Ruled {
    let grad = over_root(node, -1.0, 1.0, emit);
    one(emit.neg(grad))
}

/// y = atan(x)   gives   dx = dy / (1 + x^2)
fn atan(node: &NodeView, emit: &mut Emit) -> Ruled {
    let divisor = square_and(node.input(0), 1.0, 1.0, emit);
    one(emit.div(node.dy(), divisor))
}

/// y = sinh(x)   gives   dx = dy * cosh(x)
fn sinh(node: &NodeView, emit: &mut Emit) -> Ruled {
    let slope = emit.cosh(node.input(0));
    one(emit.mul(node.dy(), slope))
}

/// y = cosh(x)   gives   dx = dy * sinh(x)
fn cosh(node: &NodeView, emit: &mut Emit) -> Ruled {
    let slope = emit.sinh(node.input(0));
    one(emit.mul(node.dy(), slope))
}

/// y = asinh(x)   gives   dx = dy / sqrt(x^2 + 1)
fn asinh(node: &NodeView, emit: &mut Emit) -> Ruled {
    one(over_root(node, 1.0, 1.0, emit))
}

/// y = acosh(x)   gives   dx = dy / sqrt(x^2 - 1)
fn acosh(node: &NodeView, emit: &mut Emit) -> Ruled {
    one(over_root(node, 1.0, -1.0, emit))
}

/// y = atanh(x)   gives   dx = dy / (1 - x^2)
fn atanh(node: &NodeView, emit: &mut Emit) -> Ruled {
    let divisor = square_and(node.input(0), -1.0, 1.0, emit);
    one(emit.div(node.dy(), divisor))
}
