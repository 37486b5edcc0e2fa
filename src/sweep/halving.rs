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
use thiserror::Error;

/// The version of the files that this program writes.
const FORMAT: u32 = 1;

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

/// A decision that can not be read or kept.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DecisionError {
    /// It can not be read or written.
    #[error("could not read or write {}: {source}; check the folder of the sweep", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no decision about this rung.
    #[error(
        "{} is damaged: {reason}; move it aside, and the rung is decided again by what its trials came to",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A later version wrote it.
    #[error(
        "{} has format {found}, and this version knows formats up to {FORMAT}; use the version that wrote it",
        path.display()
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
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
    Decision { format: FORMAT, rung, epochs, results, survivors }
}

/// What was decided about a rung, in which these trials took part for so many epochs, if it was.
///
/// # Errors
/// If the file is there and can not be read, or is not about that.
pub fn read(
    sweep_dir: &Path,
    rung: u64,
    epochs: u64,
    trials: &[u64],
) -> Result<Option<Decision>, DecisionError> {
    let path = path(sweep_dir, rung);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(DecisionError::Io { path, source }),
    };
    let json: Result<serde_json::Value, _> = serde_json::from_slice(&bytes);
    let found = json.as_ref().ok().and_then(|json| u32::try_from(json.get("format")?.as_u64()?).ok());
    if let Some(found) = found.filter(|found| *found > FORMAT) {
        return Err(DecisionError::Version { path, found });
    }
    let decision: Decision = match json.and_then(serde_json::from_value) {
        Ok(decision) => decision,
        Err(error) => return Err(DecisionError::Damaged { path, reason: error.to_string() }),
    };
    if (decision.rung, decision.epochs) != (rung, epochs) {
        let reason = format!(
            "it is about rung {} with {} epochs, not {rung} with {epochs}",
            decision.rung, decision.epochs
        );
        return Err(DecisionError::Damaged { path, reason });
    }
    if let Some(stranger) = decision.survivors.iter().find(|survivor| !trials.contains(survivor)) {
        let reason = format!("trial {stranger} goes on by it, which took no part in the rung");
        return Err(DecisionError::Damaged { path, reason });
    }
    Ok(Some(decision))
}

/// Keeps a decision about a rung of these trials, and gives the one that holds: the first that was made.
///
/// # Errors
/// If it can not be written or read.
pub fn keep(sweep_dir: &Path, decision: Decision, trials: &[u64]) -> Result<Decision, DecisionError> {
    let (dir, path) = (sweep_dir.join(FOLDER), path(sweep_dir, decision.rung));
    fs::create_dir_all(&dir).map_err(|source| DecisionError::Io { path: dir, source })?;
    // Numbers and lists are always JSON: what is not finite took no part.
    let bytes = serde_json::to_vec_pretty(&decision).unwrap_or_default();
    if create_once(&path, &bytes).map_err(|source| DecisionError::Io { path, source })? {
        return Ok(decision);
    }
    Ok(read(sweep_dir, decision.rung, decision.epochs, trials)?.unwrap_or(decision))
}

fn path(sweep_dir: &Path, rung: u64) -> PathBuf {
    sweep_dir.join(FOLDER).join(format!("{rung:04}.json"))
}

#[cfg(test)]
mod tests {
    use super::{DecisionError, FOLDER, RungResult, decide, keep, read, rungs};
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
        assert_eq!(read(dir.path(), 1, 2, &[1, 2]).unwrap(), None);
        assert_eq!(keep(dir.path(), of(0.5), &[1, 2]).unwrap().survivors, [1]);
        assert_eq!(keep(dir.path(), of(1.5), &[1, 2]).unwrap().survivors, [1]);
    }

    #[test]
    fn a_decision_that_is_none_about_this_rung_is_refused_with_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let results = vec![RungResult { trial: 1, value: Some(0.5) }, RungResult { trial: 2, value: None }];
        keep(dir.path(), decide(1, 2, results, 2, Direction::LowerIsBetter), &[1, 2]).unwrap();
        let file = dir.path().join(FOLDER).join("0001.json");
        let text = std::fs::read_to_string(&file).unwrap();
        for (changed, words) in [
            (String::new(), "EOF"),
            (text.replace("\"epochs\": 2", "\"epochs\": 3"), "about rung 1 with 3 epochs"),
            (text.replace("\"rung\": 1", "\"rung\": 2"), "about rung 2"),
            (text.replace("    1\n  ]", "    7\n  ]"), "trial 7 goes on by it"),
        ] {
            assert_ne!(changed, text);
            std::fs::write(&file, changed).unwrap();
            let error = read(dir.path(), 1, 2, &[1, 2]).unwrap_err();
            assert!(matches!(error, DecisionError::Damaged { .. }), "{error:?}");
            let said = error.to_string();
            assert!(
                said.contains(words) && said.contains("0001.json") && said.contains("move it aside"),
                "{said}"
            );
        }
        std::fs::write(&file, text.replace("\"format\": 1", "\"format\": 2")).unwrap();
        assert!(matches!(read(dir.path(), 1, 2, &[1, 2]), Err(DecisionError::Version { found: 2, .. })));
    }
}
