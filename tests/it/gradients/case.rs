//! A gradient case as data.

use trainer::graph::model::attribute;
use trainer::graph::proto::{AttributeProto, GraphProto, attribute_type};

/// The newest version of the default operator set that ONNX Runtime 1.31 runs.
pub const NEWEST: i64 = 26;

/// One operator with operands, and what its gradient should be.
#[derive(Debug, Clone)]
pub struct Case {
    pub op: &'static str,
    pub about: &'static str,
    pub opsets: Vec<i64>,
    pub inputs: Vec<Input>,
    pub attributes: Vec<AttributeProto>,
    pub outputs: usize,
    /// How many of the outputs the loss reads.
    pub used_outputs: usize,
    pub expected: Expected,
    pub precision: Precision,
    pub form: Form,
}

/// What the gradient is compared with.
#[derive(Debug, Clone, PartialEq)]
pub enum Expected {
    /// Central differences of the forward graph.
    Differences,
    /// These values for the one varied input, where the function has no derivative; the output gradient is 1 everywhere.
    Values(Vec<f64>),
    /// PyTorch's gradients of all varied inputs; the output gradient is 1, 2, 1, 2, ...
    PyTorch(Vec<Vec<f64>>),
    /// No gradient reaches the varied inputs.
    Absent,
    /// The operator is refused with a message that holds this text.
    Refused(&'static str),
}

/// In which type the differences are taken.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Precision {
    /// float64, and the gradient graph in float32 has to agree with it.
    Double,
    /// float32, because ONNX Runtime has no other kernel on the CPU; the step is chosen by how the operator bends.
    Single { step: f64, tolerance: f64 },
}

/// In which form the node is differentiated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Form {
    /// As it stands.
    Inference,
    /// Rewritten for training; dropout masks keep every element but each third.
    Training,
}

/// An operand.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// A float variable whose gradient is wanted.
    Varied { dims: Vec<usize>, values: Values },
    /// A varied value that a subgraph of the node reads.
    Captured { dims: Vec<usize> },
    /// The varied input at this position once more.
    Again(usize),
    /// A float constant.
    Fixed { dims: Vec<usize>, values: Vec<f64> },
    /// A constant of type int64.
    Ints { dims: Vec<usize>, values: Vec<i64> },
    /// A constant of type bool.
    Bools { dims: Vec<usize>, values: Vec<bool> },
    /// A constant list of type int32.
    SmallInts { values: Vec<i64> },
    /// An int64 input of the graph, whose contents are not known when the gradient is built.
    FedInts { dims: Vec<usize>, values: Vec<i64> },
    /// A truth value that is an input of the graph.
    FedTruth(bool),
    /// Not given.
    Absent,
}

/// Contents of a varied input.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// Drawn uniformly from a range by a fixed seed; neighbours differ, so that maxima are not tied.
    Within(f64, f64),
    /// These.
    Listed(Vec<f64>),
}

/// A case that takes differences in float64, in the oldest and the newest operator set.
pub fn case(op: &'static str, about: &'static str) -> Case {
    Case {
        op,
        about,
        opsets: vec![13, NEWEST],
        inputs: Vec::new(),
        attributes: Vec::new(),
        outputs: 1,
        used_outputs: 1,
        expected: Expected::Differences,
        precision: Precision::Double,
        form: Form::Inference,
    }
}

impl Case {
    pub fn opsets(mut self, opsets: &[i64]) -> Self {
        self.opsets = opsets.to_vec();
        self
    }

    fn input(mut self, input: Input) -> Self {
        self.inputs.push(input);
        self
    }

    /// A varied input with elements in (-2, 2).
    pub fn x(self, dims: &[usize]) -> Self {
        self.x_within(dims, -2.0, 2.0)
    }

    pub fn x_within(self, dims: &[usize], low: f64, high: f64) -> Self {
        self.input(Input::Varied { dims: dims.to_vec(), values: Values::Within(low, high) })
    }

    pub fn x_of(self, dims: &[usize], values: &[f64]) -> Self {
        self.input(Input::Varied { dims: dims.to_vec(), values: Values::Listed(values.to_vec()) })
    }

    pub fn captured(self, dims: &[usize]) -> Self {
        self.input(Input::Captured { dims: dims.to_vec() })
    }

