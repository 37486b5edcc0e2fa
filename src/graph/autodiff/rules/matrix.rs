//! Matrix products.

use super::{NodeView, Rule, Ruled, rule};
use crate::graph::emit::{Emit, Value};
use crate::graph::tensor::elements;

pub(super) const RULES: &[Rule] = &[rule("MatMul", matmul), rule("Gemm", gemm)];

/// Y = A B   gives   dA = dY B',   dB = A' dY   (' transposes the last two axes)
///
/// A vector on the left is a row, on the right a column. A matrix that multiplies a whole batch gets its gradient from
/// one product over the flattened batch.
fn matmul(node: &NodeView, emit: &mut Emit) -> Ruled {
    let (a, b) = (node.input(0), node.input(1));
    let (a_dims, b_dims) = (emit.dims(a).to_vec(), emit.dims(b).to_vec());
    let a_matrix = if let [k] = a_dims.as_slice() { emit.reshape(a, &[1, *k]) } else { a };
    let b_matrix = if let [k] = b_dims.as_slice() { emit.reshape(b, &[*k, 1]) } else { b };
    let dy_dims = product_dims(node.output(0), a_dims.len() == 1, b_dims.len() == 1, emit);
    let dy = emit.reshape(node.dy(), &dy_dims);
    let (da, db) = if emit.rank(b_matrix) == 2 {
        batch_times_matrix(node, a_matrix, b_matrix, dy, emit)
    } else {
        let da = node.needs(0).then(|| {
            let b_t = emit.transpose_last(b_matrix);
            emit.matmul(dy, b_t)
        });
        let db = node.needs(1).then(|| {
            let a_t = emit.transpose_last(a_matrix);
            emit.matmul(a_t, dy)
        });
        (da, db)
    };
    // A vector's gradient is summed over the batch as a matrix before it becomes a vector again.
    let mut vector = |grad: Option<Value>, matrix: Value, dims: &[usize]| {
        let is_vector = dims.len() == 1;
        grad.map(|grad| {
            if !is_vector {
                return grad;
            }
            let matrix_dims = emit.dims(matrix).to_vec();
            let summed = emit.reduce_to(grad, &matrix_dims);
            emit.reshape(summed, dims)
        })
    };
    Ok(vec![vector(da, a_matrix, &a_dims), vector(db, b_matrix, &b_dims)])
}

/// The dimensions of the product with the axes that vectors lost put back.
fn product_dims(y: Value, a_is_row: bool, b_is_column: bool, emit: &Emit) -> Vec<usize> {
    let mut dims = emit.dims(y).to_vec();
    if b_is_column {
        dims.push(1);
    }
    if a_is_row {
        dims.insert(dims.len() - 1, 1);
    }
    dims
}

fn batch_times_matrix(
    node: &NodeView,
    a: Value,
    b: Value,
    dy: Value,
    emit: &mut Emit,
) -> (Option<Value>, Option<Value>) {
    let flat = |x: Value, emit: &mut Emit| {
        let columns = emit.dims(x).last().copied().unwrap_or(1);
        let rows = elements(emit.dims(x)).checked_div(columns).unwrap_or(0);
        emit.reshape(x, &[rows, columns])
    };
    let dy_flat = flat(dy, emit);
    let da = node.needs(0).then(|| {
        let dims = emit.dims(a).to_vec();
        let grad = emit.gemm(dy_flat, false, b, true);
        emit.reshape(grad, &dims)
    });
    let db = node.needs(1).then(|| {
        let a_flat = flat(a, emit);
        emit.gemm(a_flat, true, dy_flat, false)
    });
    (da, db)
}

/// Y = alpha A B + beta C, A and B transposed or not   gives   dA = alpha dY B',   dB = alpha A' dY,   dC = beta dY
fn gemm(node: &NodeView, emit: &mut Emit) -> Ruled {
    let (dy, a, b) = (node.dy(), node.input(0), node.input(1));
    let flag = |name: &str| node.node.int(name).unwrap_or(0) != 0;
    let number = |name: &str| f64::from(node.node.float(name).unwrap_or(1.0));
    let (a_transposed, b_transposed) = (flag("transA"), flag("transB"));
    let (alpha, beta) = (number("alpha"), number("beta"));
    let scaled = |x: Value, factor: f64, emit: &mut Emit| {
        // Comparing with 1 is exact: the attribute was written as 1.
        if factor == 1.0 { x } else { emit.scale(x, factor) }
    };
    let da = node.needs(0).then(|| {
        let grad = if a_transposed {
            emit.gemm(b, b_transposed, dy, true)
        } else {
            emit.gemm(dy, false, b, !b_transposed)
        };
        scaled(grad, alpha, emit)
    });
    let db = node.needs(1).then(|| {
        let grad = if b_transposed {
            emit.gemm(dy, true, a, a_transposed)
        } else {
            emit.gemm(a, !a_transposed, dy, false)
        };
        scaled(grad, alpha, emit)
    });
    let dc = node.needs(2).then(|| scaled(dy, beta, emit));
    Ok(vec![da, db, dc])
}
