//! The gated recurrent unit.

use super::{
    Direction, DirectionGrads, Operands, differentiate, expect_activations, sigmoid_slope, tanh_slope,
};
use crate::graph::autodiff::rules::{NodeView, Ruled};
use crate::graph::emit::{Emit, Value};

/// z, r = sigmoid(W x + R h' + b), n = tanh(W x + b + q), h = (1 - z) n + z h'   gives   for the sums in the gates
/// dn = dh (1 - z) (1 - n^2) and dz = dh (h' - n) z (1 - z), and dh' = dh z and what comes through the gates
///
/// q = r (R h' + b) as in PyTorch, or R (r h') + b; dr follows from dq.
pub(super) fn gru(node: &NodeView, emit: &mut Emit) -> Ruled {
    expect_activations(&node.node, &["Sigmoid", "Tanh"])?;
    let resets_after = node.node.int("linear_before_reset").unwrap_or(0) != 0;
    let operands = Operands { gates: 3, has_cell: false };
    differentiate(node, &operands, emit, |_, _, direction, emit| {
        let gates = gates(direction, resets_after, emit);
        if resets_after {
            reset_after(direction, &gates, emit)
        } else {
            reset_before(direction, &gates, emit)
        }
    })
}

/// Gates after their activation, `[steps, batch, hidden]` each.
struct Gates {
    z: Value,
    r: Value,
    n: Value,
    /// R h' + b of the new state, if it is reset after the product
    q: Option<Value>,
}

fn gates(direction: &Direction, resets_after: bool, emit: &mut Emit) -> Gates {
    let of_input = direction.sums_of_input(emit);
    let of_state = direction.sums_of_state(direction.h_before, 0..2, emit);
    let sums = direction.gates(of_input, 0..2, emit);
    let sums = emit.add(sums, of_state);
    let bounded = emit.sigmoid(sums);
    let [z, r] = [0, 1].map(|gate| direction.gates(bounded, gate..gate + 1, emit));
    let sum = direction.gates(of_input, 2..3, emit);
    let (reset, q) = if resets_after {
        let q = direction.sums_of_state(direction.h_before, 2..3, emit);
        (emit.mul(r, q), Some(q))
    } else {
        let reset = emit.mul(r, direction.h_before);
        (direction.sums_of_state(reset, 2..3, emit), None)
    };
    let sum = emit.add(sum, reset);
    Gates { z, r, n: emit.tanh(sum), q }
}

/// What the gradient of the hidden state is multiplied with for the sums of z and of n.
fn into_gates(direction: &Direction, gates: &Gates, emit: &mut Emit) -> (Value, Value) {
    let difference = emit.sub(direction.h_before, gates.n);
    let slope = sigmoid_slope(gates.z, emit);
    let into_z = emit.mul(difference, slope);
    let full = emit.scalar(1.0, gates.z);
    let rest = emit.sub(full, gates.z);
    let slope = tanh_slope(gates.n, emit);
    let into_n = emit.mul(rest, slope);
    (direction.counted(into_z, emit), direction.counted(into_n, emit))
}

/// q = r (R h' + b): dr = dn q r (1 - r), dq = dn r
fn reset_after(direction: &Direction, gates: &Gates, emit: &mut Emit) -> DirectionGrads {
    let (into_z, into_n) = into_gates(direction, gates, emit);
    let slope = sigmoid_slope(gates.r, emit);
    let into_r = emit.mul(into_n, slope);
    let into_r = gates.q.map_or(into_r, |q| emit.mul(into_r, q));
    let into_q = emit.mul(into_n, gates.r);
    let into_all = emit.concat(&[into_z, into_r, into_q], 2);
    let kept = direction.counted_or_one(gates.z, emit);
    let (order, items) = (direction.order.reversed(), [direction.dh, into_all, kept]);
    let ([initial], [total, of_state]) =
        emit.scan(order, [direction.dh_last], items, [direction.r], |body, [state], items, [r]| {
            let [dh, into_all, kept] = items;
            let total = body.add(dh, state);
            let sources = body.concat(&[total, total, total], 1);
            let dgates = body.mul(sources, into_all);
            let through = body.matmul(dgates, r);
            let direct = body.mul(total, kept);
            ([body.add(direct, through)], [total, dgates])
        });
    let dn = emit.mul(total, into_n);
    let others = direction.gates(of_state, 0..2, emit);
    let of_input = emit.concat(&[others, dn], 2);
    let (from_x, of_state) = (direction.flat(of_input, emit), direction.flat(of_state, emit));
    let h_before = direction.flat(direction.h_before, emit);
    let dr = emit.gemm(of_state, true, h_before, false);
    let sum = emit.reduce_sum(of_state, &[0]);
    DirectionGrads { from_x, dr, dr_bias: Some(emit.flatten(sum)), initial: vec![initial] }
}

/// q = R (r h') + b: with ds = R' dn, dr = ds h' r (1 - r) and dh' += ds r
fn reset_before(direction: &Direction, gates: &Gates, emit: &mut Emit) -> DirectionGrads {
    let (into_z, into_n) = into_gates(direction, gates, emit);
    let slope = sigmoid_slope(gates.r, emit);
    let into_r = emit.mul(direction.h_before, slope);
    let into_r = direction.counted(into_r, emit);
    let kept = direction.counted_or_one(gates.z, emit);
    let hidden = direction.size.hidden;
    let of_gates = emit.slice(direction.r, &[0], &[0], &[2 * hidden], &[1]);
    let of_new = emit.slice(direction.r, &[0], &[2 * hidden], &[3 * hidden], &[1]);
    let (order, shared) = (direction.order.reversed(), [of_gates, of_new]);
    let items = [direction.dh, into_z, into_n, into_r, gates.r, kept];
    let ([initial], [dgates, dn]) =
        emit.scan(order, [direction.dh_last], items, shared, |body, [state], items, [of_gates, of_new]| {
            let [dh, into_z, into_n, into_r, r, kept] = items;
            let total = body.add(dh, state);
            let dn = body.mul(total, into_n);
            let ds = body.matmul(dn, of_new);
            let dz = body.mul(total, into_z);
            let dr = body.mul(ds, into_r);
            let dgates = body.concat(&[dz, dr], 1);
            let through_gates = body.matmul(dgates, of_gates);
            let through_new = body.mul(ds, r);
            let direct = body.mul(total, kept);
            let before = body.add(direct, through_gates);
            ([body.add(before, through_new)], [dgates, dn])
        });
    let both = emit.concat(&[dgates, dn], 2);
    let from_x = direction.flat(both, emit);
    let (dgates, dn) = (direction.flat(dgates, emit), direction.flat(dn, emit));
    let h_before = direction.flat(direction.h_before, emit);
    let reset = emit.mul(gates.r, direction.h_before);
    let reset = direction.flat(reset, emit);
    let dr_gates = emit.gemm(dgates, true, h_before, false);
    let dr_new = emit.gemm(dn, true, reset, false);
    DirectionGrads { from_x, dr: emit.concat(&[dr_gates, dr_new], 0), dr_bias: None, initial: vec![initial] }
}
