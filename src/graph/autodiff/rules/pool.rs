//! Pooling in one, two and three dimensions.

use super::conv::{missing_at_end, window_shape};
use super::{Composition, NodeView, Refusal, Rule, Ruled, composed, one, refused, rule};
use crate::graph::emit::{ConvShape, Emit, Value};
use crate::graph::model::attribute;
use crate::graph::tensor::{Dtype, Tensor, ValueType, elements};

pub(super) const RULES: &[Rule] = &[
    rule("MaxPool", max_pool),
    rule("AveragePool", average_pool),
    rule("GlobalAveragePool", global_average_pool),
    rule("GlobalMaxPool", global_max_pool),
    rule("LpPool", lp_pool),
    rule("GlobalLpPool", global_lp_pool).until(21),
    composed("LRN", local_response_normalization),
    refused("MaxUnpool", "it writes each position once, so windows that overlap have no right gradient"),
];

fn window_of(node: &NodeView, emit: &Emit) -> Result<ConvShape, Refusal> {
    let given = node.node.ints("kernel_shape").unwrap_or_default();
    let window: Vec<usize> = given.iter().filter_map(|size| usize::try_from(*size).ok()).collect();
    window_shape(&node.node, emit.dims(node.input(0)), emit.dims(node.output(0)), &window)
}

/// y = the largest x of each window   gives   dx = dy at the position it came from, which MaxPool itself reports
///
/// The first of equal elements counts, as in PyTorch. Where windows overlap, a position may receive several gradients;
/// ScatterElements adds them up in a fixed order.
fn max_pool(node: &NodeView, emit: &mut Emit) -> Ruled {
    if node.node.int("storage_order").unwrap_or(0) != 0 {
        return Err(Refusal("storage_order is 1, expected 0".to_owned()));
    }
    let shape = window_of(node, emit)?;
    let overlapping = shape.kernel.iter().zip(&shape.strides).any(|(size, stride)| size > stride)
        || shape.dilations.iter().any(|dilation| *dilation > 1);
    if overlapping && emit.opset() < 16 {
        let opset = emit.opset();
        return Err(Refusal(format!(
            "overlapping windows need opset 16 or newer, found {opset}; export with opset_version=17"
        )));
    }
    let (dy, x) = (node.dy(), node.input(0));
    let positions = ValueType::new(Dtype::I64, emit.dims(dy));
    let indices = emit.extra_output(&node.node.name, 1, positions);
    let dims = emit.dims(x).to_vec();
    let spatial = dims.get(2..).unwrap_or_default();
    let output = emit.dims(dy).get(2..).unwrap_or_default().to_vec();
    // MaxUnpool exists on the CPU, for 32-bit floats; without an output shape of its own it gives back what tiles exactly.
    let fits = emit.is_single_on_cpu(x);
    if fits && tiles_exactly(&shape, spatial, &output) {
        return one(unpool(dy, indices, &shape, dims, emit));
    }
    let (indices, updates) = (emit.flatten(indices), emit.flatten(dy));
    let zero = emit.scalar(0.0, x);
    let zeros = emit.expand(zero, &[elements(&dims)]);
    let mut attributes = vec![attribute::int("axis", 0)];
    if overlapping {
        attributes.push(attribute::string("reduction", "add"));
    }
    let kind = ValueType::new(emit.dtype(x), vec![elements(&dims)]);
    let scattered = emit.op("ScatterElements", &[zeros, indices, updates], attributes, kind);
    one(emit.reshape(scattered, &dims))
}

/// The elements of `y` at their positions among zeros, one in each window.
fn unpool(y: Value, positions: Value, shape: &ConvShape, dims: Vec<usize>, emit: &mut Emit) -> Value {
    let sizes: Vec<i64> = shape.kernel.iter().map(|size| *size as i64).collect();
    let attributes = vec![attribute::ints("kernel_shape", &sizes), attribute::ints("strides", &sizes)];
    let kind = ValueType::new(emit.dtype(y), dims);
    emit.op("MaxUnpool", &[y, positions], attributes, kind)
}

/// y = the mean of each window   gives   dx = dy / count, spread over the window
fn average_pool(node: &NodeView, emit: &mut Emit) -> Ruled {
    let shape = window_of(node, emit)?;
    let (dy, x_dims) = (node.dy(), emit.dims(node.input(0)).to_vec());
    let spatial = x_dims.get(2..).unwrap_or_default();
    let output = emit.dims(dy).get(2..).unwrap_or_default().to_vec();
    let padding_counts = node.node.int("count_include_pad").unwrap_or(0) != 0;
    let share = shares(&shape, spatial, &output, padding_counts, emit, dy);
    let weighted = emit.mul(dy, share);
    if tiles_exactly(&shape, spatial, &output) {
        return one(repeat_blocks(weighted, &x_dims, &shape, emit));
    }
    one(spread_windows(weighted, &shape, spatial, emit))
}

