//! The optimizer as a graph of standard operators, for state that lives on a device.
//!
//! Belongs here: the formulas of the fused loop (`engine::optimizer`) as operators, and what each algorithm keeps for a
//! parameter. Does not belong here: which parameter is updated how, and the numbers of a step.

mod formula;
mod slots;
mod tensorwise;

pub use slots::{Factors, Slot, slots};
pub use tensorwise::{NEWTON_SCHULZ, NEWTON_SCHULZ_EPS, muon_lr_factor};

use super::emit::{Emit, Value};
use super::model::Graph;
use super::tensor::{Dtype, Tensor, ValueType};
use crate::config::OptimizerKind;

/// How one parameter is updated.
#[derive(Debug, Clone, PartialEq)]
pub struct ParameterUpdate {
    /// Its dimensions.
    pub dims: Vec<usize>,
    /// The algorithm.
    pub kind: OptimizerKind,
    /// What the learning rate of a step is multiplied by.
    pub lr_factor: f64,
    /// Its weight decay.
    pub weight_decay: f64,
}

/// Whether a moving average of the parameters is kept beside them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Averages {
    /// There is one tensor per parameter.
    Kept,
    /// There are none.
    None,
}

/// Scalars that each step feeds, all of type float32. The last three are factors of the algorithm, see
/// `engine::optimizer::step_factors`.
pub const SCALARS: [&str; 8] =
    ["inverse_weight", "max_norm", "max_value", "lr", "fresh_average", "first", "second", "third"];
/// Output with the global norm of the mean gradient.
pub const NORM: &str = "norm";

/// [`SCALARS`] as values of a graph.
struct Scalars {
    inverse_weight: Value,
    max_norm: Value,
    max_value: Value,
    lr: Value,
    fresh_average: Value,
    first: Value,
    second: Value,
    third: Value,
}

/// The graph of an update: reads `p<i>`, `g<i>`, `s<slot>/<i>`, `e<i>` (the average) and [`SCALARS`], gives `new/` and
/// the name of each but the gradients, and [`NORM`]. Infinite bounds bound nothing.
#[must_use]
pub fn build(parameters: &[ParameterUpdate], averages: Averages) -> Graph {
    let mut emit = Emit::new(18, Vec::new());
    emit.set_scope("update");
    let inputs = SCALARS.map(|name| emit.declare(name, ValueType::new(Dtype::F32, vec![])));
    let [inverse_weight, max_norm, max_value, lr, fresh_average, first, second, third] = inputs;
    let scalars = Scalars { inverse_weight, max_norm, max_value, lr, fresh_average, first, second, third };
    let mut inputs = inputs.to_vec();
    let mut tensors = Vec::with_capacity(parameters.len());
    for (index, update) in parameters.iter().enumerate() {
        let kind = ValueType::new(Dtype::F32, update.dims.clone());
        let parameter = emit.declare(&parameter_name(index), kind.clone());
        let gradient = emit.declare(&gradient_name(index), kind.clone());
        let slots: Vec<Value> = slots(&update.kind, &update.dims)
            .into_iter()
            .enumerate()
            .map(|(slot, kept)| emit.declare(&slot_name(slot, index), ValueType::new(Dtype::F32, kept.dims)))
            .collect();
        let average = match averages {
            Averages::Kept => Some(emit.declare(&average_name(index), kind)),
            Averages::None => None,
        };
        inputs.extend([parameter, gradient]);
        inputs.extend(slots.iter().copied().chain(average));
        tensors.push((parameter, gradient, slots, average));
    }
    let norm = norm(&mut emit, tensors.iter().map(|(_, gradient, ..)| *gradient), scalars.inverse_weight);
    let scale = clip_scale(&mut emit, norm, scalars.max_norm, scalars.inverse_weight);
    let lower = emit.neg(scalars.max_value);
    let mut outputs = vec![emit.name_output(norm, NORM)];
    for (index, (update, (parameter, gradient, slots, average))) in
        parameters.iter().zip(&tensors).enumerate()
    {
        let scaled = emit.mul(*gradient, scale);
        let kind = emit.kind(scaled).clone();
        let gradient = emit.op("Clip", &[scaled, lower, scalars.max_value], vec![], kind);
        let lr = if update.lr_factor == 1.0 { scalars.lr } else { emit.scale(scalars.lr, update.lr_factor) };
        let step = formula::Step { update, parameter: *parameter, gradient, slots, scalars: &scalars, lr };
        let (new, new_slots) = formula::update(&mut emit, &step);
        outputs.push(emit.name_output(new, &updated(&parameter_name(index))));
        for (slot, value) in new_slots.into_iter().enumerate() {
            outputs.push(emit.name_output(value, &updated(&slot_name(slot, index))));
        }
        if let Some(average) = average {
            let way = emit.sub(new, *average);
            let part = emit.mul(way, scalars.fresh_average);
            let moved = emit.add(*average, part);
            outputs.push(emit.name_output(moved, &updated(&average_name(index))));
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

/// Name of the input with the moving average of parameter `index`.
#[must_use]
pub fn average_name(index: usize) -> String {
    format!("e{index}")
}

/// Name of the output with the new value of an input.
#[must_use]
pub fn updated(input: &str) -> String {
    format!("new/{input}")
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
