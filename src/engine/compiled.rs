//! One graph compiled for one batch size, with its tensors and bindings made once.

use super::error::EngineError;
use super::library::Runtime;
use super::session::{Cancel, Optimize, Place, open};
use super::state::{Layout, StateSet};
use super::step::Evaluates;
use crate::config::Reduction;
use crate::data::{HostArray, Values};
use crate::graph::step::{DrawFeed, Feed, LOSS_SUM, LOSS_WEIGHT, MaskFeed, StepGraph};
use crate::graph::tensor::Dtype;
use ndarray::ArrayViewD;
use ort::memory::Allocator;
use ort::session::{IoBinding, Session};
use ort::value::Tensor as OrtTensor;

/// A tensor of one of the element types that data have.
#[derive(Debug)]
enum FeedTensor {
    F32(OrtTensor<f32>),
    F64(OrtTensor<f64>),
    I32(OrtTensor<i32>),
    I64(OrtTensor<i64>),
    U8(OrtTensor<u8>),
    Bool(OrtTensor<bool>),
}

/// What is not specific to one batch size but bound all the same.
pub(super) struct Shared<'a> {
    pub layout: &'a Layout,
    /// Receives the gradients, one tensor per parameter.
    pub gradients: &'a mut [OrtTensor<f32>],
    /// Running statistics that a training graph reads.
    pub states_in: &'a [OrtTensor<f32>],
    /// Running statistics that a training graph writes.
    pub states_out: &'a mut [OrtTensor<f32>],
    /// What a training graph in float16 multiplies its loss with.
    pub loss_scale: f32,
}

