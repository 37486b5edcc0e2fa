//! How a case is checked: the gradient graph against central differences of the forward graph.

use super::case::{Case, Expected, Form, Input, Precision, Values};
use crate::runtime_library::{Compiled, oracle};
use std::collections::HashSet;
use trainer::graph::autodiff::backward;
use trainer::graph::emit::{Emit, Value};
use trainer::graph::fold::lower;
use trainer::graph::model::{Graph, Node, Port};
use trainer::graph::tensor::{Dtype, Tensor, ValueType, elements};
use trainer::graph::train_form;
use trainer::random::{Purpose, stream, unit_f32};

/// Central differences in float64: truncation and rounding are both near 1e-9.
const DOUBLE_STEP: f64 = 1e-4;
const DOUBLE_TOLERANCE: f64 = 1e-6;
/// How far the gradient graph may be off in float32 from what it gives in float64.
const SINGLE_TOLERANCE: f64 = 1e-4;
/// Every element costs two runs, so cases are kept small.
const MAX_ELEMENTS: usize = 600;

/// Checks every case in each of its opsets and reports all that fail.
#[track_caller]
pub fn check_all(cases: &[Case]) {
    let runs = cases.iter().flat_map(|case| case.opsets.iter().map(move |opset| (case, *opset)));
    let failures: Vec<String> = runs
        .filter_map(|(case, opset)| {
            let problem = check(case, opset).err()?;
            Some(format!("{}, {}, opset {opset}: {problem}", case.op, case.about))
        })
        .collect();
    assert!(failures.is_empty(), "{} of the cases fail:\n{}", failures.len(), failures.join("\n"));
}

/// The gradients of a case whose elements are too many for differences.
pub fn gradients_in(case: &Case, opset: i64, dtype: Dtype) -> Result<Vec<Vec<f64>>, String> {
    let built = Differentiated::new(case, opset, dtype)?;
    let gradients = built.gradients()?;
    Ok(gradients.iter().zip(&built.varied).map(|(grad, (_, tensor))| filled(grad, tensor)).collect())
}

/// The largest difference of two lists of gradients, relative to the largest number of the second one.
pub fn largest_difference(found: &[Vec<f64>], expected: &[Vec<f64>]) -> f64 {
    let pairs = found.iter().zip(expected).map(|(found, expected)| {
        let scale = expected.iter().fold(1.0_f64, |scale, x| scale.max(x.abs()));
        found.iter().zip(expected).fold(0.0_f64, |far, (a, b)| far.max((a - b).abs() / scale))
    });
    pairs.fold(0.0, f64::max)
}

fn check(case: &Case, opset: i64) -> Result<(), String> {
    let dtype = match case.precision {
        Precision::Double => Dtype::F64,
        Precision::Single { .. } => Dtype::F32,
    };
    let built = match (Differentiated::new(case, opset, dtype), &case.expected) {
        (Err(message), Expected::Refused(text)) if message.contains(text) => {
            return Ok(());
        }
        (Err(message), _) => return Err(message),
        (Ok(_), Expected::Refused(text)) => return Err(format!("it is not refused with `{text}`")),
        (Ok(built), _) => built,
    };
    let gradients = built.gradients()?;
    match &case.expected {
        Expected::Absent => {
            return if gradients.iter().all(Option::is_none) {
                Ok(())
            } else {
                Err(format!("expected no gradient, found {gradients:?}"))
            };
        }
        Expected::Values(values) => compare("values", &gradients, std::slice::from_ref(values), 1e-12)?,
        Expected::PyTorch(expected) => compare_each("PyTorch", &gradients, expected)?,
        Expected::Differences | Expected::Refused(_) => {
            let (step, tolerance) = match case.precision {
                Precision::Double => (DOUBLE_STEP, DOUBLE_TOLERANCE),
                Precision::Single { step, tolerance } => (step, tolerance),
            };
            compare("central differences", &gradients, &built.differences(step)?, tolerance)?;
        }
    }
    if case.precision == Precision::Double {
        let in_double: Vec<Vec<f64>> =
            gradients.iter().zip(&built.varied).map(|(grad, (_, tensor))| filled(grad, tensor)).collect();
        let in_single = Differentiated::new(case, opset, Dtype::F32)?.gradients()?;
        compare("the gradient in float64", &in_single, &in_double, SINGLE_TOLERANCE)?;
    }
    Ok(())
}

