//! Updates of the state: the optimizer as a session against the fused loop, batches in parts, and what a held state sees.

use crate::reference_models::{BATCH, ReferenceModel, array_names};
use std::collections::BTreeMap;
use trainer::config::{AdjustLr, EmaPlan, OptimizerKind, OptimizerPlan, ParameterGroup};
use trainer::data::{HostArray, Values};
use trainer::engine::step::{Clipping, Engine, StepOutcome, UpdateBy};

const STEPS: u64 = 10;
const LR: f64 = 0.02;

/// One step over a batch in parts of these sizes.
fn step(
    engine: &mut Engine,
    number: u64,
    batch: &[HostArray],
    parts: &[usize],
    clipping: Clipping,
) -> StepOutcome {
    let mut first = 0;
    for (position, size) in parts.iter().enumerate() {
        if position > 0 {
            engine.accumulate().unwrap();
        }
        let part: Vec<HostArray> = batch.iter().map(|array| rows(array, first, *size)).collect();
        engine.gradients(&array_names(), &part, &mut |_, _, _| {}).unwrap();
        first += size;
    }
    engine.commit(number, LR, clipping).unwrap()
}

fn rows(array: &HostArray, first: usize, count: usize) -> HostArray {
    let row: usize = array.shape[1..].iter().product();
    let range = first * row..(first + count) * row;
    let values = match &array.values {
        Values::F32(values) => Values::F32(values[range].to_vec()),
        Values::I64(values) => Values::I64(values[range].to_vec()),
        other => panic!("the digits are float32 and int64, not {other:?}"),
    };
    let shape = std::iter::once(count).chain(array.shape[1..].iter().copied()).collect();
    HostArray { shape, values }
}

fn state(engine: &Engine) -> Vec<Vec<f32>> {
    engine.snapshot().unwrap().host_slices().map(<[f32]>::to_vec).collect()
}

/// Compares tensor by tensor, relative to the largest element of each.
#[track_caller]
fn assert_same_state(found: &[Vec<f32>], expected: &[Vec<f32>], tolerance: f32) {
    assert_eq!(found.len(), expected.len());
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        let scale = expected.iter().fold(0.0_f32, |scale, x| scale.max(x.abs()));
        let off = found.iter().zip(expected).fold(0.0_f32, |off, (a, b)| off.max((a - b).abs()));
        assert!(off <= tolerance * scale, "tensor {at}: off by {off}, largest element {scale}");
        assert!(found.iter().all(|x| x.is_finite()));
    }
}

fn plan(kind: OptimizerKind, weight_decay: f64) -> OptimizerPlan {
    let no_decay = vec!["*.bias".to_owned()];
    OptimizerPlan { weight_decay, no_decay, ..OptimizerPlan::new(kind, LR) }
}

/// Trains both ways and compares the states and norms after each step.
#[track_caller]
fn check_session(model: &'static str, plan: &OptimizerPlan, clipping: Clipping) {
    // Rounding: the norm that clips is a sum in f32 there and in f64 here, and the second moment has its square.
    check_session_within(model, plan, clipping, 2e-6);
}

#[track_caller]
fn check_session_within(model: &'static str, plan: &OptimizerPlan, clipping: Clipping, tolerance: f32) {
    let model = ReferenceModel::load(model);
    let mut fused = model.engine(UpdateBy::FusedLoop, plan, &[BATCH]);
    let mut session = model.engine(UpdateBy::Session, plan, &[BATCH]);
    assert_eq!(state(&session), state(&fused));
    for (number, batch) in (1..=STEPS).zip(model.batches(BATCH)) {
        let expected = step(&mut fused, number, &batch, &[BATCH], clipping);
        let found = step(&mut session, number, &batch, &[BATCH], clipping);
        assert!(expected.applied && found.applied);
        let off = (found.gradient_norm - expected.gradient_norm).abs() / expected.gradient_norm;
        assert!(off < 1e-5, "step {number}: norms {found:?} and {expected:?}");
    }
    assert_same_state(&state(&session), &state(&fused), tolerance);
}

fn sgd(momentum: f64, dampening: f64, nesterov: bool) -> OptimizerKind {
    OptimizerKind::Sgd { momentum, dampening, nesterov }
}

