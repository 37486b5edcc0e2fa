//! What each initializer is to the operators that read it, as far as PyTorch's default initialisation goes.

use super::super::model::{Graph, Node};
use super::super::tensor::{Tensor, elements};
use std::collections::{HashMap, HashSet};

/// The part that an initializer plays.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Part {
    /// Weight or bias of a linear layer or a convolution, whose elements read so many values.
    Linear { fan_in: usize },
    /// Table of an embedding.
    Embedding,
    /// Weight, bias or running statistic of a normalisation: a constant.
    Constant(f32),
    /// Weight or bias of a recurrent layer with so many hidden values.
    Recurrent { hidden: usize },
}

/// A value that is an initializer, seen through operators that only move its elements.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen<'a> {
    pub(super) name: &'a str,
    pub(super) tensor: &'a Tensor,
    /// Whether the two axes of a matrix are exchanged.
    pub(super) transposed: bool,
}

/// The initializers of a graph by the names of values that are one.
pub(super) struct Initializers<'a> {
    seen: HashMap<&'a str, Seen<'a>>,
}

impl<'a> Initializers<'a> {
    pub(super) fn of(graph: &'a Graph) -> Self {
        let named =
            |(name, tensor): &'a (String, Tensor)| (name.as_str(), Seen { name, tensor, transposed: false });
        let mut seen: HashMap<&str, Seen<'_>> = graph.initializers.iter().map(named).collect();
        for node in &graph.nodes {
            let (Some(input), Some(output)) = (node.inputs.first(), node.outputs.first()) else { continue };
            let Some(source) = seen.get(input.as_str()).copied() else { continue };
            let transposed = match node.op.as_str() {
                "Identity" | "Cast" => source.transposed,
                "Transpose" if source.tensor.dims().len() == 2 => {
                    // Without `perm` the axes are reversed.
                    source.transposed != node.ints("perm").is_none_or(|perm| perm == [1, 0])
                }
                _ => continue,
            };
            seen.insert(output, Seen { transposed, ..source });
        }
        Self { seen }
    }

    /// The initializer behind input `at` of a node.
    pub(super) fn input(&self, node: &Node, at: usize) -> Option<Seen<'a>> {
        self.seen.get(node.inputs.get(at)?.as_str()).copied()
    }
}

/// The weight of a node that is a linear layer or a convolution, with the axis of the stored tensor that counts the outputs.
pub(super) fn weight<'a>(initializers: &Initializers<'a>, node: &Node) -> Option<(Seen<'a>, usize)> {
    let seen = initializers.input(node, 1)?;
    let rank = seen.tensor.dims().len();
    match node.op.as_str() {
        "Gemm" if rank == 2 => {
            let outputs_first = (node.int("transB").unwrap_or(0) != 0) != seen.transposed;
            Some((seen, usize::from(!outputs_first)))
        }
        "MatMul" if rank == 2 => Some((seen, usize::from(!seen.transposed))),
        "Conv" if rank >= 3 => Some((seen, 0)),
        _ => None,
    }
}

/// The initializers that some layer reads as its weight, bias or statistic.
pub(in crate::graph) fn layer_initializers(graph: &Graph) -> HashSet<String> {
    parts(graph).into_keys().collect()
}

/// The part of each initializer that has one, by name. An initializer with several has that of its first reader.
pub(super) fn parts(graph: &Graph) -> HashMap<String, Part> {
    let initializers = Initializers::of(graph);
    let mut parts: HashMap<String, Part> = HashMap::new();
    let mut add = |seen: Option<Seen<'_>>, part: Part| {
        if let Some(seen) = seen {
            parts.entry(seen.name.to_owned()).or_insert(part);
        }
    };
    // Outputs of products, whose bias an `Add` behind them may hold.
    let mut products: HashMap<&str, usize> = HashMap::new();
    for node in graph.nodes.iter().filter(|node| node.domain.is_empty()) {
        let input = |at: usize| initializers.input(node, at);
        match node.op.as_str() {
            "Gemm" | "MatMul" => {
                let Some((seen, outputs)) = weight(&initializers, node) else { continue };
                let fan_in = seen.tensor.dims().get(1 - outputs).copied().unwrap_or(1);
                add(Some(seen), Part::Linear { fan_in });
                add(input(2), Part::Linear { fan_in });
                if let Some(output) = node.outputs.first().filter(|_| node.op == "MatMul") {
                    products.insert(output, fan_in);
                }
            }
            "Conv" | "ConvTranspose" => {
                let Some(seen) = input(1) else { continue };
                // PyTorch counts the second axis and the window, of a transposed convolution, too.
                let fan_in = elements(seen.tensor.dims().get(1..).unwrap_or_default());
                add(Some(seen), Part::Linear { fan_in });
                add(input(2), Part::Linear { fan_in });
            }
            "Add" => {
                let of_product = node.inputs.iter().find_map(|input| products.get(input.as_str()));
                let bias = [0, 1].into_iter().find_map(input).filter(|seen| seen.tensor.dims().len() == 1);
                if let Some(fan_in) = of_product {
                    add(bias, Part::Linear { fan_in: *fan_in });
                }
            }
            "Gather" if node.int("axis").unwrap_or(0) == 0 => {
                add(input(0).filter(|seen| seen.tensor.dims().len() == 2), Part::Embedding);
            }
            "BatchNormalization" => {
                for (at, value) in [(1, 1.0), (2, 0.0), (3, 0.0), (4, 1.0)] {
                    add(input(at), Part::Constant(value));
                }
            }
            "LayerNormalization" | "GroupNormalization" | "InstanceNormalization" | "RMSNormalization" => {
                add(input(1), Part::Constant(1.0));
                add(input(2), Part::Constant(0.0));
            }
            "LSTM" | "GRU" | "RNN" => {
                let hidden = node.int("hidden_size").and_then(|size| usize::try_from(size).ok()).unwrap_or(1);
                (1..=3).for_each(|at| add(input(at), Part::Recurrent { hidden }));
            }
            "PRelu" => add(input(1), Part::Constant(0.25)),
            _ => {}
        }
    }
    parts
}
