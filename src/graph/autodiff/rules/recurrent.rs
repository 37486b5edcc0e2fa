//! Recurrent layers.
//!
//! The forward pass is the operator itself. Its output holds the hidden state of every step, so the gates of all steps
//! are computed again by one product, without a recurrence; only the cell state of an LSTM needs one. The backward pass
//! is a Scan whose step is as small as it can be: everything that does not depend on the gradient of the hidden state is
//! computed for all steps beforehand, everything that follows from it afterwards.
//!
//! For each example of the batch, steps beyond its length leave states and gradients as they are.

use super::{NodeView, Refusal, Rule, Ruled, rule};
use crate::graph::emit::{Emit, Order, Value};
use crate::graph::model::Node;
use crate::graph::proto::attribute_type;
use crate::graph::tensor::{Tensor, ValueType};

mod gru;
mod lstm;
mod simple;

pub(super) const RULES: &[Rule] = &[
    rule("LSTM", lstm::lstm).for_all_outputs(),
    rule("GRU", gru::gru).for_all_outputs(),
    rule("RNN", simple::rnn).for_all_outputs(),
];

/// One direction of a recurrent layer.
struct Direction {
    /// In which order the steps are taken.
    order: Order,
    /// `[steps * batch, inputs]`
    x: Value,
    /// Weights of the input, `[gates, inputs]`.
    w: Value,
    /// Weights of the hidden state, `[gates, hidden]`.
    r: Value,
    /// Biases beside the input's and the hidden state's weights, `[gates]` each.
    bias: Option<(Value, Value)>,
    /// Hidden state before each step, `[steps, batch, hidden]`.
    h_before: Value,
    /// Hidden state after each step.
    h: Value,
    /// Gradient of `h`, 0 beyond the length of an example.
    dh: Value,
    /// Gradient of the last hidden state, `[batch, hidden]`.
    dh_last: Value,
    /// 1 where a step counts, 0 beyond the length of an example: `[steps, batch, 1]`.
    counts: Option<Value>,
    /// Sizes.
    size: Size,
}

#[derive(Clone, Copy)]
struct Size {
    steps: usize,
    batch: usize,
    hidden: usize,
}

/// What the backward pass of one direction gives.
struct DirectionGrads {
    /// Gradient of the gates' sums that the input's weights are in, `[steps * batch, gates]`.
    from_x: Value,
    /// Gradient of `r`.
    dr: Value,
    /// Gradient of the biases beside the hidden state's weights, if it is not that beside the input's.
    dr_bias: Option<Value>,
    /// Gradient of the states before the first step: hidden, and cell of an LSTM.
    initial: Vec<Value>,
}

/// Positions of the operands that only some layers have.
struct Operands {
    gates: usize,
    has_cell: bool,
}

/// Differentiates each direction and puts the gradients together as the operands are.
fn differentiate(
    node: &NodeView,
    operands: &Operands,
    emit: &mut Emit,
    backward: impl Fn(&NodeView, usize, &Direction, &mut Emit) -> DirectionGrads,
) -> Ruled {
    let names = ["forward", "reverse", "bidirectional"];
    let direction = node.node.string("direction").unwrap_or("forward");
    if !names.contains(&direction) {
        return Err(Refusal(format!("direction is `{direction}`, expected one of {names:?}")));
    }
    for (name, unused) in [("layout", 0), ("input_forget", 0)] {
        let found = node.node.int(name).unwrap_or(unused);
        if found != unused {
            return Err(Refusal(format!("attribute `{name}` is {found}, expected {unused}")));
        }
    }
    if node.node.float("clip").is_some() {
        return Err(Refusal("its gates are clipped, expected no attribute `clip`".to_owned()));
    }
    let orders: &[Order] = match direction {
        "forward" => &[Order::Forward],
        "reverse" => &[Order::Backward],
        _ => &[Order::Forward, Order::Backward],
    };
    let size = size_of(node, emit);
    if size.steps == 0 || size.hidden == 0 {
        return Err(Refusal(format!(
            "its sequences have {} steps of {} hidden values, expected 1 or more of both",
            size.steps, size.hidden
        )));
    }
    let y_kind =
        ValueType::new(emit.dtype(node.input(0)), vec![size.steps, orders.len(), size.batch, size.hidden]);
    let y = emit.extra_output(&node.node.name, 0, y_kind);
    let mut parts: Vec<(Direction, DirectionGrads)> = Vec::with_capacity(orders.len());
    for (at, order) in orders.iter().enumerate() {
        let direction = direction_of(node, at, *order, y, size, emit);
        let grads = backward(node, at, &direction, emit);
        parts.push((direction, grads));
    }
    Ok(join(node, operands, &parts, size, emit))
}

