//! The target over its committed corpus, and over some thousand mutations of it.

use super::{PlainOracle, mutate_model, onnx_model};
use crate::config::{LossKind, LossPlan, Precision};
use crate::graph::emit::Processor;
use crate::graph::fold::{Oracle, OracleError, PartialType};
use crate::graph::model::{Dim, Graph, Node, Port, attribute};
use crate::graph::recompute::Recompute;
use crate::graph::step::{self, StepSpec, Target};
use crate::graph::tensor::{Dtype, Tensor};
use crate::graph::write::to_bytes;
use allocation::{CountingAllocator, within_limits};
use std::collections::BTreeMap;
use std::path::PathBuf;

#[path = "../../../runtime/src/fuzzing/allocation.rs"]
#[allow(dead_code, unreachable_pub)]
mod allocation;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// How many mutations of the corpus are run.
const MUTATIONS: usize = 1000;

fn corpus() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/onnx_model")
}

#[test]
fn no_bytes_break_what_is_done_with_a_model_before_it_runs() {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(corpus()).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let inputs: Vec<Vec<u8>> = paths.iter().map(|path| std::fs::read(path).unwrap()).collect();
    assert!(!inputs.is_empty());
    inputs.iter().for_each(|input| within_limits(input, onnx_model));
    for seed in 0..MUTATIONS {
        let input = &inputs[seed * 7 % inputs.len()];
        if let Some(mutated) = mutate_model(input, seed as u64) {
            within_limits(&mutated, onnx_model);
        }
    }
}

fn port(name: &str, dtype: Dtype, dims: &[usize]) -> Port {
    let dims =
        std::iter::once(Dim::Symbol("batch".to_owned())).chain(dims.iter().map(|dim| Dim::Fixed(*dim)));
    Port { name: name.to_owned(), dtype: Some(dtype), dims: Some(dims.collect()) }
}

fn node(op: &str, inputs: &[&str], output: &str) -> Node {
    Node::new(output, op, inputs.iter().map(|name| (*name).to_owned()).collect(), vec![output.to_owned()])
}

fn graph(input: Port, initializers: &[(&str, &[usize])], nodes: Vec<Node>) -> Graph {
    let tensor = |dims: &[usize]| Tensor::from_f32(dims, &vec![0.5; dims.iter().product()]);
    Graph {
        name: "seed".to_owned(),
        ir_version: 8,
        opset: 18,
        other_opsets: Vec::new(),
        value_info: Vec::new(),
        roles: Default::default(),
        inputs: vec![input],
        outputs: vec![Port::inferred(nodes.last().unwrap().outputs[0].clone())],
        initializers: initializers.iter().map(|(name, dims)| ((*name).to_owned(), tensor(dims))).collect(),
        nodes,
    }
}

/// Small models with the operators whose shapes the oracle of this target knows.
fn seeds() -> Vec<(&'static str, Graph)> {
    let with = |mut node: Node, attributes: Vec<crate::graph::proto::AttributeProto>| {
        node.attributes = attributes;
        node
    };
    let linear = graph(
        port("x", Dtype::F32, &[2]),
        &[("w", &[3, 2]), ("b", &[3]), ("s", &[1])],
        vec![
            with(node("Gemm", &["x", "w", "b"], "h"), vec![attribute::int("transB", 1)]),
            node("Relu", &["h"], "r"),
            node("Mul", &["r", "s"], "y"),
        ],
    );
    let convolution = graph(
        port("x", Dtype::F32, &[1, 4, 4]),
        &[("w", &[2, 1, 3, 3]), ("g", &[2]), ("b", &[2]), ("mean", &[2]), ("var", &[2]), ("head", &[8, 3])],
        vec![
            with(node("Conv", &["x", "w"], "c"), vec![attribute::ints("pads", &[1; 4])]),
            node("BatchNormalization", &["c", "g", "b", "mean", "var"], "n"),
            node("Relu", &["n"], "r"),
            with(
                node("MaxPool", &["r"], "p"),
                vec![attribute::ints("kernel_shape", &[2, 2]), attribute::ints("strides", &[2, 2])],
            ),
            with(node("Flatten", &["p"], "f"), vec![attribute::int("axis", 1)]),
            node("MatMul", &["f", "head"], "y"),
        ],
    );
    let mut shapes = graph(
        port("x", Dtype::F32, &[2, 3]),
        &[("w", &[3, 4]), ("scale", &[4]), ("shift", &[4])],
        vec![
            node("MatMul", &["x", "w"], "m"),
            node("LayerNormalization", &["m", "scale", "shift"], "n"),
            with(
                node("Split", &["n"], "a"),
                vec![attribute::int("axis", -1), attribute::int("num_outputs", 2)],
            ),
            node("Shape", &["x"], "shape"),
            with(node("Gather", &["shape", "zero"], "rows"), vec![attribute::int("axis", 0)]),
            with(node("Concat", &["rows", "rest"], "target"), vec![attribute::int("axis", 0)]),
            node("Reshape", &["n", "target"], "flat"),
            with(node("ReduceMean", &["flat", "one"], "mean"), vec![attribute::int("keepdims", 1)]),
            node("Sub", &["flat", "mean"], "centred"),
            with(node("Softmax", &["centred"], "y"), vec![attribute::int("axis", -1)]),
        ],
    );
    shapes.nodes[2].outputs.push("b".to_owned());
    for (name, values) in [("zero", &[0][..]), ("rest", &[-1]), ("one", &[1])] {
        shapes.initializers.push((name.to_owned(), Tensor::from_i64([values.len()], values)));
    }
    let embedding = graph(
        port("ids", Dtype::I64, &[3]),
        &[("table", &[5, 4]), ("mask", &[3, 3])],
        vec![
            with(node("Gather", &["table", "ids"], "e"), vec![attribute::int("axis", 0)]),
            with(node("Transpose", &["e"], "t"), vec![attribute::ints("perm", &[0, 2, 1])]),
            node("MatMul", &["e", "t"], "scores"),
            node("Add", &["scores", "mask"], "masked"),
            with(node("Softmax", &["masked"], "p"), vec![attribute::int("axis", -1)]),
            node("Dropout", &["p"], "d"),
            node("MatMul", &["d", "e"], "y"),
        ],
    );
    vec![("linear", linear), ("convolution", convolution), ("shapes", shapes), ("embedding", embedding)]
}

