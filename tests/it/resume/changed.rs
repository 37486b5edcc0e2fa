//! Runs that are taken up with something changed on purpose, or moved.

use super::damaged::killed_with_checkpoints;
use super::{STEPS_PER_EPOCH, killed_within, send, undisturbed};
use crate::data_files::{npy_f32, npy_i64, npz};
use crate::work_dir::WorkDir;
use rustix::process::Signal;
use std::fs;
use trainer::train::event::{Environment, Event};
use trainer_runtime::checkpoint::Link;

#[test]
fn a_limit_on_steps_cuts_a_run_short_and_does_not_bend_it() {
    let dir = killed_within(&[], 60..=79);
    dir.finish(&["--max-steps", "80"]).check_says(&["changed setting: train.max_steps: not set -> 80"]);
    dir.finish(&["train.max_steps=\"none\""]);
    dir.result().check_equals(&undisturbed(&[]));
}

#[test]
fn more_patience_outlives_a_process_that_ends_before_the_next_checkpoint() {
    let settings =
        ["model.builtin=mlp", "--lr", "1e-9", "train.epochs=400", "train.early_stopping.min_delta=0.5"];
    let dir = WorkDir::new(&settings);
    dir.finish(&["train.early_stopping.patience=2"]).check_says(&["stopping early"]);
    let steps = dir.steps().len() as u64;
    let patient = ["train.early_stopping.patience=300", "checkpoint.every_epochs=300"];
    dir.kill_at_step(steps + 3, &patient);
    // A step that only the next process can record: so it is at work when the signal comes.
    let reached = dir.folded().last_step();
    let child = dir.start_until_step(reached + 3, &[]);
    send(Signal::INT, &child);
    crate::work_dir::Ended::of_child(child).check_code(130);
    assert!(dir.folded().finished.is_none(), "the run stopped early again");
}

#[test]
fn a_state_that_is_not_finite_is_never_saved_and_the_run_can_be_rescued() {
    let dir = WorkDir::new(&[
        "model.builtin=mlp",
        "train.epochs=4",
        "schedule.kind=constant",
        "schedule.warmup_steps=0",
    ]);
    dir.finish(&["--max-steps", "23"]);
    let good = dir.checkpoints();
    let wild =
        ["--lr", "1e38", "train.max_steps=\"none\"", "optimizer.kind=sgd", "--allow-changed", "settings"];
    dir.run(&wild).check_code(6).check_says(&["training diverged", "--allow-changed settings"]);
    assert_eq!(dir.checkpoints(), good, "a state that diverged was saved");
    let tame = ["--lr", "1e-3", "optimizer.kind=sgd", "--allow-changed", "settings"];
    dir.finish(&tame).check_says(&["Previous attempt: ended because training diverged at step "]);
    assert!(dir.epochs().iter().all(|epoch| epoch.train_loss.is_finite()));
}

#[test]
fn another_optimizer_starts_with_slots_of_its_own() {
    let dir = WorkDir::new(&["model.builtin=mlp", "train.epochs=2"]);
    dir.finish(&["--max-steps", "23"]);
    let other = [
        "optimizer.kind=sgd",
        "optimizer.momentum=0.9",
        "train.max_steps=\"none\"",
        "--allow-changed",
        "settings",
    ];
    let line = "`optimizer/momentum_buffer/fc1.weight` is not in epoch-0001-step-00000023.safetensors: it starts at zero";
    dir.finish(&other).check_says(&[line]);
}

#[test]
fn accepting_another_environment_discards_the_steps_that_can_not_be_reproduced() {
    let dir = killed_within(&[], 60..=89);
    dir.finish(&["--allow-changed", "environment"]).check_says(&["discarded, because what computes changed"]);
    let discards = |event: &Event| matches!(event, Event::Resumed(resumed) if resumed.discards_later);
    assert!(dir.events().iter().any(discards));
    assert_eq!((dir.folded().last_step(), dir.epochs().len()), (3 * STEPS_PER_EPOCH, 3));
}

