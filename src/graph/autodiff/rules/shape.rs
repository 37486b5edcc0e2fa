//! Operators that move elements without changing them.

use super::{NodeView, Refusal, Rule, Ruled, from_front, one, rule};
use crate::graph::emit::{Emit, Value};
use crate::graph::tensor::elements;

pub(super) const RULES: &[Rule] = &[
    rule("Reshape", same_elements),
    rule("Flatten", same_elements),
    rule("Squeeze", same_elements),
    rule("Unsqueeze", same_elements),
    rule("Transpose", transpose),
    rule("Concat", concat),
    rule("Split", split).for_all_outputs(),
    rule("Slice", slice),
    rule("Expand", expand),
    rule("Tile", tile),
    rule("Trilu", trilu).since(14),
    rule("ReverseSequence", reverse_sequence),
    rule("DepthToSpace", depth_to_space),
    rule("SpaceToDepth", space_to_depth),
];

/// y = x in other dimensions   gives   dx = dy in those of x
fn same_elements(node: &NodeView, emit: &mut Emit) -> Ruled {
    let dims = emit.dims(node.input(0)).to_vec();
    one(emit.reshape(node.dy(), &dims))
}

/// y = x with permuted axes   gives   dx = dy with the inverse permutation
fn transpose(node: &NodeView, emit: &mut Emit) -> Ruled {
    let rank = emit.rank(node.input(0));
    let reversed: Vec<i64> = (0..rank as i64).rev().collect();
    let perm = node.node.ints("perm").unwrap_or(&reversed);
    let mut inverse = vec![0; rank];
    for (position, axis) in perm.iter().enumerate() {
        if let Some(slot) = inverse.get_mut(from_front(*axis, rank)) {
            *slot = position;
        }
    }
    one(emit.transpose(node.dy(), &inverse))
}

/// y = [a, b, ...]   gives   to each its part of dy
fn concat(node: &NodeView, emit: &mut Emit) -> Ruled {
    let axis = node.axis(0, emit.rank(node.output(0)));
    let mut start = 0;
    let mut grads = Vec::with_capacity(node.inputs().len());
    for (position, input) in node.inputs().iter().enumerate() {
        let size = input.and_then(|input| emit.dims(input).get(axis).copied()).unwrap_or(0);
        let grad =
            node.needs(position).then(|| emit.slice(node.dy(), &[axis], &[start], &[start + size], &[1]));
        grads.push(grad);
        start += size;
    }
    Ok(grads)
}

/// a, b, ... = parts of x   gives   dx = [da, db, ...]
fn split(node: &NodeView, emit: &mut Emit) -> Ruled {
    let axis = node.axis(0, emit.rank(node.input(0)));
    let mut parts: Vec<Value> = Vec::with_capacity(node.output_grads().len());
    for (position, grad) in node.output_grads().iter().enumerate() {
        let part = match grad {
            Some(grad) => *grad,
            None => emit.zeros_like(node.output(position)),
        };
        parts.push(part);
    }
    Ok(vec![Some(emit.concat(&parts, axis)), None])
}

/// y = x[start..end step step]   gives   dx = dy between zeros, with zeros between its elements for a longer step
///
/// A negative step gives the elements in reverse, which is undone first.
fn slice(node: &NodeView, emit: &mut Emit) -> Ruled {
    let list = |position: usize| node.known(emit, position).and_then(|tensor| tensor.to_i64());
    let (Some(starts), Some(_)) = (list(1), list(2)) else {
        return Err(Refusal("its starts or ends are computed, expected constants".to_owned()));
    };
    let axes = list(3).unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = list(4).unwrap_or_else(|| vec![1; starts.len()]);
    let dims = emit.dims(node.input(0)).to_vec();
    let rank = dims.len();
    let mut grad = node.dy();
    let mut pads = vec![0; 2 * rank];
    for ((axis, start), step) in axes.iter().zip(&starts).zip(&steps) {
        let axis = from_front(*axis, rank);
        let size = dims.get(axis).copied().unwrap_or(0) as i64;
        let kept = emit.dims(grad).get(axis).copied().unwrap_or(0);
        let Some(reach) = (kept as i64).checked_sub(1).filter(|reach| *reach >= 0).map(|reach| reach * step)
        else {
            // Nothing was taken, so nothing comes back.
            return one(emit.zeros_like(node.input(0)));
        };
        let start = if *start < 0 { start.saturating_add(size) } else { *start };
        let mut begin = start.clamp(0, if *step < 0 { size - 1 } else { size });
        if *step < 0 {
            let reversed: Vec<i64> = (0..kept as i64).rev().collect();
            grad = emit.take(grad, axis, &reversed);
            begin += reach;
        }
        grad = spread_axis(grad, axis, usize::try_from(step.unsigned_abs()).unwrap_or(1), emit);
        let after = size - begin - reach.abs() - 1;
        for (slot, value) in [(axis, begin), (axis + rank, after)] {
            if let Some(pad) = pads.get_mut(slot) {
                *pad = usize::try_from(value).unwrap_or(0);
            }
        }
    }
    one(emit.pad(grad, &pads))
}

