//! Shapes and constants, asked of ONNX Runtime.

use super::error::EngineError;
use super::library::Runtime;
use super::session::{Optimize, Place, open};
use crate::graph::fold::{Oracle, OracleError, PartialType};
use crate::graph::model::Graph;
use crate::graph::tensor::{Dtype, Tensor, ValueType};
use ort::session::SessionInputValue;
use ort::value::{DynValue, TensorElementType};

/// ONNX Runtime as the judge of shapes and the calculator of constants; always on the CPU.
#[derive(Debug, Clone)]
pub struct RuntimeOracle {
    runtime: Runtime,
}

impl RuntimeOracle {
    /// The oracle of this library.
    #[must_use]
    pub fn new(runtime: &Runtime) -> Self {
        Self { runtime: runtime.clone() }
    }

    /// The library.
    #[must_use]
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }
}

impl From<EngineError> for OracleError {
    fn from(error: EngineError) -> Self {
        Self { message: error.message }
    }
}

impl Oracle for RuntimeOracle {
    fn infer(&self, graph: &Graph) -> Result<Vec<PartialType>, OracleError> {
        let session = open(&self.runtime, Place::Cpu, graph, Optimize::Nothing)?;
        let partial = |outlet: &ort::value::Outlet| {
            let dtype = outlet.dtype().tensor_type().and_then(dtype_of);
            let shape = outlet.dtype().tensor_shape();
            let dims = shape.map(|shape| shape.iter().map(|dim| usize::try_from(*dim).ok()).collect());
            PartialType { dtype: if dims.is_some() { dtype } else { None }, dims: dims.unwrap_or_default() }
        };
        Ok(session.outputs().iter().map(partial).collect())
    }

    fn evaluate(&self, graph: &Graph) -> Result<Vec<Tensor>, OracleError> {
        let mut session = open(&self.runtime, Place::Cpu, graph, Optimize::Nothing)?;
        let inputs: Vec<(String, SessionInputValue<'_>)> = Vec::new();
        let work = || format!("computing the constants of `{}`", graph.name);
        let outputs = session.run(inputs).map_err(|error| EngineError::new(work(), &error))?;
        let mut tensors = Vec::with_capacity(graph.outputs.len());
        for port in &graph.outputs {
            let value = outputs.get(port.name.as_str());
            let tensor = value.and_then(tensor_of);
            let message = || format!("the constant `{}` is no tensor of numbers", port.name);
            tensors.push(tensor.ok_or_else(|| OracleError { message: message() })?);
        }
        Ok(tensors)
    }
}

/// Our name for an element type of `ort`; `None` for strings and types no graph here holds.
#[must_use]
pub fn dtype_of(kind: TensorElementType) -> Option<Dtype> {
    Some(match kind {
        TensorElementType::Float32 => Dtype::F32,
        TensorElementType::Float64 => Dtype::F64,
        TensorElementType::Float16 => Dtype::F16,
        TensorElementType::Bfloat16 => Dtype::Bf16,
        TensorElementType::Int8 => Dtype::I8,
        TensorElementType::Int16 => Dtype::I16,
        TensorElementType::Int32 => Dtype::I32,
        TensorElementType::Int64 => Dtype::I64,
        TensorElementType::Uint8 => Dtype::U8,
        TensorElementType::Uint16 => Dtype::U16,
        TensorElementType::Uint32 => Dtype::U32,
        TensorElementType::Uint64 => Dtype::U64,
        TensorElementType::Bool => Dtype::Bool,
        _ => return None,
    })
}

/// A copy of a tensor in host memory; `None` if it is no tensor of numbers there.
#[must_use]
pub fn tensor_of(value: &DynValue) -> Option<Tensor> {
    macro_rules! bytes {
        ($kind:ty) => {
            value
                .try_extract_tensor::<$kind>()
                .ok()?
                .1
                .iter()
                .flat_map(|x| x.to_le_bytes())
                .collect::<Vec<u8>>()
        };
    }
    let dtype = dtype_of(value.dtype().tensor_type()?)?;
    let dims: Vec<usize> = value.shape().iter().filter_map(|dim| usize::try_from(*dim).ok()).collect();
    let bytes = match dtype {
        Dtype::F32 => bytes!(f32),
        Dtype::F64 => bytes!(f64),
        Dtype::F16 => bytes!(half::f16),
        Dtype::Bf16 => bytes!(half::bf16),
        Dtype::I8 => bytes!(i8),
        Dtype::I16 => bytes!(i16),
        Dtype::I32 => bytes!(i32),
        Dtype::I64 => bytes!(i64),
        Dtype::U8 => bytes!(u8),
        Dtype::U16 => bytes!(u16),
        Dtype::U32 => bytes!(u32),
        Dtype::U64 => bytes!(u64),
        Dtype::Bool => value.try_extract_tensor::<bool>().ok()?.1.iter().map(|x| u8::from(*x)).collect(),
    };
    Tensor::new(ValueType::new(dtype, dims), bytes)
}
