use super::{model_of, node, ramp};
use crate::runtime_library::{oracle, run};
use std::collections::HashSet;
use trainer::graph::emit::Emit;
use trainer::graph::fold::{FoldError, lower};
use trainer::graph::model::{Graph, Node, Port, attribute};
use trainer::graph::tensor::{Dtype, Tensor};

/// Lowers a model whose input has the dimensions `[2, 3, 4]`.
fn lowered(initializers: &[(&str, Tensor)], nodes: Vec<Node>, variables: &[&str]) -> Result<Emit, FoldError> {
    let graph = model_of(&[Some(2), Some(3), Some(4)], initializers, nodes);
    lower(&graph, &variables.iter().copied().collect::<HashSet<_>>(), &oracle())
}

fn ints(values: &[i64]) -> Tensor {
    Tensor::from_i64([values.len()], values)
}

fn ops(emit: &Emit) -> Vec<&str> {
    emit.nodes().iter().map(|node| node.op.as_str()).collect()
}

#[track_caller]
fn known_ints(emit: &Emit, name: &str) -> Vec<i64> {
    emit.known(emit.find(name).unwrap()).unwrap().to_i64().unwrap()
}

fn finished(emit: Emit) -> Graph {
    let [x, y] = ["x", "y"].map(|name| emit.find(name).unwrap());
    emit.finish("lowered", &[x], &[y])
}

#[test]
fn a_chain_from_shape_to_reshape_becomes_a_reshape_to_known_numbers() {
    let nodes = vec![
        node("Shape", &["x"], &["shape"], vec![]),
        node("Gather", &["shape", "first"], &["batch"], vec![]),
        node("Unsqueeze", &["batch", "axis"], &["batch_list"], vec![]),
        node("Concat", &["batch_list", "rest"], &["target"], vec![attribute::int("axis", 0)]),
        node("Reshape", &["x", "target"], &["y"], vec![]),
    ];
    let initializers = [("first", Tensor::from_i64([], &[0])), ("axis", ints(&[0])), ("rest", ints(&[-1]))];
    let emit = lowered(&initializers, nodes, &[]).unwrap();
    assert_eq!(ops(&emit), ["Reshape"]);
    assert_eq!(known_ints(&emit, "target"), [2, -1]);
    assert_eq!(emit.dims(emit.find("y").unwrap()), [2, 12]);
    let graph = finished(emit);
    assert_eq!(graph.initializers.len(), 1, "what the chain used up is gone");
    let x = ramp(&[2, 3, 4]);
    assert_eq!(run(&graph, &[("x".to_owned(), x.clone())])[0].bytes(), x.bytes());
}

#[test]
fn a_shape_that_is_known_only_after_folding_makes_further_shapes_known() {
    let nodes = vec![
        node("Shape", &["x"], &["s1"], vec![]),
        node("ReduceProd", &["s1"], &["all"], vec![attribute::int("keepdims", 1)]),
        node("Reshape", &["x", "all"], &["flat"], vec![]),
        node("Shape", &["flat"], &["s2"], vec![]),
        node("Div", &["s2", "six"], &["four"], vec![]),
        node("Concat", &["four", "minus_one"], &["target"], vec![attribute::int("axis", 0)]),
        node("Reshape", &["flat", "target"], &["y"], vec![]),
    ];
    let emit = lowered(&[("six", ints(&[6])), ("minus_one", ints(&[-1]))], nodes, &[]).unwrap();
    assert_eq!(ops(&emit), ["Reshape", "Reshape"]);
    assert_eq!(emit.dims(emit.find("y").unwrap()), [4, 6]);
}

#[test]
fn parts_of_shapes_and_sizes_are_numbers() {
    let part = vec![attribute::int("start", -2), attribute::int("end", 5)];
    let empty = vec![attribute::int("start", 2), attribute::int("end", -2)];
    let nodes = vec![
        node("Shape", &["x"], &["part"], part),
        node("Shape", &["x"], &["empty"], empty),
        node("Size", &["x"], &["size"], vec![]),
        node("Unsqueeze", &["size", "axis"], &["size_list"], vec![]),
        node("Concat", &["part", "empty", "size_list"], &["list"], vec![attribute::int("axis", 0)]),
        node("Cast", &["list"], &["y"], vec![attribute::int("to", 1)]),
    ];
    let emit = lowered(&[("axis", ints(&[0]))], nodes, &[]).unwrap();
    assert!(ops(&emit).is_empty());
    let y = emit.known(emit.find("y").unwrap()).unwrap();
    assert_eq!(y, &Tensor::from_f32([3], &[3.0, 4.0, 24.0]));
}

