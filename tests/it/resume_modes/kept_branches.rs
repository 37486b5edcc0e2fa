//! What looks at a work directory looks at the checkpoints of branches that ended, too.

use super::{Ended, WorkDir, finished, listing};
use crate::work_dir::trainer;
use serde_json::Value as Json;
use std::fs;
use std::path::{Path, PathBuf};

/// A run of two branches, and a checkpoint that the first has kept.
fn branched() -> (WorkDir, PathBuf) {
    let dir = finished(3, &[]);
    dir.run(&["--resume", "epoch:1"]).check_code(0);
    let kept = dir.path().join("checkpoints/branch-1/epoch-0002-step-00000046.safetensors");
    assert!(kept.is_file(), "{:?}", listing(kept.parent().unwrap()));
    (dir, kept)
}

fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(path, bytes).unwrap();
}

fn look(command: &str, dir: &WorkDir, more: &[&str]) -> Ended {
    Ended::of(trainer([command]).arg(dir.path()).args(more))
}

/// The checkpoint among those of a report.
#[track_caller]
fn among(report: &str, path: &Path) -> Json {
    let report: Json = serde_json::from_str(report).unwrap();
    let checkpoints = report["checkpoints"].as_array().unwrap().iter();
    let found = checkpoints.into_iter().find(|found| found["path"] == path.to_str().unwrap());
    found.unwrap_or_else(|| panic!("{report:#}")).clone()
}

#[test]
fn a_kept_branch_is_verified_inspected_and_repaired_with_the_run() {
    let (dir, kept) = branched();
    assert_eq!(among(&look("verify", &dir, &["--json"]).check_code(0).stdout, &kept)["step"], 46);
    assert_eq!(among(&look("inspect", &dir, &["--json"]).check_code(0).stdout, &kept)["good"], true);
    let shown = look("inspect", &dir, &[]).check_code(0).stdout;
    assert!(shown.contains("branch-1/epoch-0002-step-00000046.safetensors  epoch"), "{shown}");
    assert!(shown.contains("same file as branch-1/epoch-0003-step-00000069.safetensors"), "{shown}");

    let listed: Json = serde_json::from_str(&look("ls", &dir, &["--json"]).check_code(0).stdout).unwrap();
    let of_checkpoints = |folder: &str| -> u64 {
        let files = fs::read_dir(dir.path().join(folder)).unwrap().map(|entry| entry.unwrap());
        let named = files.filter(|file| file.file_name().to_string_lossy().contains("step-"));
        named.map(|file| file.metadata().unwrap().len()).sum()
    };
    let least = of_checkpoints("checkpoints") + of_checkpoints("checkpoints/branch-1");
    assert!(listed["runs"][0]["disk_bytes"].as_u64().unwrap() >= least, "{listed}");

    damage(&kept);
    let said = look("verify", &dir, &[]).check_code(5).stdout;
    assert!(said.contains("DAMAGED") && said.contains("branch-1/epoch-0002"), "{said}");
    assert_eq!(among(&look("inspect", &dir, &["--json"]).check_code(5).stdout, &kept)["good"], false);
    let said = look("repair", &dir, &["--dry-run"]).check_code(5).stdout;
    assert!(said.contains("goes on from epoch-0003-"), "{said}");
    let report = look("repair", &dir, &["--json"]).check_code(0).stdout;
    let aside = among(&report, &kept)["set_aside"].as_str().unwrap().to_owned();
    assert!(aside.contains("/branch-1/") && Path::new(&aside).is_file() && !kept.exists(), "{report}");
    look("verify", &dir, &[]).check_code(0);
    assert!(dir.run(&[]).check_code(0).stdout.starts_with("nothing to do"));
}

#[test]
fn a_repair_never_says_that_a_run_goes_on_from_a_branch_that_ended() {
    let (dir, _) = branched();
    let folder = dir.path().join("checkpoints");
    for name in listing(&folder).into_iter().filter(|name| name.starts_with("epoch-")) {
        fs::remove_file(folder.join(name)).unwrap();
    }
    let said = look("repair", &dir, &["--dry-run"]).check_code(0).stdout;
    assert!(said.contains("begins at step 0, for there is no good checkpoint"), "{said}");
}

#[test]
fn every_command_takes_the_same_words_for_a_checkpoint_and_says_the_same_of_one_that_is_not_there() {
    let (dir, kept) = branched();
    let eval = |which: &str| look("eval", &dir, &["--checkpoint", which]);
    let resume = |which: &str| dir.run(&["--resume", which]);
    let there = format!(
        "there is best, last, final, epoch:1, epoch:2, epoch:3, {}, {}",
        kept.display(),
        kept.with_file_name("epoch-0003-step-00000069.safetensors").display()
    );
    for which in ["epoch:9", "step:47", "step:0"] {
        let missing = |flag: &str| format!("there is no checkpoint for `{flag} {which}` in ");
        eval(which).check_code(2).check_says(&[&missing("--checkpoint"), &there]);
        resume(which).check_code(2).check_says(&[&missing("--resume"), &there]);
    }
    for (which, words) in [
        ("bets", "final, epoch:N or step:N, nor the file of a checkpoint"),
        ("epoch:0", "`epoch:0` names no checkpoint, expected best, last, final, epoch:N from 1, step:N"),
        ("epoch:x", "`epoch:x` names no checkpoint, expected best, last, final, epoch:N from 1, step:N"),
    ] {
        eval(which).check_code(2).check_says(&[words]);
        resume(which).check_code(2).check_says(&[words]);
    }
    for which in ["last", "final", "epoch:3", "step:69"] {
        eval(which).check_code(0).check_says(&["epoch 3, step 69"]);
        assert!(resume(which).check_code(0).stdout.starts_with("nothing to do"), "{which}");
    }
    let of_branch = "branch-1/epoch-0002-step-00000046.safetensors";
    eval(of_branch).check_code(0).check_says(&["epoch 2, step 46"]);
    resume(of_branch).check_code(0).check_says(&["step 46 (batch 0 of 23)", "as branch 3"]);
}