fn size_of(node: &NodeView, emit: &Emit) -> Size {
    let [steps, batch] = *emit.dims(node.input(0)).first_chunk().expect("the input has three axes");
    let hidden = emit.dims(node.input(2)).last().copied().unwrap_or(0);
    Size { steps, batch, hidden }
}

/// Element `at` of the first axis, without that axis.
fn pick(x: Value, at: usize, emit: &mut Emit) -> Value {
    let part = emit.slice(x, &[0], &[at], &[at + 1], &[1]);
    let dims = emit.dims(x).get(1..).unwrap_or_default().to_vec();
    emit.reshape(part, &dims)
}

/// The states of one direction, `[batch, hidden]`, of which an optional value holds those of all; zeros if it is absent.
fn states_of(value: Option<Value>, at: usize, size: Size, like: Value, emit: &mut Emit) -> Value {
    match value {
        Some(value) => pick(value, at, emit),
        None => {
            let zero = emit.scalar(0.0, like);
            emit.expand(zero, &[size.batch, size.hidden])
        }
    }
}

fn direction_of(
    node: &NodeView,
    at: usize,
    order: Order,
    y: Value,
    size: Size,
    emit: &mut Emit,
) -> Direction {
    let x = node.input(0);
    let inputs = emit.dims(x).last().copied().unwrap_or(0);
    let flat = emit.reshape(x, &[size.steps * size.batch, inputs]);
    let (w, r) = (pick(node.input(1), at, emit), pick(node.input(2), at, emit));
    let bias = node.optional_input(3).map(|bias| {
        let both = pick(bias, at, emit);
        let count = emit.dims(both).first().copied().unwrap_or(0);
        let half = |part: usize, emit: &mut Emit| {
            emit.slice(both, &[0], &[part * count / 2], &[(part + 1) * count / 2], &[1])
        };
        (half(0, emit), half(1, emit))
    });
    let dims = [size.steps, size.batch, size.hidden];
    let h = emit.slice(y, &[1], &[at], &[at + 1], &[1]);
    let h = emit.reshape(h, &dims);
    let lengths = node.optional_input(4);
    let counts = lengths.map(|lengths| within_length(lengths, 0, size, x, emit));
    let h_before = state_before(node, at, order, h, size, emit);
    let output_grad = |position: usize| node.output_grads().get(position).copied().flatten();
    let dh = match output_grad(0) {
        Some(dy) => {
            let dy = emit.slice(dy, &[1], &[at], &[at + 1], &[1]);
            emit.reshape(dy, &dims)
        }
        None => emit.zeros_like(h),
    };
    let dh = counts.map_or(dh, |counts| emit.mul(dh, counts));
    let dh_last = states_of(output_grad(1), at, size, x, emit);
    Direction { order, x: flat, w, r, bias, h_before, h, dh, dh_last, counts, size }
}

