//! Stopping when a watched metric no longer improves.

use crate::config::EarlyStopping;
use crate::train::best::Direction;
use trainer_runtime::codec::{Decode, Encode};

/// What early stopping has seen so far; updated once per epoch, saved in checkpoints.
#[derive(Debug, Clone, Copy, Default, PartialEq, Encode, Decode)]
#[bincode(crate = "trainer_runtime::codec::bincode")]
pub struct EarlyStoppingState {
    /// The value the next one has to improve on; none before the first that is a number.
    pub reference: Option<f64>,
    /// Epochs since it was set.
    pub epochs_without_improvement: u64,
}

/// What the value of an epoch means for the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Training goes on.
    Continue,
    /// Training stops: so many epochs passed without improvement.
    Stop {
        /// At least the patience.
        epochs_without_improvement: u64,
    },
}

/// The name of the watched metric is not one that a run measures.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "early stopping can not watch `{monitor}`: expected train_loss, val_loss, or val_ and the name of a metric (val_top5, \
     say); set train.early_stopping.monitor to one that the run measures"
)]
#[non_exhaustive]
pub struct UnknownMonitor {
    /// The name found in the settings.
    pub monitor: String,
}

/// Which way the watched metric improves.
///
/// # Errors
/// If there is no metric of that name.
pub fn monitor_direction(plan: &EarlyStopping) -> Result<Direction, UnknownMonitor> {
    Direction::of(&plan.monitor).ok_or_else(|| UnknownMonitor { monitor: plan.monitor.clone() })
}

impl EarlyStoppingState {
    /// Takes note of the watched value at the end of an epoch.
    ///
    /// An improvement is a change by more than `min_delta` from the last improvement, so that many small changes add
    /// up to one. A NaN is no improvement.
    pub fn end_epoch(&mut self, plan: &EarlyStopping, direction: Direction, value: f64) -> Verdict {
        let improved = match self.reference {
            None => !value.is_nan(),
            Some(reference) => direction.improves(value, reference, plan.min_delta),
        };
        if improved {
            self.reference = Some(value);
            self.epochs_without_improvement = 0;
            return Verdict::Continue;
        }
        self.epochs_without_improvement += 1;
        let epochs_without_improvement = self.epochs_without_improvement;
        if epochs_without_improvement >= plan.patience {
            Verdict::Stop { epochs_without_improvement }
        } else {
            Verdict::Continue
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{EarlyStoppingState, Verdict, monitor_direction};
    use crate::config::EarlyStopping;

    /// Checks after which epoch, from 1, a run with these values stops.
    #[track_caller]
    fn check_stop(monitor: &str, patience: u64, min_delta: f64, values: &[f64], expected: Option<u64>) {
        let plan = EarlyStopping { patience, min_delta, monitor: monitor.into() };
        let direction = monitor_direction(&plan).unwrap();
        let mut state = EarlyStoppingState::default();
        let stopped = values.iter().zip(1..).find_map(|(value, epoch)| {
            let verdict = state.end_epoch(&plan, direction, *value);
            (verdict != Verdict::Continue).then_some(epoch)
        });
        assert_eq!(stopped, expected);
    }

    #[test]
    fn a_run_stops_after_as_many_epochs_without_improvement_as_patience_allows() {
        check_stop("val_loss", 2, 0.0, &[3.0, 2.0, 2.0, 2.5, 1.0], Some(4));
        check_stop("val_loss", 3, 0.0, &[3.0, 2.0, 2.0, 2.5, 1.0], None);
        check_stop("val_loss", 1, 0.0, &[1.0, 1.0], Some(2));
    }

    #[test]
    fn accuracy_improves_upwards() {
        check_stop("val_accuracy", 2, 0.0, &[0.5, 0.6, 0.7, 0.8], None);
        check_stop("val_accuracy", 2, 0.0, &[0.8, 0.7, 0.6, 0.5], Some(3));
    }

    #[test]
    fn small_improvements_add_up_until_they_exceed_min_delta() {
        check_stop("val_loss", 3, 0.1, &[1.0, 0.96, 0.92, 0.88, 0.86, 0.84, 0.77], None);
        check_stop("val_loss", 3, 0.1, &[1.0, 0.98, 0.96, 0.94, 0.0], Some(4));
        check_stop("val_loss", 1, 0.25, &[1.0, 0.75], Some(2));
    }

    #[test]
    fn nan_counts_as_no_improvement_from_the_start() {
        check_stop("val_loss", 2, 0.0, &[f64::NAN, f64::NAN, 1.0], Some(2));
        check_stop("val_loss", 2, 0.0, &[f64::NAN, 1.0, f64::NAN, 0.5], None);
    }

    #[test]
    fn a_state_that_was_saved_goes_on_where_it_was() {
        let plan = EarlyStopping { patience: 3, min_delta: 0.0, monitor: "val_loss".into() };
        let direction = monitor_direction(&plan).unwrap();
        let mut state = EarlyStoppingState::default();
        for value in [1.0, 1.5, 1.5] {
            assert_eq!(state.end_epoch(&plan, direction, value), Verdict::Continue);
        }
        let bytes = trainer_runtime::codec::encode(&state).unwrap();
        let mut read: EarlyStoppingState = trainer_runtime::codec::decode(&bytes).unwrap();
        assert_eq!(read, state);
        assert_eq!(read.end_epoch(&plan, direction, 1.5), Verdict::Stop { epochs_without_improvement: 3 });
    }

    #[test]
    fn an_unknown_monitor_is_refused_by_name() {
        let plan = EarlyStopping { patience: 3, min_delta: 0.0, monitor: "val_acc".into() };
        let message = monitor_direction(&plan).unwrap_err().to_string();
        assert!(
            message.contains("`val_acc`") && message.contains("val_loss, or val_ and the name of a metric"),
            "{message}"
        );
    }
}
