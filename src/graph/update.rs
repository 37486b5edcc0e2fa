//! The optimizer as a graph of standard operators, for state that lives on a device.
//!
//! The formulas are those of the fused loop (`engine::optimizer`): PyTorch's single-tensor implementations.

use super::emit::{Emit, Value};
use super::model::Graph;
use super::tensor::{Dtype, Tensor, ValueType};
use crate::config::OptimizerKind;

/// What the update of one model consists of.
#[derive(Debug, Clone, Copy)]
pub struct UpdateSpec<'a> {
    /// Parameters by name, with dimensions.
    pub parameters: &'a [(String, Vec<usize>)],
    /// For each parameter, its weight decay.
    pub weight_decay: &'a [f64],
    /// The algorithm.
    pub kind: OptimizerKind,
}

/// Scalars that each step feeds, all of type float32.
pub const SCALARS: [&str; 6] = ["inverse_weight", "max_norm", "max_value", "lr", "first", "second"];
/// Output with the global norm of the mean gradient.
pub const NORM: &str = "norm";

/// The graph of an update: reads `p<i>`, `g<i>`, `s<slot>/<i>` and [`SCALARS`], gives `new/p<i>`, `new/s<slot>/<i>` and [`NORM`].
///
/// `first` is the factor of the fresh gradient in SGD's momentum buffer (1 minus dampening, 1 in the first step), and
/// `-lr / (1 - beta1^t)` for Adam and AdamW; `second` is `sqrt(1 - beta2^t)`. Infinite bounds bound nothing.
#[must_use]
pub fn build(spec: &UpdateSpec<'_>) -> Graph {
    let mut emit = Emit::new(18, Vec::new());
    emit.set_scope("update");
    let scalars = SCALARS.map(|name| emit.declare(name, ValueType::new(Dtype::F32, vec![])));
    let mut inputs = scalars.to_vec();
    let mut tensors = Vec::with_capacity(spec.parameters.len());
    let slots = slot_count(spec.kind);
    for (index, (_, dims)) in spec.parameters.iter().enumerate() {
        let kind = ValueType::new(Dtype::F32, dims.clone());
        let parameter = emit.declare(&parameter_name(index), kind.clone());
        let gradient = emit.declare(&gradient_name(index), kind.clone());
        let slots: Vec<Value> =
            (0..slots).map(|slot| emit.declare(&slot_name(slot, index), kind.clone())).collect();
        inputs.extend([parameter, gradient]);
        inputs.extend(&slots);
        tensors.push((parameter, gradient, slots));
    }
    let [inverse_weight, max_norm, max_value, ..] = scalars;
    let norm = norm(&mut emit, tensors.iter().map(|(_, gradient, _)| *gradient), inverse_weight);
    let scale = clip_scale(&mut emit, norm, max_norm, inverse_weight);
    let lower = emit.neg(max_value);
    let mut outputs = vec![emit.name_output(norm, NORM)];
    for (index, ((parameter, gradient, slots), decay)) in tensors.iter().zip(spec.weight_decay).enumerate() {
        let scaled = emit.mul(*gradient, scale);
        let kind = emit.kind(scaled).clone();
        let bounded = emit.op("Clip", &[scaled, lower, max_value], vec![], kind);
        let (new, new_slots) = update(&mut emit, spec.kind, *decay, *parameter, bounded, slots, &scalars);
        outputs.push(emit.name_output(new, &format!("new/{}", parameter_name(index))));
        for (slot, value) in new_slots.into_iter().enumerate() {
            outputs.push(emit.name_output(value, &format!("new/{}", slot_name(slot, index))));
        }
    }
    emit.finish("optimizer_update", &inputs, &outputs)
}

/// The graph that adds gradients of one part of a batch to the sums of the parts before: `a<i>` + `g<i>` = `sum<i>`.
#[must_use]
pub fn accumulation(parameters: &[(String, Vec<usize>)]) -> Graph {
    let mut emit = Emit::new(18, Vec::new());
    emit.set_scope("accumulate");
    let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
    for (index, (_, dims)) in parameters.iter().enumerate() {
        let kind = ValueType::new(Dtype::F32, dims.clone());
        let sum = emit.declare(&format!("a{index}"), kind.clone());
        let gradient = emit.declare(&gradient_name(index), kind);
        inputs.extend([sum, gradient]);
        let total = emit.add(sum, gradient);
        outputs.push(emit.name_output(total, &format!("sum{index}")));
    }
    emit.finish("gradient_accumulation", &inputs, &outputs)
}

