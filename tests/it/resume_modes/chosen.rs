//! Which checkpoints can be gone back to, and with which settings.

use super::{WorkDir, epochs, finished, listing};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use trainer::train::event::StepDone;
use trainer_runtime::checkpoint::{Link, Name, STATE_TENSOR};

#[track_caller]
fn checkpoint_of(dir: &WorkDir, epoch: u64) -> Name {
    let found = dir.checkpoints().into_iter().find(|name| name.epoch() == epoch);
    found.unwrap_or_else(|| panic!("epoch {epoch} is not among {:?}", dir.checkpoints()))
}

#[track_caller]
fn folder_set_aside(dir: &WorkDir) -> PathBuf {
    let name = listing(&dir.path()).into_iter().find(|name| name.starts_with("before-"));
    dir.path().join(name.expect("--fresh sets a folder aside"))
}

#[test]
fn a_checkpoint_of_another_run_is_refused_though_the_run_went_on_from_one_of_its_name() {
    let dir = finished(2, &[]);
    dir.finish(&["--fresh", "--seed", "9"]);
    dir.run(&["--resume", "epoch:1", "--seed", "9"]).check_code(0);
    let foreign = folder_set_aside(&dir).join("checkpoints").join(checkpoint_of(&dir, 1).to_string());
    let again = ["--resume", foreign.to_str().unwrap(), "--seed", "9"];
    dir.run(&again).check_code(4).check_says(&["is of run ", "give an empty --work-dir"]);
    // Put in the place of the run's own, it is refused as well.
    fs::copy(&foreign, dir.store().path(checkpoint_of(&dir, 1))).unwrap();
    dir.run(&["--resume", "epoch:1", "--seed", "9"]).check_code(4).check_says(&["is of run "]);
}

#[test]
fn after_two_lost_journals_the_oldest_checkpoints_can_still_be_gone_back_to() {
    let dir = finished(2, &[]);
    for epochs in ["3", "4"] {
        fs::remove_dir_all(dir.path().join("journal")).unwrap();
        dir.finish(&["--epochs", epochs]).check_says(&["the journal is gone"]);
    }
    let newest = dir.store().load(checkpoint_of(&dir, 4)).unwrap().meta().run_id;
    let oldest = dir.store().load(checkpoint_of(&dir, 1)).unwrap().meta().run_id;
    assert_ne!(newest, oldest);
    assert_eq!(dir.folded().former_run_ids.len(), 2);
    dir.run(&["--resume", "epoch:1", "--epochs", "4"])
        .check_code(0)
        .check_says(&["epoch 2, step 23 (batch 0 of 23)"]);
    assert_eq!(dir.folded().last_step(), 92);
}

#[test]
fn a_checkpoint_that_is_called_as_another_is_not_taken_for_it() {
    let dir = finished(3, &[]);
    let [second, third] = [2, 3].map(|epoch| dir.store().path(checkpoint_of(&dir, epoch)));
    fs::copy(&third, &second).unwrap();
    let words = ["it says that it is epoch-0003", "nothing takes its place by itself", "--resume epoch:"];
    dir.run(&["--resume", "epoch:2"]).check_code(5).check_says(&words);
    dir.run(&["--resume", "step:46"]).check_code(5).check_says(&words);
    assert!(dir.folded().branches.is_empty());
}

#[test]
fn settings_that_changed_since_a_checkpoint_are_refused_with_both_ways_out_and_said_where_allowed() {
    let dir = finished(2, &[]);
    let change = ["--resume", "epoch:1", "--set", "optimizer.lr=0.001", "--allow-changed", "settings"];
    dir.run(&change).check_code(0);
    let back =
        |more: &[&str]| dir.run(&[&["--resume", "epoch:1", "--set", "optimizer.lr=0.001"], more].concat());
    let records = dir.events().len();
    back(&[]).check_code(4).check_says(&[
        &format!(
            "from those that {} was computed with:\n  optimizer.lr: 0.003 -> 0.001\n",
            checkpoint_of(&dir, 1)
        ),
        "`--set optimizer.lr=0.003 --allow-changed settings`",
        "with these with `--allow-changed settings` alone",
    ]);
    assert_eq!(dir.events().len(), records, "a refused command left a record");
    let said = format!("changed since {}: optimizer.lr: 0.003 -> 0.001", checkpoint_of(&dir, 1));
    back(&["--allow-changed", "settings"]).check_code(0).check_says(&[&said]);
    let old = dir.run(&["--resume", "epoch:1", "--set", "optimizer.lr=0.003", "--allow-changed", "settings"]);
    assert!(!old.check_code(0).stderr.contains("changed since"), "it has the settings of the checkpoint");
}

#[test]
fn a_checkpoint_of_a_branch_with_batches_of_another_size_goes_on_at_its_own_place() {
    let (dir, steps, end) = with_step_65_in_two_branches();
    let old = in_branch_1(&dir);
    // 65 steps of 64 are 19 batches of the third epoch.
    dir.run(&["--resume", old.to_str().unwrap(), "--batch-size", "64"])
        .check_code(0)
        .check_says(&["step 65 (batch 19 of 23)"]);
    let folded = dir.folded();
    let [_, cut] = &folded.branches[..] else { panic!("{:?}", folded.branches) };
    assert_eq!((cut.of_branch, cut.batch), (1, 19));
    assert_eq!(folded.steps, steps);
    assert!(final_tensors(&dir) == end, "branch 3 ends otherwise than branch 1");
}

fn in_branch_1(dir: &WorkDir) -> PathBuf {
    dir.path().join("checkpoints/branch-1/step-00000065.safetensors")
}

/// What was trained, by name.
#[track_caller]
fn final_tensors(dir: &WorkDir) -> BTreeMap<String, Vec<u8>> {
    let checkpoint = dir.store().load_link(Link::Final).unwrap();
    let trained = checkpoint.iter().filter(|tensor| tensor.name != STATE_TENSOR);
    trained.map(|tensor| (tensor.name.to_owned(), tensor.bytes.to_vec())).collect()
}

/// A run with a checkpoint of step 65 in its first branch, with batches of 64, and in its second, with batches of 32; and the
/// steps and the end of the first. On a busy machine a checkpoint that waits gives way to the next, so it may take a few runs.
#[track_caller]
fn with_step_65_in_two_branches() -> (WorkDir, BTreeMap<u64, StepDone>, BTreeMap<String, Vec<u8>>) {
    for _ in 0..50 {
        let dir = epochs(3, &["checkpoint.every_steps=5"]);
        dir.finish(&[]);
        let (steps, end) = (dir.folded().steps, final_tensors(&dir));
        if !dir.checkpoints().iter().any(|name| name.step == 23) {
            continue;
        }
        dir.run(&["--resume", "epoch:1", "--batch-size", "32"]).check_code(0);
        if in_branch_1(&dir).is_file() && dir.checkpoints().iter().any(|name| name.step == 65) {
            return (dir, steps, end);
        }
    }
    panic!("no run has saved these checkpoints")
}

#[test]
fn a_worker_that_takes_the_place_of_another_says_what_it_does_not_do_again() {
    let dir = finished(2, &[]);
    let hopeless = ["--ort-lib", "/dev/null", "--supervise", "--max-restarts", "1", "--resume", "epoch:1"];
    let words = ["--resume epoch:1 was for the first worker and is not done again", "give the command again"];
    dir.run(&hopeless).check_says(&words);
    assert!(dir.folded().branches.is_empty());
}