#[test]
fn nothing_is_folded_through_what_is_trained() {
    let nodes = vec![
        node("Transpose", &["w"], &["w_t"], vec![]),
        node("Transpose", &["c"], &["c_t"], vec![]),
        node("MatMul", &["x", "w_t"], &["h"], vec![]),
        node("MatMul", &["h", "c_t"], &["y"], vec![]),
    ];
    let initializers = [("w", ramp(&[5, 4])), ("c", ramp(&[2, 5]))];
    let emit = lowered(&initializers, nodes, &["w"]).unwrap();
    assert_eq!(ops(&emit), ["Transpose", "MatMul", "MatMul"]);
    assert_eq!(emit.nodes()[0].outputs, ["w_t"]);
    assert!(emit.known(emit.find("w").unwrap()).is_none());
    assert_eq!(emit.known(emit.find("c_t").unwrap()).unwrap().dims(), [5, 2]);
}

#[test]
fn constants_inside_the_graph_are_folded() {
    let number = attribute::float("value_float", 2.5);
    let nodes = vec![
        node("Constant", &[], &["two_and_a_half"], vec![number]),
        node("ConstantOfShape", &["three"], &["zeros"], vec![]),
        node("Add", &["two_and_a_half", "zeros"], &["c"], vec![]),
        node("Mul", &["x", "c"], &["y"], vec![]),
    ];
    let emit = lowered(&[("three", ints(&[4]))], nodes, &[]).unwrap();
    assert_eq!(ops(&emit), ["Mul"]);
    assert_eq!(emit.known(emit.find("c").unwrap()), Some(&Tensor::from_f32([4], &[2.5; 4])));
}

#[test]
fn random_operators_are_not_folded() {
    let nodes = vec![
        node("RandomNormalLike", &["c"], &["noise"], vec![]),
        node("Dropout", &["c", "ratio"], &["thinned"], vec![]),
        node("Add", &["noise", "thinned"], &["sum"], vec![]),
        node("Mul", &["x", "sum"], &["y"], vec![]),
    ];
    let initializers = [("c", ramp(&[4])), ("ratio", Tensor::from_f32([], &[0.5]))];
    let emit = lowered(&initializers, nodes, &[]).unwrap();
    assert_eq!(ops(&emit), ["RandomNormalLike", "Dropout", "Add", "Mul"]);
}

#[test]
fn a_constant_converted_like_an_activation_is_a_constant() {
    let nodes = vec![
        node("CastLike", &["count", "x"], &["factor"], vec![]),
        node("Mul", &["x", "factor"], &["y"], vec![]),
    ];
    let emit = lowered(&[("count", ints(&[7]))], nodes, &[]).unwrap();
    assert_eq!(ops(&emit), ["Mul"]);
    assert_eq!(emit.known(emit.find("factor").unwrap()), Some(&Tensor::from_f32([1], &[7.0])));
}

#[test]
fn lowering_keeps_what_the_model_computes() {
    let nodes = vec![
        node("Shape", &["x"], &["shape"], vec![]),
        node("Expand", &["c", "shape"], &["wide"], vec![]),
        node("Sub", &["x", "wide"], &["y"], vec![]),
    ];
    let graph = model_of(&[Some(2), Some(3), Some(4)], &[("c", ramp(&[1, 3, 1]))], nodes);
    let lowered = finished(lower(&graph, &HashSet::new(), &oracle()).unwrap());
    let x = [("x".to_owned(), ramp(&[2, 3, 4]))];
    assert_eq!(run(&lowered, &x), run(&graph, &x));
}

#[test]
fn a_free_dimension_that_is_left_is_refused() {
    let graph = model_of(&[None, Some(3)], &[], vec![node("Neg", &["x"], &["y"], vec![])]);
    let error = lower(&graph, &HashSet::new(), &oracle()).unwrap_err();
    assert!(matches!(error, FoldError::Dynamic { .. }) && error.to_string().contains("`x`"), "{error}");
}

#[test]
fn what_onnxruntime_refuses_is_passed_on_with_the_node() {
    let refused = |nodes| lowered(&[("w", ramp(&[5]))], nodes, &[]).unwrap_err().to_string();
    let message = refused(vec![node("Add", &["x", "w"], &["y"], vec![])]);
    assert!(message.contains("node_y"), "{message}");
    let message = refused(vec![node("NoSuchOperator", &["x"], &["y"], vec![])]);
    assert!(message.contains("NoSuchOperator"), "{message}");
}