const ADAM: OptimizerKind = OptimizerKind::Adam { betas: (0.9, 0.999), eps: 1e-3 };
const ADAMW: OptimizerKind = OptimizerKind::AdamW { betas: (0.8, 0.95), eps: 1e-3 };
const UNBOUNDED: Clipping = Clipping { norm: None, value: None };

#[test]
fn the_session_equals_the_fused_loop_for_every_form_of_sgd() {
    for kind in [sgd(0.0, 0.0, false), sgd(0.9, 0.0, false), sgd(0.9, 0.3, false), sgd(0.9, 0.0, true)] {
        check_session("mlp-script", &plan(kind.clone(), 0.0), UNBOUNDED);
        check_session("mlp-script", &plan(kind, 0.01), UNBOUNDED);
    }
}

#[test]
fn the_session_equals_the_fused_loop_for_adam_and_adamw() {
    for kind in [ADAM, ADAMW] {
        check_session("mlp-script", &plan(kind.clone(), 0.0), UNBOUNDED);
        check_session("mlp-script", &plan(kind, 0.05), UNBOUNDED);
    }
}

/// The algorithms beyond SGD, Adam and AdamW, in each of their forms. `eps` is large because the first steps of a network
/// whose gradients are nearly zero are otherwise made of rounding errors.
fn further_kinds() -> Vec<OptimizerKind> {
    let (betas, eps) = ((0.9, 0.95), 1e-3);
    let rms_prop = |momentum, centered| OptimizerKind::RmsProp { alpha: 0.9, eps, momentum, centered };
    vec![
        rms_prop(0.0, false),
        rms_prop(0.9, false),
        rms_prop(0.0, true),
        rms_prop(0.9, true),
        OptimizerKind::Adagrad { lr_decay: 0.1, eps },
        OptimizerKind::Adadelta { rho: 0.9, eps },
        OptimizerKind::NAdam { betas, eps, momentum_decay: 4e-3, decoupled_weight_decay: false },
        OptimizerKind::NAdam { betas, eps, momentum_decay: 4e-3, decoupled_weight_decay: true },
        OptimizerKind::RAdam { betas: (0.9, 0.8), eps, decoupled_weight_decay: false },
        OptimizerKind::RAdam { betas: (0.9, 0.8), eps, decoupled_weight_decay: true },
        OptimizerKind::Lamb { betas, eps },
        OptimizerKind::Adafactor { beta2_decay: -0.8, eps, relative_eps: 1e-3, clip_threshold: 1.0 },
    ]
}

fn muon(nesterov: bool, adjust_lr: AdjustLr) -> OptimizerKind {
    let (betas, eps, adamw_patterns) = ((0.9, 0.95), 1e-3, Vec::new());
    OptimizerKind::Muon { momentum: 0.95, nesterov, ns_steps: 5, adjust_lr, betas, eps, adamw_patterns }
}

#[test]
fn the_session_equals_the_fused_loop_for_every_further_optimizer() {
    for kind in further_kinds() {
        check_session_within("mlp-script", &plan(kind, 0.05), UNBOUNDED, 1e-5);
    }
    let factored =
        OptimizerKind::Adafactor { beta2_decay: -0.8, eps: 1e-3, relative_eps: 1e-3, clip_threshold: 1.0 };
    check_session_within("cnn-script", &plan(factored, 0.05), UNBOUNDED, 1e-5);
}

#[test]
fn the_session_equals_the_fused_loop_for_muon() {
    for kind in [muon(true, AdjustLr::Original), muon(false, AdjustLr::MatchRmsAdamw)] {
        check_session_within("mlp-script", &plan(kind, 0.05), UNBOUNDED, 1e-4);
    }
}

/// Lion's step is the sign of the momentum, which rounding turns where the momentum is next to 0. So only one step is
/// compared, after which no element may differ by more than the two signs do, and only a few at all.
#[test]
fn the_session_equals_the_fused_loop_for_lion() {
    let model = ReferenceModel::load("mlp-script");
    let plan = plan(OptimizerKind::Lion { betas: (0.9, 0.99) }, 0.05);
    let [mut fused, mut session] =
        [UpdateBy::FusedLoop, UpdateBy::Session].map(|update| model.engine(update, &plan, &[BATCH]));
    let batch = model.batches(BATCH).next().unwrap();
    step(&mut fused, 1, &batch, &[BATCH], UNBOUNDED);
    step(&mut session, 1, &batch, &[BATCH], UNBOUNDED);
    assert_same_state(&state(&session), &state(&fused), 1e-6);
}

