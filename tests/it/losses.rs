//! Losses against PyTorch's values, against plain formulas, and their gradients against central differences.

use crate::reference_models::cross_entropy;
use crate::runtime_library::Compiled;
use trainer::config::{LossKind, LossPlan};
use trainer::graph::autodiff::backward;
use trainer::graph::emit::Emit;
use trainer::graph::loss::{Ignored, LossError, Operands, build};
use trainer::graph::tensor::{Dtype, Tensor, ValueType};

const STEP: f64 = 1e-4;

/// A loss over one batch.
struct Case {
    plan: LossPlan,
    dims: Vec<usize>,
    output: Vec<f64>,
    target: Tensor,
    ignored: Ignored,
}

/// What the graph of a loss gives.
struct Found {
    sum: f64,
    weight: f64,
    gradient: Vec<f64>,
}

impl Case {
    fn new(plan: LossPlan, dims: &[usize], output: &[f64], target: Tensor) -> Self {
        Self { plan, dims: dims.to_vec(), output: output.to_vec(), target, ignored: Ignored::Never }
    }

    fn some_ignored(mut self) -> Self {
        self.ignored = Ignored::Possible;
        self
    }

    fn compiled(&self, dtype: Dtype) -> Result<Compiled, LossError> {
        let mut emit = Emit::new(18, Vec::new());
        let output = emit.declare("output", ValueType::new(dtype, self.dims.clone()));
        let target_kind = self.target_in(dtype).kind().clone();
        let target = emit.declare("target", target_kind);
        let operands = Operands { ignored: self.ignored, ..Operands::new(output, Some(target)) };
        let parts = build(&mut emit, &self.plan, &operands, self.dims[0])?;
        let gradient =
            backward(&mut emit, parts.sum, &[output]).unwrap()[0].expect("a loss depends on the output");
        let outputs = [("sum", parts.sum), ("weight", parts.weight), ("gradient", gradient)]
            .map(|(name, value)| emit.name_output(value, name));
        Ok(Compiled::new(&emit.finish("loss", &[output, target], &outputs)).unwrap())
    }

    fn target_in(&self, dtype: Dtype) -> Tensor {
        match self.target.to_f64() {
            Some(values) => Tensor::from_f64(dtype, self.target.dims(), &values),
            None => self.target.clone(),
        }
    }

    fn found(&self, compiled: &mut Compiled, dtype: Dtype, output: &[f64]) -> Found {
        let output = Tensor::from_f64(dtype, self.dims.clone(), output);
        let inputs = [("output".to_owned(), output), ("target".to_owned(), self.target_in(dtype))];
        let given = compiled.run(&inputs).unwrap();
        let [sum, weight, gradient] = [0, 1, 2].map(|at| given[at].to_f64().unwrap());
        Found { sum: sum[0], weight: weight[0], gradient }
    }
}

/// Checks sum and weight against the formula, the mean against PyTorch, the gradient against differences of the formula,
/// and all of it in float32.
#[track_caller]
fn check_loss(case: &Case, pytorch: Option<f64>) {
    let (sum, weight) = formula(case, &case.output);
    for (dtype, tolerance) in [(Dtype::F64, 1e-6), (Dtype::F32, 1e-5)] {
        if dtype == Dtype::F64 && case.plan.kind == LossKind::BceWithLogits {
            continue; // ONNX Runtime has Softplus in float32 only.
        }
        let found = case.found(&mut case.compiled(dtype).unwrap(), dtype, &case.output);
        assert_close("sum", found.sum, sum, tolerance);
        assert_close("weight", found.weight, weight, tolerance);
        if let Some(pytorch) = pytorch {
            assert_close("mean", found.sum / found.weight, pytorch, tolerance);
        }
        for (element, gradient) in found.gradient.iter().enumerate() {
            let at = |offset: f64| {
                let mut moved = case.output.clone();
                moved[element] += offset;
                formula(case, &moved).0
            };
            let difference = (at(STEP) - at(-STEP)) / (2.0 * STEP);
            assert_close(&format!("gradient of element {element}"), *gradient, difference, tolerance);
        }
    }
}

