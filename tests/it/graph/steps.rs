use super::{branch, model_of, node, ramp, truth};
use crate::reference_models::{ReferenceModel, cross_entropy};
use crate::runtime_library::{oracle, run};
use std::collections::BTreeMap;
use trainer::config::{Builtin, LossKind, LossPlan, Precision};
use trainer::graph::builtin;
use trainer::graph::emit::Processor;
use trainer::graph::model::{Dim, Graph, Node, Port, attribute};
use trainer::graph::step::{
    Excluded, LOSS_SUM, StepError, StepGraph, StepSpec, Target, Trainable, evaluation, trainable, training,
};
use trainer::graph::tensor::{Dtype, Tensor};

/// What a step is built from, with a mean squared error against a target of the output's shape.
pub struct Setup {
    pub graph: Graph,
    pub batch: usize,
    pub inputs: Vec<(String, Vec<usize>)>,
    dimensions: BTreeMap<String, u64>,
    loss: LossPlan,
    target: Target,
}

impl Setup {
    pub fn new(graph: Graph, batch: usize, example: &[usize]) -> Self {
        Self {
            graph,
            batch,
            inputs: vec![("x".to_owned(), example.to_vec())],
            dimensions: BTreeMap::new(),
            loss: LossPlan { kind: LossKind::Mse, ..cross_entropy() },
            target: Target::new("t", Dtype::F32),
        }
    }

    pub fn classifier(graph: Graph, batch: usize, example: &[usize]) -> Self {
        let target = Target::new("t", Dtype::I64);
        Self { loss: cross_entropy(), target, ..Self::new(graph, batch, example) }
    }

    pub fn trainable(&self) -> Result<Trainable, StepError> {
        trainable(&self.graph, &self.loss, |name| name.starts_with("frozen"))
    }

    fn spec<'a>(&'a self, trainable: &'a Trainable) -> StepSpec<'a> {
        StepSpec {
            graph: &self.graph,
            trainable,
            batch: self.batch,
            inputs: &self.inputs,
            dimensions: &self.dimensions,
            loss: &self.loss,
            targets: std::slice::from_ref(&self.target),
            processor: Processor::Cpu,
            precision: Precision::F32,
            recompute: &trainer::graph::recompute::Recompute::Nothing,
        }
    }

    pub fn training(&self) -> Result<StepGraph, StepError> {
        training(&self.spec(&self.trainable()?), &oracle())
    }

    pub fn evaluation(&self) -> Result<StepGraph, StepError> {
        evaluation(&self.spec(&self.trainable()?), &oracle())
    }

    /// Initial values of what is trained.
    pub fn values(&self) -> Vec<(String, Tensor)> {
        let trainable = self.trainable().unwrap();
        trainable.parameters.into_iter().chain(trainable.states).collect()
    }
}

/// The outputs of a step by name.
pub fn outputs(step: &StepGraph, values: &[(String, Tensor)]) -> BTreeMap<String, Tensor> {
    let given = run(&step.graph, values);
    step.graph.outputs.iter().map(|port| port.name.clone()).zip(given).collect()
}

#[track_caller]
pub fn check_close(found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() <= tolerance, "found {found}, expected {expected}");
    }
}

fn linear() -> Vec<Node> {
    vec![node("Gemm", &["x", "w", "b"], &["y"], vec![])]
}

#[test]
fn initializers_are_sorted_into_parameters_states_and_what_is_left_alone() {
    let nodes = vec![
        node("Mul", &["x", "frozen_gain"], &["a"], vec![]),
        node("Mul", &["a", "factor"], &["b"], vec![]),
        node("Gemm", &["b", "w"], &["c"], vec![]),
        node("BatchNormalization", &["c", "scale", "bias", "mean", "var"], &["d"], vec![]),
        node("Cast", &["double"], &["single"], vec![attribute::int("to", 1)]),
        node("Add", &["d", "single"], &["e"], vec![]),
        node("Reshape", &["e", "shape"], &["y"], vec![]),
        node("Add", &["d", "elsewhere"], &["other"], vec![]),
    ];
    let two = ramp(&[2]);
    let initializers = [
        ("frozen_gain", ramp(&[3])),
        ("factor", ramp(&[])),
        ("w", ramp(&[3, 2])),
        ("scale", two.clone()),
        ("bias", two.clone()),
        ("mean", two.clone()),
        ("var", two.clone()),
        ("double", Tensor::from_f64(Dtype::F64, [2], &[1.0, 2.0])),
        ("shape", Tensor::from_i64([2], &[-1, 2])),
        ("elsewhere", two),
    ];
    let setup = Setup::new(model_of(&[None, Some(3)], &initializers, nodes), 4, &[3]);
    let sorted = setup.trainable().unwrap();
    let names =
        |tensors: &[(String, Tensor)]| tensors.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&sorted.parameters), ["w", "scale", "bias"]);
    assert_eq!(names(&sorted.states), ["mean", "var"]);
    let excluded: Vec<(&str, Excluded)> =
        sorted.excluded.iter().map(|(name, reason)| (name.as_str(), *reason)).collect();
    assert_eq!(
        excluded,
        [
            ("frozen_gain", Excluded::Frozen),
            ("factor", Excluded::Scalar),
            ("double", Excluded::ElementType(Dtype::F64)),
            ("elsewhere", Excluded::NoPathToLoss),
        ]
    );
    assert_eq!(sorted.parameter_elements(), 10);
    let step = setup.training().unwrap();
    assert_eq!(step.gradients.len(), 3);
    assert_eq!(step.states.len(), 2);
}

