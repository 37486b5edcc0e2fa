//! The graphs of a run, built and compiled for the sizes in which batches are computed; again in other sizes when memory
//! runs out.

use super::batching::{Batching, part_sizes};
use super::prepare::{PrepareError, Prepared};
use crate::config::Plan;
use crate::data::{BatchPlan, Dataset, Feed, Role, Sampler, Split};
use crate::engine::error::{ErrorClass, is_out_of_memory};
use crate::engine::library::Runtime;
use crate::engine::oracle::RuntimeOracle;
use crate::engine::session::Place;
use crate::engine::step::Engine;
use crate::graph::emit::Processor;
use crate::graph::fold::FoldError;
use crate::graph::model::Graph;
use crate::graph::recompute::{Recompute, Recomputed};
use crate::graph::step::{self, StepError, StepGraph, StepSpec, Target, Trainable};
use crate::graph::tensor::Dtype;
use crate::graph::train_form::TrainFormError;

/// Name and shape per example of each input.
type Inputs = Vec<(String, Vec<usize>)>;

/// What the graphs depend on besides plan and model.
#[derive(Debug, Clone)]
pub(super) struct Recipe {
    runtime: Runtime,
    place: Place,
    inputs: Inputs,
    targets: Vec<Target>,
}

/// What the graphs want of the data.
pub(super) struct Wanted {
    pub(super) feeds: Vec<Feed>,
    /// Targets that hold labels, with the number of classes.
    pub(super) classes: Vec<(String, usize)>,
    /// What is computed again in the backward pass of the largest part, if anything is.
    pub(super) recomputed: Option<Recomputed>,
}

/// What a graph is built from.
pub(super) struct Source<'a> {
    pub(super) plan: &'a Plan,
    pub(super) graph: &'a Graph,
    pub(super) trainable: &'a Trainable,
}

impl Recipe {
    pub(super) fn new(dataset: &Dataset, targets: &[Target], runtime: &Runtime, place: Place) -> Self {
        Self { runtime: runtime.clone(), place, inputs: inputs(dataset.train()), targets: targets.to_vec() }
    }

    fn spec<'s>(&'s self, source: &Source<'s>, batch: usize, recompute: &'s Recompute) -> StepSpec<'s> {
        StepSpec {
            graph: source.graph,
            trainable: source.trainable,
            batch,
            inputs: &self.inputs,
            dimensions: &source.plan.model.dimensions,
            loss: &source.plan.loss,
            targets: &self.targets,
            recompute,
            processor: if self.place == Place::Cpu { Processor::Cpu } else { Processor::Gpu },
            precision: source.plan.train.precision,
        }
    }

    /// Compiles a training graph for each size that a part of a batch can have.
    pub(super) fn compile_training(
        &self,
        source: &Source<'_>,
        engine: &mut Engine,
        sampler: &Sampler,
        micro_batch: usize,
    ) -> Result<Wanted, PrepareError> {
        let oracle = RuntimeOracle::new(&self.runtime);
        let recompute = recompute(source, engine.layout().bytes());
        let mut wanted = None;
        for size in part_sizes(&sampler.plan, micro_batch) {
            let built = step::training(&self.spec(source, size, &recompute), &oracle)?;
            check_output(source, &built)?;
            for name in built.without_gradient.iter().filter(|_| wanted.is_none()) {
                log::warn!(
                    "`{name}` will not change: only operators without a gradient lead from it to the loss"
                );
            }
            if let Some(assignment) = built.assignment.as_ref().filter(|_| wanted.is_none()) {
                log::debug!("operators of the forward pass with {assignment}");
            }
            let recomputed =
                [wanted.as_ref().and_then(|wanted: &Wanted| wanted.recomputed), built.recomputed];
            let recomputed = recomputed.into_iter().flatten().max_by_key(|recomputed| recomputed.kept_bytes);
            wanted = Some(Wanted { feeds: data_feeds(&built), classes: built.classes.clone(), recomputed });
            engine.add_training(built, size)?;
        }
        wanted.ok_or(PrepareError::Batches(crate::data::BatchPlanError::NoExamples))
    }

    /// Compiles an evaluation graph for each size that a validation batch can have.
    pub(super) fn compile_evaluation(
        &self,
        source: &Source<'_>,
        engine: &mut Engine,
        sampler: &Sampler,
    ) -> Result<Wanted, PrepareError> {
        let oracle = RuntimeOracle::new(&self.runtime);
        let mut wanted = None;
        for size in part_sizes(&sampler.plan, usize::MAX) {
            let built = step::evaluation(&self.spec(source, size, &Recompute::Nothing), &oracle)?;
            check_output(source, &built)?;
            wanted =
                Some(Wanted { feeds: data_feeds(&built), classes: built.classes.clone(), recomputed: None });
            engine.add_evaluation(built, size)?;
        }
        wanted.ok_or(PrepareError::Batches(crate::data::BatchPlanError::NoExamples))
    }
}

