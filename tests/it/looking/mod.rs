//! Commands that look at a run without changing it: here `trainer verify` and `trainer history`.

mod checkpoints;
mod completions;
mod fields;
mod following;
mod listing;
mod run_log;

use crate::work_dir::{Ended, WorkDir, trainer};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value as Json;
use std::fs;
use std::process::{Command, Stdio};

/// Three epochs of 23 steps on the digits, stopped by a signal after step 30 and taken up again.
fn interrupted() -> WorkDir {
    for _ in 0..20 {
        let dir = WorkDir::new(&["model.builtin=mlp", "--epochs", "3", "schedule.kind=constant"]);
        let child = dir.start_until_step(30, &[]);
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        let stopped = Ended::of_child(child);
        assert!(matches!(stopped.code, Some(143 | 0)), "{stopped:?}");
        // On a busy machine the run may be over before the signal comes.
        if stopped.code == Some(143) {
            dir.finish(&[]);
            return dir;
        }
    }
    panic!("no run could be stopped in time");
}

fn look(command: &str, dir: &WorkDir, more: &[&str]) -> Ended {
    Ended::of(trainer([command]).arg(dir.path()).args(more))
}

#[test]
fn a_whole_run_verifies_and_is_not_changed_by_that() {
    let dir = interrupted();
    let before = dir.result();
    let said = look("verify", &dir, &[]).check_code(0).stdout;
    for words in ["good     journal: ", "final.safetensors: step 69, ", "everything verifies"] {
        assert!(said.contains(words), "{said}");
    }
    let json: Json = serde_json::from_str(&look("verify", &dir, &["--json"]).check_code(0).stdout).unwrap();
    assert!(json["journal"]["records"].as_u64().unwrap() > 69 && json["journal"]["damage"].is_null());
    dir.result().check_equals(&before);
}

#[test]
fn damage_is_named_with_file_and_tensor_and_ends_with_5() {
    let dir = interrupted();
    let path = dir.path().join("checkpoints/final.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    // A file of its own, for the links share theirs.
    fs::remove_file(&path).unwrap();
    fs::write(&path, bytes).unwrap();
    let said = look("verify", &dir, &[]).check_code(5).stdout;
    assert!(said.contains("DAMAGED") && said.contains("final.safetensors"), "{said}");
    assert!(said.contains("remedy: `trainer repair "), "{said}");
    let only = Ended::of(trainer(["verify"]).arg(&path)).check_code(5).stdout;
    assert!(only.contains("tensor"), "{only}");

    let segment = dir.segment();
    let mut bytes = fs::read(&segment).unwrap();
    bytes[200] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let said = look("verify", &dir, &[]).check_code(5).stdout;
    assert!(said.contains("DAMAGED  journal: "), "{said}");
    let refused = look("history", &dir, &[]).check_code(5);
    assert!(refused.stderr.contains("trainer repair "), "{refused:?}");
}

#[test]
fn verifying_shows_a_bar_on_a_terminal_and_nowhere_else() {
    let dir = interrupted();
    assert_eq!(look("verify", &dir, &[]).check_code(0).stderr, "");
    let on_terminal = |more: &str| {
        let line = format!("{} verify {} {more}", env!("CARGO_BIN_EXE_trainer"), dir.path().display());
        // Of util-linux: runs a command on a terminal of its own, and passes on what it shows there.
        Command::new("script").args(["-qec", &line, "/dev/null"]).stdin(Stdio::null()).output()
    };
    let Ok(shown) = on_terminal("2>/dev/null") else { return println!("not tested: there is no `script`") };
    assert!(!String::from_utf8_lossy(&shown.stdout).contains("kB/"), "{shown:?}");
    let text = String::from_utf8(on_terminal("").unwrap().stdout).unwrap();
    assert!(
        text.contains("kB/") && text.contains(" left") && text.contains("everything verifies"),
        "{text:?}"
    );
    let quiet = String::from_utf8(on_terminal("--quiet").unwrap().stdout).unwrap();
    assert!(!quiet.contains("kB/") && quiet.contains("everything verifies"), "{quiet:?}");
}

#[test]
fn a_folder_without_a_run_is_named_by_both() {
    let dir = WorkDir::new(&[]);
    fs::create_dir_all(dir.path()).unwrap();
    for command in ["verify", "history"] {
        look(command, &dir, &[]).check_code(2).check_says(&["is not the folder of a run"]);
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "looking left something behind");
    Ended::of(trainer(["verify"]).arg(dir.path().join("nothing"))).check_code(2).check_says(&["nothing"]);
}

#[test]
fn the_history_has_every_epoch_once_and_interruptions_in_their_place() {
    let dir = interrupted();
    let said = look("history", &dir, &[]).check_code(0).stdout;
    let lines: Vec<&str> = said.lines().collect();
    assert!(
        lines[0].split_whitespace().eq([
            "epoch",
            "step",
            "train_loss",
            "val_loss",
            "val_accuracy",
            "lr",
            "seconds",
            "attempt"
        ]),
        "{said}"
    );
    let at = |words: &str| {
        lines.iter().position(|line| line.contains(words)).unwrap_or_else(|| panic!("{words}: {said}"))
    };
    let row = |epoch: &str| lines.iter().position(|line| line.trim_start().starts_with(epoch)).unwrap();
    assert!(row("1 ") < at("signal at step ") && at("signal at step ") < row("3 "), "{said}");
    assert!(at("-- signal at step") < at("-- resumed at step") && at(": SIGTERM") < row("3 "), "{said}");
    assert_eq!(lines.iter().filter(|line| !line.starts_with("--")).count(), 4, "{said}");

    assert_eq!(look("history", &dir, &["--csv"]).stdout, dir.read("history.csv"));
    let steps = look("history", &dir, &["--steps", "--csv"]).check_code(0).stdout;
    assert_eq!(steps.lines().count(), 70, "{steps}");
    let json = look("history", &dir, &["--steps", "--json"]).check_code(0).stdout;
    let objects: Vec<Json> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let losses: Vec<u32> = objects
        .iter()
        .filter_map(|object| object["loss"].as_f64())
        .map(|loss| (loss as f32).to_bits())
        .collect();
    assert!(dir.steps().iter().map(|step| step.loss_bits).eq(losses));
    assert!(objects.iter().any(|object| object["note"] == "signal"), "{json}");
}

#[test]
fn before_an_epoch_has_ended_that_is_said_and_where_the_steps_are() {
    let dir = WorkDir::new(&["model.builtin=mlp", "--max-steps", "5"]);
    dir.finish(&[]);
    look("history", &dir, &[]).check_code(0).check_says(&["has ended yet; `--steps` shows 5 steps"]);
    assert_eq!(look("history", &dir, &["--steps"]).check_code(0).stderr, "");
}

#[test]
fn a_run_is_looked_at_while_it_goes_on() {
    let dir = WorkDir::new(&["model.builtin=mlp", "--epochs", "400", "schedule.kind=constant"]);
    let mut child = dir.start_until_step(60, &[]);
    let history = look("history", &dir, &[]).check_code(0);
    look("verify", &dir, &[]).check_code(0);
    assert!(child.try_wait().unwrap().is_none(), "the run ended");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(history.stdout.lines().count() >= 3, "{}", history.stdout);
}
