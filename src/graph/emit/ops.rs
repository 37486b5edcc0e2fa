//! Operators that move, reduce or combine elements, named as ONNX names them.

use super::super::model::attribute;
use super::super::tensor::{Dtype, Tensor, ValueType, elements};
use super::{Emit, Processor, Value, broadcast, ints};

/// The most rows that are added up by a product: the row of ones is a constant of the graph.
const MOST_ROWS: usize = 1 << 16;

/// Attributes of a convolution, complete: nothing is left to a default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConvShape {
    /// Window, one size per spatial axis.
    pub kernel: Vec<usize>,
    /// Step, one per spatial axis.
    pub strides: Vec<usize>,
    /// Spacing of the window's elements, one per spatial axis.
    pub dilations: Vec<usize>,
    /// Zeros before the start of each spatial axis, then after the end of each.
    pub pads: Vec<usize>,
    /// Groups of channels.
    pub group: usize,
}

impl Emit {
    /// `x` with other dimensions of the same number of elements; nothing if it has them already
    pub fn reshape(&mut self, x: Value, dims: &[usize]) -> Value {
        if self.dims(x) == dims {
            return x;
        }
        // Without `allowzero` a 0 means "as in the input", which is wrong for an empty tensor.
        let is_empty = dims.contains(&0);
        if is_empty && self.opset() < 14 {
            let zero = self.scalar(0.0, x);
            return self.expand(zero, dims);
        }
        let list: Vec<i64> = dims.iter().map(|dim| *dim as i64).collect();
        let target = self.list(&list);
        let kind = ValueType::new(self.dtype(x), dims);
        let attributes = if is_empty { vec![attribute::int("allowzero", 1)] } else { vec![] };
        self.op("Reshape", &[x, target], attributes, kind)
    }

    /// `x` repeated along dimensions of size 1 until it has these dimensions; nothing if it has them already
    pub fn expand(&mut self, x: Value, dims: &[usize]) -> Value {
        if self.dims(x) == dims {
            return x;
        }
        let list: Vec<i64> = dims.iter().map(|dim| *dim as i64).collect();
        let target = self.list(&list);
        let kind = ValueType::new(self.dtype(x), dims);
        self.op("Expand", &[x, target], vec![], kind)
    }

    /// Axes reordered: axis `i` of the result is axis `perm[i]` of `x`
    pub fn transpose(&mut self, x: Value, perm: &[usize]) -> Value {
        if perm.iter().enumerate().all(|(position, axis)| position == *axis) {
            return x;
        }
        let dims = self.dims(x).to_vec();
        let size = |axis: usize| dims.get(axis).copied().expect("a permutation of the axes of x");
        let moved: Vec<usize> = perm.iter().copied().map(size).collect();
        if dims.contains(&1) {
            // Axes of one element hide from ONNX Runtime that it has a faster kernel, or that nothing moves at all.
            let long: Vec<usize> = (0..dims.len()).filter(|axis| size(*axis) != 1).collect();
            let order = perm.iter().filter_map(|axis| long.iter().position(|long| long == axis));
            let order: Vec<usize> = order.collect();
            let long: Vec<usize> = long.into_iter().map(size).collect();
            let squeezed = self.reshape(x, &long);
            let transposed = self.transpose(squeezed, &order);
            return self.reshape(transposed, &moved);
        }
        let kind = ValueType::new(self.dtype(x), moved);
        self.op("Transpose", &[x], vec![ints("perm", perm)], kind)
    }

    /// The last two axes exchanged
    pub fn transpose_last(&mut self, x: Value) -> Value {
        let rank = self.rank(x);
        let mut perm: Vec<usize> = (0..rank).collect();
        perm.swap(rank - 1, rank - 2);
        self.transpose(x, &perm)
    }

    /// Any reduction over axes, kept as size 1; nothing if there are none
    ///
    /// All but `ReduceSum` take the axes as an attribute before opset 18.
    pub fn reduce(&mut self, op: &str, x: Value, axes: &[usize]) -> Value {
        if axes.is_empty() {
            return x;
        }
        let dims = self.dims(x).iter().enumerate();
        let dims: Vec<usize> = dims.map(|(axis, dim)| if axes.contains(&axis) { 1 } else { *dim }).collect();
        let kind = ValueType::new(self.dtype(x), dims);
        let keep = attribute::int("keepdims", 1);
        if self.opset() < 18 && op != "ReduceSum" {
            return self.op(op, &[x], vec![ints("axes", axes), keep], kind);
        }
        let list: Vec<i64> = axes.iter().map(|axis| *axis as i64).collect();
        let list = self.list(&list);
        self.op(op, &[x, list], vec![keep], kind)
    }

    /// Sum over axes, kept as size 1; nothing if there are none
    pub fn reduce_sum(&mut self, x: Value, axes: &[usize]) -> Value {
        self.reduce("ReduceSum", x, axes)
    }

