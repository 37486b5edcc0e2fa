//! Operators that read or write elements at positions.
//!
//! Reading a position more than once means adding up at it. That is done by ScatterElements, on one thread and in a fixed
//! order, or as a product with a matrix of 0 and 1; ScatterND, which ONNX Runtime runs on several threads without a
//! lock, is written out with ScatterElements.

use super::{Composition, NodeView, Refusal, Rule, Ruled, composed, from_front, one, refused, rule};
use crate::graph::emit::{Emit, Processor, Reduction, Value};
use crate::graph::tensor::{Dtype, Tensor, ValueType, elements};

pub(super) const RULES: &[Rule] = &[
    rule("Gather", gather),
    rule("GatherElements", gather_elements).since(16),
    refused(
        "GatherElements",
        "adding up gradients at equal indices needs opset 16; export with opset_version=17",
    )
    .until(15),
    composed("GatherND", gather_nd),
    rule("ScatterElements", scatter_elements),
    composed("ScatterND", scatter_nd),
    rule("TopK", top_k),
    composed("OneHot", one_hot),
];

/// Up to this many rows a product with a matrix of 0 and 1 is faster on the CPU than adding row by row on one thread.
const PRODUCT_ROWS: usize = 512;
/// Most elements of such a matrix on a graphics processor, where adding row by row has no fixed order.
const PRODUCT_ELEMENTS: usize = 1 << 28;

/// y = x[indices]   gives   dx = dy added up at the indices
fn gather(node: &NodeView, emit: &mut Emit) -> Ruled {
    let (dy, x, indices) = (node.dy(), node.input(0), node.input(1));
    let dims = emit.dims(x).to_vec();
    let axis = node.axis(0, dims.len());
    let (outer, inner) = (dims.get(..axis).unwrap_or_default(), dims.get(axis + 1..).unwrap_or_default());
    let (size, count) = (dims.get(axis).copied().unwrap_or(1), elements(emit.dims(indices)));
    let (outer, inner) = (elements(outer), elements(inner));
    let rows = emit.reshape(dy, &[outer, count, inner]);
    let grad = match single_run(node, emit, size) {
        Some(start) => {
            let after = size - start - count;
            emit.pad(rows, &[0, start, 0, 0, after, 0])
        }
        None => {
            let positions = emit.flatten(indices);
            add_rows(rows, positions, size, emit)
        }
    };
    one(emit.reshape(grad, &dims))
}

/// Where the indices begin if they are known, count up by one, as a single index always does, and end within the axis. Others
/// are for ONNX Runtime to refuse, when it computes them.
fn single_run(node: &NodeView, emit: &Emit, size: usize) -> Option<usize> {
    let indices = node.known(emit, 1)?.to_i64()?;
    let indices: Vec<usize> = indices.into_iter().map(|index| from_front(index, size)).collect();
    let start = *indices.first()?;
    let run = start..start.checked_add(indices.len())?;
    (run.end <= size && run.eq(indices)).then_some(start)
}

/// `[outer, size, inner]` with each of the rows `[outer, count, inner]` added at its position.
fn add_rows(rows: Value, positions: Value, size: usize, emit: &mut Emit) -> Value {
    let dims = emit.dims(rows).to_vec();
    let [outer, count, inner] = *dims.first_chunk().expect("rows are given with three axes");
    let is_small = match emit.processor() {
        Processor::Cpu => size <= PRODUCT_ROWS,
        Processor::Gpu => size.saturating_mul(count) <= PRODUCT_ELEMENTS,
    };
    if elements(&dims) > 0 && (is_small || emit.opset() < 16) {
        let hot = emit.one_hot(positions, size, 0, emit.dtype(rows));
        if outer == 1 {
            let rows = emit.reshape(rows, &[count, inner]);
            return emit.gemm(hot, false, rows, false);
        }
        return emit.matmul(hot, rows);
    }
    let zero = emit.scalar(0.0, rows);
    let zeros = emit.expand(zero, &[outer, size, inner]);
    if elements(&dims) == 0 {
        return zeros;
    }
    let positions = emit.reshape(positions, &[1, count, 1]);
    let positions = emit.expand(positions, &dims);
    emit.scatter_elements(zeros, positions, rows, 1, Reduction::Add)
}

