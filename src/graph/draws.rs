//! Numbers that a model draws.
//!
//! ONNX Runtime draws them from a stream that each process begins elsewhere. So the operators that draw give way to inputs,
//! which are filled with numbers that are a function of the run's seed and of the place in it, as dropout masks are.

use super::emit::{Emit, Value};
use super::model::Node;
use super::tensor::{Dtype, ValueType};
use crate::random::{standard_normal, unit_f32};
use rand_chacha::rand_core::Rng;

/// How numbers are distributed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Distribution {
    /// Evenly over `[low, high)`.
    Uniform {
        /// Lowest number.
        low: f32,
        /// Bound above.
        high: f32,
    },
    /// Normally.
    Normal {
        /// Their mean.
        mean: f32,
        /// Their standard deviation.
        scale: f32,
    },
}

impl Distribution {
    /// Fills memory with numbers drawn from a stream.
    pub fn fill(&self, rng: &mut impl Rng, memory: &mut [f32]) {
        for number in memory {
            *number = match self {
                Self::Uniform { low, high } => low + (high - low) * unit_f32(rng),
                Self::Normal { mean, scale } => mean + scale * standard_normal(rng),
            };
        }
    }
}

/// Numbers to feed, of type f32.
#[derive(Debug, Clone, PartialEq)]
pub struct Draw {
    /// Input of the graph.
    pub value: Value,
    /// How they are distributed.
    pub distribution: Distribution,
}

/// The distribution that a node draws from; `None` if it draws nothing, or nothing that is fed.
fn distribution_of(node: &Node) -> Option<Distribution> {
    if !node.domain.is_empty() {
        return None;
    }
    let float = |name: &str, default: f32| node.float(name).unwrap_or(default);
    match node.op.as_str() {
        "RandomNormal" | "RandomNormalLike" => {
            Some(Distribution::Normal { mean: float("mean", 0.0), scale: float("scale", 1.0) })
        }
        "RandomUniform" | "RandomUniformLike" => {
            Some(Distribution::Uniform { low: float("low", 0.0), high: float("high", 1.0) })
        }
        "Bernoulli" => Some(Distribution::Uniform { low: 0.0, high: 1.0 }),
        _ => None,
    }
}

/// Puts an input in the place of a node that draws; gives the node back if it is no such node.
pub(super) fn feed(node: Node, emit: &mut Emit, draws: &mut Vec<Draw>) -> Option<Node> {
    let output = node.outputs.first().and_then(|name| emit.find(name));
    let (Some(distribution), Some(output)) = (distribution_of(&node), output) else { return Some(node) };
    let kind = ValueType::new(Dtype::F32, emit.dims(output));
    let numbers = emit.declare(&format!("trainer/draw/{}", draws.len()), kind);
    let drawn = if node.op == "Bernoulli" {
        let Some(probability) = node.inputs.first().and_then(|name| emit.find(name)) else {
            return Some(node);
        };
        let probability = emit.cast(probability, Dtype::F32);
        emit.less(numbers, probability)
    } else {
        numbers
    };
    let drawn = emit.cast(drawn, emit.dtype(output));
    let inputs = vec![emit.name(drawn).to_owned()];
    emit.push(Node::new(node.name.clone(), "Identity", inputs, node.outputs));
    draws.push(Draw { value: numbers, distribution });
    None
}

/// As [`feed`], for all nodes.
pub(super) fn feed_all(emit: &mut Emit) -> Vec<Draw> {
    let mut draws = Vec::new();
    for node in std::mem::take(emit.nodes_mut()) {
        emit.set_scope(&node.name);
        if let Some(node) = feed(node, emit, &mut draws) {
            emit.push(node);
        }
    }
    draws
}

#[cfg(test)]
mod tests {
    use super::Distribution;
    use crate::random::{Purpose, stream};

    #[track_caller]
    fn check_moments(distribution: Distribution, mean: f64, deviation: f64) -> Vec<f32> {
        let mut numbers = vec![0.0; 20_000];
        distribution.fill(&mut stream(3, Purpose::Draw, 0, 0), &mut numbers);
        let count = numbers.len() as f64;
        let found = numbers.iter().map(|x| f64::from(*x)).sum::<f64>() / count;
        let variance = numbers.iter().map(|x| (f64::from(*x) - found).powi(2)).sum::<f64>() / count;
        assert!(
            (found - mean).abs() < 0.05 && (variance.sqrt() - deviation).abs() < 0.05,
            "{found} {variance}"
        );
        numbers
    }

    #[test]
    fn numbers_are_distributed_as_the_node_says() {
        let uniform =
            check_moments(Distribution::Uniform { low: -1.0, high: 3.0 }, 1.0, (16.0_f64 / 12.0).sqrt());
        assert!(uniform.iter().all(|x| (-1.0..3.0).contains(x)));
        check_moments(Distribution::Normal { mean: 2.0, scale: 0.5 }, 2.0, 0.5);
    }
}
