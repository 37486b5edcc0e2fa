//! Taking a run up again: the newest checkpoint that verifies, then the journal.

use super::event::Environment;
use super::history::{ComputedWith, History};
use super::keeper::Keeper;
use super::saved::{Saved, tensor_name};
use crate::config::{Class, ConfigError, Difference, Plan, differences, from_toml};
use crate::data::DataLock;
use crate::engine::error::EngineError;
use crate::engine::state::TensorRole;
use crate::engine::step::Engine;
use std::path::Path;
use thiserror::Error;
use trainer_runtime::RunId;
use trainer_runtime::checkpoint::{Checkpoint, ElementError, Name};
use trainer_runtime::codec::{self, DecodeError};
use trainer_runtime::keeper::{RecoverError, Recovery};

/// Why a run can not be taken up. Nothing was changed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ResumeError {
    /// The checkpoints can not be read, or none verifies.
    #[error(transparent)]
    Recover(#[from] RecoverError),
    /// A checkpoint of another run lies among those of this one.
    #[error(
        "checkpoint {name} is of run {found}, and the journal is of run {expected}: move the checkpoint out of the folder, or, to go on \
             from it, move the journal out of the work directory"
    )]
    Foreign {
        /// The checkpoint.
        name: Name,
        /// The run it says it is of.
        found: RunId,
        /// The run of the journal.
        expected: RunId,
    },
    /// Without a journal, the checkpoint alone tells which settings it was computed with.
    #[error(
        "the journal is gone, and checkpoint {name} was computed with other settings than these: give the settings of that run, or go \
             on with the new ones with `--allow-changed settings`"
    )]
    OtherSettings {
        /// The checkpoint.
        name: Name,
    },
    /// The opaque part of a checkpoint.
    #[error(
        "checkpoint {name}: its state can not be decoded: {source}; it was written by another version of this program"
    )]
    State {
        /// The checkpoint.
        name: Name,
        /// What is wrong.
        source: DecodeError,
    },
    /// A version of that part this program does not know.
    #[error(
        "checkpoint {name}: its state has version {found}, expected 1 to {expected}; use the version of the program that wrote it"
    )]
    Version {
        /// The checkpoint.
        name: Name,
        /// Found.
        found: u32,
        /// The newest version that is known.
        expected: u32,
    },
    /// A checkpoint of another model.
    #[error(
        "checkpoint {name} has no tensor `{tensor}` of shape {shape:?}: it is of another model; restore the model that the run started \
             with"
    )]
    Tensor {
        /// The checkpoint.
        name: Name,
        /// The tensor that is missing or has another shape.
        tensor: String,
        /// The shape wanted.
        shape: Vec<usize>,
    },
    /// A tensor of another element type.
    #[error(transparent)]
    Element(#[from] ElementError),
    /// The state can not be loaded.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// Finds the newest checkpoint that verifies; nothing is changed yet.
///
/// # Errors
/// If there are checkpoints and none verifies, or the newest is of another run.
pub fn newest_checkpoint(keeper: &Keeper) -> Result<Recovery, ResumeError> {
    let recovery = keeper.recover()?;
    if let Some((name, checkpoint)) = &recovery.newest {
        let (name, found, expected) = (*name, checkpoint.meta().run_id, keeper.run_id());
        if keeper.history.settings.is_some() && !keeper.is_of_this_run(found) {
            return Err(ResumeError::Foreign { name, found, expected });
        }
    }
    Ok(recovery)
}

/// What a checkpoint holds besides tensors.
///
/// # Errors
/// If another version of the program wrote it.
pub fn decode_saved(name: Name, checkpoint: &Checkpoint) -> Result<Saved, ResumeError> {
    let saved: Saved =
        codec::decode(checkpoint.state()).map_err(|source| ResumeError::State { name, source })?;
    if !saved.is_known() {
        return Err(ResumeError::Version { name, found: saved.version, expected: Saved::SCALED });
    }
    Ok(saved)
}

/// Loads a checkpoint into the engine and gives a line for each slot of the optimizer that the checkpoint does not have:
/// it starts at zero, as after a change of the optimizer.
///
/// # Errors
/// If the checkpoint is of another model.
pub fn load(engine: &mut Engine, name: Name, checkpoint: &Checkpoint) -> Result<Vec<String>, ResumeError> {
    let mut values: Vec<Option<Vec<f32>>> = Vec::new();
    let mut notices = Vec::new();
    for (role, dims) in engine.layout().tensors() {
        let wanted = tensor_name(&role);
        let found = checkpoint
            .tensor(&wanted)
            .filter(|found| found.shape.iter().map(|dim| *dim as usize).eq(dims.iter().copied()));
        match found {
            Some(found) => values.push(Some(found.to_vec::<f32>()?)),
            None if matches!(role, TensorRole::Slot(..)) && checkpoint.tensor(&wanted).is_none() => {
                notices.push(format!("`{wanted}` is not in {name}: it starts at zero"));
                values.push(None);
            }
            None if matches!(role, TensorRole::Average(_)) && checkpoint.tensor(&wanted).is_none() => {
                notices.push(format!("`{wanted}` is not in {name}: it starts as its parameter"));
                values.push(None);
            }
            None => return Err(ResumeError::Tensor { name, tensor: wanted, shape: dims.to_vec() }),
        }
    }
    engine.load(|index| values.get(index)?.as_deref())?;
    Ok(notices)
}

/// What differs between the run as it was recorded and as it is asked for now.
#[derive(Debug, Default)]
pub struct Changes {
    /// Settings.
    pub settings: Vec<Difference>,
    /// Data files, in words.
    pub data: Vec<String>,
    /// Model, in words.
    pub model: Option<String>,
    /// Library, device, program, in words.
    pub environment: Vec<String>,
    /// Whether the user accepts that steps computed again give other bits than recorded.
    pub accepts_other_bits: bool,
}

impl Changes {
    /// What differs in data, model and environment, in words.
    pub fn inputs(&self) -> impl Iterator<Item = &String> {
        self.data.iter().chain(&self.model).chain(&self.environment)
    }

    /// Whether the steps to come are computed in another way than the recorded ones were.
    #[must_use]
    pub fn affects_steps(&self) -> bool {
        let settings = self.settings.iter().any(|change| change.class != Class::Free);
        self.accepts_other_bits
            || settings
            || !self.data.is_empty()
            || self.model.is_some()
            || !self.environment.is_empty()
    }
}

/// Settings that differ from those in force when the run was last worked on.
///
/// # Errors
/// If the recorded settings are not ones that this program knows: another version wrote them.
pub fn changed_settings(history: &History, plan: &Plan) -> Result<Vec<Difference>, ConfigError> {
    let Some(text) = history.settings.as_deref() else { return Ok(Vec::new()) };
    Ok(differences(&from_toml(text, Path::new("the settings in the journal"))?.plan, plan))
}

/// What differs besides settings from what steps were computed with.
#[must_use]
pub fn changed_inputs(
    then: &ComputedWith,
    now: &DataLock,
    model_crc32: u32,
    environment: &Environment,
) -> Changes {
    Changes {
        data: changed_data(then.data_lock.as_deref(), now),
        model: changed_model(then.model_crc32, model_crc32),
        environment: changed_environment(then.environment.as_ref(), environment),
        ..Changes::default()
    }
}

/// Data files that differ from those that were recorded.
fn changed_data(recorded: Option<&str>, now: &DataLock) -> Vec<String> {
    let Some(text) = recorded else { return Vec::new() };
    match serde_json::from_str::<DataLock>(text) {
        Ok(recorded) => recorded.differences(now).iter().map(ToString::to_string).collect(),
        Err(error) => vec![format!("the recorded fingerprints of the data can not be read: {error}")],
    }
}

/// Whether another graph or other initial weights are used.
#[must_use]
pub fn changed_model(recorded: Option<u32>, crc32: u32) -> Option<String> {
    let recorded = recorded.filter(|recorded| *recorded != crc32)?;
    Some(format!("the model: CRC32 was {recorded:08x}, is {crc32:08x}"))
}

/// What computes otherwise than before.
fn changed_environment(then: Option<&Environment>, now: &Environment) -> Vec<String> {
    let Some(then) = then else { return Vec::new() };
    let pairs = [
        ("program version", then.program.clone(), now.program.clone()),
        ("ONNX Runtime version", then.onnxruntime.clone(), now.onnxruntime.clone()),
        ("device", then.device.clone(), now.device.clone()),
        ("threads", then.threads.to_string(), now.threads.to_string()),
    ];
    pairs
        .into_iter()
        .filter(|(_, was, is)| was != is)
        .map(|(what, was, is)| match what {
            "device" => format!("device: was {was}, is {is} (`--device {was}` asks for the old one)"),
            _ => format!("{what}: was {was}, is {is}"),
        })
        .collect()
}