/// A compiled graph.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) batch: usize,
    /// How the parts of a batch add up.
    pub(super) reduction: Reduction,
    session: Session,
    place: Place,
    feeds: Vec<(Feed, FeedTensor)>,
    masks: Vec<(MaskFeed, OrtTensor<bool>)>,
    draws: Vec<(DrawFeed, OrtTensor<f32>)>,
    loss_scale: Option<(&'static str, OrtTensor<f32>)>,
    loss: [(&'static str, OrtTensor<f32>); 2],
    predictions: (String, OrtTensor<f32>),
    gradient_names: Vec<String>,
    state_names: Vec<String>,
    /// Bindings by the id of the state set whose parameters they read.
    bindings: Vec<(u64, IoBinding)>,
}

impl Compiled {
    pub(super) fn new(
        runtime: &Runtime,
        place: Place,
        graph: StepGraph,
        batch: usize,
    ) -> Result<Self, EngineError> {
        let session = open(runtime, place, &graph.graph, Optimize::Everything)?;
        let host = Allocator::default();
        let made = |name: &str, error: &ort::Error| EngineError::new(format!("allocating `{name}`"), error);
        let mut feeds = Vec::with_capacity(graph.feeds.len());
        for feed in graph.feeds {
            let tensor = feed_tensor(&feed, &host)?;
            feeds.push((feed, tensor));
        }
        let mut masks = Vec::with_capacity(graph.masks.len());
        for mask in graph.masks {
            let tensor =
                OrtTensor::new(&host, mask.dims.as_slice()).map_err(|error| made(&mask.input, &error))?;
            masks.push((mask, tensor));
        }
        let mut draws = Vec::with_capacity(graph.draws.len());
        for draw in graph.draws {
            let tensor =
                OrtTensor::new(&host, draw.dims.as_slice()).map_err(|error| made(&draw.input, &error))?;
            draws.push((draw, tensor));
        }
        let scalar = |name: &'static str| {
            let dims: [usize; 0] = [];
            Ok::<_, EngineError>((name, OrtTensor::new(&host, dims).map_err(|error| made(name, &error))?))
        };
        let (name, kind) = graph.predictions;
        let predictions = OrtTensor::new(&host, kind.dims.as_slice()).map_err(|error| made(&name, &error))?;
        Ok(Self {
            batch,
            reduction: graph.reduction,
            session,
            place,
            feeds,
            masks,
            draws,
            loss_scale: graph.loss_scale.map(scalar).transpose()?,
            loss: [scalar(LOSS_SUM)?, scalar(LOSS_WEIGHT)?],
            predictions: (name, predictions),
            gradient_names: graph.gradients,
            state_names: graph.states,
            bindings: Vec::new(),
        })
    }

    /// The dropout masks, to be filled before a run: dimensions and ratio, and the memory.
    pub(super) fn masks(&mut self) -> impl Iterator<Item = (&MaskFeed, &mut [bool])> {
        self.masks.iter_mut().map(|(mask, tensor)| (&*mask, tensor.extract_tensor_mut().1))
    }

    /// The numbers that the model draws, to be filled before a run: dimensions and distribution, and the memory.
    pub(super) fn draws(&mut self) -> impl Iterator<Item = (&DrawFeed, &mut [f32])> {
        self.draws.iter_mut().map(|(draw, tensor)| (&*draw, tensor.extract_tensor_mut().1))
    }

    /// Copies a batch into the tensors that the graph reads; `names` are those of the arrays.
    pub(super) fn fill(&mut self, names: &[String], arrays: &[HostArray]) -> Result<(), EngineError> {
        for (feed, tensor) in &mut self.feeds {
            let array = names.iter().position(|name| *name == feed.name).and_then(|at| arrays.get(at));
            let filled = array.is_some_and(|array| copy(&array.values, tensor));
            if !filled {
                let message = format!("the batch does not hold {} for `{}`", feed.kind, feed.name);
                let class = super::error::ErrorClass::Other;
                return Err(EngineError { work: "feeding a batch".to_owned(), class, message });
            }
        }
        Ok(())
    }

    /// Runs the graph on the parameters of `set`, or on their averages; a graph always takes the same.
    pub(super) fn run(
        &mut self,
        set: &StateSet,
        values: Evaluates,
        shared: &mut Shared<'_>,
        cancel: &Cancel,
    ) -> Result<(), EngineError> {
        if let Some((_, tensor)) = &mut self.loss_scale {
            tensor.extract_tensor_mut().1.fill(shared.loss_scale);
        }
        let known = self.bindings.iter().position(|(id, _)| *id == set.id);
        let position = match known {
            Some(position) => position,
            None => {
                let binding = self.bind(set, values, shared)?;
                // Two sets are in use at a time, so an older binding is for a set that is gone.
                if self.bindings.len() >= 2 {
                    self.bindings.remove(0);
                }
                self.bindings.push((set.id, binding));
                self.bindings.len() - 1
            }
        };
        let Some((_, binding)) = self.bindings.get_mut(position) else { return Ok(()) };
        let is_training = !self.gradient_names.is_empty();
        if known.is_some() && self.place != Place::Cpu {
            // A host tensor was copied to the device when it was bound; what it holds now has to be copied again.
            let (feeds, masks, draws) = (&self.feeds, &self.masks, &self.draws);
            let fed = Fed { feeds, masks, draws, loss_scale: self.loss_scale.as_ref() };
            bind_host_inputs(binding, &fed, set, shared, is_training)?;
        }
        let work = if is_training { "computing gradients" } else { "evaluating" };
        let ran = self.session.run_binding_with_options(binding, cancel.options());
        ran.map(drop).map_err(|error| EngineError::new(work, &error))
    }

    fn bind(
        &mut self,
        set: &StateSet,
        values: Evaluates,
        shared: &mut Shared<'_>,
    ) -> Result<IoBinding, EngineError> {
        let failed = |name: &str, error: &ort::Error| EngineError::new(format!("binding `{name}`"), error);
        let mut binding = self.session.create_binding().map_err(|error| failed("session", &error))?;
        let wanted = |name: &str| self.session.inputs().iter().any(|input| input.name() == name);
        let values = match values {
            Evaluates::Parameters => &set.parameters,
            Evaluates::Averages => &set.averages,
        };
        for ((name, _), tensor) in
            shared.layout.parameters.iter().zip(values).filter(|((name, _), _)| wanted(name))
        {
            binding.bind_input(name, tensor).map_err(|error| failed(name, &error))?;
        }
        let fed = self.fed();
        bind_host_inputs(&mut binding, &fed, set, shared, !self.gradient_names.is_empty())?;
        for (name, tensor) in &mut self.loss {
            bind_output(&mut binding, name, tensor)?;
        }
        bind_output(&mut binding, &self.predictions.0, &mut self.predictions.1)?;
        for (name, tensor) in self.gradient_names.iter().zip(shared.gradients.iter_mut()) {
            bind_output(&mut binding, name, tensor)?;
        }
        for (name, tensor) in self.state_names.iter().zip(shared.states_out.iter_mut()) {
            bind_output(&mut binding, name, tensor)?;
        }
        Ok(binding)
    }

    fn fed(&self) -> Fed<'_> {
        let (feeds, masks, draws) = (&self.feeds, &self.masks, &self.draws);
        Fed { feeds, masks, draws, loss_scale: self.loss_scale.as_ref() }
    }

    /// Sum and weight of the loss of the last run.
    pub(super) fn loss(&self) -> (f32, f32) {
        let [sum, weight] = &self.loss;
        let first = |tensor: &OrtTensor<f32>| tensor.extract_tensor().1.first().copied().unwrap_or(f32::NAN);
        (first(&sum.1), first(&weight.1))
    }

    /// Predictions of the last run.
    pub(super) fn predictions(&self) -> ArrayViewD<'_, f32> {
        self.predictions.1.extract_array()
    }
}