#[track_caller]
fn assert_close(what: &str, found: f64, expected: f64, tolerance: f64) {
    assert!(
        (found - expected).abs() <= tolerance * expected.abs().max(1.0),
        "{what}: found {found}, expected {expected}"
    );
}

/// Sum and weight by the definition of the loss.
fn formula(case: &Case, output: &[f64]) -> (f64, f64) {
    let targets = case.target.to_f64();
    let per_element = |loss: fn(f64, f64) -> f64| {
        let targets = targets.as_ref().unwrap();
        (output.iter().zip(targets).map(|(o, t)| loss(*o, *t)).sum(), output.len() as f64)
    };
    match case.plan.kind {
        LossKind::Mse => per_element(|o, t| (o - t) * (o - t)),
        LossKind::L1 => per_element(|o, t| (o - t).abs()),
        LossKind::BceWithLogits => per_element(|o, t| o.max(0.0) - o * t + (-o.abs()).exp().ln_1p()),
        LossKind::CrossEntropy => cross_entropy_formula(case, output),
        LossKind::Output => (output[0] * case.dims[0] as f64, case.dims[0] as f64),
        ref other => panic!("{other:?} is held against PyTorch in `loss_reference`"),
    }
}

fn cross_entropy_formula(case: &Case, output: &[f64]) -> (f64, f64) {
    let (examples, classes) = (case.dims[0], case.dims[1]);
    let positions: usize = case.dims[2..].iter().product();
    let (probabilities, labels) = (case.target.to_f64(), case.target.to_i64());
    let class_weight = |class: usize| case.plan.class_weights.get(class).copied().unwrap_or(1.0);
    let smoothing = case.plan.label_smoothing;
    let (mut sum, mut weight) = (0.0, 0.0);
    for example in 0..examples {
        for position in 0..positions {
            let at = |class: usize| (example * classes + class) * positions + position;
            let largest = (0..classes).map(|class| output[at(class)]).fold(f64::NEG_INFINITY, f64::max);
            let total: f64 = (0..classes).map(|class| (output[at(class)] - largest).exp()).sum();
            let label = labels.as_ref().map(|labels| labels[example * positions + position]);
            if label == Some(case.plan.ignore_index) {
                continue;
            }
            for class in 0..classes {
                let truth = match (&probabilities, label) {
                    (Some(probabilities), _) => probabilities[at(class)],
                    (None, label) => f64::from(label == Some(class as i64)),
                };
                let smoothed = (1.0 - smoothing) * truth + smoothing / classes as f64;
                let log_probability = output[at(class)] - largest - total.ln();
                sum -= class_weight(class) * smoothed * log_probability;
                if label == Some(class as i64) {
                    weight += class_weight(class);
                }
            }
            if probabilities.is_some() {
                weight += 1.0;
            }
        }
    }
    (sum, weight)
}

const LOGITS: [f64; 9] = [0.5, -1.0, 2.0, 1.5, 0.25, -0.75, 0.0, 3.0, -2.0];
const CLASS_WEIGHTS: [f64; 3] = [1.0, 2.0, 0.5];

/// Two examples of three classes at two positions.
fn planes() -> Vec<f64> {
    (0..12).map(|i| f64::from(i) * 0.37 % 2.0 - 1.0).collect()
}

fn labels(dims: &[usize], values: &[i64]) -> Tensor {
    Tensor::from_i64(dims, values)
}

fn floats(dims: &[usize], values: &[f64]) -> Tensor {
    Tensor::from_f64(Dtype::F64, dims, values)
}

fn plan(kind: LossKind) -> LossPlan {
    LossPlan { kind, ..cross_entropy() }
}

fn smoothed(label_smoothing: f64) -> LossPlan {
    LossPlan { label_smoothing, ..cross_entropy() }
}

fn weighted(label_smoothing: f64) -> LossPlan {
    LossPlan { class_weights: CLASS_WEIGHTS.to_vec(), ..smoothed(label_smoothing) }
}

