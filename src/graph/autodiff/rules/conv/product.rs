//! Convolutions of small images as one product of matrices for all images.
//!
//! ONNX Runtime computes a convolution image by image. Where the kernel is larger than what it is multiplied with, as at
//! the end of most networks, reading the kernel for each image again is what takes the time, and the gradients have to
//! reverse and to move values as large as the kernel on top. As a product `W X'`, in which the windows of all images are
//! the columns of `X'`, the kernel is read once; its gradients are the products `dY X''` and `W' dY`, which read and write
//! it as it lies in memory.

use super::{NodeView, Refusal, window_shape};
use crate::graph::autodiff::rules::Composition;
use crate::graph::emit::{ConvShape, Emit, Processor, Value};
use crate::graph::tensor::{Dtype, Tensor, elements};

/// How many times as many channels must come out as an image has elements. Windows are taken by a product with a matrix
/// of zeros and ones, whose work, compared with that of the convolution, is an element of the image per such channel.
const CHANNELS_PER_ELEMENT: usize = 4;

/// Y = W X' + b, X' the windows of all images, side by side
///
/// A refusal says that the operator itself is faster.
pub(super) fn as_product(node: &NodeView, emit: &mut Emit) -> Composition {
    let (x, w) = (node.input(0), node.input(1));
    let (x_dims, w_dims) = (emit.dims(x).to_vec(), emit.dims(w).to_vec());
    let y_dims = emit.dims(node.output(0)).to_vec();
    let shape = window_shape(&node.node, &x_dims, &y_dims, w_dims.get(2..).unwrap_or_default())?;
    if !is_faster(x, w, &y_dims, &shape, emit) {
        return Err(Refusal("its windows are larger than its kernel".to_owned()));
    }
    let [batch, channels] = *x_dims.first_chunk().expect("ONNX Runtime refused inputs without channels");
    let outputs = w_dims.first().copied().unwrap_or(1);
    let (image, positions) = (elements(after_channels(&x_dims)), elements(after_channels(&y_dims)));
    let window = elements(&shape.kernel);

    // [N, C, i] -> [C, i, N]: with the images next to each other, a window is a list of rows.
    let x = emit.reshape(x, &[batch, channels, image]);
    let x = emit.transpose(x, &[1, 2, 0]);
    let windows = if is_each_element(&shape) {
        x
    } else {
        let taken = taken(after_channels(&x_dims), after_channels(&y_dims), &shape);
        let taken = emit.constant(Tensor::from_f64(Dtype::F32, vec![window * positions, image], &taken));
        emit.matmul(taken, x)
    };
    let windows = emit.reshape(windows, &[channels * window, positions * batch]);
    let kernel = emit.reshape(w, &[outputs, channels * window]);
    let mut y = emit.gemm(kernel, false, windows, false);
    if let Some(bias) = node.optional_input(2) {
        let bias = emit.reshape(bias, &[outputs, 1]);
        y = emit.add(y, bias);
    }
    let y = emit.reshape(y, &[outputs, positions, batch]);
    let y = emit.transpose(y, &[2, 0, 1]);
    Ok(vec![Some(emit.reshape(y, &y_dims))])
}

fn after_channels(dims: &[usize]) -> &[usize] {
    dims.get(2..).unwrap_or_default()
}

/// Kernels that are constants are left to ONNX Runtime, which lays them out anew when it builds the session.
fn is_faster(x: Value, w: Value, y_dims: &[usize], shape: &ConvShape, emit: &Emit) -> bool {
    let is_for_it = emit.processor() == Processor::Cpu && emit.dtype(x) == Dtype::F32 && shape.group == 1;
    let outputs = emit.dims(w).first().copied().unwrap_or(1);
    let batch = emit.dims(x).first().copied().unwrap_or(1);
    let image = elements(after_channels(emit.dims(x)));
    let columns = batch.saturating_mul(elements(after_channels(y_dims)));
    let is_small = (2..=outputs).contains(&columns)
        && (image.saturating_mul(CHANNELS_PER_ELEMENT) <= outputs || is_each_element(shape));
    is_for_it && emit.known(w).is_none() && is_small
}

/// Whether the windows are the elements themselves.
fn is_each_element(shape: &ConvShape) -> bool {
    elements(&shape.kernel) == 1 && elements(&shape.strides) == 1 && shape.pads.iter().all(|pad| *pad == 0)
}

