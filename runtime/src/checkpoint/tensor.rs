//! Tensors as they are handed over to be saved.

use std::borrow::Cow;

use bytemuck::Pod;
use safetensors::Dtype;

#[cfg(target_endian = "big")]
compile_error!(
    "tensors are stored little-endian, as they are in memory; this machine keeps them the other way round"
);

/// A state that can be saved: the tensors of one step, which do not change while somebody holds this.
pub trait Snapshot: Send + Sync {
    /// The tensors, in any order; the file sorts them. Their names are distinct, and none is
    /// [`STATE_TENSOR`](super::STATE_TENSOR).
    ///
    /// Called once per checkpoint, on the thread that writes it. What is borrowed is written without a copy.
    fn tensors(&self) -> Vec<TensorView<'_>>;
}

/// One tensor to be saved.
#[derive(Debug, Clone)]
pub struct TensorView<'a> {
    /// Its name in the file.
    pub name: Cow<'a, str>,
    /// The type of its elements.
    pub dtype: Dtype,
    /// Its dimensions, outermost first; none for a scalar. At most [`MAX_RANK`](super::MAX_RANK).
    pub shape: Cow<'a, [usize]>,
    /// Its elements in row-major order, little-endian: as many bytes as type and shape ask for.
    pub bytes: Cow<'a, [u8]>,
}

impl<'a> TensorView<'a> {
    /// A tensor over elements in memory, not copied.
    pub fn new<T: Element>(
        name: impl Into<Cow<'a, str>>,
        shape: impl Into<Cow<'a, [usize]>>,
        elements: &'a [T],
    ) -> TensorView<'a> {
        TensorView {
            name: name.into(),
            dtype: T::DTYPE,
            shape: shape.into(),
            bytes: Cow::Borrowed(bytemuck::cast_slice(elements)),
        }
    }
}

impl<'a> TensorView<'a> {
    /// How many bytes type and shape ask for; `None` if that is no whole number or does not fit.
    pub(super) fn expected_bytes(dtype: Dtype, shape: impl IntoIterator<Item = u64>) -> Option<u64> {
        let elements = shape.into_iter().try_fold(1_u64, u64::checked_mul)?;
        let bits = elements.checked_mul(dtype.bitsize() as u64)?;
        bits.is_multiple_of(8).then_some(bits / 8)
    }
}

/// A type of numbers that tensors are made of and Rust has.
pub trait Element: Pod {
    /// Its name in the file.
    const DTYPE: Dtype;
}

macro_rules! element {
    ($($rust:ty => $dtype:ident),* $(,)?) => {
        $(impl Element for $rust {
            const DTYPE: Dtype = Dtype::$dtype;
        })*
    };
}

element! {
    f32 => F32, f64 => F64,
    i8 => I8, i16 => I16, i32 => I32, i64 => I64,
    u8 => U8, u16 => U16, u32 => U32, u64 => U64,
}

/// A tensor that was asked for as another type than it has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("tensor {name:?} holds {found} and was asked for as {expected}; the checkpoint is of another model")]
pub struct ElementError {
    /// The tensor.
    pub name: String,
    /// The type it has.
    pub found: Dtype,
    /// The type it was asked for.
    pub expected: Dtype,
}
