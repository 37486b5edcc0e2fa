//! The graphs that a run executes: one that gives loss and gradients, one that evaluates.

use super::autodiff::{Backward, differentiate};
use super::draws::{Distribution, Draw, feed_all};
use super::emit::{Emit, Processor, Value};
use super::fold::{Oracle, lower};
use super::inference_form;
use super::memory::peak_bytes;
use super::model::{Graph, Port};
use super::precision::{Assignment, low_dtype, settle};
use super::recompute::{self, Recompute, Recomputed};
use super::tensor::{Dtype, ValueType};
use super::train_form;
use crate::config::{LossPlan, Precision, Reduction};
use std::collections::{HashMap, HashSet};

mod narrow;
mod error;
mod inputs;
mod objective;
mod trainable;

pub use error::StepError;
use inputs::input_dims;
use narrow::{Scaling, narrow};
use objective::Objective;
pub use objective::{Target, loss_output, loss_outputs, target_input};
pub use trainable::{Excluded, NotFinite, Trainable, trainable};

/// What a graph is built for.
#[derive(Debug, Clone, Copy)]
pub struct StepSpec<'a> {
    /// The model.
    pub graph: &'a Graph,
    /// Names of the parameters that are trained, and of the state that a step updates.
    pub trainable: &'a Trainable,
    /// Examples in the batch.
    pub batch: usize,
    /// Dimensions per example of the data behind each input.
    pub inputs: &'a [(String, Vec<usize>)],
    /// Sizes of free dimensions by name.
    pub dimensions: &'a std::collections::BTreeMap<String, u64>,
    /// The loss.
    pub loss: &'a LossPlan,
    /// Targets, weights and masks that the losses take.
    pub targets: &'a [Target],
    /// Where the graph will run.
    pub processor: Processor,
    /// With what a training graph computes; an evaluation graph computes as the exported model does, with 32-bit floats.
    pub precision: Precision,
    /// Which activations are computed again in the backward pass.
    pub recompute: &'a Recompute,
}

/// A value fed with each batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feed {
    /// Name of the model's input or of the target.
    pub name: String,
    /// Name of the graph's input.
    pub input: String,
    /// Element type and dimensions, the batch first.
    pub kind: ValueType,
}

/// A dropout mask fed with each step.
#[derive(Debug, Clone, PartialEq)]
pub struct MaskFeed {
    /// Name of the graph's input.
    pub input: String,
    /// Dimensions.
    pub dims: Vec<usize>,
    /// Probability with which an element is dropped.
    pub ratio: f64,
}

/// Numbers fed with each step in the place of those that the model draws, of type f32.
#[derive(Debug, Clone, PartialEq)]
pub struct DrawFeed {
    /// Name of the graph's input.
    pub input: String,
    /// Dimensions.
    pub dims: Vec<usize>,
    /// How they are distributed.
    pub distribution: Distribution,
}

impl DrawFeed {
    fn of(draw: &Draw, emit: &Emit) -> Self {
        let (input, dims) = (emit.name(draw.value).to_owned(), emit.dims(draw.value).to_vec());
        Self { input, dims, distribution: draw.distribution }
    }
}

