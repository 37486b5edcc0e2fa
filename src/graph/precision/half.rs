//! A trained model with 16-bit weights, for programs that compute with them.
//!
//! The table says which operators compute with 16-bit floats, as in training; inputs and outputs stay what they are. A
//! model in use has free dimensions, so this works on the graph and the element types of its values alone.

use super::autocast::cast;
use super::table::{Treatment, treatment};
use crate::graph::model::{Graph, Node, attribute};
use crate::graph::tensor::{Dtype, Tensor};
use std::collections::{HashMap, HashSet};
use thiserror::Error;

/// A model with 16-bit weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Halved {
    /// The model.
    pub graph: Graph,
    /// Initializers that have 16 bits now.
    pub weights: usize,
    /// Nodes that compute with them.
    pub nodes: usize,
}

/// Why a model can not have 16-bit weights.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HalveError {
    /// A weight that float16 does not reach.
    #[error("`{name}` holds {value}, and float16 ends at 65504; export in float32, without `--half`")]
    Overflow {
        /// The initializer.
        name: String,
        /// The value.
        value: f64,
    },
    /// Nothing to gain.
    #[error("no operator of the model computes with 16-bit floats; export in float32, without `--half`")]
    Nothing,
}

/// Operators of the table that only move elements: of weights alone they give weights.
const MOVES: &[&str] = &[
    "Concat",
    "Expand",
    "Flatten",
    "Gather",
    "Identity",
    "Reshape",
    "Slice",
    "Split",
    "Squeeze",
    "Tile",
    "Transpose",
    "Unsqueeze",
];

/// The model in its inference form with weights of 16 bits. `types` are the element types of all values that nodes make;
/// constants have to be initializers.
///
/// # Errors
/// If a weight is beyond float16, or nothing would have 16 bits.
pub fn halve(graph: &Graph, types: &HashMap<String, Dtype>) -> Result<Halved, HalveError> {
    let mut pass = Pass {
        types: types.clone(),
        stored: graph.initializers.iter().map(|(name, tensor)| (name.clone(), tensor.clone())).collect(),
        made_low: HashSet::new(),
        narrowed: HashMap::new(),
        weights: Vec::new(),
        nodes: Vec::new(),
        count: 0,
    };
    pass.types.extend(graph.inputs.iter().filter_map(|port| Some((port.name.clone(), port.dtype?))));
    pass.types.extend(graph.initializers.iter().map(|(name, tensor)| (name.clone(), tensor.dtype())));
    for node in &graph.nodes {
        let node = pass.with_stated_type(node);
        if pass.computes_low(&node) {
            pass.narrow(node)?;
        } else {
            pass.nodes.push(node);
        }
    }
    if pass.count == 0 {
        return Err(HalveError::Nothing);
    }
    let Pass { nodes, weights, count, .. } = pass;
    Ok(Halved { weights: weights.len(), nodes: count, graph: assembled(graph, nodes, weights) })
}

/// A tensor of floats in float16; one of other elements as it is.
///
/// # Errors
/// If a number of it is beyond float16.
pub fn halved(name: &str, tensor: &Tensor) -> Result<Tensor, HalveError> {
    let Some(numbers) = tensor.to_f64() else { return Ok(tensor.clone()) };
    let halved = Tensor::from_f64(Dtype::F16, tensor.dims(), &numbers);
    let rounded = halved.to_f64().unwrap_or_default();
    match numbers.iter().zip(&rounded).find(|(number, half)| number.is_finite() && !half.is_finite()) {
        Some((value, _)) => Err(HalveError::Overflow { name: name.to_owned(), value: *value }),
        None => Ok(halved),
    }
}

