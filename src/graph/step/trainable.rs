//! Which initializers of a model are trained, which are state, and which stay as they are.

use super::{StepError, loss_outputs};
use crate::config::LossPlan;
use crate::graph::model::{Graph, Node};
use crate::graph::tensor::{Dtype, Tensor};
use crate::graph::train_form::is_running_statistic;
use std::collections::HashSet;

/// What changes while a model is trained.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Trainable {
    /// Initializers that the optimizer updates, in the order of the model, with their initial values.
    pub parameters: Vec<(String, Tensor)>,
    /// Running statistics that each step updates, with their initial values.
    pub states: Vec<(String, Tensor)>,
    /// Float initializers that stay as they are, and why.
    pub excluded: Vec<(String, Excluded)>,
}

/// Why a float initializer is not trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Excluded {
    /// A pattern of `model.freeze` matches its name.
    Frozen,
    /// A scalar constant of an expression.
    Scalar,
    /// Operators read it as a setting, such as the scales of a Resize.
    Setting,
    /// The loss does not depend on it.
    NoPathToLoss,
    /// Only 32-bit floats are trained.
    ElementType(Dtype),
}

/// An element of a parameter or of a running statistic that is no finite number.
#[derive(Debug, Clone, PartialEq)]
pub struct NotFinite {
    /// The initializer.
    pub name: String,
    /// Position of the element, row-major.
    pub element: usize,
    /// What it holds: NaN, inf or -inf.
    pub value: f32,
}

impl Trainable {
    /// The first value to be trained that is not finite: no step could make it so again.
    #[must_use]
    pub fn not_finite(&self) -> Option<NotFinite> {
        self.parameters.iter().chain(&self.states).find_map(|(name, tensor)| {
            let values = tensor.bytes().chunks_exact(size_of::<f32>());
            let mut values = values.map(|bytes| bytes.try_into().map_or(0.0, f32::from_le_bytes)).enumerate();
            let (element, value) = values.find(|(_, value)| !value.is_finite())?;
            Some(NotFinite { name: name.clone(), element, value })
        })
    }

    /// Names of parameters, then of states.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.parameters.iter().chain(&self.states).map(|(name, _)| name.as_str())
    }

    /// Whether nothing is trained.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parameters.is_empty() && self.states.is_empty()
    }

    /// The same with zeros as initial values, which take no memory; see [`Tensor::zeros`].
    #[must_use]
    pub fn without_values(mut self) -> Self {
        for (_, tensor) in self.parameters.iter_mut().chain(&mut self.states) {
            *tensor = Tensor::zeros(tensor.kind().clone());
        }
        self
    }

    /// Number of trained values.
    #[must_use]
    pub fn parameter_elements(&self) -> usize {
        self.parameters.iter().map(|(_, tensor)| tensor.kind().elements()).sum()
    }
}

/// Inputs, by operator, that are settings and not data: no gradient is taken for them, and shapes may depend on them.
const SETTINGS: &[(&str, &[usize])] = &[
    ("Clip", &[1, 2]),
    ("Dropout", &[1]),
    ("OneHot", &[0, 1, 2]),
    ("Pad", &[2]),
    ("Range", &[0, 1, 2]),
    ("Resize", &[1, 2]),
];

/// Whether a node reads the value at a position, and every position at which one does is a setting.
fn is_setting(nodes: &[Node], name: &str) -> bool {
    let uses = nodes.iter().flat_map(|node| {
        let settings = SETTINGS.iter().find(|(op, _)| *op == node.op && node.domain.is_empty());
        let positions = node.inputs.iter().enumerate().filter(|(_, input)| *input == name);
        positions.map(move |(position, _)| settings.is_some_and(|(_, inputs)| inputs.contains(&position)))
    });
    let uses: Vec<bool> = uses.collect();
    !uses.is_empty() && uses.into_iter().all(|is_setting| is_setting)
}

/// Sorts the initializers of a model: every float initializer of rank 1 or more that the loss depends on is trained,
/// unless `is_frozen` says otherwise; running statistics of BatchNormalization are state.
///
/// # Errors
/// If the output that the loss reads can not be chosen, or nothing is left to train.
pub fn trainable(
    graph: &Graph,
    loss: &LossPlan,
    is_frozen: impl Fn(&str) -> bool,
) -> Result<Trainable, StepError> {
    let outputs = loss_outputs(graph, loss)?;
    let relevant = ancestors(graph, &outputs);
    let mut sorted = Trainable::default();
    for (name, tensor) in &graph.initializers {
        if !tensor.dtype().is_float() {
            continue;
        }
        let statistic = is_running_statistic(&graph.nodes, name);
        let reason = if !relevant.contains(name.as_str()) {
            Some(Excluded::NoPathToLoss)
        } else if is_frozen(name) {
            Some(Excluded::Frozen)
        } else if tensor.dtype() != Dtype::F32 {
            Some(Excluded::ElementType(tensor.dtype()))
        } else if tensor.dims().is_empty() {
            Some(Excluded::Scalar)
        } else if is_setting(&graph.nodes, name) {
            Some(Excluded::Setting)
        } else {
            None
        };
        match reason {
            Some(reason) => sorted.excluded.push((name.clone(), reason)),
            None if statistic => sorted.states.push((name.clone(), tensor.clone())),
            None => sorted.parameters.push((name.clone(), tensor.clone())),
        }
    }
    if sorted.parameters.is_empty() {
        let considered = sorted.excluded.len();
        let mut types = sorted.excluded.iter().map(|(_, reason)| match reason {
            Excluded::ElementType(dtype) => Some(*dtype),
            _ => None,
        });
        return Err(match types.next().flatten() {
            Some(found) if types.all(|dtype| dtype.is_some()) => StepError::OnlyFloat32 { considered, found },
            _ => StepError::NothingToTrain { considered },
        });
    }
    Ok(sorted)
}

/// All values that `outputs` depend on.
fn ancestors<'a>(graph: &'a Graph, outputs: &'a [String]) -> HashSet<&'a str> {
    let mut found: HashSet<&str> = outputs.iter().map(String::as_str).collect();
    for node in graph.nodes.iter().rev() {
        if node.outputs.iter().any(|name| found.contains(name.as_str())) {
            found.extend(node.reads());
        }
    }
    found
}