impl Prepared {
    /// Compiles everything again for these portions. The sessions that are there are freed before, so that their memory
    /// is there for the new ones.
    ///
    /// # Errors
    /// If a graph can not be built or compiled. There are then no sessions, and this has to succeed with other portions
    /// before the next step.
    pub(super) fn rebuild(&mut self, batching: Batching) -> Result<(), PrepareError> {
        let Self { engine, recipe, plan, graph, trainable, validation, .. } = self;
        engine.release_sessions();
        let source = Source { plan, graph, trainable };
        let wanted = recipe.compile_training(&source, engine, &self.train.1, batching.micro_batch)?;
        self.recomputed = wanted.recomputed;
        if let Some((loader, sampler)) = validation {
            sampler.plan = BatchPlan::new(loader.len(), batching.eval_batch, false)?;
            recipe.compile_evaluation(&source, engine, sampler)?;
        }
        self.batching = batching;
        Ok(())
    }
}

impl PrepareError {
    /// Whether memory could not be had, so that smaller portions may succeed.
    #[must_use]
    pub fn is_out_of_memory(&self) -> bool {
        match self {
            Self::Engine(error) => error.class == ErrorClass::OutOfMemory,
            Self::Step(error) | Self::Model { error, .. } => match error {
                StepError::Fold(FoldError::Refused { source }) => is_out_of_memory(&source.message),
                _ => false,
            },
            _ => false,
        }
    }

    /// Whether a part of a batch is too small for the model: BatchNormalization has no variance of a single value.
    #[must_use]
    pub fn is_part_too_small(&self) -> bool {
        match self {
            Self::Step(error) | Self::Model { error, .. } => {
                matches!(error, StepError::TrainForm(TrainFormError::SingleValue { .. }))
            }
            _ => false,
        }
    }
}

/// What a step takes besides its batch and its activations: the state twice, since a step is computed into a second set
/// while a checkpoint holds the first, and the gradients.
pub(super) fn fixed_bytes(trainable: &Trainable, state_bytes: usize) -> usize {
    2 * state_bytes + trainable.parameter_elements() * size_of::<f32>()
}

/// Which activations are computed again. A budget is for them and for what is fixed.
pub(super) fn recompute(source: &Source<'_>, state_bytes: usize) -> Recompute {
    let memory = &source.plan.memory;
    if !memory.recompute.is_empty() {
        return Recompute::Nodes(memory.recompute.clone());
    }
    let Some(budget_mb) = memory.budget_mb else { return Recompute::Nothing };
    // A conversion of a float keeps within the range of the integer.
    let budget_bytes = (budget_mb * 1e6) as usize;
    let fixed_bytes = fixed_bytes(source.trainable, state_bytes);
    Recompute::ToFit { budget_bytes: budget_bytes.saturating_sub(fixed_bytes) }
}

fn inputs(split: &Split) -> Inputs {
    let inputs = split.arrays().filter(|array| array.role == Role::Input);
    inputs.map(|array| (array.name.clone(), array.shape.to_vec())).collect()
}

pub(super) fn check_output(source: &Source<'_>, built: &StepGraph) -> Result<(), PrepareError> {
    let kind = &built.predictions.1;
    if kind.dtype == Dtype::F32 {
        return Ok(());
    }
    let output = step::loss_output(source.graph, &source.plan.loss)?;
    Err(PrepareError::OutputType { output, found: kind.clone() })
}

fn data_feeds(built: &StepGraph) -> Vec<Feed> {
    let is_target = |feed: &step::Feed| feed.input == step::target_input(&feed.name);
    built
        .feeds
        .iter()
        .map(|feed| Feed {
            role: if is_target(feed) { Role::Target } else { Role::Input },
            name: feed.name.clone(),
            dtype: stored_dtype(feed.kind.dtype),
            shape: Some(feed.kind.dims.iter().skip(1).map(|dim| Some(*dim)).collect()),
        })
        .collect()
}

/// The element type in which data are handed over for an input of this type.
pub(super) fn stored_dtype(dtype: Dtype) -> crate::data::Dtype {
    match dtype {
        Dtype::F64 => crate::data::Dtype::F64,
        Dtype::I32 => crate::data::Dtype::I32,
        Dtype::I64 => crate::data::Dtype::I64,
        Dtype::U8 => crate::data::Dtype::U8,
        Dtype::Bool => crate::data::Dtype::Bool,
        // The engine refuses inputs of the other types when it allocates their tensors.
        _ => crate::data::Dtype::F32,
    }
}