/// y = x at the indices along an axis   gives   dx = dy added up at the indices
fn gather_elements(node: &NodeView, emit: &mut Emit) -> Ruled {
    let (dy, x) = (node.dy(), node.input(0));
    let axis = node.axis(0, emit.rank(x));
    let zeros = emit.zeros_like(x);
    one(emit.scatter_elements(zeros, node.input(1), dy, axis, Reduction::Add))
}

/// y = x[i, j, ...]   is   the rows of x, flattened, at the position i * stride + j * stride + ...
fn gather_nd(node: &NodeView, emit: &mut Emit) -> Composition {
    let (x, indices) = (node.input(0), node.input(1));
    let batch_axes = node.node.int("batch_dims").and_then(|axes| usize::try_from(axes).ok()).unwrap_or(0);
    let y_dims = emit.dims(node.output(0)).to_vec();
    let (positions, rows, inner) = row_positions(emit.dims(x).to_vec(), indices, batch_axes, emit);
    let flat = emit.reshape(x, &[rows, inner]);
    let taken = emit.gather(flat, positions, 0);
    Ok(vec![Some(emit.reshape(taken, &y_dims))])
}

/// Flat positions of rows for indices over several axes; the number of rows; the elements of one.
fn row_positions(
    dims: Vec<usize>,
    indices: Value,
    batch_axes: usize,
    emit: &mut Emit,
) -> (Value, usize, usize) {
    let index_dims = emit.dims(indices).to_vec();
    let (lead, depth) = index_dims.split_last().map_or((Vec::new(), 0), |(k, lead)| (lead.to_vec(), *k));
    let (batch, rest) = dims.split_at_checked(batch_axes).unwrap_or_default();
    let (indexed, inner) = rest.split_at_checked(depth).unwrap_or_default();
    let strides: Vec<i64> =
        (0..depth).map(|at| elements(indexed.get(at + 1..).unwrap_or_default()) as i64).collect();
    let sizes: Vec<i64> = indexed.iter().map(|size| *size as i64).collect();
    let (sizes, strides) = (emit.list(&sizes), emit.list(&strides));
    // The remainder counts negative indices from the front.
    let counted = emit.modulo(indices, sizes);
    let offsets = emit.mul(counted, strides);
    let offsets = emit.reduce_sum(offsets, &[index_dims.len().saturating_sub(1)]);
    let mut positions = emit.reshape(offsets, &lead);
    if batch_axes > 0 {
        let first: Vec<i64> = (0..elements(batch)).map(|row| (row * elements(indexed)) as i64).collect();
        let mut first_dims = vec![1; lead.len()];
        first_dims.splice(..batch_axes.min(lead.len()), batch.iter().copied());
        let first = emit.constant(Tensor::from_i64(first_dims, &first));
        positions = emit.add(positions, first);
    }
    let positions = emit.flatten(positions);
    (positions, elements(batch) * elements(indexed), elements(inner))
}

/// y = x with updates written at [i, j, ...]   is   the same for the rows of x, flattened, by ScatterElements
fn scatter_nd(node: &NodeView, emit: &mut Emit) -> Composition {
    let (x, indices, updates) = (node.input(0), node.input(1), node.input(2));
    let dims = emit.dims(x).to_vec();
    if elements(emit.dims(updates)) == 0 {
        return Ok(vec![Some(x)]);
    }
    let (positions, rows, inner) = row_positions(dims.clone(), indices, 0, emit);
    let count = elements(emit.dims(positions));
    let flat = emit.reshape(x, &[rows, inner]);
    let updates = emit.reshape(updates, &[count, inner]);
    let positions = emit.reshape(positions, &[count, 1]);
    let positions = emit.expand(positions, &[count, inner]);
    let written = emit.scatter_elements(flat, positions, updates, 0, reduction_of(node)?);
    Ok(vec![Some(emit.reshape(written, &dims))])
}

fn reduction_of(node: &NodeView) -> Result<Reduction, Refusal> {
    let name = node.node.string("reduction").unwrap_or("none");
    Reduction::named(name).ok_or_else(|| {
        Refusal(format!("attribute `reduction` is `{name}`, expected none, add, mul, max or min"))
    })
}

