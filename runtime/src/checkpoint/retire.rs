//! Which checkpoints are no longer needed: a decision, made without touching any.

use std::collections::BTreeSet;

use super::names::Name;

/// The fewest steps whose checkpoints are kept: if the newest turns out to be damaged, there is another.
pub(super) const MIN_KEEP_LAST: usize = 2;

/// The checkpoints to drop, the oldest first: all but those of the last `keep_last` steps, and the best.
pub(super) fn to_drop(names: &[Name], keep_last: usize, best: Option<Name>) -> Vec<Name> {
    let steps: BTreeSet<u64> = names.iter().map(|name| name.step).collect();
    let kept: BTreeSet<u64> = steps.into_iter().rev().take(keep_last.max(MIN_KEEP_LAST)).collect();
    let mut dropped: Vec<Name> =
        names.iter().copied().filter(|name| !kept.contains(&name.step) && Some(*name) != best).collect();
    dropped.sort_unstable();
    dropped
}

#[cfg(test)]
mod tests {
    use super::to_drop;
    use crate::checkpoint::{EmergencyCause, Kind, Name};

    fn epochs(steps: &[u64]) -> Vec<Name> {
        steps.iter().map(|&step| Name::new(Kind::Epoch, step / 10, step)).collect()
    }

    #[track_caller]
    fn check_dropped(steps: &[u64], keep_last: usize, best: Option<u64>, expected: &[u64]) {
        let best = best.map(|step| Name::new(Kind::Epoch, step / 10, step));
        assert_eq!(to_drop(&epochs(steps), keep_last, best), epochs(expected));
    }

    #[test]
    fn the_last_are_kept_and_the_oldest_are_dropped_first() {
        check_dropped(&[50, 10, 40, 20, 30], 3, None, &[10, 20]);
    }

    #[test]
    fn the_last_two_are_never_dropped() {
        for keep_last in [0, 1, 2] {
            check_dropped(&[10, 20, 30], keep_last, None, &[10]);
        }
    }

    #[test]
    fn the_best_is_never_dropped_and_does_not_count_as_one_of_the_last() {
        check_dropped(&[10, 20, 30, 40], 2, Some(10), &[20]);
    }

    #[test]
    fn nothing_is_dropped_when_there_are_no_more_than_are_kept() {
        check_dropped(&[10, 20, 30], 3, None, &[]);
        check_dropped(&[], 3, None, &[]);
    }

    #[test]
    fn checkpoints_of_one_step_are_kept_or_dropped_together() {
        let emergency = |step| Name::new(Kind::Emergency(EmergencyCause::Error), 1, step);
        let names = [epochs(&[10, 20, 30]), vec![emergency(10), emergency(30)]].concat();
        assert_eq!(to_drop(&names, 2, None), [epochs(&[10]), vec![emergency(10)]].concat());
    }
}
