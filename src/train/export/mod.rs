//! The trained model as an ONNX file for inference, in other forms of that, and its weights alone.
//!
//! Belongs here: what is in these files, and that no form of a model computes something else. Does not belong here: how
//! graphs are rewritten (`graph`), finding the state that is exported (`infer`).

mod compare;
mod model;
mod sample;
mod weights;

pub use compare::{Compared, OutputDifference};
pub use model::{ConvertError, Converted, Wanted, converted};
pub use weights::{Bits, Weights, WeightsError, weights};

use crate::engine::state::{StateSet, TensorRole};
use crate::engine::step::Evaluates;
use crate::graph::inference_form::rewrite;
use crate::graph::model::Graph;
use crate::graph::write::{MAX_BYTES, Pieces};
use crate::train::prepare::Prepared;
use std::collections::HashMap;
use std::path::Path;
use thiserror::Error;
use trainer_runtime::atomic_file::{self, Folder};
use trainer_runtime::disk::{Disk, DiskError};

/// Name of the exported model in a work directory.
pub const FILE_NAME: &str = "model.onnx";

/// Why the model was not exported.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ExportError {
    /// It could not be stored.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// It does not fit into one ONNX file.
    #[error(
        "the trained model has {bytes} bytes, more than the 2 GiB that one ONNX file can hold; its weights are in the checkpoints, \
             as safetensors"
    )]
    TooLarge {
        /// Size of the file it would be.
        bytes: usize,
    },
}

/// Writes the model with the parameters of `state`, or their moving averages by the settings, and its running statistics: no dropout, running statistics in
/// BatchNormalization, free dimensions free again.
///
/// # Errors
/// If the model is too large or can not be stored.
pub fn export(
    prepared: &Prepared,
    state: &StateSet,
    disk: &dyn Disk,
    path: &Path,
) -> Result<(), ExportError> {
    let evaluates = Evaluates::of(&prepared.plan.optimizer);
    let mut values = HashMap::new();
    for ((role, _), slice) in prepared.engine.layout().tensors().zip(state.host_slices()) {
        let name = match (role, evaluates) {
            (TensorRole::Parameter(name), Evaluates::Parameters)
            | (TensorRole::Average(name), Evaluates::Averages)
            | (TensorRole::State(name), _) => name,
            _ => continue,
        };
        values.insert(name, bytemuck::cast_slice(slice));
    }
    let graph = rewrite(&prepared.graph);
    let pieces = checked(Pieces::with_values(&graph, &values))?;
    Ok(atomic_file::write_pieces(disk, path, &pieces.all(), Folder::Ours)?)
}

/// Writes a model as an ONNX file that a user named, whole or not at all, and gives its size in bytes.
///
/// # Errors
/// If the model is too large or can not be stored.
pub fn write(graph: &Graph, disk: &dyn Disk, path: &Path) -> Result<usize, ExportError> {
    let pieces = checked(Pieces::new(graph))?;
    atomic_file::write_pieces(disk, path, &pieces.all(), Folder::OfUsers)?;
    Ok(pieces.len_bytes())
}

fn checked(pieces: Pieces<'_>) -> Result<Pieces<'_>, ExportError> {
    match pieces.len_bytes() {
        ..=MAX_BYTES => Ok(pieces),
        bytes => Err(ExportError::TooLarge { bytes }),
    }
}