/// Name of the input with parameter `index`.
#[must_use]
pub fn parameter_name(index: usize) -> String {
    format!("p{index}")
}

/// Name of the input with the gradient of parameter `index`.
#[must_use]
pub fn gradient_name(index: usize) -> String {
    format!("g{index}")
}

/// Name of the input with a slot of parameter `index`.
#[must_use]
pub fn slot_name(slot: usize, index: usize) -> String {
    format!("s{slot}/{index}")
}

fn slot_count(kind: OptimizerKind) -> usize {
    match kind {
        OptimizerKind::Sgd { momentum: 0.0, .. } => 0,
        OptimizerKind::Sgd { .. } => 1,
        OptimizerKind::Adam { .. } | OptimizerKind::AdamW { .. } => 2,
    }
}

fn norm(emit: &mut Emit, gradients: impl Iterator<Item = Value>, inverse_weight: Value) -> Value {
    let mut total: Option<Value> = None;
    for gradient in gradients {
        // Divided first, so that the square of a large sum does not overflow where that of the mean would not.
        let mean = emit.mul(gradient, inverse_weight);
        let square = emit.mul(mean, mean);
        let sum = emit.sum_all(square);
        total = Some(total.map_or(sum, |total| emit.add(total, sum)));
    }
    let total = total.unwrap_or_else(|| emit.scalar(0.0, inverse_weight));
    emit.sqrt(total)
}

/// 1 / weight * min(1, max_norm / (norm + 1e-6))
fn clip_scale(emit: &mut Emit, norm: Value, max_norm: Value, inverse_weight: Value) -> Value {
    let shifted = emit.shift(norm, 1e-6);
    let ratio = emit.div(max_norm, shifted);
    let one = emit.constant(Tensor::from_f32(vec![], &[1.0]));
    let kind = emit.kind(ratio).clone();
    let factor = emit.op("Min", &[ratio, one], vec![], kind);
    emit.mul(inverse_weight, factor)
}

fn update(
    emit: &mut Emit,
    kind: OptimizerKind,
    decay: f64,
    parameter: Value,
    gradient: Value,
    slots: &[Value],
    scalars: &[Value; SCALARS.len()],
) -> (Value, Vec<Value>) {
    let [_, _, _, lr, first, second] = *scalars;
    let decayed_gradient = |emit: &mut Emit| {
        if decay == 0.0 {
            return gradient;
        }
        let pull = emit.scale(parameter, decay);
        emit.add(gradient, pull)
    };
    match (kind, slots) {
        (OptimizerKind::Sgd { momentum, nesterov, .. }, [buffer]) => {
            let gradient = decayed_gradient(emit);
            let old = emit.scale(*buffer, momentum);
            let fresh = emit.mul(first, gradient);
            let buffer = emit.add(old, fresh);
            let ahead = emit.scale(buffer, momentum);
            let direction = if nesterov { emit.add(gradient, ahead) } else { buffer };
            let change = emit.mul(lr, direction);
            (emit.sub(parameter, change), vec![buffer])
        }
        (
            OptimizerKind::Adam { betas, eps } | OptimizerKind::AdamW { betas, eps },
            [average, square_average],
        ) => {
            let decoupled = matches!(kind, OptimizerKind::AdamW { .. });
            let gradient = if decoupled { gradient } else { decayed_gradient(emit) };
            let way = emit.sub(gradient, *average);
            let part = emit.scale(way, 1.0 - betas.0);
            let average = emit.add(*average, part);
            let old = emit.scale(*square_average, betas.1);
            let square = emit.mul(gradient, gradient);
            let fresh = emit.scale(square, 1.0 - betas.1);
            let square_average = emit.add(old, fresh);
            let root = emit.sqrt(square_average);
            let corrected = emit.div(root, second);
            let denominator = emit.shift(corrected, eps);
            let ratio = emit.div(average, denominator);
            let change = emit.mul(first, ratio);
            let kept = if decoupled && decay != 0.0 {
                let shrink = emit.scale(lr, -decay);
                let keep = emit.shift(shrink, 1.0);
                emit.mul(parameter, keep)
            } else {
                parameter
            };
            (emit.add(kept, change), vec![average, square_average])
        }
        _ => {
            let gradient = decayed_gradient(emit);
            let change = emit.mul(lr, gradient);
            (emit.sub(parameter, change), Vec::new())
        }
    }
}
