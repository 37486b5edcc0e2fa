//! Sums, products, powers and selections of elements.

use super::{NodeView, Refusal, Rule, Ruled, one, rule};
use crate::graph::emit::{Emit, Value};
use crate::graph::tensor::Dtype;

pub(super) const RULES: &[Rule] = &[
    rule("Add", add),
    rule("Sub", sub),
    rule("Mul", mul),
    rule("Div", div),
    rule("Neg", neg),
    rule("Abs", abs),
    rule("Reciprocal", reciprocal),
    rule("Sqrt", sqrt),
    rule("Pow", pow),
    rule("Sum", sum),
    rule("Mean", mean),
    rule("Max", extreme),
    rule("Min", extreme),
    rule("Mod", modulo),
    rule("Where", select),
    rule("Clip", clip),
];

/// y = a + b   gives   da = dy,   db = dy
fn add(node: &NodeView, _: &mut Emit) -> Ruled {
    Ok(vec![Some(node.dy()), Some(node.dy())])
}

/// y = a - b   gives   da = dy,   db = -dy
fn sub(node: &NodeView, emit: &mut Emit) -> Ruled {
    let db = node.needs(1).then(|| emit.neg(node.dy()));
    Ok(vec![Some(node.dy()), db])
}

/// y = a * b   gives   da = dy * b,   db = dy * a
fn mul(node: &NodeView, emit: &mut Emit) -> Ruled {
    let (dy, a, b) = (node.dy(), node.input(0), node.input(1));
    let da = node.needs(0).then(|| emit.mul(dy, b));
    let db = node.needs(1).then(|| emit.mul(dy, a));
    Ok(vec![da, db])
}

/// y = a / b   gives   da = dy / b,   db = -(dy * y) / b
///
/// `db` reuses `y` rather than squaring `b`, which would overflow sooner.
fn div(node: &NodeView, emit: &mut Emit) -> Ruled {
    let (dy, y, b) = (node.dy(), node.output(0), node.input(1));
    let da = node.needs(0).then(|| emit.div(dy, b));
    let db = node.needs(1).then(|| {
        let scaled = emit.mul(dy, y);
        let quotient = emit.div(scaled, b);
        emit.neg(quotient)
    });
    Ok(vec![da, db])
}

/// y = -x   gives   dx = -dy
fn neg(node: &NodeView, emit: &mut Emit) -> Ruled {
    one(emit.neg(node.dy()))
}

/// y = |x|   gives   dx = dy * sign(x), so 0 at 0
fn abs(node: &NodeView, emit: &mut Emit) -> Ruled {
    let sign = emit.sign(node.input(0));
    one(emit.mul(node.dy(), sign))
}

/// y = 1 / x   gives   dx = -dy * y * y
fn reciprocal(node: &NodeView, emit: &mut Emit) -> Ruled {
    let square = emit.mul(node.output(0), node.output(0));
    let product = emit.mul(node.dy(), square);
    one(emit.neg(product))
}

/// y = sqrt(x)   gives   dx = dy / (2 y)
fn sqrt(node: &NodeView, emit: &mut Emit) -> Ruled {
    let double = emit.scale(node.output(0), 2.0);
    one(emit.div(node.dy(), double))
}

/// y = a ^ b   gives   da = dy * b * a^(b - 1),   db = dy * y * log(a)
///
/// As in PyTorch, `da` is 0 where `b` is 0, and `db` is 0 where `a` is 0 and `b` is not negative.
fn pow(node: &NodeView, emit: &mut Emit) -> Ruled {
    let (dy, a) = (node.dy(), node.input(0));
    let exponent = node
        .known(emit, 1)
        .and_then(|b| b.to_f64().or_else(|| b.to_i64().map(|b| b.iter().map(|x| *x as f64).collect())));
    let b = emit.cast(node.input(1), emit.dtype(a));
    let da = match (node.needs(0), exponent.as_deref()) {
        (false, _) => None,
        (true, Some([2.0])) => {
            let double = emit.scale(a, 2.0);
            Some(emit.mul(dy, double))
        }
        (true, _) => Some(pow_base(dy, a, b, emit)),
    };
    let db = node.needs(1).then(|| {
        let log = emit.log(a);
        let slope = emit.mul(node.output(0), log);
        let (zero_a, zero_b) = (emit.scalar(0.0, a), emit.scalar(0.0, b));
        let (base_is_zero, negative) = (emit.equal(a, zero_a), emit.less(b, zero_b));
        let grad = emit.mul(dy, slope);
        let kept = emit.zeros_like(grad);
        // Where the base is 0 the slope is kept only for a negative exponent.
        let at_zero = emit.select(negative, grad, kept);
        let grad = emit.select(base_is_zero, at_zero, grad);
        emit.cast(grad, emit.dtype(node.input(1)))
    });
    Ok(vec![da, db])
}

fn pow_base(dy: Value, a: Value, b: Value, emit: &mut Emit) -> Value {
    let lower = emit.shift(b, -1.0);
    let power = emit.pow(a, lower);
    let slope = emit.mul(b, power);
    let grad = emit.mul(dy, slope);
    let zero = emit.scalar(0.0, b);
    let constant = emit.equal(b, zero);
    let none = emit.scalar(0.0, grad);
    emit.select(constant, none, grad)
}

