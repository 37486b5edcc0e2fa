//! SIGKILL, and errors of the system, at every system call with which a command goes back to a checkpoint, begins anew or
//! cleans up, and at those of a run that follows.

use super::syscalls::blows;
use super::{Record, Trial, run_all};
use crate::kills::calls::{Effect, Point};
use crate::kills::modes::{all_kept, checkpoints};
use crate::kills::outcome::{check_image, copy_folder};
use crate::kills::tracer::REWRITES;
use crate::kills::{Aim, At, Blow, Struck, calls_of};
use crate::work_dir::WorkDir;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use trainer_runtime::checkpoint::Link;

/// Where a run goes back to: neither the end of an epoch nor near one of the ends.
const BACK_TO: &str = "step:20";

/// A command, and the work directory that it finds.
struct Mode {
    name: &'static str,
    base: WorkDir,
    command: Vec<&'static str>,
    /// Of the calls before training begins each is tried, and of the later ones one in so many; none for 0.
    one_in: usize,
    /// What it comes to when nothing disturbs it.
    expected: Left,
    /// The checkpoints that must be there whatever happens.
    before: BTreeSet<Vec<u8>>,
}

/// What a command leaves.
#[derive(Debug, PartialEq)]
struct Left {
    losses: BTreeMap<u64, u32>,
    final_checkpoint: Vec<u8>,
    model: Vec<u8>,
    /// The folders of branches, which nothing writes into but what moves files there.
    branches: BTreeMap<PathBuf, Vec<u8>>,
    /// The branches that ended, and whether one is only half left behind.
    cuts: (usize, bool),
}

impl Left {
    fn of(dir: &WorkDir) -> Self {
        let history = dir.folded();
        Self {
            losses: history.steps.iter().map(|(step, done)| (*step, done.loss_bits)).collect(),
            final_checkpoint: fs::read(dir.store().link_path(Link::Final)).unwrap(),
            model: fs::read(dir.path().join("model.onnx")).unwrap(),
            branches: in_branches(&dir.path().join("checkpoints")),
            cuts: (history.branches.len(), history.open_cut.is_some()),
        }
    }

    #[track_caller]
    fn check(&self, other: &Self) {
        assert_eq!(self.cuts, other.cuts, "branches");
        assert_eq!(self.losses, other.losses, "losses of the steps");
        let names = |left: &Self| left.branches.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(self), names(other), "the folders of branches");
        assert!(self.branches == other.branches, "a checkpoint of a branch has other bytes");
        assert!(self.final_checkpoint == other.final_checkpoint, "the final checkpoint differs");
        assert!(self.model == other.model, "model.onnx differs");
    }
}

/// The files in the folders of branches.
fn in_branches(checkpoints: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let folders = fs::read_dir(checkpoints).unwrap().map(|entry| entry.unwrap().path());
    let mut found = BTreeMap::new();
    for folder in folders.filter(|path| path.is_dir()) {
        for file in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            let bytes = fs::read(&file).unwrap();
            found.insert(file.strip_prefix(checkpoints).unwrap().to_owned(), bytes);
        }
    }
    found
}

impl Mode {
    fn new(name: &'static str, base: WorkDir, command: &[&'static str], one_in: usize) -> Self {
        let before = checkpoints(&base.path());
        let dir = copy(&base);
        dir.finish(command);
        let expected = Left::of(&dir);
        Self { name, base, command: command.to_vec(), one_in, expected, before }
    }

    /// The command that goes on after a blow. What was asked for once is left out where it is done: the work directory would
    /// be moved aside again, or the new branch be left behind.
    fn again(&self, dir: &WorkDir) -> Vec<&'static str> {
        let is_done = dir.folded().branches.len() > self.base.folded().branches.len();
        match self.command[..] {
            ["--fresh", ..] => Vec::new(),
            ["--resume", _, ref more @ ..] if is_done => more.to_vec(),
            _ => self.command.clone(),
        }
    }

    fn cleans_up(&self) -> bool {
        self.command.contains(&"--keep-only")
    }

    /// The calls that are tried.
    fn calls(&self) -> Vec<(At, Effect)> {
        let calls = calls_of(&copy(&self.base), &self.command);
        let ends = calls.iter().position(|made| is_training(&made.point)).unwrap_or(calls.len());
        let is_tried = |index: usize| index < ends || self.one_in > 0 && index.is_multiple_of(self.one_in);
        let tried = calls.into_iter().enumerate().filter(|(index, _)| is_tried(*index));
        let aimed = tried
            .map(|(_, made)| (At::Nth { thread: made.point.thread, ordinal: made.ordinal }, made.effect));
        aimed.collect()
    }

    /// Strikes once, checks what lies there, gives the command again, and compares.
    fn check(&self, aim: &Aim, record: &Record) {
        let dir = copy(&self.base);
        let Some(Struck { point, ended }) = aim.strike(&dir, &self.command) else {
            return record.count("calls that did not come");
        };
        record.struck(point);
        match (aim.blow, ended.code) {
            (Blow::Fail(_), Some(0)) => record.count("overcome"),
            // Without the right to look, what is to be kept does not verify.
            (Blow::Fail(_), Some(74 | 5)) => record.count("ended with 74"),
            (Blow::Fail(_), _) => panic!("{ended:?}"),
            _ => record.count("kills"),
        }
        record.keep(&dir);
        let there = checkpoints(&dir.path());
        if self.cleans_up() {
            for link in [Link::Final, Link::Best] {
                dir.store().load_link(link).unwrap_or_else(|error| panic!("{error}"));
            }
        } else {
            check_image(&dir.path());
            assert!(there.is_superset(&self.before), "a checkpoint is gone");
        }
        if ended.code != Some(0) {
            dir.finish(&self.again(&dir));
        }
        if self.cleans_up() {
            let kept =
                [Link::Final, Link::Best].map(|link| dir.store().load_link(link).unwrap().meta().name());
            let kept = BTreeSet::from(kept);
            assert!(
                dir.checkpoints().into_iter().all(|name| kept.contains(&name)),
                "{:?}",
                dir.checkpoints()
            );
        } else {
            assert!(checkpoints(&dir.path()).is_superset(&self.before), "a checkpoint is gone");
        }
        self.expected.check(&Left::of(&dir));
        check_no_litter(&dir.path());
    }
}

