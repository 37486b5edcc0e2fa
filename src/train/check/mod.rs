//! Whether a model can be trained here, without data: everything that a run would find out before its first step, at once.
//!
//! Belongs here: putting together what the file says ([`crate::graph::inspect`]), what the graphs of a run say, and what a
//! step takes. Does not belong here: printing.

mod describe;
mod report;

pub use report::{
    BatchReport, DimReport, DimensionReport, ExcludedReport, FileReport, MemoryReport, NodeReport,
    OperatorReport, ParametersReport, PortReport, ProblemReport, Report, SuggestionReport, TensorReport,
    WarningReport,
};

use super::compile::{Source, check_output, fixed_bytes, recompute};
use super::model;
use super::prepare::PrepareError;
use crate::config::{LossKind, LossPlan, ModelSource, Plan};
use crate::engine::library::Runtime;
use crate::engine::optimizer::Optimizer;
use crate::engine::oracle::RuntimeOracle;
use crate::engine::session::{Optimize, Place, open as open_session};
use crate::engine::state::Layout;
use crate::graph::emit::Processor;
use crate::graph::inspect::{self, OutputShape, Probe};
use crate::graph::model::Graph;
use crate::graph::read::{Header, read_file_with_header};
use crate::graph::recompute::Recompute;
use crate::graph::step::{self, StepError, StepGraph, StepSpec, Target, Trainable};
use crate::graph::tensor::{Dtype, ValueType, elements};
use std::collections::HashSet;
use std::path::PathBuf;

/// Batch sizes for which memory is estimated.
const BATCHES: [usize; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 256];

/// The batch with which outputs are looked at: not 1, which would be like a dimension that is always 1.
const PROBE_BATCH: usize = 2;

/// A model that was read, and the settings that it is to be trained with.
#[derive(Debug)]
pub struct Candidate {
    plan: Plan,
    path: PathBuf,
    header: Header,
    graph: Graph,
}

/// Whether the settings say which loss there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LossChoice {
    /// The settings name it.
    Given,
    /// The outputs of the model suggest one.
    Suggested,
}

/// Reads the model of a plan. Nothing is loaded or run.
///
/// # Errors
/// If the plan names no file, or the file is no model.
pub fn read(plan: Plan) -> Result<Candidate, PrepareError> {
    let ModelSource::Onnx(path) = &plan.model.source else {
        return Err(PrepareError::NoFile);
    };
    let path = path.clone();
    let (header, graph) = read_file_with_header(&path)?;
    Ok(Candidate { plan, path, header, graph })
}

/// What the parts of a check have found so far.
struct Check<'a> {
    plan: &'a Plan,
    oracle: RuntimeOracle,
    place: Place,
    problems: Vec<ProblemReport>,
}

/// Checks a model. What is wrong with it is in the report, all of it that can be found.
#[must_use]
pub fn check(candidate: Candidate, choice: LossChoice, runtime: &Runtime, place: Place) -> Report {
    let Candidate { mut plan, path, header, mut graph } = candidate;
    let read = graph.clone();
    let mut problems = Vec::new();
    match model::start(&plan, graph.clone()).and_then(|graph| {
        model::check_patterns(&plan, &graph)?;
        Ok(graph)
    }) {
        Ok(started) => graph = started,
        Err(error) => problems.push(describe::problem("settings", error.to_string())),
    }
    let probe = inspect::probe(&graph, &plan.model.dimensions).unwrap_or_else(|error| {
        problems.push(describe::problem("inputs", error.to_string()));
        Probe::default()
    });
    let mut check = Check { plan: &plan.clone(), oracle: RuntimeOracle::new(runtime), place, problems };
    let shapes = check.shapes(&graph, &probe);
    let suggestion = shapes
        .as_ref()
        .and_then(|(batch, inputs, outputs)| inspect::suggest(&graph, *batch, inputs, outputs));
    if choice == LossChoice::Suggested {
        plan.loss = match &suggestion {
            Some(suggestion) => suggestion.loss.clone(),
            None => first_output(&graph),
        };
    }
    // Weights and masks come with data; they change little of what a step takes.
    without_weights(&mut plan.loss);
    check.plan = &plan;
    let is_frozen = |name: &str| model::is_frozen(&plan.model, name);
    let trainable = step::trainable(&graph, &plan.loss, is_frozen).unwrap_or_else(|error| {
        let kind = if matches!(error, StepError::NothingToTrain { .. }) { "parameters" } else { "loss" };
        check.problems.push(describe::problem(kind, error.to_string()));
        Trainable::default()
    });
    if let Some(found) = trainable.not_finite() {
        let message = PrepareError::NotFinite { path: path.clone(), found }.to_string();
        check.problems.push(describe::problem("not_finite", message));
    }
    let (memory, without_gradient) = check.memory(&graph, &trainable, &probe);
    if shapes.is_none() || !check.problems.is_empty() {
        check.add_nodes_without_rule(&graph, &trainable);
    }
    let inputs = shapes.as_ref().map(|(_, inputs, _)| inputs.as_slice()).unwrap_or_default();
    Report {
        trainable: check.problems.is_empty(),
        inputs: read.inputs.iter().map(describe::port).collect(),
        outputs: describe::outputs(&read, shapes.as_ref()),
        free_dimensions: describe::free_dimensions(&probe, &read, &plan.model.dimensions),
        parameters: describe::parameters(&graph, &trainable, without_gradient),
        operators: describe::operators(&graph),
        warnings: describe::warnings(&read, &header, &probe),
        suggestion: suggestion.map(|suggestion| describe::suggestion(&suggestion, &path, inputs)),
        loss: plan.loss.kind.name().to_owned(),
        file: describe::file(path, &header, &read),
        problems: check.problems,
        memory,
    }
}

