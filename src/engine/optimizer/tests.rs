use super::{Optimizer, Source, StepScalars, Target, Update};
use crate::config::{AdjustLr, EmaPlan, OptimizerKind, OptimizerPlan};

mod paper;
mod pytorch;

const BETAS: (f64, f64) = (0.9, 0.999);
const ADAM: OptimizerKind = OptimizerKind::Adam { betas: BETAS, eps: 1e-8 };
const SGD: OptimizerKind = OptimizerKind::Sgd { momentum: 0.0, dampening: 0.0, nesterov: false };
const MOMENTUM: OptimizerKind = OptimizerKind::Sgd { momentum: 0.9, dampening: 0.1, nesterov: false };

fn muon(nesterov: bool) -> OptimizerKind {
    OptimizerKind::Muon {
        momentum: 0.9,
        nesterov,
        ns_steps: 5,
        adjust_lr: AdjustLr::Original,
        betas: BETAS,
        eps: 1e-8,
        adamw_patterns: Vec::new(),
    }
}

/// Every form of every algorithm.
fn all() -> Vec<OptimizerKind> {
    let (betas, eps) = (BETAS, 1e-8);
    let rms_prop = |momentum, centered| OptimizerKind::RmsProp { alpha: 0.9, eps, momentum, centered };
    let (momentum_decay, decoupled_weight_decay) = (4e-3, true);
    vec![
        SGD,
        MOMENTUM,
        OptimizerKind::Sgd { momentum: 0.9, dampening: 0.0, nesterov: true },
        ADAM,
        OptimizerKind::AdamW { betas, eps },
        rms_prop(0.0, false),
        rms_prop(0.9, false),
        rms_prop(0.0, true),
        rms_prop(0.9, true),
        OptimizerKind::Adagrad { lr_decay: 0.1, eps },
        OptimizerKind::Adadelta { rho: 0.9, eps: 1e-6 },
        OptimizerKind::NAdam { betas, eps, momentum_decay, decoupled_weight_decay },
        OptimizerKind::RAdam { betas: (0.9, 0.9), eps, decoupled_weight_decay },
        OptimizerKind::Lion { betas: (0.9, 0.99) },
        OptimizerKind::Lamb { betas, eps: 1e-6 },
        OptimizerKind::Adafactor { beta2_decay: -0.8, eps: 1e-7, relative_eps: 1e-3, clip_threshold: 1.0 },
        muon(true),
        muon(false),
    ]
}

/// Of a model of tensors smaller and larger than a task, an empty one among them; every second one is not decayed.
fn dims() -> Vec<(String, Vec<usize>)> {
    let dims: [&[usize]; 10] =
        [&[17_000], &[1], &[0], &[777], &[20, 20], &[18, 41], &[41, 18], &[3], &[5, 4, 7, 30], &[1, 1]];
    let named = |(at, dims): (usize, &&[usize])| (format!("{}{at}", ["w", "b"][at % 2]), dims.to_vec());
    dims.iter().enumerate().map(named).collect()
}

fn optimizer(kind: &OptimizerKind, parameters: &[(String, Vec<usize>)]) -> Optimizer {
    let ema = Some(EmaPlan { decay: 0.9, is_used: true });
    let plan = OptimizerPlan { weight_decay: 0.1, ema, ..OptimizerPlan::new(kind.clone(), 0.01) };
    Optimizer::new(&OptimizerPlan { no_decay: vec!["b*".into()], ..plan }, parameters)
}

/// An optimizer of one parameter called `w`, without weight decay and average.
fn plain(kind: &OptimizerKind, dims: &[usize]) -> Optimizer {
    Optimizer::new(&OptimizerPlan::new(kind.clone(), 0.01), &[("w".to_owned(), dims.to_vec())])
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
    slots: [Vec<f32>; 3],
    average: Vec<f32>,
    gradient: Vec<f32>,
}

impl Tensors {
    /// Of parameter `index`, filled with arbitrary numbers.
    fn new(optimizer: &Optimizer, index: usize, salt: u32) -> Self {
        let elements = |dims: &[usize]| dims.iter().product::<usize>();
        let count = elements(&optimizer.updates().nth(index).unwrap().dims);
        let slot = |at: usize| {
            let len = optimizer.slots(index).get(at).map_or(0, |slot| elements(&slot.dims));
            // Squares are never negative, and this serves as a momentum too.
            numbers(len, salt + 1).iter().map(|x| x.abs()).collect()
        };
        Self {
            parameter: numbers(count, salt),
            slots: [slot(0), slot(1), slot(2)],
            average: numbers(if optimizer.ema.is_some() { count } else { 0 }, salt + 3),
            gradient: numbers(count, salt + 2),
        }
    }

    /// At the beginning of a training.
    fn fresh(optimizer: &Optimizer, parameter: &[f32]) -> Self {
        let mut tensors = Self::new(optimizer, 0, 1);
        tensors.parameter = parameter.to_vec();
        let averaged = tensors.average.len();
        tensors.average.copy_from_slice(&parameter[..averaged]);
        tensors.slots.iter_mut().for_each(|slot| slot.fill(0.0));
        tensors
    }