/// Each element of `[batch, channels, windows...]` added to every element of its window, `[batch, channels, spatial...]`.
///
/// That is a transposed convolution with ones, channel by channel. Windows that reach beyond the padded input, as
/// `ceil_mode` makes them, are cut off afterwards.
fn spread_windows(windows: Value, shape: &ConvShape, spatial: &[usize], emit: &mut Emit) -> Value {
    let dims = emit.dims(windows).to_vec();
    let channels = dims.get(1).copied().unwrap_or(1);
    let output = dims.get(2..).unwrap_or_default();
    let mut ones_dims = vec![channels, 1];
    ones_dims.extend(&shape.kernel);
    let dtype = emit.dtype(windows);
    let ones = emit.constant(Tensor::from_f64(dtype, ones_dims.clone(), &vec![1.0; elements(&ones_dims)]));
    let shape = ConvShape { group: channels, ..shape.clone() };
    if let Some(missing) = missing_at_end(&shape, spatial, output) {
        return emit.conv_transpose(windows, ones, &shape, &missing, spatial);
    }
    let axes = spatial.len();
    let at = |list: &[usize], i: usize| list.get(i).copied().unwrap_or(1);
    let reached = (0..axes).map(|axis| {
        let span = at(&shape.dilations, axis) * (at(&shape.kernel, axis) - 1) + 1;
        (at(output, axis) - 1) * at(&shape.strides, axis) + span
    });
    let reached: Vec<usize> = reached.collect();
    let begins = shape.pads.get(..axes).unwrap_or_default().to_vec();
    let whole = ConvShape { pads: vec![0; 2 * axes], ..shape };
    let full = emit.conv_transpose(windows, ones, &whole, &vec![0; axes], &reached);
    let wanted: Vec<usize> = begins.iter().zip(spatial).map(|(begin, size)| begin + size).collect();
    let ends: Vec<usize> =
        wanted.iter().zip(&reached).map(|(wanted, reached)| *wanted.min(reached)).collect();
    let spatial_axes: Vec<usize> = (2..2 + axes).collect();
    let cut = emit.slice(full, &spatial_axes, &begins, &ends, &vec![1; axes]);
    let after = wanted.iter().zip(&ends).map(|(wanted, end)| wanted - end);
    let pads: Vec<usize> = [0; 2].into_iter().chain(vec![0; axes]).chain([0; 2]).chain(after).collect();
    emit.pad(cut, &pads)
}

/// One over the number of elements that each window averages, broadcast over batch and channels.
fn shares(
    shape: &ConvShape,
    spatial: &[usize],
    output: &[usize],
    padding_counts: bool,
    emit: &mut Emit,
    like: Value,
) -> Value {
    let per_axis: Vec<Vec<usize>> = (0..spatial.len())
        .map(|axis| {
            let at = |list: &[usize]| list.get(axis).copied().unwrap_or(0);
            let inside = |start: usize| {
                let reads = (0..at(&shape.kernel)).map(|element| start + element * at(&shape.dilations));
                let (first, end) = if padding_counts {
                    let after = shape.pads.get(axis + spatial.len()).copied().unwrap_or(0);
                    (0, at(&shape.pads) + at(spatial) + after)
                } else {
                    (at(&shape.pads), at(&shape.pads) + at(spatial))
                };
                reads.filter(|read| (first..end).contains(read)).count()
            };
            (0..at(output)).map(|position| inside(position * at(&shape.strides))).collect()
        })
        .collect();
    let counts = per_axis.iter().fold(vec![1], |outer: Vec<usize>, axis| {
        outer.iter().flat_map(|count| axis.iter().map(move |inner| count * inner)).collect()
    });
    let shares: Vec<f64> = counts.iter().map(|count| 1.0 / (*count).max(1) as f64).collect();
    let dtype = emit.dtype(like);
    match shares.first() {
        Some(first) if counts.iter().all(|count| Some(count) == counts.first()) => emit.scalar(*first, like),
        _ => {
            let dims: Vec<usize> = [1, 1].into_iter().chain(output.iter().copied()).collect();
            emit.constant(Tensor::from_f64(dtype, dims, &shares))
        }
    }
}

fn tiles_exactly(shape: &ConvShape, spatial: &[usize], output: &[usize]) -> bool {
    shape.kernel == shape.strides
        && shape.pads.iter().all(|pad| *pad == 0)
        && shape.dilations.iter().all(|dilation| *dilation == 1)
        && output.iter().zip(&shape.kernel).map(|(count, size)| count * size).eq(spatial.iter().copied())
}

/// Each element repeated over its window, for windows that tile the input.
fn repeat_blocks(x: Value, dims: &[usize], shape: &ConvShape, emit: &mut Emit) -> Value {
    let (lead, output) = emit.dims(x).split_at(2);
    let mut split = lead.to_vec();
    let mut full = lead.to_vec();
    for (count, size) in output.iter().zip(&shape.kernel) {
        split.extend([*count, 1]);
        full.extend([*count, *size]);
    }
    let split = emit.reshape(x, &split);
    let repeated = emit.expand(split, &full);
    emit.reshape(repeated, dims)
}

