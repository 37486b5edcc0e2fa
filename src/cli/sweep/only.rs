//! `--only`: which trials are run.

use crate::sweep::definition::Definition;
use crate::sweep::naming::leaf;
use crate::sweep::plan::{SweepPlan, Trial};
use std::collections::{BTreeMap, BTreeSet};
use thiserror::Error;

/// What trials must have: of each axis one of these labels.
#[derive(Debug, Default)]
pub(super) struct Only(BTreeMap<String, BTreeSet<String>>);

/// An `--only` that no trial can be held against.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(super) enum OnlyError {
    /// It is no pair.
    #[error("--only {text}: there is no `=` in it; write --only NAME=VALUE,NAME=VALUE")]
    Syntax {
        /// What was given.
        text: String,
    },
    /// Nothing of this name varies.
    #[error("--only {name}: nothing of this name varies; there are {}", axes.join(", "))]
    Name {
        /// What was given.
        name: String,
        /// What varies.
        axes: Vec<String>,
    },
    /// Several things that vary end in this name.
    #[error("--only {name}: {} end in that; write the whole name", axes.join(" and "))]
    Ambiguous {
        /// What was given.
        name: String,
        /// What ends in it.
        axes: Vec<String>,
    },
    /// No trial has this value.
    #[error("--only {name}={value}: no trial has it; there are {}", values.join(", "))]
    Value {
        /// The axis.
        name: String,
        /// What was given.
        value: String,
        /// What there is.
        values: Vec<String>,
    },
}

impl Only {
    /// Reads pairs `NAME=VALUE`, where NAME is that of an axis or its last part.
    pub(super) fn parse(
        pairs: &[String],
        definition: &Definition,
        plan: &SweepPlan,
    ) -> Result<Self, OnlyError> {
        let mut only = Self::default();
        for pair in pairs {
            let (name, value) =
                pair.split_once('=').ok_or_else(|| OnlyError::Syntax { text: pair.clone() })?;
            let axis = axis(name, definition)?;
            let labels: BTreeSet<String> =
                plan.trials.iter().filter_map(|trial| trial.values.get(&axis).cloned()).collect();
            // 1e-3 and 0.001 are one number, unless the text itself is there.
            let is_same_number = |label: &&String| matches!((label.parse::<f64>(), value.parse::<f64>()), (Ok(label), Ok(value)) if label == value);
            let found = labels.get(value).or_else(|| labels.iter().find(is_same_number)).cloned();
            let Some(label) = found else {
                let values = labels.into_iter().take(20).collect();
                return Err(OnlyError::Value { name: name.to_owned(), value: value.to_owned(), values });
            };
            only.0.entry(axis).or_default().insert(label);
        }
        Ok(only)
    }

    pub(super) fn takes(&self, trial: &Trial) -> bool {
        self.0.iter().all(|(axis, labels)| trial.values.get(axis).is_some_and(|label| labels.contains(label)))
    }
}

/// The axis of this name, or the only one whose name ends in it.
fn axis(name: &str, definition: &Definition) -> Result<String, OnlyError> {
    let names = || definition.axes.iter().map(|axis| axis.name.clone());
    if let Some(axis) = names().find(|axis| axis == name) {
        return Ok(axis);
    }
    let mut axes: Vec<String> = names().filter(|axis| leaf(axis) == name).collect();
    match (axes.pop(), axes.is_empty()) {
        (Some(only), true) => Ok(only),
        (Some(last), false) => {
            axes.push(last);
            Err(OnlyError::Ambiguous { name: name.to_owned(), axes })
        }
        (None, _) => Err(OnlyError::Name { name: name.to_owned(), axes: names().collect() }),
    }
}

#[cfg(test)]
mod tests {
    use super::Only;
    use crate::sweep::definition::Definition;
    use crate::sweep::draw::draw;
    use crate::sweep::plan::SweepPlan;

    /// The numbers of the trials that an `--only` takes, or words of its error.
    #[track_caller]
    fn check(only: &str, expected: Result<&[u64], &str>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sweep.toml");
        let space = "\"optimizer.lr\" = [0.1, 0.01]\nsize = { 1 = { \"train.batch_size\" = 8 }, 01 = { \
                     \"train.batch_size\" = 16 } }\n\"my.end\" = { a = { seed = 1 } }\n\"your.end\" = { a = { spin = true } }\n";
        std::fs::write(&path, format!("[sweep]\n[sweep.space]\n{space}")).unwrap();
        let definition = Definition::read(&path).unwrap();
        let drawn = draw(&definition, 1).unwrap();
        let plan = SweepPlan::of(&definition, &drawn, 1).unwrap();
        let pairs: Vec<String> = only.split(',').map(str::to_owned).collect();
        match (Only::parse(&pairs, &definition, &plan), expected) {
            (Ok(only), Ok(expected)) => {
                let taken = plan.trials.iter().filter(|trial| only.takes(trial)).map(|trial| trial.number);
                assert_eq!(taken.collect::<Vec<_>>(), expected);
            }
            (Err(error), Err(words)) => assert!(error.to_string().contains(words), "{error}"),
            (found, expected) => panic!("{found:?}, not {expected:?}"),
        }
    }

    #[test]
    fn a_value_is_taken_as_it_is_written_and_else_as_a_number() {
        check("size=1", Ok(&[1, 3]));
        check("size=01", Ok(&[2, 4]));
        check("lr=1e-1", Ok(&[1, 2]));
        check("lr=0.1,lr=0.01,size=1", Ok(&[1, 3]));
    }

    #[test]
    fn what_is_no_value_or_no_name_or_several_is_refused_with_what_there_is() {
        check("size=2", Err("there are 01, 1"));
        check("sizes=1", Err("there are optimizer.lr, size"));
        check("size", Err("write --only NAME=VALUE"));
        check("end=a", Err("my.end and your.end end in that"));
    }
}
