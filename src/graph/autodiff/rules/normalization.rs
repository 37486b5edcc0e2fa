//! Layers that normalise each example by its own statistics.

use super::{Composition, NodeView, Rule, Ruled, composed, rule};
use crate::graph::emit::{Emit, Value};
use crate::graph::model::attribute;
use crate::graph::tensor::{Dtype, ValueType, elements};

pub(super) const RULES: &[Rule] = &[
    rule("LayerNormalization", layer_normalization).since(17).for_all_outputs(),
    composed("RMSNormalization", rms_normalization).since(23),
    rule("InstanceNormalization", instance_normalization),
    composed("GroupNormalization", group_normalization).since(18),
    composed("LpNormalization", lp_normalization),
];

/// A value normalised over axes: `h = (x - mean) * inverse`, with `inverse = 1 / sqrt(variance + epsilon)`.
struct Normalized {
    h: Value,
    inverse: Value,
    axes: Vec<usize>,
}

impl Normalized {
    fn of(x: Value, epsilon: f64, axes: Vec<usize>, emit: &mut Emit) -> Self {
        let mean = emit.reduce_mean(x, &axes);
        let centred = emit.sub(x, mean);
        let square = emit.mul(centred, centred);
        let variance = emit.reduce_mean(square, &axes);
        let shifted = emit.shift(variance, epsilon);
        let deviation = emit.sqrt(shifted);
        let inverse = emit.reciprocal(deviation);
        let h = emit.mul(centred, inverse);
        Self { h, inverse, axes }
    }

    /// dx = inverse * (dh - mean(dh) - h * mean(dh * h))
    fn input_grad(&self, dh: Value, emit: &mut Emit) -> Value {
        let along = emit.mul(dh, self.h);
        let along = emit.reduce_mean(along, &self.axes);
        let along = emit.mul(self.h, along);
        let mean = emit.reduce_mean(dh, &self.axes);
        let rest = emit.sub(dh, mean);
        let rest = emit.sub(rest, along);
        emit.mul(rest, self.inverse)
    }
}

/// y = scale * h + bias   gives   dscale = sum(dy * h),   dbias = sum(dy),   dx from dh = dy * scale; the mean, if the loss
/// reads it, adds dmean / n, the inverse deviation r adds -dr * r^2 * h / n
fn layer_normalization(node: &NodeView, emit: &mut Emit) -> Ruled {
    let x = node.input(0);
    let rank = emit.rank(x);
    let axes: Vec<usize> = (node.axis(-1, rank)..rank).collect();
    let epsilon = f64::from(node.node.float("epsilon").unwrap_or(1e-5));
    let normalized = layer_statistics(node, epsilon, axes, emit);
    let [dy, dmean, dinverse] =
        [0, 1, 2].map(|position| node.output_grads().get(position).copied().flatten());
    let dscale = dy.filter(|_| node.needs(1)).map(|dy| emit.mul(dy, normalized.h));
    let mut parts = Vec::new();
    if node.needs(0) {
        let dtype = emit.dtype(x);
        let count: usize = normalized.axes.iter().filter_map(|axis| emit.dims(x).get(*axis)).product();
        if let Some(dy) = dy {
            let dh = emit.mul(dy, node.input(1));
            parts.push(normalized.input_grad(dh, emit));
        }
        if let Some(dmean) = dmean {
            let dmean = emit.cast(dmean, dtype);
            let share = emit.scale(dmean, 1.0 / count as f64);
            let dims = emit.dims(x).to_vec();
            parts.push(emit.expand(share, &dims));
        }
        if let Some(dinverse) = dinverse {
            let dinverse = emit.cast(dinverse, dtype);
            let square = emit.mul(normalized.inverse, normalized.inverse);
            let slope = emit.mul(dinverse, square);
            let slope = emit.scale(slope, -1.0 / count as f64);
            parts.push(emit.mul(slope, normalized.h));
        }
    }
    let dx = parts.into_iter().reduce(|sum, part| emit.add(sum, part));
    Ok(vec![dx, dscale, dy])
}

/// The statistics that the operator itself gives, which for float64 it gives in float32: those are computed again.
fn layer_statistics(node: &NodeView, epsilon: f64, axes: Vec<usize>, emit: &mut Emit) -> Normalized {
    let x = node.input(0);
    let is_exact = emit.dtype(x) == Dtype::F32 && node.node.int("stash_type").unwrap_or(1) == 1;
    if !is_exact {
        return Normalized::of(x, epsilon, axes, emit);
    }
    let dims = emit.dims(x).iter().enumerate();
    let dims: Vec<usize> = dims.map(|(axis, dim)| if axes.contains(&axis) { 1 } else { *dim }).collect();
    let kind = ValueType::new(Dtype::F32, dims);
    let mean = emit.extra_output(&node.node.name, 1, kind.clone());
    let inverse = emit.extra_output(&node.node.name, 2, kind);
    let centred = emit.sub(x, mean);
    Normalized { h: emit.mul(centred, inverse), inverse, axes }
}

