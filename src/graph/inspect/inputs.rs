//! The inputs of a model as data would feed them, for a model without data.

use crate::graph::model::{Dim, Graph};
use std::collections::BTreeMap;
use thiserror::Error;

/// The size that is assumed for a free dimension of which nothing is known. Small enough for a first look, and large enough
/// for an image that is halved five times.
pub const ASSUMED_SIZE: usize = 64;

/// Why no data can feed a model.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InputsError {
    /// Not even the number of dimensions is known.
    #[error(
        "input `{input}` has no shape, expected one whose first dimension is the batch; export the model with shapes"
    )]
    NoShape {
        /// The input.
        input: String,
    },
    /// A scalar has no axis for the examples.
    #[error(
        "input `{input}` is a scalar, expected a first dimension that is the batch; export the model with its value as a constant"
    )]
    Scalar {
        /// The input.
        input: String,
    },
    /// Inputs that want different numbers of examples.
    #[error(
        "the first dimension of input `{first}` is {first_size} and that of `{second}` is {second_size}, expected the same batch in \
         both; export the model with a dynamic batch axis first in every input"
    )]
    Batches {
        /// An input.
        first: String,
        /// Its first dimension.
        first_size: usize,
        /// Another one.
        second: String,
        /// Its first dimension.
        second_size: usize,
    },
}

/// The inputs of a model with a size for each dimension but the batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Probe {
    /// Name and dimensions behind the batch; `None` is as large as the batch.
    inputs: Vec<(String, Vec<Option<usize>>)>,
    /// The only batch size that the model takes, if it takes only one.
    pub fixed_batch: Option<usize>,
    /// Symbolic name of the batch dimension, if it has one.
    pub batch_symbol: Option<String>,
    /// Free dimensions whose size was assumed: symbolic name, or input and axis, as `x[2]`.
    pub assumed: Vec<String>,
}

impl Probe {
    /// Name and dimensions per example of each input.
    #[must_use]
    pub fn inputs(&self, batch: usize) -> Vec<(String, Vec<usize>)> {
        let sized = |dims: &[Option<usize>]| dims.iter().map(|dim| dim.unwrap_or(batch)).collect();
        self.inputs.iter().map(|(name, dims)| (name.clone(), sized(dims))).collect()
    }
}

/// The inputs of `graph`, with free dimensions as large as `dimensions` says, or else as assumed.
///
/// # Errors
/// If no batch of examples can be fed; see [`InputsError`].
pub fn probe(graph: &Graph, dimensions: &BTreeMap<String, u64>) -> Result<Probe, InputsError> {
    let given = |symbol: &str| dimensions.get(symbol).and_then(|size| usize::try_from(*size).ok());
    let mut probe = Probe::default();
    let mut fixed: Option<(&str, usize)> = None;
    for port in &graph.inputs {
        let input = || port.name.clone();
        let dims = port.dims.as_ref().ok_or_else(|| InputsError::NoShape { input: input() })?;
        let batch = dims.first().ok_or_else(|| InputsError::Scalar { input: input() })?;
        let size = match batch {
            Dim::Fixed(size) => Some(*size),
            Dim::Symbol(symbol) => {
                probe.batch_symbol.get_or_insert_with(|| symbol.clone());
                given(symbol)
            }
            Dim::Unknown => None,
        };
        match (fixed, size) {
            (Some((first, first_size)), Some(second_size)) if first_size != second_size => {
                let first = first.to_owned();
                return Err(InputsError::Batches { first, first_size, second: input(), second_size });
            }
            (None, Some(size)) => fixed = Some((&port.name, size)),
            _ => {}
        }
    }
    probe.fixed_batch = fixed.map(|(_, size)| size);
    for port in &graph.inputs {
        let dims = port.dims.as_deref().unwrap_or_default().iter().enumerate().skip(1);
        let dims = dims.map(|(axis, dim)| match dim {
            Dim::Fixed(size) => Some(*size),
            Dim::Symbol(symbol) if probe.batch_symbol.as_ref() == Some(symbol) => probe.fixed_batch,
            Dim::Symbol(symbol) => given(symbol).or_else(|| {
                if !probe.assumed.contains(symbol) {
                    probe.assumed.push(symbol.clone());
                }
                Some(ASSUMED_SIZE)
            }),
            Dim::Unknown => {
                probe.assumed.push(format!("{}[{axis}]", port.name));
                Some(ASSUMED_SIZE)
            }
        });
        let dims = dims.collect();
        probe.inputs.push((port.name.clone(), dims));
    }
    Ok(probe)
}
