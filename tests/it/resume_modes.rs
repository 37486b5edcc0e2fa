//! The ways in which a run is taken up: by itself, by `trainer resume`, from a chosen checkpoint, afresh, by name.

mod branches;
mod chosen;
mod experiments;
mod kept_branches;
mod resources;

use crate::work_dir::{Ended, WorkDir, trainer};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::Path;
use std::process::Command;
use trainer::train::saved::Saved;
use trainer_runtime::codec;

/// Updates of an epoch on the embedded digits.
const STEPS_PER_EPOCH: u64 = 23;

/// A builtin network on the embedded digits; every checkpoint is kept.
fn epochs(count: u64, more: &[&str]) -> WorkDir {
    let mut dir = WorkDir::new(&["model.builtin=mlp", "checkpoint.keep_last=99"]);
    dir.add(&[&format!("train.epochs={count}")]);
    dir.add(more);
    dir
}

/// A finished run with the checkpoint of each epoch. On a busy machine one that waits gives way to the next, so it may take
/// a few runs until all are there.
#[track_caller]
fn finished(count: u64, more: &[&str]) -> WorkDir {
    for _ in 0..50 {
        let dir = epochs(count, more);
        dir.finish(&[]);
        if dir.checkpoints().len() as u64 == count {
            return dir;
        }
    }
    panic!("no run has saved every epoch")
}

/// `trainer resume` on the folder.
fn resume_command(dir: &Path, more: &[&str]) -> Command {
    let mut command = trainer(["resume"]);
    command.arg(dir).args(more);
    command
}

#[track_caller]
fn resume(dir: &WorkDir, more: &[&str]) -> Ended {
    Ended::of(&mut resume_command(&dir.path(), more))
}

