//! A server that has changed, or that changes its mind, and addresses that are none.

use super::server::{Mood, Server};
use super::{check_has_all, wait};
use crate::work_dir::{Ended, trainer};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value as Json;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

#[test]
fn a_server_that_has_lost_the_run_is_told_all_of_it_again() {
    let server = Server::start(Mood::Up);
    let dir = server.work_dir(&["train.epochs=400"]);
    let child = dir.start_until_step(100, &[]);
    wait(|| server.state().runs.first().is_some_and(|run| run.metrics.len() > 20));
    server.state().wipe();
    wait(|| server.state().runs.first().is_some_and(|run| run.metrics.len() > 20));
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let ended = Ended::of_child(child).check_code(143);
    ended.check_says(&[
        "has no run 0 any more; a new one is made there",
        "MLflow: run 1 of experiment digits",
    ]);
    let run = server.only_run();
    check_has_all(&run, &dir);
    assert_eq!((run.id, run.params["train.epochs"].as_str()), (1, "400"));
}

#[test]
fn a_run_that_was_deleted_on_the_server_is_said_and_loses_nothing() {
    let server = Server::start(Mood::Up);
    let dir = server.work_dir(&["train.epochs=3"]);
    dir.finish(&[]);
    server.state().runs[0].is_deleted = true;
    let since = Instant::now();
    let ended = dir.finish(&["--epochs", "4"]);
    ended.check_says(&["run 0 was deleted on the MLflow server; restore it there, or remove", "mlflow.json"]);
    assert!(since.elapsed() < Duration::from_secs(20), "the end waited for a person");
    server.state().runs[0].is_deleted = false;
    dir.finish(&[]);
    check_has_all(&server.only_run(), &dir);
    assert_eq!(server.only_run().statuses.last().unwrap(), "FINISHED");
}

#[test]
fn a_parameter_that_is_refused_keeps_out_no_other_and_is_named() {
    let server = Server::start(Mood::Up);
    server.state().hated_param = Some("optimizer.lr".to_owned());
    let dir = server.work_dir(&["train.epochs=1"]);
    dir.finish(&[]).check_says(&["it is another already; the parameter `optimizer.lr` is left out"]);
    let params = server.only_run().params;
    assert!(params.len() > 20 && !params.contains_key("optimizer.lr"), "{params:?}");
}

#[test]
fn what_is_no_address_of_a_server_is_said_at_once_and_not_waited_for() {
    let server = Server::start(Mood::Up);
    for (uri, place) in
        [("http://127.0.0.1:port", "mlflow.uri"), ("file:///tmp/mlruns", "MLFLOW_TRACKING_URI")]
    {
        let mut dir = server.work_dir(&["train.epochs=1"]);
        let since = Instant::now();
        let ended = if place == "mlflow.uri" {
            dir.add(&[&format!("mlflow.uri={uri}")]);
            dir.finish(&[])
        } else {
            let arguments =
                ["run", "--set", "model.builtin=mlp", "--epochs", "1", "--threads", "1", "--work-dir"];
            Ended::of(trainer(arguments).arg(dir.path()).env("MLFLOW_TRACKING_URI", uri)).check_code(0)
        };
        let words = format!(
            "`{uri}` is no address of an MLflow server; write http://HOST:PORT or https://HOST in {place}"
        );
        assert_eq!(ended.stderr.matches(&words).count(), 1, "{ended:?}");
        assert!(since.elapsed() < Duration::from_secs(20), "it was waited for");
    }
    assert_eq!(server.state().asked, 0);
}

#[test]
fn a_server_that_has_moved_is_named() {
    let server = Server::start(Mood::Moved);
    let dir = server.work_dir(&["train.epochs=1"]);
    dir.finish(&[])
        .check_says(&["on to https://elsewhere.example/x; name the server itself in `mlflow.uri`"]);
}

#[test]
fn a_signal_ends_the_waiting_for_a_server_at_the_end_of_a_finished_run() {
    let server = Server::start(Mood::Refuses);
    let dir = server.work_dir(&["train.epochs=1"]);
    let child = dir.start_until_step(20, &[]);
    wait(|| dir.path().join("model.onnx").is_file() && dir.folded().finished.is_some());
    std::thread::sleep(Duration::from_millis(300));
    let since = Instant::now();
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let ended = Ended::of_child(child).check_code(143);
    ended.check_says(&["SIGTERM received while sending the rest to MLflow: nothing new to save"]);
    assert!(since.elapsed() < Duration::from_secs(3), "{:?}", since.elapsed());
}

/// A sweep of one trial that tells the server, with a line of its own in `[sweep]`.
fn sweep_file(folder: &Path, server: &Server, line: &str) -> PathBuf {
    let file = folder.join("sweep.toml");
    let text = format!(
        "threads = 1\ndevice = \"cpu\"\nmodel.builtin = \"mlp\"\ntrain.epochs = 1\nmlflow.uri = \"{}\"\n\
         [sweep]\n{line}\n[sweep.space]\nseed = [1]\n",
        server.uri
    );
    fs::write(&file, text).unwrap();
    file
}

#[test]
fn a_sweep_asks_a_server_that_knows_many_runs() {
    let server = Server::start(Mood::Up);
    let folder = tempfile::tempdir().unwrap();
    let file = sweep_file(folder.path(), &server, "ask_mlflow = true");
    let sweep = |name: &str| {
        let mut command = trainer(["sweep", "--json", "--config"]);
        Ended::of(command.arg(&file).arg("--work-dir").arg(folder.path().join(name))).check_code(0)
    };
    sweep("here");
    // Later ones of others, which have much to tell: together more than is read of one answer.
    let mut other = server.only_run();
    other.tags.clear();
    other.tags.insert("note".to_owned(), "x".repeat(40_000));
    server.state().runs.extend((0..300).map(|id| super::server::Run { id: id + 1, ..other.clone() }));
    let ended = sweep("there");
    let json: Json = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(json["trials"][0]["state"], "elsewhere", "{ended:?}");
}

#[test]
fn trials_that_finished_while_the_server_was_down_are_told_by_the_next_sweep() {
    let server = Server::start(Mood::Refuses);
    let folder = tempfile::tempdir().unwrap();
    let file = sweep_file(folder.path(), &server, "name = \"mlp/{seed}\"");
    let sweep = || {
        let mut command = trainer(["sweep", "--config"]);
        Ended::of(command.arg(&file).arg("--work-dir").arg(folder.path().join("sweep"))).check_code(0)
    };
    let since = Instant::now();
    sweep();
    assert!(
        since.elapsed() < Duration::from_secs(25),
        "a server that is down was waited for as one that answers"
    );
    assert!(server.state().runs.is_empty());
    server.set(Mood::Up);
    sweep().check_says(&["trial 1 (mlp/1) started, to tell MLflow the rest"]);
    let run = server.only_run();
    assert_eq!((run.statuses.last().map(String::as_str), run.name.as_str()), (Some("FINISHED"), "mlp/1"));
    assert!(!sweep().stderr.contains("started"));
}
