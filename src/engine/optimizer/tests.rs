use super::{Decay, Optimizer, Source, StepScalars, Update, clip_factor, gradient_norm};
use crate::config::{OptimizerKind, OptimizerPlan};
use serde_json::Value;

const ADAM: OptimizerKind = OptimizerKind::Adam { betas: (0.9, 0.999), eps: 1e-8 };
const ADAMW: OptimizerKind = OptimizerKind::AdamW { betas: (0.9, 0.999), eps: 1e-8 };
const SGD: OptimizerKind = OptimizerKind::Sgd { momentum: 0.0, dampening: 0.0, nesterov: false };
const MOMENTUM: OptimizerKind = OptimizerKind::Sgd { momentum: 0.9, dampening: 0.1, nesterov: false };
const NESTEROV: OptimizerKind = OptimizerKind::Sgd { momentum: 0.9, dampening: 0.0, nesterov: true };
const ALL: [OptimizerKind; 5] = [SGD, MOMENTUM, NESTEROV, ADAM, ADAMW];

fn optimizer(kind: OptimizerKind, weight_decay: f64) -> Optimizer {
    Optimizer::new(&OptimizerPlan { kind, lr: 0.01, weight_decay, no_decay: vec![] })
}

fn scalars(step: u64) -> StepScalars {
    StepScalars { step, lr: 0.01, grad_scale: 0.5, clip_value: Some(0.8) }
}

/// Numbers that repeat only after a long while, of both signs and several magnitudes, with zeros among them.
fn numbers(elements: usize, salt: u32) -> Vec<f32> {
    let mut state = salt.wrapping_mul(2_654_435_769) | 1;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        match state >> 29 {
            0 => 0.0,
            exponent => ((state >> 8) as f32 / 8_388_608.0 - 1.0) * 10_f32.powi(exponent as i32 - 6),
        }
    };
    (0..elements).map(|_| next()).collect()
}

/// A parameter with everything that belongs to it.
#[derive(Clone, PartialEq)]
struct Tensors {
    parameter: Vec<f32>,
    slots: [Vec<f32>; 2],
    gradient: Vec<f32>,
}

impl Tensors {
    fn new(optimizer: &Optimizer, elements: usize, salt: u32) -> Self {
        let slot = |index: usize| {
            let used = index < optimizer.slots().len();
            // Squares are never negative, and this serves as a momentum too.
            numbers(if used { elements } else { 0 }, salt + 1).iter().map(|x| x.abs()).collect()
        };
        Self {
            parameter: numbers(elements, salt),
            slots: [slot(0), slot(1)],
            gradient: numbers(elements, salt + 2),
        }
    }

    fn bits(&self) -> Vec<u32> {
        [&self.parameter, &self.slots[0], &self.slots[1]]
            .into_iter()
            .flatten()
            .map(|value| value.to_bits())
            .collect()
    }
}

fn in_place<'a>(optimizer: &Optimizer, tensors: &'a mut Tensors, decay: Decay) -> Update<'a> {
    let [first, second] = &mut tensors.slots;
    optimizer.update_in_place(&mut tensors.parameter, &tensors.gradient, [first, second], decay).unwrap()
}

/// A model of tensors smaller and larger than a task, an empty one among them; every second one is not decayed.
fn model(optimizer: &Optimizer) -> Vec<Tensors> {
    let lengths = [40_000, 1, 0, 777, 16_384, 100_001, 3];
    lengths.iter().zip(1..).map(|(length, salt)| Tensors::new(optimizer, *length, salt * 10)).collect()
}

fn apply_in_place(optimizer: &Optimizer, model: &mut [Tensors], step: u64) {
    let decays = [Decay::Apply, Decay::Skip].into_iter().cycle();
    let mut updates: Vec<Update<'_>> =
        model.iter_mut().zip(decays).map(|(tensors, decay)| in_place(optimizer, tensors, decay)).collect();
    optimizer.apply(&mut updates, &scalars(step));
}