/// Names of the files in a folder, sorted.
#[track_caller]
fn listing(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Stops a run with SIGTERM when its journal has this step.
#[track_caller]
fn stop_at(dir: &WorkDir, step: u64, more: &[&str]) {
    let child = dir.start_until_step(step, more);
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    Ended::of_child(child).check_code(143);
}

#[test]
fn a_rerun_says_where_it_goes_on_what_was_restored_and_how_the_last_attempt_ended() {
    let dir = epochs(60, &["train.early_stopping.patience=50"]);
    stop_at(&dir, 30, &[]);
    let saved = dir.checkpoints().pop().unwrap();
    let state: Saved = codec::decode(dir.store().load(saved).unwrap().state()).unwrap();
    let (epoch, batch) = (state.epoch, state.batch);
    let place = format!(
        ": epoch {epoch}, step {} (batch {batch} of 23) from checkpoints/{saved} (checksums ok)",
        saved.step
    );
    dir.finish(&["--max-steps", "200"]).check_says(&[
        "Resuming run r-",
        &place,
        "Restored: weights, optimizer (AdamW), scheduler (cosine), data position, early stopping (",
        " of 50), best (",
        &format!("Previous attempt: stopped by SIGTERM at step {}; 0 steps to compute again", saved.step),
    ]);
}

#[test]
fn resume_takes_settings_from_the_folder_and_wants_a_run_there() {
    let dir = epochs(2, &["optimizer.kind=sgd"]);
    dir.finish(&["--max-steps", "10"]);
    let ended = resume(&dir, &["--set", "train.max_steps=\"none\""]).check_code(0);
    ended.check_says(&["changed setting: train.max_steps: 10 -> not set", "optimizer (SGD)"]);
    assert_eq!(dir.steps().len() as u64, 2 * STEPS_PER_EPOCH);
    let again = resume(&dir, &[]).check_code(0);
    assert!(again.stdout.starts_with("nothing to do"), "{again:?}");

    // Settings that are gone are in the journal as well.
    fs::remove_file(dir.path().join("trainer.toml")).unwrap();
    resume(&dir, &["--epochs", "3"]).check_code(0).check_says(&["trainer.toml was gone", "optimizer (SGD)"]);
    assert_eq!(dir.steps().len() as u64, 3 * STEPS_PER_EPOCH);

    let nothing = dir.path().with_extension("not");
    for modes in [&[][..], &["--resume", "best"], &["--resume", "x.safetensors"]] {
        let ended = Ended::of(&mut resume_command(&nothing, modes)).check_code(2);
        ended.check_says(&["there is nothing to resume in ", "`trainer run --work-dir "]);
    }
    assert!(!nothing.exists(), "a folder was made");
    resume(&dir, &["--resume", "never"]).check_code(2).check_says(&["never", "leave one of them out"]);
}

#[test]
fn must_wants_a_run_and_never_wants_none_by_flag_or_by_environment() {
    let dir = epochs(1, &[]);
    dir.run(&["--resume", "must"]).check_code(2).check_says(&["there is nothing to resume in "]);
    assert!(!dir.path().exists(), "a folder was made");
    let ended = Ended::of(dir.command(&[]).env("TRAINER_RESUME", "must"));
    ended.check_code(2).check_says(&["there is nothing to resume in "]);
    dir.finish(&["--resume", "never"]);
    dir.run(&["--resume", "never"]).check_code(2).check_says(&["holds a run", "`--fresh`"]);
    Ended::of(dir.command(&[]).env("TRAINER_RESUME", "never")).check_code(2).check_says(&["--resume never"]);
    // The flag wins.
    let ended = Ended::of(dir.command(&["--resume", "auto"]).env("TRAINER_RESUME", "never")).check_code(0);
    assert!(ended.stdout.starts_with("nothing to do"), "{ended:?}");
    dir.finish(&["--resume", "must"]);
    dir.run(&["--resume", "epoch:x"]).check_code(2).check_says(&["`epoch:x` names no checkpoint"]);
}

#[test]
fn a_fresh_start_moves_the_run_aside_whole() {
    let dir = epochs(2, &[]);
    dir.finish(&[]);
    let before = dir.result();
    dir.finish(&["seed=9", "--fresh"]).check_says(&["what was there is in ", "Starting run "]);
    assert_eq!(dir.folded().attempts, 1);
    let names = listing(&dir.path());
    let [aside] = &names.iter().filter(|name| name.starts_with("before-")).collect::<Vec<_>>()[..] else {
        panic!("{names:?}")
    };
    // Put back, it is the run that it was.
    let back = epochs(2, &[]);
    fs::rename(dir.path().join(aside), back.path()).unwrap();
    back.result().check_equals(&before);
    assert!(back.run(&[]).check_code(0).stdout.starts_with("nothing to do"));
    dir.run(&["--fresh", "--resume", "must"]).check_code(2).check_says(&["leave one of them out"]);
}

#[test]
fn a_fresh_start_that_would_move_what_it_is_to_read_is_refused_before_anything_is_moved() {
    let dir = epochs(1, &[]);
    dir.finish(&[]);
    let [config, data] = ["my.toml", "my.npz"].map(|name| dir.path().join(name));
    fs::write(&config, "[train]\nepochs = 1\n").unwrap();
    fs::write(&data, "not read").unwrap();
    let data = format!("data.train={}", data.display());
    let maps = ["data.inputs.x={array=\"x\"}", "data.targets.y={array=\"y\"}"];
    let before = listing(&dir.path());
    for (more, file) in
        [(&["--config", config.to_str().unwrap()][..], "my.toml"), (&[&data, maps[0], maps[1]], "my.npz")]
    {
        let refused = dir.run(&[more, &["--fresh"]].concat()).check_code(2);
        refused.check_says(&["--fresh moves everything in ", file, "out of the work directory"]);
        assert_eq!(listing(&dir.path()), before);
    }
    fs::rename(&config, dir.path().with_extension("toml")).unwrap();
    let moved = dir.path().with_extension("toml");
    dir.finish(&["--fresh", "--config", moved.to_str().unwrap()]).check_says(&["Starting run "]);
}

#[test]
fn a_fresh_start_that_died_halfway_is_finished_by_the_next_process_and_no_part_is_taken_up() {
    let dir = epochs(2, &[]);
    dir.finish(&[]);
    let moving = dir.path().join("before-2026-11-22_07-10-03.moving");
    fs::create_dir(&moving).unwrap();
    // A journal that is gone would be a run to be taken up from its checkpoints.
    fs::rename(dir.path().join("journal"), moving.join("journal")).unwrap();
    resume(&dir, &[]).check_code(2).check_says(&["all in ", "there is nothing to resume in "]);
    let aside = dir.path().join("before-2026-11-22_07-10-03");
    for part in ["journal", "checkpoints", "trainer.toml", "model.onnx"] {
        assert!(aside.join(part).exists() && !dir.path().join(part).exists(), "{part}");
    }
    dir.finish(&[]).check_says(&["Starting run "]);
}

#[test]
fn a_finished_run_keeps_only_what_is_asked_for_once_that_verifies() {
    let dir = finished(4, &[]);
    let all = dir.checkpoints();
    let best = dir.store().path(all[3]);
    let bytes = fs::read(&best).unwrap();
    let mut damaged = bytes.clone();
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    fs::write(&best, damaged).unwrap();
    let refused = dir.run(&["--keep-only", "final,best"]).check_code(5);
    refused.check_says(&["does not verify, so nothing was removed"]);
    assert_eq!(dir.checkpoints(), all);
    fs::write(&best, bytes).unwrap();

    let ended = resume(&dir, &["--keep-only", "final,best"]).check_code(0);
    assert!(ended.stdout.contains("kept final (epoch-0004-step-00000092.safetensors)"), "{ended:?}");
    assert!(ended.stdout.contains("removed ") && ended.stdout.contains(" bytes: epoch-0001-"), "{ended:?}");
    let best = dir.store().load_link(trainer_runtime::checkpoint::Link::Best).unwrap().meta().step;
    assert!(dir.checkpoints().iter().all(|name| [best, 92].contains(&name.step)));
    assert_eq!(dir.folded().checkpoints.len(), dir.checkpoints().len(), "drops are journaled");
    assert!(dir.run(&[]).check_code(0).stdout.starts_with("nothing to do"));
    dir.finish(&["--epochs", "5", "--keep-only", "final"]);
    assert_eq!(dir.checkpoints().len(), 1);
    assert_eq!(listing(&dir.path().join("checkpoints")).len(), dir.checkpoints().len() + links(&dir));
}

/// How many links there are.
fn links(dir: &WorkDir) -> usize {
    listing(&dir.path().join("checkpoints")).iter().filter(|name| !name.contains("step-")).count()
}

#[test]
fn a_run_has_the_name_that_it_was_given_and_no_other_afterwards() {
    let dir = epochs(1, &[]);
    let ended =
        Ended::of(dir.command(&["--max-steps", "5"]).env("TRAINER_RUN_ID", "vgg11/320")).check_code(0);
    ended.check_says(&["the run is called `vgg11-320`", "Starting run vgg11-320 in "]);
    dir.finish(&["--max-steps", "9"]).check_says(&["Resuming run vgg11-320: "]);
    let other = dir.run(&["--run-id", "other"]).check_code(4);
    other.check_says(&["this run is called `vgg11-320` and not `other`"]);
    dir.run(&["--run-id", &"x".repeat(65)]).check_code(2).check_says(&["65 characters"]);
    dir.finish(&["--run-id", "vgg11/320", "train.max_steps=\"none\""]);

    let unnamed = epochs(1, &[]);
    unnamed.finish(&["--max-steps", "5"]);
    resume(&unnamed, &["--run-id", "late", "--max-steps", "9"])
        .check_code(0)
        .check_says(&["Resuming run late: "]);
    assert_eq!(unnamed.folded().name.as_deref(), Some("late"));
}

#[test]
fn two_processes_on_one_run_are_refused_whatever_they_call_it() {
    let dir = epochs(400, &[]);
    let mut child = dir.start_until_step(5, &["--run-id", "one"]);
    dir.run(&["--run-id", "two"]).check_code(3);
    resume(&dir, &["--resume", "epoch:1"]).check_code(3);
    dir.run(&["--fresh"]).check_code(3);
    child.kill().unwrap();
    child.wait().unwrap();
}
