//! An array as it is stored: element type, shape and little-endian bytes, most often a part of a mapped file.

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

/// Element type of an array, named as NumPy names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// 32-bit IEEE 754 number.
    F32,
    /// 64-bit IEEE 754 number.
    F64,
    /// Signed 32-bit integer.
    I32,
    /// Signed 64-bit integer.
    I64,
    /// Unsigned 8-bit integer.
    U8,
    /// Unsigned 16-bit integer; only stored, no model takes it here.
    U16,
    /// Unsigned 32-bit integer; only stored, no model takes it here.
    U32,
    /// One byte, 0 for false.
    Bool,
}

impl Dtype {
    /// Bytes of one element.
    #[must_use]
    pub const fn size_bytes(self) -> usize {
        match self {
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F64 | Self::I64 => 8,
            Self::U16 => 2,
            Self::U8 | Self::Bool => 1,
        }
    }

    /// Whether the type holds fractions.
    #[must_use]
    pub const fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F64)
    }

    /// NumPy's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::F64 => "float64",
            Self::I32 => "int32",
            Self::I64 => "int64",
            Self::U8 => "uint8",
            Self::U16 => "uint16",
            Self::U32 => "uint32",
            Self::Bool => "bool",
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where data come from: a file and, where it holds several, the array or columns inside it. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub path: Arc<Path>,
    /// The array inside an `.npz` file or the columns of a `.csv` file.
    pub array: Option<Arc<str>>,
}

impl Place {
    pub(crate) fn file(path: impl AsRef<Path>) -> Self {
        Self { path: path.as_ref().into(), array: None }
    }

    pub(crate) fn within(path: impl AsRef<Path>, array: impl AsRef<str>) -> Self {
        Self { path: path.as_ref().into(), array: Some(array.as_ref().into()) }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        match &self.array {
            Some(array) => write!(f, ", array `{array}`"),
            None => Ok(()),
        }
    }
}

/// A stored array with at least one example and at least one element per example. Axis 0 counts the examples.
///
/// Invariant: `data` holds exactly the elements of `rows * example_shape`, row-major and little-endian, or those of windows
/// that overlap. It need not be aligned to the element size: members of an `.npz` file start anywhere.
#[derive(Debug, Clone)]
pub(crate) struct Array {
    pub(crate) place: Place,
    pub(crate) dtype: Dtype,
    pub(crate) rows: usize,
    pub(crate) example_shape: Vec<usize>,
    row_bytes: usize,
    /// From the start of a row to that of the next: less than a row where rows overlap.
    stride_bytes: usize,
    data: Bytes,
}

/// Why bytes do not form an array of a given shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ShapeProblem {
    /// No axis at all: there are no examples to count.
    Scalar,
    /// An axis of length 0.
    Empty,
    /// The shape asks for another number of bytes; `None` if that number does not fit into a machine word.
    Size { expected: Option<usize> },
}

impl Array {
    pub(crate) fn new(
        place: Place,
        dtype: Dtype,
        shape: &[usize],
        data: Bytes,
    ) -> Result<Self, ShapeProblem> {
        let expected = shape_bytes(dtype, shape)?;
        if expected != data.len() {
            return Err(ShapeProblem::Size { expected: Some(expected) });
        }
        let (&rows, example_shape) = shape.split_first().ok_or(ShapeProblem::Scalar)?;
        Ok(Self {
            place,
            dtype,
            rows,
            example_shape: example_shape.to_vec(),
            row_bytes: expected / rows,
            stride_bytes: expected / rows,
            data,
        })
    }

    /// The windows of `window` rows of an array of single values, one starting at each row but the last `window`, moved
    /// by `offset` rows, which is 0 or 1. `None` if there is no such window.
    pub(crate) fn windows(&self, rows: Range<usize>, window: usize, offset: usize) -> Option<Self> {
        let starts = rows.len().checked_sub(window).filter(|starts| *starts > 0 && window > 0)?;
        let first = (rows.start + offset) * self.row_bytes;
        let len = (starts - 1 + window) * self.row_bytes;
        let fits = self.example_shape.iter().all(|axis| *axis == 1) && first + len <= self.data.len();
        fits.then(|| Self {
            rows: starts,
            example_shape: vec![window],
            row_bytes: window * self.row_bytes,
            stride_bytes: self.row_bytes,
            data: self.data.slice(first..first + len),
            ..self.clone()
        })
    }

    /// The bytes of one example; `row` is below [`Array::rows`].
    pub(crate) fn row(&self, row: usize) -> &[u8] {
        let start = row * self.stride_bytes;
        self.data
            .get(start..start + self.row_bytes)
            .expect("rows are numbered below the count that was checked")
    }

    /// The same array with its bytes rewritten to as many others.
    pub(crate) fn map_data(self, rewrite: impl FnOnce(Bytes) -> Bytes) -> Self {
        let data = rewrite(self.data);
        assert_eq!(data.len(), self.row_bytes * self.rows, "rewriting keeps the length");
        Self { data, ..self }
    }

    /// Elements of one example, at least 1.
    pub(crate) fn example_len(&self) -> usize {
        self.row_bytes / self.dtype.size_bytes()
    }
}

/// Bytes of an array of `shape`, which has no axis of length 0.
pub(crate) fn shape_bytes(dtype: Dtype, shape: &[usize]) -> Result<usize, ShapeProblem> {
    if shape.is_empty() {
        return Err(ShapeProblem::Scalar);
    }
    if shape.contains(&0) {
        return Err(ShapeProblem::Empty);
    }
    shape
        .iter()
        .try_fold(dtype.size_bytes(), |bytes, &axis| bytes.checked_mul(axis))
        .ok_or(ShapeProblem::Size { expected: None })
}

/// Writes a shape as Python does: `(60000, 28, 28)`.
pub(crate) fn show_shape(shape: &[usize]) -> String {
    match shape {
        [one] => format!("({one},)"),
        axes => format!("({})", axes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
    }
}
