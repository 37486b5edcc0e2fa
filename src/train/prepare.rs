//! From a plan to everything a run needs: data, model, graphs, engine. All mistakes that can be found before the first
//! step are found here.

use super::batching::{Batching, Portion, candidates};
use super::compile::{Recipe, Source, Wanted};
use super::{model, targets};
use crate::config::{MicroBatch, ModelPlan, ModelSource, OnOom, Plan};
use crate::data::{
    BatchPlan, BatchPlanError, BindError, CheckError, DataLock, Dataset, Loader, OpenError, Sampler,
};
use crate::engine::error::EngineError;
use crate::engine::library::Runtime;
use crate::engine::rounding;
use crate::engine::session::Place;
use crate::engine::step::{Engine, UpdateBy};
use crate::graph::inspect::silent_changes;
use crate::graph::model::Graph;
use crate::graph::precision::low_dtype;
use crate::graph::read::ReadError;
use crate::graph::recompute::Recomputed;
use crate::graph::start::{HeadError, WeightsError};
use crate::graph::step::{self, Excluded, NotFinite, StepError, Trainable};
use crate::graph::tensor::ValueType;
use crate::graph::write::Pieces;
use std::path::{Path, PathBuf};
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
    /// The model of this file and the settings do not fit.
    #[error("{}: {error}", path.display())]
    Model {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: StepError,
    },
    /// Parameters that are no numbers.
    #[error(
        "{}: parameter `{}` holds {} at element {}, expected finite numbers; if it is a mask or another table and no weight, freeze \
         it (`model.freeze = [\"{}\"]`), otherwise the model had diverged before it was exported",
        path.display(), found.name, found.value, found.element, found.name
    )]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The parameter.
        found: NotFinite,
    },
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
    /// Weights that do not fit.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A last layer that can not be replaced.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// A model that is to be checked and is not there.
    #[error("there is no ONNX file to check; name it behind `trainer check`, or in `model.onnx`")]
    NoFile,
    /// A pattern that names nothing.
    #[error("`{key}` has `{pattern}`, which matches no {what} of the model; it has {names}, ...")]
    Pattern {
        /// The setting.
        key: String,
        /// The pattern.
        pattern: String,
        /// Initializer, node.
        what: &'static str,
        /// The first of them.
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

impl PrepareError {
    /// The error with the name of the model's file, where it is about the model.
    #[must_use]
    pub fn of_model(self, source: &ModelSource) -> Self {
        match (self, source) {
            (Self::Step(error), ModelSource::Onnx(path)) => Self::Model { path: path.clone(), error },
            (other, _) => other,
        }
    }
}

/// Everything a run needs.
#[derive(Debug)]
pub struct Prepared {
    /// The settings.
    pub plan: Plan,
    /// The model as it was read, or built, with zeros as initial values of what is trained: those are in the engine.
    pub graph: Graph,
    /// What of it is trained, again with zeros.
    pub trainable: Trainable,
    /// What an exporter changed in the model without a trace in its results, in words. What is trained is then not what
    /// was meant.
    pub silent_changes: Vec<String>,
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
    /// Position of its mask among them.
    pub mask_position: Option<usize>,
    /// State and sessions.
    pub engine: Engine,
    /// The portions that the sessions were compiled for.
    pub batching: Batching,
    /// What is computed again in the backward pass, if anything is.
    pub recomputed: Option<Recomputed>,
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
    let source = plan.model.source.clone();
    prepare_all(plan, runtime, place, recorded).map_err(|error| error.of_model(&source))
}

fn prepare_all(
    plan: Plan,
    runtime: &Runtime,
    place: Place,
    recorded: Option<Batching>,
) -> Result<Prepared, PrepareError> {
    let dataset = Dataset::open(&plan.data, plan.seed, Path::new("/"))?;
    let targets = targets::choose(&plan, &dataset)?;
    let graph = model::open(&plan, &dataset, targets.first())?;
    model::check_patterns(&plan, &graph)?;
    let is_frozen = |name: &str| model::is_frozen(&plan.model, name);
    let trainable = step::trainable(&graph, &plan.loss, is_frozen)?;
    if let (ModelSource::Onnx(path), Some(found)) = (&plan.model.source, trainable.not_finite()) {
        return Err(PrepareError::NotFinite { path: path.clone(), found });
    }
    announce(&plan.model, &graph, &trainable);
    let sampler = Sampler {
        plan: BatchPlan::new(dataset.train().len(), plan.train.batch_size, plan.data.drop_last)?,
        shuffle_seed: plan.data.shuffle.then_some(plan.seed),
    };
    if let Some(low) = low_dtype(plan.train.precision).filter(|_| place == Place::Cpu) {
        rounding::check(runtime, low)?;
        log::info!(
            "on the CPU, training with {low} has the numbers of {low}, and is no faster than with float32"
        );
    }
    let recipe = Recipe::new(&dataset, &targets, runtime, place);
    let update = if place == Place::Cpu { UpdateBy::FusedLoop } else { UpdateBy::Session };
    let mut engine = Engine::new(runtime, place, update, &trainable, &plan.optimizer)?;
    let model_crc32 = Pieces::new(&graph).crc32();
    let silent_changes = match plan.model.source {
        ModelSource::Onnx(_) => silent_changes(&graph).into_iter().map(|warning| warning.message).collect(),
        ModelSource::Builtin(_) => Vec::new(),
    };
    // The engine has the initial values now, and nobody else needs them.
    let graph = graph.without_values_of(&trainable.names().collect());
    let trainable = trainable.without_values();
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
    let (target_position, mask_position) = targets::positions(&plan, &targets, &feeds.feeds);
    let is_to_be_found = recorded.is_none() && plan.train.micro_batch == MicroBatch::Auto;
    let mut prepared = Prepared {
        mask_position,
        target_position,
        model_crc32,
        silent_changes,
        data_lock: dataset.lock().clone(),
        train: (train, sampler),
        validation,
        names,
        engine,
        batching,
        recomputed: feeds.recomputed,
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

/// Says what is not trained and why; nothing is left out silently.
fn announce(plan: &ModelPlan, graph: &Graph, trainable: &Trainable) {
    let frozen_by =
        if plan.freeze.is_empty() { "`model.train` does not name it" } else { "`model.freeze` names it" };
    let count = trainable.parameters.len();
    log::debug!("training {count} tensors of `{}`, {} values", graph.name, trainable.parameter_elements());
    let names: Vec<&str> = trainable.parameters.iter().map(|(name, _)| name.as_str()).collect();
    log::debug!("trained, unless `model.freeze` names them: {}", names.join(", "));
    for (name, reason) in &trainable.excluded {
        match reason {
            Excluded::Frozen => log::info!("`{name}` is not trained: {frozen_by}"),
            Excluded::Scalar => log::debug!("`{name}` is not trained: it is a scalar constant"),
            Excluded::Buffer => log::info!("`{name}` is not trained: the file says that it is a buffer"),
            Excluded::Constant => log::debug!("`{name}` is not trained: the file says that it is a constant"),
            Excluded::Setting => log::debug!("`{name}` is not trained: operators read it as a setting"),
            Excluded::NoPathToLoss => log::warn!("`{name}` is not trained: the loss does not depend on it"),
            Excluded::ElementType(dtype) => {
                log::warn!("`{name}` is not trained: it is {dtype}, only float32 is trained")
            }
        }
    }
}