/// A loss of the first output alone, where nothing better is known.
fn first_output(graph: &Graph) -> LossPlan {
    let output = graph.outputs.first().map(|port| port.name.clone());
    LossPlan { output, ..LossPlan::new(LossKind::Mse) }
}

fn without_weights(loss: &mut LossPlan) {
    (loss.sample_weights, loss.mask) = (None, None);
    loss.auxiliary.values_mut().for_each(without_weights);
}

/// What the losses would take of data: labels where they take labels.
fn targets(loss: &LossPlan) -> Vec<Target> {
    let mut targets: Vec<Target> = Vec::new();
    for term in loss.terms() {
        let name = term.target.clone().unwrap_or_else(|| "y".to_owned());
        let dtype = if term.kind.takes_labels() { Dtype::I64 } else { Dtype::F32 };
        if !targets.iter().any(|known| known.name == name) {
            targets.push(Target::new(name, dtype));
        }
    }
    targets
}

/// Types of inputs and outputs for a batch.
type Shapes = (usize, Vec<OutputShape>, Vec<OutputShape>);

impl Check<'_> {
    fn with_spec<T>(
        &self,
        graph: &Graph,
        trainable: &Trainable,
        probe: &Probe,
        batch: usize,
        recompute: &Recompute,
        build: impl FnOnce(&StepSpec<'_>) -> T,
    ) -> T {
        build(&StepSpec {
            graph,
            trainable,
            batch,
            inputs: &probe.inputs(batch),
            dimensions: &self.plan.model.dimensions,
            loss: &self.plan.loss,
            targets: &targets(&self.plan.loss),
            processor: if self.place == Place::Cpu { Processor::Cpu } else { Processor::Gpu },
            recompute,
            precision: self.plan.train.precision,
        })
    }

    /// The types of inputs and outputs; `None`, with a problem, if ONNX Runtime does not find them.
    fn shapes(&mut self, graph: &Graph, probe: &Probe) -> Option<Shapes> {
        if !self.problems.is_empty() {
            return None;
        }
        let batch = probe.fixed_batch.unwrap_or(PROBE_BATCH);
        let nothing = Trainable::default();
        let found = self.with_spec(graph, &nothing, probe, batch, &Recompute::Nothing, |spec| {
            step::output_types(spec, &self.oracle)
        });
        let named = |(name, kind): (String, ValueType)| OutputShape { name, kind };
        match found {
            Ok(outputs) => {
                let of_input = |(name, dims): (String, Vec<usize>)| {
                    let port = graph.inputs.iter().find(|port| port.name == name);
                    let dtype = port.and_then(|port| port.dtype).unwrap_or(Dtype::F32);
                    let dims: Vec<usize> = std::iter::once(batch).chain(dims).collect();
                    OutputShape { name, kind: ValueType::new(dtype, dims) }
                };
                let inputs = probe.inputs(batch).into_iter().map(of_input).collect();
                Some((batch, inputs, outputs.into_iter().map(named).collect()))
            }
            Err(error) => {
                self.problems.push(describe::of_step(&error, &probe.assumed));
                None
            }
        }
    }

    /// What steps of several sizes take, and the parameters that get no gradient. The graph of one of them is compiled.
    fn memory(&mut self, graph: &Graph, trainable: &Trainable, probe: &Probe) -> (MemoryReport, Vec<String>) {
        let layout = layout(self.plan, trainable);
        let parameters_bytes = trainable.parameter_elements() * size_of::<f32>();
        let mut report = MemoryReport {
            parameters_bytes,
            gradients_bytes: parameters_bytes,
            optimizer_bytes: layout.bytes() - parameters_bytes,
            spare_bytes: layout.bytes(),
            batches: Vec::new(),
        };
        if !self.problems.is_empty() || trainable.parameters.is_empty() {
            return (report, Vec::new());
        }
        let source = Source { plan: self.plan, graph, trainable };
        let recompute = recompute(&source, layout.bytes());
        let fixed_bytes = fixed_bytes(trainable, layout.bytes());
        let mut without_gradient = None;
        let sizes = probe.fixed_batch.map_or(BATCHES.to_vec(), |size| vec![size]);
        for batch in sizes {
            let built = self.with_spec(graph, trainable, probe, batch, &recompute, |spec| {
                step::training(spec, &self.oracle)
            });
            match built.map_err(PrepareError::from) {
                Ok(built) => {
                    if without_gradient.is_none() {
                        self.try_to_compile(&source, &built);
                        without_gradient = Some(built.without_gradient.clone());
                    }
                    report.batches.push(batch_report(batch, fixed_bytes, &built));
                }
                Err(error) if error.is_part_too_small() => {
                    let (batch_bytes, activation_bytes, total_bytes) = (None, None, None);
                    let problem = Some(error.to_string());
                    report.batches.push(BatchReport {
                        batch,
                        batch_bytes,
                        activation_bytes,
                        total_bytes,
                        problem,
                    });
                }
                Err(PrepareError::Step(error)) => {
                    self.problems.push(describe::of_step(&error, &probe.assumed));
                    break;
                }
                Err(error) => {
                    self.problems.push(describe::problem("onnxruntime", error.to_string()));
                    break;
                }
            }
            if !self.problems.is_empty() {
                break;
            }
        }
        if without_gradient.is_none() && self.problems.is_empty() {
            let first = report.batches.iter().find_map(|batch| batch.problem.clone());
            self.problems.push(describe::problem("batch", first.unwrap_or_default()));
        }
        (report, without_gradient.unwrap_or_default())
    }

    /// Has ONNX Runtime build the session that a run would train with.
    fn try_to_compile(&mut self, source: &Source<'_>, built: &StepGraph) {
        if let Err(error) = check_output(source, built) {
            self.problems.push(describe::problem("output", error.to_string()));
        }
        if let Err(error) =
            open_session(self.oracle.runtime(), self.place, &built.graph, Optimize::Everything)
        {
            self.problems.push(describe::problem("session", error.to_string()));
        }
    }

    /// Where shapes could not be found, no training graph lists the nodes without a rule, so the names have to do.
    fn add_nodes_without_rule(&mut self, graph: &Graph, trainable: &Trainable) {
        if self.problems.iter().any(|problem| problem.kind == "operators") {
            return;
        }
        let names: HashSet<&str> = if trainable.parameters.is_empty() {
            graph.initializers.iter().map(|(name, _)| name.as_str()).collect()
        } else {
            trainable.names().collect()
        };
        let outputs: Vec<String> = graph.outputs.iter().map(|port| port.name.clone()).collect();
        let nodes = inspect::without_rule(graph, &names, &outputs);
        if !nodes.is_empty() {
            self.problems.push(describe::operators_without_rule(nodes));
        }
    }
}