/// A graph with the names of what goes in and out.
#[derive(Debug, Clone)]
pub struct StepGraph {
    /// The graph; its parameters and states are inputs under their ONNX names.
    pub graph: Graph,
    /// Data.
    pub feeds: Vec<Feed>,
    /// Dropout masks, in the order of the model's nodes.
    pub masks: Vec<MaskFeed>,
    /// Numbers that the model draws, in the order of its nodes.
    pub draws: Vec<DrawFeed>,
    /// Output holding the gradient of the loss sum, per parameter, in the order of [`Trainable::parameters`]; empty in an
    /// evaluation graph.
    pub gradients: Vec<String>,
    /// Parameters that the loss depends on, but only through operators without a gradient, such as rounding; theirs is 0.
    pub without_gradient: Vec<String>,
    /// Outputs holding the updated states, in the order of [`Trainable::states`]; empty in an evaluation graph.
    pub states: Vec<String>,
    /// Output holding the predictions that loss and metrics read, and their type.
    pub predictions: (String, ValueType),
    /// Dimensions of the first loss's target, the batch first; `None` if it has none.
    pub target: Option<ValueType>,
    /// Targets that hold labels, with the number of classes.
    pub classes: Vec<(String, usize)>,
    /// How the parts of a batch add up.
    pub reduction: Reduction,
    /// Bytes of the values between inputs and outputs that live at once, estimated from their shapes.
    pub activation_bytes: usize,
    /// Input that takes the loss scale, where the precision has one. The gradients that come out are unscaled.
    pub loss_scale: Option<&'static str>,
    /// What computes with 16-bit floats and what does not, where some may.
    pub assignment: Option<Assignment>,
    /// What is computed again in the backward pass, if anything is.
    pub recomputed: Option<Recomputed>,
}

/// Name of the output with the sum of the loss.
pub const LOSS_SUM: &str = "trainer/loss_sum";
/// Name of the output with the weight of that sum.
pub const LOSS_WEIGHT: &str = "trainer/loss_weight";
/// Name of the input with the loss scale, a scalar.
pub const LOSS_SCALE: &str = "trainer/loss_scale";
const PREDICTIONS: &str = "trainer/predictions";

/// The graph of a training step: loss, gradients and updated running statistics.
///
/// # Errors
/// See [`StepError`].
pub fn training(spec: &StepSpec<'_>, oracle: &dyn Oracle) -> Result<StepGraph, StepError> {
    let mut started = start(spec, spec.graph.clone(), oracle)?;
    let emit = &mut started.emit;
    let names = spec.trainable.parameters.iter();
    let parameters: Vec<Value> = names.filter_map(|(name, _)| emit.find(name)).collect();
    let low = low_dtype(spec.precision);
    let assignment = match low {
        Some(low) => Some(narrow(spec, emit, low, &parameters)?),
        None => None,
    };
    let form = train_form::rewrite(emit)?;
    let Objective { output, target, parts, classes } = objective::attach(spec, emit, &mut started.feeds)?;
    let scaling =
        matches!(spec.precision, Precision::F16(_)).then(|| Scaling::of(emit, &parts, spec.loss.reduction));
    let start = scaling.as_ref().map_or(parts.sum, |scaling| emit.mul(parts.sum, scaling.factor));
    let mut backward = differentiate(emit, start, &parameters)?;
    let mut outputs =
        vec![emit.name_output(parts.sum, LOSS_SUM), emit.name_output(parts.weight, LOSS_WEIGHT)];
    let predictions = emit.name_output(output, PREDICTIONS);
    outputs.push(predictions);
    let (gradient_names, without_gradient) =
        name_gradients(emit, &parameters, &backward.gradients, scaling.as_ref(), &mut outputs);
    let mut state_names = Vec::with_capacity(spec.trainable.states.len());
    for (state, _) in &spec.trainable.states {
        let updated = form.states.iter().find(|(name, _)| name == state).map(|(_, value)| *value);
        let value = updated.or_else(|| emit.find(state)).expect("states are initializers of the model");
        let name = format!("trainer/state/{state}");
        outputs.push(emit.name_output(value, &name));
        state_names.push(name);
    }
    let masks = form.masks.iter().map(|mask| MaskFeed {
        input: emit.name(mask.value).to_owned(),
        dims: emit.dims(mask.value).to_vec(),
        ratio: mask.ratio,
    });
    let masks: Vec<MaskFeed> = masks.collect();
    let draws: Vec<DrawFeed> = form.draws.iter().map(|draw| DrawFeed::of(draw, emit)).collect();
    let kind = emit.kind(predictions).clone();
    let target = target.map(|target| emit.kind(target).clone());
    let mut inputs = all_inputs(spec, emit, &started.feeds, &masks, &draws);
    inputs.extend(scaling.as_ref().map(|scaling| scaling.scale));
    if let Some(low) = low {
        backward.forward_nodes = settle(emit, low, backward.forward_nodes);
    }
    let recomputed = recompute(spec, emit, backward, &outputs);
    let sizes = started.emit.value_bytes();
    let graph = started.emit.finish("training_step", &inputs, &outputs);
    Ok(StepGraph {
        recomputed,
        masks: keep_present(masks, &graph, |mask| &mask.input),
        draws: keep_present(draws, &graph, |draw| &draw.input),
        feeds: keep_present(started.feeds, &graph, |feed| &feed.input),
        gradients: gradient_names,
        without_gradient,
        states: state_names,
        predictions: (PREDICTIONS.to_owned(), kind),
        target,
        classes,
        reduction: spec.loss.reduction,
        activation_bytes: peak_bytes(&graph, |name| sizes.get(name).copied().unwrap_or(0)),
        loss_scale: scaling.is_some().then_some(LOSS_SCALE),
        assignment,
        graph,
    })
}