#[test]
fn cross_entropy_of_labels_is_that_of_pytorch() {
    let case = |plan| Case::new(plan, &[3, 3], &LOGITS, labels(&[3], &[2, 0, 0]));
    check_loss(&case(cross_entropy()), Some(1.208_989_713_813_842_8));
    check_loss(&case(smoothed(0.1)), Some(1.286_767_491_591_620_7));
    check_loss(&case(weighted(0.0)), Some(1.402_525_397_245_18));
    check_loss(&case(weighted(0.1)), Some(1.513_198_084_121_266_9));
}

#[test]
fn ignored_labels_count_neither_in_the_sum_nor_in_the_weight() {
    let case = |plan| Case::new(plan, &[3, 3], &LOGITS, labels(&[3], &[2, -100, 0])).some_ignored();
    check_loss(&case(cross_entropy()), Some(1.648_148_266_017_152_3));
    check_loss(&case(weighted(0.1)), Some(2.217_318_704_937_215));
    let inside = LossPlan { ignore_index: 2, ..cross_entropy() };
    check_loss(&case(inside).with_labels(&[2, 1, 0]), None);
    let inside = LossPlan { ignore_index: 1, ..weighted(0.1) };
    check_loss(&case(inside).with_labels(&[2, 1, 0]), None);
}

impl Case {
    fn with_labels(mut self, values: &[i64]) -> Self {
        self.target = labels(self.target.dims(), values);
        self
    }
}

#[test]
fn cross_entropy_takes_a_label_per_position() {
    let case = |plan, target: &[i64]| Case::new(plan, &[2, 3, 2], &planes(), labels(&[2, 2], target));
    check_loss(&case(weighted(0.2), &[0, 2, 1, 1]), Some(1.082_819_944_511_794));
    let plan = LossPlan { ignore_index: -1, ..cross_entropy() };
    check_loss(&case(plan, &[0, 2, -1, 1]).some_ignored(), Some(1.037_529_623_701_575_6));
}

#[test]
fn cross_entropy_of_probabilities_is_that_of_pytorch() {
    let target = floats(&[3, 3], &[0.2, 0.3, 0.5, 1.0, 0.0, 0.0, 0.25, 0.25, 0.5]);
    check_loss(&Case::new(cross_entropy(), &[3, 3], &LOGITS, target.clone()), Some(1.692_323_047_147_176));
    check_loss(&Case::new(weighted(0.1), &[3, 3], &LOGITS, target), Some(1.630_814_767_382_820_2));
    let planes_target = [0.25, 0.5, 0.5, 0.25, 0.25, 0.25, 0.1, 0.2, 0.3, 0.4, 0.6, 0.4];
    check_loss(&Case::new(smoothed(0.1), &[2, 3, 2], &planes(), floats(&[2, 3, 2], &planes_target)), None);
}

#[test]
fn losses_per_element_are_those_of_pytorch() {
    let target = floats(&[3, 3], &[0.1, -0.2, 1.5, 1.0, 1.0, 0.0, 0.5, 2.0, -3.0]);
    check_loss(
        &Case::new(plan(LossKind::Mse), &[3, 3], &LOGITS, target.clone()),
        Some(0.519_444_444_444_444_5),
    );
    check_loss(&Case::new(plan(LossKind::L1), &[3, 3], &LOGITS, target), Some(0.688_888_888_888_888_9));
    let truth = floats(&[3, 3], &[0.0, 1.0, 1.0, 0.25, 1.0, 0.0, 0.5, 0.0, 1.0]);
    check_loss(
        &Case::new(plan(LossKind::BceWithLogits), &[3, 3], &LOGITS, truth),
        Some(1.174_683_658_877_161_9),
    );
    let large = floats(&[4], &[1.0, 0.0, 0.0, 1.0]);
    check_loss(
        &Case::new(plan(LossKind::BceWithLogits), &[4], &[200.0, -200.0, 50.0, -50.0], large),
        Some(25.0),
    );
}

