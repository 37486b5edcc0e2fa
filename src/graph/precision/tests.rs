use super::autocast::autocast;
use super::settle::settle;
use super::{Treatment, listed};
use crate::graph::autodiff::{Gradient, backward, table};
use crate::graph::emit::{Emit, Processor, Value};
use crate::graph::model::Graph;
use crate::graph::tensor::{Dtype, Tensor, ValueType};
use std::collections::HashMap;

/// A graph with the input `x` and the parameters `w`, all `[4, 4]`, and the parameter `b` of 4 elements.
struct Built {
    emit: Emit,
    x: Value,
    w: Value,
    b: Value,
}

fn built() -> Built {
    let mut emit = Emit::new(18, Vec::new());
    emit.set_scope("forward");
    let mut declare = |name: &str, dims: &[usize]| emit.declare(name, ValueType::new(Dtype::F32, dims));
    let (x, w, b) = (declare("x", &[4, 4]), declare("w", &[4, 4]), declare("b", &[4]));
    Built { emit, x, w, b }
}

/// What becomes of the nodes that `build` appends: operators with 16 bits, then those with 32.
#[track_caller]
fn check_assignment(build: impl FnOnce(&mut Built), low: &[&str], single: &[&str]) {
    let mut built = built();
    build(&mut built);
    let found = autocast(&mut built.emit, Dtype::Bf16, &[built.w, built.b]);
    let names = |counts: &std::collections::BTreeMap<String, usize>| {
        counts.iter().flat_map(|(op, count)| vec![op.clone(); *count]).collect::<Vec<_>>()
    };
    assert_eq!((names(&found.low), names(&found.single)), (low.map_names(), single.map_names()));
}

trait MapNames {
    fn map_names(&self) -> Vec<String>;
}

impl MapNames for [&str] {
    fn map_names(&self) -> Vec<String> {
        self.iter().map(|name| (*name).to_owned()).collect()
    }
}

fn inputs_of(emit: &Emit, op: &str) -> Vec<Vec<Dtype>> {
    let nodes = emit.nodes().iter().filter(|node| node.op == op);
    let dtypes = nodes
        .map(|node| node.inputs.iter().filter_map(|name| emit.find(name)).map(|x| emit.dtype(x)).collect());
    dtypes.collect()
}

#[test]
fn the_lists_are_sorted_disjoint_and_of_operators_that_are_trained_through() {
    let (low, follow) = (listed(Treatment::Low), listed(Treatment::Follow));
    assert!(low.is_sorted() && follow.is_sorted());
    assert!(low.iter().all(|op| !follow.contains(op)));
    for op in low.iter().chain(follow) {
        let is_trained = |rule: &crate::graph::autodiff::Rule| {
            rule.op == *op && matches!(rule.gradient, Gradient::Rule(_) | Gradient::Composed(_))
        };
        assert!(table().any(is_trained), "{op}");
    }
}

#[test]
fn a_product_takes_16_bits_and_what_follows_it_stays_there() {
    check_assignment(
        |Built { emit, x, w, .. }| {
            let product = emit.matmul(*x, *w);
            let positive = emit.relu(product);
            emit.transpose(positive, &[1, 0]);
        },
        &["MatMul", "Relu", "Transpose"],
        &[],
    );
}

#[test]
fn what_no_product_comes_before_stays_in_32_bits() {
    check_assignment(
        |Built { emit, x, w, .. }| {
            let sum = emit.add(*x, *w);
            emit.relu(sum);
        },
        &[],
        &["Add", "Relu"],
    );
}

#[test]
fn a_sum_with_a_value_of_32_bits_has_32_bits_unless_it_is_the_bias_of_a_product() {
    check_assignment(
        |Built { emit, x, w, b }| {
            let product = emit.matmul(*x, *w);
            let linear = emit.add(product, *b);
            emit.add(linear, *x);
        },
        &["Add", "MatMul"],
        &["Add"],
    );
}

#[test]
fn a_scalar_that_16_bits_represent_takes_part_in_them_and_another_does_not() {
    for (factor, is_low) in [(0.125, true), (0.1, false), (70_000.0, false)] {
        let (low, single): (&[&str], &[&str]) =
            if is_low { (&["MatMul", "Mul"], &[]) } else { (&["MatMul"], &["Mul"]) };
        check_assignment(
            |Built { emit, x, w, .. }| {
                let product = emit.matmul(*x, *w);
                emit.scale(product, factor);
            },
            low,
            single,
        );
    }
}

#[test]
fn a_sum_of_many_numbers_and_what_leaves_the_range_stay_in_32_bits() {
    check_assignment(
        |Built { emit, x, w, .. }| {
            let product = emit.matmul(*x, *w);
            let soft = emit.softmax(product, 1);
            emit.reduce_sum(soft, &[1]);
            emit.exp(product);
        },
        &["MatMul"],
        &["Exp", "ReduceSum", "Softmax"],
    );
}

