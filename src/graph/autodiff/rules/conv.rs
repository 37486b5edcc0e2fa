//! Convolution in one, two and three dimensions.
//!
//! The gradient of the data is a convolution with the flipped kernel where the stride is 1 (a transposed convolution
//! costs twice as much), otherwise a transposed convolution. The gradient of the weight is a convolution as well, of the
//! input with the gradient of the output as its kernel, which is as large as the image; [`folded_weight_grad`] says what
//! makes that fast. Where its form does not apply, the input is stacked, shifted once for each element of the kernel,
//! and multiplied with the gradient of the output as a matrix. Small images are multiplied with the kernel all at once, see
//! [`product`].

mod product;

use super::{NodeView, Refusal, Rule, Ruled, rule};
use crate::graph::emit::{ConvShape, Emit, Processor, Value};
use crate::graph::model::Node;
use crate::graph::tensor::{Dtype, Tensor, elements};

/// The longest axis that is reversed by a product: its work grows with the length.
const LONGEST_PRODUCT: usize = 49;

pub(super) const RULES: &[Rule] =
    &[rule("Conv", conv).faster_as(product::as_product), rule("ConvTranspose", conv_transpose)];

/// Y = W * X + b   gives   dX = flipped W * dY,   dW[m, c, k] = sum dY[n, m, o] X[n, c, s o + d k],   db = sum dY
fn conv(node: &NodeView, emit: &mut Emit) -> Ruled {
    let (dy, x, w) = (node.dy(), node.input(0), node.input(1));
    let window = emit.dims(w).get(2..).unwrap_or_default().to_vec();
    let shape = window_shape(&node.node, emit.dims(x), emit.dims(dy), &window)?;
    let dx = node.needs(0).then(|| input_grad(dy, w, emit.dims(x).to_vec(), &shape, emit));
    let dw = node.needs(1).then(|| weight_grad(x, w, dy, &shape, emit));
    let db = node.needs(2).then(|| {
        let axes: Vec<usize> = (0..emit.rank(dy)).filter(|axis| *axis != 1).collect();
        let sum = emit.reduce_sum(dy, &axes);
        emit.flatten(sum)
    });
    Ok(vec![dx, dw, db])
}

/// Y = W *' X + b, *' the transpose of a convolution   gives   dX = W * dY,   dW as that of this convolution, for which dY
/// is the input and X the gradient of the output,   db = sum dY
fn conv_transpose(node: &NodeView, emit: &mut Emit) -> Ruled {
    let (dy, x, w) = (node.dy(), node.input(0), node.input(1));
    let window = emit.dims(w).get(2..).unwrap_or_default().to_vec();
    let shape = transposed_shape(&node.node, emit.dims(x), emit.dims(dy), &window)?;
    let dx = node.needs(0).then(|| emit.conv(dy, w, &shape));
    let dw = node.needs(1).then(|| weight_grad(dy, w, x, &shape, emit));
    let db = node.needs(2).then(|| {
        let axes: Vec<usize> = (0..emit.rank(dy)).filter(|axis| *axis != 1).collect();
        let sum = emit.reduce_sum(dy, &axes);
        emit.flatten(sum)
    });
    Ok(vec![dx, dw, db])
}

/// The attributes of the convolution that a transposed one undoes: from its output, of shape `y`, to its input `x`.
///
/// Pads that follow from the shape of the output are halved; the larger half comes last for `SAME_UPPER` alone.
fn transposed_shape(node: &Node, x: &[usize], y: &[usize], window: &[usize]) -> Result<ConvShape, Refusal> {
    let computed = node.ints("output_shape").is_some()
        || node.string("auto_pad").is_some_and(|mode| mode.starts_with("SAME"));
    let mut plain = node.clone();
    if computed {
        plain.attributes.retain(|attribute| !["auto_pad", "pads"].contains(&attribute.name.as_str()));
    }
    let mut shape = window_shape(&plain, x, y, window)?;
    if !computed {
        return Ok(shape);
    }
    let output_padding = node.ints("output_padding").unwrap_or_default();
    let at = |list: &[usize], i: usize| list.get(i).copied().unwrap_or(1);
    let total = (0..window.len()).map(|axis| {
        let span = at(&shape.dilations, axis) * (at(window, axis) - 1) + 1;
        let more = output_padding.get(axis).and_then(|more| usize::try_from(*more).ok()).unwrap_or(0);
        ((at(x, axis + 2) - 1) * at(&shape.strides, axis) + span + more).saturating_sub(at(y, axis + 2))
    });
    let total: Vec<usize> = total.collect();
    let end_is_larger = node.string("auto_pad") == Some("SAME_UPPER");
    let half = |total: &usize, round_up: bool| if round_up { total.div_ceil(2) } else { total / 2 };
    let begins = total.iter().map(|total| half(total, !end_is_larger));
    shape.pads = begins.chain(total.iter().map(|total| half(total, end_is_larger))).collect();
    Ok(shape)
}