/// 1 for the steps whose number plus `ahead` is below the length of the example, else 0: `[steps, batch, 1]`.
fn within_length(lengths: Value, ahead: usize, size: Size, like: Value, emit: &mut Emit) -> Value {
    let numbers: Vec<f64> = (0..size.steps).map(|step| (step + ahead) as f64).collect();
    let order = emit.constant(Tensor::from_f64(emit.dtype(lengths), vec![size.steps, 1], &numbers));
    let counts = emit.less(order, lengths);
    let counts = emit.cast(counts, emit.dtype(like));
    emit.reshape(counts, &[size.steps, size.batch, 1])
}

/// The hidden state that each step starts from: that of its neighbour, and the initial one for the first step taken.
///
/// Beyond the length of an example the operator gives 0, so that backwards only the initial state is missing at the end.
fn state_before(node: &NodeView, at: usize, order: Order, h: Value, size: Size, emit: &mut Emit) -> Value {
    let initial = states_of(node.optional_input(5), at, size, h, emit);
    let initial = emit.reshape(initial, &[1, size.batch, size.hidden]);
    if order == Order::Forward {
        let rest = emit.slice(h, &[0], &[0], &[size.steps - 1], &[1]);
        return emit.concat(&[initial, rest], 0);
    }
    let rest = emit.slice(h, &[0], &[1], &[size.steps], &[1]);
    let shifted = emit.concat(&[rest, initial], 0);
    let (Some(lengths), Some(_)) = (node.optional_input(4), node.optional_input(5)) else { return shifted };
    let continues = within_length(lengths, 1, size, h, emit);
    let from_next = emit.mul(shifted, continues);
    let full = emit.scalar(1.0, continues);
    let starts = emit.sub(full, continues);
    let from_initial = emit.mul(initial, starts);
    emit.add(from_next, from_initial)
}

impl Direction {
    fn rows(&self) -> usize {
        self.size.steps * self.size.batch
    }

    /// `value [steps * batch, columns]` as `[steps, batch, columns]`
    fn by_step(&self, value: Value, emit: &mut Emit) -> Value {
        let columns = emit.dims(value).last().copied().unwrap_or(0);
        emit.reshape(value, &[self.size.steps, self.size.batch, columns])
    }

    /// `value [steps, batch, columns]` as `[steps * batch, columns]`
    fn flat(&self, value: Value, emit: &mut Emit) -> Value {
        let columns = emit.dims(value).last().copied().unwrap_or(0);
        emit.reshape(value, &[self.rows(), columns])
    }

    /// x W' + bias of the input, `[steps, batch, gates]`
    fn sums_of_input(&self, emit: &mut Emit) -> Value {
        let product = emit.gemm(self.x, false, self.w, true);
        let sum = self.bias.map_or(product, |(bias, _)| emit.add(product, bias));
        self.by_step(sum, emit)
    }

    /// h R' + bias of the hidden state for some of the gates, `[steps, batch, gates]`
    fn sums_of_state(&self, h: Value, gates: std::ops::Range<usize>, emit: &mut Emit) -> Value {
        let (start, end) = (gates.start * self.size.hidden, gates.end * self.size.hidden);
        let flat = self.flat(h, emit);
        let r = emit.slice(self.r, &[0], &[start], &[end], &[1]);
        let product = emit.gemm(flat, false, r, true);
        let sum = match self.bias {
            Some((_, bias)) => {
                let bias = emit.slice(bias, &[0], &[start], &[end], &[1]);
                emit.add(product, bias)
            }
            None => product,
        };
        self.by_step(sum, emit)
    }

    /// Some of the gates of `[..., gates]`
    fn gates(&self, value: Value, gates: std::ops::Range<usize>, emit: &mut Emit) -> Value {
        let hidden = self.size.hidden;
        let last = emit.rank(value) - 1;
        emit.slice(value, &[last], &[gates.start * hidden], &[gates.end * hidden], &[1])
    }

    /// `value` where a step counts, else 0
    fn counted(&self, value: Value, emit: &mut Emit) -> Value {
        self.counts.map_or(value, |counts| emit.mul(value, counts))
    }