fn bits(model: &[Tensors]) -> Vec<Vec<u32>> {
    model.iter().map(Tensors::bits).collect()
}

#[test]
fn an_update_into_other_memory_gives_the_bits_of_one_in_place_and_leaves_its_source() {
    for kind in ALL {
        let optimizer = optimizer(kind, 0.1);
        let source = model(&optimizer);
        let mut expected = source.clone();
        apply_in_place(&optimizer, &mut expected, 3);

        let kept = source.clone();
        let mut written: Vec<Tensors> = source.clone();
        for tensors in &mut written {
            tensors.parameter.fill(f32::NAN);
            tensors.slots.iter_mut().for_each(|slot| slot.fill(f32::NAN));
        }
        let decays = [Decay::Apply, Decay::Skip].into_iter().cycle();
        let mut updates = Vec::new();
        for ((from, to), decay) in source.iter().zip(&mut written).zip(decays) {
            let source = Source { parameter: &from.parameter, slots: [&from.slots[0], &from.slots[1]] };
            let [first, second] = &mut to.slots;
            let update = optimizer
                .update_into(source, &mut to.parameter, &to.gradient, [first, second], decay)
                .unwrap();
            updates.push(update);
        }
        optimizer.apply(&mut updates, &scalars(3));
        assert_eq!(bits(&written), bits(&expected), "{kind:?}");
        assert!(source == kept, "{kind:?}: the source was written to");
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    for kind in ALL {
        let optimizer = optimizer(kind, 0.1);
        let run_with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut model = model(&optimizer);
            pool.install(|| (1..=3).for_each(|step| apply_in_place(&optimizer, &mut model, step)));
            bits(&model)
        };
        let alone = run_with(1);
        assert_eq!(alone, run_with(2), "{kind:?}");
        assert_eq!(alone, run_with(5), "{kind:?}");
    }
}

#[test]
fn a_model_updated_at_once_equals_its_tensors_updated_one_by_one_without_vector_instructions() {
    for kind in ALL {
        let optimizer = optimizer(kind, 0.1);
        let mut together = model(&optimizer);
        let mut single = together.clone();
        apply_in_place(&optimizer, &mut together, 3);
        for (tensors, weight_decay) in single.iter_mut().zip([0.1, 0.0].into_iter().cycle()) {
            let kernel = optimizer.kernel(&scalars(3), weight_decay);
            let [first, second] = &mut tensors.slots;
            for index in 0..tensors.parameter.len() {
                let element = |slot: &'_ mut Vec<f32>| slot.get(index).copied();
                let (mut m, mut v) = (element(first), element(second));
                kernel.run_portable(
                    &mut tensors.parameter[index..=index],
                    &tensors.gradient[index..=index],
                    m.as_mut_slice(),
                    v.as_mut_slice(),
                );
                for (slot, value) in [(&mut *first, m), (&mut *second, v)] {
                    if let Some(value) = value {
                        slot[index] = value;
                    }
                }
            }
        }
        assert_eq!(bits(&together), bits(&single), "{kind:?}");
    }
}

#[test]
fn weight_decay_acts_only_on_parameters_no_pattern_exempts() {
    let plan = OptimizerPlan {
        kind: ADAMW,
        lr: 0.01,
        weight_decay: 0.5,
        no_decay: vec!["*.bias".into(), "*bn*".into()],
    };
    let optimizer = Optimizer::new(&plan);
    assert_eq!(optimizer.decay("fc1.bias"), Decay::Skip);
    assert_eq!(optimizer.decay("stem_bn.weight"), Decay::Skip);
    assert_eq!(optimizer.decay("fc1.weight"), Decay::Apply);

    for (decay, expected) in [(Decay::Apply, 2.0 * (1.0 - 0.01 * 0.5)), (Decay::Skip, 2.0)] {
        let mut tensors =
            Tensors { parameter: vec![2.0], slots: [vec![0.0], vec![0.0]], gradient: vec![0.0] };
        optimizer.apply(&mut [in_place(&optimizer, &mut tensors, decay)], &scalars(1));
        assert_eq!(tensors.parameter, [expected]);
    }
}