#[test]
fn a_constant_inside_the_graph_is_not_trained() {
    let mut constant = node("Constant", &[], &["c"], vec![]);
    constant.attributes.push(trainer::graph::proto::AttributeProto {
        name: "value".to_owned(),
        t: Some(trainer::graph::write::tensor_proto("", &ramp(&[3]))),
        r#type: trainer::graph::proto::attribute_type::TENSOR,
        ..Default::default()
    });
    let nodes =
        vec![constant, node("Mul", &["x", "c"], &["h"], vec![]), node("Mul", &["h", "w"], &["y"], vec![])];
    let setup = Setup::new(model_of(&[None, Some(3)], &[("w", ramp(&[3]))], nodes), 2, &[3]);
    assert_eq!(setup.values().len(), 1);
    setup.training().unwrap();
}

#[test]
fn a_model_without_anything_to_train_is_refused() {
    let model = model_of(
        &[None, Some(3)],
        &[("frozen", ramp(&[3]))],
        vec![node("Mul", &["x", "frozen"], &["y"], vec![])],
    );
    let error = Setup::new(model, 2, &[3]).trainable().unwrap_err();
    assert!(matches!(error, StepError::NothingToTrain { considered: 1 }), "{error}");
}

/// An operator of ONNX Runtime's own, which has no gradient rule.
fn foreign(op: &str, inputs: &[&str], outputs: &[&str]) -> Node {
    Node { domain: "com.microsoft".to_owned(), ..node(op, inputs, outputs, vec![]) }
}

fn with_foreign_operators(mut graph: Graph) -> Graph {
    graph.other_opsets = vec![("com.microsoft".to_owned(), 1)];
    graph
}

#[test]
fn every_unsupported_operator_is_listed_at_once_by_name_and_operator() {
    let nodes = vec![
        node("Mul", &["x", "w"], &["a"], vec![]),
        foreign("QuickGelu", &["a"], &["b"]),
        node("Relu", &["b"], &["c"], vec![]),
        foreign("FastGelu", &["c"], &["d"]),
        node(
            "MaxPool",
            &["d"],
            &["e"],
            vec![attribute::ints("kernel_shape", &[2]), attribute::int("storage_order", 1)],
        ),
        foreign("QuickGelu", &["x"], &["unrelated"]),
        node("Sub", &["e", "unrelated_sum"], &["y"], vec![]),
    ];
    let mut graph =
        model_of(&[None, Some(1), Some(4)], &[("w", ramp(&[4])), ("unrelated_sum", ramp(&[3]))], nodes);
    graph.nodes[6].inputs[1] = "unrelated_sum".to_owned();
    let StepError::Gradient(unsupported) =
        Setup::new(with_foreign_operators(graph), 2, &[1, 4]).training().unwrap_err()
    else {
        panic!("the operators have no gradient")
    };
    let listed: Vec<(&str, &str)> =
        unsupported.nodes.iter().map(|node| (node.name.as_str(), node.op.as_str())).collect();
    assert_eq!(listed, [("node_b", "com.microsoft.QuickGelu"), ("node_d", "com.microsoft.FastGelu")]);
    let message = unsupported.to_string();
    for word in [
        "2 nodes",
        "node_b (com.microsoft.QuickGelu)",
        "node_d (com.microsoft.FastGelu)",
        "opset 18",
        "model.freeze",
    ] {
        assert!(message.contains(word), "`{word}` is missing in: {message}");
    }
}

