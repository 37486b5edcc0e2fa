//! `trainer history --follow`: what a run adds, as it adds it, each once.

use super::{interrupted, look};
use crate::work_dir::{Ended, WorkDir, trainer};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value as Json;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

fn follow(dir: &WorkDir, more: &[&str]) -> Child {
    let mut command = trainer(["history", "--follow"]);
    command.arg(dir.path()).args(more).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn stop(child: Child) {
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    Ended::of_child(child).check_code(143);
}

#[test]
fn followers_of_a_run_print_each_row_once_and_end_with_it() {
    let dir = WorkDir::new(&["model.builtin=mlp", "--epochs", "30", "schedule.kind=constant"]);
    let run = dir.start_until_step(5, &[]);
    let forms: [&[&str]; 4] = [&["--json", "--steps"], &["--csv"], &["--csv", "--steps"], &[]];
    let followers: Vec<Child> = forms.iter().map(|form| follow(&dir, form)).collect();
    Ended::of_child(run).check_code(0);
    let followed: Vec<String> =
        followers.into_iter().map(|follower| Ended::of_child(follower).check_code(0).stdout).collect();
    // All rows, in their order, as a look at the finished run has them.
    for (form, followed) in forms.iter().zip(&followed).take(3) {
        assert_eq!(*followed, look("history", &dir, form).stdout, "{form:?}");
    }
    let words = |text: &str| -> Vec<Vec<String>> {
        let cells = |line: &str| line.split_whitespace().map(str::to_owned).collect();
        text.lines().map(cells).collect()
    };
    // Columns may be wider.
    assert_eq!(words(&followed[3]), words(&look("history", &dir, &[]).stdout));
    assert_eq!(followed[3].lines().count(), 32);
}

#[test]
fn a_follower_sees_what_interrupts_a_run_and_goes_when_it_is_told_to() {
    let dir = WorkDir::new(&["model.builtin=mlp", "--epochs", "4000", "schedule.kind=constant"]);
    let run = dir.start_until_step(30, &[]);
    let mut follower = follow(&dir, &["--json"]);
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.next().is_some(), "the first epoch is over");
    stop(run);
    let rest: Vec<Json> = lines.map(|line| serde_json::from_str(&line).unwrap()).collect();
    assert_eq!(rest.last().unwrap()["note"], "signal");
    assert_eq!(follower.wait().unwrap().code(), Some(0));

    let run = dir.start_until_step(dir.steps().len() as u64 + 30, &[]);
    let second = follow(&dir, &["--steps"]);
    kill_process(Pid::from_child(&second), Signal::INT).unwrap();
    assert_eq!(Ended::of_child(second).killed_by, Some(2));
    // One whose reader goes away ends, too.
    let mut third = follow(&dir, &["--steps", "--json"]);
    drop(third.stdout.take());
    assert_eq!(third.wait().unwrap().code(), Some(0));
    stop(run);
}

#[test]
fn of_a_run_that_nobody_works_on_all_is_printed_and_that_is_all() {
    let dir = interrupted();
    for form in [&["--steps"][..], &["--json"], &["--csv"], &[]] {
        let followed = Ended::of_child(follow(&dir, form)).check_code(0);
        assert_eq!(followed.stdout, look("history", &dir, form).stdout);
    }
    let empty = WorkDir::new(&[]);
    std::fs::create_dir_all(empty.path()).unwrap();
    Ended::of_child(follow(&empty, &[])).check_code(2).check_says(&["is not the folder of a run"]);
}

#[test]
fn the_tables_in_the_work_directory_are_what_the_journal_says_also_after_a_kill() {
    let dir = WorkDir::new(&["model.builtin=mlp", "--epochs", "40", "schedule.kind=constant"]);
    for step in [60, 150] {
        dir.kill_at_step(step, &[]);
        // Replaced whole: an epoch is in it once, or not yet.
        let csv = dir.read("history.csv");
        let journal = dir.folded().to_csv();
        assert!(journal.starts_with(&csv) && csv.ends_with('\n'), "{csv}\n{journal}");
        assert!(dir.folded().to_jsonl().starts_with(&dir.read("history.jsonl")));
    }
    dir.finish(&[]);
    assert_eq!(dir.read("history.csv"), dir.folded().to_csv());
    assert_eq!(dir.read("history.jsonl").lines().count(), 40);
    assert_eq!(look("history", &dir, &["--csv"]).stdout, dir.read("history.csv"));
}

#[test]
fn an_attempt_that_was_killed_is_told_of_where_the_next_one_goes_on() {
    let dir = WorkDir::new(&["model.builtin=mlp", "--epochs", "40", "schedule.kind=constant"]);
    dir.kill_at_step(30, &[]);
    dir.finish(&[]);
    let said = Ended::of(trainer(["history"]).arg(dir.path())).check_code(0).stdout;
    let notes: Vec<&str> =
        said.lines().filter(|line| line.contains("ended without a word at step ")).collect();
    assert!(notes.len() == 1 && notes[0].starts_with("-- resumed at step "), "{said}");
}