/// The attributes of a convolution or pool with every default filled in.
pub(super) fn window_shape(
    node: &Node,
    x: &[usize],
    y: &[usize],
    window: &[usize],
) -> Result<ConvShape, Refusal> {
    let axes = window.len();
    let spatial = |dims: &[usize]| dims.get(2..).unwrap_or_default().to_vec();
    for (what, sizes) in [("window", window.to_vec()), ("input", spatial(x)), ("output", spatial(y))] {
        if sizes.contains(&0) || sizes.len() != axes {
            return Err(Refusal(format!(
                "the {what} has the sizes {sizes:?} along the axes of the window, expected {axes} of 1 or more"
            )));
        }
    }
    let list = |name: &str, default: usize, length: usize| -> Result<Vec<usize>, Refusal> {
        let Some(given) = node.ints(name) else { return Ok(vec![default; length]) };
        let numbers: Option<Vec<usize>> = given.iter().map(|number| usize::try_from(*number).ok()).collect();
        numbers.filter(|numbers| numbers.len() == length).ok_or_else(|| {
            Refusal(format!(
                "attribute `{name}` is {given:?}, expected {length} numbers that are not negative"
            ))
        })
    };
    let (strides, dilations) = (list("strides", 1, axes)?, list("dilations", 1, axes)?);
    let pads = match node.string("auto_pad") {
        None | Some("NOTSET") => list("pads", 0, 2 * axes)?,
        Some("VALID") => vec![0; 2 * axes],
        Some(mode) => {
            let total = (0..axes).map(|axis| {
                let at = |dims: &[usize], i: usize| dims.get(i).copied().unwrap_or(1);
                let span = at(&dilations, axis) * (at(window, axis) - 1) + 1;
                ((at(y, axis + 2) - 1) * at(&strides, axis) + span).saturating_sub(at(x, axis + 2))
            });
            let total: Vec<usize> = total.collect();
            let half = |total: &usize, round_up: bool| if round_up { total.div_ceil(2) } else { total / 2 };
            let begin_is_larger = mode == "SAME_LOWER";
            let begins = total.iter().map(|t| half(t, begin_is_larger));
            begins.chain(total.iter().map(|t| half(t, !begin_is_larger))).collect()
        }
    };
    let group = node.int("group").and_then(|group| usize::try_from(group).ok()).unwrap_or(1).max(1);
    Ok(ConvShape { kernel: window.to_vec(), strides, dilations, pads, group })
}

/// Zeros to append to each spatial axis of a transposed convolution so that it gives back the size of the input.
///
/// `None` if the output of the forward pass reached beyond the padded input, as pools with `ceil_mode` do.
pub(super) fn missing_at_end(shape: &ConvShape, input: &[usize], output: &[usize]) -> Option<Vec<usize>> {
    let axes = shape.kernel.len();
    let at = |list: &[usize], i: usize| list.get(i).copied().unwrap_or(0);
    (0..axes)
        .map(|axis| {
            let span = at(&shape.dilations, axis) * (at(&shape.kernel, axis) - 1) + 1;
            let reached = (at(output, axis) - 1) * at(&shape.strides, axis) + span;
            (at(input, axis) + at(&shape.pads, axis) + at(&shape.pads, axis + axes)).checked_sub(reached)
        })
        .collect()
}

