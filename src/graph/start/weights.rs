//! Initial values from a safetensors file.

use super::super::model::Graph;
use super::super::tensor::{Dtype, Tensor, ValueType};
use crate::config::{Rename, WeightsPlan};
use safetensors::{Dtype as StoredDtype, SafeTensorError, SafeTensors};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Names that a message lists; the rest is counted.
const LISTED_NAMES: usize = 20;

/// What a checkpoint of this program holds besides weights, by the beginning of the names.
const NOT_WEIGHTS: [&str; 3] = ["optimizer/", "ema/", "trainer/"];

/// What a checkpoint of this program puts before the names of running statistics.
const STATE: &str = "state/";

/// What PyTorch keeps beside BatchNorm's statistics and nothing here reads.
const COUNTER: &str = "num_batches_tracked";

/// Why a file does not give a model its weights. The model is as it was.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// It can not be read.
    #[error("can not read the weights {}: check the path in `model.weights`", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// It is no safetensors file.
    #[error(
        "{} is no sound safetensors file: {source}; write it with `safetensors.torch.save_file(model.state_dict(), path)`",
        .path.display()
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: SafeTensorError,
    },
    /// Names that one side lacks.
    #[error(
        "{} and the model do not have the same names. {}; map names with `model.weights_names`, or accept the difference with \
         `model.weights_strict = false`",
        .path.display(), show(.missing, .unexpected)
    )]
    Names {
        /// The file.
        path: PathBuf,
        /// Of the model, and not in the file.
        missing: Vec<String>,
        /// Of the file, and not in the model.
        unexpected: Vec<String>,
    },
    /// A tensor of another shape.
    #[error(
        "{}: `{name}` has shape {found:?}, the model's `{initializer}` has {expected:?}; export the model with the sizes that the \
         weights have (`model.classes` replaces the last layer afterwards)",
        .path.display()
    )]
    Shape {
        /// The file.
        path: PathBuf,
        /// Name in the file.
        name: String,
        /// Name in the model.
        initializer: String,
        /// Shape in the file.
        found: Vec<usize>,
        /// Shape in the model.
        expected: Vec<usize>,
    },
    /// A tensor of another element type.
    #[error(
        "{}: `{name}` holds {found}, expected floats of 16, 32 or 64 bits; convert it (`tensor.float()`)",
        .path.display()
    )]
    ElementType {
        /// The file.
        path: PathBuf,
        /// Name in the file.
        name: String,
        /// The type found.
        found: String,
    },
    /// Two tensors under one name.
    #[error(
        "{}: `{first}` and `{second}` both become `{initializer}`; correct `model.weights_names`",
        .path.display()
    )]
    Twice {
        /// The file.
        path: PathBuf,
        /// One name in the file.
        first: String,
        /// The other.
        second: String,
        /// Name in the model.
        initializer: String,
    },
}

/// What a file gave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Initializers with new values.
    pub loaded: Vec<String>,
    /// Float initializers of one axis or more that the file does not have; they are as they were.
    pub missing: Vec<String>,
    /// Tensors of the file that the model does not have.
    pub unexpected: Vec<String>,
}

