//! From a plan to everything a run needs: data, model, graphs, engine. All mistakes that can be found before the first
//! step are found here.

use crate::config::{DataSource, LossKind, ModelSource, Plan};
use crate::data::{
    BatchPlan, BatchPlanError, BindError, CheckError, DataLock, Dataset, Feed, HostArray, Loader, OpenError,
    Role, Sampler, Split,
};
use crate::engine::error::EngineError;
use crate::engine::library::Runtime;
use crate::engine::optimizer::matches_pattern;
use crate::engine::oracle::RuntimeOracle;
use crate::engine::session::Place;
use crate::engine::step::{Engine, UpdateBy};
use crate::graph::builtin;
use crate::graph::emit::Processor;
use crate::graph::loss::Ignored;
use crate::graph::model::Graph;
use crate::graph::read::{ReadError, read_file};
use crate::graph::step::{self, Excluded, StepError, StepGraph, StepSpec, Target, Trainable};
use crate::graph::tensor::{Dtype, ValueType, elements};
use crate::graph::write::to_bytes;
use std::collections::BTreeSet;
use std::path::Path;
use thiserror::Error;

/// Why a run can not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PrepareError {
    /// Data files.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The model file.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Model and settings do not fit.
    #[error(transparent)]
    Step(#[from] StepError),
    /// Data and model do not fit.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// Values in the data.
    #[error(transparent)]
    Check(#[from] CheckError),
    /// Batches.
    #[error(transparent)]
    Batches(#[from] BatchPlanError),
    /// ONNX Runtime.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A pattern that names nothing.
    #[error("`model.freeze` has `{pattern}`, which matches no initializer of the model; it has {names}, ...")]
    Freeze {
        /// The pattern.
        pattern: String,
        /// The first initializers.
        names: String,
    },
    /// A target that the settings name and the data do not have, or none where one is needed.
    #[error(
        "the loss needs one target, found {found}; name it with `loss.target`, or give one under `[data.targets]`"
    )]
    Target {
        /// What there is.
        found: String,
    },
    /// A builtin network for data that do not say how many outputs it needs.
    #[error(
        "the builtin networks need integer labels from 0 for `cross_entropy` or a target of known shape, found {found}; set \
             `model.onnx` to bring a model of your own"
    )]
    Outputs {
        /// What there is.
        found: String,
    },
    /// A builtin network with several inputs.
    #[error(
        "the builtin networks take one input, found {found} under `[data.inputs]`; set `model.onnx` to bring a model of your own"
    )]
    Inputs {
        /// How many there are.
        found: usize,
    },
    /// A loss read from an output that is not 32-bit float.
    #[error("output `{output}` of the model is {found}, expected float32; export the model in float32")]
    OutputType {
        /// The output.
        output: String,
        /// Its type.
        found: ValueType,
    },
}

/// Everything a run needs.
#[derive(Debug)]
pub struct Prepared {
    /// The settings.
    pub plan: Plan,
    /// The model as it was read, or built.
    pub graph: Graph,
    /// What of it is trained.
    pub trainable: Trainable,
    /// CRC32 of the model with its initial weights.
    pub model_crc32: u32,
    /// Fingerprints of the data files.
    pub data_lock: DataLock,
    /// Training data.
    pub train: (Loader, Sampler),
    /// Validation data.
    pub validation: Option<(Loader, Sampler)>,
    /// Names of the arrays in a batch, in their order.
    pub names: Vec<String>,
    /// Position of the loss's target among them.
    pub target_position: Option<usize>,
    /// State and sessions.
    pub engine: Engine,
}

impl Prepared {
    /// Batches of an epoch.
    #[must_use]
    pub fn batches_per_epoch(&self) -> u64 {
        self.train.1.plan.batches()
    }
}

