//! What is in the way of a sweep, or happens to it at the wrong moment.

use super::{GRID, PATIENCE, Sweep, is_started, states};
use crate::work_dir::Ended;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::process::Child;
use std::time::{Duration, Instant};
use trainer_runtime::lock::WorkDirLock;

#[test]
fn a_rung_that_others_have_decided_is_followed_while_they_run_its_trials_on() {
    let sweep = Sweep::of(
        "train.epochs = 60\n[sweep]\nmethod = \"halving\"\nmin_epochs = 15\nfactor = 2\nname = \"{seed}\"\n[sweep.space]\nseed = \
         [1, 2, 3, 4]\n",
    );
    let first = sweep.start(&[]);
    sweep.wait_for_step("4", 1);
    // All of the first rung is done or with the other, so there is nothing to do before it is decided.
    let second = Ended::of_child(sweep.start(&[]));
    second.check_says(&["rung 1 of 3 (15 epochs) is decided", " started, to epoch 30"]);
    // The last trial may be with the other one.
    assert!(matches!(Ended::of_child(first).code, Some(0 | 75)));
}

#[test]
fn a_damaged_decision_is_refused_with_its_path_and_made_again_once_it_is_away() {
    let sweep = Sweep::of(
        "train.epochs = 2\n[sweep]\nmethod = \"halving\"\nfactor = 2\nname = \"{seed}\"\n[sweep.space]\nseed = [1, 2]\n",
    );
    let expected = states(&sweep.run(&["--json"]).check_code(0));
    let file = sweep.dir().join("rungs/0001.json");
    let decision = fs::read(&file).unwrap();
    fs::write(&file, &decision[..40]).unwrap();
    sweep.run(&[]).check_code(5).check_says(&["0001.json is damaged", "move it aside"]);
    fs::remove_file(&file).unwrap();
    assert_eq!(states(&sweep.run(&["--json"]).check_code(0)), expected);
    assert_eq!(fs::read(&file).unwrap(), decision);
}

#[test]
fn a_file_in_the_place_of_a_trial_fails_that_trial_alone() {
    let sweep = Sweep::of(GRID);
    fs::create_dir(sweep.dir()).unwrap();
    let file = sweep.dir().join("lr=0.01");
    fs::write(&file, "of somebody").unwrap();
    for more in [&["--json"][..], &["--json", "--retry-failed"]] {
        let ended = sweep.run(more).check_code(1);
        assert_eq!(states(&ended), ["finished", "failed", "finished"], "{ended:?}");
        assert!(ended.stdout.contains("lr=0.01 is no folder, as a trial needs there"), "{}", ended.stdout);
    }
    assert_eq!(fs::read(&file).unwrap(), b"of somebody");
    fs::remove_file(&file).unwrap();
    assert_eq!(is_started(&sweep.run(&[]).check_code(0)), 1);
}

#[test]
fn claims_that_can_not_be_rewritten_stop_no_trial() {
    let sweep =
        Sweep::of("train.epochs = 100\n[sweep]\nlease_s = 1\nname = \"{seed}\"\n[sweep.space]\nseed = [1]\n");
    let child = sweep.start(&["--json"]);
    sweep.wait_for_step("1", 10);
    fs::rename(sweep.dir().join("claims"), sweep.dir().join("claims.away")).unwrap();
    let ended = Ended::of_child(child).check_code(0);
    assert_eq!(states(&ended), ["finished"]);
    assert_eq!(ended.stderr.matches("trial 1 goes on, but other machines may take it over").count(), 1);
    assert_eq!(sweep.losses("1").1, 1, "it was stopped");
}

#[test]
fn the_numbers_of_a_dry_run_are_those_of_the_plan() {
    let sweep = Sweep::of(GRID);
    sweep.run(&["--only", "lr=0.001"]).check_code(0);
    sweep.write(&GRID.replace("[0.001", "[0.002, 0.001"));
    let dry = sweep.run(&["--dry-run"]).check_code(0);
    let rows: Vec<Vec<&str>> =
        dry.stdout.lines().map(|line| line.split_whitespace().take(2).collect()).collect();
    assert_eq!(rows[1..5], [["1", "lr=0.001"], ["2", "lr=0.01"], ["3", "lr=0.003"], ["4", "lr=0.002"]]);
    let only = sweep.run(&["--dry-run", "--only", "lr=0.002"]).check_code(0);
    assert!(only.stdout.contains("lr=0.002") && !only.stdout.contains("lr=0.01"), "{}", only.stdout);
    sweep.run(&["--dry-run", "--only", "lr=5"]).check_code(2).check_says(&["no trial has it"]);
    sweep.run(&["--trial", "4"]).check_code(0);
    assert!(sweep.dir().join("lr=0.002/model.onnx").is_file());
    sweep.write(&GRID.replace("epochs = 2", "epochs = 3"));
    sweep.run(&["--dry-run"]).check_code(4).check_says(&["train.epochs: 2 -> 3"]);
}

#[test]
fn whoever_finds_a_plan_made_meanwhile_computes_with_its_threads() {
    let sweep = Sweep::of("");
    let text = "device = \"cpu\"\nspin = false\nmodel.builtin = \"mlp\"\ntrain.epochs = 1\n[sweep]\nname = \"{seed}\"\n\
                [sweep.space]\nseed = [1]\n";
    fs::write(sweep.folder.path().join("sweep.toml"), text).unwrap();
    // A plan for one thread, as a process with other cores makes it, which comes while another one plans.
    sweep.run(&["--jobs", "1000"]).check_code(0);
    let plan = fs::read(sweep.dir().join("plan.json")).unwrap();
    fs::remove_dir_all(sweep.dir()).unwrap();
    let lock = WorkDirLock::acquire(&sweep.dir()).unwrap();
    let child = sweep.start(&[]);
    std::thread::sleep(Duration::from_secs(1));
    fs::write(sweep.dir().join("plan.json"), plan).unwrap();
    drop(lock);
    Ended::of_child(child).check_code(0);
    let settings = fs::read_to_string(sweep.dir().join("1/trial.toml")).unwrap();
    assert!(settings.contains("threads = 1\n"), "{settings}");
}

#[test]
fn a_signal_stops_a_sweep_that_waits_for_its_plan() {
    let sweep = Sweep::of(GRID);
    let lock = WorkDirLock::acquire(&sweep.dir()).unwrap();
    let child: Child = sweep.start(&[]);
    std::thread::sleep(Duration::from_millis(700));
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let since = Instant::now();
    Ended::of_child(child).check_code(130).check_says(&["before any trial was started"]);
    assert!(since.elapsed() < PATIENCE / 4, "{:?}", since.elapsed());
    drop(lock);
    assert!(!sweep.dir().join("plan.json").exists());
}
