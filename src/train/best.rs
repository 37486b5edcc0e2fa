//! Which of two results is better, and the best one so far.

pub use super::best_epoch::Best;
use crate::config::Metric;

/// Which way a watched value improves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Losses and errors.
    LowerIsBetter,
    /// Accuracies.
    HigherIsBetter,
}

impl Direction {
    /// The direction of a column of `history.csv`: losses, `val_mae` and `val_perplexity` are better when lower, the other
    /// metrics when higher. `None` for any other name.
    #[must_use]
    pub fn of(monitor: &str) -> Option<Self> {
        if matches!(monitor, "train_loss" | "val_loss") {
            return Some(Self::LowerIsBetter);
        }
        let metric = Metric::parse(monitor.strip_prefix("val_")?)?;
        Some(if metric.higher_is_better() { Self::HigherIsBetter } else { Self::LowerIsBetter })
    }

    /// Whether `value` improves on `best` by more than `min_delta`, which is not negative. A NaN improves on nothing.
    #[must_use]
    pub fn improves(self, value: f64, best: f64, min_delta: f64) -> bool {
        match self {
            Self::LowerIsBetter => value < best - min_delta,
            Self::HigherIsBetter => value > best + min_delta,
        }
    }
}

impl Best {
    /// Takes note of `candidate` and tells whether it is the new best: the first that is a number, or one strictly
    /// better than the best so far. Of equals the earliest stays.
    pub fn observe(best: &mut Option<Self>, candidate: Self, direction: Direction) -> bool {
        let better = match best {
            None => !candidate.value.is_nan(),
            Some(best) => direction.improves(candidate.value, best.value, 0.0),
        };
        if better {
            *best = Some(candidate);
        }
        better
    }
}

#[cfg(test)]
mod tests {
    use super::{Best, Direction};

    #[test]
    fn every_column_a_run_can_watch_has_its_direction_and_no_other_name_has() {
        for lower in ["train_loss", "val_loss", "val_mae", "val_perplexity"] {
            assert_eq!(Direction::of(lower), Some(Direction::LowerIsBetter), "{lower}");
        }
        for higher in
            ["val_accuracy", "val_top1", "val_top10", "val_f1", "val_recall_micro", "val_auroc", "val_r2"]
        {
            assert_eq!(Direction::of(higher), Some(Direction::HigherIsBetter), "{higher}");
        }
        for unknown in ["", "loss", "val_top", "val_top0", "val_top05", "val_top+5", "val_topk", "seconds"] {
            assert_eq!(Direction::of(unknown), None, "{unknown}");
        }
    }

    #[track_caller]
    fn check_best(direction: Direction, values: &[f64], expected: Option<(f64, u64)>) {
        let mut best = None;
        for (value, epoch) in values.iter().zip(1..) {
            Best::observe(&mut best, Best { value: *value, epoch, step: epoch * 10 }, direction);
        }
        assert_eq!(best.map(|best| (best.value, best.epoch)), expected);
    }

    #[test]
    fn the_earliest_of_equal_bests_stays() {
        check_best(Direction::LowerIsBetter, &[3.0, 1.0, 2.0, 1.0], Some((1.0, 2)));
        check_best(Direction::HigherIsBetter, &[3.0, 1.0, 4.0, 4.0], Some((4.0, 3)));
    }

    #[test]
    fn nan_is_never_the_best() {
        check_best(Direction::LowerIsBetter, &[f64::NAN, 2.0, f64::NAN], Some((2.0, 2)));
        check_best(Direction::HigherIsBetter, &[f64::NAN], None);
    }
}