#[test]
fn groups_and_the_moving_average_are_the_same_in_session_and_fused_loop() {
    let parameters = vec!["*weight".to_owned()];
    let group = ParameterGroup { parameters, lr: Some(LR / 4.0), weight_decay: Some(0.2) };
    let ema = Some(EmaPlan { decay: 0.9, is_used: true });
    for kind in [sgd(0.9, 0.3, false), ADAMW, muon(true, AdjustLr::Original)] {
        let groups = BTreeMap::from([("slow".to_owned(), group.clone())]);
        let plan = OptimizerPlan { groups, ema, ..plan(kind, 0.01) };
        check_session_within("mlp-script", &plan, UNBOUNDED, 1e-4);
    }
}

#[test]
fn the_moving_average_is_what_is_evaluated_where_it_is_used() {
    let model = ReferenceModel::load("cnn-script");
    let with = |is_used| {
        let ema = Some(EmaPlan { decay: 0.5, is_used });
        let mut engine =
            model.engine(UpdateBy::FusedLoop, &OptimizerPlan { ema, ..plan(ADAMW, 0.01) }, &[BATCH]);
        engine.add_evaluation(model.evaluation_graph(BATCH), BATCH).unwrap();
        let batch = model.batches(BATCH).next().unwrap();
        let mut losses = Vec::new();
        for number in 1..=3 {
            step(&mut engine, number, &batch, &[BATCH], UNBOUNDED);
            losses.push(engine.evaluate(&array_names(), &batch).unwrap().loss_sum);
        }
        (losses, state(&engine))
    };
    let (averaged, state_of_averaged) = with(true);
    let (plain, state_of_plain) = with(false);
    assert_eq!(state_of_averaged, state_of_plain, "what is evaluated changes no training");
    assert_eq!(averaged[0], plain[0], "after the first step the average is the parameter");
    assert_ne!(averaged[1..], plain[1..]);
}

#[test]
fn the_session_clips_as_the_fused_loop_does() {
    let by_norm = Clipping { norm: Some(0.1), value: None };
    let by_value = Clipping { norm: None, value: Some(0.002) };
    let by_both = Clipping { norm: Some(0.1), value: Some(0.002) };
    for clipping in [by_norm, by_value, by_both] {
        check_session("mlp-script", &plan(sgd(0.9, 0.0, false), 0.01), clipping);
        check_session("mlp-script", &plan(ADAMW, 0.01), clipping);
    }
}

#[test]
fn the_session_equals_the_fused_loop_on_a_network_with_running_statistics() {
    check_session("cnn-script", &plan(sgd(0.9, 0.0, false), 0.0), UNBOUNDED);
}

#[test]
fn clipping_bounds_the_change_of_a_step() {
    let model = ReferenceModel::load("mlp-script");
    let mut engine = model.engine(UpdateBy::FusedLoop, &plan(sgd(0.0, 0.0, false), 0.0), &[BATCH]);
    let before = state(&engine);
    let batch = model.batches(BATCH).next().unwrap();
    let outcome = step(&mut engine, 1, &batch, &[BATCH], Clipping { norm: Some(0.05), value: None });
    assert!(outcome.gradient_norm > 0.05, "the norm is reported as it was before clipping");
    let moved: f64 = before
        .iter()
        .flatten()
        .zip(state(&engine).iter().flatten())
        .map(|(a, b)| f64::from(a - b).powi(2))
        .sum();
    assert!((moved.sqrt() - LR * 0.05).abs() < 1e-5, "moved by {}", moved.sqrt());
}

/// Trains with batches in parts and in one piece.
#[track_caller]
fn check_parts(update: UpdateBy, parts: &[usize]) {
    let model = ReferenceModel::load("mlp-script");
    let plan = plan(sgd(0.9, 0.0, false), 0.01);
    let clipping = Clipping { norm: Some(0.5), value: None };
    let mut sizes = parts.to_vec();
    sizes.sort_unstable();
    sizes.dedup();
    let mut whole = model.engine(update, &plan, &[BATCH]);
    let mut divided = model.engine(update, &plan, &sizes);
    for (number, batch) in (1..=STEPS).zip(model.batches(BATCH)) {
        let expected = step(&mut whole, number, &batch, &[BATCH], clipping);
        let found = step(&mut divided, number, &batch, parts, clipping);
        assert!((found.loss - expected.loss).abs() < 1e-5, "step {number}: {found:?} {expected:?}");
        assert_eq!(found.weight, expected.weight);
    }
    assert_same_state(&state(&divided), &state(&whole), 1e-5);
}

