//! Processes that are killed, stopped or limited.

use super::{STEPS_PER_EPOCH, send, three_epochs, undisturbed};
use crate::networks::{cnn_with_dropout, mlp_with_noise};
use crate::work_dir::{Ended, WorkDir};
use rustix::process::Signal;
use std::fs;
use std::process::Stdio;
use std::time::Duration;
use trainer::train::event::Event;
use trainer::train::saved::Saved;
use trainer_runtime::checkpoint::{Kind, Link, Name};
use trainer_runtime::codec;

/// Kills a run at each of these steps, then lets it end.
#[track_caller]
fn check_killed(steps: &[u64], more: &[&str]) {
    let dir = three_epochs(more);
    for step in steps {
        dir.kill_at_step(*step, &[]);
    }
    dir.finish(&[]).check_says(&[
        "Resuming run ",
        " (killed, or power lost)",
        "ended without a word at step ",
    ]);
    dir.result().check_equals(&undisturbed(more));
}

#[test]
fn a_killed_run_ends_as_an_undisturbed_one() {
    check_killed(&[70], &[]);
}

#[test]
fn a_run_killed_before_its_first_checkpoint_ends_as_an_undisturbed_one() {
    check_killed(&[1], &["optimizer.kind=adam"]);
}

#[test]
fn every_optimizer_survives_a_kill() {
    for kind in [
        &["optimizer.kind=rmsprop", "optimizer.centered=true", "optimizer.momentum=0.9"][..],
        &["optimizer.kind=adagrad", "optimizer.lr_decay=0.01"],
        &["optimizer.kind=adadelta"],
        &["optimizer.kind=nadam"],
        &["optimizer.kind=radam"],
        &["optimizer.kind=lion"],
        &["optimizer.kind=lamb"],
        &["optimizer.kind=adafactor"],
        &["optimizer.kind=muon", "optimizer.adamw_patterns=[\"head.*\"]", "--threads", "2"],
    ] {
        // A group of its own and the moving average have to be taken up as well.
        let group = "optimizer.groups.head={parameters=[\"head.*\"],lr=0.0005,weight_decay=0.1}";
        let more = [kind, &["model.builtin=mlp", "train.epochs=2", "ema.decay=0.9", group]].concat();
        check_killed(&[50], &more);
    }
}

#[test]
fn a_run_killed_four_times_ends_as_an_undisturbed_one() {
    check_killed(&[20, 46, 47, 100], &["optimizer.kind=sgd", "optimizer.momentum=0.9", "--lr", "0.05"]);
}

#[test]
fn a_run_with_two_threads_ends_as_an_undisturbed_one() {
    check_killed(&[60], &["--threads", "2"]);
}

#[test]
fn a_run_that_accumulates_gradients_ends_as_an_undisturbed_one() {
    check_killed(&[60], &["--micro-batch", "12", "train.clip_norm=0.5"]);
}

#[test]
fn a_run_with_a_checkpoint_every_ten_steps_ends_as_an_undisturbed_one() {
    check_killed(&[5, 58], &["checkpoint.every_steps=10"]);
}

#[test]
fn dropout_masks_are_the_same_after_a_resume() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dropout.onnx");
    fs::write(&path, cnn_with_dropout()).unwrap();
    let model = format!("model.onnx={}", path.display());
    let arrays = [r#"data.inputs.images={array="images"}"#, r#"data.targets.y={array="labels"}"#];
    let settings = [&model, "data.builtin=digits", arrays[0], arrays[1], "checkpoint.every_steps=7"];
    check_killed(&[30, 80], &settings);
    let other_seed = undisturbed(&[&settings[..], &["data.shuffle=false", "--seed", "1"]].concat());
    let seed = undisturbed(&[&settings[..], &["data.shuffle=false", "--seed", "2"]].concat());
    assert_ne!(seed.losses, other_seed.losses, "the model has no dropout, nothing was tested");
}

#[test]
fn numbers_that_a_model_draws_are_the_same_after_a_resume() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("noise.onnx");
    fs::write(&path, mlp_with_noise()).unwrap();
    let model = format!("model.onnx={}", path.display());
    let arrays = [r#"data.inputs.images={array="images"}"#, r#"data.targets.y={array="labels"}"#];
    let settings = [&model, "data.builtin=digits", arrays[0], arrays[1], "checkpoint.every_steps=7"];
    check_killed(&[30, 80], &settings);
}

/// A schedule that reduces the rate, and an early stop, both of which remember past epochs.
const WATCHFUL: [&str; 8] = [
    "schedule.kind=reduce_on_plateau",
    "schedule.patience=0",
    "schedule.threshold=0.9",
    "schedule.factor=0.5",
    "train.early_stopping.patience=2",
    "train.early_stopping.min_delta=0.9",
    "train.early_stopping.monitor=train_loss",
    "train.epochs=9",
];