    /// Gives the first input these values.
    pub fn with_x(mut self, listed: &[f64]) -> Self {
        if let Some(Input::Varied { values, .. }) = self.inputs.first_mut() {
            *values = Values::Listed(listed.to_vec());
        }
        self
    }

    pub fn again(self, position: usize) -> Self {
        self.input(Input::Again(position))
    }

    pub fn fixed(self, dims: &[usize], values: &[f64]) -> Self {
        self.input(Input::Fixed { dims: dims.to_vec(), values: values.to_vec() })
    }

    /// A constant list of integers.
    pub fn ints(self, values: &[i64]) -> Self {
        self.input(Input::Ints { dims: vec![values.len()], values: values.to_vec() })
    }

    pub fn ints_of(self, dims: &[usize], values: &[i64]) -> Self {
        self.input(Input::Ints { dims: dims.to_vec(), values: values.to_vec() })
    }

    /// A constant list of 32-bit integers, as lengths of sequences are.
    pub fn small_ints(self, values: &[i64]) -> Self {
        self.input(Input::SmallInts { values: values.to_vec() })
    }

    pub fn int_scalar(self, value: i64) -> Self {
        self.input(Input::Ints { dims: vec![], values: vec![value] })
    }

    pub fn bools(self, dims: &[usize], values: &[bool]) -> Self {
        self.input(Input::Bools { dims: dims.to_vec(), values: values.to_vec() })
    }

    pub fn fed_ints(self, values: &[i64]) -> Self {
        self.fed_ints_of(&[values.len()], values)
    }

    pub fn fed_ints_of(self, dims: &[usize], values: &[i64]) -> Self {
        self.input(Input::FedInts { dims: dims.to_vec(), values: values.to_vec() })
    }

    pub fn fed_truth(self, value: bool) -> Self {
        self.input(Input::FedTruth(value))
    }

    pub fn absent(self) -> Self {
        self.input(Input::Absent)
    }

    pub fn int(mut self, name: &str, value: i64) -> Self {
        self.attributes.push(attribute::int(name, value));
        self
    }

    pub fn float(mut self, name: &str, value: f32) -> Self {
        self.attributes.push(attribute::float(name, value));
        self
    }

    pub fn list(mut self, name: &str, values: &[i64]) -> Self {
        self.attributes.push(attribute::ints(name, values));
        self
    }

    pub fn text(mut self, name: &str, value: &str) -> Self {
        self.attributes.push(attribute::string(name, value));
        self
    }

    pub fn texts(mut self, name: &str, values: &[&str]) -> Self {
        self.attributes.push(AttributeProto {
            name: name.to_owned(),
            strings: values.iter().map(|value| value.as_bytes().to_vec().into()).collect(),
            r#type: attribute_type::STRINGS,
            ..Default::default()
        });
        self
    }

    pub fn graph(mut self, name: &str, graph: GraphProto) -> Self {
        self.attributes.push(AttributeProto {
            name: name.to_owned(),
            g: Some(graph),
            r#type: attribute_type::GRAPH,
            ..Default::default()
        });
        self
    }

    pub fn outputs(mut self, outputs: usize) -> Self {
        self.outputs = outputs;
        self.used_outputs = outputs;
        self
    }

    /// The loss reads the first output alone.
    pub fn only_first_output(mut self) -> Self {
        self.used_outputs = 1;
        self
    }

    /// Differences in float32 of an operator that is linear in each operand, so that a large step costs no accuracy.
    pub fn single_linear(mut self) -> Self {
        self.precision = Precision::Single { step: 0.5, tolerance: 2e-5 };
        self
    }

    /// Differences in float32 of an operator that bends.
    pub fn single_curved(mut self) -> Self {
        self.precision = Precision::Single { step: 1e-2, tolerance: 1e-3 };
        self
    }

    /// In the training form.
    pub fn training(mut self) -> Self {
        self.form = Form::Training;
        self
    }

    pub fn gives(mut self, values: &[f64]) -> Self {
        self.expected = Expected::Values(values.to_vec());
        self
    }

    pub fn gives_none(mut self) -> Self {
        self.expected = Expected::Absent;
        self
    }

    pub fn refused(mut self, text: &'static str) -> Self {
        self.expected = Expected::Refused(text);
        self
    }
}