#[test]
fn gradients_are_scaled_first_and_bounded_then() {
    let optimizer = optimizer(SGD, 0.0);
    let mut parameter = [0.0; 4];
    let gradient = [1.0, 4.0, -4.0, -1.5];
    let update =
        optimizer.update_in_place(&mut parameter, &gradient, [&mut [], &mut []], Decay::Apply).unwrap();
    let scalars = StepScalars { step: 1, lr: 1.0, grad_scale: 0.5, clip_value: Some(0.75) };
    optimizer.apply(&mut [update], &scalars);
    assert_eq!(parameter, [-0.5, -0.75, 0.75, 0.75]);
}

#[test]
fn a_bound_does_not_hide_a_gradient_that_is_not_a_number() {
    for kind in ALL {
        let optimizer = optimizer(kind, 0.0);
        let mut tensors = Tensors::new(&optimizer, 20, 1);
        tensors.gradient[7] = f32::NAN;
        optimizer.apply(&mut [in_place(&optimizer, &mut tensors, Decay::Apply)], &scalars(1));
        let spoiled: Vec<usize> = (0..20).filter(|index| tensors.parameter[*index].is_nan()).collect();
        assert_eq!(spoiled, [7], "{kind:?}");
    }
}

#[test]
fn without_memory_the_first_moment_is_the_gradient_itself() {
    let optimizer = optimizer(OptimizerKind::Adam { betas: (0.0, 0.9), eps: 1e-8 }, 0.0);
    let mut tensors = Tensors { parameter: vec![0.0], slots: [vec![1e8], vec![1.0]], gradient: vec![0.3] };
    let scalars = StepScalars { step: 2, lr: 0.01, grad_scale: 1.0, clip_value: None };
    optimizer.apply(&mut [in_place(&optimizer, &mut tensors, Decay::Apply)], &scalars);
    assert_eq!(tensors.slots[0], [0.3]);
}

#[test]
fn slices_of_other_lengths_than_the_parameter_are_refused() {
    let optimizer = optimizer(ADAM, 0.0);
    let refusal = |parameter: usize, gradient: usize, first: usize, second: usize| {
        let (mut p, g) = (vec![0.0; parameter], vec![0.0; gradient]);
        let (mut m, mut v) = (vec![0.0; first], vec![0.0; second]);
        optimizer
            .update_in_place(&mut p, &g, [&mut m, &mut v], Decay::Apply)
            .map(|_| ())
            .map_err(|error| (error.part, error.found, error.expected))
    };
    assert_eq!(refusal(4, 4, 4, 4), Ok(()));
    assert_eq!(refusal(4, 3, 4, 4), Err(("the gradient", 3, 4)));
    assert_eq!(refusal(4, 4, 5, 4), Err(("exp_avg", 5, 4)));
    assert_eq!(refusal(4, 4, 4, 0), Err(("exp_avg_sq", 0, 4)));
}

#[test]
fn a_slot_the_optimizer_does_not_keep_must_be_empty() {
    let optimizer = optimizer(MOMENTUM, 0.0);
    assert_eq!(optimizer.slots(), ["momentum_buffer"]);
    let (mut p, g, mut b, mut unused) = ([0.0; 2], [0.0; 2], [0.0; 2], [0.0; 2]);
    let error = optimizer.update_in_place(&mut p, &g, [&mut b, &mut unused], Decay::Apply).unwrap_err();
    assert_eq!((error.found, error.expected), (2, 0));
}

