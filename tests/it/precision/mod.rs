//! Training with 16-bit floats: operators, whole models, runs, and the document of which operator has which precision.
//!
//! Belongs here: that the numbers are those of 16 bits and no others, and the loss scale from an overflow to a resume.
//! Does not belong here: which nodes the pass chooses (`src/graph/precision/tests.rs`).

mod document;
mod models;
mod operators;
mod processors;
mod runs;

use crate::runtime_library::{oracle, run};
use std::collections::BTreeMap;
use trainer::config::{LossKind, LossPlan, LossScalePlan, Precision};
use trainer::graph::emit::Processor;
use trainer::graph::model::Graph;
use trainer::graph::step::{
    LOSS_SCALE, StepGraph, StepSpec, Target, Trainable, target_input, trainable, training,
};
use trainer::graph::tensor::{Dtype, Tensor};

pub const F16: Precision = Precision::F16(LossScalePlan { initial: 65_536.0, growth_steps: 2000 });
pub const LOW: [(Precision, Dtype); 2] = [(Precision::Bf16, Dtype::Bf16), (F16, Dtype::F16)];

/// A model `y = f(x)` with a mean squared error against zeros.
pub struct Model {
    graph: Graph,
    trainable: Trainable,
    batch: usize,
    example: Vec<usize>,
}

impl Model {
    fn new(graph: Graph, x: &[usize]) -> Self {
        let (batch, example) = x.split_first().unwrap();
        let trainable = trainable(&graph, &loss(), |_| false).unwrap();
        Self { graph, trainable, batch: *batch, example: example.to_vec() }
    }

    fn step(&self, precision: Precision, processor: Processor) -> StepGraph {
        let inputs = [("x".to_owned(), self.example.clone())];
        let target = Target::new("t", Dtype::F32);
        let spec = StepSpec {
            graph: &self.graph,
            trainable: &self.trainable,
            batch: self.batch,
            inputs: &inputs,
            dimensions: &BTreeMap::new(),
            loss: &loss(),
            targets: std::slice::from_ref(&target),
            processor,
            recompute: &trainer::graph::recompute::Recompute::Nothing,
            precision,
        };
        training(&spec, &oracle()).unwrap()
    }

    /// What a step reads: its parameters, `x`, zeros as the target, and a loss scale.
    fn feeds(&self, step: &StepGraph, x: &Tensor) -> Vec<(String, Tensor)> {
        let target = Tensor::from_f64(
            Dtype::F32,
            step.predictions.1.dims.clone(),
            &vec![0.0; step.predictions.1.elements()],
        );
        let mut feeds = self.trainable.parameters.clone();
        feeds.push(("x".to_owned(), x.clone()));
        feeds.push((target_input("t"), target));
        feeds.push((LOSS_SCALE.to_owned(), Tensor::from_f32([], &[256.0])));
        feeds
    }
}

fn loss() -> LossPlan {
    LossPlan::new(LossKind::Mse)
}

/// The outputs of a step by name.
fn outputs(step: &StepGraph, feeds: &[(String, Tensor)]) -> BTreeMap<String, Tensor> {
    step.graph.outputs.iter().map(|port| port.name.clone()).zip(run(&step.graph, feeds)).collect()
}

/// The nearest numbers of a 16-bit type, as a tensor of 32 bits; other tensors as they are.
fn rounded(tensor: &Tensor, low: Dtype) -> Tensor {
    if tensor.dtype() != Dtype::F32 {
        return tensor.clone();
    }
    let round = |x: f64| {
        if low == Dtype::Bf16 { half::bf16::from_f64(x).to_f64() } else { half::f16::from_f64(x).to_f64() }
    };
    let numbers: Vec<f64> = tensor.to_f64().unwrap().into_iter().map(round).collect();
    Tensor::from_f64(Dtype::F32, tensor.dims().to_vec(), &numbers)
}

/// A tensor of numbers between -1 and 1 that no 16-bit type has.
fn noise(dims: &[usize], seed: u64) -> Tensor {
    use trainer::random::{Purpose, stream, unit_f32};
    let mut stream = stream(seed, Purpose::Init, 0, 0);
    let count = dims.iter().product();
    let numbers: Vec<f32> =
        std::iter::repeat_with(|| unit_f32(&mut stream) * 2.0 - 1.0).take(count).collect();
    Tensor::from_f32(dims, &numbers)
}

/// The difference of two lists, relative to the norm of the second.
fn relative_difference(found: &[f64], expected: &[f64]) -> f64 {
    let norm = |numbers: &mut dyn Iterator<Item = f64>| numbers.map(|x| x * x).sum::<f64>().sqrt();
    norm(&mut found.iter().zip(expected).map(|(a, b)| a - b)) / norm(&mut expected.iter().copied())
}
