//! A folder of many runs.

use super::{Ended, WorkDir, epochs, listing, resume};
use std::fs;

fn names(dir: &WorkDir) -> Vec<String> {
    listing(&dir.path())
}

#[test]
fn a_new_experiment_is_named_by_time_and_version_and_the_latest_is_taken_up() {
    let dir = epochs(1, &[]);
    dir.finish(&["--experiment", "new", "--max-steps", "5"]);
    dir.finish(&["--experiment", "new", "--max-steps", "5"]);
    let made = names(&dir);
    assert_eq!(made.len(), 2);
    let shape = |name: &String| name.len() == "2026-11-22_07-10-03_v1".len() && name.contains("_v");
    assert!(made.iter().all(shape), "{made:?}");
    // A folder in which nothing was begun is no run.
    fs::create_dir(dir.path().join("2999-01-01_00-00-00_v1")).unwrap();

    // Nor is one whose process failed before the run began.
    let broken = format!("data.train={}", dir.write("broken.npz", "no archive"));
    let maps = ["data.inputs.x={array=\"x\"}", "data.targets.y={array=\"y\"}"];
    let failed = dir.run(&["--experiment", "2998-01-01_00-00-00_v1", &broken, maps[0], maps[1]]);
    assert!(
        !failed.stderr.is_empty() && dir.path().join("2998-01-01_00-00-00_v1/journal").is_dir(),
        "{failed:?}"
    );

    let more = ["--experiment", "latest", "--max-steps", "9"];
    resume(&dir, &more).check_code(0).check_says(&["Resuming run r-"]);
    assert_eq!(steps(&dir, &made[1]), 9);
    assert_eq!(steps(&dir, &made[0]), 5);
    dir.finish(&["--experiment", &made[0], "--max-steps", "7"]);
    assert_eq!(steps(&dir, &made[0]), 7);
    assert_eq!(names(&dir).len(), 4);
}

/// The last step of a run in the folder.
#[track_caller]
fn steps(dir: &WorkDir, name: &str) -> u64 {
    let recorded = trainer::report::recorded::Recorded::read(&dir.path().join(name)).unwrap();
    recorded.history.last_step()
}

#[test]
fn what_does_not_fit_to_what_is_there_is_an_error_that_lists_what_is() {
    let dir = epochs(1, &["--max-steps", "3"]);
    dir.run(&["--experiment", "latest"])
        .check_code(2)
        .check_says(&["it has no runs at all", "--experiment new"]);
    dir.finish(&["--experiment", "first"]);
    let refused = dir.run(&[]).check_code(2);
    refused.check_says(&["holds runs and is not one itself: it has first", "`--experiment NAME`"]);
    dir.run(&["--experiment", "new", "--resume", "must"]).check_code(2).check_says(&["nothing to resume"]);
    let refused = dir.run(&["--experiment", "latest"]).check_code(2);
    refused.check_says(&["no run that is named by time and version; it has first"]);
    resume(&dir, &["--experiment", "second"]).check_code(2).check_says(&["no run `second`; it has first"]);
    resume(&dir, &["--experiment", "new"]).check_code(2).check_says(&["makes no new run"]);
    dir.run(&["--experiment", "../x"]).check_code(2).check_says(&["the name of one folder"]);
    let within: Ended = dir.run(&["--experiment", "first", "--resume", "never"]);
    within.check_code(2).check_says(&["holds a run"]);
    assert_eq!(names(&dir), ["first"], "something was made");
    let inner = dir.path().join("first");
    let mut command = crate::work_dir::trainer(["run", "--experiment", "new", "--work-dir"]);
    Ended::of(command.arg(inner)).check_code(2).check_says(&["is a run itself and no folder of many"]);
}

#[test]
fn a_supervised_experiment_is_one_for_all_workers() {
    let dir = epochs(1, &["--max-steps", "5"]);
    dir.finish(&["--experiment", "new", "--supervise"]);
    let made = names(&dir);
    assert_eq!((made.len(), steps(&dir, &made[0])), (1, 5), "{made:?}");
}
