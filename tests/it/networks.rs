//! Small networks as ONNX files, for what the committed ones do not have.

use trainer::config::Builtin;
use trainer::graph::builtin::build;
use trainer::graph::model::{Dim, Graph, Node, Port};
use trainer::graph::tensor::{Dtype, Tensor};
use trainer::graph::write::to_bytes;

/// The builtin convolutional network on `images`, with Dropout (half of the values) before its last layer.
pub fn cnn_with_dropout() -> Vec<u8> {
    let mut graph = build(Builtin::Cnn, "images", &[1, 8, 8], 10, 1);
    graph.initializers.push(("ratio".to_owned(), Tensor::from_f32(Vec::new(), &[0.5])));
    graph.initializers.push(("training".to_owned(), Tensor::from_f64(Dtype::Bool, Vec::new(), &[1.0])));
    let head = graph.nodes.iter().position(|node| node.name == "head").unwrap();
    let before = graph.nodes[head].inputs[0].clone();
    graph.nodes[head].inputs[0] = "dropped".to_owned();
    let inputs = vec![before, "ratio".to_owned(), "training".to_owned()];
    graph.nodes.insert(head, Node::new("dropout", "Dropout", inputs, vec!["dropped".to_owned()]));
    to_bytes(&graph)
}

/// `y = Gemm(x, weight, bias)` for examples of `inputs` values, beginning with weights of 0.1 and no bias.
pub fn linear(inputs: usize, outputs: usize) -> Vec<u8> {
    let port = |name: &str, dim: usize| Port {
        name: name.to_owned(),
        dtype: Some(Dtype::F32),
        dims: Some(vec![Dim::Symbol("batch".to_owned()), Dim::Fixed(dim)]),
    };
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let weights = vec![0.1; inputs * outputs];
    to_bytes(&Graph {
        name: "linear".to_owned(),
        ir_version: 8,
        opset: 17,
        other_opsets: Vec::new(),
        inputs: vec![port("x", inputs)],
        outputs: vec![port("y", outputs)],
        initializers: vec![
            ("weight".to_owned(), Tensor::from_f32(vec![inputs, outputs], &weights)),
            ("bias".to_owned(), Tensor::from_f32(vec![outputs], &vec![0.0; outputs])),
        ],
        nodes: vec![Node::new("gemm", "Gemm", names(&["x", "weight", "bias"]), names(&["y"]))],
    })
}
