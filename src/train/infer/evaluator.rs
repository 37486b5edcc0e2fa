//! The worth of a saved state: loss and metrics on examples with targets, computed as the validation of a run does.

use super::chosen::Chosen;
use super::trained::Trained;
use crate::config::{
    DataPlan, DataSource, ImagesPlan, ModelSource, OptimizerKind, OptimizerPlan, Plan, TokensPlan,
};
use crate::data::{BatchPlan, Dataset, Loader, Sampler, Split};
use crate::engine::library::Runtime;
use crate::engine::session::Place;
use crate::engine::step::{Engine, UpdateBy};
use crate::train::compile::{Recipe, Source};
use crate::train::evaluate::{EvaluateError, Matrix, Measured, Subject};
use crate::train::prepare::PrepareError;
use crate::train::resume::{self, ResumeError};
use crate::train::targets;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Which part of the data of a run is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartOfData {
    /// What the model is trained on, in the order of the files and with nothing drawn.
    Train,
    /// What it is measured on.
    Validation,
}

/// The examples that a state is evaluated on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Examples {
    /// Those of the settings.
    OfSettings(PartOfData),
    /// Those of another file, or folder of images, whose arrays are called as in the settings.
    Of(PathBuf),
}

/// Why a state can not be evaluated.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Model, data and settings do not fit.
    #[error(transparent)]
    Prepare(Box<PrepareError>),
    /// The settings name no validation data.
    #[error(
        "the settings name no validation data; give some with `--data FILE`, or evaluate what was trained on with `--split train`"
    )]
    NoValidation,
}

impl From<PrepareError> for OpenError {
    fn from(error: PrepareError) -> Self {
        Self::Prepare(Box::new(error))
    }
}

/// A model that is ready to be evaluated on its examples.
#[derive(Debug)]
pub struct Evaluator {
    /// The settings.
    pub plan: Plan,
    /// CRC32 of the model with its initial weights, as a run journals it.
    pub model_crc32: u32,
    engine: Engine,
    examples: (Loader, Sampler),
    names: Vec<String>,
    target_position: Option<usize>,
    mask_position: Option<usize>,
}

impl Evaluator {
    /// Opens model and data, and compiles what evaluates them in batches of `eval_batch`; in smaller ones where memory
    /// runs out.
    ///
    /// # Errors
    /// As a run with these settings would be refused, and if there are no such examples.
    pub fn open(
        plan: Plan,
        examples: &Examples,
        eval_batch: usize,
        runtime: &Runtime,
        place: Place,
    ) -> Result<Self, OpenError> {
        let source = plan.model.source.clone();
        let mut eval_batch = eval_batch.max(1);
        let open_data =
            |plan: &DataPlan, seed| Dataset::open(plan, seed, Path::new("/")).map_err(PrepareError::from);
        let own = match (examples, &plan.model.source) {
            (Examples::Of(_), ModelSource::Onnx(_)) => None,
            // The form of a builtin network follows from the data that it was trained on.
            _ => Some(open_data(&plan.data, plan.seed)?),
        };
        let trained = match &own {
            Some(own) => Trained::of_data(plan, own),
            None => Trained::open(plan),
        };
        let trained = trained.map_err(|error| error.of_model(&source))?;
        let other = match examples {
            Examples::Of(path) => Some(open_data(&with_data(&trained.plan.data, path), trained.plan.seed)?),
            Examples::OfSettings(_) => None,
        };
        let dataset = other.or(own).expect("without a file the data of the settings were opened");
        let split = match examples {
            Examples::OfSettings(PartOfData::Validation) => {
                dataset.validation().cloned().ok_or(OpenError::NoValidation)?
            }
            Examples::OfSettings(PartOfData::Train) => dataset.train().undrawn(),
            Examples::Of(_) => dataset.validation().cloned().unwrap_or_else(|| dataset.train().undrawn()),
        };
        loop {
            match Self::compile(&trained, &dataset, &split, eval_batch, runtime, place) {
                Err(error) if error.is_out_of_memory() && eval_batch > 1 => {
                    eval_batch = eval_batch.div_ceil(2);
                    log::info!("memory ran out; evaluating in batches of {eval_batch}");
                }
                other => return Ok(other.map_err(|error| error.of_model(&source))?),
            }
        }
    }

