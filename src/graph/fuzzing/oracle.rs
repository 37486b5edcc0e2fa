//! A judge of shapes and a calculator of constants in the place of ONNX Runtime.

use super::shapes::{Known, outputs_of};
use crate::graph::fold::{self, Oracle, OracleError, PartialType};
use crate::graph::model::{Dim, Graph};
use crate::graph::tensor::{Dtype, Tensor, ValueType};
use std::collections::HashMap;

/// Most bytes of a constant that is computed here: what ONNX Runtime would have memory for, in small.
const MAX_CONSTANT_BYTES: usize = 4096;

/// Most elements of a value, but for those beyond all memory: what data of this shape would warrant is not what the file does.
const MAX_ELEMENTS: usize = 1 << 17;

/// Knows the shapes of some operators and refuses, as ONNX Runtime does, nodes that have the wrong number of inputs or
/// inputs that do not fit. Constants that it computes have the right type; their values are made up.
#[derive(Debug, Clone, Copy)]
pub struct PlainOracle;

impl Oracle for PlainOracle {
    fn infer(&self, graph: &Graph) -> Result<Vec<PartialType>, OracleError> {
        let known = values(graph)?;
        let partial = |name: &String| match known.get(name.as_str()).and_then(|value| value.kind.clone()) {
            Some(kind) => {
                PartialType { dtype: Some(kind.dtype), dims: kind.dims.into_iter().map(Some).collect() }
            }
            None => PartialType { dtype: Some(Dtype::F32), dims: vec![None] },
        };
        Ok(graph.outputs.iter().map(|port| partial(&port.name)).collect())
    }

    fn evaluate(&self, graph: &Graph) -> Result<Vec<Tensor>, OracleError> {
        let known = values(graph)?;
        let value = |name: &String| {
            let value = known.get(name.as_str())?;
            value.contents.clone().or_else(|| made_up(value.kind.as_ref()?))
        };
        let values: Option<Vec<Tensor>> = graph.outputs.iter().map(|port| value(&port.name)).collect();
        values.ok_or_else(|| OracleError { message: "a constant can not be computed".to_owned() })
    }
}

/// Small numbers, some of them negative.
fn made_up(kind: &ValueType) -> Option<Tensor> {
    if kind.elements().saturating_mul(kind.dtype.size_bytes()) > MAX_CONSTANT_BYTES {
        return None;
    }
    let values: Vec<f64> = (0..kind.elements()).map(|at| (at * 7 % 5) as f64 - 1.0).collect();
    Some(Tensor::from_f64(kind.dtype, kind.dims.clone(), &values))
}

/// All values of a graph.
fn values(graph: &Graph) -> Result<HashMap<&str, Known>, OracleError> {
    let mut known: HashMap<&str, Known> = HashMap::new();
    for port in &graph.inputs {
        let fixed = |dim: &Dim| if let Dim::Fixed(size) = dim { Some(*size) } else { None };
        let dims: Option<Vec<usize>> = port.dims.as_deref().unwrap_or_default().iter().map(fixed).collect();
        let kind = port.dtype.zip(dims).map(|(dtype, dims)| ValueType::new(dtype, dims));
        known.insert(&port.name, Known { kind, contents: None });
    }
    for (name, tensor) in &graph.initializers {
        known.insert(name, Known { kind: Some(tensor.kind().clone()), contents: Some(tensor.clone()) });
    }
    for node in &graph.nodes {
        let outputs = outputs_of(node, graph.opset, &known)
            .ok_or_else(|| OracleError { message: format!("node `{}` is not accepted", node.name) })?;
        let is_too_large = |value: &Known| {
            let elements = value.kind.as_ref().map_or(0, ValueType::elements);
            elements > MAX_ELEMENTS && elements <= fold::MAX_ELEMENTS
        };
        if outputs.iter().any(is_too_large) {
            return Err(OracleError { message: format!("bad_alloc in `{}`", node.name) });
        }
        for (name, value) in node.outputs.iter().zip(outputs) {
            known.insert(name, value);
        }
    }
    Ok(known)
}
