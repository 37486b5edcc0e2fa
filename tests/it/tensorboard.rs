//! Event files of TensorBoard: each step once, whatever happened to the run.

use crate::work_dir::{Ended, WorkDir, trainer};
use prost::Message as _;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use trainer::report::tensorboard::Event;
use trainer::report::tensorboard::record::unframed;

const WANTED: &str = "report.tensorboard=true";

fn three_epochs(more: &[&str]) -> WorkDir {
    let mut dir = WorkDir::new(&["model.builtin=mlp", "--epochs", "3", "schedule.kind=constant"]);
    dir.add(more);
    dir
}

fn file(dir: &WorkDir) -> PathBuf {
    dir.path().join("tensorboard/events.out.tfevents.trainer")
}

/// The values of each tag by step, none of them twice and none behind a later one.
#[track_caller]
fn scalars(dir: &WorkDir) -> BTreeMap<String, BTreeMap<u64, f32>> {
    let bytes = fs::read(file(dir)).unwrap();
    let records = unframed(&bytes).unwrap();
    let events: Vec<Event> = records.into_iter().map(|record| Event::decode(record).unwrap()).collect();
    assert_eq!(events[0].file_version.as_deref(), Some("brain.Event:2"));
    assert!(events.is_sorted_by_key(|event| event.step), "steps go back");
    assert!(events.iter().all(|event| event.wall_time > 1.7e9), "an event has no time");
    let mut scalars: BTreeMap<String, BTreeMap<u64, f32>> = BTreeMap::new();
    for event in events {
        for value in event.summary.unwrap_or_default().value {
            let step = u64::try_from(event.step).unwrap();
            let of_tag = scalars.entry(value.tag.clone()).or_default();
            let before = of_tag.insert(step, value.simple_value.unwrap());
            assert_eq!(before, None, "{} has step {step} twice", value.tag);
        }
    }
    scalars
}

/// That the file holds exactly what the journal does.
#[track_caller]
fn check_equals_journal(dir: &WorkDir) {
    let scalars = scalars(dir);
    let history = dir.folded();
    let bits = |tag: &str| -> Vec<(u64, u32)> {
        scalars[tag].iter().map(|(step, value)| (*step, value.to_bits())).collect()
    };
    let steps = || history.steps.values();
    assert_eq!(bits("train/loss"), steps().map(|done| (done.step, done.loss_bits)).collect::<Vec<_>>());
    assert_eq!(bits("lr"), steps().map(|done| (done.step, (done.lr as f32).to_bits())).collect::<Vec<_>>());
    let norms: Vec<(u64, u32)> =
        steps().map(|done| (done.step, (done.gradient_norm as f32).to_bits())).collect();
    assert_eq!(bits("gradient_norm"), norms);
    let of_epochs = |value: &dyn Fn(&trainer::train::event::EpochDone) -> f64| -> Vec<(u64, u32)> {
        history.epochs.values().map(|done| (done.step, (value(done) as f32).to_bits())).collect()
    };
    assert_eq!(bits("train/epoch_loss"), of_epochs(&|done| done.train_loss));
    assert_eq!(bits("val/loss"), of_epochs(&|done| done.value("val_loss").unwrap()));
    assert_eq!(bits("val/accuracy"), of_epochs(&|done| done.value("val_accuracy").unwrap()));
    assert!(scalars["train/examples_per_s"].values().all(|rate| *rate > 1.0), "{scalars:?}");
}

fn rebuild(dir: &WorkDir) -> Ended {
    Ended::of(trainer(["report", "--tensorboard"]).arg(dir.path()))
}

#[test]
fn a_run_that_was_killed_and_taken_up_has_each_step_once() {
    let dir = three_epochs(&[WANTED]);
    dir.kill_at_step(30, &[]);
    // Wherever the kill came, the file is whole records, of steps that the journal has.
    let after_kill = scalars(&dir);
    dir.kill_at_step(50, &[]);
    dir.finish(&[]);
    check_equals_journal(&dir);
    let of_first: Vec<u64> =
        after_kill.get("train/loss").into_iter().flatten().map(|(step, _)| *step).collect();
    assert!(of_first.iter().copied().eq(1..=of_first.len() as u64), "{of_first:?}");
    let live = fs::read(file(&dir)).unwrap();
    fs::remove_dir_all(dir.path().join("tensorboard")).unwrap();
    rebuild(&dir).check_code(0);
    assert!(fs::read(file(&dir)).unwrap() == live, "the file made from the journal is another one");
}

#[test]
fn it_is_off_by_default_and_made_afterwards_from_the_journal() {
    let dir = three_epochs(&[]);
    dir.finish(&[]);
    assert!(!dir.path().join("tensorboard").exists());
    let ended = rebuild(&dir).check_code(0);
    assert_eq!(ended.stdout.trim_end(), file(&dir).to_str().unwrap());
    check_equals_journal(&dir);
}

#[test]
fn a_file_that_can_not_be_written_is_said_once_and_training_goes_on() {
    let dir = three_epochs(&[WANTED]);
    fs::create_dir_all(dir.path()).unwrap();
    fs::write(dir.path().join("tensorboard"), "no folder").unwrap();
    let said = dir.finish(&[]).stderr;
    assert_eq!(said.matches("event file for TensorBoard is not written").count(), 1, "{said}");
    assert!(said.contains("training goes on"), "{said}");
    rebuild(&dir).check_code(74);
}

#[test]
fn the_file_of_a_run_that_keeps_it_is_left_to_the_run() {
    let dir = WorkDir::new(&["model.builtin=mlp", "--epochs", "400", "schedule.kind=constant", WANTED]);
    let mut child = dir.start_until_step(60, &[]);
    rebuild(&dir).check_code(3).check_says(&["keeps its event file up to date itself"]);
    assert!(child.try_wait().unwrap().is_none(), "the run ended");
    child.kill().unwrap();
    child.wait().unwrap();
    rebuild(&dir).check_code(0);
    check_equals_journal(&dir);
}