#[test]
fn an_unsupported_operator_off_the_path_to_the_parameters_does_no_harm() {
    let nodes = vec![
        foreign("QuickGelu", &["x"], &["a"]),
        node("Mul", &["a", "w"], &["b"], vec![]),
        foreign("FastGelu", &["b"], &["unused"]),
        node("Neg", &["b"], &["y"], vec![]),
    ];
    let graph = model_of(&[None, Some(3)], &[("w", ramp(&[3]))], nodes);
    Setup::new(with_foreign_operators(graph), 2, &[3]).training().unwrap();
}

#[test]
fn shapes_that_depend_on_data_are_refused_with_the_values_concerned() {
    let nodes = vec![
        node("Mul", &["x", "w"], &["a"], vec![]),
        node("NonZero", &["a"], &["positions"], vec![]),
        node("Cast", &["positions"], &["y"], vec![attribute::int("to", 1)]),
    ];
    let message = Setup::new(model_of(&[None, Some(3)], &[("w", ramp(&[3]))], nodes), 2, &[3])
        .training()
        .unwrap_err()
        .to_string();
    assert!(message.contains("2 values") && message.contains("`positions`"), "{message}");
}

#[test]
fn free_dimensions_are_taken_from_the_data_and_checked_against_the_settings() {
    let mut graph = model_of(&[None, Some(3)], &[("w", ramp(&[3, 2])), ("b", ramp(&[2]))], linear());
    let dims = vec![Dim::Symbol("batch".to_owned()), Dim::Symbol("features".to_owned())];
    graph.inputs[0].dims = Some(dims);
    let mut setup = Setup::new(graph, 4, &[3]);
    let step = setup.training().unwrap();
    assert_eq!(step.feeds[0].kind.dims, [4, 3]);
    assert_eq!(step.predictions.1.dims, [4, 2]);
    assert_eq!(step.target.as_ref().unwrap().dims, [4, 2]);
    setup.dimensions.insert("features".to_owned(), 5);
    assert!(matches!(setup.training().unwrap_err(), StepError::InputShape { .. }));
}

#[test]
fn a_batch_axis_that_the_exporter_fixed_takes_batches_of_its_size_and_says_so_to_others() {
    let graph = model_of(&[Some(2), Some(3)], &[("w", ramp(&[3, 2])), ("b", ramp(&[2]))], linear());
    assert_eq!(Setup::new(graph.clone(), 2, &[3]).training().unwrap().feeds[0].kind.dims, [2, 3]);
    let error = Setup::new(graph.clone(), 16, &[3]).training().unwrap_err();
    assert!(matches!(&error, StepError::FixedBatch { found: 2, batch: 16, .. }), "{error}");
    assert!(error.to_string().contains("train.batch_size = 2"), "{error}");
    // What differs is not the batch.
    let error = Setup::new(graph, 2, &[4]).training().unwrap_err();
    assert!(matches!(error, StepError::InputShape { .. }), "{error}");
}

#[test]
fn a_model_in_float16_is_refused_with_its_type() {
    let half = Tensor::from_f64(Dtype::F16, [3], &[1.0, 2.0, 3.0]);
    let model = model_of(&[None, Some(3)], &[("w", half)], vec![node("Mul", &["x", "w"], &["y"], vec![])]);
    let error = Setup::new(model, 2, &[3]).trainable().unwrap_err();
    assert!(matches!(error, StepError::OnlyFloat32 { considered: 1, found: Dtype::F16 }), "{error}");
    assert!(error.to_string().contains("float16"), "{error}");
}

#[test]
fn names_and_shapes_in_the_settings_that_do_not_fit_the_model_are_named() {
    let model = || model_of(&[None, Some(3)], &[("w", ramp(&[3, 2])), ("b", ramp(&[2]))], linear());
    let check = |change: fn(&mut Setup), words: &[&str]| {
        let mut setup = Setup::new(model(), 4, &[3]);
        change(&mut setup);
        let message = setup.training().unwrap_err().to_string();
        for word in words {
            assert!(message.contains(word), "`{word}` is missing in: {message}");
        }
    };
    check(|setup| setup.inputs[0].0 = "image".to_owned(), &["`image`", "`x`", "data.inputs.image"]);
    check(|setup| setup.inputs.clear(), &["`x`", "data.inputs.x"]);
    check(|setup| setup.inputs[0].1 = vec![4], &["`x`", "[batch, 3]", "[4]"]);
    check(|setup| setup.loss.output = Some("z".to_owned()), &["output `z`", "`y`", "loss.output"]);
    check(|setup| setup.graph.outputs.push(Port::inferred("h")), &["2 outputs", "loss.output"]);
}

