//! A run that was disturbed ends as one that was not, bit for bit; and what is damaged is said, never read over.

use crate::networks::cnn_with_dropout;
use crate::work_dir::{Ended, Result, WorkDir};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Child;
use trainer::train::event::Event;
use trainer::train::saved::Saved;
use trainer_runtime::checkpoint::{Kind, Link, Name};
use trainer_runtime::codec;
use trainer_runtime::disk::RealDisk;
use trainer_runtime::journal::{Journal, OpenOptions, read};

/// Three epochs of 45 steps of the builtin convolutional network: about half a second.
const THREE_EPOCHS: [&str; 2] = ["train.batch_size=32", "train.epochs=3"];
const STEPS_PER_EPOCH: u64 = 45;

fn three_epochs(more: &[&str]) -> WorkDir {
    let mut dir = WorkDir::new(&THREE_EPOCHS);
    dir.add(more);
    dir
}

/// What the run comes to when nothing disturbs it.
#[track_caller]
fn undisturbed(more: &[&str]) -> Result {
    let dir = three_epochs(more);
    dir.finish(&[]);
    dir.result()
}

fn send(signal: Signal, child: &Child) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// Kills a run at each of these steps, then lets it end.
#[track_caller]
fn check_killed(steps: &[u64], more: &[&str]) {
    let dir = three_epochs(more);
    for step in steps {
        dir.kill_at_step(*step, &[]);
    }
    dir.finish(&[]).check_says(&["Resuming run ", "ended without a word (killed, or power lost)"]);
    dir.result().check_equals(&undisturbed(more));
}

#[test]
fn a_killed_run_ends_as_an_undisturbed_one() {
    check_killed(&[70], &[]);
}

#[test]
fn a_run_killed_before_its_first_checkpoint_ends_as_an_undisturbed_one() {
    check_killed(&[1], &["optimizer.kind=adam"]);
}

#[test]
fn a_run_killed_four_times_ends_as_an_undisturbed_one() {
    check_killed(&[20, 46, 47, 100], &["optimizer.kind=sgd", "optimizer.momentum=0.9", "--lr", "0.05"]);
}

#[test]
fn a_run_with_two_threads_ends_as_an_undisturbed_one() {
    check_killed(&[60], &["--threads", "2"]);
}

#[test]
fn a_run_that_accumulates_gradients_ends_as_an_undisturbed_one() {
    check_killed(&[60], &["--micro-batch", "12", "train.clip_norm=0.5"]);
}

#[test]
fn a_run_with_a_checkpoint_every_ten_steps_ends_as_an_undisturbed_one() {
    check_killed(&[5, 58], &["checkpoint.every_steps=10"]);
}

#[test]
fn dropout_masks_are_the_same_after_a_resume() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dropout.onnx");
    fs::write(&path, cnn_with_dropout()).unwrap();
    let model = format!("model.onnx={}", path.display());
    let arrays = [r#"data.inputs.images={array="images"}"#, r#"data.targets.y={array="labels"}"#];
    let settings = [&model, "data.builtin=digits", arrays[0], arrays[1], "checkpoint.every_steps=7"];
    check_killed(&[30, 80], &settings);
    let other_seed = undisturbed(&[&settings[..], &["data.shuffle=false", "--seed", "1"]].concat());
    let seed = undisturbed(&[&settings[..], &["data.shuffle=false", "--seed", "2"]].concat());
    assert_ne!(seed.losses, other_seed.losses, "the model has no dropout, nothing was tested");
}

/// A schedule that reduces the rate, and an early stop, both of which remember past epochs.
const WATCHFUL: [&str; 8] = [
    "schedule.kind=reduce_on_plateau",
    "schedule.patience=0",
    "schedule.threshold=0.9",
    "schedule.factor=0.5",
    "train.early_stopping.patience=2",
    "train.early_stopping.min_delta=0.9",
    "train.early_stopping.monitor=train_loss",
    "train.epochs=9",
];

#[test]
fn plateaus_and_early_stopping_are_remembered_over_a_resume() {
    let expected = undisturbed(&WATCHFUL);
    let dir = three_epochs(&WATCHFUL);
    for step in [50, 95, 140] {
        dir.kill_at_step(step, &[]);
    }
    let ended = dir.finish(&[]).check_says(&["stopping early: train_loss did not improve for 2 epochs"]);
    assert!(ended.stdout.starts_with("finished"), "{}", ended.stdout);
    dir.result().check_equals(&expected);
    let rates: Vec<f64> = dir.epochs().iter().map(|epoch| epoch.lr).collect();
    assert!(rates.len() < 9 && rates.last() < rates.get(1), "{rates:?}");
}

