//! Pictures of a run: `trainer plot`, `trainer report`, and the readings of the clock that they need.

use crate::work_dir::{Ended, WorkDir};
use rustix::process::{Pid, Signal, kill_process};
use trainer::train::history::AttemptSample;

/// Three epochs of 23 steps on the digits, stopped by a signal after step 30 and taken up again.
fn interrupted() -> WorkDir {
    let dir = WorkDir::new(&["model.builtin=mlp", "--epochs", "3", "schedule.kind=constant"]);
    let child = dir.start_until_step(30, &[]);
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    Ended::of_child(child).check_code(143);
    dir.finish(&[]);
    dir
}

#[test]
fn the_clock_is_recorded_where_an_attempt_begins_and_ends_and_after_each_epoch() {
    let dir = interrupted();
    let samples = dir.folded().samples;
    let of_attempt = |attempt| -> Vec<AttemptSample> {
        samples.iter().copied().filter(|sample| sample.attempt == attempt).collect()
    };
    let (first, second) = (of_attempt(1), of_attempt(2));
    let steps = |samples: &[AttemptSample]| samples.iter().map(|sample| sample.step).collect::<Vec<_>>();
    let stopped_at = first.last().unwrap().step;
    assert!((30..69).contains(&stopped_at), "{stopped_at}");
    let ends = |from: u64, to: u64| [23, 46, 69].into_iter().filter(move |end| (from..=to).contains(end));
    let expected = |from: u64, to: u64| -> Vec<u64> {
        [from].into_iter().chain(ends(from + 1, to)).chain([to]).collect()
    };
    assert_eq!(steps(&first), expected(0, stopped_at));
    assert_eq!(steps(&second), expected(stopped_at, 69));
    assert!(samples.is_sorted_by_key(|sample| sample.unix_ms), "{samples:?}");
    assert!(samples.iter().all(|sample| sample.resident_bytes > 1 << 20), "{samples:?}");
    assert!(samples[0].unix_ms > 1_700_000_000_000, "{samples:?}");
}
