//! From a plan to everything a run needs: data, model, graphs, engine. All mistakes that can be found before the first
//! step are found here.

use super::batching::{Batching, Portion, candidates};
use super::compile::{Recipe, Source, Wanted};
use super::targets;
use crate::config::{DataSource, MicroBatch, ModelSource, OnOom, Plan};
use crate::data::{
    BatchPlan, BatchPlanError, BindError, CheckError, DataLock, Dataset, Feed, Loader, OpenError, Role,
    Sampler,
};
use crate::engine::error::EngineError;
use crate::engine::library::Runtime;
use crate::engine::optimizer::matches_pattern;
use crate::engine::session::Place;
use crate::engine::step::{Engine, UpdateBy};
use crate::graph::builtin;
use crate::graph::model::Graph;
use crate::graph::read::{ReadError, read_file};
use crate::graph::step::{self, Excluded, StepError, Target, Trainable};
use crate::graph::tensor::{Dtype, ValueType, elements};
use crate::graph::write::to_bytes;
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
    /// The portions that the sessions were compiled for.
    pub batching: Batching,
    pub(super) recipe: Recipe,
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
/// `recorded` are the portions that the journal says, which go before those of the settings. Where memory runs out they
/// become smaller, if the settings allow that; [`Prepared::batching`] says what they have become.
///
/// # Errors
/// The first mistake found; see [`PrepareError`].
pub fn prepare(
    plan: Plan,
    runtime: &Runtime,
    place: Place,
    recorded: Option<Batching>,
) -> Result<Prepared, PrepareError> {
    let dataset = Dataset::open(&plan.data, plan.seed, Path::new("/"))?;
    let targets = targets::choose(&plan, &dataset)?;
    let graph = open_model(&plan, &dataset, targets.first())?;
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
    let recipe = Recipe::new(&dataset, &targets, runtime, place);
    let update = if place == Place::Cpu { UpdateBy::FusedLoop } else { UpdateBy::Session };
    let mut engine = Engine::new(runtime, place, update, &trainable, &plan.optimizer)?;
    let source = Source { plan: &plan, graph: &graph, trainable: &trainable };
    let examples = dataset.validation().map(|split| split.len());
    let (batching, feeds, validation) = compile(&recipe, &source, &mut engine, &sampler, examples, recorded)?;
    let train = Loader::bind(dataset.train(), &feeds.feeds)?;
    let validation = match (dataset.validation(), validation) {
        (Some(split), Some(sampler)) => Some((Loader::bind(split, &feeds.feeds)?, sampler)),
        _ => None,
    };
    for loader in std::iter::once(&train).chain(validation.as_ref().map(|(loader, _)| loader)) {
        loader.check_finite()?;
        targets::check(&plan, loader, &targets, &feeds.classes)?;
    }
    let names: Vec<String> = feeds.feeds.iter().map(|feed| feed.name.clone()).collect();
    let metric_target = targets.first().filter(|_| targets::first_is_compared(&plan));
    let is_target = |feed: &Feed| {
        feed.role == Role::Target && metric_target.is_some_and(|target| target.name == feed.name)
    };
    let is_to_be_found = recorded.is_none() && plan.train.micro_batch == MicroBatch::Auto;
    let mut prepared = Prepared {
        target_position: feeds.feeds.iter().position(is_target),
        model_crc32: crc32fast::hash(&to_bytes(&graph)),
        data_lock: dataset.lock().clone(),
        train: (train, sampler),
        validation,
        names,
        engine,
        batching,
        recipe,
        trainable,
        graph,
        plan,
    };
    if is_to_be_found {
        prepared.fit_micro_batch()?;
    }
    Ok(prepared)
}

/// Compiles everything in the portions wanted, or in smaller ones where memory runs out.
fn compile(
    recipe: &Recipe,
    source: &Source<'_>,
    engine: &mut Engine,
    sampler: &Sampler,
    validation_examples: Option<usize>,
    recorded: Option<Batching>,
) -> Result<(Batching, Wanted, Option<Sampler>), PrepareError> {
    let train = &source.plan.train;
    let (micro_batch, eval_batch) = Batching::of_plan(train);
    let smallest = candidates(train.batch_size).first().copied().unwrap_or(1);
    let mut batching =
        recorded.unwrap_or(Batching { micro_batch: micro_batch.unwrap_or(smallest), eval_batch });
    loop {
        engine.release_sessions();
        let mut portion = Portion::Training;
        let compiled =
            recipe.compile_training(source, engine, sampler, batching.micro_batch).and_then(|wanted| {
                portion = Portion::Evaluation;
                let Some(examples) = validation_examples else { return Ok((wanted, None)) };
                let plan = BatchPlan::new(examples, batching.eval_batch, false)?;
                let sampler = Sampler { plan, shuffle_seed: None };
                recipe.compile_evaluation(source, engine, &sampler)?;
                Ok((wanted, Some(sampler)))
            });
        match compiled {
            Ok((wanted, validation)) => return Ok((batching, wanted, validation)),
            // Where the largest is looked for, the smallest that the model can do is where the search begins.
            Err(error) if error.is_part_too_small() && recorded.is_none() && micro_batch.is_none() => {
                let larger =
                    candidates(train.batch_size).into_iter().find(|size| *size > batching.micro_batch);
                batching.micro_batch = larger.ok_or(error)?;
            }
            Err(error) if error.is_out_of_memory() && source.plan.memory.on_oom == OnOom::Shrink => {
                batching = batching.smaller(portion).ok_or(error)?;
            }
            Err(error) => return Err(error),
        }
    }
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
            Excluded::NoPathToLoss => log::warn!("`{name}` is not trained: the loss does not depend on it"),
            Excluded::ElementType(dtype) => {
                log::warn!("`{name}` is not trained: it is {dtype}, only float32 is trained")
            }
        }
    }
}