#[test]
fn a_batch_in_parts_gives_the_step_of_the_whole_batch() {
    for update in [UpdateBy::FusedLoop, UpdateBy::Session] {
        check_parts(update, &[8, 8]);
        check_parts(update, &[4, 4, 4, 4]);
        check_parts(update, &[8, 4, 4]);
        check_parts(update, &[12, 4]);
    }
}

#[test]
fn a_held_state_never_changes_and_does_not_change_what_is_computed() {
    for update in [UpdateBy::FusedLoop, UpdateBy::Session] {
        let model = ReferenceModel::load("cnn-script");
        let plan = plan(ADAMW, 0.01);
        let mut free = model.engine(update, &plan, &[BATCH]);
        let mut holding = model.engine(update, &plan, &[BATCH]);
        let mut held = Vec::new();
        for (number, batch) in (1..=6).zip(model.batches(BATCH)) {
            step(&mut free, number, &batch, &[BATCH], UNBOUNDED);
            let snapshot = holding.snapshot().unwrap();
            held.push((state(&holding), snapshot));
            step(&mut holding, number, &batch, &[BATCH], UNBOUNDED);
            if held.len() > 2 {
                held.remove(0);
            }
            for (copy, snapshot) in &held {
                assert!(snapshot.host_slices().eq(copy.iter().map(Vec::as_slice)));
            }
        }
        assert_eq!(state(&holding), state(&free));
    }
}

#[test]
fn a_step_whose_loss_is_not_finite_leaves_the_state_as_it_was() {
    for update in [UpdateBy::FusedLoop, UpdateBy::Session] {
        let model = ReferenceModel::load("cnn-script");
        let mut engine = model.engine(update, &plan(ADAMW, 0.01), &[BATCH]);
        let mut batches = model.batches(BATCH);
        let good = batches.next().unwrap();
        assert!(step(&mut engine, 1, &good, &[BATCH], UNBOUNDED).applied);
        let before = state(&engine);
        let mut bad = good.clone();
        if let Values::F32(values) = &mut bad[0].values {
            values[3] = f32::NAN;
        }
        assert!(!step(&mut engine, 2, &bad, &[BATCH], UNBOUNDED).applied);
        assert_eq!(state(&engine), before);
        assert!(step(&mut engine, 2, &good, &[BATCH], UNBOUNDED).applied);
        assert_ne!(state(&engine), before);
    }
}

#[test]
fn an_abandoned_batch_leaves_no_trace() {
    let model = ReferenceModel::load("cnn-script");
    let plan = plan(ADAMW, 0.01);
    let [mut plain, mut disturbed] = [(), ()].map(|()| model.engine(UpdateBy::FusedLoop, &plan, &[8]));
    for (number, batch) in (1..=3).zip(model.batches(BATCH)) {
        disturbed
            .gradients(
                &array_names(),
                &batch.iter().map(|a| rows(a, 8, 8)).collect::<Vec<_>>(),
                &mut |_, _, _| {},
            )
            .unwrap();
        disturbed.accumulate().unwrap();
        disturbed.abandon();
        step(&mut plain, number, &batch, &[8, 8], UNBOUNDED);
        step(&mut disturbed, number, &batch, &[8, 8], UNBOUNDED);
    }
    assert_eq!(state(&disturbed), state(&plain));
}

#[test]
fn a_cancelled_step_leaves_the_state_as_it_was_and_can_be_repeated() {
    let model = ReferenceModel::load("mlp-script");
    let mut engine = model.engine(UpdateBy::FusedLoop, &plan(ADAMW, 0.01), &[BATCH]);
    let before = state(&engine);
    let batch = model.batches(BATCH).next().unwrap();
    let cancel = engine.cancel();
    cancel.cancel();
    let error = engine.gradients(&array_names(), &batch, &mut |_, _, _| {}).unwrap_err();
    assert_eq!(error.class, trainer::engine::error::ErrorClass::Cancelled);
    engine.abandon();
    assert_eq!(state(&engine), before);
    cancel.clear();
    assert!(step(&mut engine, 1, &batch, &[BATCH], UNBOUNDED).applied);
}
