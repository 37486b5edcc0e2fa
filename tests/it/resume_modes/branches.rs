//! Runs that go back to a chosen checkpoint: what came after it is another branch, and is kept.

use super::{Ended, WorkDir, epochs, finished, listing, resume};
use std::fs;
use std::path::{Path, PathBuf};
use trainer::train::event::{BranchCut, Event};
use trainer_runtime::checkpoint::{Checkpoint, Link, STATE_TENSOR};
use trainer_runtime::disk::RealDisk;
use trainer_runtime::journal::{Journal, OpenOptions};

/// Tensors and state of a checkpoint's file.
#[track_caller]
fn tensors(path: &Path) -> Vec<(String, Vec<u8>)> {
    let checkpoint = Checkpoint::load(&RealDisk, path).unwrap();
    checkpoint.iter().map(|tensor| (tensor.name.to_owned(), tensor.bytes.to_vec())).collect()
}

fn checkpoints(dir: &WorkDir) -> PathBuf {
    dir.path().join("checkpoints")
}

fn branches(dir: &WorkDir) -> Vec<BranchCut> {
    dir.folded().branches
}

fn epoch_file(epoch: u64) -> String {
    format!("epoch-{epoch:04}-step-{:08}.safetensors", epoch * 23)
}

#[test]
fn a_finished_run_that_goes_back_an_epoch_ends_with_the_same_tensors() {
    let dir = finished(4, &[]);
    let (end, table) =
        (tensors(&dir.store().link_path(Link::Final)), dir.read("history.jsonl").lines().count());
    let ended = dir.run(&["--resume", "epoch:2"]).check_code(0);
    ended.check_says(&[
        "branch 1 ended at step 92, epoch 4, best ",
        &format!("; the run goes on from {}, as branch 2", epoch_file(2)),
        "is kept in ",
        "epoch 3, step 46 (batch 0 of 23) from checkpoints/",
        "Previous attempt: finished at step 92; 0 steps to compute again",
    ]);
    let [cut] = &branches(&dir)[..] else { panic!("{:?}", branches(&dir)) };
    assert_eq!((cut.branch, cut.step, cut.reached_step, cut.reached_epoch), (1, 46, 92, 4));
    assert!(tensors(&dir.store().link_path(Link::Final)) == end, "the new branch ends otherwise");
    assert_eq!(dir.read("history.jsonl").lines().count(), table);
    assert_eq!(dir.folded().last_step(), 92);
    // The old branch is there, whole.
    let kept = listing(&checkpoints(&dir).join("branch-1"));
    for name in [&epoch_file(3), &epoch_file(4), "final.safetensors", "last.safetensors"] {
        assert!(kept.iter().any(|kept| kept == name), "{name}: {kept:?}");
    }
    assert!(tensors(&checkpoints(&dir).join("branch-1/final.safetensors")) == end);
    assert!(dir.run(&[]).check_code(0).stdout.starts_with("nothing to do"));
}

#[test]
fn the_history_shows_branches_and_lists_them_for_programs() {
    let dir = finished(4, &[]);
    resume(&dir, &["--resume", "step:46"]).check_code(0);
    let history =
        |more: &[&str]| Ended::of(crate::work_dir::trainer(["history"]).arg(dir.path()).args(more)).stdout;
    let said = history(&[]);
    assert!(said.contains("-- branch at step 46: branch 1 ended at step 92, epoch 4, best "), "{said}");
    let json = history(&["--json"]);
    let objects = json.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let branch = objects.into_iter().find(|object| object["note"] == "branch").unwrap();
    assert_eq!((branch["step"].as_u64(), branch["ended"]["branch"].as_u64()), (Some(46), Some(1)));
    assert_eq!(branch["ended"]["reached_step"], 92);
    assert!(branch["ended"]["best"]["value"].is_f64(), "{branch}");
}

#[test]
fn checkpoints_of_the_old_branch_are_never_taken_by_a_later_resume() {
    let dir = finished(4, &[]);
    // Killed before the new branch has a checkpoint of its own.
    dir.run(&["--resume", "epoch:2", "--max-steps", "46", "train.epochs=40"]).check_code(0);
    let newest = dir.checkpoints().pop().unwrap();
    assert_eq!(newest.to_string(), epoch_file(2));
    let said = resume(&dir, &["--set", "train.max_steps=\"none\"", "--epochs", "4"]).check_code(0);
    said.check_says(&["step 46 (batch 0 of 23)"]);
    assert_eq!(branches(&dir).len(), 1);
}