/// y = mean over all positions   gives   dx = dy / positions, repeated
fn global_average_pool(node: &NodeView, emit: &mut Emit) -> Ruled {
    let dims = emit.dims(node.input(0)).to_vec();
    let positions = elements(dims.get(2..).unwrap_or_default());
    let share = emit.scale(node.dy(), 1.0 / positions as f64);
    one(emit.expand(share, &dims))
}

/// y = the largest x of a channel   gives   dx = dy at the first position that holds it
fn global_max_pool(node: &NodeView, emit: &mut Emit) -> Ruled {
    let (dy, x) = (node.dy(), node.input(0));
    let dims = emit.dims(x).to_vec();
    let (lead, spatial) = dims.split_at(2);
    let positions = elements(spatial);
    let rows = [elements(lead), positions];
    let flat = emit.reshape(x, &rows);
    let attributes = vec![attribute::int("axis", 1), attribute::int("keepdims", 1)];
    let first = emit.op("ArgMax", &[flat], attributes, ValueType::new(Dtype::I64, vec![elements(lead), 1]));
    let order =
        emit.constant(Tensor::from_i64(vec![1, positions], &(0..positions as i64).collect::<Vec<_>>()));
    let chosen = emit.equal(order, first);
    let dy = emit.reshape(dy, &[elements(lead), 1]);
    let grad = emit.keep_where(chosen, dy);
    one(emit.reshape(grad, &dims))
}

/// y = (sum |x|^p)^(1/p) over each window   gives   dx = |x|^(p - 1) sign(x) * (dy / y^(p - 1) spread over the window), and
/// nothing from windows of zeros
fn lp_pool(node: &NodeView, emit: &mut Emit) -> Ruled {
    let shape = window_of(node, emit)?;
    let spatial = emit.dims(node.input(0)).get(2..).unwrap_or_default().to_vec();
    let share = lp_share(node, emit);
    let spread = spread_windows(share, &shape, &spatial, emit);
    one(lp_slope(node, spread, emit))
}

/// The same over all positions of a channel
fn global_lp_pool(node: &NodeView, emit: &mut Emit) -> Ruled {
    let share = lp_share(node, emit);
    one(lp_slope(node, share, emit))
}

fn lp_exponent(node: &NodeView) -> i64 {
    node.node.int("p").unwrap_or(2)
}

/// dy / y^(p - 1), and dy where y is 0
fn lp_share(node: &NodeView, emit: &mut Emit) -> Value {
    let (dy, y) = (node.dy(), node.output(0));
    let zero = emit.scalar(0.0, y);
    let is_zero = emit.equal(y, zero);
    let is_zero = emit.cast(is_zero, emit.dtype(y));
    let norm = emit.add(y, is_zero);
    match lp_exponent(node) {
        1 => dy,
        2 => emit.div(dy, norm),
        p => {
            let exponent = emit.scalar((p - 1) as f64, y);
            let power = emit.pow(norm, exponent);
            emit.div(dy, power)
        }
    }
}

/// |x|^(p - 1) sign(x) * share
fn lp_slope(node: &NodeView, share: Value, emit: &mut Emit) -> Value {
    let x = node.input(0);
    match lp_exponent(node) {
        1 => {
            let sign = emit.sign(x);
            emit.mul(sign, share)
        }
        2 => emit.mul(x, share),
        p => {
            let size = emit.abs(x);
            let exponent = emit.scalar((p - 2) as f64, x);
            let power = emit.pow(size, exponent);
            let slope = emit.mul(x, power);
            emit.mul(slope, share)
        }
    }
}

/// y = x / (bias + alpha / size * sum of x^2 over neighbouring channels)^beta
fn local_response_normalization(node: &NodeView, emit: &mut Emit) -> Composition {
    let x = node.input(0);
    let dims = emit.dims(x).to_vec();
    let [batch, channels] = *dims.first_chunk().expect("ONNX Runtime refused inputs without channels");
    let size = node.node.int("size").and_then(|size| usize::try_from(size).ok()).unwrap_or(1).max(1);
    let number = |name: &str, default: f32| f64::from(node.node.float(name).unwrap_or(default));
    let square = emit.mul(x, x);
    let flat = emit.reshape(square, &[batch, 1, channels, elements(&dims) / (batch * channels).max(1)]);
    let attributes = vec![
        attribute::ints("kernel_shape", &[size as i64, 1]),
        attribute::ints("pads", &[((size - 1) / 2) as i64, 0, (size / 2) as i64, 0]),
        attribute::int("count_include_pad", 1),
    ];
    let kind = emit.kind(flat).clone();
    let mean = emit.op("AveragePool", &[flat], attributes, kind);
    let mean = emit.reshape(mean, &dims);
    // The mean is the sum divided by the size already.
    let scaled = emit.scale(mean, number("alpha", 1e-4));
    let shifted = emit.shift(scaled, number("bias", 1.0));
    let exponent = emit.scalar(-number("beta", 0.75), x);
    let factor = emit.pow(shifted, exponent);
    Ok(vec![Some(emit.mul(x, factor))])
}
