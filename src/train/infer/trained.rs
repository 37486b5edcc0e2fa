//! A model as the settings describe it, and the values that a checkpoint has for it.

use super::chosen::Chosen;
use crate::config::{ModelSource, Plan};
use crate::data::Dataset;
use crate::engine::state::{Evaluates, TensorRole};
use crate::graph::inference_form::{rewrite, with_values};
use crate::graph::model::Graph;
use crate::graph::read::read_file;
use crate::graph::step::{self, Trainable};
use crate::graph::tensor::{Dtype, Tensor, ValueType};
use crate::graph::write::Pieces;
use crate::train::prepare::PrepareError;
use crate::train::saved::tensor_name;
use crate::train::{model, targets};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// A model as a graph of operators and values.
pub type Model = Graph;

/// The model of a run, with the values it began with until [`Self::with_state`] gives it others.
#[derive(Debug, Clone)]
pub struct Trained {
    /// The settings.
    pub plan: Plan,
    /// The model as a run starts with it.
    pub graph: Graph,
    /// What of it is trained.
    pub trainable: Trainable,
    /// CRC32 of the model with its initial weights, as a run journals it.
    pub model_crc32: u32,
}

/// Why a checkpoint does not give a model its values.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ValuesError {
    /// A tensor is missing or of another kind.
    #[error(
        "{} has no float32 tensor `{tensor}` of shape {shape:?}: it is of another model; give the settings that the run was started \
         with", path.display()
    )]
    Tensor {
        /// The checkpoint.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The shape wanted.
        shape: Vec<usize>,
    },
}

impl Trained {
    /// Opens the model of a plan. A builtin network has the form that its data ask for, so those are opened, too.
    ///
    /// # Errors
    /// As a run with this plan would be refused.
    pub fn open(plan: Plan) -> Result<Self, PrepareError> {
        let graph = match &plan.model.source {
            ModelSource::Onnx(path) => model::start(&plan, read_file(path)?)?,
            ModelSource::Builtin(_) => {
                let dataset = Dataset::open(&plan.data, plan.seed, Path::new("/"))?;
                return Self::of_data(plan, &dataset);
            }
        };
        Self::new(plan, graph)
    }

    /// The same, where the data of the plan are open already.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn of_data(plan: Plan, dataset: &Dataset) -> Result<Self, PrepareError> {
        let targets = targets::choose(&plan, dataset)?;
        let graph = model::open(&plan, dataset, targets.first())?;
        Self::new(plan, graph)
    }

    fn new(plan: Plan, graph: Graph) -> Result<Self, PrepareError> {
        model::check_patterns(&plan, &graph)?;
        let is_frozen = |name: &str| model::is_frozen(&plan.model, name);
        let trainable = step::trainable(&graph, &plan.loss, is_frozen)
            .map_err(|error| PrepareError::from(error).of_model(&plan.model.source))?;
        let model_crc32 = Pieces::new(&graph).crc32();
        Ok(Self { plan, graph, trainable, model_crc32 })
    }

    /// The model in its inference form with the values of a checkpoint: those of the parameters, or their moving averages
    /// where the settings have validation take them.
    ///
    /// # Errors
    /// If the checkpoint is of another model.
    pub fn with_state(&self, chosen: &Chosen) -> Result<Graph, ValuesError> {
        Ok(with_values(&self.graph, &self.values(chosen)?))
    }

    fn values(&self, chosen: &Chosen) -> Result<HashMap<String, Tensor>, ValuesError> {
        let mut values = HashMap::new();
        let takes_averages = Evaluates::of(&self.plan.optimizer) == Evaluates::Averages;
        for (name, initial) in &self.trainable.parameters {
            let average = tensor_name(&TensorRole::Average(name));
            let is_averaged = takes_averages && chosen.checkpoint.tensor(&average).is_some();
            let stored = if is_averaged { average } else { tensor_name(&TensorRole::Parameter(name)) };
            values.insert(name.clone(), value(chosen, stored, initial)?);
        }
        for (name, initial) in &self.trainable.states {
            let stored = tensor_name(&TensorRole::State(name));
            values.insert(name.clone(), value(chosen, stored, initial)?);
        }
        Ok(values)
    }
}

/// The model of a file in its inference form, with the values that it has there.
///
/// # Errors
/// If the file is no model.
pub fn inference_file(path: &Path) -> Result<Model, PrepareError> {
    Ok(rewrite(&read_file(path)?))
}

fn value(chosen: &Chosen, stored: String, initial: &Tensor) -> Result<Tensor, ValuesError> {
    let dims = initial.dims();
    let found = chosen
        .checkpoint
        .tensor(&stored)
        .filter(|found| found.shape.iter().map(|dim| *dim as usize).eq(dims.iter().copied()))
        .filter(|found| found.dtype == trainer_runtime::checkpoint::Dtype::F32)
        .and_then(|found| Tensor::new(ValueType::new(Dtype::F32, dims), found.bytes.to_vec()));
    let path = chosen.path.clone();
    found.ok_or_else(|| ValuesError::Tensor { path, tensor: stored, shape: dims.to_vec() })
}
