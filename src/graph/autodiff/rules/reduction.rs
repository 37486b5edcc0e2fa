//! Reductions over axes, running sums and running products.

use super::{NodeView, Refusal, Rule, Ruled, from_front, one, rule};
use crate::graph::emit::{Emit, Order, Value};
use crate::graph::model::attribute;
use crate::graph::tensor::elements;

pub(super) const RULES: &[Rule] = &[
    rule("ReduceSum", reduce_sum),
    rule("ReduceMean", reduce_mean),
    rule("ReduceMax", reduce_extreme),
    rule("ReduceMin", reduce_extreme),
    rule("ReduceProd", reduce_prod),
    rule("ReduceL1", reduce_l1),
    rule("ReduceL2", reduce_l2),
    rule("ReduceSumSquare", reduce_sum_square),
    rule("ReduceLogSum", reduce_log_sum),
    rule("ReduceLogSumExp", reduce_log_sum_exp),
    rule("CumSum", cumulative_sum),
    rule("CumProd", cumulative_product).since(26),
];

/// A reduction with its reduced axes as size 1, whether or not the node kept them.
struct Reduced {
    axes: Vec<usize>,
    x: Value,
    y: Value,
    dy: Value,
}

impl Reduced {
    fn of(node: &NodeView, emit: &mut Emit) -> Result<Self, Refusal> {
        let x = node.input(0);
        let rank = emit.rank(x);
        let given = node.axes(emit, 1, rank);
        if given.is_none() && node.optional_input(1).is_some() {
            return Err(Refusal("its axes are computed, expected constants".to_owned()));
        }
        let axes = match given {
            Some(axes) if !axes.is_empty() => axes,
            _ if node.node.int("noop_with_empty_axes").unwrap_or(0) != 0 => Vec::new(),
            _ => (0..rank).collect(),
        };
        let dims = emit.dims(x).iter().enumerate();
        let dims: Vec<usize> = dims.map(|(axis, dim)| if axes.contains(&axis) { 1 } else { *dim }).collect();
        let (y, dy) = (emit.reshape(node.output(0), &dims), emit.reshape(node.dy(), &dims));
        Ok(Self { axes, x, y, dy })
    }

    /// `value` repeated along the reduced axes.
    fn spread(&self, value: Value, emit: &mut Emit) -> Ruled {
        let dims = emit.dims(self.x).to_vec();
        Ok(vec![Some(emit.expand(value, &dims)), None])
    }
}

fn to_first(grad: Value) -> Ruled {
    Ok(vec![Some(grad), None])
}

/// y = sum(x)   gives   dx = dy, repeated
fn reduce_sum(node: &NodeView, emit: &mut Emit) -> Ruled {
    let reduced = Reduced::of(node, emit)?;
    reduced.spread(reduced.dy, emit)
}

/// y = mean(x)   gives   dx = dy / n, repeated
fn reduce_mean(node: &NodeView, emit: &mut Emit) -> Ruled {
    let reduced = Reduced::of(node, emit)?;
    let count = elements(emit.dims(reduced.x)) as f64 / (elements(emit.dims(reduced.y)).max(1)) as f64;
    let share = emit.scale(reduced.dy, 1.0 / count);
    reduced.spread(share, emit)
}

/// y = max(x) or min(x)   gives   dy to those x that equal y, in equal parts, as `torch.amax` does
fn reduce_extreme(node: &NodeView, emit: &mut Emit) -> Ruled {
    let Reduced { axes, x, y, dy } = Reduced::of(node, emit)?;
    let wins = emit.equal(x, y);
    let wins = emit.cast(wins, emit.dtype(x));
    let winners = emit.reduce_sum(wins, &axes);
    let share = emit.div(dy, winners);
    to_first(emit.mul(wins, share))
}

/// y = x1 x2 ...   gives   dx = dy * product of the others
///
/// That is the product with 1 in the place of each 0, divided by the own factor, and 0 if another factor is 0.
fn reduce_prod(node: &NodeView, emit: &mut Emit) -> Ruled {
    let Reduced { axes, x, dy, .. } = Reduced::of(node, emit)?;
    let zero = emit.scalar(0.0, x);
    let is_zero = emit.equal(x, zero);
    let is_zero = emit.cast(is_zero, emit.dtype(x));
    let nowhere_zero = emit.add(x, is_zero);
    let product = emit.reduce("ReduceProd", nowhere_zero, &axes);
    let zeros = emit.reduce_sum(is_zero, &axes);
    let other_zeros = emit.sub(zeros, is_zero);
    let other_is_zero = emit.unit_step(other_zeros);
    let full = emit.scalar(1.0, x);
    let counts = emit.sub(full, other_is_zero);
    let scaled = emit.mul(dy, product);
    let quotient = emit.div(scaled, nowhere_zero);
    to_first(emit.mul(quotient, counts))
}

