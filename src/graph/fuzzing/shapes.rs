//! The shapes of what operators give, for some operators, with the checks that ONNX Runtime makes before.

use crate::graph::emit::broadcast;
use crate::graph::model::Node;
use crate::graph::proto::attribute_type;
use crate::graph::tensor::{Dtype, Tensor, ValueType, elements};
use bytes::Bytes;
use std::collections::HashMap;

mod movements;
mod windows;

/// What is known of a value.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    /// Its type; `None` if a shape is not known.
    pub(super) kind: Option<ValueType>,
    /// Its contents, if it is a constant.
    pub(super) contents: Option<Tensor>,
}

/// Operators with the least and most numbers of inputs and outputs.
const ARITIES: &[(&[&str], [usize; 2], [usize; 2])] = &[
    (UNARY, [1, 1], [1, 1]),
    (BINARY, [2, 2], [1, 1]),
    (COMPARING, [2, 2], [1, 1]),
    (&["And", "Or", "Xor"], [2, 2], [1, 1]),
    (
        &["Not", "Flatten", "Transpose", "Cast", "Shape", "Size", "GlobalAveragePool", "Constant"],
        [1, 1],
        [1, 1],
    ),
    (&["Min", "Max", "Sum", "Mean", "Concat"], [1, 16], [1, 1]),
    (&["MatMul", "Reshape", "Unsqueeze", "Gather", "Expand", "Tile", "PRelu", "CumSum"], [2, 2], [1, 1]),
    (&["Squeeze", "ConstantOfShape"], [1, 2], [1, 1]),
    (&["Gemm", "Conv"], [2, 3], [1, 1]),
    (&["Where"], [3, 3], [1, 1]),
    (&["Slice"], [3, 5], [1, 1]),
    (&["Split"], [1, 2], [1, 16]),
    (
        &["ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL2", "ReduceLogSumExp"],
        [1, 2],
        [1, 1],
    ),
    (&["MaxPool", "AveragePool"], [1, 1], [1, 1]),
    (&["BatchNormalization"], [5, 5], [1, 1]),
    (&["LayerNormalization"], [2, 3], [1, 1]),
    (&["Clip", "Dropout"], [1, 3], [1, 1]),
    (&["If"], [1, 1], [1, 8]),
];

const UNARY: &[&str] = &[
    "Relu",
    "Sigmoid",
    "Tanh",
    "Exp",
    "Log",
    "Sqrt",
    "Neg",
    "Abs",
    "Erf",
    "Softplus",
    "Softsign",
    "Elu",
    "Selu",
    "LeakyRelu",
    "HardSigmoid",
    "Floor",
    "Sign",
    "Sin",
    "Cos",
    "Atan",
    "Reciprocal",
    "Identity",
    "Softmax",
    "LogSoftmax",
];
const BINARY: &[&str] = &["Add", "Sub", "Mul", "Div", "Pow"];
const COMPARING: &[&str] = &["Equal", "Greater", "Less"];

/// A node with what is known of its inputs.
struct Call<'a> {
    node: &'a Node,
    opset: i64,
    inputs: Vec<Option<&'a Known>>,
}

/// What is known of the outputs of a node; `None` if ONNX Runtime would refuse it, or it is not known here.
pub(super) fn outputs_of(node: &Node, opset: i64, known: &HashMap<&str, Known>) -> Option<Vec<Known>> {
    if !node.domain.is_empty() || node.reads().any(|name| !known.contains_key(name)) {
        return None;
    }
    let find = |name: &String| if name.is_empty() { None } else { known.get(name.as_str()) };
    let call = Call { node, opset, inputs: node.inputs.iter().map(find).collect() };
    let is_constant = node.op == "Constant";
    let (_, inputs, outputs) = ARITIES.iter().find(|(ops, _, _)| ops.contains(&node.op.as_str()))?;
    let within = |count: usize, [least, most]: &[usize; 2]| (*least..=*most).contains(&count);
    let count = if is_constant { 1 + node.inputs.len() } else { node.inputs.len() };
    let needed = if is_constant { 0 } else { *inputs.first()? };
    if !within(count, inputs) || !within(node.outputs.len(), outputs) {
        return None;
    }
    if call.inputs.iter().take(needed).any(Option::is_none) {
        return None;
    }
    let is_unknown = |input: &Option<&Known>| input.is_some_and(|known| known.kind.is_none());
    if node.op == "If" || call.inputs.iter().any(is_unknown) {
        return Some(vec![Known::default(); node.outputs.len()]);
    }
    if is_constant {
        return Some(vec![constant(node)?]);
    }
    let outputs = call.outputs()?;
    let typed = |kind: Option<ValueType>| Known { kind, contents: None };
    Some(outputs.into_iter().map(typed).collect())
}

