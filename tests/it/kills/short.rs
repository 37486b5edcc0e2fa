//! The campaigns in small: some forty kills.

use super::outcome::{check_image, copy_folder};
use super::tracer::{Next, Pace, REWRITES, Side, Stop, refusal, trace};
use super::{Aim, At, Blow, Boundary, Effect, Made, STEPS, calls_of, sixty_steps, undisturbed};
use crate::work_dir::{Ended, WorkDir};
use std::process::Stdio;
use std::time::Duration;

/// Whether processes can be traced; says why not.
pub(super) fn can_trace() -> bool {
    let refusal = refusal();
    if let Some(reason) = &refusal {
        println!("not tested: {reason}");
    }
    refusal.is_none()
}

/// This many of the calls with which a run changes its files, evenly spread over it, with each blow in turn.
fn aims(dir: &WorkDir, count: usize) -> Vec<Aim> {
    let mut all = calls_of(dir, &[]);
    all.retain(|made| made.effect != Effect::Looks);
    let distance = all.len() / count;
    let chosen = all.into_iter().step_by(distance).take(count).enumerate();
    let aims = chosen.map(|(index, Made { point, ordinal, effect })| {
        let blow = match (index % 3, effect) {
            (0, _) => Blow::KillBefore,
            (1, Effect::Writes) if REWRITES => Blow::CutAndKill,
            _ => Blow::KillBehind,
        };
        Aim { at: At::Nth { thread: point.thread, ordinal }, blow }
    });
    aims.collect()
}

#[test]
fn a_kill_before_a_call_prevents_it_and_a_kill_behind_it_does_not() {
    if !can_trace() {
        return;
    }
    let lock = |blow| {
        let dir = sixty_steps(&[]);
        let mut all = calls_of(&sixty_steps(&[]), &[]).into_iter().map(|made| made.point);
        let point = all.find(|point| point.path.as_os_str() == "lock" && point.call == "write").unwrap();
        Aim { at: At::Point(point), blow }.strike(&dir, &[]).unwrap();
        dir.read("lock").len()
    };
    let whole = lock(Blow::KillBehind);
    assert!(whole > 0);
    assert_eq!(lock(Blow::KillBefore), 0);
    if REWRITES {
        // Half of it, of a process whose number may have a digit more.
        assert!((1..whole).contains(&lock(Blow::CutAndKill)));
    }
}

#[test]
fn a_run_killed_at_a_storage_call_ends_as_an_undisturbed_one() {
    if !can_trace() {
        return;
    }
    let expected = undisturbed(&[]);
    let aims = aims(&sixty_steps(&[]), 12);
    for aim in &aims {
        let dir = sixty_steps(&[]);
        aim.strike(&dir, &[]).unwrap_or_else(|| panic!("{aim} never came again"));
        check_image(&dir.path());
        dir.finish(&[]);
        expected.check(&dir);
    }
}

/// As a file system over a network may answer it. The standard library panics at a directory's.
#[test]
fn files_and_directories_that_can_not_be_closed_are_no_obstacle() {
    if !can_trace() || !REWRITES {
        return;
    }
    let expected = undisturbed(&[]);
    let mut closed = calls_of(&sixty_steps(&[]), &[]);
    closed.retain(|made| made.point.call == "close");
    for path in ["checkpoints", "journal", "lock"] {
        let of_path = closed.iter().find(|made| made.point.path.as_os_str() == path);
        let point = of_path.unwrap_or_else(|| panic!("{path} is never closed")).point.clone();
        let dir = sixty_steps(&[]);
        let struck = Aim { at: At::Point(point), blow: Blow::Fail(libc::EIO) }.strike(&dir, &[]).unwrap();
        assert_eq!(struck.ended.code, Some(0), "{path}: {:?}", struck.ended);
        expected.check(&dir);
    }
}

