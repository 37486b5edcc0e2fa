//! What two plans differ in, and what that means for a run that has already computed steps.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::effective::effective;
use super::plan::{Plan, ScheduleKind, SchedulePlan};
use super::table::{self, Found};
use super::value::{KeyPath, Value};

/// What changing a setting means for a run that has already computed steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Nothing that was or will be computed changes, only how long, how often saved and how measured.
    Free,
    /// What is computed from here on changes: the run no longer equals one that had this setting from the start.
    /// Allowed, and to be announced.
    Schedule,
    /// The steps already computed would have been others. Refused, because no run ever had these settings.
    Bound,
}

impl Class {
    /// The name for programs.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Schedule => "schedule",
            Self::Bound => "bound",
        }
    }
}

/// One setting in which two plans differ.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// Dotted path.
    pub key: String,
    /// The value in the old plan; `None` if it is not set there or does not apply.
    pub old: Option<Value>,
    /// The value in the new plan; `None` if it is not set there or does not apply.
    pub new: Option<Value>,
    /// What the change means.
    pub class: Class,
}

impl fmt::Display for Difference {
    /// For instance `train.epochs: 30 -> 40`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |value: &Option<Value>| value.as_ref().map_or("not set".to_owned(), Value::literal);
        write!(f, "{}: {} -> {}", self.key, word(&self.old), word(&self.new))
    }
}

/// Everything in which `new` differs from `old`, in the order of the paths.
///
/// The number of epochs is [`Class::Schedule`] where the learning rate of one of the plans is spread over the whole
/// run, and [`Class::Free`] elsewhere.
pub fn differences(old: &Plan, new: &Plan) -> Vec<Difference> {
    let (before, after) = (effective(old), effective(new));
    let paths: BTreeSet<&KeyPath> = before.keys().chain(after.keys()).collect();
    let epochs = KeyPath::dotted("train.epochs");
    let is_spread = spans_run(&old.schedule) || spans_run(&new.schedule);
    paths
        .into_iter()
        .filter(|path| before.get(path) != after.get(path))
        .map(|path| {
            let class = if *path == epochs && is_spread { Class::Schedule } else { class_of(path) };
            Difference {
                key: path.to_string(),
                old: before.get(path).cloned(),
                new: after.get(path).cloned(),
                class,
            }
        })
        .collect()
}

/// A checksum of the settings of class [`Class::Bound`]: two plans with different ones can not share a run.
///
/// It is the CRC-32 (IEEE) of one line `path = value` for each setting, in the order of the paths. A version of this
/// program that adds such a setting changes it, so a difference is a reason to call [`differences`], which says what
/// it is.
pub fn fingerprint(plan: &Plan) -> u32 {
    let bound: BTreeMap<KeyPath, Value> =
        effective(plan).into_iter().filter(|(path, _)| class_of(path) == Class::Bound).collect();
    let mut hasher = crc32fast::Hasher::new();
    for (path, value) in bound {
        hasher.update(format!("{path} = {}\n", value.literal()).as_bytes());
    }
    hasher.finalize()
}

/// The class of the setting at `path`.
fn class_of(path: &KeyPath) -> Class {
    match table::find(path) {
        Found::Key(key) => key.class,
        // What is not known is not free to change.
        Found::Table | Found::Unknown => Class::Bound,
    }
}

/// Whether the length of the run shapes the learning rate.
fn spans_run(schedule: &SchedulePlan) -> bool {
    matches!(
        schedule.kind,
        ScheduleKind::Cosine { t_max: None, .. }
            | ScheduleKind::Polynomial { total: None, .. }
            | ScheduleKind::OneCycle { .. }
    )
}
