//! Convolutions of small images as products of matrices, for all images at once.
//!
//! ONNX Runtime computes a convolution image by image, and a group at a time. Where the kernel is larger than what it is
//! multiplied with, as at the end of most networks, reading the kernel for each image again is what takes the time, and
//! the gradients have to reverse and to move values as large as the kernel on top. As a product `W X'`, in which the
//! windows of all images are the columns of `X'`, the kernel is read once; its gradients are the products `dY X''` and
//! `W' dY`, which read and write it as it lies in memory.
//!
//! Where each channel is convolved by itself, there is so little to do for one channel of one image that starting takes
//! most of the time. The kernel of a channel is then written out as the matrix that takes an image to its output.

use super::{NodeView, Refusal, window_shape};
use crate::graph::autodiff::rules::Composition;
use crate::graph::emit::{ConvShape, Emit, Processor, Value};
use crate::graph::tensor::{Dtype, Tensor, elements};

/// How many elements an image may have for each channel that comes out. Windows are taken by a product with a matrix of
/// zeros and ones, whose work is as many parts of that of the convolution.
const ELEMENTS_PER_CHANNEL: f64 = 0.25;
/// The largest image, in elements, whose channels are multiplied with matrices of their own.
const LARGEST_IMAGE: usize = 128;
/// The most elements of such a matrix for each image that it is multiplied with.
const MATRIX_PER_IMAGE: usize = 256;
/// The most elements of all that such a matrix is the sum of, which are constants of the graph.
const MOST_TAKEN: usize = 1 << 20;

/// Y = W X' + b, X' the windows of all images, side by side; or for each channel y = M x + b, M written out from its kernel
///
/// A refusal says that the operator itself is faster.
pub(super) fn as_product(node: &NodeView, emit: &mut Emit) -> Composition {
    let (x, w) = (node.input(0), node.input(1));
    let (x_dims, w_dims) = (emit.dims(x).to_vec(), emit.dims(w).to_vec());
    let y_dims = emit.dims(node.output(0)).to_vec();
    let shape = window_shape(&node.node, &x_dims, &y_dims, after_channels(&w_dims))?;
    let [batch, channels] = *x_dims.first_chunk().expect("ONNX Runtime refused inputs without channels");
    let outputs = w_dims.first().copied().unwrap_or(1);
    let sizes = Sizes {
        batch,
        channels,
        outputs,
        image: elements(after_channels(&x_dims)),
        positions: elements(after_channels(&y_dims)),
    };
    let is_by_channel = shape.group > 1 && shape.group == channels && channels == outputs;
    let is_covered = (is_by_channel || shape.group == 1)
        && w_dims.get(1).is_some_and(|inputs| inputs.checked_mul(shape.group) == Some(channels));
    let is_faster = is_covered
        && if is_by_channel { sizes.favour_matrices(&shape) } else { sizes.favour_product(&shape) };
    // Kernels that are constants are left to ONNX Runtime, which lays them out anew when it builds the session.
    let is_for_it =
        emit.processor() == Processor::Cpu && emit.dtype(x) == Dtype::F32 && emit.known(w).is_none();
    if !(is_for_it && is_faster) {
        return Err(Refusal("the operator itself is faster for its shapes".to_owned()));
    }

    // [N, C, i] -> [C, i, N]: with the images next to each other, a window is a list of rows.
    let x = emit.reshape(x, &[batch, channels, sizes.image]);
    let x = emit.transpose(x, &[1, 2, 0]);
    let y = if is_by_channel {
        multiplied_by_channel(x, w, &taken(&x_dims, &y_dims, &shape), &sizes, emit)
    } else {
        let windows = if is_each_element(&shape) {
            x
        } else {
            let rows = elements(&shape.kernel) * sizes.positions;
            let taken =
                Tensor::from_f64(Dtype::F32, vec![rows, sizes.image], &taken(&x_dims, &y_dims, &shape));
            let taken = emit.constant(taken);
            emit.matmul(taken, x)
        };
        multiplied_at_once(windows, w, &sizes, emit)
    };
    let y = match node.optional_input(2) {
        Some(bias) => {
            let bias = emit.reshape(bias, &[outputs, 1, 1]);
            emit.add(y, bias)
        }
        None => y,
    };
    let y = emit.transpose(y, &[2, 0, 1]);
    Ok(vec![Some(emit.reshape(y, &y_dims))])
}

