//! Small networks as ONNX files, for what the committed ones do not have.

use std::path::Path;
use trainer::config::Builtin;
use trainer::graph::builtin::build;
use trainer::graph::model::{Dim, Graph, Node, Port};
use trainer::graph::proto::{AttributeProto, attribute_type};
use trainer::graph::read::read_bytes;
use trainer::graph::tensor::{Dtype, Tensor};
use trainer::graph::write::{tensor_proto, to_bytes};

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

/// The same with the rate and the mode of Dropout as nodes, as both exporters of PyTorch write them.
pub fn cnn_with_dropout_as_pytorch_writes_it() -> Vec<u8> {
    let mut graph = read_bytes(Path::new("dropout.onnx"), cnn_with_dropout().into()).unwrap();
    for name in ["ratio", "training"] {
        let at = graph.initializers.iter().position(|(known, _)| known == name).unwrap();
        let (name, value) = graph.initializers.remove(at);
        let mut constant = Node::new(format!("node_{name}"), "Constant", vec![], vec![name]);
        constant.attributes = vec![AttributeProto {
            name: "value".to_owned(),
            t: Some(tensor_proto("", &value)),
            r#type: attribute_type::TENSOR,
            ..AttributeProto::default()
        }];
        graph.nodes.insert(0, constant);
    }
    to_bytes(&graph)
}

/// `y = Gemm(x, weight, bias)` for examples of `inputs` values; each weight begins as 0.1, the bias as given.
pub fn linear(inputs: usize, bias: &[f32]) -> Vec<u8> {
    one_node("Gemm", inputs, bias)
}

/// A chain of nodes with these names, of an operator of ONNX Runtime alone that has no gradient rule, behind a Gemm.
pub fn foreign(names: &[&str]) -> Vec<u8> {
    let mut graph = read_bytes(Path::new("linear.onnx"), linear(2, &[0.0, 0.0]).into()).unwrap();
    graph.nodes[0].outputs[0] = "value_0".to_owned();
    for (index, name) in names.iter().enumerate() {
        let output = if index + 1 == names.len() { "y".to_owned() } else { format!("value_{}", index + 1) };
        let node = Node::new(*name, "QuickGelu", vec![format!("value_{index}")], vec![output]);
        graph.nodes.push(Node { domain: "com.microsoft".to_owned(), ..node });
    }
    graph.other_opsets = vec![("com.microsoft".to_owned(), 1)];
    to_bytes(&graph)
}

/// A network of one node with an operator of this name, which needs not exist.
pub fn one_node(op: &str, inputs: usize, bias: &[f32]) -> Vec<u8> {
    let port = |name: &str, dim: usize| Port {
        name: name.to_owned(),
        dtype: Some(Dtype::F32),
        dims: Some(vec![Dim::Symbol("batch".to_owned()), Dim::Fixed(dim)]),
    };
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let outputs = bias.len();
    to_bytes(&Graph {
        name: "linear".to_owned(),
        ir_version: 8,
        opset: 17,
        other_opsets: Vec::new(),
        inputs: vec![port("x", inputs)],
        outputs: vec![port("y", outputs)],
        value_info: Vec::new(),
        initializers: vec![
            ("weight".to_owned(), Tensor::from_f32(vec![inputs, outputs], &vec![0.1; inputs * outputs])),
            ("bias".to_owned(), Tensor::from_f32(vec![outputs], bias)),
        ],
        nodes: vec![Node::new("only", op, names(&["x", "weight", "bias"]), names(&["y"]))],
    })
}

/// `p = Gemm(x, weight_p, bias_p)` and `q = Gemm(x, weight_q, bias_q)`, one value each, for examples of two values; each
/// weight begins as 0.1, the biases as 0 and 1.
pub fn two_heads() -> Vec<u8> {
    let mut graph = read_bytes(Path::new("linear.onnx"), linear(2, &[0.0]).into()).unwrap();
    let (input, output) = (graph.inputs[0].clone(), graph.outputs[0].clone());
    graph = Graph { inputs: vec![input], outputs: vec![], initializers: vec![], nodes: vec![], ..graph };
    for (head, bias) in [("p", 0.0), ("q", 1.0)] {
        let named = |what: &str| format!("{what}_{head}");
        graph.initializers.push((named("weight"), Tensor::from_f32([2, 1], &[0.1, 0.1])));
        graph.initializers.push((named("bias"), Tensor::from_f32([1], &[bias])));
        let inputs = vec!["x".to_owned(), named("weight"), named("bias")];
        graph.nodes.push(Node::new(head, "Gemm", inputs, vec![head.to_owned()]));
        graph.outputs.push(Port { name: head.to_owned(), ..output.clone() });
    }
    to_bytes(&graph)
}
