//! The last layer of a model for another number of classes.

use super::super::model::{Dim, Graph, Node};
use super::super::tensor::{Dtype, elements};
use super::parts::{Initializers, Part, weight};
use super::seed::values;
use crate::random::{Purpose, stream};
use thiserror::Error;

/// Operators between the last layer and the output that keep the classes where they are.
const PASSING: [&str; 5] = ["Identity", "Cast", "Softmax", "LogSoftmax", "Sigmoid"];

/// Why the last layer can not be replaced. The model is as it was.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HeadError {
    /// The output is not that of a layer that can be resized.
    #[error(
        "`model.classes` replaces a last Gemm, MatMul or Conv, but output `{output}` comes from `{node}` ({op}); export the model with \
         the number of classes wanted and remove the setting"
    )]
    Operator {
        /// The output.
        output: String,
        /// The node.
        node: String,
        /// Its operator.
        op: String,
    },
    /// The weight is not an initializer.
    #[error(
        "the last layer `{node}` has no weight among the initializers of the model; export it with the number of classes wanted and \
         remove `model.classes`"
    )]
    NoWeight {
        /// The node.
        node: String,
    },
    /// Something else reads the weight.
    #[error(
        "`{initializer}` of the last layer `{node}` is read elsewhere, too (tied weights), so it can not be resized; remove \
         `model.classes`"
    )]
    Tied {
        /// The node.
        node: String,
        /// The initializer.
        initializer: String,
    },
}

/// A replaced last layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resized {
    /// The node.
    pub node: String,
    /// Initializers with new values.
    pub initializers: Vec<String>,
    /// Classes before.
    pub from: usize,
}

/// Gives the layer behind an output another number of classes; weight and bias are drawn anew from the seed, as
/// [`super::draw`] does. `None` if it has that number already; then nothing is changed.
///
/// # Errors
/// See [`HeadError`].
pub fn resize_head(
    graph: &mut Graph,
    output: &str,
    classes: usize,
    seed: u64,
) -> Result<Option<Resized>, HeadError> {
    let head = find(graph, output)?;
    if head.classes == classes {
        return Ok(None);
    }
    let mut initializers = Vec::new();
    let part = Part::Linear { fan_in: head.fan_in };
    let bias = head.bias.iter().map(|(name, axis)| (name, *axis));
    for (position, (name, axis)) in std::iter::once((&head.weight, head.axis)).chain(bias).enumerate() {
        let Some((_, tensor)) = graph.initializers.iter_mut().find(|(known, _)| known == name) else {
            continue;
        };
        let mut dims = tensor.dims().to_vec();
        if let Some(dim) = dims.get_mut(axis) {
            *dim = classes;
        }
        let mut rng = stream(seed, Purpose::Head, position as u64, 0);
        *tensor = values(part, &dims, &mut rng);
        initializers.push(name.clone());
    }
    let port = graph.outputs.iter_mut().find(|port| port.name == output);
    if let Some(dims) = port.and_then(|port| port.dims.as_mut()) {
        let axis = if head.is_conv { 1 } else { dims.len().saturating_sub(1) };
        if let Some(dim) = dims.get_mut(axis) {
            *dim = Dim::Fixed(classes);
        }
    }
    Ok(Some(Resized { node: head.node, initializers, from: head.classes }))
}

/// The last layer, as it is.
struct Head {
    node: String,
    is_conv: bool,
    weight: String,
    /// Axis of the weight that counts the classes.
    axis: usize,
    /// The bias, and its axis that counts the classes.
    bias: Option<(String, usize)>,
    fan_in: usize,
    classes: usize,
}

fn find(graph: &Graph, output: &str) -> Result<Head, HeadError> {
    // An output without a name is none: taken for one, a node could be found to read what it makes itself.
    let makes = |node: &Node, value: &str| !value.is_empty() && node.outputs.iter().any(|name| name == value);
    let producer = |value: &str| graph.nodes.iter().find(|node| makes(node, value));
    let refused = |node: Option<&Node>| HeadError::Operator {
        output: output.to_owned(),
        node: node.map_or("an input".to_owned(), |node| node.name.clone()),
        op: node.map_or("none".to_owned(), Node::qualified_op),
    };
    let initializers = Initializers::of(graph);
    let mut node = producer(output).ok_or_else(|| refused(None))?;
    while PASSING.contains(&node.op.as_str()) && node.domain.is_empty() {
        let input = node.inputs.first().map_or("", String::as_str);
        node = producer(input).ok_or_else(|| refused(Some(node)))?;
    }
    let mut added = None;
    if node.op == "Add" && node.domain.is_empty() {
        added = [0, 1].into_iter().find_map(|at| initializers.input(node, at));
        let product = node.inputs.iter().filter_map(|input| producer(input)).find(|node| node.op == "MatMul");
        node = product.filter(|_| added.is_some()).ok_or_else(|| refused(Some(node)))?;
    }
    let is_layer = ["Gemm", "MatMul", "Conv"].contains(&node.op.as_str()) && node.domain.is_empty();
    if !is_layer || node.int("group").unwrap_or(1) != 1 {
        return Err(refused(Some(node)));
    }
    let no_weight = || HeadError::NoWeight { node: node.name.clone() };
    let (seen, axis) = weight(&initializers, node).ok_or_else(no_weight)?;
    let dims = seen.tensor.dims();
    let classes = dims.get(axis).copied().unwrap_or(0);
    let bias = added.or_else(|| initializers.input(node, 2));
    // A bias of one element serves any number of classes.
    let bias = bias.filter(|bias| elements(bias.tensor.dims()) > 1 || classes == 1).and_then(|bias| {
        let axis = bias.tensor.dims().iter().rposition(|dim| *dim == classes)?;
        Some((bias.name.to_owned(), axis))
    });
    if seen.tensor.dtype() != Dtype::F32 {
        return Err(no_weight());
    }
    let head = Head {
        node: node.name.clone(),
        is_conv: node.op == "Conv",
        weight: seen.name.to_owned(),
        axis,
        fan_in: elements(dims) / classes.max(1),
        classes,
        bias,
    };
    for name in std::iter::once(&head.weight).chain(head.bias.iter().map(|(name, _)| name)) {
        let readers = graph.nodes.iter().flat_map(|node| &node.inputs).filter(|input| *input == name).count();
        if readers > 1 {
            return Err(HeadError::Tied { node: head.node, initializer: name.clone() });
        }
    }
    Ok(head)
}
