//! Resizing by interpolation.
//!
//! Every mode is linear in the data and works axis by axis: an element of the output is a sum of a few elements of the
//! input with weights that depend on its position. The gradient along an axis is the transpose of that map, a product
//! with a matrix which ONNX Runtime makes from positions and weights; where each element is simply repeated, it is a sum.

use super::{NodeView, Refusal, Rule, Ruled, from_front, rule};
use crate::graph::emit::{Emit, Value};
use crate::graph::tensor::{Tensor, elements};

mod weights;

use weights::{Axis, Coordinates, Filter, Tap, taps};

pub(super) const RULES: &[Rule] = &[rule("Resize", resize)];

/// Y = A X, A the interpolation along each axis   gives   dX = A' dY
fn resize(node: &NodeView, emit: &mut Emit) -> Ruled {
    let (x_dims, y_dims) = (emit.dims(node.input(0)).to_vec(), emit.dims(node.output(0)).to_vec());
    let filter = filter_of(node)?;
    let scales = scales_of(node, emit, &x_dims, &y_dims)?;
    let regions = regions_of(node, emit, x_dims.len())?;
    let mut grad = node.dy();
    for (axis, (input, output)) in x_dims.iter().zip(&y_dims).enumerate() {
        let scale = scales.get(axis).copied().unwrap_or(1.0);
        let region = regions.get(axis).copied().unwrap_or((0.0, 1.0));
        let is_same = input == output && scale == 1.0;
        if !is_same || filter.coordinates == Coordinates::CropAndResize && region != (0.0, 1.0) {
            let axis_size = Axis { input: *input, output: *output, scale, region };
            grad = transpose_along(grad, axis, *input, &taps(&filter, &axis_size), emit);
        }
    }
    Ok(vec![Some(grad), None, None, None])
}

fn filter_of(node: &NodeView) -> Result<Filter, Refusal> {
    let policy = node.node.string("keep_aspect_ratio_policy").unwrap_or("stretch");
    if policy != "stretch" {
        return Err(Refusal(format!("keep_aspect_ratio_policy is `{policy}`, expected stretch")));
    }
    let unknown =
        |name: &str, found: &str| Refusal(format!("attribute `{name}` is `{found}`, which is unknown"));
    let text = |name: &str, default: &'static str| node.node.string(name).unwrap_or(default).to_owned();
    let (mode, nearest) = (text("mode", "nearest"), text("nearest_mode", "round_prefer_floor"));
    let coordinates = text("coordinate_transformation_mode", "half_pixel");
    Ok(Filter {
        mode: weights::Mode::named(&mode).ok_or_else(|| unknown("mode", &mode))?,
        nearest: weights::Nearest::named(&nearest).ok_or_else(|| unknown("nearest_mode", &nearest))?,
        coordinates: Coordinates::named(&coordinates)
            .ok_or_else(|| unknown("coordinate_transformation_mode", &coordinates))?,
        cubic: node.node.float("cubic_coeff_a").unwrap_or(-0.75),
        excludes_outside: node.node.int("exclude_outside").unwrap_or(0) != 0,
        antialias: node.node.int("antialias").unwrap_or(0) != 0,
    })
}

/// The axes that scales, sizes and regions are given for.
fn listed_axes(node: &NodeView, rank: usize) -> Vec<usize> {
    match node.node.ints("axes") {
        Some(axes) => axes.iter().map(|axis| from_front(*axis, rank)).collect(),
        None => (0..rank).collect(),
    }
}

/// The scale of each axis: as given, otherwise from the sizes.
fn scales_of(node: &NodeView, emit: &Emit, x: &[usize], y: &[usize]) -> Result<Vec<f32>, Refusal> {
    let mut scales: Vec<f32> = x.iter().zip(y).map(|(x, y)| *y as f32 / (*x).max(1) as f32).collect();
    let Some(given) = node.optional_input(2).filter(|given| emit.kind(*given).elements() > 0) else {
        return Ok(scales);
    };
    let given = emit.known(given).and_then(|scales| scales.to_f32());
    let given = given.ok_or_else(|| Refusal("its scales are computed, expected constants".to_owned()))?;
    for (axis, scale) in listed_axes(node, x.len()).into_iter().zip(given) {
        if let Some(slot) = scales.get_mut(axis) {
            *slot = scale;
        }
    }
    Ok(scales)
}

