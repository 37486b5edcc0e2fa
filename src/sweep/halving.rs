//! Successive halving: which trials go on, after how many epochs.
//!
//! Jamieson and Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter Optimization" (2016), with the factor
//! as eta. A rung is decided once, when every trial in it has come to its end; the decision is a file that is made once.

use super::once::create_once;
use crate::train::best::Direction;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The folder of the decisions in that of a sweep.
pub const FOLDER: &str = "rungs";

/// What one rung decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// Version of the file: 1.
    pub format: u32,
    /// The rung, from 1.
    pub rung: u64,
    /// After how many epochs it compared.
    pub epochs: u64,
    /// The trials that took part.
    pub results: Vec<RungResult>,
    /// Those that go on, by number.
    pub survivors: Vec<u64>,
}

/// What a trial brought to a rung.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RungResult {
    /// The trial.
    pub trial: u64,
    /// Its best value so far; `None` for one that failed.
    pub value: Option<f64>,
}

/// The epochs of each rung: the first, and each further one `factor` times as many, up to `most`, which is the last.
#[must_use]
pub fn rungs(first: u64, factor: u64, most: u64) -> Vec<u64> {
    let factor = factor.max(2);
    let mut rungs: Vec<u64> = std::iter::successors(Some(first.max(1)), |epochs| epochs.checked_mul(factor))
        .take_while(|epochs| *epochs < most)
        .collect();
    rungs.push(most);
    rungs
}

/// Decides which one of `factor` goes on, but at least one. One that failed is worse than any other; of equal ones that with the smaller
/// number is better. All failed: none goes on.
#[must_use]
pub fn decide(
    rung: u64,
    epochs: u64,
    results: Vec<RungResult>,
    factor: u64,
    direction: Direction,
) -> Decision {
    let keep = (results.len() / usize::try_from(factor.max(2)).unwrap_or(usize::MAX)).max(1);
    let mut ranked: Vec<(f64, u64)> =
        results.iter().filter_map(|result| Some((result.value?, result.trial))).collect();
    ranked.sort_by(|a, b| {
        let by_value = match direction {
            Direction::LowerIsBetter => a.0.total_cmp(&b.0),
            Direction::HigherIsBetter => b.0.total_cmp(&a.0),
        };
        match by_value {
            Ordering::Equal => a.1.cmp(&b.1),
            other => other,
        }
    });
    let mut survivors: Vec<u64> = ranked.into_iter().take(keep).map(|(_, trial)| trial).collect();
    survivors.sort_unstable();
    Decision { format: 1, rung, epochs, results, survivors }
}

/// What was decided about a rung, if it was.
///
/// # Errors
/// If the file is there and can not be read.
pub fn read(sweep_dir: &Path, rung: u64) -> io::Result<Option<Decision>> {
    match fs::read(path(sweep_dir, rung)) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Keeps a decision, and gives the one that holds: the first that was made.
///
/// # Errors
/// If it can not be written or read.
pub fn keep(sweep_dir: &Path, decision: Decision) -> io::Result<Decision> {
    fs::create_dir_all(sweep_dir.join(FOLDER))?;
    let bytes = serde_json::to_vec_pretty(&decision)?;
    if create_once(&path(sweep_dir, decision.rung), &bytes)? {
        return Ok(decision);
    }
    Ok(read(sweep_dir, decision.rung)?.unwrap_or(decision))
}

fn path(sweep_dir: &Path, rung: u64) -> PathBuf {
    sweep_dir.join(FOLDER).join(format!("{rung:04}.json"))
}

#[cfg(test)]
mod tests {
    use super::{RungResult, decide, keep, read, rungs};
    use crate::train::best::Direction;

    #[track_caller]
    fn check(values: &[Option<f64>], factor: u64, direction: Direction, survivors: &[u64]) {
        let results = (1..).zip(values).map(|(trial, value)| RungResult { trial, value: *value });
        assert_eq!(decide(1, 2, results.collect(), factor, direction).survivors, survivors);
    }

    #[test]
    fn rungs_grow_by_the_factor_and_end_with_the_whole_length() {
        assert_eq!(rungs(1, 3, 9), [1, 3, 9]);
        assert_eq!(rungs(1, 3, 10), [1, 3, 9, 10]);
        assert_eq!(rungs(2, 2, 3), [2, 3]);
        assert_eq!(rungs(5, 2, 5), [5]);
    }

    #[test]
    fn the_best_go_on_ties_by_number_and_failures_last() {
        let (low, high) = (Direction::LowerIsBetter, Direction::HigherIsBetter);
        check(&[Some(3.0), Some(1.0), Some(2.0), Some(0.5)], 2, low, &[2, 4]);
        check(&[Some(3.0), Some(1.0), Some(2.0), Some(0.5)], 2, high, &[1, 3]);
        check(&[Some(1.0), Some(1.0), Some(1.0)], 3, low, &[1]);
        check(&[None, Some(9.0), None], 2, low, &[2]);
        check(&[Some(1.0), Some(2.0)], 9, low, &[1]);
        check(&[None, None], 2, low, &[]);
    }

    #[test]
    fn the_first_decision_holds() {
        let dir = tempfile::tempdir().unwrap();
        let of = |value: f64| {
            let results =
                vec![RungResult { trial: 1, value: Some(value) }, RungResult { trial: 2, value: Some(1.0) }];
            decide(1, 2, results, 2, Direction::LowerIsBetter)
        };
        assert_eq!(read(dir.path(), 1).unwrap(), None);
        assert_eq!(keep(dir.path(), of(0.5)).unwrap().survivors, [1]);
        assert_eq!(keep(dir.path(), of(1.5)).unwrap().survivors, [1]);
    }
}