/// The value of a `Constant`, of the kinds that exporters write.
fn constant(node: &Node) -> Option<Known> {
    let [attribute] = node.attributes.as_slice() else { return None };
    let tensor = match (attribute.name.as_str(), attribute.r#type) {
        ("value_int", attribute_type::INT) => Tensor::from_i64([], &[attribute.i]),
        ("value_ints", attribute_type::INTS) => Tensor::from_i64([attribute.ints.len()], &attribute.ints),
        ("value_float", attribute_type::FLOAT) => Tensor::from_f32([], &[attribute.f]),
        ("value", attribute_type::TENSOR) => {
            let proto = attribute.t.as_ref()?;
            let dims: Vec<usize> =
                proto.dims.iter().map(|dim| usize::try_from(*dim).ok()).collect::<Option<_>>()?;
            let dtype = Dtype::from_code(proto.data_type)?;
            Tensor::new(ValueType::new(dtype, dims), proto.raw_data.clone().unwrap_or_else(Bytes::new))?
        }
        _ => return None,
    };
    Some(Known { kind: Some(tensor.kind().clone()), contents: Some(tensor) })
}

type Outputs = Option<Vec<Option<ValueType>>>;

fn one(kind: ValueType) -> Outputs {
    Some(vec![Some(kind)])
}

