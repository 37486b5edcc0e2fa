//! Sums and means over axes.

use super::{NodeView, Refusal, Rule, Ruled, rule};
use crate::graph::emit::{Emit, Value};
use crate::graph::tensor::elements;

pub(super) const RULES: &[Rule] = &[rule("ReduceSum", reduce_sum), rule("ReduceMean", reduce_mean)];

/// y = sum(x)   gives   dx = dy, repeated
fn reduce_sum(node: &NodeView, emit: &mut Emit) -> Ruled {
    Ok(vec![Some(spread(node, emit)?), None])
}

/// y = mean(x)   gives   dx = dy / n, repeated
fn reduce_mean(node: &NodeView, emit: &mut Emit) -> Ruled {
    let count =
        elements(emit.dims(node.input(0))) as f64 / (elements(emit.dims(node.output(0))).max(1)) as f64;
    let dims = emit.dims(node.input(0)).to_vec();
    let kept = with_kept_axes(node, emit)?;
    let share = emit.scale(kept, 1.0 / count);
    Ok(vec![Some(emit.expand(share, &dims)), None])
}

fn spread(node: &NodeView, emit: &mut Emit) -> Result<Value, Refusal> {
    let dims = emit.dims(node.input(0)).to_vec();
    let kept = with_kept_axes(node, emit)?;
    Ok(emit.expand(kept, &dims))
}

/// `dy` with the reduced axes as size 1, whether or not the node kept them.
fn with_kept_axes(node: &NodeView, emit: &mut Emit) -> Result<Value, Refusal> {
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
    Ok(emit.reshape(node.dy(), &dims))
}
