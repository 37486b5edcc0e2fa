//! Operators that read or write elements at given positions, named as ONNX names them.

use super::super::model::attribute;
use super::super::tensor::{Dtype, Tensor, ValueType};
use super::{Emit, Value};

/// What ScatterElements does where it writes to a place that holds something already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reduction {
    /// The last write stays.
    Replace,
    /// Adds; opset 16.
    Add,
    /// Multiplies; opset 16.
    Mul,
    /// Keeps the larger; opset 18.
    Max,
    /// Keeps the smaller; opset 18.
    Min,
}

impl Reduction {
    /// The reduction with this name in ONNX.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "none" => Self::Replace,
            "add" => Self::Add,
            "mul" => Self::Mul,
            "max" => Self::Max,
            "min" => Self::Min,
            _ => return None,
        })
    }

    fn name(self) -> Option<&'static str> {
        match self {
            Self::Replace => None,
            Self::Add => Some("add"),
            Self::Mul => Some("mul"),
            Self::Max => Some("max"),
            Self::Min => Some("min"),
        }
    }
}

impl Emit {
    /// Elements of `x` along `axis` at the given positions, known now
    pub fn take(&mut self, x: Value, axis: usize, positions: &[i64]) -> Value {
        let indices = self.list(positions);
        self.gather(x, indices, axis)
    }

    /// `x[..., indices, ...]`, the axes of the indices in the place of `axis`
    pub fn gather(&mut self, x: Value, indices: Value, axis: usize) -> Value {
        let mut dims = self.dims(x).to_vec();
        dims.splice(axis..=axis, self.dims(indices).iter().copied());
        let kind = ValueType::new(self.dtype(x), dims);
        self.op("Gather", &[x, indices], vec![attribute::int("axis", axis as i64)], kind)
    }

    /// For each index the element of `x` at that position of `axis`, elsewhere at its own place
    pub fn gather_elements(&mut self, x: Value, indices: Value, axis: usize) -> Value {
        let kind = ValueType::new(self.dtype(x), self.dims(indices));
        self.op("GatherElements", &[x, indices], vec![attribute::int("axis", axis as i64)], kind)
    }

    /// `x` with each update written to the position of `axis` that its index says
    ///
    /// ONNX Runtime runs this on one thread, in the order of the updates, so the result does not depend on the number of
    /// threads. Its ScatterND adds on several threads without a lock, and loses sums.
    pub fn scatter_elements(
        &mut self,
        x: Value,
        indices: Value,
        updates: Value,
        axis: usize,
        reduction: Reduction,
    ) -> Value {
        let mut attributes = vec![attribute::int("axis", axis as i64)];
        attributes.extend(reduction.name().map(|name| attribute::string("reduction", name)));
        let kind = self.kind(x).clone();
        self.op("ScatterElements", &[x, indices, updates], attributes, kind)
    }

    /// A new axis of `depth` in which each index is 1 at its position and 0 elsewhere
    ///
    /// Negative indices count from the end.
    pub fn one_hot(&mut self, indices: Value, depth: usize, axis: usize, dtype: Dtype) -> Value {
        // ONNX Runtime has the operator for float32 alone.
        let indices = self.cast(indices, Dtype::I64);
        let mut dims = self.dims(indices).to_vec();
        dims.insert(axis, depth);
        let depth = self.list(&[depth as i64]);
        let values = self.constant(Tensor::from_f32(vec![2], &[0.0, 1.0]));
        let attributes = vec![attribute::int("axis", axis as i64)];
        let hot = self.op("OneHot", &[indices, depth, values], attributes, ValueType::new(Dtype::F32, dims));
        self.cast(hot, dtype)
    }
}