/// Makes the gradients outputs, unscaled. Gives the names of all of them, and of the parameters that have none.
fn name_gradients(
    emit: &mut Emit,
    parameters: &[Value],
    gradients: &[Option<Value>],
    scaling: Option<&Scaling>,
    outputs: &mut Vec<Value>,
) -> (Vec<String>, Vec<String>) {
    let mut names = Vec::with_capacity(parameters.len());
    let mut without_gradient = Vec::new();
    for (parameter, gradient) in parameters.iter().zip(gradients) {
        let name = format!("trainer/gradient_of/{}", emit.name(*parameter));
        // A parameter whose influence is cut by a piecewise constant operator has gradient zero, as in PyTorch.
        let gradient = (*gradient).unwrap_or_else(|| {
            without_gradient.push(emit.name(*parameter).to_owned());
            emit.zeros_like(*parameter)
        });
        let gradient = scaling.map_or(gradient, |scaling| emit.mul(gradient, scaling.inverse));
        outputs.push(emit.name_output(gradient, &name));
        names.push(name);
    }
    (names, without_gradient)
}

/// The graph of an evaluation: loss and predictions of the model as it is used for inference.
///
/// # Errors
/// See [`StepError`].
pub fn evaluation(spec: &StepSpec<'_>, oracle: &dyn Oracle) -> Result<StepGraph, StepError> {
    let mut started = start(spec, inference_form::rewrite(spec.graph), oracle)?;
    let emit = &mut started.emit;
    let draws: Vec<DrawFeed> = feed_all(emit).iter().map(|draw| DrawFeed::of(draw, emit)).collect();
    let Objective { output, target, parts, classes } = objective::attach(spec, emit, &mut started.feeds)?;
    let mut outputs =
        vec![emit.name_output(parts.sum, LOSS_SUM), emit.name_output(parts.weight, LOSS_WEIGHT)];
    let predictions = emit.name_output(output, PREDICTIONS);
    outputs.push(predictions);
    let kind = emit.kind(predictions).clone();
    let target = target.map(|target| emit.kind(target).clone());
    let inputs = all_inputs(spec, emit, &started.feeds, &[], &draws);
    let sizes = started.emit.value_bytes();
    let graph = started.emit.finish("evaluation", &inputs, &outputs);
    Ok(StepGraph {
        recomputed: None,
        masks: Vec::new(),
        draws: keep_present(draws, &graph, |draw| &draw.input),
        feeds: keep_present(started.feeds, &graph, |feed| &feed.input),
        gradients: Vec::new(),
        without_gradient: Vec::new(),
        states: Vec::new(),
        predictions: (PREDICTIONS.to_owned(), kind),
        target,
        classes,
        reduction: spec.loss.reduction,
        activation_bytes: peak_bytes(&graph, |name| sizes.get(name).copied().unwrap_or(0)),
        loss_scale: None,
        assignment: None,
        graph,
    })
}