/// y = scale * x / sqrt(mean(x^2) + eps)
fn rms_normalization(node: &NodeView, emit: &mut Emit) -> Composition {
    let x = node.input(0);
    let rank = emit.rank(x);
    let axes: Vec<usize> = (node.axis(-1, rank)..rank).collect();
    let square = emit.mul(x, x);
    let mean = emit.reduce_mean(square, &axes);
    let shifted = emit.shift(mean, f64::from(node.node.float("epsilon").unwrap_or(1e-5)));
    let root = emit.sqrt(shifted);
    let normalized = emit.div(x, root);
    Ok(vec![Some(emit.mul(normalized, node.input(1)))])
}

/// y = scale * h + bias per channel, h normalised over the positions   gives   as for LayerNormalization
fn instance_normalization(node: &NodeView, emit: &mut Emit) -> Ruled {
    let (dy, x, scale) = (node.dy(), node.input(0), node.input(1));
    let axes: Vec<usize> = (2..emit.rank(x)).collect();
    let epsilon = f64::from(node.node.float("epsilon").unwrap_or(1e-5));
    let normalized = Normalized::of(x, epsilon, axes, emit);
    let channels = emit.dims(scale).to_vec();
    let per_channel = per_channel_dims(emit.rank(x), elements(&channels));
    let summed = |value: Value, emit: &mut Emit| {
        let sum = emit.reduce_to(value, &per_channel);
        emit.reshape(sum, &channels)
    };
    let dscale = node.needs(1).then(|| {
        let product = emit.mul(dy, normalized.h);
        summed(product, emit)
    });
    let dbias = node.needs(2).then(|| summed(dy, emit));
    let dx = node.needs(0).then(|| {
        let scale = emit.reshape(scale, &per_channel);
        let dh = emit.mul(dy, scale);
        normalized.input_grad(dh, emit)
    });
    Ok(vec![dx, dscale, dbias])
}

/// `[1, channels, 1, ...]`
fn per_channel_dims(rank: usize, channels: usize) -> Vec<usize> {
    (0..rank).map(|axis| if axis == 1 { channels } else { 1 }).collect()
}

/// y = scale * h + bias per channel, h normalised over the positions and channels of each group
///
/// Groups stand in the place of channels of an InstanceNormalization. Before opset 21 there was one scale for each group.
fn group_normalization(node: &NodeView, emit: &mut Emit) -> Composition {
    let x = node.input(0);
    let dims = emit.dims(x).to_vec();
    let [batch, channels] = *dims.first_chunk().expect("ONNX Runtime refused inputs without channels");
    let groups = node.node.int("num_groups").and_then(|groups| usize::try_from(groups).ok()).unwrap_or(1);
    let grouped = emit.reshape(x, &[batch, groups, elements(&dims) / (batch * groups).max(1)]);
    let [one, zero] = [1.0, 0.0].map(|number| {
        let number = emit.scalar(number, x);
        emit.expand(number, &[groups])
    });
    let epsilon = attribute::float("epsilon", node.node.float("epsilon").unwrap_or(1e-5));
    let kind = emit.kind(grouped).clone();
    let normalized = emit.op("InstanceNormalization", &[grouped, one, zero], vec![epsilon], kind);
    let normalized = emit.reshape(normalized, &dims);
    let per_channel = per_channel_dims(dims.len(), channels);
    let [scale, bias] = [1, 2].map(|position| {
        let mut given = node.input(position);
        if elements(emit.dims(given)) != channels {
            let column = emit.reshape(given, &[groups, 1]);
            given = emit.expand(column, &[groups, channels / groups]);
        }
        emit.reshape(given, &per_channel)
    });
    let scaled = emit.mul(normalized, scale);
    Ok(vec![Some(emit.add(scaled, bias))])
}

/// y = x / |x|, and 0 for a norm of 0
fn lp_normalization(node: &NodeView, emit: &mut Emit) -> Composition {
    let x = node.input(0);
    let axis = node.axis(-1, emit.rank(x));
    let norm = if node.node.int("p").unwrap_or(2) == 1 { "ReduceL1" } else { "ReduceL2" };
    let norm = emit.reduce(norm, x, &[axis]);
    let zero = emit.scalar(0.0, x);
    let is_zero = emit.equal(norm, zero);
    let is_zero = emit.cast(is_zero, emit.dtype(x));
    let divisor = emit.add(norm, is_zero);
    Ok(vec![Some(emit.div(x, divisor))])
}
