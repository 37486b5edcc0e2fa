//! `trainer.log`: what a run says, with the time of each line, whatever becomes of the file.

use super::interrupted;
use crate::work_dir::{Ended, WorkDir};
use std::fs;

const LOG: &str = "trainer.log";

/// The text behind the time of each line.
fn said(dir: &WorkDir) -> Vec<String> {
    let text = dir.read(LOG);
    let lines = text.lines().filter(|line| !line.starts_with("    "));
    let lines = lines.map(|line| {
        let (time, text) = line.split_once(' ').unwrap_or_else(|| panic!("{line:?}"));
        let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        assert_eq!(shape, "0000-00-00T00:00:00.000Z", "{line}");
        text.to_owned()
    });
    lines.collect()
}

#[test]
fn everything_a_run_says_is_in_its_log_with_process_and_attempt() {
    let dir = WorkDir::new(&["model.builtin=mlp", "--epochs", "2"]);
    let ended = dir.finish(&[]);
    let lines = said(&dir);
    for line in ended.stderr.lines() {
        assert!(lines.iter().any(|logged| logged == line), "{line:?} is not in {lines:#?}");
    }
    assert!(lines[0].starts_with("process ") && lines[0].contains(", trainer "), "{}", lines[0]);
    assert!(lines.iter().any(|line| line.starts_with("attempt 1 of run ")));
    assert!(lines.last().unwrap().starts_with("finished: 2 epochs"));

    let lines = said(&interrupted());
    let count = |start: &str| lines.iter().filter(|line| line.starts_with(start)).count();
    assert_eq!(
        (count("process "), count("attempt 2 of run "), count("SIGTERM received: ")),
        (2, 1, 1),
        "{lines:#?}"
    );
}

#[test]
fn quiet_and_verbose_shape_stderr_and_the_log_has_all_that_is_not_for_debugging() {
    let quiet = WorkDir::new(&["model.builtin=mlp", "--epochs", "2", "schedule.warmup_steps=0", "-q"]);
    assert_eq!(quiet.finish(&[]).stderr, "");
    let epochs = |dir: &WorkDir| said(dir).iter().filter(|line| line.starts_with("epoch ")).count();
    assert_eq!(epochs(&quiet), 2);

    let filtered = WorkDir::new(&["model.builtin=mlp", "--epochs", "2"]);
    let ended = Ended::of(filtered.command(&[]).env("RUST_LOG", "trainer=debug")).check_code(0);
    assert!(ended.stderr.contains("DEBUG"), "{}", ended.stderr);
    assert!(said(&filtered).iter().any(|line| line.starts_with("DEBUG ")) && epochs(&filtered) == 2);
}

#[test]
fn a_failure_is_in_the_log_of_the_run_that_failed() {
    let dir = interrupted();
    let ended = dir.run(&["--lr", "0.5"]).check_code(4);
    let error = ended.stderr.lines().find(|line| line.starts_with("error: ")).unwrap();
    assert!(said(&dir).iter().any(|line| line == error), "{:#?}", said(&dir));
}

#[test]
fn a_log_that_can_not_be_written_is_said_once_and_stops_nothing() {
    let dir = WorkDir::new(&["model.builtin=mlp", "--epochs", "2"]);
    fs::create_dir_all(dir.path().join(LOG)).unwrap();
    let ended = dir.finish(&[]);
    assert_eq!(ended.stderr.matches("could not write to").count(), 1, "{}", ended.stderr);

    // Every write fails, as on a full disk.
    let full = WorkDir::new(&["model.builtin=mlp", "--epochs", "2"]);
    fs::create_dir_all(full.path()).unwrap();
    std::os::unix::fs::symlink("/dev/full", full.path().join(LOG)).unwrap();
    let ended = full.finish(&[]);
    assert_eq!(ended.stderr.matches("could not write to").count(), 1, "{}", ended.stderr);
    assert!(ended.stderr.contains("No space left on device"), "{}", ended.stderr);
    assert_eq!(full.epochs().len(), 2);
}

#[test]
fn a_log_that_has_grown_large_gets_another_name_at_the_next_start() {
    let dir = interrupted();
    let line = format!("{}\n", "x".repeat(1023));
    fs::write(dir.path().join(LOG), line.repeat(8 << 10)).unwrap();
    dir.run(&[]).check_code(0).check_says(&[]);
    assert_eq!(fs::metadata(dir.path().join("trainer.log.1")).unwrap().len(), 8 << 20);
    assert!(said(&dir)[0].starts_with("process "));
}

#[test]
fn who_is_refused_because_of_the_lock_writes_nothing_there() {
    let dir = WorkDir::new(&["model.builtin=mlp", "--epochs", "4000"]);
    let mut child = dir.start_until_step(5, &[]);
    dir.run(&[]).check_code(3);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(said(&dir).iter().filter(|line| line.starts_with("process ")).count(), 1);
    assert!(!dir.read(LOG).contains("error: "));
}