#[test]
fn the_newest_checkpoint_is_no_branch_and_what_is_not_there_is_refused_with_what_is() {
    let dir = finished(4, &[]);
    let ended = dir.run(&["--resume", "epoch:4"]).check_code(0);
    assert!(ended.stdout.starts_with("nothing to do") && branches(&dir).is_empty(), "{ended:?}");
    for (which, code, words) in [
        ("epoch:9", 2, "there is best, last, final, epoch:1, epoch:2, epoch:3, epoch:4"),
        ("step:47", 2, "there is no checkpoint for `--resume step:47`"),
        ("nothing.safetensors", 2, "is neither a mode (auto, must, never), nor best, last, final"),
    ] {
        dir.run(&["--resume", which]).check_code(code).check_says(&[words]);
    }
    assert!(branches(&dir).is_empty() && !checkpoints(&dir).join("branch-1").exists());
}

#[test]
fn the_best_is_gone_back_to_and_never_replaced_where_it_is_missing_or_damaged() {
    // At this rate nothing changes, so the first epoch stays the best.
    let dir = finished(4, &["--lr", "1e-30", "schedule.kind=constant"]);
    let best = dir.store().load_link(Link::Best).unwrap().meta().step;
    assert_eq!(best, 23);
    let link = dir.store().link_path(Link::Best);
    let bytes = fs::read(&link).unwrap();
    fs::remove_file(&link).unwrap();
    let refused = dir.run(&["--resume", "best"]).check_code(5);
    refused.check_says(&[
        "there is no best checkpoint",
        "the best that verifies is epoch ",
        "--resume epoch:",
    ]);
    let mut damaged = bytes.clone();
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    fs::write(&link, damaged).unwrap();
    let refused = dir.run(&["--resume", "best"]).check_code(5);
    refused.check_says(&["failed its checksum", "nothing takes its place by itself"]);
    fs::write(&link, bytes).unwrap();
    dir.run(&["--resume", "best"]).check_code(0).check_says(&[&format!("step {best} (batch 0 of 23)")]);
    assert_eq!(branches(&dir)[0].step, best);
}

#[test]
fn a_checkpoint_of_an_old_branch_brings_the_history_of_that_branch_back() {
    let dir = finished(4, &[]);
    let end = tensors(&dir.store().link_path(Link::Final));
    let table = dir.folded().epochs;
    // The second branch learns otherwise.
    let other = ["--resume", "epoch:1", "--lr", "1e-5", "--allow-changed", "settings"];
    dir.run(&other).check_code(0);
    assert!(dir.folded().epochs[&3].train_loss != table[&3].train_loss);
    let old = checkpoints(&dir).join("branch-1").join(epoch_file(3));
    let back = ["--resume", old.to_str().unwrap(), "--lr", "0.003", "--allow-changed", "settings"];
    dir.run(&back).check_code(0).check_says(&["of branch 1, as branch 3", "step 69 (batch 0 of 23)"]);
    let folded = dir.folded();
    for epoch in 1..=3 {
        assert_eq!(folded.epochs[&epoch].train_loss, table[&epoch].train_loss, "epoch {epoch}");
    }
    let same = |(name, _): &&(String, Vec<u8>)| name != STATE_TENSOR;
    let new = tensors(&dir.store().link_path(Link::Final));
    assert!(new.iter().filter(same).eq(end.iter().filter(same)), "branch 3 ends otherwise than branch 1");
    let kept = listing(&checkpoints(&dir).join("branch-2"));
    assert!(kept.contains(&epoch_file(4)), "{kept:?}");
    assert!(!kept.contains(&epoch_file(1)), "the first epoch is of all branches: {kept:?}");
}

#[test]
fn a_copy_from_elsewhere_is_taken_in_and_one_of_another_run_is_not() {
    let dir = finished(4, &[]);
    let copy = dir.write("copy.safetensors", fs::read(checkpoints(&dir).join(epoch_file(2))).unwrap());
    fs::remove_file(checkpoints(&dir).join(epoch_file(2))).unwrap();
    dir.run(&["--resume", &copy]).check_code(0).check_says(&["step 46 (batch 0 of 23)"]);
    assert_eq!(branches(&dir)[0].step, 46);
    assert!(dir.checkpoints().iter().any(|name| name.to_string() == epoch_file(2)));

    let other = finished(4, &[]);
    let records = other.events().len();
    other.run(&["--resume", &copy]).check_code(4).check_says(&["is of run ", "give an empty --work-dir"]);
    assert_eq!((other.events().len(), branches(&other).len()), (records, 0));

    let empty = epochs(4, &[]);
    empty.run(&["--resume", &copy]).check_code(0).check_says(&["from step 46 of run "]);
    assert!(tensors(&empty.store().link_path(Link::Final)) == tensors(&dir.store().link_path(Link::Final)));
    assert!(empty.run(&[]).check_code(0).stdout.starts_with("nothing to do"));
    let otherwise = epochs(4, &["--lr", "0.1"]);
    otherwise.run(&["--resume", &copy]).check_code(4).check_says(&["--allow-changed settings"]);
}