fn input_grad(dy: Value, w: Value, x_dims: Vec<usize>, shape: &ConvShape, emit: &mut Emit) -> Value {
    let spatial = x_dims.get(2..).unwrap_or_default();
    let output = emit.dims(dy).get(2..).unwrap_or_default().to_vec();
    if shape.strides.iter().all(|stride| *stride == 1)
        && let Some(pads) = flipped_pads(shape)
    {
        let flipped = flip_kernel(w, shape.group, emit);
        return emit.conv(dy, flipped, &ConvShape { pads, ..shape.clone() });
    }
    let missing =
        missing_at_end(shape, spatial, &output).expect("a convolution never reads beyond the padded input");
    emit.conv_transpose(dy, w, shape, &missing, spatial)
}

/// Padding of the convolution that undoes one of stride 1; `None` if it would be negative.
fn flipped_pads(shape: &ConvShape) -> Option<Vec<usize>> {
    let axes = shape.kernel.len();
    let spans = shape.kernel.iter().zip(&shape.dilations).map(|(kernel, dilation)| dilation * (kernel - 1));
    let spans: Vec<usize> = spans.collect();
    shape.pads.iter().enumerate().map(|(at, pad)| spans.get(at % axes)?.checked_sub(*pad)).collect()
}

/// `[M, C / g, k...]` with the kernel reversed and the channels exchanged within each group: `[C, M / g, k...]`.
fn flip_kernel(w: Value, group: usize, emit: &mut Emit) -> Value {
    let dims = emit.dims(w).to_vec();
    let (outer, inner, kernel) = (
        dims.first().copied().unwrap_or(1),
        dims.get(1).copied().unwrap_or(1),
        dims.get(2..).unwrap_or_default(),
    );
    let window = elements(kernel);
    let grouped = emit.reshape(w, &[group, outer / group, inner, window]);
    let exchanged = emit.transpose(grouped, &[0, 2, 1, 3]);
    let reversed = reverse_last(exchanged, emit);
    let mut flipped = vec![group * inner, outer / group];
    flipped.extend(kernel);
    emit.reshape(reversed, &flipped)
}

/// The last axis backwards: for short ones on the CPU as a product with a matrix of zeros and ones, several times faster
/// than moving each element by itself, and as exact where all elements are finite.
fn reverse_last(x: Value, emit: &mut Emit) -> Value {
    let (dims, last) = (emit.dims(x).to_vec(), emit.rank(x) - 1);
    let length = dims.last().copied().unwrap_or(1);
    if length == 1 {
        return x;
    }
    if length > LONGEST_PRODUCT || emit.processor() != Processor::Cpu || emit.dtype(x) != Dtype::F32 {
        let order: Vec<i64> = (0..length as i64).rev().collect();
        return emit.take(x, last, &order);
    }
    let rows = emit.reshape(x, &[elements(&dims) / length, length]);
    let ones =
        (0..length).flat_map(|row| (0..length).map(move |column| f64::from(row + column + 1 == length)));
    let exchange = Tensor::from_f64(Dtype::F32, vec![length, length], &ones.collect::<Vec<_>>());
    let exchange = emit.constant(exchange);
    let reversed = emit.gemm(rows, false, exchange, false);
    emit.reshape(reversed, &dims)
}

fn weight_grad(x: Value, w: Value, dy: Value, shape: &ConvShape, emit: &mut Emit) -> Value {
    let is_empty = emit.dims(x).contains(&0);
    // A kernel of one element needs no shifted inputs, so there is nothing to save.
    let has_windows = elements(&shape.kernel) > 1;
    // A dilation of the last axis would leave gaps between the positions that are wanted, and those in the gaps would be
    // computed in vain.
    let is_dense = shape.dilations.last() == Some(&1) || shape.kernel.last() == Some(&1);
    // Libraries for graphics processors are made for small kernels.
    if has_windows && is_dense && !is_empty && emit.processor() == Processor::Cpu {
        folded_weight_grad(x, w, dy, shape, emit)
    } else {
        stacked_weight_grad(x, w, dy, shape, emit)
    }
}