#[test]
fn a_source_of_another_length_is_refused() {
    let optimizer = optimizer(MOMENTUM, 0.0);
    let (mut p, g, mut b) = ([0.0; 2], [0.0; 2], [0.0; 2]);
    for (parameter, buffer) in [(3, 2), (2, 1)] {
        let (from_p, from_b) = (vec![0.0; parameter], vec![0.0; buffer]);
        let source = Source { parameter: &from_p, slots: [&from_b, &[]] };
        let result = optimizer.update_into(source, &mut p, &g, [&mut b, &mut []], Decay::Apply);
        assert!(result.is_err(), "parameter {parameter}, buffer {buffer}");
    }
}

fn f32s(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap() as f32).collect()
}

/// The optimizer that a case of `scripts/reference/optimizers.py` describes.
fn optimizer_of(case: &Value) -> Optimizer {
    let number = |key: &str, default: f64| case.get(key).map_or(default, |value| value.as_f64().unwrap());
    let betas = || (case["betas"][0].as_f64().unwrap(), case["betas"][1].as_f64().unwrap());
    let kind = match case["kind"].as_str().unwrap() {
        "sgd" => OptimizerKind::Sgd {
            momentum: number("momentum", 0.0),
            dampening: number("dampening", 0.0),
            nesterov: case.get("nesterov").is_some(),
        },
        "adam" => OptimizerKind::Adam { betas: betas(), eps: number("eps", 1e-8) },
        "adamw" => OptimizerKind::AdamW { betas: betas(), eps: number("eps", 1e-8) },
        other => panic!("unknown kind {other}"),
    };
    let weight_decay = number("weight_decay", 0.0);
    Optimizer::new(&OptimizerPlan { kind, lr: number("lr", 0.0), weight_decay, no_decay: vec![] })
}

/// Follows a case through all its updates.
#[track_caller]
fn check_against_pytorch(reference: &Value, case: &Value) {
    let name = case["name"].as_str().unwrap();
    let optimizer = optimizer_of(case);
    let start = f32s(&reference["start"]);
    let slot = |index: usize| vec![0.0; if index < optimizer.slots().len() { start.len() } else { 0 }];
    let mut tensors = Tensors { parameter: start.clone(), slots: [slot(0), slot(1)], gradient: Vec::new() };
    let gradients = reference["gradients"].as_array().unwrap();
    let after = case["after"].as_array().unwrap();
    assert_eq!((gradients.len(), after.len()), (20, 20));
    // An element that has been large keeps the rounding errors it had then, even where it passes near zero.
    let mut magnitudes: Vec<f32> = start.iter().map(|value| value.abs()).collect();
    for ((gradient, expected), step) in gradients.iter().zip(after).zip(1..) {
        tensors.gradient = f32s(gradient);
        let norm = gradient_norm(&[&tensors.gradient]);
        let grad_scale = case.get("clip_norm").map_or(1.0, |max| clip_factor(norm, max.as_f64().unwrap()));
        let scalars = StepScalars {
            step,
            lr: case["lr"].as_f64().unwrap(),
            grad_scale: grad_scale as f32,
            clip_value: case.get("clip_value").map(|bound| bound.as_f64().unwrap() as f32),
        };
        optimizer.apply(&mut [in_place(&optimizer, &mut tensors, Decay::Apply)], &scalars);
        let compared = tensors.parameter.iter().zip(f32s(expected)).zip(&mut magnitudes);
        for ((found, expected), magnitude) in compared {
            *magnitude = expected.abs().max(*magnitude);
            assert!(
                (found - expected).abs() <= 1e-6 * *magnitude,
                "{name}, step {step}: {found} where PyTorch has {expected}"
            );
        }
    }
}

#[test]
fn every_update_of_every_case_is_the_one_pytorch_makes() {
    let text = include_str!("../../../tests/data/optimizers.json");
    let reference: Value = serde_json::from_str(text).unwrap();
    let cases = reference["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 16);
    for case in cases {
        check_against_pytorch(&reference, case);
    }
}
