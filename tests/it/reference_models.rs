//! The models in `tests/data/models`, their data, and what PyTorch makes of them (`scripts/reference/models.py`).

use crate::runtime_library::{oracle, runtime};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::path::PathBuf;
use trainer::config::{
    ArrayMap, DataPlan, DataSource, LossKind, LossPlan, OptimizerKind, OptimizerPlan, Precision,
};
use trainer::data::{Dataset, Dtype as DataDtype, Feed, HostArray, Loader, Role};
use trainer::engine::session::Place;
use trainer::engine::step::{Engine, UpdateBy};
use trainer::graph::emit::Processor;
use trainer::graph::model::Graph;
use trainer::graph::read::read_file;
use trainer::graph::step::{StepGraph, StepSpec, Target, Trainable, evaluation, trainable, training};
use trainer::graph::tensor::Dtype;

pub const NAMES: [&str; 4] = ["mlp-dynamo", "mlp-script", "cnn-dynamo", "cnn-script"];
pub const BATCH: usize = 16;
const EXAMPLES: usize = 160;

/// One of the models, ready to be trained on the committed digits.
pub struct ReferenceModel {
    pub name: &'static str,
    pub graph: Graph,
    pub trainable: Trainable,
    pub loss: LossPlan,
    example: Vec<usize>,
}

pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/models")
}

/// Cross entropy with PyTorch's defaults.
pub fn cross_entropy() -> LossPlan {
    LossPlan::new(LossKind::CrossEntropy)
}

/// An optimizer of the reference runs, by its name there.
pub fn optimizer(name: &str) -> (OptimizerPlan, f64) {
    let (betas, eps) = ((0.9, 0.999), 1e-8);
    let (kind, lr, weight_decay) = match name {
        "sgd" => (OptimizerKind::Sgd { momentum: 0.9, dampening: 0.0, nesterov: false }, 0.05, 0.0),
        "adam" => (OptimizerKind::Adam { betas, eps }, 1e-3, 0.0),
        "adamw" => (OptimizerKind::AdamW { betas, eps }, 1e-3, 0.01),
        other => panic!("the reference has no optimizer {other}"),
    };
    (OptimizerPlan { weight_decay, ..OptimizerPlan::new(kind, lr) }, lr)
}

impl ReferenceModel {
    pub fn load(name: &'static str) -> Self {
        let graph = read_file(&folder().join(format!("{name}.onnx"))).unwrap();
        let loss = cross_entropy();
        let trainable = trainable(&graph, &loss, |_| false).unwrap();
        let example = if name.starts_with("mlp") { vec![64] } else { vec![1, 8, 8] };
        Self { name, graph, trainable, loss, example }
    }

    /// What PyTorch found for this architecture.
    pub fn expected(&self) -> Json {
        let text = std::fs::read_to_string(folder().join("expected.json")).unwrap();
        let all: Json = serde_json::from_str(&text).unwrap();
        all[&self.name[..3]].clone()
    }

    pub fn training_graph(&self, batch: usize) -> StepGraph {
        self.training_graph_in(batch, Precision::F32, Processor::Cpu)
    }

    pub fn training_graph_in(&self, batch: usize, precision: Precision, processor: Processor) -> StepGraph {
        self.with_spec(batch, |spec| {
            training(&StepSpec { precision, processor, ..*spec }, &oracle()).unwrap()
        })
    }

    pub fn evaluation_graph(&self, batch: usize) -> StepGraph {
        self.with_spec(batch, |spec| evaluation(spec, &oracle()).unwrap())
    }

    fn with_spec<T>(&self, batch: usize, build: impl FnOnce(&StepSpec<'_>) -> T) -> T {
        let inputs = [("x".to_owned(), self.example.clone())];
        let target = Target::new("y", Dtype::I64);
        let spec = StepSpec {
            graph: &self.graph,
            trainable: &self.trainable,
            batch,
            inputs: &inputs,
            dimensions: &BTreeMap::new(),
            loss: &self.loss,
            targets: std::slice::from_ref(&target),
            processor: Processor::Cpu,
            precision: Precision::F32,
            recompute: &trainer::graph::recompute::Recompute::Nothing,
        };
        build(&spec)
    }

    pub fn engine(&self, update: UpdateBy, plan: &OptimizerPlan, batches: &[usize]) -> Engine {
        let mut engine = Engine::new(runtime(), Place::Cpu, update, &self.trainable, plan).unwrap();
        for batch in batches {
            engine.add_training(self.training_graph(*batch), *batch).unwrap();
        }
        engine
    }

    /// The batches of the reference run, in their order, forever: images under `x`, labels under `y`.
    pub fn batches(&self, size: usize) -> impl Iterator<Item = Vec<HostArray>> {
        let loader = digits();
        let shape: Vec<usize> = std::iter::once(size).chain(self.example.iter().copied()).collect();
        (0..).map(move |batch| {
            let first = batch * size % EXAMPLES;
            let examples: Vec<usize> = (first..first + size).collect();
            let mut arrays = Vec::new();
            loader.load(1, &examples, &mut arrays).unwrap();
            arrays[0].shape.clone_from(&shape);
            arrays
        })
    }
}

/// Names of the arrays of a batch.
pub fn array_names() -> Vec<String> {
    ["x", "y"].map(str::to_owned).to_vec()
}

fn digits() -> Loader {
    let array = |name: &str| ArrayMap::stored(Some(name));
    let plan = DataPlan {
        source: DataSource::Files { train: Some(folder().join("digits160.npz")), validation: None },
        validation_fraction: None,
        shuffle: false,
        drop_last: false,
        inputs: BTreeMap::from([("x".to_owned(), array("images"))]),
        targets: BTreeMap::from([("y".to_owned(), array("labels"))]),
    };
    let dataset = Dataset::open(&plan, 0, &folder()).unwrap();
    let feed = |role, name: &str, dtype| Feed { role, name: name.to_owned(), dtype, shape: None };
    let feeds = [feed(Role::Input, "x", DataDtype::F32), feed(Role::Target, "y", DataDtype::I64)];
    Loader::bind(dataset.train(), &feeds).unwrap()
}