/// `dW[m, c, k] = sum dY[n, m, o] X[n, c, s o + d k]` as one convolution in which examples are channels: dY is its
/// kernel, strides and dilations change places, and position k of its output is element k of the gradient.
///
/// The channels of X become part of its last axis, next to each other: `X[n, h, (w, c)]`. With strides and pads of that
/// axis times the number of channels, a kernel that moves by one goes from channel to channel and then on to the next
/// position, so the output is `dW[m, kh, (kw, c)]`: one product with `K C` columns, and columns are gathered from runs of
/// adjacent floats. With the channels as a batch it would be `C` products with `K` columns, several times slower; with
/// the shifted inputs written out first, twice as slow.
fn folded_weight_grad(x: Value, w: Value, dy: Value, shape: &ConvShape, emit: &mut Emit) -> Value {
    let (w_dims, group, axes) = (emit.dims(w).to_vec(), shape.group, shape.kernel.len());
    let [outputs, inputs] = *w_dims.first_chunk().expect("a convolution weight has two channel axes");
    let (x, end_pads) = without_unread_end(x, dy, shape, emit);
    let x_dims = emit.dims(x).to_vec();
    let batch = x_dims.first().copied().unwrap_or(1);

    let x = channels_last_by_group(x, group, emit);
    let fold_last = |sizes: &[usize]| {
        let mut folded = sizes.to_vec();
        if let Some(last) = folded.last_mut() {
            *last *= inputs;
        }
        folded
    };
    let mut folded = vec![1, group * batch];
    folded.extend(fold_last(x_dims.get(2..).unwrap_or_default()));
    let x = emit.reshape(x, &folded);

    let mut outputs_first: Vec<usize> = (0..axes + 2).collect();
    outputs_first.swap(0, 1);
    let kernel = emit.transpose(dy, &outputs_first);
    let begin_pads = shape.pads.get(..axes).unwrap_or_default();
    let mut strides = shape.dilations.clone();
    if let Some(last) = strides.last_mut() {
        *last = 1;
    }
    let swapped = ConvShape {
        kernel: emit.dims(kernel).get(2..).unwrap_or_default().to_vec(),
        strides,
        dilations: fold_last(&shape.strides),
        pads: [fold_last(begin_pads), fold_last(&end_pads)].concat(),
        group,
    };
    let dw = emit.conv(x, kernel, &swapped);

    // [1, M, k..., k_last C/g] -> [M, k..., C/g] -> [M, C/g, k...]
    let mut unfolded = vec![outputs];
    unfolded.extend(&shape.kernel);
    unfolded.push(inputs);
    let dw = emit.reshape(dw, &unfolded);
    let channels_second: Vec<usize> = [0, axes + 1].into_iter().chain(1..=axes).collect();
    emit.transpose(dw, &channels_second)
}

/// `[N, g C/g, i...]` as `[g, N, i..., C/g]`, or `[N, i..., C]` for one group.
fn channels_last_by_group(x: Value, group: usize, emit: &mut Emit) -> Value {
    let rank = emit.rank(x);
    if group == 1 {
        // Only one axis moves, for which ONNX Runtime has a kernel of its own.
        let order: Vec<usize> = [0].into_iter().chain(2..rank).chain([1]).collect();
        return emit.transpose(x, &order);
    }
    let mut by_group = emit.dims(x).to_vec();
    let channels = by_group.get(1).copied().unwrap_or(group);
    by_group.splice(1..2, [group, channels / group]);
    let x = emit.reshape(x, &by_group);
    let order: Vec<usize> = [1, 0].into_iter().chain(3..=rank).chain([2]).collect();
    emit.transpose(x, &order)
}

/// The input without the elements at the end of each axis that strides leave unread, and the pads that remain there.
fn without_unread_end(x: Value, dy: Value, shape: &ConvShape, emit: &mut Emit) -> (Value, Vec<usize>) {
    let axes = shape.kernel.len();
    let spatial = emit.dims(x).get(2..).unwrap_or_default().to_vec();
    let output = emit.dims(dy).get(2..).unwrap_or_default().to_vec();
    let unread =
        missing_at_end(shape, &spatial, &output).expect("a convolution never reads beyond the padded input");
    let pads = shape.pads.get(axes..).unwrap_or_default();
    let end_pads = pads.iter().zip(&unread).map(|(pad, unread)| pad.saturating_sub(*unread)).collect();
    let cropped = pads.iter().zip(&unread).map(|(pad, unread)| unread.saturating_sub(*pad));
    let ends: Vec<usize> = spatial.iter().zip(cropped).map(|(size, cropped)| size - cropped).collect();
    let sliced_axes: Vec<usize> = (2..2 + axes).collect();
    (emit.slice(x, &sliced_axes, &vec![0; axes], &ends, &vec![1; axes]), end_pads)
}

