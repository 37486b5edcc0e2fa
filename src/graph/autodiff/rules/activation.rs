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
    rule("Softsign", softsign),
    rule("Gelu", gelu).since(20),
    rule("Elu", elu),
    rule("Selu", selu),
    rule("Celu", celu),
    rule("PRelu", prelu),
    rule("ThresholdedRelu", thresholded_relu),
    rule("Shrink", shrink),
    rule("HardSigmoid", hard_sigmoid),
    rule("HardSwish", hard_swish).since(14),
    rule("Mish", mish).since(18),
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

/// y = x / (1 + |x|)   gives   dx = dy / (1 + |x|)^2
fn softsign(node: &NodeView, emit: &mut Emit) -> Ruled {
    let size = emit.abs(node.input(0));
    let divisor = emit.shift(size, 1.0);
    let inverse = emit.reciprocal(divisor);
    let slope = emit.mul(inverse, inverse);
    one(emit.mul(node.dy(), slope))
}

/// y = x > 0 ? x : alpha (e^x - 1)   gives   dx = dy * (x > 0 ? 1 : y + alpha)
fn elu(node: &NodeView, emit: &mut Emit) -> Ruled {
    let alpha = f64::from(node.node.float("alpha").unwrap_or(1.0));
    one(exponential_unit(node, 1.0, alpha, emit))
}

/// y = gamma (x > 0 ? x : alpha (e^x - 1))   gives   dx = dy * (x > 0 ? gamma : y + alpha gamma)
fn selu(node: &NodeView, emit: &mut Emit) -> Ruled {
    let alpha = f64::from(node.node.float("alpha").unwrap_or(1.673_263_2));
    let gamma = f64::from(node.node.float("gamma").unwrap_or(1.050_701));
    one(exponential_unit(node, gamma, alpha, emit))
}

/// dx = dy * (x > 0 ? gamma : y + alpha gamma)
///
/// For positive factors `min(y, 0)` is the exponential part, which spares a `Where`.
fn exponential_unit(node: &NodeView, gamma: f64, alpha: f64, emit: &mut Emit) -> Value {
    let (dy, x, y) = (node.dy(), node.input(0), node.output(0));
    let zero = emit.scalar(0.0, x);
    let slope = if gamma > 0.0 && alpha >= 0.0 {
        let bent = emit.min(y, zero);
        let bent = emit.shift(bent, alpha * gamma);
        let positive = emit.unit_step(x);
        let rest = emit.scale(positive, gamma - alpha * gamma);
        emit.add(bent, rest)
    } else {
        let positive = emit.greater(x, zero);
        let straight = emit.scalar(gamma, x);
        let bent = emit.shift(y, alpha * gamma);
        emit.select(positive, straight, bent)
    };
    emit.mul(dy, slope)
}

/// y = max(x, 0) + min(alpha (e^(x / alpha) - 1), 0)   gives   dx = dy * (min(y, 0) / alpha + 1)
fn celu(node: &NodeView, emit: &mut Emit) -> Ruled {
    let alpha = f64::from(node.node.float("alpha").unwrap_or(1.0));
    let y = node.output(0);
    let zero = emit.scalar(0.0, y);
    let bent = emit.min(y, zero);
    let bent = emit.scale(bent, 1.0 / alpha);
    let slope = emit.shift(bent, 1.0);
    one(emit.mul(node.dy(), slope))
}

/// y = x > 0 ? x : slope x   gives   dx = dy * (x > 0 ? 1 : slope),   dslope = dy * min(x, 0)
fn prelu(node: &NodeView, emit: &mut Emit) -> Ruled {
    let (dy, x, slope) = (node.dy(), node.input(0), node.input(1));
    let dx = node.needs(0).then(|| {
        let positive = emit.unit_step(x);
        let one = emit.scalar(1.0, slope);
        let rest = emit.sub(one, slope);
        let rise = emit.mul(positive, rest);
        let factor = emit.add(rise, slope);
        emit.mul(dy, factor)
    });
    let dslope = node.needs(1).then(|| {
        let zero = emit.scalar(0.0, x);
        let negative = emit.min(x, zero);
        emit.mul(dy, negative)
    });
    Ok(vec![dx, dslope])
}

/// y = x > alpha ? x : 0   gives   dx = dy where x > alpha, else 0
fn thresholded_relu(node: &NodeView, emit: &mut Emit) -> Ruled {
    let alpha = f64::from(node.node.float("alpha").unwrap_or(1.0));
    let above = emit.shift(node.input(0), -alpha);
    let active = emit.unit_step(above);
    one(emit.mul(node.dy(), active))
}

/// y = x moved by the bias towards 0 where |x| > lambd, else 0   gives   dx = dy where |x| > lambd, else 0
fn shrink(node: &NodeView, emit: &mut Emit) -> Ruled {
    let lambda = f64::from(node.node.float("lambd").unwrap_or(0.5));
    let size = emit.abs(node.input(0));
    let beyond = emit.shift(size, -lambda);
    let active = emit.unit_step(beyond);
    one(emit.mul(node.dy(), active))
}

/// y = min(max(alpha x + beta, 0), 1)   gives   dx = dy * alpha where 0 < y < 1, else 0
fn hard_sigmoid(node: &NodeView, emit: &mut Emit) -> Ruled {
    let alpha = f64::from(node.node.float("alpha").unwrap_or(0.2));
    let within = strictly_within_unit(node.output(0), emit);
    let slope = emit.scale(within, alpha);
    one(emit.mul(node.dy(), slope))
}

/// 1 where 0 < y < 1, else 0, for y in [0, 1]
fn strictly_within_unit(y: Value, emit: &mut Emit) -> Value {
    let square = emit.mul(y, y);
    let below = emit.sub(y, square);
    emit.unit_step(below)
}

/// y = x * h, h = min(max(x / 6 + 1/2, 0), 1)   gives   dx = dy * (h + x / 6 where 0 < h < 1)
fn hard_swish(node: &NodeView, emit: &mut Emit) -> Ruled {
    let x = node.input(0);
    let sixth = emit.scale(x, 1.0 / 6.0);
    let h = emit.shift(sixth, 0.5);
    let (zero, full) = (emit.scalar(0.0, x), emit.scalar(1.0, x));
    let h = emit.max(h, zero);
    let h = emit.min(h, full);
    let within = strictly_within_unit(h, emit);
    let rise = emit.mul(sixth, within);
    let slope = emit.add(h, rise);
    one(emit.mul(node.dy(), slope))
}

/// y = x * t, t = tanh(log(1 + e^x))   gives   dx = dy * (t + x * sigmoid(x) * (1 - t^2))
fn mish(node: &NodeView, emit: &mut Emit) -> Ruled {
    let x = node.input(0);
    let softplus = emit.softplus(x);
    let t = emit.tanh(softplus);
    let sigmoid = emit.sigmoid(x);
    let inner = emit.mul(x, sigmoid);
    let rise = tanh_grad(inner, t, emit);
    let slope = emit.add(t, rise);
    one(emit.mul(node.dy(), slope))
}