#[test]
fn an_output_that_is_the_loss_counts_once_per_example() {
    let mut emit = Emit::new(18, Vec::new());
    let output = emit.declare("output", ValueType::new(Dtype::F32, vec![1, 1]));
    let parts = build(&mut emit, &plan(LossKind::Output), &Operands::new(output, None), 8).unwrap();
    let gradient = backward(&mut emit, parts.sum, &[output]).unwrap()[0].unwrap();
    let outputs = [("sum", parts.sum), ("weight", parts.weight), ("gradient", gradient)]
        .map(|(name, value)| emit.name_output(value, name));
    let graph = emit.finish("loss", &[output], &outputs);
    let given =
        crate::runtime_library::run(&graph, &[("output".to_owned(), Tensor::from_f32([1, 1], &[0.75]))]);
    let values: Vec<f64> = given.iter().map(|tensor| tensor.to_f64().unwrap()[0]).collect();
    assert_eq!(values, [6.0, 8.0, 8.0]);
}

#[test]
fn a_class_masked_with_minus_infinity_leaves_loss_and_gradient_finite() {
    for plan in [cross_entropy(), weighted(0.0)] {
        let logits = [0.5, f64::NEG_INFINITY, 2.0];
        let case = Case::new(plan, &[1, 3], &logits, labels(&[1], &[2])).some_ignored();
        let found = case.found(&mut case.compiled(Dtype::F32).unwrap(), Dtype::F32, &case.output);
        let expected = (1.0 + f64::exp(-1.5)).ln() * found.weight;
        assert_close("sum", found.sum, expected, 1e-6);
        assert!(found.gradient.iter().all(|gradient| gradient.is_finite()), "{:?}", found.gradient);
        assert_eq!(found.gradient[1], 0.0);
    }
}

#[test]
fn an_example_that_is_ignored_may_be_nan_in_the_loss() {
    let case = Case::new(cross_entropy(), &[2, 2], &[f64::NAN, 0.0, 0.0, 0.0], labels(&[2], &[-100, 1]))
        .some_ignored();
    let found = case.found(&mut case.compiled(Dtype::F32).unwrap(), Dtype::F32, &case.output);
    assert_close("sum", found.sum, 2.0_f64.ln(), 1e-6);
}

#[test]
fn large_logits_do_not_overflow_in_cross_entropy() {
    let case = Case::new(cross_entropy(), &[1, 2], &[3e38, -3e38], labels(&[1], &[0]));
    let found = case.found(&mut case.compiled(Dtype::F32).unwrap(), Dtype::F32, &case.output);
    assert_eq!((found.sum, found.gradient), (0.0, vec![0.0, 0.0]));
}

#[test]
fn operands_that_do_not_fit_are_refused_with_both_shapes() {
    let refused = |case: &Case| case.compiled(Dtype::F32).err().unwrap().to_string();
    let message = refused(&Case::new(cross_entropy(), &[3, 3], &LOGITS, labels(&[2], &[0, 1])));
    assert!(message.contains("[3, 3]") && message.contains("[2]") && message.contains("[3]"), "{message}");
    let message = refused(&Case::new(plan(LossKind::Mse), &[3, 3], &LOGITS, floats(&[3, 1], &[0.0; 3])));
    assert!(message.contains("mse") && message.contains("[3, 1]"), "{message}");
    let message = refused(&Case::new(cross_entropy(), &[9], &LOGITS, labels(&[9], &[0; 9])));
    assert!(message.contains("[batch, classes, ...]"), "{message}");
    let few = LossPlan { class_weights: vec![1.0, 2.0], ..cross_entropy() };
    let message = refused(&Case::new(few, &[3, 3], &LOGITS, labels(&[3], &[0, 1, 2])));
    assert!(message.contains("2 weights") && message.contains("3 classes"), "{message}");
    let message = refused(&Case::new(plan(LossKind::Output), &[3, 3], &LOGITS, labels(&[3], &[0, 1, 2])));
    assert!(message.contains("one element"), "{message}");
}

#[test]
fn a_loss_without_its_target_is_refused() {
    let mut emit = Emit::new(18, Vec::new());
    let output = emit.declare("output", ValueType::new(Dtype::F32, vec![2, 3]));
    let error = build(&mut emit, &cross_entropy(), &Operands::new(output, None), 2).unwrap_err();
    assert!(matches!(error, LossError::NoTarget { loss: "cross_entropy" }));
}