impl Call<'_> {
    fn kind(&self, at: usize) -> Option<&ValueType> {
        self.inputs.get(at).copied().flatten()?.kind.as_ref()
    }

    fn dims(&self, at: usize) -> Option<&[usize]> {
        Some(&self.kind(at)?.dims)
    }

    fn has(&self, at: usize) -> bool {
        self.inputs.get(at).copied().flatten().is_some()
    }

    /// The integers of an input; the outer `None` if the node is at fault, the inner one if they are not known.
    #[expect(clippy::option_option, reason = "wrong and not known are two things")]
    fn list(&self, at: usize) -> Option<Option<Vec<i64>>> {
        let kind = self.kind(at)?;
        if kind.dtype != Dtype::I64 || kind.dims.len() > 1 {
            return None;
        }
        Some(self.inputs.get(at).copied().flatten()?.contents.as_ref().and_then(Tensor::to_i64))
    }

    fn axis(&self, axis: i64, rank: usize) -> Option<usize> {
        let counted = if axis < 0 { axis.checked_add(rank as i64)? } else { axis };
        usize::try_from(counted).ok().filter(|axis| *axis < rank)
    }

    fn outputs(&self) -> Outputs {
        let op = self.node.op.as_str();
        match op {
            "Softmax" | "LogSoftmax" => {
                let kind = self.float(0)?;
                self.axis(self.node.int("axis").unwrap_or(-1), kind.dims.len())?;
                one(kind.clone())
            }
            "Identity" => one(self.kind(0)?.clone()),
            _ if UNARY.contains(&op) => one(self.float(0)?.clone()),
            _ if BINARY.contains(&op) => self.broadcast(None),
            "Min" | "Max" | "Sum" | "Mean" => self.broadcast(None),
            _ if COMPARING.contains(&op) => self.broadcast(Some(Dtype::Bool)),
            "And" | "Or" | "Xor" => (self.kind(0)?.dtype == Dtype::Bool).then(|| self.broadcast(None))?,
            "Not" => (self.kind(0)?.dtype == Dtype::Bool).then(|| one(self.kind(0)?.clone()))?,
            "PRelu" => {
                let x = self.float(0)?;
                let fits = broadcast(&x.dims, self.dims(1)?)? == x.dims && self.kind(1)?.dtype == x.dtype;
                fits.then(|| one(x.clone()))?
            }
            "Where" => self.choose(),
            "Clip" | "Dropout" => self.with_settings(),
            "Cast" => {
                let dtype = Dtype::from_code(i32::try_from(self.node.int("to")?).ok()?)?;
                one(ValueType::new(dtype, self.dims(0)?))
            }
            "Shape" => {
                let rank = self.dims(0)?.len();
                let plain = self.node.int("start").is_none() && self.node.int("end").is_none();
                plain.then(|| one(ValueType::new(Dtype::I64, vec![rank])))?
            }
            "Size" => one(ValueType::new(Dtype::I64, vec![])),
            "CumSum" => {
                let scalar = elements(self.dims(1)?) == 1 && self.kind(1)?.dtype == Dtype::I64;
                let rank = self.dims(0)?.len();
                let axis = self.inputs.get(1).copied().flatten()?.contents.as_ref()?.to_i64()?;
                self.axis(*axis.first()?, rank)?;
                scalar.then(|| one(self.float(0)?.clone()))?
            }
            _ => self.products().or_else(|| self.movements()).or_else(|| self.windows()),
        }
    }

    fn float(&self, at: usize) -> Option<&ValueType> {
        self.kind(at).filter(|kind| matches!(kind.dtype, Dtype::F32 | Dtype::F64))
    }

    fn broadcast(&self, gives: Option<Dtype>) -> Outputs {
        let first = self.kind(0)?;
        let mut dims = first.dims.clone();
        for at in 1..self.inputs.len() {
            let kind = self.kind(at).filter(|kind| kind.dtype == first.dtype)?;
            dims = broadcast(&dims, &kind.dims)?;
        }
        one(ValueType::new(gives.unwrap_or(first.dtype), dims))
    }

    fn choose(&self) -> Outputs {
        let (condition, x, y) = (self.kind(0)?, self.kind(1)?, self.kind(2)?);
        let dims = broadcast(&broadcast(&condition.dims, &x.dims)?, &y.dims)?;
        (condition.dtype == Dtype::Bool && x.dtype == y.dtype).then(|| one(ValueType::new(x.dtype, dims)))?
    }

    /// Clip and Dropout, whose further inputs are scalars.
    fn with_settings(&self) -> Outputs {
        let x = self.float(0)?;
        let wanted = |at: usize| if self.node.op == "Dropout" && at == 2 { Dtype::Bool } else { x.dtype };
        let fits = |at: usize| {
            !self.has(at)
                || self.kind(at).is_some_and(|kind| kind.dims.is_empty() && kind.dtype == wanted(at))
        };
        (fits(1) && fits(2)).then(|| one(x.clone()))?
    }

    fn products(&self) -> Outputs {
        match self.node.op.as_str() {
            "MatMul" => {
                let (a, b) = (self.float(0)?, self.float(1)?);
                let ([a_batch @ .., rows, depth], [b_batch @ .., other, columns]) =
                    (a.dims.as_slice(), b.dims.as_slice())
                else {
                    return None;
                };
                let mut dims = broadcast(a_batch, b_batch)?;
                dims.extend([*rows, *columns]);
                (depth == other && a.dtype == b.dtype).then(|| one(ValueType::new(a.dtype, dims)))?
            }
            "Gemm" => {
                let (a, b) = (self.float(0)?, self.float(1)?);
                let turned = |dims: &[usize], name: &str| match *dims {
                    [rows, columns] if self.node.int(name).unwrap_or(0) != 0 => Some([columns, rows]),
                    [rows, columns] => Some([rows, columns]),
                    _ => None,
                };
                let ([rows, depth], [other, columns]) =
                    (turned(&a.dims, "transA")?, turned(&b.dims, "transB")?);
                let dims = vec![rows, columns];
                if self.has(2) && broadcast(&dims, self.dims(2)?)? != dims {
                    return None;
                }
                (depth == other && a.dtype == b.dtype).then(|| one(ValueType::new(a.dtype, dims)))?
            }
            "BatchNormalization" => {
                let x = self.float(0)?;
                let channels = *x.dims.get(1)?;
                let fits = |at: usize| {
                    self.float(at).is_some_and(|kind| kind.dims == [channels] && kind.dtype == x.dtype)
                };
                (self.node.int("training_mode").unwrap_or(0) == 0 && (1..5).all(fits))
                    .then(|| one(x.clone()))?
            }
            "LayerNormalization" if self.opset >= 17 => {
                let x = self.float(0)?;
                let axis = self.axis(self.node.int("axis").unwrap_or(-1), x.dims.len())?;
                let scaled = x.dims.get(axis..)?;
                let fits = |at: usize| self.dims(at).is_some_and(|dims| dims == scaled);
                (fits(1) && (!self.has(2) || fits(2))).then(|| one(x.clone()))?
            }
            _ => None,
        }
    }
}
