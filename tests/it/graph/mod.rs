//! Models in memory: reading and writing them, the forms they are rewritten to, the graphs of a step.
//!
//! Belongs here: what `trainer::graph` promises about whole models, small ones built by [`model_of`] or those PyTorch
//! exported. Does not belong here: gradients of single operators (`gradients`), trainings (`models`).

mod branches;
mod damaged_files;
mod external_data;
mod folding;
mod forms;
mod functions;
mod reading;
mod roles;
mod steps;
mod training_form;

use trainer::graph::model::{Dim, Graph, Node, Port};
use trainer::graph::proto::{AttributeProto, GraphProto, NodeProto, ValueInfoProto, attribute_type};
use trainer::graph::tensor::{Dtype, Tensor, ValueType};

/// A model with a float32 input `x` of these dimensions (`None` is the free batch axis) and an output `y`.
pub fn model_of(x: &[Option<usize>], initializers: &[(&str, Tensor)], nodes: Vec<Node>) -> Graph {
    let dim = |dim: &Option<usize>| dim.map_or(Dim::Symbol("batch".to_owned()), Dim::Fixed);
    let input =
        Port { name: "x".to_owned(), dtype: Some(Dtype::F32), dims: Some(x.iter().map(dim).collect()) };
    let output = Port { name: "y".to_owned(), dtype: Some(Dtype::F32), dims: None };
    Graph {
        name: "model".to_owned(),
        ir_version: 8,
        opset: 18,
        other_opsets: Vec::new(),
        inputs: vec![input],
        outputs: vec![output],
        value_info: Vec::new(),
        roles: Default::default(),
        initializers: initializers
            .iter()
            .map(|(name, tensor)| ((*name).to_owned(), tensor.clone()))
            .collect(),
        nodes,
    }
}

/// A node called like its first output.
pub fn node(op: &str, inputs: &[&str], outputs: &[&str], attributes: Vec<AttributeProto>) -> Node {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    Node { attributes, ..Node::new(format!("node_{}", outputs[0]), op, owned(inputs), owned(outputs)) }
}

/// A float32 tensor whose elements are 0.1, -0.2, 0.3, ...
pub fn ramp(dims: &[usize]) -> Tensor {
    let count: usize = dims.iter().product();
    let values: Vec<f32> = (1..=count).map(|i| i as f32 * if i % 2 == 0 { -0.1 } else { 0.1 }).collect();
    Tensor::from_f32(dims, &values)
}

/// A scalar of type bool.
pub fn truth(value: bool) -> Tensor {
    Tensor::new(ValueType::new(Dtype::Bool, vec![]), vec![u8::from(value)]).unwrap()
}

/// A branch of an `If` that gives a value of the surrounding graph.
pub fn branch(name: &str, from: &str) -> AttributeProto {
    let output = format!("{name}.out");
    let pass = NodeProto {
        op_type: "Identity".to_owned(),
        input: vec![from.to_owned()],
        output: vec![output.clone()],
        ..Default::default()
    };
    let graph = GraphProto {
        name: name.to_owned(),
        node: vec![pass],
        output: vec![ValueInfoProto { name: output, r#type: None, ..Default::default() }],
        ..Default::default()
    };
    AttributeProto {
        name: name.to_owned(),
        g: Some(graph),
        r#type: attribute_type::GRAPH,
        ..Default::default()
    }
}