#[test]
fn a_log_file_that_fails_is_no_obstacle() {
    if !can_trace() || !REWRITES {
        return;
    }
    let expected = undisturbed(&[]);
    let mut of_log = calls_of(&sixty_steps(&[]), &[]);
    of_log.retain(|made| made.point.path.as_os_str() == "trainer.log" && made.effect != Effect::Looks);
    assert!(of_log.len() > 5, "{of_log:?}");
    // Opening it, the first line, and one in the middle of training.
    for at in [0, 1, of_log.len() / 2] {
        let dir = sixty_steps(&[]);
        let aim = Aim { at: At::Point(of_log[at].point.clone()), blow: Blow::Fail(libc::EIO) };
        let struck = aim.strike(&dir, &[]).unwrap();
        assert_eq!(struck.ended.code, Some(0), "{aim}: {:?}", struck.ended);
        assert_eq!(struck.ended.stderr.matches("trainer.log").count(), 1, "{aim}: {:?}", struck.ended);
        expected.check(&dir);
    }
}

#[test]
fn a_run_killed_while_it_recovers_ends_as_an_undisturbed_one() {
    if !can_trace() {
        return;
    }
    let expected = undisturbed(&[]);
    let killed = sixty_steps(&[]);
    Boundary::Step(35).strike(Side::Behind, Pace::InTurn, &killed);
    let copy = || {
        let dir = sixty_steps(&[]);
        copy_folder(&killed.path(), &dir.path());
        dir
    };
    for aim in aims(&copy(), 24).into_iter().take(8) {
        let dir = copy();
        aim.strike(&dir, &[]).unwrap_or_else(|| panic!("{aim} never came again"));
        check_image(&dir.path());
        dir.finish(&[]);
        expected.check(&dir);
    }
}

#[test]
fn a_run_killed_between_two_steps_ends_as_an_undisturbed_one() {
    if !can_trace() {
        return;
    }
    let momentum = ["optimizer.kind=sgd", "optimizer.momentum=0.9", "--threads", "2"];
    let cases: [(&[&str], &[Boundary]); 2] = [
        (&[], &[Boundary::Step(35), Boundary::Step(12), Boundary::Epoch(1), Boundary::Step(11)]),
        (&momentum, &[Boundary::Step(1), Boundary::Epoch(4), Boundary::Step(STEPS - 1), Boundary::Finished]),
    ];
    for (settings, boundaries) in cases {
        for (index, boundary) in boundaries.iter().enumerate() {
            let dir = sixty_steps(settings);
            let side = if index % 2 == 0 { Side::Behind } else { Side::Before };
            boundary.strike(side, Pace::InTurn, &dir);
            if let (Boundary::Step(step), Side::Behind) = (boundary, side) {
                assert_eq!(check_image(&dir.path()), *step, "the death of the process lost a record");
            }
            dir.finish(&[]);
            undisturbed(settings).check(&dir);
        }
    }
}

/// Needs no tracing. The moments are those of the clock, so each time they are others.
#[test]
fn a_run_killed_again_and_again_ends_as_an_undisturbed_one() {
    let expected = undisturbed(&[]);
    for chain in 0..4_u64 {
        let dir = sixty_steps(&[]);
        for depth in 0..3_u64 {
            let mut command = dir.command(&[]);
            let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            std::thread::sleep(Duration::from_millis((20 + 53 * chain + 31 * depth) % 120));
            child.kill().unwrap();
            Ended::of_child(child);
            check_image(&dir.path());
        }
        dir.finish(&[]);
        expected.check(&dir);
    }
}

#[test]
fn a_slow_disk_does_not_change_which_checkpoint_is_the_final_one() {
    if !can_trace() {
        return;
    }
    let dir = sixty_steps(&[]);
    let (mut is_held, mut is_last_epoch_over) = (false, false);
    // While the first checkpoint is written, that of the fourth epoch waits and, being the best, gives way to none.
    let mut look = |stop: &Stop<'_>| {
        let path = stop.point.path.to_str().unwrap();
        if !is_held && path.starts_with("checkpoints/") && stop.point.call == "fdatasync" {
            is_held = true;
            return Next::Hold;
        }
        is_last_epoch_over |= path == "history.csv" && stop.point.call == "rename" && stop.point.nth == 5;
        // The last call of the main thread before it asks for the checkpoint of the last epoch.
        let is_table_written = is_last_epoch_over && stop.point.call == "close" && stop.side == Side::Behind;
        if is_table_written { Next::Release } else { Next::GoOn }
    };
    trace(&mut dir.command(&[]), &dir.path(), Pace::Free, &mut look).unwrap().check_code(0);
    assert!(is_held, "no checkpoint was held up");
    undisturbed(&[]).check(&dir);
}