fn filled(gradient: &Option<Vec<f64>>, like: &Tensor) -> Vec<f64> {
    gradient.clone().unwrap_or_else(|| vec![0.0; like.kind().elements()])
}

fn compare(
    with: &str,
    found: &[Option<Vec<f64>>],
    expected: &[Vec<f64>],
    tolerance: f64,
) -> Result<(), String> {
    for (input, (found, expected)) in found.iter().zip(expected).enumerate() {
        let found = found.clone().unwrap_or_else(|| vec![0.0; expected.len()]);
        if found.len() != expected.len() {
            return Err(format!("input {input}: {} gradients for {} elements", found.len(), expected.len()));
        }
        let scale = expected.iter().fold(1.0_f64, |scale, x| scale.max(x.abs()));
        let far = |(a, b): (&f64, &f64)| !((a - b).abs() <= tolerance * scale || (a.is_nan() && b.is_nan()));
        if let Some(at) = found.iter().zip(expected).position(far) {
            let (a, b) = (found[at], expected[at]);
            return Err(format!("input {input}, element {at}: gradient {a}, {with} give {b}"));
        }
    }
    Ok(())
}

/// Numbers of very different sizes: each has to agree by itself.
fn compare_each(with: &str, found: &[Option<Vec<f64>>], expected: &[Vec<f64>]) -> Result<(), String> {
    for (input, (found, expected)) in found.iter().zip(expected).enumerate() {
        let found = found.clone().unwrap_or_else(|| vec![0.0; expected.len()]);
        let far = |(a, b): (&f64, &f64)| (a - b).abs() > 1e-6 + 1e-5 * b.abs() || a.is_nan() != b.is_nan();
        if let Some(at) = found.iter().zip(expected).position(far) {
            return Err(format!(
                "input {input}: gradient {found:?}, {with} has {expected:?}, see element {at}"
            ));
        }
    }
    Ok(())
}

/// One node with a loss over its outputs, differentiated.
struct Differentiated {
    forward: Graph,
    backward: Graph,
    /// For each varied input, whether the backward graph has a gradient for it.
    present: Vec<bool>,
    varied: Vec<(String, Tensor)>,
    fed: Vec<(String, Tensor)>,
    /// The loss is the sum of the outputs times these.
    weights: Vec<Vec<f64>>,
}

impl Differentiated {
    fn new(case: &Case, opset: i64, dtype: Dtype) -> Result<Self, String> {
        let operands = Operands::new(case, dtype);
        let graph = operands.graph(case, opset);
        let variables: HashSet<&str> = operands.varied.iter().map(|(name, _)| name.as_str()).collect();
        let mut emit = lower(&graph, &variables, &oracle()).map_err(|error| error.to_string())?;
        let mut fed = operands.fed;
        let mut inputs: Vec<String> = operands.varied.iter().map(|(name, _)| name.clone()).collect();
        if case.form == Form::Training {
            let form = train_form::rewrite(&mut emit).map_err(|error| error.to_string())?;
            for mask in &form.masks {
                let kept: Vec<f64> =
                    (0..elements(emit.dims(mask.value))).map(|i| f64::from(i % 3 != 0)).collect();
                let dims = emit.dims(mask.value).to_vec();
                fed.push((emit.name(mask.value).to_owned(), Tensor::from_f64(Dtype::Bool, dims, &kept)));
            }
        }
        inputs.extend(fed.iter().map(|(name, _)| name.clone()));
        let find = |emit: &Emit, names: &[String]| -> Vec<Value> {
            names.iter().map(|name| emit.find(name).unwrap()).collect()
        };
        let inputs = find(&emit, &inputs);
        let names = graph.outputs.iter().take(case.used_outputs).map(|port| port.name.clone());
        let names: Vec<String> = names.collect();
        let outputs = find(&emit, &names);
        // What is folded to a constant is no output of a node, so it is passed through one.
        let shown: Vec<Value> = outputs
            .iter()
            .zip(&names)
            .map(|(y, name)| emit.name_output(*y, &format!("shown/{name}")))
            .collect();
        let forward = emit.clone().finish("forward", &inputs, &shown);
        let (loss, weights) = weighted_sum(&mut emit, &outputs, case, dtype);
        let wanted = find(&emit, &inputs_named(&operands.varied));
        let gradients = backward(&mut emit, loss, &wanted).map_err(|error| error.to_string())?;
        for (gradient, value) in gradients.iter().zip(&wanted) {
            if let Some(gradient) = gradient
                && emit.kind(*gradient) != emit.kind(*value)
            {
                return Err(format!("a gradient of type {} for {}", emit.kind(*gradient), emit.kind(*value)));
            }
        }
        let present = gradients.iter().map(Option::is_some).collect();
        let given: Vec<Value> = gradients.into_iter().flatten().collect();
        let given: Vec<Value> = given
            .iter()
            .enumerate()
            .map(|(i, value)| emit.name_output(*value, &format!("grad{i}")))
            .collect();
        let backward = emit.finish("backward", &inputs, &given);
        Ok(Self { forward, backward, present, varied: operands.varied, fed, weights })
    }