#[test]
fn several_outputs_and_absent_ones_are_typed() {
    let nodes = vec![
        node("Split", &["x"], &["a", "b"], vec![attribute::int("axis", 0)]),
        node("Dropout", &["a"], &["c"], vec![]),
        node("Add", &["c", "b"], &["y"], vec![]),
    ];
    let mut graph = model_of(&[Some(2), Some(3), Some(4)], &[], nodes);
    graph.opset = 13;
    graph.outputs.push(Port::inferred("b"));
    let emit = lower(&graph, &HashSet::new(), &oracle()).unwrap();
    let kind = |name: &str| emit.kind(emit.find(name).unwrap()).clone();
    assert_eq!(kind("b").dims, [1, 3, 4]);
    assert_eq!(kind("y").dtype, Dtype::F32);
}

/// `CastLike` is a function to ONNX Runtime, which says of its result what it says of a scalar: no dimensions.
#[test]
fn a_value_of_unknown_rank_is_not_taken_for_a_scalar() {
    let nodes = vec![
        node("Neg", &["x"], &["negative"], vec![]),
        node("CastLike", &["negative", "x"], &["cast"], vec![]),
        node("Shape", &["cast"], &["last"], vec![attribute::int("start", -1)]),
        node("Concat", &["six", "last"], &["target"], vec![attribute::int("axis", 0)]),
        node("Reshape", &["cast", "target"], &["y"], vec![]),
    ];
    let emit = lowered(&[("six", ints(&[6]))], nodes, &[]).unwrap();
    assert_eq!(known_ints(&emit, "target"), [6, 4]);
    assert_eq!(emit.dims(emit.find("y").unwrap()), [6, 4]);
}

/// That `y = Transpose(a) v` is computed as by hand where nothing of it is known beforehand, and that no product is left whose
/// right operand is a vector.
#[track_caller]
fn check_product_with_vector(graph: &Graph, a: &[f64], v: &[f64]) {
    let tensor = |dims: &[usize], values: &[f64]| Tensor::from_f64(Dtype::F32, dims, values);
    let (rows, columns) = (v.len(), a.len() / v.len());
    let feeds = [("a".to_owned(), tensor(&[rows, columns], a)), ("v".to_owned(), tensor(&[rows], v))];
    let column = |at: usize| (0..rows).map(|row| a[row * columns + at] * v[row]).sum::<f64>();
    let expected: Vec<f64> = (0..columns).map(column).collect();
    let given = run(graph, &feeds)[0].to_f64().unwrap();
    let close = given.iter().zip(&expected).all(|(given, expected)| (given - expected).abs() < 1e-5);
    assert!(close && given.len() == expected.len(), "{given:?}, by hand {expected:?}");
}

#[test]
fn a_transposed_matrix_by_a_vector_is_not_left_to_onnxruntime_which_computes_something_else() {
    let nodes = vec![
        node("Transpose", &["a"], &["at"], vec![attribute::ints("perm", &[1, 0])]),
        node("MatMul", &["at", "v"], &["y"], vec![]),
    ];
    let model = model_of(&[Some(1)], &[], nodes);
    let inputs = vec![Port::fixed("a", Dtype::F32, &[3, 2]), Port::fixed("v", Dtype::F32, &[3])];
    let model = Graph { inputs, ..model };
    let emit = lower(&model, &HashSet::new(), &oracle()).unwrap();
    let [a, v, y] = ["a", "v", "y"].map(|name| emit.find(name).unwrap());
    assert_eq!(emit.dims(y), [2]);
    let (matrix, vector) = ([1.0, -2.0, 0.5, 4.0, 3.0, -1.0], [2.0, -1.0, 0.25]);
    check_product_with_vector(&emit.finish("lowered", &[a, v], &[y]), &matrix, &vector);
}

#[test]
fn a_part_that_the_data_choose_is_refused_with_what_to_do_instead() {
    let nodes = vec![
        node("NonZero", &["x"], &["places"], vec![]),
        node("Cast", &["places"], &["y"], vec![attribute::int("to", 1)]),
    ];
    let error = lowered(&[], nodes, &[]).unwrap_err().to_string();
    assert!(error.contains("NonZero") && error.contains("torch.where(mask, a, b)"), "{error}");
}