/// What the state of a run holds.
fn layout(plan: &Plan, trainable: &Trainable) -> Layout {
    let named = |tensors: &[(String, crate::graph::tensor::Tensor)]| {
        tensors.iter().map(|(name, tensor)| (name.clone(), tensor.dims().to_vec())).collect::<Vec<_>>()
    };
    let parameters = named(&trainable.parameters);
    let optimizer = Optimizer::new(&plan.optimizer, &parameters);
    Layout {
        slots: (0..parameters.len()).map(|index| optimizer.slots(index).to_vec()).collect(),
        averages: optimizer.averages(),
        states: named(&trainable.states),
        parameters,
    }
}

fn batch_report(batch: usize, fixed_bytes: usize, built: &StepGraph) -> BatchReport {
    let feeds = built.feeds.iter().map(|feed| feed.kind.size_bytes());
    let masks = built.masks.iter().map(|mask| elements(&mask.dims));
    let draws = built.draws.iter().map(|draw| elements(&draw.dims).saturating_mul(size_of::<f32>()));
    let constants = built.graph.initializers.iter().map(|(_, tensor)| tensor.bytes().len());
    let outputs = built.predictions.1.size_bytes();
    let batch_bytes = feeds.chain(masks).chain(draws).chain(constants).fold(outputs, usize::saturating_add);
    let total = fixed_bytes.saturating_add(batch_bytes).saturating_add(built.activation_bytes);
    BatchReport {
        batch,
        batch_bytes: Some(batch_bytes),
        activation_bytes: Some(built.activation_bytes),
        total_bytes: Some(total),
        problem: None,
    }
}