#[test]
fn numbers_of_64_bits_are_left_alone() {
    let mut emit = Emit::new(18, Vec::new());
    let x = emit.declare("x", ValueType::new(Dtype::F64, vec![4, 4]));
    let product = emit.matmul(x, x);
    emit.relu(product);
    let before = emit.nodes().to_vec();
    autocast(&mut emit, Dtype::F16, &[]);
    assert_eq!(emit.nodes(), before);
}

#[test]
fn an_activation_is_cast_once_and_a_parameter_for_each_of_its_readers() {
    let Built { mut emit, x, w, b } = built();
    emit.matmul(x, w);
    emit.matmul(x, w);
    autocast(&mut emit, Dtype::F16, &[w, b]);
    assert_eq!(inputs_of(&emit, "MatMul"), [[Dtype::F16; 2]; 2]);
    let casts_of =
        |name: &str| emit.nodes().iter().filter(|node| node.op == "Cast" && node.inputs == [name]).count();
    assert_eq!((casts_of("x"), casts_of("w")), (1, 2));
}

#[test]
fn a_constant_becomes_a_constant_of_rounded_numbers() {
    let Built { mut emit, x, .. } = built();
    let frozen = emit.constant(Tensor::from_f32([4, 4], &[1.001; 16]));
    emit.matmul(x, frozen);
    autocast(&mut emit, Dtype::Bf16, &[]);
    let node = emit.nodes().iter().find(|node| node.op == "MatMul").unwrap();
    let constant = emit.find(&node.inputs[1]).unwrap();
    assert_eq!(emit.known(constant).unwrap().to_f64().unwrap(), [1.0; 16]);
}

/// A linear layer with a pool, for a processor, with its gradients.
fn settled(processor: Processor, low: Dtype) -> Graph {
    let Built { mut emit, x, w, b } = built();
    emit.set_processor(processor);
    let product = emit.matmul(x, w);
    let linear = emit.add(product, b);
    let positive = emit.relu(linear);
    let padded = emit.pad(positive, &[0, 1, 0, 1]);
    autocast(&mut emit, low, &[w, b]);
    let loss = emit.sum_all(padded);
    let gradients = backward(&mut emit, loss, &[w, b]).unwrap();
    let outputs: Vec<Value> = gradients.into_iter().flatten().collect();
    assert_eq!(outputs.len(), 2);
    let count = emit.nodes().len();
    settle(&mut emit, low, count);
    emit.finish("settled", &[x, w, b], &outputs)
}

/// For each value of 16 bits its producer, and for each reader of one the reader; found from the casts alone.
fn low_values(graph: &Graph, low: Dtype) -> HashMap<String, String> {
    let narrowing = |node: &&crate::graph::model::Node| {
        node.op == "Cast" && node.int("to") == Some(i64::from(low.code()))
    };
    graph
        .nodes
        .iter()
        .filter(narrowing)
        .map(|node| (node.outputs[0].clone(), node.inputs[0].clone()))
        .collect()
}

#[test]
fn on_the_cpu_a_value_of_16_bits_lives_between_two_casts_only() {
    for low in [Dtype::Bf16, Dtype::F16] {
        let graph = settled(Processor::Cpu, low);
        let narrow = low_values(&graph, low);
        assert!(narrow.len() > 4, "{narrow:?}");
        let readers = graph.nodes.iter().filter(|node| node.reads().any(|name| narrow.contains_key(name)));
        let mut count = 0;
        for reader in readers {
            assert_eq!((reader.op.as_str(), reader.int("to")), ("Cast", Some(1)), "{}", reader.name);
            count += 1;
        }
        assert_eq!(count, narrow.len());
        assert!(graph.initializers.iter().all(|(_, tensor)| tensor.dtype() != low));
    }
}

#[test]
fn on_the_cpu_moved_elements_are_not_rounded_again() {
    let graph = settled(Processor::Cpu, Dtype::Bf16);
    let narrow = low_values(&graph, Dtype::Bf16);
    let rounded: Vec<&str> = graph
        .nodes
        .iter()
        .filter(|node| node.outputs.iter().any(|name| narrow.values().any(|from| from == name)))
        .map(|node| node.op.as_str())
        .collect();
    assert!(rounded.contains(&"MatMul") && rounded.contains(&"Add"), "{rounded:?}");
    assert!(!rounded.contains(&"Relu") && !rounded.contains(&"Pad"), "{rounded:?}");
}

#[test]
fn on_a_graphics_processor_a_node_without_a_kernel_stands_between_casts() {
    for (low, has_pad) in [(Dtype::F16, true), (Dtype::Bf16, false)] {
        let graph = settled(Processor::Gpu, low);
        let pad = graph.nodes.iter().find(|node| node.op == "Slice" || node.op == "Pad");
        assert!(pad.is_some());
        let compare = graph.nodes.iter().find(|node| node.op == "Greater").unwrap();
        let widened = compare.inputs[0].starts_with("trainer/float32/widened/");
        assert_eq!(widened, !has_pad, "{low}: {:?}", compare.inputs);
        let product = graph.nodes.iter().find(|node| node.op == "MatMul").unwrap();
        assert!(!product.inputs[0].starts_with("trainer/float32/"), "{:?}", product.inputs);
    }
}