/// What the outputs need, with each weight under its own name where nobody reads its 32-bit form any more.
fn assembled(graph: &Graph, nodes: Vec<Node>, weights: Vec<(String, String, Tensor)>) -> Graph {
    let mut halved = Graph { nodes, ..graph.clone() };
    halved.initializers.extend(weights.iter().map(|(_, narrow, tensor)| (narrow.clone(), tensor.clone())));
    halved.keep_needed();
    for (name, narrow, _) in weights {
        if halved.is_read(&name) {
            continue;
        }
        let inputs = halved.nodes.iter_mut().flat_map(|node| &mut node.inputs);
        let stored = halved.initializers.iter_mut().map(|(known, _)| known);
        for known in inputs.chain(stored).filter(|known| **known == narrow) {
            known.clone_from(&name);
        }
    }
    halved
}

struct Pass {
    types: HashMap<String, Dtype>,
    stored: HashMap<String, Tensor>,
    /// Values that a node computes in 16 bits; their 32-bit form is cast from that.
    made_low: HashSet<String>,
    /// The 16-bit form of a value.
    narrowed: HashMap<String, String>,
    /// Name, name of the 16-bit form, and that.
    weights: Vec<(String, String, Tensor)>,
    nodes: Vec<Node>,
    count: usize,
}

impl Pass {
    /// A cast to the type of another value as a cast to that type, so that the other value is not read for it.
    fn with_stated_type(&self, node: &Node) -> Node {
        let like = node.inputs.get(1).and_then(|name| self.types.get(name));
        let Some(like) = like.filter(|_| node.domain.is_empty() && node.op == "CastLike") else {
            return node.clone();
        };
        let mut stated = Node::new(node.name.clone(), "Cast", node.inputs.clone(), node.outputs.clone());
        stated.inputs.truncate(1);
        stated.attributes.push(attribute::int("to", i64::from(like.code())));
        stated
    }

    fn is_single(&self, name: &str) -> bool {
        self.types.get(name) == Some(&Dtype::F32)
    }

    fn computes_low(&self, node: &Node) -> bool {
        let named = || node.inputs.iter().chain(&node.outputs).filter(|name| !name.is_empty());
        let floats: Vec<&str> =
            node.inputs.iter().map(String::as_str).filter(|name| self.is_single(name)).collect();
        let is_plain = node.domain.is_empty() && !node.has_inner_graphs();
        // A model with other floats of its own, or values of unknown type, decides for itself what they are combined with.
        let is_foreign =
            |name: &String| self.types.get(name).is_none_or(|dtype| dtype.is_float() && *dtype != Dtype::F32);
        if !is_plain || floats.is_empty() || named().any(is_foreign) {
            return false;
        }
        match treatment(&node.op) {
            Treatment::Single => false,
            Treatment::Low => true,
            Treatment::Follow => {
                let takes_part = |name: &&str| self.made_low.contains(*name) || self.is_weight(name);
                let is_moved = MOVES.contains(&node.op.as_str());
                floats.iter().all(takes_part)
                    && (is_moved || floats.iter().any(|name| self.made_low.contains(*name)))
            }
        }
    }

    /// Whether a value is stored and may have 16 bits: a weight, or a scalar that 16 bits represent exactly. Another scalar
    /// would be off by as much as a rounded result, and always to the same side.
    fn is_weight(&self, name: &str) -> bool {
        self.stored.get(name).is_some_and(|tensor| match tensor.to_f64().as_deref() {
            Some([number]) if tensor.dims().is_empty() => Dtype::F16.represents(*number),
            _ => true,
        })
    }

    fn narrow(&mut self, mut node: Node) -> Result<(), HalveError> {
        for name in node.inputs.iter_mut().filter(|name| !name.is_empty()) {
            if self.is_single(name) {
                *name = self.narrow_form(name, &node.name)?;
            }
        }
        let mut casts = Vec::new();
        for name in node.outputs.iter_mut().filter(|name| !name.is_empty()) {
            if !self.is_single(name) {
                continue;
            }
            let narrow = format!("{name}/float16");
            self.made_low.insert(name.clone());
            self.narrowed.insert(name.clone(), narrow.clone());
            casts.push(cast(&node.name, narrow.clone(), std::mem::replace(name, narrow), Dtype::F32));
        }
        self.nodes.push(node);
        self.nodes.extend(casts);
        self.count += 1;
        Ok(())
    }

