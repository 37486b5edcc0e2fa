//! Kills while a run goes back to a checkpoint, or is moved aside: the next process finishes what was begun, and no file is
//! lost at any moment.

use super::outcome::copy_folder;
use super::short::can_trace;
use super::tracer::{Next, Pace, Side, Stop, trace};
use super::{Effect, sixty_steps};
use crate::work_dir::{Ended, WorkDir};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use trainer_runtime::checkpoint::Link;

/// How many kills are spread over what a command does before it trains.
const KILLS: usize = 12;

/// A folder for a run of sixty steps that drops no checkpoint.
pub(super) fn all_kept() -> WorkDir {
    sixty_steps(&["checkpoint.keep_last=99"])
}

/// The bytes of all checkpoints in a folder and in those in it.
pub(super) fn checkpoints(folder: &Path) -> BTreeSet<Vec<u8>> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            found.append(&mut checkpoints(&path));
        } else if path.extension().is_some_and(|extension| extension == "safetensors") {
            found.insert(fs::read(&path).unwrap());
        }
    }
    found
}

/// Whether training has begun: its first act is to write the tables.
fn is_training(stop: &Stop<'_>) -> bool {
    stop.point.path.to_str().is_some_and(|path| path.starts_with("history.csv."))
}

/// Runs the command on a copy and kills it at the Nth call with which it changes files, if it makes so many before it
/// trains.
#[track_caller]
fn killed_at(base: &WorkDir, more: &[&str], nth: usize) -> (WorkDir, Option<Ended>) {
    let dir = all_kept();
    copy_folder(&base.path(), &dir.path());
    let (mut made, mut is_over) = (0, false);
    let mut look = |stop: &Stop<'_>| {
        is_over |= is_training(stop);
        let side = if nth.is_multiple_of(2) { Side::Before } else { Side::Behind };
        if is_over || stop.effect == Effect::Looks || stop.side != side {
            return Next::GoOn;
        }
        made += 1;
        if made > nth { Next::Kill } else { Next::GoOn }
    };
    let ended = trace(&mut dir.command(more), &dir.path(), Pace::InTurn, &mut look).unwrap();
    let is_killed = ended.killed_by == Some(9);
    (dir, is_killed.then_some(ended))
}

/// Kills the command at calls spread over its beginning, and calls `check` with what each leaves.
#[track_caller]
fn check_killed(base: &WorkDir, more: &[&str], check: impl Fn(&WorkDir, &BTreeSet<Vec<u8>>)) {
    if !can_trace() {
        return;
    }
    let before = checkpoints(&base.path());
    let mut last = 64;
    while killed_at(base, more, last).1.is_none() {
        last = last * 3 / 4;
        assert!(last > 0, "the command changes nothing before it trains");
    }
    for kill in 0..KILLS {
        let nth = kill * last / (KILLS - 1);
        let (dir, killed) = killed_at(base, more, nth);
        assert!(killed.is_some(), "call {nth} never came again");
        assert!(checkpoints(&dir.path()).is_superset(&before), "a checkpoint is gone after call {nth}");
        check(&dir, &before);
    }
}

#[test]
fn a_run_killed_while_it_goes_back_to_a_checkpoint_ends_as_it_did_and_keeps_every_file() {
    let base = all_kept();
    base.finish(&[]);
    let steps: Vec<u64> = base.checkpoints().iter().map(|name| name.step).collect();
    let end = base.store().load_link(Link::Final).unwrap().meta().step;
    let earlier = steps.into_iter().find(|step| *step < end).unwrap();
    let losses = base.result().losses;
    check_killed(&base, &["--resume", &format!("step:{earlier}")], |dir, before| {
        // Whether the cut was recorded or not, the run has one history, which is that of the steps.
        dir.finish(&[]);
        let folded = dir.folded();
        let found = folded.steps.iter().map(|(step, done)| (*step, done.loss_bits));
        assert!(found.eq(losses.iter().map(|(step, bits)| (*step, *bits))));
        assert!(folded.branches.len() <= 1 && folded.open_cut.is_none());
        assert!(checkpoints(&dir.path()).is_superset(before), "a checkpoint is gone");
        let names = fs::read_dir(dir.path().join("checkpoints")).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        assert!(names.into_iter().all(|name| !name.ends_with(".chosen") && !name.ends_with(".tmp")));
        let left_behind = dir.path().join("checkpoints/branch-1");
        let twice = fs::read_dir(left_behind).into_iter().flatten().filter_map(Result::ok);
        assert!(
            twice.map(|entry| entry.file_name()).all(|name| !name.to_str().unwrap().ends_with("-2")),
            "a link that was made for the new branch is among those of the old one"
        );
    });
}

#[test]
fn a_run_killed_while_it_is_moved_aside_is_found_whole_in_one_place() {
    let base = all_kept();
    base.finish(&[]);
    check_killed(&base, &["--fresh"], |dir, before| {
        dir.finish(&[]);
        let asides = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let asides: Vec<String> = asides
            .map(|name| name.into_string().unwrap())
            .filter(|name| name.starts_with("before-"))
            .collect();
        let place = match &asides[..] {
            [] => dir.path(),
            [aside] => dir.path().join(aside),
            many => panic!("{many:?}"),
        };
        assert!(!place.to_str().unwrap().ends_with(".moving"));
        assert!(checkpoints(&place.join("checkpoints")).is_superset(before));
        let moved = WorkDir::new(&[]);
        copy_folder(&place, &moved.path());
        assert!(moved.folded().finished.is_some() && moved.path().join("model.onnx").is_file());
    });
}