    /// 1 where a step does not count, else 0; `None` if all count
    fn held(&self, emit: &mut Emit) -> Option<Value> {
        self.counts.map(|counts| {
            let full = emit.scalar(1.0, counts);
            emit.sub(full, counts)
        })
    }

    /// `value` where a step counts, else 1
    fn counted_or_one(&self, value: Value, emit: &mut Emit) -> Value {
        let counted = self.counted(value, emit);
        self.held(emit).map_or(counted, |held| emit.add(counted, held))
    }
}

/// s (1 - s), the slope of a sigmoid with the value s
fn sigmoid_slope(s: Value, emit: &mut Emit) -> Value {
    let square = emit.mul(s, s);
    emit.sub(s, square)
}

/// 1 - t^2, the slope of a hyperbolic tangent with the value t
fn tanh_slope(t: Value, emit: &mut Emit) -> Value {
    let square = emit.mul(t, t);
    let full = emit.scalar(1.0, t);
    emit.sub(full, square)
}

/// Activations other than these have no gradient here.
fn expect_activations(node: &Node, expected: &[&str]) -> Result<(), Refusal> {
    let found = activations(node);
    let is_expected = |names: &[String]| names.iter().zip(expected).all(|(a, b)| a.eq_ignore_ascii_case(b));
    if found.chunks(expected.len()).all(is_expected) {
        return Ok(());
    }
    Err(Refusal(format!("its activations are {found:?}, expected {expected:?}")))
}

fn activations(node: &Node) -> Vec<String> {
    let given = node.attributes.iter();
    let mut given = given.filter(|a| a.name == "activations" && a.r#type == attribute_type::STRINGS);
    let names = given.next().map(|attribute| attribute.strings.as_slice()).unwrap_or_default();
    names.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect()
}

/// The gradients of the operands from those of the directions.
fn join(
    node: &NodeView,
    operands: &Operands,
    parts: &[(Direction, DirectionGrads)],
    size: Size,
    emit: &mut Emit,
) -> Vec<Option<Value>> {
    let stack = |values: Vec<Value>, emit: &mut Emit| {
        let values: Vec<Value> = values
            .into_iter()
            .map(|value| {
                let dims: Vec<usize> = std::iter::once(1).chain(emit.dims(value).iter().copied()).collect();
                emit.reshape(value, &dims)
            })
            .collect();
        emit.concat(&values, 0)
    };
    let x_dims = emit.dims(node.input(0)).to_vec();
    let mut dx: Option<Value> = None;
    let (mut dw, mut db) = (Vec::new(), Vec::new());
    for (direction, grads) in parts {
        if node.needs(0) {
            let part = emit.gemm(grads.from_x, false, direction.w, false);
            dx = Some(dx.map_or(part, |sum| emit.add(sum, part)));
        }
        if node.needs(1) {
            dw.push(emit.gemm(grads.from_x, true, direction.x, false));
        }
        if node.needs(3) {
            let sum = emit.reduce_sum(grads.from_x, &[0]);
            let sum = emit.reshape(sum, &[operands.gates * size.hidden]);
            let of_state = grads.dr_bias.unwrap_or(sum);
            db.push(emit.concat(&[sum, of_state], 0));
        }
    }
    let initial = |state: usize, emit: &mut Emit| {
        let values = parts.iter().filter_map(|(_, grads)| grads.initial.get(state).copied()).collect();
        Some(stack(values, emit))
    };
    let dx = dx.map(|dx| emit.reshape(dx, &x_dims));
    let dw = node.needs(1).then(|| stack(dw, emit));
    let dr = node.needs(2).then(|| stack(parts.iter().map(|(_, grads)| grads.dr).collect(), emit));
    let db = node.needs(3).then(|| stack(db, emit));
    let dh = if node.needs(5) { initial(0, emit) } else { None };
    let dc = if operands.has_cell && node.needs(6) { initial(1, emit) } else { None };
    vec![dx, dw, dr, db, None, dh, dc]
}