/// y = a + b + ...   gives   dy for each
fn sum(node: &NodeView, _: &mut Emit) -> Ruled {
    Ok(node.inputs().iter().map(|_| Some(node.dy())).collect())
}

/// y = (a + b + ...) / n   gives   dy / n for each
fn mean(node: &NodeView, emit: &mut Emit) -> Ruled {
    let share = emit.scale(node.dy(), 1.0 / node.inputs().len().max(1) as f64);
    Ok(node.inputs().iter().map(|_| Some(share)).collect())
}

/// y = max(a, b, ...) or min(a, b, ...)   gives   dy to those that equal y, in equal parts, as in PyTorch
fn extreme(node: &NodeView, emit: &mut Emit) -> Ruled {
    let (dy, y) = (node.dy(), node.output(0));
    let operands: Vec<Value> = node.inputs().iter().copied().flatten().collect();
    if operands.len() == 1 {
        return one(dy);
    }
    let mut wins = Vec::with_capacity(operands.len());
    for operand in &operands {
        let equal = emit.equal(*operand, y);
        wins.push(emit.cast(equal, emit.dtype(y)));
    }
    let winners = wins.iter().copied().reduce(|sum, win| emit.add(sum, win)).unwrap_or(y);
    let share = emit.div(dy, winners);
    let grads = wins.iter().enumerate();
    Ok(grads.map(|(position, win)| node.needs(position).then(|| emit.mul(share, *win))).collect())
}

/// y = a - b * q, q = a / b rounded towards 0   gives   da = dy,   db = -dy * q
///
/// For floats ONNX has no other form of the remainder.
fn modulo(node: &NodeView, emit: &mut Emit) -> Ruled {
    let (dy, a, b, y) = (node.dy(), node.input(0), node.input(1), node.output(0));
    let db = node.needs(1).then(|| {
        let whole = emit.sub(a, y);
        let quotient = emit.div(whole, b);
        let quotient = emit.round(quotient);
        let product = emit.mul(dy, quotient);
        emit.neg(product)
    });
    Ok(vec![Some(dy), db])
}

/// y = c ? a : b   gives   da = c ? dy : 0,   db = c ? 0 : dy
///
/// A condition that is broadcast, as a mask of attention is, becomes a factor: that is a small conversion and a fast
/// product, where `Where` on the CPU goes element by element on one thread.
fn select(node: &NodeView, emit: &mut Emit) -> Ruled {
    let (dy, condition) = (node.dy(), node.input(0));
    if emit.kind(condition).elements() < emit.kind(dy).elements() {
        let chosen = emit.cast(condition, emit.dtype(dy));
        let da = node.needs(1).then(|| emit.mul(dy, chosen));
        let db = node.needs(2).then(|| {
            let full = emit.scalar(1.0, dy);
            let other = emit.sub(full, chosen);
            emit.mul(dy, other)
        });
        return Ok(vec![None, da, db]);
    }
    let zero = emit.scalar(0.0, dy);
    let da = node.needs(1).then(|| emit.select(condition, dy, zero));
    let db = node.needs(2).then(|| emit.select(condition, zero, dy));
    Ok(vec![None, da, db])
}

/// y = min(max(x, low), high)   gives   dx = dy where low < x < high, else 0: nothing at the bounds, as in PyTorch
fn clip(node: &NodeView, emit: &mut Emit) -> Ruled {
    if node.needs(1) || node.needs(2) {
        return Err(Refusal("its bounds depend on parameters, expected constants".to_owned()));
    }
    let (x, low, high) = (node.input(0), node.optional_input(1), node.optional_input(2));
    if emit.dtype(x) == Dtype::F32 {
        // A bound at the end of the range bounds nothing.
        let bounds = |bound: &Value| {
            let number = emit.known(*bound).and_then(|bound| bound.to_f64()).and_then(|n| n.first().copied());
            number.is_none_or(|number| number.abs() < f64::from(f32::MAX))
        };
        let (low, high) = (low.filter(bounds), high.filter(bounds));
        return one(clip_by_distance(node, low, high, emit));
    }
    let low = low.map(|low| emit.greater(x, low));
    let high = high.map(|high| emit.less(x, high));
    let inside = match (low, high) {
        (Some(low), Some(high)) => emit.and(low, high),
        (Some(bound), None) | (None, Some(bound)) => bound,
        (None, None) => return one(node.dy()),
    };
    one(emit.keep_where(inside, node.dy()))
}

/// The same from the distances of y to its bounds, whose product is positive inside: fewer passes, and fast ones.
fn clip_by_distance(node: &NodeView, low: Option<Value>, high: Option<Value>, emit: &mut Emit) -> Value {
    let y = node.output(0);
    let above = low.map(|low| {
        let is_zero = emit.known(low).and_then(|low| low.to_f64()).is_some_and(|low| low == [0.0]);
        if is_zero { y } else { emit.sub(y, low) }
    });
    let below = high.map(|high| emit.sub(high, y));
    let distance = match (above, below) {
        (Some(above), Some(below)) => emit.mul(above, below),
        (Some(distance), None) | (None, Some(distance)) => distance,
        (None, None) => return node.dy(),
    };
    let inside = emit.unit_step(distance);
    emit.mul(node.dy(), inside)
}
