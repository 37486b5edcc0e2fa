//! ONNX Runtime for tests: the library is located and loaded once per test process, and graphs are run on it.

use ort::session::{Session, SessionInputValue};
use ort::value::{DynValue, Tensor as OrtTensor};
use std::sync::OnceLock;
use trainer::engine::library::{Request, Runtime, Threads, load, locate};
use trainer::engine::oracle::{RuntimeOracle, tensor_of};
use trainer::engine::session::{Optimize, Place, open};
use trainer::graph::model::Graph;
use trainer::graph::tensor::{Dtype, Tensor};

/// Says how many threads the one pool of a test process has; otherwise there are two, so that races show.
pub const THREADS_VARIABLE: &str = "TRAINER_TEST_THREADS";

/// Without spinning, because tests share a machine.
fn threads() -> Threads {
    let given = std::env::var(THREADS_VARIABLE).ok().and_then(|count| count.parse().ok());
    Threads { count: given.unwrap_or(2), spin: false }
}

/// The library, fetched into the cache if the machine has none.
pub fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let located = locate(&Request::default()).expect("the tests need an ONNX Runtime library");
        load(&located, threads()).expect("the located library loads")
    })
}

/// The judge of shapes and calculator of constants.
pub fn oracle() -> RuntimeOracle {
    RuntimeOracle::new(runtime())
}

/// A graph that was compiled once and is run with tensors by name.
pub struct Compiled {
    session: Session,
    outputs: Vec<String>,
}

impl Compiled {
    pub fn new(graph: &Graph) -> Result<Self, String> {
        let session =
            open(runtime(), Place::Cpu, graph, Optimize::Everything).map_err(|error| error.to_string())?;
        Ok(Self { session, outputs: graph.outputs.iter().map(|port| port.name.clone()).collect() })
    }

    /// The outputs of the graph in their order. Inputs that the graph does not have are left out.
    pub fn run(&mut self, inputs: &[(String, Tensor)]) -> Result<Vec<Tensor>, String> {
        let wanted: Vec<String> = self.session.inputs().iter().map(|input| input.name().to_owned()).collect();
        let fed = inputs.iter().filter(|(name, _)| wanted.contains(name));
        let fed: Vec<(String, SessionInputValue<'_>)> =
            fed.map(|(name, tensor)| (name.clone(), ort_value(tensor).into())).collect();
        let values = self.session.run(fed).map_err(|error| error.to_string())?;
        let outputs = self.outputs.iter().map(|name| tensor_of(&values[name.as_str()]));
        Ok(outputs.map(|tensor| tensor.expect("outputs are tensors of numbers")).collect())
    }
}

/// The outputs of `graph` for these inputs.
#[track_caller]
pub fn run(graph: &Graph, inputs: &[(String, Tensor)]) -> Vec<Tensor> {
    Compiled::new(graph).unwrap().run(inputs).unwrap()
}

fn ort_value(tensor: &Tensor) -> DynValue {
    fn made<T: ort::value::PrimitiveTensorElementType + std::fmt::Debug + Clone + 'static>(
        tensor: &Tensor,
        values: Vec<T>,
    ) -> DynValue {
        OrtTensor::from_array((tensor.dims().to_vec(), values)).unwrap().into_dyn()
    }
    match tensor.dtype() {
        Dtype::F32 => made(tensor, tensor.to_f64().unwrap().iter().map(|x| *x as f32).collect()),
        Dtype::F64 => made(tensor, tensor.to_f64().unwrap()),
        Dtype::I64 => made(tensor, tensor.to_i64().unwrap()),
        Dtype::I32 => made(tensor, tensor.to_i64().unwrap().iter().map(|x| *x as i32).collect()),
        Dtype::Bool => made(tensor, tensor.bytes().iter().map(|x| *x != 0).collect()),
        other => panic!("tests feed no {other}"),
    }
}
