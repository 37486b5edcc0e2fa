//! Activation functions.

use super::{NodeView, Rule, Ruled, one, rule};
use crate::graph::emit::{Emit, Value};
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI, SQRT_2};

pub(super) const RULES: &[Rule] = &[
    rule("Relu", relu),
    rule("LeakyRelu", leaky_relu),
    rule("Sigmoid", sigmoid),
    rule("Tanh", tanh),
    rule("Softplus", softplus),
    rule("Gelu", gelu).since(20),
];

/// y = max(x, 0)   gives   dx = dy * (y > 0), so 0 at 0, as in PyTorch
fn relu(node: &NodeView, emit: &mut Emit) -> Ruled {
    let active = emit.unit_step(node.output(0));
    one(emit.mul(node.dy(), active))
}

/// y = x > 0 ? x : alpha x   gives   dx = dy * ((1 - alpha) (x > 0) + alpha)
fn leaky_relu(node: &NodeView, emit: &mut Emit) -> Ruled {
    let alpha = f64::from(node.node.float("alpha").unwrap_or(0.01));
    let dy = node.dy();
    let positive = emit.unit_step(node.input(0));
    let rise = emit.scale(positive, 1.0 - alpha);
    let slope = emit.shift(rise, alpha);
    one(emit.mul(dy, slope))
}

/// y = 1 / (1 + e^-x)   gives   dx = dy * y * (1 - y)
fn sigmoid(node: &NodeView, emit: &mut Emit) -> Ruled {
    let y = node.output(0);
    let full = emit.scalar(1.0, y);
    let rest = emit.sub(full, y);
    let slope = emit.mul(y, rest);
    one(emit.mul(node.dy(), slope))
}

/// y = tanh(x)   gives   dx = dy * (1 - y^2)
fn tanh(node: &NodeView, emit: &mut Emit) -> Ruled {
    one(tanh_grad(node.dy(), node.output(0), emit))
}

fn tanh_grad(dy: Value, y: Value, emit: &mut Emit) -> Value {
    let square = emit.mul(y, y);
    let full = emit.scalar(1.0, y);
    let slope = emit.sub(full, square);
    emit.mul(dy, slope)
}

/// y = log(1 + e^x)   gives   dx = dy * sigmoid(x)
fn softplus(node: &NodeView, emit: &mut Emit) -> Ruled {
    let slope = emit.sigmoid(node.input(0));
    one(emit.mul(node.dy(), slope))
}

fn gelu(node: &NodeView, emit: &mut Emit) -> Ruled {
    match node.node.string("approximate") {
        Some("tanh") => one(gelu_tanh(node.dy(), node.input(0), emit)),
        _ => one(gelu_erf(node.dy(), node.input(0), emit)),
    }
}

/// y = x * P(x), P the normal distribution   gives   dx = dy * (P(x) + x * p(x)), p its density
fn gelu_erf(dy: Value, x: Value, emit: &mut Emit) -> Value {
    let scaled = emit.scale(x, FRAC_1_SQRT_2);
    let erf = emit.erf(scaled);
    let shifted = emit.shift(erf, 1.0);
    let cumulative = emit.scale(shifted, 0.5);
    let square = emit.mul(scaled, scaled);
    let exponent = emit.neg(square);
    let bell = emit.exp(exponent);
    let weighted = emit.mul(x, bell);
    let density = emit.scale(weighted, 0.5 * FRAC_2_SQRT_PI * FRAC_1_SQRT_2);
    let slope = emit.add(cumulative, density);
    emit.mul(dy, slope)
}

/// y = x/2 * (1 + t), t = tanh(c (x + a x^3)), c = sqrt(2 / pi), a = 0.044715
///    gives   dx = dy * (1/2 (1 + t) + x/2 (1 - t^2) c (1 + 3 a x^2))
fn gelu_tanh(dy: Value, x: Value, emit: &mut Emit) -> Value {
    const CUBIC: f64 = 0.044_715;
    let factor = SQRT_2 * FRAC_2_SQRT_PI / 2.0;
    let square = emit.mul(x, x);
    let stretch = emit.scale(square, CUBIC);
    let stretch = emit.shift(stretch, 1.0);
    let argument = emit.mul(x, stretch);
    let argument = emit.scale(argument, factor);
    let t = emit.tanh(argument);
    let inner_slope = emit.scale(square, 3.0 * CUBIC * factor);
    let inner_slope = emit.shift(inner_slope, factor);
    let tail = tanh_grad(inner_slope, t, emit);
    let tail = emit.mul(x, tail);
    let sum = emit.shift(t, 1.0);
    let sum = emit.add(sum, tail);
    let slope = emit.scale(sum, 0.5);
    emit.mul(dy, slope)
}