#[test]
fn plateaus_and_early_stopping_are_remembered_over_a_resume() {
    let expected = undisturbed(&WATCHFUL);
    let dir = three_epochs(&WATCHFUL);
    for step in [50, 95, 140] {
        dir.kill_at_step(step, &[]);
    }
    let ended = dir.finish(&[]).check_says(&["stopping early: train_loss did not improve for 2 epochs"]);
    assert!(ended.stdout.starts_with("finished"), "{}", ended.stdout);
    dir.result().check_equals(&expected);
    let rates: Vec<f64> = dir.epochs().iter().map(|epoch| epoch.lr).collect();
    assert!(rates.len() < 9 && rates.last() < rates.get(1), "{rates:?}");
}

/// Stops a run with this signal in the middle of an epoch, and takes it up again.
#[track_caller]
fn check_stopped(signal: Signal, code: i32, name: &str) {
    let dir = three_epochs(&[]);
    let child = dir.start_until_step(50, &[]);
    send(signal, &child);
    let ended = Ended::of_child(child).check_code(code);
    let saved = dir.checkpoints().into_iter().next_back().unwrap();
    assert!(matches!(saved.kind, Kind::Emergency(_)), "{saved}");
    assert_eq!(saved.step, dir.steps().last().unwrap().step, "a step was recorded and not saved");
    let said = format!("Saved step {}. Run the same command again to go on.", saved.step);
    ended.check_says(&[&format!("{name} received: "), &said]);
    let again = dir.finish(&[]);
    again.check_says(&[&format!(
        "Previous attempt: stopped by {name} at step {}; 0 steps to compute again",
        saved.step
    )]);
    dir.result().check_equals(&undisturbed(&[]));
}

#[test]
fn sigterm_saves_the_last_step_and_the_next_process_goes_on() {
    check_stopped(Signal::TERM, 143, "SIGTERM");
}

#[test]
fn sigint_saves_the_last_step_and_the_next_process_goes_on() {
    check_stopped(Signal::INT, 130, "SIGINT");
}

#[test]
fn a_signal_during_validation_is_obeyed_at_once_and_the_validation_repeated() {
    let settings = ["train.eval_batch_size=1"];
    let dir = three_epochs(&settings);
    let mut in_validation = 0;
    for epoch in 1..=2 {
        let child = dir.start_until_step(epoch * STEPS_PER_EPOCH, &[]);
        send(Signal::TERM, &child);
        Ended::of_child(child).check_code(143);
        let checkpoint = dir.store().load_link(Link::Last).unwrap();
        let saved: Saved = codec::decode(checkpoint.state()).unwrap();
        in_validation += u64::from(saved.batch == STEPS_PER_EPOCH);
    }
    assert!(in_validation > 0, "no signal came during validation");
    dir.finish(&[]);
    dir.result().check_equals(&undisturbed(&settings));
}

#[test]
fn sigusr1_saves_and_the_run_goes_on() {
    let dir = three_epochs(&[]);
    let child = dir.start_until_step(1, &[]);
    send(Signal::USR1, &child);
    Ended::of_child(child).check_code(0);
    let saved = dir.events().into_iter().find_map(|event| match event {
        Event::CheckpointDurable(saved) => Some(saved.name),
        _ => None,
    });
    let first: Name = saved.unwrap().parse().unwrap();
    assert!(first.kind == Kind::Step && first.step < STEPS_PER_EPOCH, "{first}");
    dir.result().check_equals(&undisturbed(&[]));
}

#[test]
fn a_time_limit_ends_the_process_with_75_and_the_next_goes_on() {
    let dir = three_epochs(&["--max-time", "0.1"]);
    let mut stops = 0;
    let last = loop {
        let ended = dir.run(&[]);
        if ended.code != Some(75) {
            break ended;
        }
        stops += 1;
        ended.check_says(&["the time is over: saved step", "Run the same command again to go on."]);
        assert!(stops < 200, "the run does not get on");
    };
    last.check_code(0);
    assert!(stops > 0, "the run was over before its time was");
    dir.result().check_equals(&undisturbed(&[]));
}

#[test]
fn a_step_limit_finishes_the_run_and_a_larger_one_goes_on() {
    let settings = ["schedule.kind=constant"];
    let dir = three_epochs(&settings);
    let ended = dir.finish(&["--max-steps", "50"]);
    assert!(ended.stdout.contains("50 steps"), "{}", ended.stdout);
    let nothing = dir.finish(&["--max-steps", "50"]);
    assert!(nothing.stdout.starts_with("nothing to do"), "{}", nothing.stdout);
    assert!(nothing.stdout.contains("--max-steps"), "{}", nothing.stdout);
    dir.finish(&["--max-steps", "100"]);
    assert_eq!(dir.steps().len(), 100);
    dir.finish(&["--max-steps", "1000"]).check_says(&["changed setting: train.max_steps: 100 -> 1000"]);
    dir.result().check_equals(&undisturbed(&settings));
}