/// Opens data and model, builds all graphs and compiles them.
///
/// # Errors
/// The first mistake found; see [`PrepareError`].
pub fn prepare(plan: Plan, runtime: &Runtime, place: Place) -> Result<Prepared, PrepareError> {
    let dataset = Dataset::open(&plan.data, plan.seed, Path::new("/"))?;
    let target = choose_target(&plan, &dataset)?;
    let graph = open_model(&plan, &dataset, target.as_ref())?;
    let matches_none =
        |pattern: &&String| !graph.initializers.iter().any(|(name, _)| matches_pattern(pattern, name));
    if let Some(pattern) = plan.model.freeze.iter().find(matches_none) {
        let names: Vec<String> =
            graph.initializers.iter().take(8).map(|(name, _)| format!("`{name}`")).collect();
        return Err(PrepareError::Freeze { pattern: pattern.clone(), names: names.join(", ") });
    }
    if let Some(pattern) = plan.optimizer.no_decay.iter().find(matches_none) {
        log::warn!("`optimizer.no_decay` has `{pattern}`, which matches no initializer of the model");
    }
    let is_frozen = |name: &str| plan.model.freeze.iter().any(|pattern| matches_pattern(pattern, name));
    let trainable = step::trainable(&graph, &plan.loss, is_frozen)?;
    announce(&graph, &trainable);
    let sampler = Sampler {
        plan: BatchPlan::new(dataset.train().len(), plan.train.batch_size, plan.data.drop_last)?,
        shuffle_seed: plan.data.shuffle.then_some(plan.seed),
    };
    let mut builder = Builder {
        plan: &plan,
        dataset: &dataset,
        graph: &graph,
        trainable: &trainable,
        target: target.as_ref(),
        runtime,
        place,
    };
    let update = if place == Place::Cpu { UpdateBy::FusedLoop } else { UpdateBy::Session };
    let mut engine = Engine::new(runtime, place, update, &trainable, &plan.optimizer)?;
    let feeds = builder.compile_training(&mut engine, &sampler)?;
    let train = Loader::bind(dataset.train(), &feeds.feeds)?;
    let validation = match dataset.validation() {
        None => None,
        Some(split) => Some(builder.compile_evaluation(&mut engine, split, &feeds)?),
    };
    for loader in std::iter::once(&train).chain(validation.as_ref().map(|(loader, _)| loader)) {
        loader.check_finite()?;
        if let (LossKind::BceWithLogits, Some(target)) = (plan.loss.kind, &target) {
            loader.check_probabilities(&target.name)?;
        }
        if let (LossKind::CrossEntropy, Some(target)) =
            (plan.loss.kind, target.as_ref().filter(|t| t.dtype == Dtype::I64))
        {
            let classes = feeds.predictions.dims.get(1).copied().unwrap_or(0);
            loader.check_labels(&target.name, classes, plan.loss.ignore_index)?;
        }
    }
    let names: Vec<String> = feeds.feeds.iter().map(|feed| feed.name.clone()).collect();
    let is_target = |feed: &Feed| {
        feed.role == Role::Target && target.as_ref().is_some_and(|target| target.name == feed.name)
    };
    Ok(Prepared {
        target_position: feeds.feeds.iter().position(is_target),
        model_crc32: crc32fast::hash(&to_bytes(&graph)),
        data_lock: dataset.lock().clone(),
        train: (train, sampler),
        validation,
        names,
        engine,
        trainable,
        graph,
        plan,
    })
}

/// Which target the loss takes, and whether it holds class labels.
fn choose_target(plan: &Plan, dataset: &Dataset) -> Result<Option<Target>, PrepareError> {
    if plan.loss.kind == LossKind::Output {
        return Ok(None);
    }
    let targets: Vec<_> = dataset.train().arrays().filter(|array| array.role == Role::Target).collect();
    let chosen = match (&plan.loss.target, targets.as_slice()) {
        (Some(name), targets) => targets.iter().find(|array| array.name == *name),
        (None, [only]) => Some(only),
        (None, _) => None,
    };
    let array = chosen.ok_or_else(|| {
        let names: Vec<String> = targets.iter().map(|array| format!("`{}`", array.name)).collect();
        let found = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        PrepareError::Target { found }
    })?;
    let labels = plan.loss.kind == LossKind::CrossEntropy && !array.dtype.is_float();
    Ok(Some(Target { name: array.name.clone(), dtype: if labels { Dtype::I64 } else { Dtype::F32 } }))
}

