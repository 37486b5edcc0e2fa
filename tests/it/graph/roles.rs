//! What a file says of its initializers, and of values whose gradient stops.

use super::steps::Setup;
use super::{model_of, node, ramp};
use trainer::graph::model::Role;
use trainer::graph::read::read_bytes;
use trainer::graph::step::Excluded;
use trainer::graph::tensor::Tensor;
use trainer::graph::write::to_bytes;

/// What the exporter notes decides: a number that is a parameter is trained, a buffer and a constant are not, and statistics
/// that it calls buffers stay statistics.
#[test]
fn what_the_file_calls_parameters_is_trained_and_what_it_calls_buffers_is_not() {
    let nodes = vec![
        node("BatchNormalization", &["x", "scale", "bias", "mean", "var"], &["n"], vec![]),
        node("Mul", &["n", "gain"], &["a"], vec![]),
        node("Mul", &["a", "table"], &["b"], vec![]),
        node("Mul", &["b", "held"], &["y"], vec![]),
    ];
    let three = ramp(&[3]);
    let initializers = [
        ("scale", three.clone()),
        ("bias", three.clone()),
        ("mean", three.clone()),
        ("var", three.clone()),
        ("gain", ramp(&[])),
        ("table", three.clone()),
        ("held", three),
    ];
    let mut graph = model_of(&[None, Some(3)], &initializers, nodes);
    let noted = [
        ("gain", Role::Parameter),
        ("mean", Role::Buffer),
        ("table", Role::Buffer),
        ("held", Role::Constant),
    ];
    graph.roles = noted.map(|(name, role)| (name.to_owned(), role)).into();
    // The notes outlive the file that this program writes.
    let graph = read_bytes("model.onnx".as_ref(), to_bytes(&graph).into()).unwrap();
    let setup = Setup::new(graph, 4, &[3]);
    let sorted = setup.trainable().unwrap();
    let names =
        |tensors: &[(String, Tensor)]| tensors.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&sorted.parameters), ["scale", "bias", "gain"]);
    assert_eq!(names(&sorted.states), ["mean", "var"]);
    let excluded = [("table", Excluded::Buffer), ("held", Excluded::Constant)];
    assert_eq!(sorted.excluded, excluded.map(|(name, reason)| (name.to_owned(), reason)));
    assert_eq!(setup.training().unwrap().gradients.len(), 3);
}

#[test]
fn the_gradient_stops_where_pytorch_detached_a_value() {
    let stopped = |name: &str| {
        let nodes = vec![
            node("Mul", &["x", "w"], &["h"], vec![]),
            node("Identity", &["h"], &[name], vec![]),
            node("Mul", &[name, "v"], &["y"], vec![]),
        ];
        let graph = model_of(&[None, Some(3)], &[("w", ramp(&[3])), ("v", ramp(&[3]))], nodes);
        Setup::new(graph, 2, &[3]).training().unwrap().without_gradient
    };
    for name in ["detach", "detach_12", "block.detach"] {
        assert_eq!(stopped(name), ["w"], "{name}");
    }
    for name in ["h2", "detached", "detach_me"] {
        assert!(stopped(name).is_empty(), "{name}");
    }
}