/// Gives the initializers of a model the values that a safetensors file has under their names, after the renaming.
///
/// # Errors
/// If the file can not be read, shapes or types differ, or names do and the plan is strict. The graph is then as it was.
pub fn load_weights(graph: &mut Graph, plan: &WeightsPlan) -> Result<Loaded, WeightsError> {
    let path = &plan.path;
    let io = |source| WeightsError::Io { path: path.clone(), source };
    // Opening a pipe would wait for a writer that may never come.
    if !std::fs::metadata(path).map_err(io)?.is_file() {
        return Err(io(std::io::Error::other("it is no regular file")));
    }
    let bytes = std::fs::read(path).map_err(io)?;
    let file = SafeTensors::deserialize(&bytes)
        .map_err(|source| WeightsError::Format { path: path.clone(), source })?;
    let mut result = Loaded::default();
    let mut values: BTreeMap<String, (String, Tensor)> = BTreeMap::new();
    let mut stored: Vec<_> = file.iter().collect();
    // By name, so that the same file gives the same message.
    stored.sort_by_key(|(name, _)| *name);
    for (stored, view) in stored {
        if NOT_WEIGHTS.iter().any(|beginning| stored.starts_with(beginning)) || stored.ends_with(COUNTER) {
            continue;
        }
        let name = renamed(stored.strip_prefix(STATE).unwrap_or(stored), &plan.names);
        let Some((_, initializer)) = graph.initializers.iter().find(|(known, _)| *known == name) else {
            result.unexpected.push(stored.to_owned());
            continue;
        };
        let kind = initializer.kind();
        if view.shape() != kind.dims {
            let (found, expected) = (view.shape().to_vec(), kind.dims.clone());
            let (path, name, initializer) = (path.clone(), stored.to_owned(), name);
            return Err(WeightsError::Shape { path, name, initializer, found, expected });
        }
        let tensor = converted(path, stored, view.dtype(), view.data(), kind)?;
        if let Some((first, _)) = values.insert(name.clone(), (stored.to_owned(), tensor)) {
            let (path, second) = (path.clone(), stored.to_owned());
            return Err(WeightsError::Twice { path, first, second, initializer: name });
        }
    }
    let is_expected = |tensor: &Tensor| tensor.dtype().is_float() && !tensor.dims().is_empty();
    let lacking =
        graph.initializers.iter().filter(|(name, tensor)| is_expected(tensor) && !values.contains_key(name));
    result.missing = lacking.map(|(name, _)| name.clone()).collect();
    result.unexpected.sort();
    if plan.strict && !(result.missing.is_empty() && result.unexpected.is_empty()) {
        let Loaded { missing, unexpected, .. } = result;
        return Err(WeightsError::Names { path: path.clone(), missing, unexpected });
    }
    for (name, tensor) in &mut graph.initializers {
        if let Some((_, loaded)) = values.remove(name) {
            *tensor = loaded;
            result.loaded.push(name.clone());
        }
    }
    Ok(result)
}

/// The name in the model of a tensor of the file: the first rule that matches decides, `*` standing for the same on both
/// sides.
fn renamed(name: &str, rules: &[Rename]) -> String {
    let applied = rules.iter().find_map(|rule| match rule.from.split_once('*') {
        None => (rule.from == name).then(|| rule.to.clone()),
        Some((before, after)) => {
            let middle = name.strip_prefix(before)?.strip_suffix(after)?;
            Some(rule.to.replacen('*', middle, 1))
        }
    });
    applied.unwrap_or_else(|| name.to_owned())
}

/// The values in the element type of the model's initializer.
fn converted(
    path: &Path,
    name: &str,
    stored: StoredDtype,
    bytes: &[u8],
    kind: &ValueType,
) -> Result<Tensor, WeightsError> {
    let refused = || WeightsError::ElementType {
        path: path.to_owned(),
        name: name.to_owned(),
        found: format!("{stored:?}"),
    };
    let dtype = match stored {
        StoredDtype::F32 => Dtype::F32,
        StoredDtype::F64 => Dtype::F64,
        StoredDtype::F16 => Dtype::F16,
        StoredDtype::BF16 => Dtype::Bf16,
        StoredDtype::I64 => Dtype::I64,
        _ => return Err(refused()),
    };
    let found = Tensor::new(ValueType::new(dtype, kind.dims.clone()), bytes.to_vec()).ok_or_else(refused)?;
    if dtype == kind.dtype {
        return Ok(found);
    }
    let values = found.to_f64().filter(|_| kind.dtype.is_float()).ok_or_else(refused)?;
    Ok(Tensor::from_f64(kind.dtype, kind.dims.clone(), &values))
}

fn show(missing: &[String], unexpected: &[String]) -> String {
    let list = |names: &[String], what: &str| {
        let mut quoted: Vec<String> =
            names.iter().take(LISTED_NAMES).map(|name| format!("`{name}`")).collect();
        if names.len() > LISTED_NAMES {
            quoted.push(format!("and {} more", names.len() - LISTED_NAMES));
        }
        (!names.is_empty()).then(|| format!("{what}: {}", quoted.join(", ")))
    };
    let both = [list(missing, "missing in the file"), list(unexpected, "unexpected in it")];
    both.into_iter().flatten().collect::<Vec<_>>().join("; ")
}