/// Binds an output to a tensor that every later run writes to.
pub(super) fn bind_output(
    binding: &mut IoBinding,
    name: &str,
    tensor: &mut OrtTensor<f32>,
) -> Result<(), EngineError> {
    binding.bind_output(name, tensor).map_err(|error| EngineError::new(format!("binding `{name}`"), &error))
}

/// What a graph is fed from host memory besides the running statistics.
struct Fed<'a> {
    feeds: &'a [(Feed, FeedTensor)],
    masks: &'a [(MaskFeed, OrtTensor<bool>)],
    draws: &'a [(DrawFeed, OrtTensor<f32>)],
    loss_scale: Option<&'a (&'static str, OrtTensor<f32>)>,
}

fn bind_host_inputs(
    binding: &mut IoBinding,
    fed: &Fed<'_>,
    set: &StateSet,
    shared: &Shared<'_>,
    is_training: bool,
) -> Result<(), EngineError> {
    let failed = |name: &str, error: &ort::Error| EngineError::new(format!("binding `{name}`"), error);
    for (feed, tensor) in fed.feeds {
        let name = feed.input.as_str();
        let bound = match tensor {
            FeedTensor::F32(tensor) => binding.bind_input(name, tensor),
            FeedTensor::F64(tensor) => binding.bind_input(name, tensor),
            FeedTensor::I32(tensor) => binding.bind_input(name, tensor),
            FeedTensor::I64(tensor) => binding.bind_input(name, tensor),
            FeedTensor::U8(tensor) => binding.bind_input(name, tensor),
            FeedTensor::Bool(tensor) => binding.bind_input(name, tensor),
        };
        bound.map_err(|error| failed(name, &error))?;
    }
    for (mask, tensor) in fed.masks {
        binding.bind_input(&mask.input, tensor).map_err(|error| failed(&mask.input, &error))?;
    }
    for (draw, tensor) in fed.draws {
        binding.bind_input(&draw.input, tensor).map_err(|error| failed(&draw.input, &error))?;
    }
    if let Some((name, tensor)) = fed.loss_scale {
        binding.bind_input(*name, tensor).map_err(|error| failed(name, &error))?;
    }
    let states = if is_training { shared.states_in } else { &set.states };
    for ((name, _), tensor) in shared.layout.states.iter().zip(states) {
        binding.bind_input(name, tensor).map_err(|error| failed(name, &error))?;
    }
    Ok(())
}

fn feed_tensor(feed: &Feed, host: &Allocator) -> Result<FeedTensor, EngineError> {
    let dims = feed.kind.dims.as_slice();
    let made = match feed.kind.dtype {
        Dtype::F32 => OrtTensor::new(host, dims).map(FeedTensor::F32),
        Dtype::F64 => OrtTensor::new(host, dims).map(FeedTensor::F64),
        Dtype::I32 => OrtTensor::new(host, dims).map(FeedTensor::I32),
        Dtype::I64 => OrtTensor::new(host, dims).map(FeedTensor::I64),
        Dtype::U8 => OrtTensor::new(host, dims).map(FeedTensor::U8),
        Dtype::Bool => OrtTensor::new(host, dims).map(FeedTensor::Bool),
        other => Err(ort::Error::new(format!(
            "the model takes {other} there, expected float32, float64, int32, int64, uint8 or bool; export the model with one of these"
        ))),
    };
    made.map_err(|error| EngineError::new(format!("feeding input `{}`", feed.name), &error))
}

/// Copies values of the same type and number; `false` if they are not.
fn copy(values: &Values, tensor: &mut FeedTensor) -> bool {
    fn same<T: Copy>(from: &[T], to: &mut [T]) -> bool {
        let fits = from.len() == to.len();
        if fits {
            to.copy_from_slice(from);
        }
        fits
    }
    match (values, tensor) {
        (Values::F32(from), FeedTensor::F32(to)) => same(from, to.extract_tensor_mut().1),
        (Values::F64(from), FeedTensor::F64(to)) => same(from, to.extract_tensor_mut().1),
        (Values::I32(from), FeedTensor::I32(to)) => same(from, to.extract_tensor_mut().1),
        (Values::I64(from), FeedTensor::I64(to)) => same(from, to.extract_tensor_mut().1),
        (Values::U8(from), FeedTensor::U8(to)) => same(from, to.extract_tensor_mut().1),
        (Values::Bool(from), FeedTensor::Bool(to)) => same(from, to.extract_tensor_mut().1),
        _ => false,
    }
}