    /// Mean over axes, kept as size 1
    pub fn reduce_mean(&mut self, x: Value, axes: &[usize]) -> Value {
        let count: usize = axes.iter().filter_map(|axis| self.dims(x).get(*axis)).product();
        let sum = self.reduce_sum(x, axes);
        self.scale(sum, 1.0 / count as f64)
    }

    /// Sum of all elements, a scalar
    pub fn sum_all(&mut self, x: Value) -> Value {
        let axes: Vec<usize> = (0..self.rank(x)).collect();
        let sum = self.reduce_sum(x, &axes);
        self.reshape(sum, &[])
    }

    /// `x` summed down to `dims`, undoing a broadcast
    pub fn reduce_to(&mut self, x: Value, dims: &[usize]) -> Value {
        if self.dims(x) == dims {
            return x;
        }
        let lead = self.rank(x) - dims.len();
        let axes: Vec<usize> = (0..self.rank(x))
            .filter(|axis| {
                let wanted = axis.checked_sub(lead).and_then(|inner| dims.get(inner));
                wanted.is_none() || (wanted == Some(&1) && self.dims(x).get(*axis) != Some(&1))
            })
            .collect();
        let sum = match self.rows_of(x, &axes) {
            Some(rows) => self.sum_of_rows(x, rows),
            None => self.reduce_sum(x, &axes),
        };
        self.reshape(sum, dims)
    }

    /// How many rows there are if `axes` are the first ones, so that a sum over them adds up rows, and if
    /// [`sum_of_rows`](Self::sum_of_rows) is the fastest form of that.
    fn rows_of(&self, x: Value, axes: &[usize]) -> Option<usize> {
        let are_first = axes.iter().enumerate().all(|(position, axis)| position == *axis);
        let rows = self.dims(x).get(..axes.len()).map(elements)?;
        let columns = self.dims(x).get(axes.len()..).map(elements)?;
        let is_fast = (2..=MOST_ROWS).contains(&rows) && columns > 1 && self.dtype(x) == Dtype::F32;
        (are_first && is_fast && self.processor() == Processor::Cpu).then_some(rows)
    }

    /// The rows of a matrix added up, as a product with a row of ones: on the CPU a fraction of the time of ReduceSum, which
    /// walks down each column.
    fn sum_of_rows(&mut self, x: Value, rows: usize) -> Value {
        let columns = elements(self.dims(x)) / rows;
        let matrix = self.reshape(x, &[rows, columns]);
        let ones = self.constant(Tensor::from_f64(Dtype::F32, vec![1, rows], &vec![1.0; rows]));
        self.gemm(ones, false, matrix, false)
    }

    /// Matrix product over the last two axes, the others broadcast; both ranks at least 2
    pub fn matmul(&mut self, a: Value, b: Value) -> Value {
        let (left_batch, [rows, _]) =
            self.dims(a).split_last_chunk().expect("a is a matrix or a batch of them");
        let (right_batch, [_, columns]) =
            self.dims(b).split_last_chunk().expect("b is a matrix or a batch of them");
        let mut dims = broadcast(left_batch, right_batch).expect("the leading axes broadcast");
        dims.extend([*rows, *columns]);
        let kind = ValueType::new(self.dtype(a), dims);
        self.op("MatMul", &[a, b], vec![], kind)
    }

    /// `op(a) op(b)` for matrices, each transposed or not
    pub fn gemm(&mut self, a: Value, transpose_a: bool, b: Value, transpose_b: bool) -> Value {
        let pick =
            |dims: &[usize], axis: usize| dims.get(axis).copied().expect("gemm is emitted for matrices only");
        let rows = pick(self.dims(a), usize::from(transpose_a));
        let columns = pick(self.dims(b), usize::from(!transpose_b));
        let kind = ValueType::new(self.dtype(a), vec![rows, columns]);
        let attributes = vec![
            attribute::int("transA", i64::from(transpose_a)),
            attribute::int("transB", i64::from(transpose_b)),
        ];
        self.op("Gemm", &[a, b], attributes, kind)
    }

    /// `x[starts..ends step steps]` along axes, all within bounds
    pub fn slice(
        &mut self,
        x: Value,
        axes: &[usize],
        starts: &[usize],
        ends: &[usize],
        steps: &[usize],
    ) -> Value {
        let mut dims = self.dims(x).to_vec();
        for ((axis, start), (end, step)) in axes.iter().zip(starts).zip(ends.iter().zip(steps)) {
            let dim = dims.get_mut(*axis).expect("an axis of x");
            *dim = end.saturating_sub(*start).div_ceil(*step);
        }
        if dims == self.dims(x) {
            return x;
        }
        let list = |emit: &mut Self, values: &[usize]| {
            let values: Vec<i64> = values.iter().map(|value| *value as i64).collect();
            emit.list(&values)
        };
        let kind = ValueType::new(self.dtype(x), dims);
        let (starts, ends) = (list(self, starts), list(self, ends));
        let (axes, steps) = (list(self, axes), list(self, steps));
        self.op("Slice", &[x, starts, ends, axes, steps], vec![], kind)
    }

