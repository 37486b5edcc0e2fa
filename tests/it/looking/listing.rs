//! `trainer ls`: a line for each run, whatever state it is in.

use super::interrupted;
use crate::work_dir::{Ended, WorkDir, trainer};
use serde_json::Value as Json;
use std::fs;
use std::path::Path;

fn ls(dir: &Path, more: &[&str]) -> Ended {
    Ended::of(trainer(["ls"]).arg(dir).args(more))
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (entry, to) = (entry.as_ref().unwrap().path(), to.join(entry.as_ref().unwrap().file_name()));
        if entry.is_dir() { copy(&entry, &to) } else { _ = fs::copy(&entry, &to).unwrap() }
    }
}

#[test]
fn every_run_of_a_folder_has_its_state_by_name_and_a_damaged_one_stops_nothing() {
    let done = interrupted();
    let runs = done.make_folder("runs");
    copy(&done.path(), &runs.join("b-done"));
    copy(&done.path(), &runs.join("sweep/lr/0.1"));
    copy(&done.path(), &runs.join("c-damaged"));
    let segment = runs.join("c-damaged/journal/00000001.wal");
    let mut bytes = fs::read(&segment).unwrap();
    bytes[100] ^= 1;
    fs::write(&segment, bytes).unwrap();
    fs::create_dir_all(runs.join("d-gone/checkpoints")).unwrap();
    fs::create_dir_all(runs.join("e-begun/journal")).unwrap();
    fs::create_dir(runs.join("no-run")).unwrap();
    fs::write(runs.join("notes.txt"), "a file").unwrap();

    let killed = WorkDir::new(&["model.builtin=mlp", "--epochs", "400", "schedule.kind=constant"]);
    killed.kill_at_step(60, &[]);
    copy(&killed.path(), &runs.join("a-killed"));

    let found: Json = serde_json::from_str(&ls(&runs, &["--json"]).check_code(0).stdout).unwrap();
    let found = found["runs"].as_array().unwrap();
    let states: Vec<(&str, &str)> =
        found.iter().map(|run| (run["name"].as_str().unwrap(), run["state"].as_str().unwrap())).collect();
    let expected = [
        ("a-killed", "interrupted"),
        ("b-done", "finished"),
        ("c-damaged", "damaged"),
        ("d-gone", "damaged"),
        ("e-begun", "interrupted"),
        ("sweep/lr/0.1", "finished"),
    ];
    assert_eq!(states, expected);
    let run = &found[1];
    assert_eq!((&run["epoch"], &run["epochs"], &run["step"]), (&3.into(), &3.into(), &69.into()));
    assert_eq!(
        run["best"]["value"],
        done.measured("val_loss", run["best"]["epoch"].as_u64().unwrap() as usize)
    );
    assert_eq!((&run["watched"], &run["attempts"]), (&"val_loss".into(), &2.into()));
    assert_eq!((&found[0]["epochs"], &found[0]["detail"]), (&400.into(), &"ended without a word".into()));
    assert!(found[0]["epoch"].as_u64() >= Some(2));
    let text = ls(&runs, &[]).check_code(0).stdout;
    assert!(
        text.contains("3/3") && text.contains("DAMAGED (") && text.contains("6 runs: 2 finished"),
        "{text}"
    );

    let alone = ls(&done.path(), &[]).check_code(0).stdout;
    assert!(alone.contains("1 run: 1 finished"), "{alone}");
}

#[test]
fn a_run_is_running_as_long_as_its_process_lives_and_no_longer() {
    let dir = WorkDir::new(&["model.builtin=mlp", "--epochs", "4000", "schedule.kind=constant"]);
    let mut child = dir.start_until_step(30, &[]);
    let state = || -> Json {
        let found: Json = serde_json::from_str(&ls(&dir.path(), &["--json"]).check_code(0).stdout).unwrap();
        found["runs"][0].clone()
    };
    let running = state();
    assert_eq!((&running["state"], running["pid"].as_u64()), (&"running".into(), Some(child.id().into())));
    assert!(running["host"].is_string() && running["detail"].as_str().unwrap().contains("process "));
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!((&state()["state"], &state()["pid"]), (&"interrupted".into(), &Json::Null));
}

#[test]
fn a_folder_without_runs_is_no_failure_and_one_that_is_not_there_is() {
    let dir = WorkDir::new(&[]);
    let empty = dir.make_folder("empty");
    let ended = ls(&empty, &[]).check_code(0);
    assert_eq!(ended.stdout, "");
    ended.check_says(&["has no runs"]);
    assert_eq!(ls(&empty, &["--json"]).check_code(0).stdout.split_whitespace().last(), Some("}"));
    ls(&empty.join("missing"), &[]).check_code(2).check_says(&["can not list", "missing"]);
}

#[test]
fn a_run_of_a_newer_program_is_not_called_damaged() {
    let dir = WorkDir::new(&["model.builtin=mlp", "--max-steps", "2"]);
    dir.finish(&[]);
    let segment = dir.segment();
    let mut bytes = fs::read(&segment).unwrap();
    bytes[8] = 2;
    let checksum = crc32fast::hash(&bytes[..0x3c]);
    bytes[0x3c..0x40].copy_from_slice(&checksum.to_le_bytes());
    fs::write(&segment, bytes).unwrap();
    let found: Json = serde_json::from_str(&ls(&dir.path(), &["--json"]).check_code(0).stdout).unwrap();
    let run = &found["runs"][0];
    assert_eq!(run["state"], "unknown");
    assert!(run["detail"].as_str().unwrap().contains("journal format version 2"), "{run}");
}