    fn bits(&self) -> Vec<u32> {
        let [first, second, third] = &self.slots;
        let all = [&self.parameter, first, second, third, &self.average];
        all.into_iter().flatten().map(|value| value.to_bits()).collect()
    }

    fn source(&self) -> Source<'_> {
        let [first, second, third] = &self.slots;
        Source { parameter: &self.parameter, slots: [first, second, third], average: &self.average }
    }
}

fn in_place<'a>(optimizer: &Optimizer, index: usize, tensors: &'a mut Tensors) -> Update<'a> {
    let [first, second, third] = &mut tensors.slots;
    let target = Target {
        parameter: &mut tensors.parameter,
        slots: [first, second, third],
        average: &mut tensors.average,
    };
    optimizer.update_in_place(index, target, &tensors.gradient).unwrap()
}

fn model(optimizer: &Optimizer) -> Vec<Tensors> {
    (0..dims().len()).map(|index| Tensors::new(optimizer, index, index as u32 * 10 + 1)).collect()
}

fn apply_in_place(optimizer: &Optimizer, model: &mut [Tensors], step: u64) {
    let mut updates: Vec<Update<'_>> =
        model.iter_mut().enumerate().map(|(index, tensors)| in_place(optimizer, index, tensors)).collect();
    optimizer.apply(&mut updates, &scalars(step), &mut optimizer.scratch().unwrap());
}

/// Updates the one parameter of an optimizer.
fn apply_alone(optimizer: &Optimizer, tensors: &mut Tensors, scalars: &StepScalars) {
    let update = in_place(optimizer, 0, tensors);
    optimizer.apply(&mut [update], scalars, &mut optimizer.scratch().unwrap());
}

fn bits(model: &[Tensors]) -> Vec<Vec<u32>> {
    model.iter().map(Tensors::bits).collect()
}

#[test]
fn an_update_into_other_memory_gives_the_bits_of_one_in_place_and_leaves_its_source() {
    for kind in all() {
        let optimizer = optimizer(&kind, &dims());
        let source = model(&optimizer);
        let mut expected = source.clone();
        apply_in_place(&optimizer, &mut expected, 3);

        let kept = source.clone();
        let mut written: Vec<Tensors> = source.clone();
        for tensors in &mut written {
            tensors.parameter.fill(f32::NAN);
            tensors.average.fill(f32::NAN);
            tensors.slots.iter_mut().for_each(|slot| slot.fill(f32::NAN));
        }
        let mut updates = Vec::new();
        for (index, (from, to)) in source.iter().zip(&mut written).enumerate() {
            let [first, second, third] = &mut to.slots;
            let slots: [&mut [f32]; 3] = [first, second, third];
            let target = Target { parameter: &mut to.parameter, slots, average: &mut to.average };
            updates.push(optimizer.update_into(index, from.source(), target, &to.gradient).unwrap());
        }
        optimizer.apply(&mut updates, &scalars(3), &mut optimizer.scratch().unwrap());
        assert_eq!(bits(&written), bits(&expected), "{kind:?}");
        assert!(source == kept, "{kind:?}: the source was written to");
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    for kind in all() {
        let optimizer = optimizer(&kind, &dims());
        let run_with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut model = model(&optimizer);
            pool.install(|| (1..=2).for_each(|step| apply_in_place(&optimizer, &mut model, step)));
            bits(&model)
        };
        let alone = run_with(1);
        assert_eq!(alone, run_with(2), "{kind:?}");
        assert_eq!(alone, run_with(5), "{kind:?}");
    }
}

#[test]
fn a_model_updated_at_once_equals_its_tensors_updated_one_by_one() {
    for kind in all() {
        let all = optimizer(&kind, &dims());
        let mut together = model(&all);
        let mut single = together.clone();
        apply_in_place(&all, &mut together, 3);
        for (tensors, parameter) in single.iter_mut().zip(dims()) {
            let alone = optimizer(&kind, &[parameter]);
            apply_alone(&alone, tensors, &scalars(3));
        }
        assert_eq!(bits(&together), bits(&single), "{kind:?}");
    }
}

#[test]
fn vector_instructions_change_no_bit() {
    use super::kernel::{run, run_portable};
    use super::step::{Rule, rule};
    for kind in all() {
        let optimizer = optimizer(&kind, &[("w".to_owned(), vec![777])]);
        let Rule::Elementwise(formula) = rule(optimizer.updates().next().unwrap(), &scalars(3)) else {
            continue;
        };
        let mut wide = Tensors::new(&optimizer, 0, 5);
        let mut single = wide.clone();
        let [first, second, third] = &mut wide.slots;
        run(&formula, &mut wide.parameter, &wide.gradient, [first, second, third]);
        for index in 0..single.parameter.len() {
            let [first, second, third] = &mut single.slots;
            let slots = [first, second, third].map(|slot| slot.get_mut(index..=index).unwrap_or_default());
            let element = &mut single.parameter[index..=index];
            run_portable(&formula, element, &single.gradient[index..=index], slots);
        }
        assert_eq!(wide.bits(), single.bits(), "{kind:?}");
    }
}