#[test]
fn another_watched_column_takes_its_best_epoch_from_the_history() {
    let watch = |column: &str| format!("train.early_stopping.monitor=\"{column}\"");
    let dir =
        WorkDir::new(&["model.builtin=mlp", "train.early_stopping.patience=50", "checkpoint.keep_last=9"]);
    dir.finish(&["train.epochs=5", &watch("train_loss")]);
    dir.finish(&["train.epochs=6", &watch("val_loss")])
        .check_says(&["`val_loss` is watched from here on, not `train_loss`"]);
    let lowest =
        dir.epochs().into_iter().min_by(|a, b| a.validation[0].1.total_cmp(&b.validation[0].1)).unwrap();
    assert_eq!(dir.store().load_link(Link::Best).unwrap().meta().step, lowest.step);
}

#[test]
fn data_that_were_moved_with_their_content_are_no_change() {
    let dir = WorkDir::new(&["model.builtin=mlp", "train.batch_size=2"]);
    let arrays = [("x", npy_f32(&[4, 2], &[0., 1., 1., 0., 2., 1., 1., 2.])), ("y", npy_i64(&[0, 1, 1, 0]))];
    let first = dir.write("first.npz", npz(&arrays));
    let maps = ["data.inputs.x={array=\"x\"}", "data.targets.y={array=\"y\"}"];
    dir.finish(&[&format!("data.train={first}"), maps[0], maps[1], "train.epochs=2"]);
    let second = dir.path().parent().unwrap().join("second.npz");
    fs::rename(&first, &second).unwrap();
    dir.finish(&[&format!("data.train={}", second.display()), maps[0], maps[1], "train.epochs=3"]);
    assert_eq!(dir.epochs().len(), 3);
}

/// That a run which was computed by another environment is refused with this line, and goes on when that is allowed,
/// which is recorded.
#[track_caller]
fn check_environment_binds(edit: fn(&mut Environment), line: &str) {
    let dir = killed_with_checkpoints();
    dir.rewrite_journal(|mut event| {
        if let Event::RunStarted(started) = &mut event {
            edit(&mut started.environment);
        }
        Some(event)
    });
    let records = dir.events().len();
    dir.run(&[]).check_code(4).check_says(&[line, "--allow-changed environment"]);
    assert_eq!(dir.events().len(), records, "a refused run was recorded");
    dir.finish(&["--allow-changed", "environment"]).check_says(&["accepted change: ", line]);
    let resumed = dir.events().into_iter().find_map(|event| match event {
        Event::Resumed(resumed) => Some(resumed),
        _ => None,
    });
    let resumed = resumed.unwrap();
    assert!(resumed.discards_later && resumed.environment.program == trainer::BUILD);
}

#[test]
fn another_build_is_refused_unless_it_is_allowed() {
    let line = format!("program version: was 0.0.1 (0123456789ab), is {}", trainer::BUILD);
    check_environment_binds(|was| was.program = "0.0.1 (0123456789ab)".to_owned(), &line);
}

#[test]
fn another_onnxruntime_is_refused_unless_it_is_allowed() {
    check_environment_binds(
        |was| was.onnxruntime = "1.2.3".to_owned(),
        "ONNX Runtime version: was 1.2.3, is ",
    );
}

#[test]
fn another_device_is_refused_unless_it_is_allowed() {
    let line = "device: was cuda:0, is cpu (`--device cuda:0` asks for the old one)";
    check_environment_binds(|was| was.device = "cuda:0".to_owned(), line);
}

#[test]
fn another_number_of_threads_is_refused_unless_it_is_allowed() {
    check_environment_binds(|was| was.threads = 7, "threads: was 7, is 1");
    let dir = killed_with_checkpoints();
    dir.run(&["--threads", "2"]).check_code(4).check_says(&["threads: 1 -> 2"]);
}

#[test]
fn what_only_changes_how_a_run_is_saved_is_free() {
    let dir = killed_with_checkpoints();
    let free = [
        "checkpoint.every_epochs=2",
        "checkpoint.every_steps=\"none\"",
        "checkpoint.every_minutes=0.01",
        "checkpoint.on_best=false",
        "checkpoint.keep_last=5",
        "checkpoint.keep_every_steps=20",
        "checkpoint.digest_every_steps=7",
        "checkpoint.reserve=false",
        "checkpoint.disk_full_timeout_s=0",
        "checkpoint.durability=step",
    ];
    dir.finish(&free).check_says(&["changed setting: checkpoint.digest_every_steps: 100 -> 7"]);
    dir.result().check_equals(&undisturbed(&["checkpoint.every_steps=10"]));
}