/// The region that is cropped, start and end of each axis between 0 and 1.
fn regions_of(node: &NodeView, emit: &Emit, rank: usize) -> Result<Vec<(f32, f32)>, Refusal> {
    let mut regions = vec![(0.0, 1.0); rank];
    let Some(given) = node.optional_input(1).filter(|given| emit.kind(*given).elements() > 0) else {
        return Ok(regions);
    };
    let given = emit.known(given).and_then(|regions| regions.to_f64());
    let given = given.ok_or_else(|| Refusal("its region is computed, expected a constant".to_owned()))?;
    let axes = listed_axes(node, rank);
    let (starts, ends) = given.split_at_checked(axes.len()).unwrap_or_default();
    for (axis, (start, end)) in axes.iter().zip(starts.iter().zip(ends)) {
        if let Some(slot) = regions.get_mut(*axis) {
            *slot = (*start as f32, *end as f32);
        }
    }
    Ok(regions)
}

/// `dy` along one axis multiplied by the transpose of the interpolation.
fn transpose_along(dy: Value, axis: usize, input: usize, taps: &[Vec<Tap>], emit: &mut Emit) -> Value {
    let dims = emit.dims(dy).to_vec();
    let (outer, rest) = dims.split_at_checked(axis).unwrap_or_default();
    let output = rest.first().copied().unwrap_or(1);
    let (outer, inner) = (elements(outer), elements(rest.get(1..).unwrap_or_default()));
    let mut x_dims = dims.clone();
    if let Some(slot) = x_dims.get_mut(axis) {
        *slot = input;
    }
    let grad = if let Some(times) = repetition(taps, input) {
        let apart = emit.reshape(dy, &[outer, input, times, inner]);
        emit.reduce_sum(apart, &[2])
    } else if inner == 1 {
        let matrix = matrix_of(taps, input, 1, emit);
        let rows = emit.reshape(dy, &[outer, output]);
        emit.gemm(rows, false, matrix, false)
    } else {
        let matrix = matrix_of(taps, input, 0, emit);
        let rows = emit.reshape(dy, &[outer, output, inner]);
        emit.matmul(matrix, rows)
    };
    emit.reshape(grad, &x_dims)
}

/// How often each element of the input is repeated, if the output is just that.
fn repetition(taps: &[Vec<Tap>], input: usize) -> Option<usize> {
    let times = taps.len().checked_div(input).filter(|times| times * input == taps.len())?;
    let is_repeated = |(position, taps): (usize, &Vec<Tap>)| matches!(taps.as_slice(), [tap] if tap.source == position / times && tap.weight == 1.0);
    taps.iter().enumerate().all(is_repeated).then_some(times)
}

/// The weights as a matrix with the input along `axis` and the output along the other one.
fn matrix_of(taps: &[Vec<Tap>], input: usize, axis: usize, emit: &mut Emit) -> Value {
    let count = taps.iter().map(Vec::len).max().unwrap_or(0).max(1);
    let weights_dims = if axis == 0 { vec![1, taps.len()] } else { vec![taps.len(), 1] };
    let mut matrix: Option<Value> = None;
    for number in 0..count {
        let tap = |taps: &Vec<Tap>| taps.get(number).copied().unwrap_or(Tap { source: 0, weight: 0.0 });
        let sources: Vec<i64> = taps.iter().map(|taps| tap(taps).source as i64).collect();
        let weights: Vec<f32> = taps.iter().map(|taps| tap(taps).weight).collect();
        let sources = emit.list(&sources);
        let weights = emit.constant(Tensor::from_f32(weights_dims.clone(), &weights));
        let hot = emit.one_hot(sources, input, axis, crate::graph::tensor::Dtype::F32);
        let part = emit.mul(hot, weights);
        matrix = Some(matrix.map_or(part, |sum| emit.add(sum, part)));
    }
    matrix.expect("there is at least one tap")
}