/// The same for any dilation: `[M, N o] x [K C, N o]'`, with the shifted inputs written out.
fn stacked_weight_grad(x: Value, w: Value, dy: Value, shape: &ConvShape, emit: &mut Emit) -> Value {
    let (w_dims, dy_dims) = (emit.dims(w).to_vec(), emit.dims(dy).to_vec());
    let (rank, group, window) = (w_dims.len(), shape.group, elements(&shape.kernel));
    let [outputs, inputs] = *w_dims.first_chunk().expect("a convolution weight has two channel axes");
    let batch = dy_dims.first().copied().unwrap_or(1);
    let positions = batch * elements(dy_dims.get(2..).unwrap_or_default());
    let mut channels_first: Vec<usize> = (0..rank).collect();
    channels_first.swap(0, 1);

    let columns = shifted_windows(x, &dy_dims, &channels_first, shape, emit);
    let columns = emit.reshape(columns, &[group, window * inputs, positions]);
    let dy = emit.transpose(dy, &channels_first);
    let dy = emit.reshape(dy, &[group, outputs / group, positions]);
    let product = if group == 1 {
        let columns = emit.reshape(columns, &[window * inputs, positions]);
        let dy = emit.reshape(dy, &[outputs, positions]);
        emit.gemm(dy, false, columns, true)
    } else {
        let columns = emit.transpose_last(columns);
        emit.matmul(dy, columns)
    };
    // The windows were stacked kernel element by kernel element, so that is the outer of the two axes.
    let product = emit.reshape(product, &[outputs, window, inputs]);
    let product = emit.transpose(product, &[0, 2, 1]);
    emit.reshape(product, &w_dims)
}

/// The input as `[g, K, C / g, N, o...]`: for each element of the kernel, what it was multiplied with.
fn shifted_windows(
    x: Value,
    dy_dims: &[usize],
    channels_first: &[usize],
    shape: &ConvShape,
    emit: &mut Emit,
) -> Value {
    let axes = shape.kernel.len();
    let by_channel = emit.transpose(x, channels_first);
    let mut pads = vec![0; 2 * (axes + 2)];
    for (at, pad) in shape.pads.iter().enumerate() {
        let axis = if at < axes { at + 2 } else { at - axes + axes + 4 };
        if let Some(slot) = pads.get_mut(axis) {
            *slot = *pad;
        }
    }
    let padded = emit.pad(by_channel, &pads);
    // Groups get an axis of their own, in front, so that stacking needs no transposition afterwards.
    let mut dims = emit.dims(padded).to_vec();
    let channels = dims.first().copied().unwrap_or(1);
    dims.splice(0..1, [shape.group, channels / shape.group]);
    let grouped = emit.reshape(padded, &dims);
    let sliced_axes: Vec<usize> = (3..3 + axes).collect();
    let mut parts = Vec::with_capacity(elements(&shape.kernel));
    for element in 0..elements(&shape.kernel) {
        let offset = offsets(element, shape);
        let output = dy_dims.get(2..).unwrap_or_default();
        let last = offset
            .iter()
            .zip(output)
            .zip(&shape.strides)
            .map(|((start, count), stride)| start + (count - 1) * stride + 1);
        let ends: Vec<usize> = last.collect();
        parts.push(emit.slice(grouped, &sliced_axes, &offset, &ends, &shape.strides));
    }
    emit.concat(&parts, 1)
}

/// Where the window of output 0 reads for the kernel element with this flat index, per spatial axis.
fn offsets(element: usize, shape: &ConvShape) -> Vec<usize> {
    let mut rest = element;
    let mut offset = vec![0; shape.kernel.len()];
    for ((slot, size), dilation) in offset.iter_mut().zip(&shape.kernel).zip(&shape.dilations).rev() {
        *slot = (rest % size) * dilation;
        rest /= size;
    }
    offset
}