#[test]
fn the_best_of_an_old_branch_comes_along_and_one_that_is_gone_is_said() {
    // At this rate nothing changes, so the first epoch of a branch stays the best.
    let dir = finished(3, &["--lr", "1e-30", "schedule.kind=constant"]);
    dir.run(&["--resume", "epoch:1"]).check_code(0);
    let folder = checkpoints(&dir).join("branch-1");
    fs::rename(checkpoints(&dir).join(epoch_file(1)), folder.join(epoch_file(1))).unwrap();
    fs::remove_file(dir.store().link_path(Link::Best)).unwrap();
    let third = folder.join(epoch_file(3));
    dir.run(&["--resume", third.to_str().unwrap(), "--epochs", "4"]).check_code(0);
    assert_eq!(dir.store().load_link(Link::Best).unwrap().meta().step, 23);
    fs::remove_file(checkpoints(&dir).join(epoch_file(1))).unwrap();
    fs::remove_file(folder.join(epoch_file(1))).unwrap();
    fs::remove_file(dir.store().link_path(Link::Best)).unwrap();
    let gone = format!("the best checkpoint so far, {}, is not there any more", epoch_file(1));
    dir.run(&["--epochs", "5"]).check_code(0).check_says(&[&gone]);
    assert!(dir.store().load_link(Link::Best).is_err(), "another took its place");
    dir.run(&["--resume", "best"]).check_code(5).check_says(&["there is no best checkpoint"]);
}

#[test]
fn without_a_journal_an_older_checkpoint_can_be_chosen_and_the_newer_ones_are_moved_as_well() {
    let dir = finished(3, &[]);
    let end = tensors(&dir.store().link_path(Link::Final));
    fs::remove_dir_all(dir.path().join("journal")).unwrap();
    dir.run(&["--resume", "epoch:1"]).check_code(0).check_says(&["the journal is gone", &epoch_file(1)]);
    assert!(tensors(&dir.store().link_path(Link::Final)) == end);
    let kept = listing(&checkpoints(&dir).join("branch-1"));
    assert!(kept.contains(&epoch_file(2)) && kept.contains(&epoch_file(3)), "{kept:?}");
    assert!(dir.run(&[]).check_code(0).stdout.starts_with("nothing to do"));
}

/// Appends a record as the process that was killed behind it did.
#[track_caller]
fn append(dir: &WorkDir, event: Event) {
    let mut opened =
        Journal::open(RealDisk::shared(), &dir.path().join("journal"), OpenOptions::default()).unwrap();
    let (kind, payload) = event.encode().unwrap();
    opened.journal.append(kind, &payload).unwrap();
    opened.journal.sync().unwrap();
}

#[test]
fn wherever_a_process_dies_in_a_cut_the_next_one_finishes_it() {
    let undisturbed = finished(4, &[]);
    let end = tensors(&undisturbed.store().link_path(Link::Final));
    undisturbed.run(&["--resume", "epoch:2"]).check_code(0);
    let moved = branches(&undisturbed)[0].moved.clone();
    assert!(moved.len() >= 4, "{moved:?}");
    for done in [0, 1, moved.len() / 2, moved.len()] {
        let dir = finished(4, &[]);
        append(&dir, Event::BranchCut(branches(&undisturbed)[0].clone()));
        let folder = checkpoints(&dir).join("branch-1");
        if done > 0 {
            fs::create_dir(&folder).unwrap();
        }
        for name in &moved[..done] {
            fs::rename(checkpoints(&dir).join(name), folder.join(name)).unwrap();
        }
        let ended = dir.run(&[]).check_code(0);
        ended.check_says(&[
            "a cut that was begun is finished: branch 1 ended at step 92",
            "step 46 (batch 0 of 23)",
        ]);
        assert!(tensors(&dir.store().link_path(Link::Final)) == end, "{done} files were moved");
        assert_eq!(listing(&folder), listing(&checkpoints(&undisturbed).join("branch-1")), "{done}");
        assert_eq!(branches(&dir).len(), 1);
    }
}
