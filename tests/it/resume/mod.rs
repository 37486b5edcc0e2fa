//! A run that was disturbed ends as one that was not, bit for bit; and what is damaged is said, never read over.

use crate::work_dir::{Result, WorkDir};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
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