    fn inputs(&self) -> Vec<(String, Tensor)> {
        self.varied.iter().chain(&self.fed).cloned().collect()
    }

    /// What the gradient graph gives, per varied input.
    fn gradients(&self) -> Result<Vec<Option<Vec<f64>>>, String> {
        if self.backward.outputs.is_empty() {
            return Ok(vec![None; self.present.len()]);
        }
        let given = Compiled::new(&self.backward)?.run(&self.inputs())?;
        let mut given = given.into_iter().map(|tensor| tensor.to_f64().unwrap());
        Ok(self.present.iter().map(|present| present.then(|| given.next().unwrap())).collect())
    }

    /// Central differences of the loss for each element of each varied input.
    fn differences(&self, step: f64) -> Result<Vec<Vec<f64>>, String> {
        let mut forward = Compiled::new(&self.forward)?;
        let mut inputs = self.inputs();
        let mut loss = |inputs: &[(String, Tensor)]| -> Result<f64, String> {
            let outputs = forward.run(inputs)?;
            let dot = |(tensor, weights): (&Tensor, &Vec<f64>)| -> f64 {
                numbers(tensor).iter().zip(weights).map(|(y, w)| y * w).sum()
            };
            Ok(outputs.iter().zip(&self.weights).map(dot).sum())
        };
        let mut all = Vec::with_capacity(self.varied.len());
        for (position, (name, tensor)) in self.varied.iter().enumerate() {
            let values = tensor.to_f64().unwrap();
            assert!(values.len() <= MAX_ELEMENTS, "a case with {} elements is too slow", values.len());
            let mut differences = Vec::with_capacity(values.len());
            for element in 0..values.len() {
                let mut at = |offset: f64| {
                    let mut moved = values.clone();
                    moved[element] += offset;
                    let moved = Tensor::from_f64(tensor.dtype(), tensor.dims(), &moved);
                    let reached = moved.to_f64().unwrap()[element];
                    inputs[position] = (name.clone(), moved);
                    Ok::<_, String>((loss(&inputs)?, reached))
                };
                let ((above, high), (below, low)) = (at(step)?, at(-step)?);
                differences.push((above - below) / (high - low));
            }
            inputs[position] = (name.clone(), tensor.clone());
            all.push(differences);
        }
        Ok(all)
    }
}

fn inputs_named(inputs: &[(String, Tensor)]) -> Vec<String> {
    inputs.iter().map(|(name, _)| name.clone()).collect()
}

fn numbers(tensor: &Tensor) -> Vec<f64> {
    if tensor.dtype() == Dtype::Bool {
        return tensor.bytes().iter().map(|byte| f64::from(*byte)).collect();
    }
    tensor.to_f64().unwrap_or_else(|| tensor.to_i64().unwrap().iter().map(|x| *x as f64).collect())
}

/// Appends a loss that weighs every element of every output differently, so that no two gradients are mixed up.
fn weighted_sum(emit: &mut Emit, outputs: &[Value], case: &Case, dtype: Dtype) -> (Value, Vec<Vec<f64>>) {
    let mut total: Option<Value> = None;
    let mut weights = Vec::with_capacity(outputs.len());
    for (position, output) in outputs.iter().enumerate() {
        let count = elements(emit.dims(*output));
        let weight = match case.expected {
            Expected::Values(_) => vec![1.0; count],
            Expected::PyTorch(_) => (0..count).map(|at| 1.0 + (at % 2) as f64).collect(),
            _ => drawn(case, 100 + position, count, -1.0, 1.0),
        };
        let constant = emit.constant(Tensor::from_f64(dtype, emit.dims(*output).to_vec(), &weight));
        let output = emit.cast(*output, dtype);
        let product = emit.mul(output, constant);
        let sum = emit.sum_all(product);
        total = Some(total.map_or(sum, |total| emit.add(total, sum)));
        weights.push(weight);
    }
    (total.expect("a case has an output"), weights)
}

