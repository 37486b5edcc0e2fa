//! `--only`: which trials are run.

use crate::sweep::definition::Definition;
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
            let names = || definition.axes.iter().map(|axis| axis.name.clone());
            let leaf = |axis: &String| axis.rsplit('.').next() == Some(name);
            let axis = names()
                .find(|axis| axis == name)
                .or_else(|| names().find(leaf))
                .ok_or_else(|| OnlyError::Name { name: name.to_owned(), axes: names().collect() })?;
            let labels: BTreeSet<String> =
                plan.trials.iter().filter_map(|trial| trial.values.get(&axis).cloned()).collect();
            // 1e-3 and 0.001 are one number.
            let same = |label: &&String| {
                *label == value
                    || matches!((label.parse::<f64>(), value.parse::<f64>()), (Ok(label), Ok(value)) if label == value)
            };
            let Some(label) = labels.iter().find(same).cloned() else {
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