    fn narrow_form(&mut self, name: &str, reader: &str) -> Result<String, HalveError> {
        if let Some(narrow) = self.narrowed.get(name) {
            return Ok(narrow.clone());
        }
        let narrow = format!("{name}/float16");
        match self.stored.get(name) {
            Some(tensor) => {
                self.weights.push((name.to_owned(), narrow.clone(), halved(name, tensor)?));
            }
            None => self.nodes.push(cast(reader, name.to_owned(), narrow.clone(), Dtype::F16)),
        }
        self.narrowed.insert(name.to_owned(), narrow.clone());
        Ok(narrow)
    }
}

#[cfg(test)]
mod tests {
    use super::{HalveError, halve};
    use crate::config::Builtin;
    use crate::graph::builtin::build;
    use crate::graph::model::{Graph, Node};
    use crate::graph::tensor::{Dtype, Tensor};
    use std::collections::HashMap;

    fn types(graph: &Graph) -> HashMap<String, Dtype> {
        graph.nodes.iter().flat_map(|node| &node.outputs).map(|name| (name.clone(), Dtype::F32)).collect()
    }

    fn stored(graph: &Graph, name: &str) -> Dtype {
        graph.initializers.iter().find(|(known, _)| known == name).unwrap().1.dtype()
    }

    #[test]
    fn products_have_16_bits_and_norms_keep_32() {
        let graph = build(Builtin::Cnn, "images", &[1, 8, 8], 10, 1);
        let halved = halve(&graph, &types(&graph)).unwrap();
        for name in ["block1.conv.weight", "fc1.weight", "fc1.bias", "head.weight"] {
            assert_eq!(stored(&halved.graph, name), Dtype::F16, "{name}");
        }
        for name in ["block1.norm.weight", "block1.norm.running_var"] {
            assert_eq!(stored(&halved.graph, name), Dtype::F32, "{name}");
        }
        assert_eq!((&halved.graph.inputs, &halved.graph.outputs), (&graph.inputs, &graph.outputs));
        let last = halved.graph.nodes.last().unwrap();
        assert_eq!((last.op.as_str(), last.outputs[0].as_str(), last.int("to")), ("Cast", "logits", Some(1)));
        // What flows from Gemm to Gemm is not widened on the way.
        let casts = halved.graph.nodes.iter().filter(|node| node.op == "Cast").count();
        assert_eq!((halved.weights, casts), (6, 6), "{:?}", halved.graph.nodes);
    }

    #[test]
    fn a_weight_that_others_read_in_32_bits_is_there_in_both_forms() {
        let mut graph = build(Builtin::Mlp, "x", &[4], 2, 1);
        graph.nodes.push(Node::new("norm", "Exp", vec!["fc1.bias".into()], vec!["also".into()]));
        graph.outputs.push(crate::graph::model::Port::inferred("also"));
        let halved = halve(&graph, &types(&graph)).unwrap().graph;
        assert_eq!(
            (stored(&halved, "fc1.bias"), stored(&halved, "fc1.bias/float16")),
            (Dtype::F32, Dtype::F16)
        );
        assert_eq!(stored(&halved, "fc1.weight"), Dtype::F16);
    }

    #[test]
    fn a_weight_beyond_float16_is_refused_by_name() {
        let mut graph = build(Builtin::Mlp, "x", &[4], 2, 1);
        let bias = graph.initializers.iter_mut().find(|(name, _)| name == "fc2.bias").unwrap();
        bias.1 = Tensor::from_f32([64], &[7e4; 64]);
        let error = halve(&graph, &types(&graph)).unwrap_err();
        assert!(
            matches!(&error, HalveError::Overflow { name, value } if name == "fc2.bias" && *value == 7e4),
            "{error}"
        );
        graph.nodes.retain(|node| node.op == "Relu");
        assert!(matches!(halve(&graph, &types(&graph)), Err(HalveError::Nothing)));
    }
}