/// The matrix that takes windows from an image: 1 where an element of the kernel (the outer part of the row) at a position
/// of the output (the inner part) reads an element of the image (the column), 0 elsewhere, and so in pads.
fn taken(image: &[usize], output: &[usize], shape: &ConvShape) -> Vec<f64> {
    let columns = elements(image);
    let mut matrix = Vec::with_capacity(elements(&shape.kernel) * elements(output) * columns);
    for element in 0..elements(&shape.kernel) {
        for position in 0..elements(output) {
            let start = matrix.len();
            matrix.resize(start + columns, 0.0);
            let read = element_read(element, position, image, output, shape);
            if let Some(slot) = read.and_then(|read| matrix.get_mut(start + read)) {
                *slot = 1.0;
            }
        }
    }
    matrix
}

/// The flat index of the element of the image that an element of the kernel reads at a position; `None` in pads.
fn element_read(
    mut element: usize,
    mut position: usize,
    image: &[usize],
    output: &[usize],
    shape: &ConvShape,
) -> Option<usize> {
    let (mut flat, mut stride) = (0, 1);
    for axis in (0..image.len()).rev() {
        let at = |list: &[usize]| list.get(axis).copied().unwrap_or(1);
        let (kernel, count, size) = (at(&shape.kernel), at(output), at(image));
        let padded = (position % count) * at(&shape.strides) + (element % kernel) * at(&shape.dilations);
        let place = padded.checked_sub(at(&shape.pads)).filter(|place| *place < size)?;
        flat += place * stride;
        stride *= size;
        (element, position) = (element / kernel, position / count);
    }
    Some(flat)
}

#[cfg(test)]
mod tests {
    use super::super::super::super::backward;
    use crate::graph::emit::{Emit, Processor};
    use crate::graph::model::{Node, attribute};
    use crate::graph::tensor::{Dtype, Tensor, ValueType};

    /// Whether a convolution of `x` with `w`, pads of 1 and `group` is written as a product in a training graph.
    fn is_product(x: [usize; 4], w: [usize; 4], group: i64, change: impl FnOnce(&mut Emit)) -> bool {
        let mut emit = Emit::new(18, Vec::new());
        change(&mut emit);
        let kind = |dims: [usize; 4]| ValueType::new(Dtype::F32, dims.to_vec());
        let given = emit.declare("x", kind(x));
        let kernel = emit.find("w").unwrap_or_else(|| emit.declare("w", kind(w)));
        let y = emit.declare("y", kind([x[0], w[0], x[2] + 3 - w[2], x[3] + 3 - w[3]]));
        let mut node = Node::new("conv", "Conv", vec!["x".to_owned(), "w".to_owned()], vec!["y".to_owned()]);
        node.attributes = vec![attribute::ints("pads", &[1; 4]), attribute::int("group", group)];
        emit.push(node);
        let loss = emit.sum_all(y);
        backward(&mut emit, loss, &[kernel, given]).unwrap();
        !emit.nodes().iter().any(|node| node.op.starts_with("Conv"))
    }

    #[track_caller]
    fn check(x: [usize; 4], w: [usize; 4], group: i64, expected: bool) {
        assert_eq!(is_product(x, w, group, |_| ()), expected, "{x:?} with {w:?} in {group} groups");
    }

    #[test]
    fn images_smaller_than_the_kernel_are_multiplied_all_at_once() {
        check([16, 512, 2, 2], [512, 512, 3, 3], 1, true);
        check([16, 256, 4, 4], [256, 256, 3, 3], 1, true);
        check([16, 128, 8, 8], [128, 128, 3, 3], 1, false);
    }

    #[test]
    fn a_large_batch_of_small_images_is_as_large_as_a_large_image() {
        check([128, 512, 2, 2], [512, 512, 3, 3], 1, true);
        check([129, 512, 2, 2], [512, 512, 3, 3], 1, false);
    }

    #[test]
    fn a_single_large_image_is_not_cut_by_a_product() {
        check([1, 8, 6, 6], [144, 8, 3, 3], 1, true);
        check([1, 8, 7, 6], [144, 8, 3, 3], 1, false);
    }

    #[test]
    fn groups_and_single_columns_stay_convolutions() {
        check([2, 64, 2, 2], [64, 1, 3, 3], 64, false);
        check([1, 64, 1, 1], [64, 64, 3, 3], 1, false);
    }

    #[test]
    fn other_processors_and_constant_kernels_keep_the_operator() {
        let (x, w) = ([16, 512, 2, 2], [512, 512, 3, 3]);
        assert!(!is_product(x, w, 1, |emit| emit.set_processor(Processor::Gpu)));
        let constant = |emit: &mut Emit| {
            let zeros = vec![0.0; w.iter().product()];
            emit.declare_initializer("w", Tensor::from_f64(Dtype::F32, w.to_vec(), &zeros));
        };
        assert!(!is_product(x, w, 1, constant));
    }
}