/// `[M, C k] x [C k, p N]`, from `[C, k p, N]` to `[M, p, N]`
fn multiplied_at_once(windows: Value, w: Value, sizes: &Sizes, emit: &mut Emit) -> Value {
    let depth = elements(emit.dims(w)) / sizes.outputs.max(1);
    let windows = emit.reshape(windows, &[depth, sizes.positions * sizes.batch]);
    let kernel = emit.reshape(w, &[sizes.outputs, depth]);
    let y = emit.gemm(kernel, false, windows, false);
    emit.reshape(y, &[sizes.outputs, sizes.positions, sizes.batch])
}

/// `[C, p, i] x [C, i, N]`, from `[C, i, N]` to `[C, p, N]`
fn multiplied_by_channel(x: Value, w: Value, taken: &[f64], sizes: &Sizes, emit: &mut Emit) -> Value {
    let window = elements(emit.dims(w)) / sizes.channels.max(1);
    let taken = Tensor::from_f64(Dtype::F32, vec![window, sizes.positions * sizes.image], taken);
    let taken = emit.constant(taken);
    let kernels = emit.reshape(w, &[sizes.channels, window]);
    let matrices = emit.gemm(kernels, false, taken, false);
    let matrices = emit.reshape(matrices, &[sizes.channels, sizes.positions, sizes.image]);
    emit.matmul(matrices, x)
}

struct Sizes {
    batch: usize,
    channels: usize,
    outputs: usize,
    /// Elements of a channel of an image.
    image: usize,
    /// Elements of a channel of an output.
    positions: usize,
}

impl Sizes {
    fn favour_product(&self, shape: &ConvShape) -> bool {
        let columns = self.batch.saturating_mul(self.positions);
        let is_small = self.image as f64 <= ELEMENTS_PER_CHANNEL * self.outputs as f64
            // The matrix that takes the windows is then no larger than the kernel.
            && self.positions.saturating_mul(self.image) <= self.outputs.saturating_mul(self.channels);
        (2..=self.outputs).contains(&columns) && (is_small || is_each_element(shape))
    }

    fn favour_matrices(&self, shape: &ConvShape) -> bool {
        let matrix = self.positions.saturating_mul(self.image);
        self.batch > 1
            && (1..=LARGEST_IMAGE).contains(&self.image)
            && (1..=MATRIX_PER_IMAGE.saturating_mul(self.batch)).contains(&matrix)
            && matrix.saturating_mul(elements(&shape.kernel)) <= MOST_TAKEN
    }
}

fn after_channels(dims: &[usize]) -> &[usize] {
    dims.get(2..).unwrap_or_default()
}

/// Whether the windows are the elements themselves.
fn is_each_element(shape: &ConvShape) -> bool {
    elements(&shape.kernel) == 1 && elements(&shape.strides) == 1 && shape.pads.iter().all(|pad| *pad == 0)
}

/// The matrix that takes windows from an image: 1 where an element of the kernel (the outer part of the row) at a position
/// of the output (the inner part) reads an element of the image (the column), 0 elsewhere, and so in pads.
fn taken(x_dims: &[usize], y_dims: &[usize], shape: &ConvShape) -> Vec<f64> {
    let (image, output) = (after_channels(x_dims), after_channels(y_dims));
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
    fn windows_of_a_large_image_are_not_taken_by_a_product() {
        check([1, 9, 6, 6], [144, 9, 3, 3], 1, true);
        check([1, 9, 7, 6], [144, 9, 3, 3], 1, false);
        check([1, 8, 6, 6], [144, 8, 3, 3], 1, false);
    }

    #[test]
    fn channels_of_small_images_are_multiplied_with_matrices_of_their_own() {
        check([16, 960, 2, 2], [960, 1, 3, 3], 960, true);
        check([16, 192, 8, 8], [192, 1, 3, 3], 192, true);
        check([15, 192, 8, 8], [192, 1, 3, 3], 192, false);
        check([1, 960, 2, 2], [960, 1, 3, 3], 960, false);
        check([256, 96, 12, 12], [96, 1, 3, 3], 96, false);
    }

    #[test]
    fn other_groups_and_single_columns_stay_convolutions() {
        check([16, 64, 2, 2], [64, 2, 3, 3], 32, false);
        check([16, 32, 2, 2], [64, 1, 3, 3], 32, false);
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