/// Whatever is killed and whenever: while it starts, trains, validates, saves or ends.
#[test]
fn a_run_killed_or_stopped_at_any_moment_ends_as_an_undisturbed_one() {
    let dir = three_epochs(&[]);
    for attempt in 0..40_u64 {
        let mut command = dir.command(&[]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // Moments from the first instruction to a good part of the run, in no order.
        std::thread::sleep(Duration::from_millis(attempt * 37 % 211));
        if attempt % 3 == 2 {
            send(Signal::TERM, &child);
        } else {
            child.kill().unwrap();
        }
        let ended = Ended::of_child(child);
        assert!(ended.killed_by.is_some() || [Some(0), Some(143)].contains(&ended.code), "{ended:?}");
    }
    dir.finish(&[]);
    dir.result().check_equals(&undisturbed(&[]));
}

/// Lengthens a run with a schedule that spans it: the steps after the checkpoint are computed anew, at other rates.
#[test]
fn steps_that_a_change_discards_are_computed_anew_whenever_the_run_is_killed() {
    let lengthened = |kills: &[u64], later: &[u64]| {
        let dir = three_epochs(&[]);
        kills.iter().for_each(|step| dir.kill_at_step(*step, &[]));
        later.iter().for_each(|step| dir.kill_at_step(*step, &["train.epochs=4"]));
        dir.finish(&["train.epochs=4"]);
        let losses: Vec<(u64, u32)> =
            dir.folded().steps.values().map(|step| (step.step, step.loss_bits)).collect();
        assert_eq!(losses.len() as u64, 4 * STEPS_PER_EPOCH);
        (dir.store().load_link(Link::Final).unwrap(), losses)
    };
    let (once, losses_once) = lengthened(&[50], &[]);
    let (often, losses_often) = lengthened(&[50, 80], &[100, 150]);
    assert_eq!(losses_once, losses_often);
    for (once, often) in once.iter().zip(often.iter()) {
        assert!(once.name == often.name && once.bytes == often.bytes, "tensor {} differs", once.name);
    }
}

#[test]
fn few_checkpoints_are_kept_and_the_best_among_them() {
    let dir =
        WorkDir::new(&["model.builtin=mlp", "--epochs", "25", "--lr", "0.02", "checkpoint.keep_last=2"]);
    dir.finish(&[]);
    let best = dir.store().load_link(Link::Best).unwrap().meta().clone();
    let val_loss = |epoch: &trainer::train::event::EpochDone| epoch.validation[0].1;
    let epochs = dir.epochs();
    let lowest = epochs.iter().min_by(|a, b| val_loss(a).total_cmp(&val_loss(b))).unwrap();
    assert_eq!((best.kind, best.epoch, best.step), (Kind::Epoch, lowest.epoch, lowest.step));
    assert!(lowest.epoch < 24, "the best epoch is one of the last: nothing was tested");
    let kept: Vec<u64> = dir.checkpoints().iter().map(|name| name.step).collect();
    assert_eq!(kept, [lowest.step, 24 * 23, 25 * 23]);
}

#[test]
fn checkpoints_by_the_clock_change_nothing_that_is_trained() {
    let dir = three_epochs(&["checkpoint.every_minutes=0.0005"]);
    dir.kill_at_step(60, &[]);
    dir.finish(&[]);
    let by_clock = dir.events().into_iter().filter(|event| match event {
        Event::CheckpointDurable(durable) => durable.name.starts_with("step-"),
        _ => false,
    });
    assert!(by_clock.count() > 0, "no checkpoint was made by the clock");
    dir.result().check_equals(&undisturbed(&[]));
}

#[test]
fn every_so_many_epochs_a_checkpoint_is_kept_for_good() {
    let dir = three_epochs(&["train.epochs=7"]);
    dir.finish(&["checkpoint.keep_last=2", "checkpoint.keep_every_epochs=3", "checkpoint.on_best=false"]);
    let best = dir.store().load_link(Link::Best).unwrap().meta().step;
    let mut kept: Vec<u64> = [3, 6, 7].map(|epoch| epoch * STEPS_PER_EPOCH).to_vec();
    kept.push(best);
    kept.sort_unstable();
    kept.dedup();
    assert_eq!(dir.checkpoints().iter().map(|name| name.step).collect::<Vec<_>>(), kept);
}
