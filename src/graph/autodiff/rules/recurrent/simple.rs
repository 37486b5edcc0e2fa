//! The plain recurrent layer.

use super::{
    Direction, DirectionGrads, Operands, activations, differentiate, expect_activations, tanh_slope,
};
use crate::graph::autodiff::rules::{NodeView, Ruled};
use crate::graph::emit::{Emit, Value};

/// h = f(W x + R h' + b), f = tanh or relu   gives   da = dh * f'(a),   dh' = R' da,   dW = da x',   dR = da h''
pub(super) fn rnn(node: &NodeView, emit: &mut Emit) -> Ruled {
    let is_relu = activations(&node.node).first().is_some_and(|name| name.eq_ignore_ascii_case("relu"));
    expect_activations(&node.node, if is_relu { &["Relu"] } else { &["Tanh"] })?;
    let operands = Operands { gates: 1, has_cell: false };
    differentiate(node, &operands, emit, |_, _, direction, emit| backward(direction, is_relu, emit))
}

fn backward(direction: &Direction, is_relu: bool, emit: &mut Emit) -> DirectionGrads {
    let h = direction.h;
    let slope = if is_relu { emit.unit_step(h) } else { tanh_slope(h, emit) };
    let slope = direction.counted(slope, emit);
    let step =
        |body: &mut Emit, [state]: [Value; 1], [dh, slope]: [Value; 2], held: Option<Value>, r: Value| {
            let total = body.add(dh, state);
            let da = body.mul(total, slope);
            let before = body.matmul(da, r);
            ([held_back(before, state, held, body)], [da])
        };
    let (order, states, shared) = (direction.order.reversed(), [direction.dh_last], [direction.r]);
    let ([initial], [da]) = match direction.held(emit) {
        None => emit.scan(order, states, [direction.dh, slope], shared, |body, states, items, [r]| {
            step(body, states, items, None, r)
        }),
        Some(held) => {
            let items = [direction.dh, slope, held];
            emit.scan(order, states, items, shared, |body, states, [dh, slope, held], [r]| {
                step(body, states, [dh, slope], Some(held), r)
            })
        }
    };
    let from_x = direction.flat(da, emit);
    let h_before = direction.flat(direction.h_before, emit);
    let dr = emit.gemm(from_x, true, h_before, false);
    DirectionGrads { from_x, dr, dr_bias: None, initial: vec![initial] }
}

/// `new`, and in a step that does not count `old`; what counts not is 0 in `new`.
pub(super) fn held_back(new: Value, old: Value, held: Option<Value>, body: &mut Emit) -> Value {
    held.map_or(new, |held| {
        let kept = body.mul(old, held);
        body.add(new, kept)
    })
}