/// Nothing half done is left.
#[track_caller]
fn check_no_litter(work_dir: &Path) {
    for folder in [work_dir.to_owned(), work_dir.join("checkpoints")] {
        for name in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()) {
            let name = name.to_str().unwrap();
            let is_litter = [".tmp", ".chosen", ".moving"].iter().any(|ending| name.ends_with(ending));
            assert!(!is_litter, "{name} is left behind");
        }
    }
}

/// Whether training has begun: its first act is to write the tables.
fn is_training(point: &Point) -> bool {
    point.path.to_str().is_some_and(|path| path.starts_with("history.csv."))
}

fn copy(base: &WorkDir) -> WorkDir {
    let dir = all_kept();
    copy_folder(&base.path(), &dir.path());
    dir
}

/// A run with every checkpoint that was due: they are written in turn.
fn finished() -> WorkDir {
    let dir = all_kept();
    calls_of(&dir, &[]);
    dir
}

/// A run that was finished, went back with batches of half the size, and was stopped soon after.
fn gone_back() -> WorkDir {
    let dir = finished();
    dir.finish(&["--resume", BACK_TO, "--batch-size", "60", "--max-steps", "30"]);
    dir
}

/// Every mode.
fn modes() -> Vec<Mode> {
    let lr = ["--resume", BACK_TO, "--set", "optimizer.lr=0.05", "--allow-changed", "settings"];
    let old = "checkpoints/branch-1/step-00000040.safetensors";
    let to_old = ["--resume", old, "--allow-changed", "settings", "train.max_steps=\"none\""];
    vec![
        Mode::new("back", finished(), &["--resume", BACK_TO], 0),
        Mode::new("back with another rate", finished(), &lr, 0),
        Mode::new("back with other batches", finished(), &["--resume", BACK_TO, "--batch-size", "60"], 25),
        Mode::new("back to the best", finished(), &["--resume", "best"], 0),
        Mode::new("back to another branch", gone_back(), &to_old, 0),
        Mode::new("on in a new branch", gone_back(), &["--batch-size", "60", "train.max_steps=\"none\""], 25),
        Mode::new("fresh", finished(), &["--fresh"], 0),
        Mode::new("clean", finished(), &["--keep-only", "final,best"], 1),
    ]
}

#[test]
#[ignore = "a campaign: scripts/faults/run.sh modes"]
fn modes_killed() {
    let modes = modes();
    let mut trials = Vec::new();
    for mode in &modes {
        // At a call that only looks, the disk is as behind the one before.
        for (at, effect) in mode.calls().into_iter().filter(|(_, effect)| *effect != Effect::Looks) {
            for blow in blows(effect) {
                let aim = Aim { at: at.clone(), blow: *blow };
                trials.push(Trial::new(format!("{}: {aim}", mode.name), move |record| {
                    mode.check(&aim, record)
                }));
            }
        }
    }
    run_all("modes", trials);
}

#[test]
#[ignore = "a campaign: scripts/faults/run.sh modes"]
fn modes_failing() {
    if !REWRITES {
        return println!("not tested: system calls can not be rewritten on this architecture");
    }
    let modes = modes();
    let mut trials = Vec::new();
    for mode in &modes {
        let changing = mode.calls().into_iter().filter(|(_, effect)| *effect != Effect::Looks);
        for ((at, _), errno) in
            changing.zip([libc::EIO, libc::ENOSPC, libc::EDQUOT, libc::EROFS].into_iter().cycle())
        {
            let aim = Aim { at, blow: Blow::Fail(errno) };
            trials.push(Trial::new(format!("{}: {aim}", mode.name), move |record| mode.check(&aim, record)));
        }
    }
    run_all("modes failing", trials);
}
