//! Work directories from which something is gone, or in which something is not what it was.

use super::{killed_within, three_epochs, undisturbed};
use crate::data_files::{npy_f32, npy_i64, npz};
use crate::work_dir::WorkDir;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use trainer::train::event::{Event, HistoryLost};
use trainer_runtime::checkpoint::Link;
use trainer_runtime::disk::RealDisk;
use trainer_runtime::journal::read;

/// A run that was killed in its second epoch, with checkpoints every ten steps.
pub(super) fn killed_with_checkpoints() -> WorkDir {
    killed_within(&["checkpoint.every_steps=10"], 65..=89)
}

/// Records another loss for a step, as a machine that computes otherwise would have.
fn change_recorded_loss(dir: &WorkDir, step: u64) {
    dir.rewrite_journal(|mut event| {
        if let Event::StepDone(done) = &mut event
            && done.step == step
        {
            done.loss_bits += 1;
        }
        Some(event)
    });
}

fn flip_byte(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_link_to_the_best_checkpoint_that_was_never_made_is_made_on_resume() {
    // At this rate nothing changes, so the first epoch stays the best.
    let dir = WorkDir::new(&[
        "model.builtin=mlp",
        "optimizer.lr=1e-30",
        "schedule.kind=constant",
        "train.epochs=2",
    ]);
    dir.finish(&[]);
    let first = dir.checkpoints()[0];
    let best = dir.store().link_path(Link::Best);
    fs::remove_file(&best).unwrap();
    dir.finish(&["train.epochs=3"]);
    let inode = |path: &Path| fs::metadata(path).unwrap().ino();
    assert_eq!(inode(&best), inode(&dir.store().path(first)));
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
        "failed its checksum in tensor \"",
        &format!("falling back to {older}"),
        &format!("Resuming run r-{}: epoch ", &run_id(&dir)[..4]),
        &format!(" from checkpoints/{older} (checksums ok)"),
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
    let id = run_id(&dir);
    fs::remove_dir_all(dir.path().join("journal")).unwrap();
    let newest = dir.checkpoints().pop().unwrap();
    let lost = format!("the journal is gone and with it the history up to step {}", newest.step);
    dir.finish(&[]).check_says(&[&lost, &format!("going on from checkpoint {newest}")]);
    let told = HistoryLost { run_id: id, checkpoint: newest.to_string(), step: newest.step };
    assert_eq!(dir.events().first(), Some(&Event::HistoryLost(told)));
    dir.result().check_equals_in_tensors(&undisturbed(&["checkpoint.every_steps=10"]));
}

#[test]
fn without_checkpoints_every_recorded_step_is_computed_again_and_compared() {
    let dir = killed_with_checkpoints();
    remove_checkpoints(&dir);
    // How many had been written by then depends on the disk.
    let (recorded, told) = (dir.steps().len(), dir.folded().checkpoints.len());
    let told = format!("the journal tells of {told} checkpoints");
    let again =
        format!("{recorded} steps to compute again and to compare with the journal, which takes about ");
    let gone = "and none is there: the run is computed again from step 0";
    dir.finish(&[]).check_says(&[&told, gone, "from the initial weights", &again]);
    dir.result().check_equals(&undisturbed(&["checkpoint.every_steps=10"]));
}

pub(super) fn remove_checkpoints(dir: &WorkDir) {
    fs::remove_dir_all(dir.path().join("checkpoints")).unwrap();
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
fn a_checkpoint_of_another_run_is_refused() {
    let dir = killed_with_checkpoints();
    let other = three_epochs(&["--seed", "9"]);
    other.finish(&[]);
    let foreign = other.checkpoints().pop().unwrap();
    fs::copy(other.store().path(foreign), dir.store().path(foreign)).unwrap();
    let words = [&format!("checkpoint {foreign} is of run {}", run_id(&other)), &run_id(&dir)];
    dir.run(&[]).check_code(4).check_says(&words.map(String::as_str));
    fs::remove_file(dir.store().path(foreign)).unwrap();
    dir.finish(&[]);
    dir.result().check_equals(&undisturbed(&["checkpoint.every_steps=10"]));
}

#[test]
fn without_a_journal_other_settings_are_refused_and_the_new_journal_carries_on() {
    let dir = killed_with_checkpoints();
    fs::remove_dir_all(dir.path().join("journal")).unwrap();
    dir.run(&["--seed", "9"]).check_code(4).check_says(&["the journal is gone", "other settings"]);
    let step = dir.checkpoints().pop().unwrap().step;
    dir.kill_at_step(step + 1, &["checkpoint.every_steps=1000"]);
    dir.finish(&["checkpoint.every_steps=10"]).check_says(&["Resuming run"]);
    dir.result().check_equals_in_tensors(&undisturbed(&["checkpoint.every_steps=10"]));
}

#[test]
fn a_process_that_died_before_it_said_that_it_finished_is_made_up_for() {
    let dir = three_epochs(&[]);
    dir.finish(&[]);
    let (result, model) = (dir.result(), fs::read(dir.path().join("model.onnx")).unwrap());
    dir.rewrite_journal(|event| (!matches!(event, Event::Finished(_))).then_some(event));
    dir.finish(&[]).check_says(&["step 135 (all 3 epochs done) from checkpoints/"]);
    dir.result().check_equals(&result);
    fs::remove_file(dir.path().join("model.onnx")).unwrap();
    assert!(dir.finish(&[]).stdout.starts_with("finished: 3 epochs"));
    assert_eq!(fs::read(dir.path().join("model.onnx")).unwrap(), model);
    assert!(dir.finish(&[]).stdout.starts_with("nothing to do"));
}

#[test]
fn without_journal_and_checkpoints_the_run_begins_with_the_settings_that_are_left_and_says_so() {
    let dir = killed_with_checkpoints();
    remove_checkpoints(&dir);
    fs::remove_dir_all(dir.path().join("journal")).unwrap();
    dir.finish(&[])
        .check_says(&["trainer.toml is there, a journal or checkpoints are not", "begins at step 0"]);
    dir.result().check_equals(&undisturbed(&["checkpoint.every_steps=10"]));
}

#[test]
fn where_only_the_last_link_is_left_the_run_goes_on_from_it() {
    let dir = killed_with_checkpoints();
    let newest = dir.checkpoints().pop().unwrap();
    dir.checkpoints().iter().for_each(|name| fs::remove_file(dir.store().path(*name)).unwrap());
    dir.finish(&[]).check_says(&[&format!("from checkpoints/{newest} (checksums ok)")]);
    dir.result().check_equals(&undisturbed(&["checkpoint.every_steps=10"]));
}

#[test]
fn a_step_that_does_not_give_the_recorded_parameters_again_stops_the_run() {
    let dir = killed_within(&["checkpoint.digest_every_steps=10"], 40..=44);
    dir.rewrite_journal(|mut event| {
        if let Event::StepDone(done) = &mut event
            && done.step == 30
        {
            done.digest = done.digest.map(|digest| digest ^ 1);
        }
        Some(event)
    });
    let words = ["step 30, computed again", "gave parameters with the digest ", "the journal recorded"];
    dir.run(&[]).check_code(4).check_says(&words);
    let digested = |event: &Event| matches!(event, Event::StepDone(done) if done.digest.is_some());
    assert_eq!(dir.events().into_iter().filter(digested).count(), 4);
}

#[test]
fn a_loss_scale_that_is_not_the_recorded_one_stops_the_run() {
    let scale = ["train.loss_scale.initial=128", "train.loss_scale.growth_steps=10"];
    let dir = killed_within(&["train.precision=f16", scale[0], scale[1]], 40..=44);
    dir.rewrite_journal(|mut event| {
        if let Event::LossScaleChanged(changed) = &mut event
            && changed.from == 256.0
        {
            changed.to = 1024.0;
        }
        Some(event)
    });
    let words = ["step 20, computed again", "gave a loss scale of 512 where the journal recorded 1024"];
    dir.run(&[]).check_code(4).check_says(&words);
}

/// Removes the record of the end and every checkpoint, so that all is computed again.
fn forget_the_end(dir: &WorkDir) {
    dir.rewrite_journal(|event| (!matches!(event, Event::Finished(_))).then_some(event));
    remove_checkpoints(dir);
}

#[test]
fn batches_left_out_and_an_early_stop_are_recorded_once_however_often_they_are_computed() {
    let dir = WorkDir::new(&["model.builtin=mlp", "train.batch_size=2", "train.epochs=9", "--lr", "1e-6"]);
    // The product of the last two with any weight is beyond 32 bits.
    let x = npy_f32(&[4, 2], &[0., 1., 1., 0., 2., 1., f32::MAX, f32::MAX]);
    let file = dir.write("huge.npz", npz(&[("x", x), ("y", npy_i64(&[0, 1, 1, 0]))]));
    let early = ["train.early_stopping.patience=2", "train.early_stopping.min_delta=9"];
    let settings = [
        &format!("data.train={file}"),
        "data.inputs.x={array=\"x\"}",
        "data.targets.y={array=\"y\"}",
        early[0],
        early[1],
    ];
    dir.finish(&settings).check_says(&["was left out", "stopping early"]);
    let recorded = || {
        let is_it = |event: &Event| matches!(event, Event::StepRefused(_) | Event::EarlyStopped(_));
        dir.events().into_iter().filter(is_it).count()
    };
    let once = recorded();
    assert!(once > 3, "nothing was left out");
    forget_the_end(&dir);
    dir.finish(&[]).check_says(&["was left out", "stopping early"]);
    assert_eq!(recorded(), once);
}
