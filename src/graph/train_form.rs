//! The training form of a model: batch statistics in BatchNormalization, masks in Dropout, numbers drawn outside.
//!
//! PyTorch's exporter writes BatchNormalization in its inference form even for a model in training mode, so every such
//! node is switched to the statistics of the batch, and its running statistics become state that each step updates. A
//! node whose running statistics are frozen goes on normalising with them, as fine-tuning a frozen backbone wants.
//! Dropout masks are fed from outside: they are a function of seed, step and node, the same on every device.

use super::draws::{Draw, feed};
use super::emit::{Emit, Value};
use super::model::{Node, attribute};
use super::tensor::{Dtype, ValueType};
use std::collections::HashMap;
use thiserror::Error;

/// Marks a BatchNormalization whose mean and variance are those of its own input. Only gradients look at it; it is
/// removed from the finished graph.
pub(crate) const BATCH_STATISTICS: &str = "trainer_batch_statistics";

/// What a training step feeds and collects besides data, parameters and gradients.
#[derive(Debug, Default)]
pub struct TrainingForm {
    /// Running statistics: name of the initializer, and its value after the step.
    pub states: Vec<(String, Value)>,
    /// Dropout masks, in the order of the graph.
    pub masks: Vec<Mask>,
    /// Numbers that the model draws, in the order of the graph.
    pub draws: Vec<Draw>,
}

/// A mask to feed: true where an element is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Mask {
    /// Input of the graph, of type bool.
    pub value: Value,
    /// Probability with which an element is dropped, in `[0, 1)`.
    pub ratio: f64,
}

/// Why a model has no training form.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TrainFormError {
    /// Batch statistics of a single value.
    #[error(
        "node `{node}` (BatchNormalization) would normalise over 1 value per channel, expected at least 2: a batch of 1 \
             example; change `train.batch_size` or `train.micro_batch`, or set `data.drop_last = true`"
    )]
    SingleValue {
        /// The node.
        node: String,
    },
    /// A dropout ratio outside its range.
    #[error(
        "node `{node}` (Dropout) has ratio {ratio}, expected at least 0 and below 1; export the model again"
    )]
    Ratio {
        /// The node.
        node: String,
        /// The ratio found.
        ratio: f64,
    },
}

/// Whether an initializer holds running statistics of a BatchNormalization.
#[must_use]
pub fn is_running_statistic(nodes: &[Node], initializer: &str) -> bool {
    let reads = |node: &Node| node.inputs.iter().skip(3).any(|input| input == initializer);
    nodes.iter().any(|node| node.op == "BatchNormalization" && node.domain.is_empty() && reads(node))
}

/// Rewrites the nodes of `emit` into their training form.
///
/// # Errors
/// See [`TrainFormError`].
pub fn rewrite(emit: &mut Emit) -> Result<TrainingForm, TrainFormError> {
    let mut form = TrainingForm::default();
    let mut running: HashMap<String, Value> = HashMap::new();
    for node in std::mem::take(emit.nodes_mut()) {
        emit.set_scope(&node.name);
        match node.op.as_str() {
            "BatchNormalization" if node.domain.is_empty() => {
                batch_normalization(node, emit, &mut form, &mut running)?
            }
            "Dropout" if node.domain.is_empty() => dropout(node, emit, &mut form)?,
            _ => {
                if let Some(node) = feed(node, emit, &mut form.draws) {
                    emit.push(node);
                }
            }
        }
    }
    Ok(form)
}