/// y = x with u written or added at the indices   gives   dx = dy (0 where u was written),   du = dy at the indices
///
/// Products and extremes have functions of their own.
fn scatter_elements(node: &NodeView, emit: &mut Emit) -> Ruled {
    let (dy, x, indices) = (node.dy(), node.input(0), node.input(1));
    let axis = node.axis(0, emit.rank(x));
    let reduction = reduction_of(node)?;
    match reduction {
        Reduction::Mul => return scattered_product(node, axis, emit),
        Reduction::Max | Reduction::Min => return scattered_extreme(node, axis, emit),
        Reduction::Add | Reduction::Replace => {}
    }
    let dx = node.needs(0).then(|| {
        if reduction == Reduction::Add {
            return dy;
        }
        let zeros = emit.zeros_like(node.input(2));
        emit.scatter_elements(dy, indices, zeros, axis, Reduction::Replace)
    });
    let du = node.needs(2).then(|| emit.gather_elements(dy, indices, axis));
    Ok(vec![dx, None, du])
}

/// y = x * product(u)   gives   dx = dy * product(u),   du = dy * x * product of the other u
///
/// The product of the others is that of all with 1 in the place of each 0, divided by the own factor; it is 0 if any
/// other one is 0.
fn scattered_product(node: &NodeView, axis: usize, emit: &mut Emit) -> Ruled {
    let (dy, x, indices, u) = (node.dy(), node.input(0), node.input(1), node.input(2));
    let dx = node.needs(0).then(|| {
        let ones = emit.ones_like(x);
        let product = emit.scatter_elements(ones, indices, u, axis, Reduction::Mul);
        emit.mul(dy, product)
    });
    let du = node.needs(2).then(|| {
        let zero = emit.scalar(0.0, u);
        let is_zero = emit.equal(u, zero);
        let is_zero = emit.cast(is_zero, emit.dtype(u));
        let nowhere_zero = emit.add(u, is_zero);
        let product = emit.scatter_elements(x, indices, nowhere_zero, axis, Reduction::Mul);
        let none = emit.zeros_like(x);
        let zeros = emit.scatter_elements(none, indices, is_zero, axis, Reduction::Add);
        let scaled = emit.mul(dy, product);
        let scaled = emit.gather_elements(scaled, indices, axis);
        let zeros = emit.gather_elements(zeros, indices, axis);
        let other_zeros = emit.sub(zeros, is_zero);
        let quotient = emit.div(scaled, nowhere_zero);
        let other_is_zero = emit.greater(other_zeros, zero);
        emit.select(other_is_zero, zero, quotient)
    });
    Ok(vec![dx, None, du])
}

/// y = max(x, u)   gives   dy to those that equal y, in equal parts, as in PyTorch
fn scattered_extreme(node: &NodeView, axis: usize, emit: &mut Emit) -> Ruled {
    let (dy, x, indices, u, y) = (node.dy(), node.input(0), node.input(1), node.input(2), node.output(0));
    let dtype = emit.dtype(x);
    let of_updates = emit.gather_elements(y, indices, axis);
    let update_wins = emit.equal(u, of_updates);
    let update_wins = emit.cast(update_wins, dtype);
    let x_wins = emit.equal(x, y);
    let x_wins = emit.cast(x_wins, dtype);
    let winners = emit.scatter_elements(x_wins, indices, update_wins, axis, Reduction::Add);
    let share = emit.div(dy, winners);
    let dx = emit.mul(share, x_wins);
    let share = emit.gather_elements(share, indices, axis);
    let du = emit.mul(share, update_wins);
    Ok(vec![Some(dx), None, Some(du)])
}

/// y = the k largest x   gives   dx = dy at the positions they came from, which TopK itself reports
fn top_k(node: &NodeView, emit: &mut Emit) -> Ruled {
    let (dy, x) = (node.dy(), node.input(0));
    let axis = node.axis(-1, emit.rank(x));
    let positions = ValueType::new(Dtype::I64, emit.dims(dy));
    let positions = emit.extra_output(&node.node.name, 1, positions);
    let zeros = emit.zeros_like(x);
    Ok(vec![Some(emit.scatter_elements(zeros, positions, dy, axis, Reduction::Replace)), None])
}

/// y = onehot(indices) * (on - off) + off
fn one_hot(node: &NodeView, emit: &mut Emit) -> Composition {
    let (y, values) = (node.output(0), node.input(2));
    let axis = node.axis(-1, emit.rank(y));
    let depth = emit.dims(y).get(axis).copied().unwrap_or(0);
    let hot = emit.one_hot(node.input(0), depth, axis, emit.dtype(values));
    let off = emit.slice(values, &[0], &[0], &[1], &[1]);
    let on = emit.slice(values, &[0], &[1], &[2], &[1]);
    let rise = emit.sub(on, off);
    let scaled = emit.mul(hot, rise);
    Ok(vec![Some(emit.add(scaled, off))])
}