/// The types of all outputs of the model for a batch.
///
/// # Errors
/// If shapes can not be fixed; see [`StepError`].
pub fn output_types(spec: &StepSpec<'_>, oracle: &dyn Oracle) -> Result<Vec<(String, ValueType)>, StepError> {
    let emit = start(spec, spec.graph.clone(), oracle)?.emit;
    let named =
        spec.graph.outputs.iter().filter_map(|port| Some((port.name.clone(), emit.find(&port.name)?)));
    Ok(named.map(|(name, value)| (name, emit.kind(value).clone())).collect())
}

/// Has activations computed again, as it is asked for.
fn recompute(
    spec: &StepSpec<'_>,
    emit: &mut Emit,
    mut backward: Backward,
    outputs: &[Value],
) -> Option<Recomputed> {
    backward.forward_nodes = emit.prune(outputs, backward.forward_nodes);
    let parameters: Vec<Value> = spec.trainable.names().filter_map(|name| emit.find(name)).collect();
    recompute::apply(emit, &backward, &parameters, outputs, spec.recompute)
}

fn keep_present<T>(feeds: Vec<T>, graph: &Graph, name: impl Fn(&T) -> &String) -> Vec<T> {
    feeds.into_iter().filter(|feed| graph.inputs.iter().any(|port| port.name == *name(feed))).collect()
}

struct Started {
    emit: Emit,
    feeds: Vec<Feed>,
}

/// Fixes the shapes of `graph`, which is the model in the form that is wanted.
fn start(spec: &StepSpec<'_>, mut graph: Graph, oracle: &dyn Oracle) -> Result<Started, StepError> {
    for (name, _) in spec.inputs {
        if !graph.inputs.iter().any(|port| port.name == *name) {
            let available = listing(graph.inputs.iter().map(|port| &port.name));
            let key = format!("data.inputs.{name}");
            return Err(StepError::NoSuchName { what: "input", name: name.clone(), available, key });
        }
    }
    let mut feeds = Vec::with_capacity(graph.inputs.len());
    let mut symbols: HashMap<String, usize> = HashMap::new();
    for port in &mut graph.inputs {
        let given = spec.inputs.iter().find(|(name, _)| *name == port.name);
        let (_, example) = given.ok_or_else(|| StepError::NotFed { input: port.name.clone() })?;
        let dims = input_dims(port, example, spec, &mut symbols)?;
        let dtype = port.dtype.unwrap_or(Dtype::F32);
        *port = Port::fixed(port.name.clone(), dtype, &dims);
        feeds.push(Feed {
            name: port.name.clone(),
            input: port.name.clone(),
            kind: ValueType::new(dtype, dims),
        });
    }
    let variables: HashSet<&str> = spec.trainable.names().collect();
    let mut emit = lower(&graph, &variables, oracle)?;
    emit.set_processor(spec.processor);
    Ok(Started { emit, feeds })
}

fn listing<'a>(names: impl Iterator<Item = &'a String>) -> String {
    let quoted: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    if quoted.is_empty() { "none".to_owned() } else { quoted.join(", ") }
}

fn all_inputs(
    spec: &StepSpec<'_>,
    emit: &Emit,
    feeds: &[Feed],
    masks: &[MaskFeed],
    draws: &[DrawFeed],
) -> Vec<Value> {
    let fed =
        feeds.iter().map(|feed| feed.input.as_str()).chain(masks.iter().map(|mask| mask.input.as_str()));
    let fed = fed.chain(draws.iter().map(|draw| draw.input.as_str()));
    fed.chain(spec.trainable.names()).filter_map(|name| emit.find(name)).collect()
}
