//! A model as others run it: inputs in, outputs out, with as many examples at a time as are given.

use super::error::{EngineError, ErrorClass};
use super::library::Runtime;
use super::oracle::tensor_of;
use super::session::{Optimize, Place, open};
use crate::data::{HostArray, Values};
use crate::graph::model::Graph;
use crate::graph::tensor::Tensor;
use ort::session::{Session, SessionInputValue};
use ort::value::TensorRef;

/// A model with its values, compiled.
#[derive(Debug)]
pub struct Inference {
    session: Session,
    outputs: Vec<String>,
}

impl Inference {
    /// Compiles a model whose initializers hold its values.
    ///
    /// # Errors
    /// If ONNX Runtime does not accept the graph.
    pub fn open(runtime: &Runtime, place: Place, graph: &Graph) -> Result<Self, EngineError> {
        let session = open(runtime, place, graph, Optimize::Everything)?;
        Ok(Self { session, outputs: graph.outputs.iter().map(|port| port.name.clone()).collect() })
    }

    /// All outputs in the order of the graph, for inputs by name.
    ///
    /// # Errors
    /// If ONNX Runtime fails, or an output is no tensor of numbers.
    pub fn run(&mut self, inputs: &[(&str, &HostArray)]) -> Result<Vec<Tensor>, EngineError> {
        let mut fed = Vec::with_capacity(inputs.len());
        for (name, array) in inputs {
            let value =
                view(array).map_err(|error| EngineError::new(format!("feeding input `{name}`"), &error))?;
            fed.push(((*name).to_owned(), value));
        }
        let values =
            self.session.run(fed).map_err(|error| EngineError::new("computing the outputs", &error))?;
        let output = |name: &String| {
            values.get(name.as_str()).and_then(tensor_of).ok_or_else(|| EngineError {
                work: format!("reading output `{name}`"),
                class: ErrorClass::Other,
                message: "it is no tensor of numbers".to_owned(),
            })
        };
        self.outputs.iter().map(output).collect()
    }
}

fn view(array: &HostArray) -> ort::Result<SessionInputValue<'_>> {
    let dims = array.shape.clone();
    Ok(match &array.values {
        Values::F32(values) => TensorRef::from_array_view((dims, values.as_slice()))?.into(),
        Values::F64(values) => TensorRef::from_array_view((dims, values.as_slice()))?.into(),
        Values::I32(values) => TensorRef::from_array_view((dims, values.as_slice()))?.into(),
        Values::I64(values) => TensorRef::from_array_view((dims, values.as_slice()))?.into(),
        Values::U8(values) => TensorRef::from_array_view((dims, values.as_slice()))?.into(),
        Values::Bool(values) => TensorRef::from_array_view((dims, values.as_slice()))?.into(),
    })
}