fn batch_normalization(
    mut node: Node,
    emit: &mut Emit,
    form: &mut TrainingForm,
    running: &mut HashMap<String, Value>,
) -> Result<(), TrainFormError> {
    let [x, _, _, mean_name, var_name] = node.inputs.as_slice() else {
        // Not a valid node; ONNX Runtime refuses it by name.
        emit.push(node);
        return Ok(());
    };
    let (mean_name, var_name) = (mean_name.clone(), var_name.clone());
    // ONNX's momentum is the part of the old value that stays, 1 minus PyTorch's.
    let momentum = f64::from(node.float("momentum").unwrap_or(0.9));
    node.outputs.truncate(1);
    node.attributes.retain(|attribute| attribute.name == "epsilon");
    let is_frozen = |name: &str| emit.find(name).is_some_and(|value| emit.known(value).is_some());
    if is_frozen(&mean_name) || is_frozen(&var_name) {
        emit.push(node);
        return Ok(());
    }
    let Some(x) = emit.find(x) else {
        emit.push(node);
        return Ok(());
    };
    let axes: Vec<usize> = (0..emit.rank(x)).filter(|axis| *axis != 1).collect();
    let count: usize = axes.iter().filter_map(|axis| emit.dims(x).get(*axis)).product();
    if count < 2 {
        return Err(TrainFormError::SingleValue { node: node.name });
    }
    let wide_mean = emit.reduce_mean(x, &axes);
    let centred = emit.sub(x, wide_mean);
    let square = emit.mul(centred, centred);
    let wide_var = emit.reduce_mean(square, &axes);
    let (mean, var) = (emit.flatten(wide_mean), emit.flatten(wide_var));
    let unbiased = emit.scale(var, count as f64 / (count - 1) as f64);
    for (name, statistic) in [(mean_name, mean), (var_name, unbiased)] {
        let Some(current) = running.get(&name).copied().or_else(|| emit.find(&name)) else { continue };
        let old = emit.scale(current, momentum);
        let new = emit.scale(statistic, 1.0 - momentum);
        let updated = emit.add(old, new);
        running.insert(name.clone(), updated);
        form.states.retain(|(state, _)| *state != name);
        form.states.push((name, updated));
    }
    node.attributes.push(attribute::int(BATCH_STATISTICS, 1));
    for (position, statistic) in [(3, mean), (4, var)] {
        if let Some(input) = node.inputs.get_mut(position) {
            *input = emit.name(statistic).to_owned();
        }
    }
    emit.push(node);
    Ok(())
}

/// y = x * mask / (1 - ratio)
fn dropout(node: Node, emit: &mut Emit, form: &mut TrainingForm) -> Result<(), TrainFormError> {
    let Some(x) = node.inputs.first().and_then(|name| emit.find(name)) else {
        // Not a valid node; ONNX Runtime refuses it by name.
        emit.push(node);
        return Ok(());
    };
    let given = node.inputs.get(1).filter(|name| !name.is_empty());
    let ratio = match given
        .map(|name| emit.find(name).and_then(|value| emit.known(value)).and_then(|t| t.to_f64()))
    {
        None => 0.5,
        Some(Some(values)) => values.first().copied().unwrap_or(0.5),
        Some(None) => {
            // A computed ratio has no mask that is known before the step; the gradient table refuses the node by name.
            emit.push(node);
            return Ok(());
        }
    };
    if !(0.0..1.0).contains(&ratio) {
        return Err(TrainFormError::Ratio { node: node.name, ratio });
    }
    let kind = ValueType::new(Dtype::Bool, emit.dims(x));
    let mask = emit.declare(&format!("trainer/mask/{}", form.masks.len()), kind);
    // A product, as in PyTorch: `Where` would take several times as long on the CPU, forwards and backwards.
    let ones = emit.cast(mask, emit.dtype(x));
    let factor = emit.scale(ones, 1.0 / (1.0 - ratio));
    let kept = emit.mul(x, factor);
    for (output, source) in node.outputs.iter().zip([kept, mask]).filter(|(name, _)| !name.is_empty()) {
        let identity = Node::new(
            format!("trainer/{output}"),
            "Identity",
            vec![emit.name(source).to_owned()],
            vec![output.clone()],
        );
        emit.push(identity);
    }
    form.masks.push(Mask { value: mask, ratio });
    Ok(())
}
