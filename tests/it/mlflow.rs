//! A run that is told to a tracking server: one on loopback that is down, slow, or answers nonsense, and then does not.

use crate::work_dir::{Ended, WorkDir, trainer};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value as Json;
use std::fs;
use std::time::{Duration, Instant};

mod changes;
mod server;

use server::{Mood, Run, Server};

/// That the server has every value of the run's journal, each once.
#[track_caller]
fn check_has_all(run: &Run, dir: &WorkDir) {
    let twice: Vec<_> = run.metrics.iter().filter(|(_, values)| values.len() > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
    let has =
        |key: &str, step: u64| run.metrics.get(&(key.to_owned(), step)).map(|values| values[0].1.clone());
    // The reader of JSON in this test rounds the last digit as it likes.
    let is = |found: Option<Json>, expected: f64| {
        found
            .and_then(|found| found.as_f64())
            .is_some_and(|found| (found - expected).abs() <= 1e-15 * expected.abs())
    };
    for epoch in dir.folded().epochs.values() {
        assert!(is(has("train_loss", epoch.step), epoch.train_loss), "epoch {}", epoch.epoch);
        assert!(has("val_loss", epoch.step).is_some() && has("val_accuracy", epoch.step).is_some());
    }
    for (step, done) in dir.folded().steps.range(1..).filter(|(step, _)| *step % 10 == 0) {
        assert!(is(has("step_loss", *step), f64::from(f32::from_bits(done.loss_bits))), "step {step}");
    }
    assert!(has("step_loss", 11).is_none());
}

#[test]
fn a_run_is_told_whole_and_is_the_same_one_after_a_resume() {
    let server = Server::start(Mood::Up);
    let dir = server.work_dir(&["train.epochs=40"]);
    let child = dir.start_until_step(100, &[]);
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    Ended::of_child(child).check_code(143);
    assert_eq!(server.only_run().statuses, ["RUNNING", "KILLED"]);
    dir.finish(&[]).check_says(&["MLflow: run 0 of experiment digits"]);
    let run = server.only_run();
    assert_eq!(run.statuses, ["RUNNING", "KILLED", "RUNNING", "FINISHED"]);
    check_has_all(&run, &dir);
    assert_eq!(
        run.artifacts["model.onnx"] as u64,
        fs::metadata(dir.path().join("model.onnx")).unwrap().len()
    );
    assert_eq!((run.params["train.epochs"].as_str(), run.params["model.builtin"].as_str()), ("40", "mlp"));
    assert!(run.params.keys().all(|key| !key.starts_with("mlflow")));
    let (began_ms, ended_ms) = (run.began_ms, run.ended_ms);
    // Without what was noted of it, the run is found by its tag, and what it has already is not there twice.
    fs::remove_file(dir.path().join("mlflow.json")).unwrap();
    dir.finish(&["--epochs", "41"]);
    let run = server.only_run();
    assert_eq!(run.statuses.last().unwrap(), "FINISHED");
    check_has_all(&run, &dir);
    let samples = dir.folded().samples;
    let first_ms = samples.first().unwrap().unix_ms;
    assert_eq!((began_ms, run.began_ms), (first_ms, first_ms));
    let last_ms = samples.last().unwrap().unix_ms;
    assert!(ended_ms < last_ms && run.ended_ms == last_ms, "{ended_ms} {} {last_ms}", run.ended_ms);
}

#[test]
fn a_server_that_is_down_is_caught_up_by_the_next_start_and_by_nothing_to_do() {
    let server = Server::start(Mood::Refuses);
    let dir = server.work_dir(&["--epochs", "3"]);
    let child = dir.start_until_step(30, &[]);
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let stopped = Ended::of_child(child);
    stopped.check_says(&["refused", "is not sent yet", "`trainer run` sends the rest"]);
    assert_eq!(dir.steps().len(), dir.folded().steps.len());
    assert!(server.state().runs.is_empty());
    // A journal that holds a whole run, which nobody was told of.
    dir.finish(&["mlflow.uri=http://127.0.0.1:9"]);
    server.set(Mood::Up);
    let again = dir.finish(&[]);
    assert!(again.stdout.contains("nothing to do"), "{again:?}");
    let run = server.only_run();
    check_has_all(&run, &dir);
    assert_eq!((run.statuses.last().map(String::as_str), run.artifacts.len()), (Some("FINISHED"), 1));
    let asked = server.state().asked;
    dir.finish(&[]);
    assert_eq!(server.state().asked, asked, "what was told is told again");
}

#[test]
fn values_whose_answer_was_lost_are_not_there_twice() {
    let server = Server::start(Mood::Up);
    let dir = server.work_dir(&["--epochs", "400"]);
    let child = dir.start_until_step(60, &[]);
    wait(|| server.state().runs.first().is_some_and(|run| !run.metrics.is_empty()));
    server.set(Mood::Forgetful);
    let count = server.only_run().metrics.len();
    wait(|| server.only_run().metrics.len() > count);
    server.set(Mood::Up);
    wait(|| server.only_run().metrics.len() > count + 50);
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    Ended::of_child(child).check_code(143);
    check_has_all(&server.only_run(), &dir);
}

#[test]
fn a_server_that_says_nothing_or_nonsense_delays_no_step() {
    for (mood, words) in
        [(Mood::Silent, "MLflow"), (Mood::Nonsense, "as no MLflow server does (it is not JSON)")]
    {
        let server = Server::start(mood);
        let dir = server.work_dir(&["--epochs", "60"]);
        let child = dir.start_until_step(200, &[]);
        let since = Instant::now();
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        let ended = Ended::of_child(child).check_code(130).check_says(&[words]);
        assert!(since.elapsed() < Duration::from_secs(15), "{mood:?}: {ended:?}");
    }
}

#[test]
fn a_diverged_run_has_failed() {
    let server = Server::start(Mood::Up);
    let dir = server.work_dir(&[
        "--epochs",
        "2",
        "optimizer.kind=sgd",
        "optimizer.lr=1e30",
        "train.max_refused_steps=2",
    ]);
    dir.run(&[]).check_code(6);
    assert_eq!(server.only_run().statuses, ["RUNNING", "FAILED"]);
}

#[test]
fn a_sweep_asks_which_trials_are_finished_on_other_machines() {
    let server = Server::start(Mood::Up);
    let text = format!(
        "threads = 1\ndevice = \"cpu\"\nspin = false\nmodel.builtin = \"mlp\"\ntrain.epochs = 1\nmlflow.uri = \
         \"{}\"\n[sweep]\nask_mlflow = true\n[sweep.space]\nseed = [1, 2]\n",
        server.uri
    );
    let sweep = |folder: &tempfile::TempDir, more: &[&str]| {
        let file = folder.path().join("sweep.toml");
        fs::write(&file, &text).unwrap();
        let mut command = trainer(["sweep", "--json", "--config"]);
        Ended::of(command.arg(file).arg("--work-dir").arg(folder.path().join("sweep")).args(more))
    };
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    sweep(&there, &["--only", "seed=2"]).check_code(0);
    let ended = sweep(&here, &[]).check_code(0);
    let json: Json = serde_json::from_str(&ended.stdout).unwrap();
    let states: Vec<&str> =
        json["trials"].as_array().unwrap().iter().filter_map(|trial| trial["state"].as_str()).collect();
    assert_eq!(states, ["finished", "elsewhere"]);
    assert_eq!(server.state().runs.len(), 2);
}

#[track_caller]
fn wait(is_so: impl Fn() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < Duration::from_secs(60), "it never came to that");
        std::thread::sleep(Duration::from_millis(5));
    }
}
