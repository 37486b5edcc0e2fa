//! Which checkpoints can be gone back to, and with which settings.

use super::{Ended, WorkDir, epochs, finished, listing};
use crate::data_files::{npy_f32, npy_i64, npz};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};
use trainer::train::event::{Event, StepDone};
use trainer_runtime::checkpoint::{Link, Name, STATE_TENSOR};

#[track_caller]
fn checkpoint_of(dir: &WorkDir, epoch: u64) -> Name {
    let found = dir.checkpoints().into_iter().find(|name| name.epoch() == epoch);
    found.unwrap_or_else(|| panic!("epoch {epoch} is not among {:?}", dir.checkpoints()))
}

#[track_caller]
fn folder_set_aside(dir: &WorkDir) -> PathBuf {
    dir.path().join(folder_names(dir).pop().expect("--fresh sets a folder aside"))
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

/// Leaves out what a process recorded from the first record of this kind on.
#[track_caller]
fn forget_from(dir: &WorkDir, mut is_first: impl FnMut(&Event) -> bool) {
    let mut is_over = false;
    dir.rewrite_journal(|event| {
        is_over |= is_first(&event);
        (!is_over).then_some(event)
    });
}

#[test]
fn a_checkpoint_that_a_process_died_before_recording_is_of_its_branch_and_not_of_one_that_had_its_name() {
    let (dir, ..) = with_step_65_in_two_branches();
    let (steps, end) = (dir.folded().steps, final_tensors(&dir));
    let mut is_second_branch = false;
    forget_from(&dir, |event| {
        is_second_branch |= matches!(event, Event::BranchCut(_));
        matches!(event, Event::CheckpointDurable(durable) if is_second_branch && durable.step == 65)
    });
    for name in dir.checkpoints().into_iter().filter(|name| name.step > 65) {
        fs::remove_file(dir.store().path(name)).unwrap();
    }
    // 65 steps, of which 42 of 45 batches of 32 in the second epoch.
    dir.run(&["--batch-size", "32"]).check_code(0).check_says(&["step 65 (batch 42 of 45)"]);
    assert_eq!(dir.folded().steps, steps);
    assert!(final_tensors(&dir) == end, "the branch ends otherwise than without the kill");
}

#[test]
fn what_a_checkpoint_of_another_branch_was_computed_with_binds_and_not_what_came_later() {
    let examples = |shift: f32| {
        let x = [0., 1., 1., 0., 2., 1., 1., 2.].map(|value: f32| value + shift);
        npz(&[("x", npy_f32(&[4, 2], &x)), ("y", npy_i64(&[0, 1, 1, 0]))])
    };
    let new = || {
        let mut dir = WorkDir::new(&["model.builtin=mlp", "train.batch_size=2", "checkpoint.keep_last=99"]);
        let file = dir.write("examples.npz", examples(0.0));
        dir.add(&[
            &format!("data.train={file}"),
            "data.inputs.x={array=\"x\"}",
            "data.targets.y={array=\"y\"}",
        ]);
        dir
    };
    let undisturbed = new();
    undisturbed.finish(&["train.epochs=2"]);
    let dir = new();
    dir.finish(&["train.epochs=1"]);
    dir.write("examples.npz", examples(0.5));
    dir.finish(&["train.epochs=2", "--allow-changed", "data"]);
    let (back, records) = (["train.epochs=2", "--resume", "epoch:1"], dir.events().len());
    let first = checkpoint_of(&dir, 1);
    let refused = dir.run(&back).check_code(4);
    refused.check_says(&[&format!("this is not what {first} was computed with"), "`--allow-changed data`"]);
    assert_eq!(dir.events().len(), records, "a refused command left a record");
    dir.write("examples.npz", examples(0.0));
    dir.finish(&back).check_says(&["accepted change: "]);
    assert!(final_tensors(&dir) == final_tensors(&undisturbed), "what goes back computes otherwise");

    // A process that died behind the cut had not recorded yet which data it had.
    let mut is_behind = false;
    forget_from(&dir, |event| std::mem::replace(&mut is_behind, matches!(event, Event::BranchCut(_))));
    fs::remove_file(dir.store().path(checkpoint_of(&dir, 2))).unwrap();
    dir.finish(&["train.epochs=2"]).check_says(&["a cut that was begun is finished"]);
    assert!(final_tensors(&dir) == final_tensors(&undisturbed), "what goes on computes otherwise");
    dir.write("examples.npz", examples(0.5));
    let said = format!("changed since {first}: ");
    dir.finish(&[&back[..], &["--allow-changed", "data"]].concat());
    dir.finish(&[&back[..], &["--allow-changed", "data"]].concat()).check_says(&[&said]);
}

#[test]
fn a_worker_does_what_the_one_before_it_died_before_doing() {
    let dir = finished(2, &[]);
    let hopeless = ["--ort-lib", "/dev/null", "--supervise", "--max-restarts", "1", "--resume", "epoch:1"];
    let words = "--resume epoch:1: the worker before died before it had done that, so it is done now";
    dir.run(&hopeless).check_says(&[words]);
    assert!(dir.folded().branches.is_empty());
    // What was noted for those workers is no business of others.
    assert!(dir.finish(&["--supervise"]).stdout.starts_with("nothing to do"));
    assert!(dir.folded().branches.is_empty());
}

#[test]
fn a_worker_does_not_do_again_what_the_one_before_it_did() {
    for asked in [&["--resume", "epoch:1"][..], &["--fresh"]] {
        let dir = finished(2, &[]);
        let mut command = dir.command(&[asked, &["--supervise", "--epochs", "30"]].concat());
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let has_begun = || {
            let history = dir.folded();
            let is_done = history.branches.len() == 1 || folder_names(&dir).len() == 1;
            is_done && history.attempts > 0 && history.finished.is_none() && history.last_step() >= 50
        };
        let since = Instant::now();
        while !has_begun() && since.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(1));
        }
        let lock = dir.read("lock");
        let pid = lock.lines().find_map(|line| line.strip_prefix("pid ")).unwrap().parse().unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
        let ended = Ended::of_child(child).check_code(0);
        ended.check_says(&["starting again", &format!("{} was done by a worker before", asked.join(" "))]);
        let history = dir.folded();
        assert_eq!((history.last_step(), history.branches.len() + folder_names(&dir).len()), (690, 1));
    }
}

fn folder_names(dir: &WorkDir) -> Vec<String> {
    listing(&dir.path()).into_iter().filter(|name| name.starts_with("before-")).collect()
}