/// Numbers of a range that depend on the case alone, exact in float32.
fn drawn(case: &Case, position: usize, count: usize, low: f64, high: f64) -> Vec<f64> {
    let key = case
        .op
        .bytes()
        .chain(case.about.bytes())
        .fold(7_u64, |key, byte| key * 31 % 1_000_003 + u64::from(byte));
    let mut rng = stream(key, Purpose::Init, position as u64, 0);
    (0..count).map(|_| f64::from((low + (high - low) * f64::from(unit_f32(&mut rng))) as f32)).collect()
}

/// The operands of a case as tensors.
struct Operands {
    names: Vec<String>,
    varied: Vec<(String, Tensor)>,
    constants: Vec<(String, Tensor)>,
    fed: Vec<(String, Tensor)>,
}

impl Operands {
    fn new(case: &Case, dtype: Dtype) -> Self {
        let mut made = Self { names: vec![], varied: vec![], constants: vec![], fed: vec![] };
        for (position, input) in case.inputs.iter().enumerate() {
            let name = format!("x{position}");
            let constants = &mut made.constants;
            match input {
                Input::Varied { dims, values } => {
                    let values = match values {
                        Values::Listed(values) => values.clone(),
                        Values::Within(low, high) => drawn(case, position, elements(dims), *low, *high),
                    };
                    made.varied.push((name.clone(), Tensor::from_f64(dtype, dims.clone(), &values)));
                }
                Input::Captured { dims } => {
                    let values = drawn(case, position, elements(dims), -2.0, 2.0);
                    made.varied.push((name.clone(), Tensor::from_f64(dtype, dims.clone(), &values)));
                }
                Input::Fixed { dims, values } => {
                    constants.push((name.clone(), Tensor::from_f64(dtype, dims.clone(), values)));
                }
                Input::Ints { dims, values } => {
                    constants.push((name.clone(), Tensor::from_i64(dims.clone(), values)));
                }
                Input::SmallInts { values } => {
                    let values: Vec<f64> = values.iter().map(|value| *value as f64).collect();
                    constants.push((name.clone(), Tensor::from_f64(Dtype::I32, vec![values.len()], &values)));
                }
                Input::Bools { dims, values } => {
                    let values: Vec<u8> = values.iter().map(|value| u8::from(*value)).collect();
                    let kind = ValueType::new(Dtype::Bool, dims.clone());
                    constants.push((name.clone(), Tensor::new(kind, values).unwrap()));
                }
                Input::FedInts { dims, values } => {
                    made.fed.push((name.clone(), Tensor::from_i64(dims.clone(), values)));
                }
                Input::FedTruth(value) => {
                    let kind = ValueType::new(Dtype::Bool, vec![]);
                    made.fed.push((name.clone(), Tensor::new(kind, vec![u8::from(*value)]).unwrap()));
                }
                Input::Again(_) | Input::Absent => {}
            }
            match input {
                Input::Again(position) => made.names.push(format!("x{position}")),
                Input::Absent => made.names.push(String::new()),
                Input::Captured { .. } => {}
                _ => made.names.push(name),
            }
        }
        made
    }

    fn graph(&self, case: &Case, opset: i64) -> Graph {
        let outputs: Vec<String> = (0..case.outputs).map(|position| format!("y{position}")).collect();
        let mut node = Node::new("node", case.op, self.names.clone(), outputs.clone());
        node.attributes = case.attributes.clone();
        Graph {
            name: "case".to_owned(),
            ir_version: 8,
            opset,
            other_opsets: Vec::new(),
            inputs: self.fed.iter().map(|(name, t)| Port::fixed(name.clone(), t.dtype(), t.dims())).collect(),
            outputs: outputs.into_iter().map(Port::inferred).collect(),
            value_info: Vec::new(),
            roles: Default::default(),
            initializers: self.varied.iter().chain(&self.constants).cloned().collect(),
            nodes: vec![node],
        }
    }
}
