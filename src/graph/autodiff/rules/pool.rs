//! Pooling in one, two and three dimensions.

use super::conv::{missing_at_end, window_shape};
use super::{NodeView, Refusal, Rule, Ruled, one, refused, rule};
use crate::graph::emit::{ConvShape, Emit, Processor, Value};
use crate::graph::model::attribute;
use crate::graph::tensor::{Dtype, Tensor, ValueType, elements};

pub(super) const RULES: &[Rule] = &[
    rule("MaxPool", max_pool),
    rule("AveragePool", average_pool),
    rule("GlobalAveragePool", global_average_pool),
    rule("GlobalMaxPool", global_max_pool),
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
    // MaxUnpool exists on the CPU, for float32; without an output shape of its own it gives back what tiles exactly.
    let fits = emit.processor() == Processor::Cpu && emit.dtype(x) == Dtype::F32;
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
    let Some(missing) = missing_at_end(&shape, spatial, &output) else {
        return Err(Refusal(
            "ceil_mode makes windows that reach beyond the padded input, expected ceil_mode=0".to_owned(),
        ));
    };
    let padding_counts = node.node.int("count_include_pad").unwrap_or(0) != 0;
    let share = shares(&shape, spatial, &output, padding_counts, emit, dy);
    let weighted = emit.mul(dy, share);
    if tiles_exactly(&shape, spatial, &output) {
        return one(repeat_blocks(weighted, &x_dims, &shape, emit));
    }
    // A channel-wise transposed convolution with ones adds each gradient to every element of its window.
    let channels = x_dims.get(1).copied().unwrap_or(1);
    let mut ones_dims = vec![channels, 1];
    ones_dims.extend(&shape.kernel);
    let dtype = emit.dtype(dy);
    let ones = emit.constant(Tensor::from_f64(dtype, ones_dims.clone(), &vec![1.0; elements(&ones_dims)]));
    let shape = ConvShape { group: channels, ..shape };
    one(emit.conv_transpose(weighted, ones, &shape, &missing, spatial))
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
                reads
                    .filter(|read| {
                        padding_counts || (at(&shape.pads)..at(&shape.pads) + at(spatial)).contains(read)
                    })
                    .count()
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
