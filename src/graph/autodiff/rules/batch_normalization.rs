//! Normalisation layers.

use super::{NodeView, Refusal, Rule, Ruled, rule};
use crate::graph::emit::{Emit, Value};
use crate::graph::model::attribute;
use crate::graph::train_form::BATCH_STATISTICS;

pub(super) const RULES: &[Rule] = &[rule("BatchNormalization", batch_normalization)];

/// y = scale * h + bias, h = (x - mean) / sqrt(var + eps)   gives   dbias = sum(dy),   dscale = sum(dy * h),
/// dx = scale / sqrt(var + eps) * dy with fixed statistics; with those of the batch, whose dependence on x counts,
/// dx = scale / sqrt(var + eps) * (dy - dbias / n - h * dscale / n)
///
/// The training form of a model marks the nodes that normalise with the statistics of the batch.
fn batch_normalization(node: &NodeView, emit: &mut Emit) -> Ruled {
    let of_batch = node.node.int(BATCH_STATISTICS).is_some();
    if !of_batch && (node.needs(3) || node.needs(4)) {
        return Err(Refusal("its statistics depend on parameters, expected constants".to_owned()));
    }
    let (dy, x) = (node.dy(), node.input(0));
    let (scale, mean, var) = (node.input(1), node.input(3), node.input(4));
    let epsilon = node.node.float("epsilon").unwrap_or(1e-5);
    let axes: Vec<usize> = (0..emit.rank(x)).filter(|axis| *axis != 1).collect();
    let channels = emit.dims(scale).to_vec();
    let count: usize = axes.iter().filter_map(|axis| emit.dims(x).get(*axis)).product();
    let (one, zero) = (emit.scalar(1.0, scale), emit.scalar(0.0, scale));
    let (ones, zeros) = (emit.expand(one, &channels), emit.expand(zero, &channels));

    let normalized = affine(x, ones, zeros, mean, var, epsilon, emit);
    let product = emit.mul(dy, normalized);
    let dscale = emit.reduce_sum(product, &axes);
    let dscale = emit.reshape(dscale, &channels);
    let dbias = emit.reduce_sum(dy, &axes);
    let dbias = emit.reshape(dbias, &channels);

    let dx = node.needs(0).then(|| {
        let shifted = emit.shift(var, f64::from(epsilon));
        let deviation = emit.sqrt(shifted);
        let slope = emit.div(scale, deviation);
        let mut per_channel = vec![1; emit.rank(x)];
        if let (Some(axis), [count]) = (per_channel.get_mut(1), channels.as_slice()) {
            *axis = *count;
        }
        let wide_slope = emit.reshape(slope, &per_channel);
        let direct = emit.mul(dy, wide_slope);
        if !of_batch {
            return direct;
        }
        // -slope * (h * dscale + dbias) / n is again an affine function of the normalised input.
        let factor = emit.scale(slope, -1.0 / count as f64);
        let (gain, offset) = (emit.mul(factor, dscale), emit.mul(factor, dbias));
        let through_statistics = affine(x, gain, offset, mean, var, epsilon, emit);
        emit.add(direct, through_statistics)
    });
    Ok(vec![dx, Some(dscale), Some(dbias), None, None])
}

/// `gain * (x - mean) / sqrt(var + eps) + offset` per channel, in one pass.
fn affine(
    x: Value,
    gain: Value,
    offset: Value,
    mean: Value,
    var: Value,
    epsilon: f32,
    emit: &mut Emit,
) -> Value {
    let kind = emit.kind(x).clone();
    emit.op(
        "BatchNormalization",
        &[x, gain, offset, mean, var],
        vec![attribute::float("epsilon", epsilon)],
        kind,
    )
}
