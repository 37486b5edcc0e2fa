//! A run that was disturbed ends as one that was not, bit for bit; and what is damaged is said, never read over.

use crate::work_dir::{Ended, Result, WorkDir};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::process::Child;
use std::sync::{Arc, Mutex, OnceLock};

mod changed;
mod damaged;
mod disturbed;
mod space;

/// Three epochs of 45 steps of the builtin convolutional network: about half a second.
const THREE_EPOCHS: [&str; 2] = ["train.batch_size=32", "train.epochs=3"];
const STEPS_PER_EPOCH: u64 = 45;

fn three_epochs(more: &[&str]) -> WorkDir {
    let mut dir = WorkDir::new(&THREE_EPOCHS);
    dir.add(more);
    dir
}

/// A run that was killed when the last step in its journal was one of these, and when the checkpoints of an epoch that ended,
/// and of the steps before it where those are saved, were durable. The moment of a kill is one of the clock: on a busy machine it comes too late, or before the disk is done, and then
/// it is tried again.
#[track_caller]
fn killed_within(settings: &[&str], steps: RangeInclusive<u64>) -> WorkDir {
    for _ in 0..50 {
        let dir = three_epochs(settings);
        let mut child = dir.start_until_step(*steps.start(), &[]);
        child.kill().unwrap();
        let is_killed = Ended::of_child(child).killed_by == Some(9);
        let history = dir.folded();
        let saves_steps = settings.iter().any(|setting| setting.starts_with("checkpoint.every_steps="));
        let due = history.epochs.len().min(1) + usize::from(saves_steps);
        if is_killed && steps.contains(&history.last_step()) && history.checkpoints.len() >= due {
            return dir;
        }
    }
    panic!("no run was killed within these steps: {steps:?}")
}

/// What the run comes to when nothing disturbs it; computed once for all tests.
#[track_caller]
fn undisturbed(more: &[&str]) -> Arc<Result> {
    type Results = BTreeMap<Vec<String>, Arc<OnceLock<Arc<Result>>>>;
    static RESULTS: Mutex<Results> = Mutex::new(BTreeMap::new());
    let key: Vec<String> = more.iter().map(|arg| (*arg).to_owned()).collect();
    let result = Arc::clone(RESULTS.lock().unwrap().entry(key).or_default());
    let computed = result.get_or_init(|| {
        let dir = three_epochs(more);
        dir.finish(&[]);
        Arc::new(dir.result())
    });
    Arc::clone(computed)
}

fn send(signal: Signal, child: &Child) {
    kill_process(Pid::from_child(child), signal).unwrap();
}