/// That the oracle knows what the seeds are made of: otherwise the target would stop in front of the gradients.
#[test]
fn the_seeds_of_the_corpus_come_to_gradients() {
    for (name, graph) in seeds() {
        let loss = LossPlan::new(LossKind::Mse);
        let trainable = step::trainable(&graph, &loss, |_| false).unwrap();
        let dims = graph.inputs[0].dims.as_ref().unwrap()[1..].iter();
        let dims = dims.map(|dim| if let Dim::Fixed(size) = dim { *size } else { panic!("{dim:?}") });
        let inputs = [(graph.inputs[0].name.clone(), dims.collect::<Vec<usize>>())];
        let spec = StepSpec {
            recompute: &Recompute::Nothing,
            graph: &graph,
            trainable: &trainable,
            batch: 2,
            inputs: &inputs,
            dimensions: &BTreeMap::new(),
            loss: &loss,
            targets: &[Target::new("y", Dtype::F32)],
            processor: Processor::Cpu,
            precision: Precision::F32,
        };
        let built = step::training(&spec, &PlainOracle).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(built.gradients.len(), trainable.parameters.len(), "{name}");
        assert!(built.activation_bytes > 0);
        within_limits(&to_bytes(&graph), onnx_model);
    }
}

/// The table of class numbers that the loss compares with had one entry for each, whatever the file asked for.
#[test]
fn an_output_of_billions_of_classes_is_refused_before_a_table_of_them_is_made() {
    let mut graph = graph(port("x", Dtype::F32, &[1]), &[("w", &[1])], vec![node("Mul", &["x", "w"], "y")]);
    graph.inputs[0].dims.as_mut().unwrap()[1] = Dim::Fixed(1 << 34);
    let loss = LossPlan::new(LossKind::CrossEntropy);
    let trainable = step::trainable(&graph, &loss, |_| false).unwrap();
    let spec = StepSpec {
        recompute: &Recompute::Nothing,
        graph: &graph,
        trainable: &trainable,
        batch: 2,
        inputs: &[("x".to_owned(), vec![1 << 34])],
        dimensions: &BTreeMap::new(),
        loss: &loss,
        targets: &[Target::new("y", Dtype::I64)],
        processor: Processor::Cpu,
        precision: Precision::F32,
    };
    struct Anything;
    impl Oracle for Anything {
        fn infer(&self, graph: &Graph) -> Result<Vec<PartialType>, OracleError> {
            let dims = vec![Some(2), Some(1 << 34)];
            Ok(graph
                .outputs
                .iter()
                .map(|_| PartialType { dtype: Some(Dtype::F32), dims: dims.clone() })
                .collect())
        }

        fn evaluate(&self, _: &Graph) -> Result<Vec<Tensor>, OracleError> {
            Ok(Vec::new())
        }
    }
    let message = step::training(&spec, &Anything).unwrap_err().to_string();
    assert!(message.contains("17179869184 classes, expected at most 16777216"), "{message}");
}

#[test]
fn what_the_oracle_does_not_accept_is_refused_by_node() {
    let wide = graph(port("x", Dtype::F32, &[2]), &[("w", &[3, 3])], vec![node("MatMul", &["x", "w"], "y")]);
    let wide = Graph { inputs: vec![Port::fixed("x", Dtype::F32, &[2, 2])], ..wide };
    assert_eq!(PlainOracle.infer(&wide).unwrap_err().message, "node `y` is not accepted");
}

/// Writes the models to begin with: `cargo test write_onnx_seeds -- --ignored`, then `scripts/fuzz.sh` to grow them.
#[test]
#[ignore = "writes into fuzz/corpus"]
fn write_onnx_seeds() {
    std::fs::create_dir_all(corpus()).unwrap();
    for (name, graph) in seeds() {
        std::fs::write(corpus().join(format!("seed-{name}")), to_bytes(&graph)).unwrap();
    }
}