#[test]
fn examples_of_the_right_size_in_another_arrangement_are_fed_as_the_model_wants_them() {
    let nodes =
        vec![node("Flatten", &["x"], &["flat"], vec![]), node("Gemm", &["flat", "w"], &["y"], vec![])];
    let setup =
        Setup::new(model_of(&[None, Some(1), Some(2), Some(2)], &[("w", ramp(&[4, 2]))], nodes), 3, &[4]);
    assert_eq!(setup.training().unwrap().feeds[0].kind.dims, [3, 1, 2, 2]);
}

#[test]
fn an_input_that_nothing_reads_is_not_fed() {
    let mut graph = model_of(&[None, Some(3)], &[("w", ramp(&[3, 2])), ("b", ramp(&[2]))], linear());
    graph.inputs.push(Port::fixed("spare", Dtype::F32, &[4, 1]));
    let mut setup = Setup::new(graph, 4, &[3]);
    setup.inputs.push(("spare".to_owned(), vec![1]));
    let step = setup.training().unwrap();
    assert_eq!(step.feeds.iter().map(|feed| feed.name.as_str()).collect::<Vec<_>>(), ["x", "t"]);
}

#[test]
fn a_parameter_cut_off_by_a_step_function_has_gradient_zero_and_is_reported() {
    let nodes = vec![
        node("Mul", &["x", "w"], &["h"], vec![]),
        node("Sign", &["h"], &["s"], vec![]),
        node("Add", &["s", "b"], &["y"], vec![]),
    ];
    let setup =
        Setup::new(model_of(&[None, Some(3)], &[("w", ramp(&[3])), ("b", ramp(&[3]))], nodes), 1, &[3]);
    let step = setup.training().unwrap();
    assert_eq!(step.without_gradient, ["w"]);
    let mut values = setup.values();
    values.push(("x".to_owned(), ramp(&[1, 3])));
    values.push(("trainer/target/t".to_owned(), Tensor::from_f32([1, 3], &[0.0; 3])));
    let given = outputs(&step, &values);
    assert_eq!(given[&step.gradients[0]], Tensor::from_f32([3], &[0.0; 3]));
    assert_ne!(given[&step.gradients[1]], Tensor::from_f32([3], &[0.0; 3]));
}

/// The loss is the mean of `(E[i] . h - t)^2` with `h = E[0]`, so the table gets a gradient as a lookup and as a matrix.
#[test]
fn a_table_that_is_looked_up_and_multiplied_gets_both_gradients() {
    let nodes = vec![
        node("Gather", &["w", "first"], &["h"], vec![]),
        node("Mul", &["x", "h"], &["hx"], vec![]),
        node("MatMul", &["hx", "turned"], &["y"], vec![]),
    ];
    let turned = node("Transpose", &["w"], &["turned"], vec![]);
    let nodes = std::iter::once(turned).chain(nodes).collect();
    let first = Tensor::from_i64([1], &[0]);
    let table = Tensor::from_f32([2, 2], &[1.0, 2.0, 3.0, 4.0]);
    let setup = Setup::new(model_of(&[None, Some(2)], &[("w", table), ("first", first)], nodes), 1, &[2]);
    let step = setup.training().unwrap();
    let mut values = setup.values();
    values.push(("x".to_owned(), Tensor::from_f32([1, 2], &[1.0, 1.0])));
    values.push(("trainer/target/t".to_owned(), Tensor::from_f32([1, 2], &[4.0, 10.0])));
    let given = outputs(&step, &values);
    // y = [5, 11], so dy = 2 (y - t) = [2, 2] for the sum of the loss; dE = dy' h, and dh = dy E in row 0.
    let expected = [2.0 + 8.0, 4.0 + 12.0, 2.0, 4.0];
    assert_eq!(given[&step.gradients[0]], Tensor::from_f32([2, 2], &expected));
}

