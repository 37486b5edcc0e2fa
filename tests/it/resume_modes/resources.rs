//! Runs that go on longer, elsewhere, or in other batches.

use super::{epochs, resume, stop_at};
use trainer::train::event::Event;

#[test]
fn threads_that_are_asked_for_on_a_resume_are_taken_said_and_recorded() {
    let dir = epochs(2, &["train.max_steps=10"]);
    dir.finish(&[]);
    let ended = resume(&dir, &["--threads", "2", "--max-steps", "15"]).check_code(0);
    ended.check_says(&["changed setting: threads: 1 -> 2", "accepted change: threads: was 1, is 2"]);
    let environment = dir.folded().environment.unwrap();
    assert_eq!((environment.threads, dir.steps().len()), (2, 15));
    // What is not a resource binds as ever, and a rerun of `trainer run` is held to its threads.
    let set = ["--set", "optimizer.lr=0.5", "--max-steps", "20"];
    resume(&dir, &set).check_code(4).check_says(&["optimizer.lr: 0.003 -> 0.5", "--allow-changed settings"]);
    dir.run(&["--max-steps", "20"]).check_code(4).check_says(&["threads: 2 -> 1"]);
}

#[test]
fn a_smaller_batch_goes_on_with_the_rest_of_the_epoch_and_is_said_and_recorded() {
    let dir = epochs(2, &[]);
    dir.finish(&["--max-steps", "30"]);
    // 1438 training examples, 64 in a batch before and 16 now: 90 batches.
    dir.finish(&["--batch-size", "16", "train.max_steps=\"none\""]).check_says(&[
        "changed setting: train.batch_size: 64 -> 16",
        "epoch 2, step 30 (batch 28 of 90)",
        "schedule (cosine): spread over the whole run, which has 180 steps now and had 46",
    ]);
    let changed = |event: &Event| matches!(event, Event::PlanChanged(changed) if changed.changes.iter().any(|line| line.contains("batch_size")));
    assert!(dir.events().iter().any(changed));
    assert_eq!(dir.folded().last_step(), 30 + 90 - 28);
}

#[test]
fn a_process_that_dies_after_the_batch_changed_leaves_a_position_that_the_next_one_understands() {
    let dir = epochs(3, &["checkpoint.every_epochs=99"]);
    stop_at(&dir, 30, &[]);
    let saved = dir.checkpoints().pop().unwrap().step;
    dir.kill_at_step(saved + 20, &["--batch-size", "16"]);
    assert_eq!(dir.checkpoints().pop().unwrap().step, saved, "a checkpoint has batches of the new size");
    dir.finish(&[]).check_says(&["to compute again and to compare with the journal"]);
    let undisturbed = epochs(3, &["checkpoint.every_epochs=99"]);
    undisturbed.finish(&["--max-steps", &saved.to_string()]);
    undisturbed.finish(&["--batch-size", "16", "train.max_steps=\"none\""]);
    dir.result().check_trained_alike(undisturbed.result());
}

#[test]
fn more_epochs_for_a_finished_run_say_what_becomes_of_the_schedule() {
    let dir = epochs(2, &[]);
    dir.finish(&[]);
    let longer = resume(&dir, &["--epochs", "3"]).check_code(0);
    longer.check_says(&[
        "changed setting: train.epochs: 2 -> 3",
        "schedule (cosine): spread over the whole run, which has 69 steps now and had 46: step 47 has the learning rate ",
    ]);
    let constant = epochs(1, &["schedule.kind=constant", "schedule.warmup_steps=0", "--lr", "0.001"]);
    constant.finish(&[]);
    let words = "schedule (constant): does not depend on the length of the run: step 24 has the learning rate 1.000e-3";
    constant.finish(&["--epochs", "2"]).check_says(&[words]);
}

#[test]
fn validation_every_so_many_epochs_leaves_the_others_without_values_and_trains_alike() {
    let every = epochs(5, &[]);
    every.finish(&[]);
    let dir = epochs(5, &["--eval-every", "2"]);
    dir.finish(&[]);
    let validated: Vec<bool> = dir.epochs().iter().map(|epoch| !epoch.validation.is_empty()).collect();
    assert_eq!(validated, [false, true, false, true, true]);
    assert!(dir.epochs().iter().all(|epoch| !epoch.is_best || !epoch.validation.is_empty()));
    let losses =
        |dir: &crate::work_dir::WorkDir| dir.steps().iter().map(|step| step.loss_bits).collect::<Vec<_>>();
    assert_eq!(losses(&dir), losses(&every));
    for (found, expected) in dir.epochs().iter().zip(every.epochs()) {
        assert!(found.validation.is_empty() || found.validation == expected.validation);
    }
    let csv = dir.read("history.csv");
    assert!(csv.lines().nth(1).unwrap().contains(",,"), "{csv}");
}
