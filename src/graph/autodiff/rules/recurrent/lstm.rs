//! The long short-term memory.

use super::simple::held_back;
use super::{
    Direction, DirectionGrads, Operands, differentiate, expect_activations, sigmoid_slope, states_of,
    tanh_slope,
};
use crate::graph::autodiff::rules::{NodeView, Refusal, Ruled};
use crate::graph::emit::{Emit, Value};

/// i, o, f = sigmoid(W x + R h' + b), g = tanh(...), c = f c' + i g, h = o tanh(c)   gives   with dc += dh o (1 - tanh(c)^2)
/// for the sums in the gates di = dc g i (1 - i), do = dh tanh(c) o (1 - o), df = dc c' f (1 - f), dg = dc i (1 - g^2),
/// and dc' = dc f, dh' = R' [di do df dg]
pub(super) fn lstm(node: &NodeView, emit: &mut Emit) -> Ruled {
    expect_activations(&node.node, &["Sigmoid", "Tanh", "Tanh"])?;
    if node.optional_input(7).is_some() {
        return Err(Refusal("its gates look at the cell state, expected no input `P`".to_owned()));
    }
    differentiate(node, &Operands { gates: 4, has_cell: true }, emit, backward)
}

/// Gates after their activation, and the cell state before each step; `[steps, batch, hidden]` each.
struct Gates {
    i: Value,
    o: Value,
    f: Value,
    g: Value,
    c_before: Value,
    /// `f`, and 1 in a step that does not count
    kept: Value,
    tanh_c: Value,
}

fn gates(node: &NodeView, at: usize, direction: &Direction, emit: &mut Emit) -> Gates {
    let of_input = direction.sums_of_input(emit);
    let of_state = direction.sums_of_state(direction.h_before, 0..4, emit);
    let sums = emit.add(of_input, of_state);
    let bounded = direction.gates(sums, 0..3, emit);
    let bounded = emit.sigmoid(bounded);
    let [i, o, f] = [0, 1, 2].map(|gate| direction.gates(bounded, gate..gate + 1, emit));
    let g = direction.gates(sums, 3..4, emit);
    let g = emit.tanh(g);
    let added = emit.mul(i, g);
    let added = direction.counted(added, emit);
    let kept = direction.counted_or_one(f, emit);
    let initial = states_of(node.optional_input(6), at, direction.size, kept, emit);
    let (_, [c_before]) = emit.scan(direction.order, [initial], [kept, added], [], |body, [c], items, []| {
        let [kept, added] = items;
        let scaled = body.mul(kept, c);
        ([body.add(scaled, added)], [c])
    });
    let scaled = emit.mul(kept, c_before);
    let c = emit.add(scaled, added);
    Gates { i, o, f, g, c_before, kept, tanh_c: emit.tanh(c) }
}

fn backward(node: &NodeView, at: usize, direction: &Direction, emit: &mut Emit) -> DirectionGrads {
    let Gates { i, o, f, g, c_before, kept, tanh_c } = gates(node, at, direction, emit);
    let product = |a: Value, b: Value, emit: &mut Emit| {
        let product = emit.mul(a, b);
        direction.counted(product, emit)
    };
    let (slope_i, slope_o) = (sigmoid_slope(i, emit), sigmoid_slope(o, emit));
    let (slope_f, slope_g) = (sigmoid_slope(f, emit), tanh_slope(g, emit));
    let slope_c = tanh_slope(tanh_c, emit);
    let into_c = product(o, slope_c, emit);
    let into_gates = [
        product(g, slope_i, emit),
        product(tanh_c, slope_o, emit),
        product(c_before, slope_f, emit),
        product(i, slope_g, emit),
    ];
    let into_gates = emit.concat(&into_gates, 2);
    let dc_last = node.output_grads().get(2).copied().flatten();
    let dc_last = states_of(dc_last, at, direction.size, kept, emit);
    let step =
        |body: &mut Emit, [state, cell]: [Value; 2], items: [Value; 4], held: Option<Value>, r: Value| {
            let [dh, into_c, into_gates, kept] = items;
            let total = body.add(dh, state);
            let through_h = body.mul(total, into_c);
            let dc = body.add(cell, through_h);
            let sources = body.concat(&[dc, total, dc, dc], 1);
            let dgates = body.mul(sources, into_gates);
            let before = body.matmul(dgates, r);
            let before = held_back(before, state, held, body);
            ([before, body.mul(dc, kept)], [dgates])
        };
    let (order, states, shared) = (direction.order.reversed(), [direction.dh_last, dc_last], [direction.r]);
    let items = [direction.dh, into_c, into_gates, kept];
    let (initial, [dgates]) = match direction.held(emit) {
        None => emit.scan(order, states, items, shared, |body, states, items, [r]| {
            step(body, states, items, None, r)
        }),
        Some(held) => {
            let [dh, into_c, into_gates, kept] = items;
            let items = [dh, into_c, into_gates, kept, held];
            emit.scan(
                order,
                states,
                items,
                shared,
                |body, states, [dh, into_c, into_gates, kept, held], [r]| {
                    step(body, states, [dh, into_c, into_gates, kept], Some(held), r)
                },
            )
        }
    };
    let from_x = direction.flat(dgates, emit);
    let h_before = direction.flat(direction.h_before, emit);
    let dr = emit.gemm(from_x, true, h_before, false);
    DirectionGrads { from_x, dr, dr_bias: None, initial: initial.to_vec() }
}
