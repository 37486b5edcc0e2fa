//! The example, killed and run again as a process of its own, ends as if nothing had happened.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails by panicking; what helps several tests is no test function itself"
)]

#[path = "../examples/embed.rs"]
#[allow(dead_code)]
mod embed;

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};
use trainer_runtime::checkpoint::{Link, Store};
use trainer_runtime::disk::RealDisk;
use trainer_runtime::journal::{Tail, read};
use trainer_runtime::signals::Signals;

const LAST_STEP: u64 = 400;

/// Run by the tests below in a process of its own, which sends itself a signal when it has done a step.
#[test]
#[ignore = "is the process that the other tests interrupt"]
fn embedded_process() {
    let Some(work_dir) = std::env::var_os("EMBED_TEST_DIR") else { return };
    let at = |key| std::env::var(key).ok().and_then(|step| step.parse::<u64>().ok());
    let (kill_at, stop_at) = (at("EMBED_TEST_KILL_AT"), at("EMBED_TEST_STOP_AT"));
    let signals = Signals::install().unwrap();
    let (seen, is_seen) = mpsc::channel();
    let tell = move |signal| {
        seen.send(signal).unwrap();
        Duration::MAX
    };
    signals.on_stop_request(tell, || {});
    let interrupt = |step, _loss| {
        if kill_at == Some(step) {
            kill_process(getpid(), Signal::KILL).unwrap();
        }
        if stop_at == Some(step) {
            kill_process(getpid(), Signal::TERM).unwrap();
            // The request is set when the hook is called: the loop finds it before the next step.
            is_seen.recv().unwrap();
        }
    };
    let stopped_by = embed::train(Path::new(&work_dir), LAST_STEP, &signals, interrupt).unwrap();
    std::process::exit(stopped_by.map_or(0, |signal| signal.exit_code()));
}

/// Runs the process to its end, with this in its environment.
fn run(work_dir: &Path, environment: Option<(&str, u64)>) -> ExitStatus {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "embedded_process", "--ignored"])
        .env("EMBED_TEST_DIR", work_dir)
        .envs(environment.map(|(key, step)| (key, step.to_string())))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap()
}

fn run_to_the_end(work_dir: &Path) {
    assert!(run(work_dir, None).success());
}

/// The bits of the final weights, and the payload of every step's record.
fn outcome(work_dir: &Path) -> (Vec<u8>, Vec<Vec<u8>>) {
    let store = Store::open_read_only(RealDisk::shared(), &work_dir.join("checkpoints"));
    let last = store.load_link(Link::Final).unwrap();
    assert_eq!(last.meta().step, LAST_STEP);
    let journal = read(&RealDisk, &work_dir.join("journal")).unwrap();
    assert_eq!(journal.tail, Tail::Clean);
    let steps = journal.records.iter().filter(|record| record.kind == embed::STEP_DONE);
    let records = steps.map(|record| record.payload.to_vec()).collect();
    (last.tensor("weight").unwrap().bytes.to_vec(), records)
}

fn undisturbed() -> (Vec<u8>, Vec<Vec<u8>>) {
    let dir = tempfile::tempdir().unwrap();
    run_to_the_end(dir.path());
    let outcome = outcome(dir.path());
    assert_eq!(outcome.1.len() as u64, LAST_STEP);
    outcome
}

#[test]
fn a_run_that_was_killed_again_and_again_ends_with_the_same_weights_and_history() {
    let dir = tempfile::tempdir().unwrap();
    // In the first steps, right at a checkpoint, within steps that are computed again, and near the end.
    for step in [1, 50, 51, 130, 131, 260, 399] {
        let status = run(dir.path(), Some(("EMBED_TEST_KILL_AT", step)));
        assert_eq!(status.signal(), Some(9), "killed after step {step}");
    }
    run_to_the_end(dir.path());
    assert!(outcome(dir.path()) == undisturbed());
}

#[test]
fn a_run_that_was_asked_to_stop_saves_its_step_and_ends_with_the_same_weights_and_history() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(run(dir.path(), Some(("EMBED_TEST_STOP_AT", 75))).code(), Some(143));
    assert!(dir.path().join("checkpoints/emergency-sigterm-step-00000075.safetensors").exists());
    run_to_the_end(dir.path());
    assert!(outcome(dir.path()) == undisturbed());
}