fn open_model(plan: &Plan, dataset: &Dataset, target: Option<&Target>) -> Result<Graph, PrepareError> {
    let kind = match &plan.model.source {
        ModelSource::Onnx(path) => return Ok(read_file(path)?),
        ModelSource::Builtin(kind) => *kind,
    };
    let inputs: Vec<_> = dataset.train().arrays().filter(|array| array.role == Role::Input).collect();
    let [input] = inputs.as_slice() else { return Err(PrepareError::Inputs { found: inputs.len() }) };
    let outputs = match (&plan.data.source, target) {
        (DataSource::Digits, _) => 10,
        (_, Some(target)) if target.dtype == Dtype::I64 => {
            let largest = dataset.largest_label(&target.name);
            let classes = largest.and_then(|label| usize::try_from(label).ok()).map(|label| label + 1);
            classes
                .ok_or_else(|| PrepareError::Outputs { found: format!("{largest:?} as the largest label") })?
        }
        (_, Some(target)) => {
            let array = dataset
                .train()
                .arrays()
                .find(|array| array.name == target.name && array.role == Role::Target);
            array.map_or(1, |array| elements(&array.shape))
        }
        (_, None) => return Err(PrepareError::Outputs { found: "no target".to_owned() }),
    };
    Ok(builtin::build(kind, &input.name, &input.shape, outputs, plan.seed))
}

/// Says what is not trained and why; nothing is left out silently.
fn announce(graph: &Graph, trainable: &Trainable) {
    let count = trainable.parameters.len();
    log::debug!("training {count} tensors of `{}`, {} values", graph.name, trainable.parameter_elements());
    let names: Vec<&str> = trainable.parameters.iter().map(|(name, _)| name.as_str()).collect();
    log::debug!("trained, unless `model.freeze` names them: {}", names.join(", "));
    for (name, reason) in &trainable.excluded {
        match reason {
            Excluded::Frozen => log::info!("`{name}` is not trained: `model.freeze` names it"),
            Excluded::Scalar => log::debug!("`{name}` is not trained: it is a scalar constant"),
            Excluded::Setting => log::debug!("`{name}` is not trained: operators read it as a setting"),
            Excluded::NoPathToLoss => log::warn!("`{name}` is not trained: the loss does not depend on it"),
            Excluded::ElementType(dtype) => {
                log::warn!("`{name}` is not trained: it is {dtype}, only float32 is trained")
            }
        }
    }
}

/// What the graphs want of the data.
struct Wanted {
    feeds: Vec<Feed>,
    predictions: ValueType,
}

struct Builder<'a> {
    plan: &'a Plan,
    dataset: &'a Dataset,
    graph: &'a Graph,
    trainable: &'a Trainable,
    target: Option<&'a Target>,
    runtime: &'a Runtime,
    place: Place,
}