/// y = sum |x|   gives   dx = dy * sign(x), so 0 at 0
fn reduce_l1(node: &NodeView, emit: &mut Emit) -> Ruled {
    let Reduced { x, dy, .. } = Reduced::of(node, emit)?;
    let sign = emit.sign(x);
    to_first(emit.mul(sign, dy))
}

/// y = sqrt(sum x^2)   gives   dx = dy * x / y, and 0 where y is 0, as in PyTorch
fn reduce_l2(node: &NodeView, emit: &mut Emit) -> Ruled {
    let Reduced { x, y, dy, .. } = Reduced::of(node, emit)?;
    let zero = emit.scalar(0.0, y);
    let is_zero = emit.equal(y, zero);
    let is_zero = emit.cast(is_zero, emit.dtype(y));
    let divisor = emit.add(y, is_zero);
    let share = emit.div(dy, divisor);
    to_first(emit.mul(x, share))
}

/// y = sum x^2   gives   dx = 2 x dy
fn reduce_sum_square(node: &NodeView, emit: &mut Emit) -> Ruled {
    let Reduced { x, dy, .. } = Reduced::of(node, emit)?;
    let double = emit.scale(dy, 2.0);
    to_first(emit.mul(x, double))
}

/// y = log(sum x)   gives   dx = dy * e^-y, repeated
fn reduce_log_sum(node: &NodeView, emit: &mut Emit) -> Ruled {
    let reduced = Reduced::of(node, emit)?;
    let negative = emit.neg(reduced.y);
    let inverse = emit.exp(negative);
    let share = emit.mul(reduced.dy, inverse);
    reduced.spread(share, emit)
}

/// y = log(sum e^x)   gives   dx = dy * e^(x - y), and 0 where all x are -inf
fn reduce_log_sum_exp(node: &NodeView, emit: &mut Emit) -> Ruled {
    let Reduced { x, y, dy, .. } = Reduced::of(node, emit)?;
    let lowest = emit.scalar(f64::from(f32::MIN), y);
    let finite = emit.max(y, lowest);
    let difference = emit.sub(x, finite);
    let share = emit.exp(difference);
    to_first(emit.mul(share, dy))
}

/// y = running sum of x   gives   dx = running sum of dy in the other direction
fn cumulative_sum(node: &NodeView, emit: &mut Emit) -> Ruled {
    let flag = |name: &str| node.node.int(name).unwrap_or(0);
    let attributes =
        vec![attribute::int("exclusive", flag("exclusive")), attribute::int("reverse", 1 - flag("reverse"))];
    let kind = emit.kind(node.input(0)).clone();
    one(emit.op("CumSum", &[node.dy(), node.input(1)], attributes, kind))
}

/// y_i = x_1 ... x_i   gives   dx_i = (x_1 ... x_(i-1)) s_i   with   s_i = dy_i + x_(i+1) s_(i+1)
///
/// Exclusive products leave x_i out of y_i; then s_i = dy_(i+1) + x_(i+1) s_(i+1). Nothing is divided, so factors of 0
/// need no care.
fn cumulative_product(node: &NodeView, emit: &mut Emit) -> Ruled {
    let (x, dy) = (node.input(0), node.dy());
    let dims = emit.dims(x).to_vec();
    if elements(&dims) == 0 {
        return Ok(vec![Some(emit.zeros_like(x)), None]);
    }
    let axis = node.known(emit, 1).and_then(|axis| axis.to_i64()).and_then(|axis| axis.first().copied());
    let axis = axis.ok_or_else(|| Refusal("its axis is computed, expected a constant".to_owned()))?;
    let axis = from_front(axis, dims.len());
    let flag = |name: &str| node.node.int(name).unwrap_or(0) != 0;
    let attributes =
        vec![attribute::int("exclusive", 1), attribute::int("reverse", i64::from(flag("reverse")))];
    let kind = emit.kind(x).clone();
    let before = emit.op("CumProd", &[x, node.input(1)], attributes, kind);
    // A Scan takes its steps along the first axis.
    let others = (0..dims.len()).filter(|other| *other != axis);
    let to_front: Vec<usize> = std::iter::once(axis).chain(others).collect();
    let mut back: Vec<usize> = (1..=axis).chain(std::iter::once(0)).collect();
    back.extend(axis + 1..dims.len());
    let (dy, x) = (emit.transpose(dy, &to_front), emit.transpose(x, &to_front));
    let zero = emit.scalar(0.0, x);
    let rest = emit.dims(x).get(1..).unwrap_or_default().to_vec();
    let zeros = emit.expand(zero, &rest);
    let order = if flag("reverse") { Order::Forward } else { Order::Backward };
    let (_, [sums]) = emit.scan(order, [zeros], [dy, x], [], |body, [behind], [dy, x], []| {
        if flag("exclusive") {
            let through = body.mul(x, behind);
            return ([body.add(dy, through)], [behind]);
        }
        let sum = body.add(dy, behind);
        ([body.mul(x, sum)], [sum])
    });
    let sums = emit.transpose(sums, &back);
    Ok(vec![Some(emit.mul(before, sums)), None])
}