/// Stops a run with this signal in the middle of an epoch, and takes it up again.
#[track_caller]
fn check_stopped(signal: Signal, code: i32, name: &str) {
    let dir = three_epochs(&[]);
    let child = dir.start_until_step(60, &[]);
    send(signal, &child);
    let ended = Ended::of_child(child).check_code(code);
    let saved = dir.checkpoints().into_iter().next_back().unwrap();
    assert!(matches!(saved.kind, Kind::Emergency(_)), "{saved}");
    assert_eq!(saved.step, dir.steps().last().unwrap().step, "a step was recorded and not saved");
    ended.check_says(&[&format!("{name}: saved step {}. Run the same command again", saved.step)]);
    let again = dir.finish(&[]);
    again.check_says(&[&format!("was stopped by {name}; no step to be computed again")]);
    dir.result().check_equals(&undisturbed(&[]));
}

#[test]
fn sigterm_saves_the_last_step_and_the_next_process_goes_on() {
    check_stopped(Signal::TERM, 143, "SIGTERM");
}

#[test]
fn sigint_saves_the_last_step_and_the_next_process_goes_on() {
    check_stopped(Signal::INT, 130, "SIGINT");
}

#[test]
fn a_signal_during_validation_is_obeyed_at_once_and_the_validation_repeated() {
    let settings = ["train.eval_batch_size=1"];
    let dir = three_epochs(&settings);
    let mut in_validation = 0;
    for epoch in 1..=3 {
        let child = dir.start_until_step(epoch * STEPS_PER_EPOCH, &[]);
        send(Signal::TERM, &child);
        Ended::of_child(child).check_code(143);
        let checkpoint = dir.store().load_link(Link::Last).unwrap();
        let saved: Saved = codec::decode(checkpoint.state()).unwrap();
        in_validation += u64::from(saved.batch == STEPS_PER_EPOCH);
    }
    assert!(in_validation > 0, "no signal came during validation");
    dir.finish(&[]);
    dir.result().check_equals(&undisturbed(&settings));
}

#[test]
fn sigusr1_saves_and_the_run_goes_on() {
    let dir = three_epochs(&[]);
    let child = dir.start_until_step(20, &[]);
    send(Signal::USR1, &child);
    Ended::of_child(child).check_code(0);
    let saved = dir.events().into_iter().find_map(|event| match event {
        Event::CheckpointDurable(saved) => Some(saved.name),
        _ => None,
    });
    let first: Name = saved.unwrap().parse().unwrap();
    assert!(first.kind == Kind::Step && first.step < STEPS_PER_EPOCH, "{first}");
    dir.result().check_equals(&undisturbed(&[]));
}

#[test]
fn a_time_limit_ends_the_process_with_75_and_the_next_goes_on() {
    let dir = three_epochs(&["--max-time", "0.15"]);
    let mut stops = 0;
    let last = loop {
        let ended = dir.run(&[]);
        if ended.code != Some(75) {
            break ended;
        }
        stops += 1;
        ended.check_says(&["the time is over: saved step", "Run the same command again to go on."]);
        assert!(stops < 200, "the run does not get on");
    };
    last.check_code(0);
    assert!(stops > 0, "the run was over before its time was");
    dir.result().check_equals(&undisturbed(&[]));
}

#[test]
fn a_step_limit_finishes_the_run_and_a_larger_one_goes_on() {
    let settings = ["schedule.kind=constant"];
    let dir = three_epochs(&settings);
    let ended = dir.finish(&["--max-steps", "50"]);
    assert!(ended.stdout.contains("50 steps"), "{}", ended.stdout);
    let nothing = dir.finish(&["--max-steps", "50"]);
    assert!(nothing.stdout.starts_with("nothing to do"), "{}", nothing.stdout);
    assert!(nothing.stdout.contains("--max-steps"), "{}", nothing.stdout);
    dir.finish(&["--max-steps", "100"]);
    assert_eq!(dir.steps().len(), 100);
    dir.finish(&["--max-steps", "1000"]).check_says(&["changed setting: train.max_steps: 100 -> 1000"]);
    dir.result().check_equals(&undisturbed(&settings));
}

/// A run that was killed in its second epoch, with checkpoints every ten steps.
fn killed_with_checkpoints() -> WorkDir {
    let dir = three_epochs(&["checkpoint.every_steps=10"]);
    dir.kill_at_step(75, &[]);
    dir
}