impl Builder<'_> {
    fn with_spec<T>(&self, batch: usize, split: &Split, build: impl FnOnce(&StepSpec<'_>) -> T) -> T {
        let inputs: Vec<(String, Vec<usize>)> = split
            .arrays()
            .filter(|array| array.role == Role::Input)
            .map(|array| (array.name.clone(), array.shape.to_vec()))
            .collect();
        let labels = self.target.filter(|target| target.dtype == Dtype::I64);
        let ignore_index = self.plan.loss.ignore_index;
        let possible = labels.is_some_and(|target| self.dataset.holds_label(&target.name, ignore_index));
        build(&StepSpec {
            graph: self.graph,
            trainable: self.trainable,
            batch,
            inputs: &inputs,
            dimensions: &self.plan.model.dimensions,
            loss: &self.plan.loss,
            target: self.target,
            ignored: if possible { Ignored::Possible } else { Ignored::Never },
            processor: if self.place == Place::Cpu { Processor::Cpu } else { Processor::Gpu },
        })
    }

    /// Compiles a training graph for each size that a part of a batch can have.
    fn compile_training(&mut self, engine: &mut Engine, sampler: &Sampler) -> Result<Wanted, PrepareError> {
        let oracle = RuntimeOracle::new(self.runtime);
        let mut wanted = None;
        for size in part_sizes(&sampler.plan, self.plan.train.micro_batch) {
            let built = self.with_spec(size, self.dataset.train(), |spec| step::training(spec, &oracle))?;
            self.check_output(&built)?;
            for name in built.without_gradient.iter().filter(|_| wanted.is_none()) {
                log::warn!(
                    "`{name}` will not change: only operators without a gradient lead from it to the loss"
                );
            }
            wanted = Some(Wanted {
                feeds: data_feeds(&built, self.target),
                predictions: built.predictions.1.clone(),
            });
            engine.add_training(built, size)?;
        }
        wanted.ok_or(PrepareError::Batches(BatchPlanError::NoExamples))
    }

    fn compile_evaluation(
        &mut self,
        engine: &mut Engine,
        split: &Split,
        wanted: &Wanted,
    ) -> Result<(Loader, Sampler), PrepareError> {
        let oracle = RuntimeOracle::new(self.runtime);
        let size = self.plan.train.eval_batch_size.unwrap_or(self.plan.train.batch_size);
        let sampler = Sampler { plan: BatchPlan::new(split.len(), size, false)?, shuffle_seed: None };
        for size in part_sizes(&sampler.plan, None) {
            let built = self.with_spec(size, split, |spec| step::evaluation(spec, &oracle))?;
            engine.add_evaluation(built, size)?;
        }
        Ok((Loader::bind(split, &wanted.feeds)?, sampler))
    }

    fn check_output(&self, built: &StepGraph) -> Result<(), PrepareError> {
        let kind = &built.predictions.1;
        if kind.dtype == Dtype::F32 {
            return Ok(());
        }
        let output = step::loss_output(self.graph, &self.plan.loss)?;
        Err(PrepareError::OutputType { output, found: kind.clone() })
    }
}

fn data_feeds(built: &StepGraph, target: Option<&Target>) -> Vec<Feed> {
    let is_target =
        |feed: &step::Feed| feed.input != feed.name && target.is_some_and(|target| target.name == feed.name);
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
fn stored_dtype(dtype: Dtype) -> crate::data::Dtype {
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

/// The sizes of the parts in which batches are computed, the largest first.
fn part_sizes(plan: &BatchPlan, micro_batch: Option<usize>) -> Vec<usize> {
    let last = plan.batches().saturating_sub(1);
    let mut sizes = BTreeSet::new();
    for batch in [plan.size_of(0), plan.size_of(last)] {
        sizes.extend(parts(batch, micro_batch).into_iter().map(|part| part.len()));
    }
    sizes.into_iter().rev().collect()
}

/// The ranges of examples in which a batch of this size is computed.
#[must_use]
pub fn parts(batch: usize, micro_batch: Option<usize>) -> Vec<std::ops::Range<usize>> {
    let size = micro_batch.unwrap_or(batch).clamp(1, batch.max(1));
    (0..batch).step_by(size).map(|start| start..(start + size).min(batch)).collect()
}

/// Some of the examples of a batch.
#[must_use]
pub fn take_part(arrays: &[HostArray], range: &std::ops::Range<usize>) -> Vec<HostArray> {
    arrays.iter().map(|array| array.part(range)).collect()
}

#[cfg(test)]
mod tests {
    use super::parts;

    #[test]
    fn a_batch_is_cut_into_micro_batches_with_the_rest_at_the_end() {
        assert_eq!(parts(10, Some(4)), [0..4, 4..8, 8..10]);
        assert_eq!(parts(8, Some(4)), [0..4, 4..8]);
        for (whole, size) in [(parts(3, Some(4)), 3), (parts(5, None), 5)] {
            assert_eq!(whole, std::slice::from_ref(&(0..size)));
        }
    }
}
