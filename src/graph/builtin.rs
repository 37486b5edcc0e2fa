//! The networks this program builds itself, with PyTorch's default initialisation.

use super::model::{Dim, Graph, Node, Port, attribute};
use super::proto::AttributeProto;
use super::tensor::{Dtype, Tensor, elements};
use crate::config::Builtin;
use crate::random::{Purpose, stream, unit_f32};

/// The network for examples of these dimensions and so many outputs, initialised from `seed`.
///
/// Both take `input_name` and give `logits`. The mlp is 64-64 with Relu on the flattened example. The cnn has two blocks of a 3x3
/// Conv with BatchNormalization and Relu (16 and 32 channels), a 2x2 MaxPool, and a Gemm with 64 units; it takes
/// examples `[channels, height, width]`, and other shapes as one channel.
///
/// Weights and biases are drawn from U(-1/sqrt(fan_in), 1/sqrt(fan_in)), as `torch.nn.Linear` and `Conv2d` do.
#[must_use]
pub fn build(kind: Builtin, input_name: &str, example: &[usize], outputs: usize, seed: u64) -> Graph {
    let dims =
        std::iter::once(Dim::Symbol("batch".to_owned())).chain(example.iter().map(|dim| Dim::Fixed(*dim)));
    let input = Port { name: input_name.to_owned(), dtype: Some(Dtype::F32), dims: Some(dims.collect()) };
    let output_dims = vec![Dim::Symbol("batch".to_owned()), Dim::Fixed(outputs)];
    let output = Port { name: "logits".to_owned(), dtype: Some(Dtype::F32), dims: Some(output_dims) };
    let graph = Graph {
        name: "trainer_builtin".to_owned(),
        ir_version: 8,
        opset: 18,
        other_opsets: Vec::new(),
        inputs: vec![input],
        outputs: vec![output],
        value_info: Vec::new(),
        roles: Default::default(),
        initializers: Vec::new(),
        nodes: Vec::new(),
    };
    let mut layers = Layers { graph, seed, last: input_name.to_owned() };
    match kind {
        Builtin::Mlp => {
            layers.flatten();
            layers.linear("fc1", elements(example), 64);
            layers.relu();
            layers.linear("fc2", 64, 64);
            layers.relu();
            layers.linear("head", 64, outputs);
        }
        Builtin::Cnn => {
            let (channels, height, width) = match *example {
                [channels, height, width] => (channels, height, width),
                [height, width] => (1, height, width),
                _ => (1, 1, elements(example)),
            };
            if example.len() != 3 {
                layers.reshape(&[0, channels as i64, height as i64, width as i64]);
            }
            layers.conv_block("block1", channels, 16);
            layers.conv_block("block2", 16, 32);
            let (pool_height, pool_width) = (height.min(2), width.min(2));
            layers.max_pool(pool_height, pool_width);
            layers.flatten();
            layers.linear("fc1", 32 * (height / pool_height) * (width / pool_width), 64);
            layers.relu();
            layers.linear("head", 64, outputs);
        }
    }
    let Layers { mut graph, last, .. } = layers;
    for node in &mut graph.nodes {
        for name in node.outputs.iter_mut().filter(|name| **name == last) {
            "logits".clone_into(name);
        }
    }
    graph
}

struct Layers {
    graph: Graph,
    seed: u64,
    last: String,
}

impl Layers {
    fn node(&mut self, name: &str, op: &str, more: &[String], attributes: Vec<AttributeProto>) {
        let inputs = std::iter::once(self.last.clone()).chain(more.iter().cloned()).collect();
        let output = format!("{name}.out");
        let mut node = Node::new(name, op, inputs, vec![output.clone()]);
        node.attributes = attributes;
        self.graph.nodes.push(node);
        self.last = output;
    }

    fn numbered(&self, op: &str) -> String {
        format!("{}_{}", op.to_lowercase(), self.graph.nodes.len())
    }

    fn parameter(&mut self, name: String, dims: &[usize], fan_in: usize) -> String {
        let mut rng = stream(self.seed, Purpose::Init, self.graph.initializers.len() as u64, 0);
        let bound = 1.0 / (fan_in.max(1) as f32).sqrt();
        let values: Vec<f32> =
            (0..elements(dims)).map(|_| (unit_f32(&mut rng) * 2.0 - 1.0) * bound).collect();
        self.graph.initializers.push((name.clone(), Tensor::from_f32(dims, &values)));
        name
    }

    fn filled(&mut self, name: String, count: usize, value: f32) -> String {
        self.graph.initializers.push((name.clone(), Tensor::from_f32(vec![count], &vec![value; count])));
        name
    }

    fn linear(&mut self, name: &str, inputs: usize, outputs: usize) {
        let weight = self.parameter(format!("{name}.weight"), &[outputs, inputs], inputs);
        let bias = self.parameter(format!("{name}.bias"), &[outputs], inputs);
        self.node(name, "Gemm", &[weight, bias], vec![attribute::int("transB", 1)]);
    }

    fn conv_block(&mut self, name: &str, inputs: usize, outputs: usize) {
        let weight = self.parameter(format!("{name}.conv.weight"), &[outputs, inputs, 3, 3], inputs * 9);
        let attributes =
            vec![attribute::ints("kernel_shape", &[3, 3]), attribute::ints("pads", &[1, 1, 1, 1])];
        self.node(&format!("{name}.conv"), "Conv", &[weight], attributes);
        let norm = [("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)]
            .map(|(part, value)| self.filled(format!("{name}.norm.{part}"), outputs, value));
        self.node(&format!("{name}.norm"), "BatchNormalization", &norm, vec![]);
        self.relu();
    }

    fn relu(&mut self) {
        let name = self.numbered("Relu");
        self.node(&name, "Relu", &[], vec![]);
    }

    fn flatten(&mut self) {
        let name = self.numbered("Flatten");
        self.node(&name, "Flatten", &[], vec![attribute::int("axis", 1)]);
    }

    fn reshape(&mut self, dims: &[i64]) {
        let name = self.numbered("Reshape");
        let shape = format!("{name}.shape");
        self.graph.initializers.push((shape.clone(), Tensor::from_i64(vec![dims.len()], dims)));
        self.node(&name, "Reshape", &[shape], vec![]);
    }

    fn max_pool(&mut self, height: usize, width: usize) {
        let name = self.numbered("MaxPool");
        let window = [height as i64, width as i64];
        let attributes = vec![attribute::ints("kernel_shape", &window), attribute::ints("strides", &window)];
        self.node(&name, "MaxPool", &[], attributes);
    }
}