fn flip_byte(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_damaged_checkpoint_is_announced_and_set_aside_and_the_one_before_is_taken() {
    let dir = killed_with_checkpoints();
    let names = dir.checkpoints();
    let [.., older, newest] = names[..] else { panic!("{names:?}") };
    flip_byte(&dir.store().path(newest));
    let aside = format!("{newest}.damaged");
    dir.finish(&[]).check_says(&[
        &dir.store().path(newest).display().to_string(),
        &aside,
        &format!("falling back to {older}"),
        &format!("Resuming run {} from checkpoints/{older} (checksums ok)", run_id(&dir)),
    ]);
    assert!(dir.path().join("checkpoints").join(aside).exists(), "the damaged file was deleted");
    dir.result().check_equals(&undisturbed(&["checkpoint.every_steps=10"]));
}

fn run_id(dir: &WorkDir) -> String {
    let contents = read(&*RealDisk::shared(), &dir.path().join("journal")).unwrap();
    contents.run_id.unwrap().to_string()
}

#[test]
fn a_run_whose_checkpoints_are_all_damaged_is_refused_and_left_alone() {
    let dir = killed_with_checkpoints();
    let names = dir.checkpoints();
    names.iter().for_each(|name| flip_byte(&dir.store().path(*name)));
    let records = dir.events().len();
    let ended = dir.run(&[]).check_code(5).check_says(&["no checkpoint verifies"]);
    for name in &names {
        assert!(ended.stderr.contains(&name.to_string()), "{name} is not in {}", ended.stderr);
    }
    assert_eq!((dir.checkpoints(), dir.events().len()), (names, records));
}

#[test]
fn a_torn_end_of_the_journal_is_announced_and_set_aside() {
    let dir = killed_with_checkpoints();
    let bytes = fs::read(dir.segment()).unwrap();
    fs::write(dir.segment(), &bytes[..bytes.len() - 5]).unwrap();
    let recorded = dir.steps().len();
    dir.finish(&[]).check_says(&["journal: ", "Resuming run"]);
    assert!(dir.steps().len() > recorded);
    dir.result().check_equals(&undisturbed(&["checkpoint.every_steps=10"]));
}

#[test]
fn rubbish_behind_the_last_record_is_announced_and_set_aside() {
    let dir = killed_with_checkpoints();
    let mut segment = fs::OpenOptions::new().append(true).open(dir.segment()).unwrap();
    segment.write_all(&[7; 100]).unwrap();
    drop(segment);
    dir.finish(&[]).check_says(&["journal: "]);
    dir.result().check_equals(&undisturbed(&["checkpoint.every_steps=10"]));
}

#[test]
fn damage_inside_the_journal_is_refused_with_its_place() {
    let dir = killed_with_checkpoints();
    flip_byte(&dir.segment());
    let segment = dir.segment().display().to_string();
    dir.run(&[]).check_code(5).check_says(&[&segment, "is damaged at byte ", "in record "]);
}

#[test]
fn without_a_journal_the_checkpoints_suffice_and_the_loss_of_the_history_is_said() {
    let dir = killed_with_checkpoints();
    fs::remove_dir_all(dir.path().join("journal")).unwrap();
    dir.finish(&[]).check_says(&["the journal is gone and with it the history; going on from checkpoint"]);
    dir.result().check_equals_in_tensors(&undisturbed(&["checkpoint.every_steps=10"]));
}

#[test]
fn without_checkpoints_every_recorded_step_is_computed_again_and_compared() {
    let dir = killed_with_checkpoints();
    remove_checkpoints(&dir);
    let recorded = dir.steps().len();
    let again = format!("{recorded} steps to be computed again and compared with the journal");
    dir.finish(&[]).check_says(&["from the initial weights", &again]);
    dir.result().check_equals(&undisturbed(&["checkpoint.every_steps=10"]));
}

fn remove_checkpoints(dir: &WorkDir) {
    fs::remove_dir_all(dir.path().join("checkpoints")).unwrap();
}

/// Writes the journal anew with another loss for one step, as a machine that computes otherwise would have.
fn change_recorded_loss(dir: &WorkDir, step: u64) {
    let (disk, journal, changed) =
        (RealDisk::shared(), dir.path().join("journal"), dir.path().join("changed"));
    let mut opened = Journal::open(disk, &changed, OpenOptions::default()).unwrap();
    for mut event in dir.events() {
        if let Event::StepDone(done) = &mut event
            && done.step == step
        {
            done.loss_bits += 1;
        }
        let (kind, payload) = event.encode().unwrap();
        opened.journal.append(kind, &payload).unwrap();
    }
    opened.journal.sync().unwrap();
    drop(opened);
    fs::remove_dir_all(&journal).unwrap();
    fs::rename(&changed, &journal).unwrap();
}

#[test]
fn a_step_that_does_not_give_the_recorded_loss_again_stops_the_run() {
    let dir = killed_with_checkpoints();
    remove_checkpoints(&dir);
    change_recorded_loss(&dir, 33);
    for _ in 0..2 {
        dir.run(&[]).check_code(4).check_says(&["step 33, computed again", "the journal recorded"]);
    }
}

#[test]
fn a_changed_recorded_loss_before_the_checkpoint_changes_nothing() {
    let dir = killed_with_checkpoints();
    change_recorded_loss(&dir, 33);
    dir.finish(&[]);
    dir.result().check_equals_in_tensors(&undisturbed(&["checkpoint.every_steps=10"]));
}