#[test]
fn a_group_without_a_rate_keeps_its_parameters_and_still_moves_its_slots() {
    let mut plan = OptimizerPlan::new(ADAM, 0.01);
    let group =
        crate::config::ParameterGroup { parameters: vec!["w".into()], lr: Some(0.0), weight_decay: None };
    plan.groups.insert("still".to_owned(), group);
    let optimizer = Optimizer::new(&plan, &[("w".to_owned(), vec![1])]);
    let mut tensors = Tensors::fresh(&optimizer, &[2.0]);
    tensors.gradient = vec![0.5];
    apply_alone(&optimizer, &mut tensors, &scalars(1));
    assert_eq!(tensors.parameter, [2.0]);
    assert!(tensors.slots[0][0] != 0.0);
}

#[test]
fn gradients_are_scaled_first_and_bounded_then() {
    let optimizer = plain(&SGD, &[4]);
    let mut tensors = Tensors::fresh(&optimizer, &[0.0; 4]);
    tensors.gradient = vec![1.0, 4.0, -4.0, -1.5];
    let scalars = StepScalars { step: 1, lr: 1.0, grad_scale: 0.5, clip_value: Some(0.75) };
    apply_alone(&optimizer, &mut tensors, &scalars);
    assert_eq!(tensors.parameter, [-0.5, -0.75, 0.75, 0.75]);
}

#[test]
fn a_bound_does_not_hide_a_gradient_that_is_not_a_number() {
    for kind in all() {
        let optimizer = plain(&kind, &[20]);
        let mut tensors = Tensors::new(&optimizer, 0, 1);
        tensors.gradient[7] = f32::NAN;
        apply_alone(&optimizer, &mut tensors, &scalars(1));
        assert!(tensors.parameter[7].is_nan(), "{kind:?}");
    }
}

#[test]
fn without_memory_the_first_moment_is_the_gradient_itself() {
    let optimizer = plain(&OptimizerKind::Adam { betas: (0.0, 0.9), eps: 1e-8 }, &[1]);
    let mut tensors = Tensors::fresh(&optimizer, &[0.0]);
    tensors.slots[0][0] = 1e8;
    tensors.gradient = vec![0.3];
    let scalars = StepScalars { step: 2, lr: 0.01, grad_scale: 1.0, clip_value: None };
    apply_alone(&optimizer, &mut tensors, &scalars);
    assert_eq!(tensors.slots[0], [0.3]);
}

#[test]
fn slices_of_other_lengths_than_the_optimizer_states_are_refused() {
    let optimizer = plain(&ADAM, &[4]);
    let refusal = |gradient: usize, lengths: [usize; 3], average: usize| {
        let (mut p, g) = (vec![0.0; 4], vec![0.0; gradient]);
        let [mut first, mut second, mut third] = lengths.map(|len| vec![0.0; len]);
        let mut average = vec![0.0; average];
        let slots: [&mut [f32]; 3] = [&mut first, &mut second, &mut third];
        let target = Target { parameter: &mut p, slots, average: &mut average };
        let made = optimizer.update_in_place(0, target, &g);
        made.map(|_| ()).map_err(|error| (error.part, error.found, error.expected))
    };
    assert_eq!(refusal(4, [4, 4, 0], 0), Ok(()));
    assert_eq!(refusal(3, [4, 4, 0], 0), Err(("the gradient", 3, 4)));
    assert_eq!(refusal(4, [5, 4, 0], 0), Err(("exp_avg", 5, 4)));
    assert_eq!(refusal(4, [4, 0, 0], 0), Err(("exp_avg_sq", 0, 4)));
    assert_eq!(refusal(4, [4, 4, 4], 0), Err(("an unused optimizer slot", 4, 0)));
    assert_eq!(refusal(4, [4, 4, 0], 4), Err(("the moving average", 4, 0)));
}

#[test]
fn a_source_of_another_length_is_refused() {
    let optimizer = plain(&MOMENTUM, &[2]);
    for (parameter, buffer) in [(3, 2), (2, 1)] {
        let mut to = Tensors::new(&optimizer, 0, 1);
        let mut from = to.clone();
        from.parameter.resize(parameter, 0.0);
        from.slots[0].resize(buffer, 0.0);
        let [first, second, third] = &mut to.slots;
        let slots: [&mut [f32]; 3] = [first, second, third];
        let target = Target { parameter: &mut to.parameter, slots, average: &mut to.average };
        let result = optimizer.update_into(0, from.source(), target, &to.gradient);
        assert!(result.is_err(), "parameter {parameter}, buffer {buffer}");
    }
}
