//! Initial values drawn from the seed, from the distributions that PyTorch's layers draw theirs from by default.

use super::super::model::{Graph, Role};
use super::super::tensor::{Dtype, Tensor, elements};
use super::parts::{Part, parts};
use crate::random::{Purpose, standard_normal, stream, unit_f32};
use rand_chacha::ChaCha8Rng;

/// What was drawn.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Drawn {
    /// Initializers with new values.
    pub drawn: Vec<String>,
    /// Float initializers of one axis or more that no operator has a default for; they are as they were.
    pub kept: Vec<String>,
}

/// Draws all initializers of operators that have a default in PyTorch.
///
/// Weights and biases of linear layers and convolutions come from U(-1/sqrt(fan_in), 1/sqrt(fan_in)), those of recurrent
/// layers from U(-1/sqrt(hidden), 1/sqrt(hidden)), tables of embeddings from N(0, 1); normalisations begin as 1 and 0,
/// the slope of PRelu as 0.25. The distributions are PyTorch's, the numbers are not.
pub fn draw(graph: &mut Graph, seed: u64) -> Drawn {
    let parts = parts(graph);
    let mut result = Drawn::default();
    for (index, (name, tensor)) in graph.initializers.iter_mut().enumerate() {
        if tensor.dtype() != Dtype::F32 || tensor.dims().is_empty() {
            continue;
        }
        // Tables that the model's program keeps as buffers hold what was computed, such as positions.
        let is_table = graph.roles.get(name).is_some_and(|role| *role != Role::Parameter);
        match parts.get(name).filter(|part| !is_table || matches!(part, Part::Constant(_))) {
            Some(part) => {
                let mut rng = stream(seed, Purpose::Init, index as u64, 0);
                *tensor = values(*part, tensor.dims(), &mut rng);
                result.drawn.push(name.clone());
            }
            None => result.kept.push(name.clone()),
        }
    }
    result
}

/// A tensor of one part.
pub(super) fn values(part: Part, dims: &[usize], rng: &mut ChaCha8Rng) -> Tensor {
    let count = elements(dims);
    let mut uniform =
        |bound: f32| -> Vec<f32> { (0..count).map(|_| (unit_f32(rng) * 2.0 - 1.0) * bound).collect() };
    let values = match part {
        Part::Linear { fan_in } => uniform(1.0 / (fan_in.max(1) as f32).sqrt()),
        Part::Recurrent { hidden } => uniform(1.0 / (hidden.max(1) as f32).sqrt()),
        Part::Constant(value) => vec![value; count],
        Part::Embedding => (0..count).map(|_| standard_normal(rng)).collect(),
    };
    Tensor::from_f32(dims, &values)
}
