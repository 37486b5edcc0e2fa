//! Reading an image at places that a grid gives: GridSample.

use super::{Composition, NodeView, Refusal, Rule, composed, from_front};
use crate::graph::emit::{Emit, Value};
use crate::graph::tensor::{Dtype, Tensor, elements};

pub(super) const RULES: &[Rule] = &[composed("GridSample", grid_sample).since(16)];

/// What a place outside of the image reads.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Outside {
    Zeros,
    Border,
    Reflection,
}

/// Coordinates along one axis: the whole number below each, and how far behind it each lies.
struct Places {
    below: Value,
    fraction: Value,
    size: usize,
}

/// y at a place = the sum of its 2^n neighbours, each by the product of 1 - distance over the axes; or the nearest one
///
/// The grid counts from -1 to 1 and gives the last axis first.
fn grid_sample(node: &NodeView, emit: &mut Emit) -> Composition {
    let (x, grid) = (node.input(0), node.input(1));
    let mode = node.node.string("mode").unwrap_or("linear");
    let is_nearest = match mode {
        "linear" | "bilinear" => false,
        "nearest" => true,
        _ => return Err(Refusal(format!("attribute `mode` is `{mode}`, expected linear or nearest"))),
    };
    let outside = match node.node.string("padding_mode").unwrap_or("zeros") {
        "border" => Outside::Border,
        "reflection" => Outside::Reflection,
        _ => Outside::Zeros,
    };
    let is_aligned = node.node.int("align_corners").unwrap_or(0) != 0;
    let (x_dims, y_dims) = (emit.dims(x).to_vec(), emit.dims(node.output(0)).to_vec());
    let [batch, channels] = *x_dims.first_chunk().expect("ONNX Runtime refused images without channels");
    let sizes = x_dims.get(2..).unwrap_or_default().to_vec();
    let count = elements(y_dims.get(2..).unwrap_or_default());
    if elements(&y_dims) == 0 || elements(&x_dims) == 0 {
        return Ok(vec![Some(emit.zeros_like(node.output(0)))]);
    }
    let grid = emit.cast(grid, emit.dtype(x));
    let grid = emit.reshape(grid, &[batch, 1, count, sizes.len()]);
    let mut axes = Vec::with_capacity(sizes.len());
    for (axis, size) in sizes.iter().enumerate() {
        let column = from_front(-1 - axis as i64, sizes.len());
        let place = emit.slice(grid, &[3], &[column], &[column + 1], &[1]);
        let place = emit.reshape(place, &[batch, 1, count]);
        let place = to_pixels(place, *size, is_aligned, outside, emit);
        axes.push(places(place, *size, is_nearest, emit));
    }
    let flat = emit.reshape(x, &[batch, channels, elements(&sizes)]);
    let corners = if is_nearest { 1 } else { 1_usize << sizes.len() };
    let mut sum: Option<Value> = None;
    for corner in 0..corners {
        let part = neighbour(flat, &axes, corner, is_nearest, emit);
        sum = Some(sum.map_or(part, |sum| emit.add(sum, part)));
    }
    let sum = sum.expect("a place has at least one neighbour");
    Ok(vec![Some(emit.reshape(sum, &y_dims))])
}

/// Places between -1 and 1 as positions of pixels, brought inside where the padding says so.
fn to_pixels(place: Value, size: usize, is_aligned: bool, outside: Outside, emit: &mut Emit) -> Value {
    let size = size as f64;
    let moved = emit.shift(place, 1.0);
    let pixel = if is_aligned {
        emit.scale(moved, (size - 1.0) / 2.0)
    } else {
        let scaled = emit.scale(moved, size / 2.0);
        emit.shift(scaled, -0.5)
    };
    match outside {
        Outside::Zeros => pixel,
        Outside::Border => clipped(pixel, size - 1.0, emit),
        Outside::Reflection => {
            let (low, span) = if is_aligned { (0.0, size - 1.0) } else { (-0.5, size) };
            let reflected = reflected(pixel, low, span, emit);
            clipped(reflected, size - 1.0, emit)
        }
    }
}

/// Between 0 and the last pixel; at and beyond the ends without a gradient, as in PyTorch.
fn clipped(x: Value, last: f64, emit: &mut Emit) -> Value {
    let (low, high) = (emit.scalar(0.0, x), emit.scalar(last, x));
    let kind = emit.kind(x).clone();
    emit.op("Clip", &[x, low, high], vec![], kind)
}

/// Mirrored at `low` and `low + span` as often as it takes.
fn reflected(x: Value, low: f64, span: f64, emit: &mut Emit) -> Value {
    if span <= 0.0 {
        return emit.zeros_like(x);
    }
    let distance = emit.shift(x, -low);
    let distance = emit.abs(distance);
    let turns = emit.scale(distance, 1.0 / span);
    let turns = floor(turns, emit);
    let walked = emit.scale(turns, span);
    let rest = emit.sub(distance, walked);
    // Odd turns walk back.
    let half = emit.scale(turns, 0.5);
    let whole = floor(half, emit);
    let whole = emit.scale(whole, 2.0);
    let odd = emit.sub(turns, whole);
    let back = emit.scale(rest, -2.0);
    let back = emit.shift(back, span);
    let back = emit.mul(odd, back);
    let inside = emit.add(rest, back);
    emit.shift(inside, low)
}

fn floor(x: Value, emit: &mut Emit) -> Value {
    let kind = emit.kind(x).clone();
    emit.op("Floor", &[x], vec![], kind)
}

fn places(pixel: Value, size: usize, is_nearest: bool, emit: &mut Emit) -> Places {
    let below = if is_nearest { emit.round(pixel) } else { floor(pixel, emit) };
    let fraction = emit.sub(pixel, below);
    Places { below, fraction, size }
}

/// The pixels behind which the bits of `corner` say, weighed by how near they are; nothing from outside of the image.
fn neighbour(flat: Value, axes: &[Places], corner: usize, is_nearest: bool, emit: &mut Emit) -> Value {
    let dtype = emit.dtype(flat);
    let mut weight: Option<Value> = None;
    let mut position: Option<Value> = None;
    for (axis, places) in axes.iter().enumerate() {
        let is_behind = corner >> axis & 1 == 1;
        let at = if is_behind { emit.shift(places.below, 1.0) } else { places.below };
        let inside = clipped(at, places.size as f64 - 1.0, emit);
        let exists = emit.equal(at, inside);
        let mut share = emit.cast(exists, dtype);
        if !is_nearest {
            let near = if is_behind {
                places.fraction
            } else {
                let negative = emit.neg(places.fraction);
                emit.shift(negative, 1.0)
            };
            share = emit.mul(share, near);
        }
        weight = Some(weight.map_or(share, |weight| emit.mul(weight, share)));
        let inside = emit.cast(inside, Dtype::I64);
        position = Some(match position {
            None => inside,
            Some(rows) => {
                let size = emit.constant(Tensor::from_i64(Vec::new(), &[places.size as i64]));
                let rows = emit.mul(rows, size);
                emit.add(rows, inside)
            }
        });
    }
    let (weight, position) = weight.zip(position).expect("an image has at least one axis");
    let mut dims = emit.dims(position).to_vec();
    if let (Some(slot), Some(channels)) = (dims.get_mut(1), emit.dims(flat).get(1)) {
        *slot = *channels;
    }
    let position = emit.expand(position, &dims);
    let pixels = emit.gather_elements(flat, position, 2);
    emit.mul(pixels, weight)
}