    /// Values joined along an axis
    pub fn concat(&mut self, parts: &[Value], axis: usize) -> Value {
        let (first, rest) = parts.split_first().expect("concat is emitted for at least one part");
        if rest.is_empty() {
            return *first;
        }
        let total = parts.iter().filter_map(|part| self.dims(*part).get(axis)).sum();
        let mut kind = self.kind(*first).clone();
        *kind.dims.get_mut(axis).expect("an axis of the parts") = total;
        self.op("Concat", parts, vec![attribute::int("axis", axis as i64)], kind)
    }

    /// Zeros added: before the start of each axis, then after the end of each
    pub fn pad(&mut self, x: Value, pads: &[usize]) -> Value {
        if pads.iter().all(|pad| *pad == 0) {
            return x;
        }
        let rank = self.rank(x);
        let (before, after) = pads.split_at(rank);
        let dims =
            self.dims(x).iter().zip(before).zip(after).map(|((dim, before), after)| dim + before + after);
        let kind = ValueType::new(self.dtype(x), dims.collect::<Vec<_>>());
        let list: Vec<i64> = pads.iter().map(|pad| *pad as i64).collect();
        let list = self.list(&list);
        self.op("Pad", &[x, list], vec![], kind)
    }

    /// Softmax along an axis
    pub fn softmax(&mut self, x: Value, axis: usize) -> Value {
        let kind = self.kind(x).clone();
        self.op("Softmax", &[x], vec![attribute::int("axis", axis as i64)], kind)
    }

    /// Logarithm of softmax along an axis
    pub fn log_softmax(&mut self, x: Value, axis: usize) -> Value {
        let kind = self.kind(x).clone();
        self.op("LogSoftmax", &[x], vec![attribute::int("axis", axis as i64)], kind)
    }

    /// Convolution of `x [N, C, spatial...]` with `w [M, C / group, kernel...]`
    pub fn conv(&mut self, x: Value, w: Value, shape: &ConvShape) -> Value {
        let spatial = self.dims(x).get(2..).unwrap_or_default();
        let out = spatial.iter().enumerate().map(|(axis, dim)| {
            let get = |list: &[usize], at: usize| list.get(at).copied().expect("one number per spatial axis");
            let padded = dim + get(&shape.pads, axis) + get(&shape.pads, axis + spatial.len());
            let window = get(&shape.dilations, axis) * (get(&shape.kernel, axis) - 1) + 1;
            (padded - window) / get(&shape.strides, axis) + 1
        });
        let batch_and_channels = [self.dims(x).first(), self.dims(w).first()].into_iter().flatten().copied();
        let dims: Vec<usize> = batch_and_channels.chain(out).collect();
        let kind = ValueType::new(self.dtype(x), dims);
        self.op("Conv", &[x, w], conv_attributes(shape), kind)
    }

    /// Transposed convolution of `x [N, M, spatial...]` with `w [M, C / group, kernel...]`, padded at the end so that the
    /// result has the spatial size `out`
    pub fn conv_transpose(
        &mut self,
        x: Value,
        w: Value,
        shape: &ConvShape,
        output_padding: &[usize],
        out: &[usize],
    ) -> Value {
        let batch = self.dims(x).first().copied().expect("x has a batch axis");
        let channels = self.dims(w).get(1).copied().expect("w has a channel axis") * shape.group;
        let dims: Vec<usize> = [batch, channels].into_iter().chain(out.iter().copied()).collect();
        let kind = ValueType::new(self.dtype(x), dims);
        let mut attributes = conv_attributes(shape);
        attributes.push(ints("output_padding", output_padding));
        self.op("ConvTranspose", &[x, w], attributes, kind)
    }

    /// Zeros of the type and shape of `like`
    pub fn zeros_like(&mut self, like: Value) -> Value {
        let dims = self.dims(like).to_vec();
        let zero = self.scalar(0.0, like);
        self.expand(zero, &dims)
    }

    /// Ones of the type and shape of `like`
    pub fn ones_like(&mut self, like: Value) -> Value {
        let dims = self.dims(like).to_vec();
        let one = self.scalar(1.0, like);
        self.expand(one, &dims)
    }

    /// `x` flattened to one axis
    pub fn flatten(&mut self, x: Value) -> Value {
        let count = elements(self.dims(x));
        self.reshape(x, &[count])
    }
}

fn conv_attributes(shape: &ConvShape) -> Vec<super::AttributeProto> {
    vec![
        ints("kernel_shape", &shape.kernel),
        ints("strides", &shape.strides),
        ints("dilations", &shape.dilations),
        ints("pads", &shape.pads),
        attribute::int("group", shape.group as i64),
    ]
}