/// `x` with `step - 1` zeros between neighbours along an axis.
fn spread_axis(x: Value, axis: usize, step: usize, emit: &mut Emit) -> Value {
    let dims = emit.dims(x).to_vec();
    let count = dims.get(axis).copied().unwrap_or(0);
    if step == 1 || count <= 1 {
        return x;
    }
    let mut apart = dims.clone();
    apart.insert(axis + 1, 1);
    let apart_rank = apart.len();
    let split = emit.reshape(x, &apart);
    let mut pads = vec![0; 2 * apart_rank];
    if let Some(pad) = pads.get_mut(apart_rank + axis + 1) {
        *pad = step - 1;
    }
    let padded = emit.pad(split, &pads);
    let mut joined = dims;
    if let Some(size) = joined.get_mut(axis) {
        *size = count * step;
    }
    let joined = emit.reshape(padded, &joined);
    emit.slice(joined, &[axis], &[0], &[(count - 1) * step + 1], &[1])
}

/// y = x repeated   gives   dx = dy summed over the repetitions, which the driver does
fn expand(node: &NodeView, _: &mut Emit) -> Ruled {
    Ok(vec![Some(node.dy()), None])
}

/// y = x repeated as a whole along each axis   gives   dx = dy summed over the repetitions
fn tile(node: &NodeView, emit: &mut Emit) -> Ruled {
    let dims = emit.dims(node.input(0)).to_vec();
    let (mut apart, mut summed) = (Vec::with_capacity(2 * dims.len()), Vec::new());
    for (size, whole) in dims.iter().zip(emit.dims(node.output(0)).to_vec()) {
        summed.push(apart.len());
        apart.extend([whole.checked_div(*size).unwrap_or(1), *size]);
    }
    if elements(&dims) == 0 {
        return Ok(vec![Some(emit.zeros_like(node.input(0))), None]);
    }
    let dy = emit.reshape(node.dy(), &apart);
    let sum = emit.reduce_sum(dy, &summed);
    Ok(vec![Some(emit.reshape(sum, &dims)), None])
}

/// y = one triangle of x   gives   dx = the same triangle of dy
fn trilu(node: &NodeView, emit: &mut Emit) -> Ruled {
    let kind = emit.kind(node.dy()).clone();
    let inputs = [Some(node.dy()), node.optional_input(1)];
    let grad = emit.multi_op("Trilu", &inputs, node.node.attributes.clone(), vec![kind]);
    Ok(vec![grad.first().copied(), None])
}

/// y = x with the first elements of each sequence reversed   gives   dx = dy with them reversed again
fn reverse_sequence(node: &NodeView, emit: &mut Emit) -> Ruled {
    let kind = emit.kind(node.dy()).clone();
    let attributes = node.node.attributes.clone();
    Ok(vec![Some(emit.op("ReverseSequence", &[node.dy(), node.input(1)], attributes, kind)), None])
}

/// y[n, c, h b + i, w b + j] = x[n, (i, j, c), h, w], or x[n, (c, i, j), h, w] in mode CRD
///    gives   dx = dy taken apart and permuted back
fn depth_to_space(node: &NodeView, emit: &mut Emit) -> Ruled {
    let dims = emit.dims(node.output(0)).to_vec();
    let [batch, channels, height, width] =
        *dims.first_chunk().expect("ONNX Runtime refused inputs without four axes");
    let block = block_size(node);
    let apart = [batch, channels, height / block, block, width / block, block];
    let dy = emit.reshape(node.dy(), &apart);
    let order = if node.node.string("mode") == Some("CRD") { [0, 1, 3, 5, 2, 4] } else { [0, 3, 5, 1, 2, 4] };
    let grad = emit.transpose(dy, &order);
    let dims = emit.dims(node.input(0)).to_vec();
    one(emit.reshape(grad, &dims))
}

fn block_size(node: &NodeView) -> usize {
    node.node.int("blocksize").and_then(|size| usize::try_from(size).ok()).unwrap_or(1).max(1)
}

/// y[n, (i, j, c), h, w] = x[n, c, h b + i, w b + j]   gives   dx = dy put together again
fn space_to_depth(node: &NodeView, emit: &mut Emit) -> Ruled {
    let dims = emit.dims(node.input(0)).to_vec();
    let [batch, channels, height, width] =
        *dims.first_chunk().expect("ONNX Runtime refused inputs without four axes");
    let block = block_size(node);
    let dy = emit.reshape(node.dy(), &[batch, block, block, channels, height / block, width / block]);
    let grad = emit.transpose(dy, &[0, 3, 4, 1, 5, 2]);
    one(emit.reshape(grad, &dims))
}
