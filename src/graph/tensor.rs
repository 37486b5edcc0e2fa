//! Element types and constant tensors.

use bytes::Bytes;

/// The element types that a graph may hold; the discriminants are those of `TensorProto.DataType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum Dtype {
    /// IEEE 754 binary32.
    F32 = 1,
    /// Unsigned 8-bit integer.
    U8 = 2,
    /// Signed 8-bit integer.
    I8 = 3,
    /// Unsigned 16-bit integer.
    U16 = 4,
    /// Signed 16-bit integer.
    I16 = 5,
    /// Signed 32-bit integer.
    I32 = 6,
    /// Signed 64-bit integer.
    I64 = 7,
    /// One byte, 0 or 1.
    Bool = 9,
    /// IEEE 754 binary16.
    F16 = 10,
    /// IEEE 754 binary64.
    F64 = 11,
    /// Unsigned 32-bit integer.
    U32 = 12,
    /// Unsigned 64-bit integer.
    U64 = 13,
    /// bfloat16.
    Bf16 = 16,
}

impl Dtype {
    /// All element types.
    pub const ALL: [Self; 13] = [
        Self::F32,
        Self::U8,
        Self::I8,
        Self::U16,
        Self::I16,
        Self::I32,
        Self::I64,
        Self::Bool,
        Self::F16,
        Self::F64,
        Self::U32,
        Self::U64,
        Self::Bf16,
    ];

    /// The type with this `TensorProto.DataType` code, if a graph may hold it.
    #[must_use]
    pub fn from_code(code: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|dtype| dtype.code() == code)
    }

    /// The `TensorProto.DataType` code.
    #[must_use]
    pub fn code(self) -> i32 {
        self as i32
    }

    /// Bytes of one element.
    #[must_use]
    pub fn size_bytes(self) -> usize {
        match self {
            Self::U8 | Self::I8 | Self::Bool => 1,
            Self::U16 | Self::I16 | Self::F16 | Self::Bf16 => 2,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::I64 | Self::F64 | Self::U64 => 8,
        }
    }

    /// Whether values of this type have gradients.
    #[must_use]
    pub fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F64 | Self::F16 | Self::Bf16)
    }

    /// Whether a floating-point type has this number, so that nothing is rounded.
    #[must_use]
    pub fn represents(self, number: f64) -> bool {
        Tensor::from_f64(self, vec![], &[number]).to_f64().is_some_and(|rounded| rounded == [number])
    }

    /// The name used in messages, as ONNX spells it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::U8 => "uint8",
            Self::I8 => "int8",
            Self::U16 => "uint16",
            Self::I16 => "int16",
            Self::I32 => "int32",
            Self::I64 => "int64",
            Self::Bool => "bool",
            Self::F16 => "float16",
            Self::F64 => "float64",
            Self::U32 => "uint32",
            Self::U64 => "uint64",
            Self::Bf16 => "bfloat16",
        }
    }
}

impl std::fmt::Display for Dtype {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.name())
    }
}

/// Element type and dimensions of a value whose shape is known completely.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ValueType {
    /// Element type.
    pub dtype: Dtype,
    /// Dimensions, outermost first; empty for a scalar.
    pub dims: Vec<usize>,
}

impl ValueType {
    /// The type with these parts.
    #[must_use]
    pub fn new(dtype: Dtype, dims: impl Into<Vec<usize>>) -> Self {
        Self { dtype, dims: dims.into() }
    }

    /// Number of elements; 1 for a scalar. Saturates, so that an absurd shape is an absurd size, never a small one.
    #[must_use]
    pub fn elements(&self) -> usize {
        elements(&self.dims)
    }

    /// Bytes of all elements. Saturates, as [`Self::elements`] does.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.elements().saturating_mul(self.dtype.size_bytes())
    }
}

impl std::fmt::Display for ValueType {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}{:?}", self.dtype, self.dims)
    }
}

/// The number of elements of a shape, saturating.
#[must_use]
pub fn elements(dims: &[usize]) -> usize {
    dims.iter().fold(1, |product: usize, dim| product.saturating_mul(*dim))
}

/// A tensor with known values: little-endian elements, row-major, without padding.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    kind: ValueType,
    bytes: Bytes,
}

impl Tensor {
    /// The tensor of these bytes; `None` if their number does not fit the type.
    #[must_use]
    pub fn new(kind: ValueType, bytes: impl Into<Bytes>) -> Option<Self> {
        let bytes = bytes.into();
        let expected = kind.elements().checked_mul(kind.dtype.size_bytes())?;
        (bytes.len() == expected).then_some(Self { kind, bytes })
    }

    /// A tensor of zeros. A large one takes no memory until somebody reads it: it is asked of the system as zeros.
    #[must_use]
    pub fn zeros(kind: ValueType) -> Self {
        let bytes = Bytes::from(vec![0; kind.size_bytes()]);
        Self { kind, bytes }
    }