/// The optimizing exporter gives Resize its scales as an initializer, like a weight.
#[test]
fn numbers_that_operators_read_as_settings_are_not_trained() {
    let nodes = vec![
        node("Conv", &["x", "w"], &["h"], vec![]),
        node("Resize", &["h", "", "scales"], &["y"], vec![attribute::string("mode", "linear")]),
    ];
    let scales = Tensor::from_f32([4], &[1.0, 1.0, 2.0, 2.0]);
    let model = model_of(
        &[None, Some(1), Some(2), Some(2)],
        &[("w", ramp(&[1, 1, 1, 1])), ("scales", scales)],
        nodes,
    );
    let setup = Setup::new(model, 2, &[1, 2, 2]);
    let trainable = setup.trainable().unwrap();
    assert_eq!(trainable.parameters.len(), 1);
    assert_eq!(trainable.excluded, [("scales".to_owned(), Excluded::Setting)]);
    assert_eq!(setup.training().unwrap().predictions.1.dims, [2, 1, 4, 4]);
}

#[test]
fn equal_models_give_equal_graphs() {
    let setup = ReferenceModel::load("cnn-dynamo");
    assert_eq!(setup.training_graph(4).graph, setup.training_graph(4).graph);
}

#[test]
fn builtin_networks_have_training_and_evaluation_graphs() {
    for kind in [Builtin::Mlp, Builtin::Cnn] {
        for example in [&[1, 8, 8][..], &[6]] {
            let setup = Setup::classifier(builtin::build(kind, "x", example, 3, 1), 4, example);
            let step = setup.training().unwrap();
            assert_eq!(step.gradients.len(), setup.trainable().unwrap().parameters.len());
            let dims: Vec<usize> = std::iter::once(4).chain(example.iter().copied()).collect();
            let mut values = setup.values();
            values.push(("x".to_owned(), ramp(&dims)));
            values.push(("trainer/target/t".to_owned(), Tensor::from_i64([4], &[0, 1, 2, 0])));
            for step in [step, setup.evaluation().unwrap()] {
                let given = outputs(&step, &values);
                assert_eq!(given["trainer/predictions"].dims(), [4, 3]);
                assert!(given[LOSS_SUM].to_f64().unwrap()[0].is_finite());
            }
        }
    }
}

#[test]
fn graphs_written_for_other_processors_compute_the_same() {
    let example = [1, 8, 8];
    let setup = Setup::classifier(builtin::build(Builtin::Cnn, "x", &example, 3, 1), 4, &example);
    let trainable = setup.trainable().unwrap();
    let mut values = setup.values();
    values.push(("x".to_owned(), ramp(&[4, 1, 8, 8])));
    values.push(("trainer/target/t".to_owned(), Tensor::from_i64([4], &[0, 1, 2, 0])));
    let [on_cpu, on_gpu] = [Processor::Cpu, Processor::Gpu].map(|processor| {
        let spec = StepSpec { processor, ..setup.spec(&trainable) };
        training(&spec, &oracle()).unwrap()
    });
    assert_ne!(on_cpu.graph.nodes, on_gpu.graph.nodes, "the forms differ");
    let (found, expected) = (outputs(&on_gpu, &values), outputs(&on_cpu, &values));
    for (name, expected) in &expected {
        let expected = expected.to_f64().unwrap();
        let largest = expected.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
        check_close(&found[name].to_f64().unwrap(), &expected, 1e-5 * largest);
    }
}

#[test]
fn what_only_a_branch_reads_is_part_of_the_step() {
    let branches = vec![branch("then_branch", "frozen1"), branch("else_branch", "doubled")];
    let nodes = vec![
        node("Mul", &["frozen2", "two"], &["doubled"], vec![]),
        node("If", &["go"], &["gain"], branches),
        node("Mul", &["x", "gain"], &["h"], vec![]),
        node("Add", &["h", "b"], &["y"], vec![]),
    ];
    let initializers = [
        ("go", truth(false)),
        ("frozen1", ramp(&[3])),
        ("frozen2", ramp(&[3])),
        ("two", Tensor::from_f32([], &[2.0])),
        ("b", Tensor::from_f32([3], &[0.0; 3])),
    ];
    let setup = Setup::new(model_of(&[None, Some(3)], &initializers, nodes), 1, &[3]);
    let mut values = setup.values();
    values.push(("x".to_owned(), Tensor::from_f32([1, 3], &[1.0; 3])));
    values.push(("trainer/target/t".to_owned(), Tensor::from_f32([1, 3], &[0.0; 3])));
    for step in [setup.training().unwrap(), setup.evaluation().unwrap()] {
        let predictions = outputs(&step, &values)["trainer/predictions"].to_f64().unwrap();
        check_close(&predictions, &[0.2, -0.4, 0.6], 1e-6);
    }
}
