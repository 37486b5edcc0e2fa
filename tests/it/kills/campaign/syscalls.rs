//! SIGKILL at every system call with which a run touches its files: before it, behind it, and in the middle of a write;
//! and at every such call of the process that recovers from one of those kills.

use super::{Trial, run_all};
use crate::kills::calls::{Effect, Point};
use crate::kills::outcome::{check_image, copy_folder};
use crate::kills::tracer::REWRITES;
use crate::kills::{Aim, Blow, points, sixty_steps, undisturbed};
use crate::work_dir::WorkDir;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// How often a trial is repeated if the run did not come to the point: what a thread does first depends on the machine.
const ATTEMPTS: u64 = 8;

/// The blows that differ from each other at this point. Behind a call that only looks, the disk is as before it.
fn blows(effect: Effect) -> Vec<Blow> {
    match effect {
        Effect::Looks => vec![Blow::KillBefore],
        Effect::Changes => vec![Blow::KillBefore, Blow::KillBehind],
        Effect::Writes if REWRITES => vec![Blow::KillBefore, Blow::CutAndKill, Blow::KillBehind],
        Effect::Writes => vec![Blow::KillBefore, Blow::KillBehind],
    }
}

fn aims(points: BTreeMap<Point, Effect>) -> Vec<Aim> {
    let aim = |(point, effect): (Point, Effect)| {
        blows(effect).into_iter().map(move |blow| Aim { point: point.clone(), blow })
    };
    points.into_iter().flat_map(aim).collect()
}

/// Strikes once, checks what lies there, lets the run end, and compares.
fn check(aim: &Aim, image: Option<&Path>, record: &super::Record) {
    for _ in 0..ATTEMPTS {
        let dir = sixty_steps(&[]);
        if let Some(image) = image {
            copy_folder(image, &dir.path());
        }
        if aim.strike(&dir).is_some() {
            record.count("kills");
            record.keep(&dir);
            check_image(&dir.path());
            dir.finish(&[]);
            undisturbed(&[]).check(&dir);
            return;
        }
    }
    record.count("points that never came again");
}

/// Says how many points there are, by call.
fn print_points(what: &str, aims: &[Aim]) {
    let mut by_call: BTreeMap<&str, BTreeSet<&Point>> = BTreeMap::new();
    for aim in aims {
        by_call.entry(aim.point.call).or_default().insert(&aim.point);
    }
    let total: usize = by_call.values().map(BTreeSet::len).sum();
    let each: Vec<String> = by_call.iter().map(|(call, points)| format!("{call} {}", points.len())).collect();
    println!("{what}: {total} points ({})", each.join(", "));
}

#[test]
#[ignore = "a campaign: scripts/faults/run.sh syscalls"]
fn syscalls() {
    // Which checkpoints are written depends on how fast they are, so three runs are asked where they come to.
    let all: BTreeMap<Point, Effect> = (0..3).flat_map(|_| points(&sixty_steps(&[]))).collect();
    let aims = aims(all);
    print_points("syscalls", &aims);
    let trial = |aim: Aim| Trial::new(aim.to_string(), move |record| check(&aim, None, record));
    run_all("syscalls", aims.into_iter().map(trial).collect());
}

/// The kills from which every step of a recovery is tried: this blow, at the middle one of the times that a run makes this
/// call on a file whose path begins and ends so.
const IMAGES: [(Blow, &str, &str, &str); 12] = [
    (Blow::KillBehind, "mkdir", "journal", ""),
    (Blow::CutAndKill, "write", "journal", ".wal.tmp"),
    (Blow::KillBefore, "rename", "trainer.toml", ""),
    (Blow::CutAndKill, "write", "journal", ".wal"),
    (Blow::KillBefore, "fdatasync", "checkpoints/step-", ".tmp"),
    (Blow::CutAndKill, "write", "checkpoints/step-", ".tmp"),
    (Blow::KillBehind, "rename", "checkpoints/step-", ".safetensors"),
    (Blow::KillBehind, "rename", "checkpoints/epoch-", ".safetensors"),
    (Blow::KillBehind, "linkat", "checkpoints/last", ".tmp"),
    (Blow::KillBehind, "linkat", "checkpoints/best", ".tmp"),
    (Blow::KillBehind, "unlink", "checkpoints/step-", ".safetensors"),
    (Blow::KillBefore, "rename", "model.onnx", ""),
];

/// The files of a run that was killed so.
fn killed(blow: Blow, call: &str, beginning: &str, ending: &str) -> WorkDir {
    let is_it = |point: &Point| {
        let path = point.path.to_str().unwrap();
        point.call == call && path.starts_with(beginning) && path.ends_with(ending)
    };
    // The checkpoint may give way to a newer one in the run that is to be killed; another is asked then.
    for _ in 0..ATTEMPTS {
        let found: Vec<Point> =
            points(&sixty_steps(&[])).into_iter().map(|(point, _)| point).filter(is_it).collect();
        let dir = sixty_steps(&[]);
        let point = found.get(found.len() / 2).cloned();
        if point.is_some_and(|point| Aim { point, blow }.strike(&dir).is_some()) {
            return dir;
        }
    }
    panic!("no run came to {call} of {beginning}...{ending}");
}

#[test]
#[ignore = "a campaign: scripts/faults/run.sh recovery"]
fn recovery() {
    let images: Vec<WorkDir> =
        IMAGES.into_iter().map(|(blow, call, start, end)| killed(blow, call, start, end)).collect();
    let mut trials = Vec::new();
    let mut all_aims = Vec::new();
    for ((blow, call, start, end), image) in IMAGES.into_iter().zip(&images) {
        let dir = sixty_steps(&[]);
        copy_folder(&image.path(), &dir.path());
        let aims =
            aims(points(&dir).into_iter().take_while(|(point, _)| !is_new_checkpoint(point)).collect());
        for aim in aims {
            let name = format!("after {blow:?} {call} {start}{end}: {aim}");
            all_aims.push(aim.clone());
            trials.push(Trial::new(name, move |record| check(&aim, Some(&image.path()), record)));
        }
    }
    print_points("recovery", &all_aims);
    run_all("recovery", trials);
}

/// Whether the recovery is over, and the run goes on as the other campaign has it.
fn is_new_checkpoint(point: &Point) -> bool {
    let path = point.path.to_string_lossy();
    point.call == "rename" && point.thread.starts_with("checkpoint") && path.ends_with(".safetensors")
}