    /// A tensor of 64-bit integers.
    ///
    /// # Panics
    /// If the number of values does not fit the dimensions, which only a mistake of the caller can cause.
    #[must_use]
    pub fn from_i64(dims: impl Into<Vec<usize>>, values: &[i64]) -> Self {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self::new(ValueType::new(Dtype::I64, dims), bytes).expect("the caller gives one value per element")
    }

    /// A tensor of 32-bit floats.
    ///
    /// # Panics
    /// If the number of values does not fit the dimensions, which only a mistake of the caller can cause.
    #[must_use]
    pub fn from_f32(dims: impl Into<Vec<usize>>, values: &[f32]) -> Self {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self::new(ValueType::new(Dtype::F32, dims), bytes).expect("the caller gives one value per element")
    }

    /// A tensor of any real element type, each value rounded to it.
    ///
    /// # Panics
    /// If the number of values does not fit the dimensions, which only a mistake of the caller can cause.
    #[must_use]
    pub fn from_f64(dtype: Dtype, dims: impl Into<Vec<usize>>, values: &[f64]) -> Self {
        let mut bytes = Vec::with_capacity(values.len() * dtype.size_bytes());
        for value in values {
            match dtype {
                Dtype::F32 => bytes.extend((*value as f32).to_le_bytes()),
                Dtype::F64 => bytes.extend(value.to_le_bytes()),
                Dtype::I64 => bytes.extend((*value as i64).to_le_bytes()),
                Dtype::U64 => bytes.extend((*value as u64).to_le_bytes()),
                Dtype::I32 => bytes.extend((*value as i32).to_le_bytes()),
                Dtype::U32 => bytes.extend((*value as u32).to_le_bytes()),
                Dtype::I16 => bytes.extend((*value as i16).to_le_bytes()),
                Dtype::U16 => bytes.extend((*value as u16).to_le_bytes()),
                Dtype::I8 => bytes.extend((*value as i8).to_le_bytes()),
                Dtype::U8 => bytes.extend((*value as u8).to_le_bytes()),
                Dtype::Bool => bytes.push(u8::from(*value != 0.0)),
                Dtype::F16 => bytes.extend(half::f16::from_f64(*value).to_le_bytes()),
                Dtype::Bf16 => bytes.extend(half::bf16::from_f64(*value).to_le_bytes()),
            }
        }
        Self::new(ValueType::new(dtype, dims), bytes).expect("the caller gives one value per element")
    }

    /// The same tensor in memory of its own, where it may have been a part of a file's.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self { kind: self.kind.clone(), bytes: Bytes::copy_from_slice(&self.bytes) }
    }

    /// Element type and dimensions.
    #[must_use]
    pub fn kind(&self) -> &ValueType {
        &self.kind
    }

    /// Element type.
    #[must_use]
    pub fn dtype(&self) -> Dtype {
        self.kind.dtype
    }

    /// Dimensions.
    #[must_use]
    pub fn dims(&self) -> &[usize] {
        &self.kind.dims
    }

    /// The elements, little-endian.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The values of a tensor of 64-bit or 32-bit integers; `None` for any other element type.
    #[must_use]
    pub fn to_i64(&self) -> Option<Vec<i64>> {
        match self.kind.dtype {
            Dtype::I64 => Some(self.words().map(i64::from_le_bytes).collect()),
            Dtype::I32 => Some(self.words().map(|word| i64::from(i32::from_le_bytes(word))).collect()),
            _ => None,
        }
    }

    /// The values of a tensor of floats, widened; `None` for any other element type.
    #[must_use]
    pub fn to_f64(&self) -> Option<Vec<f64>> {
        match self.kind.dtype {
            Dtype::F64 => Some(self.words().map(f64::from_le_bytes).collect()),
            Dtype::F32 => Some(self.words().map(|word| f64::from(f32::from_le_bytes(word))).collect()),
            Dtype::F16 => Some(self.words().map(|word| half::f16::from_le_bytes(word).to_f64()).collect()),
            Dtype::Bf16 => Some(self.words().map(|word| half::bf16::from_le_bytes(word).to_f64()).collect()),
            _ => None,
        }
    }

    /// The values of a tensor of 32-bit floats; `None` for any other element type.
    #[must_use]
    pub fn to_f32(&self) -> Option<Vec<f32>> {
        (self.kind.dtype == Dtype::F32).then(|| self.words().map(f32::from_le_bytes).collect())
    }

    fn words<const N: usize>(&self) -> impl Iterator<Item = [u8; N]> + '_ {
        self.bytes
            .chunks_exact(N)
            .map(|chunk| <[u8; N]>::try_from(chunk).expect("chunks_exact yields chunks of N"))
    }
}
