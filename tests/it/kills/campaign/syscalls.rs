//! SIGKILL at every system call with which a run touches its files: before it, behind it, and in the middle of a write;
//! and at every such call of the process that recovers from one of those kills.

use super::{Record, Trial, run_all};
use crate::kills::calls::{Effect, Point};
use crate::kills::outcome::{check_image, copy_folder};
use crate::kills::tracer::REWRITES;
use crate::kills::{Aim, At, Blow, Made, calls_of, sixty_steps, undisturbed};
use crate::work_dir::WorkDir;
use std::path::Path;

/// The blows that differ from each other at this call. Behind one that only looks, the disk is as before it.
pub(super) fn blows(effect: Effect) -> &'static [Blow] {
    match effect {
        Effect::Looks => &[Blow::KillBefore],
        Effect::Writes if REWRITES => &[Blow::KillBefore, Blow::CutAndKill, Blow::KillBehind],
        Effect::Changes | Effect::Writes => &[Blow::KillBefore, Blow::KillBehind],
    }
}

/// Every blow at every call.
fn aims(calls: impl IntoIterator<Item = Made>) -> Vec<Aim> {
    let aims = calls.into_iter().flat_map(|Made { point, ordinal, effect }| {
        let at = At::Nth { thread: point.thread, ordinal };
        blows(effect).iter().map(move |blow| Aim { at: at.clone(), blow: *blow })
    });
    aims.collect()
}

/// Strikes once, checks what lies there, lets the run end, and compares.
fn check(aim: &Aim, image: Option<&Path>, record: &Record) {
    let dir = sixty_steps(&[]);
    if let Some(image) = image {
        copy_folder(image, &dir.path());
    }
    match aim.strike(&dir, &[]) {
        Some(struck) => {
            record.count("kills");
            record.struck(struck.point);
            record.keep(&dir);
            check_image(&dir.path());
            dir.finish(&[]);
        }
        None => record.count("that came too late"),
    }
    undisturbed(&[]).check(&dir);
}

#[test]
#[ignore = "a campaign: scripts/faults/run.sh syscalls"]
fn syscalls() {
    let calls = calls_of(&sixty_steps(&[]), &[]);
    println!("syscalls: a run makes {} storage calls", calls.len());
    let trial = |aim: Aim| Trial::new(aim.to_string(), move |record| check(&aim, None, record));
    run_all("syscalls", aims(calls).into_iter().map(trial).collect());
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
    for _ in 0..20 {
        let found: Vec<Point> =
            calls_of(&sixty_steps(&[]), &[]).into_iter().map(|made| made.point).filter(is_it).collect();
        let dir = sixty_steps(&[]);
        let at = found.get(found.len() / 2).cloned().map(At::Point);
        if at.is_some_and(|at| Aim { at, blow }.strike(&dir, &[]).is_some()) {
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
    for ((blow, call, start, end), image) in IMAGES.into_iter().zip(&images) {
        let dir = sixty_steps(&[]);
        copy_folder(&image.path(), &dir.path());
        let aims = aims(calls_of(&dir, &[]).into_iter().take_while(|made| !is_new_checkpoint(&made.point)));
        for aim in aims {
            let name = format!("after {blow:?} {call} {start}{end}: {aim}");
            trials.push(Trial::new(name, move |record| check(&aim, Some(&image.path()), record)));
        }
    }
    run_all("recovery", trials);
}

/// Whether the recovery is over, and the run goes on as the other campaign has it.
fn is_new_checkpoint(point: &Point) -> bool {
    let is_temporary = point.path.extension().is_some_and(|ending| ending == "tmp");
    is_temporary && point.thread.starts_with("checkpoint")
}
