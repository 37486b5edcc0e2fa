//! Which checkpoints can be gone back to, and with which settings.

use super::{WorkDir, finished, listing};
use std::fs;
use std::path::PathBuf;
use trainer_runtime::checkpoint::Name;

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