    fn compile(
        trained: &Trained,
        dataset: &Dataset,
        split: &Split,
        eval_batch: usize,
        runtime: &Runtime,
        place: Place,
    ) -> Result<Self, PrepareError> {
        let Trained { plan, graph, trainable, model_crc32 } = trained;
        let targets = targets::choose(plan, dataset)?;
        let recipe = Recipe::new(dataset, &targets, runtime, place);
        let mut engine =
            Engine::new(runtime, place, UpdateBy::FusedLoop, trainable, &without_slots(&plan.optimizer))?;
        let sampler = Sampler { plan: BatchPlan::new(split.len(), eval_batch, false)?, shuffle_seed: None };
        let source = Source { plan, graph, trainable };
        let wanted = recipe.compile_evaluation(&source, &mut engine, &sampler)?;
        let loader = Loader::bind(split, &wanted.feeds)?;
        loader.check_finite()?;
        targets::check(plan, &loader, &targets, &wanted.classes)?;
        let (target_position, mask_position) = targets::positions(plan, &targets, &wanted.feeds);
        Ok(Self {
            plan: plan.clone(),
            model_crc32: *model_crc32,
            engine,
            examples: (loader, sampler),
            names: wanted.feeds.into_iter().map(|feed| feed.name).collect(),
            target_position,
            mask_position,
        })
    }

    /// Takes the state of a checkpoint, and gives a line for each moving average that it does not have.
    ///
    /// # Errors
    /// If the checkpoint is of another model.
    pub fn load(&mut self, chosen: &Chosen) -> Result<Vec<String>, ResumeError> {
        resume::load(&mut self.engine, chosen.name(), &chosen.checkpoint)
    }

    /// How many examples there are.
    #[must_use]
    pub fn examples(&self) -> usize {
        self.examples.0.len()
    }

    /// Most examples of a batch.
    #[must_use]
    pub fn eval_batch(&self) -> usize {
        self.examples.1.plan.batch_size()
    }

    /// Loss, the metrics of the settings, and the confusion matrix.
    ///
    /// # Errors
    /// If reading or computing fails.
    pub fn measure(&mut self) -> Result<Measured, EvaluateError> {
        let Self { engine, plan, examples, names, target_position, mask_position, .. } = self;
        let (target_position, mask_position) = (*target_position, *mask_position);
        let examples = examples.clone();
        let subject = Subject { engine, loss: &plan.loss, examples, names, target_position, mask_position };
        subject.measure(&plan.metrics, Matrix::Wanted)
    }
}

/// An optimizer that keeps nothing but the moving averages that evaluation takes: nothing is updated.
fn without_slots(plan: &OptimizerPlan) -> OptimizerPlan {
    let kind = OptimizerKind::Sgd { momentum: 0.0, dampening: 0.0, nesterov: false };
    OptimizerPlan { ema: plan.ema.filter(|ema| ema.is_used), ..OptimizerPlan::new(kind, plan.lr) }
}

/// The data of the settings with the examples of another file in their place.
fn with_data(plan: &DataPlan, path: &Path) -> DataPlan {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut plan = DataPlan { validation_fraction: None, ..plan.clone() };
    plan.source = match plan.source {
        // Classes are numbered by the folders of the training images, so those stay.
        DataSource::Images(images) => DataSource::Images(ImagesPlan { validation: Some(path), ..images }),
        DataSource::Tokens(tokens) => DataSource::Tokens(TokensPlan {
            train: path,
            validation: None,
            windows_per_epoch: None,
            ..tokens
        }),
        DataSource::Digits | DataSource::Files { .. } => {
            for map in plan.inputs.values_mut().chain(plan.targets.values_mut()) {
                (map.file, map.validation_file) = (None, None);
            }
            DataSource::Files { train: Some(path), validation: None }
        }
    };
    plan
}
