//! What differs from the run as it was recorded, and whether that is refused.

use super::args::{Change, RunArgs};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::config::{Class, Difference, Value};
use crate::train::resume::Changes;
use trainer_runtime::checkpoint::Name;

/// What a command line allows to differ.
#[derive(Debug, Clone)]
pub(super) struct Allowed<'a> {
    args: &'a RunArgs,
    /// Settings that bind a run and are asked for explicitly.
    pub(super) asked_for: Vec<&'static str>,
}

impl<'a> Allowed<'a> {
    pub(super) fn new(args: &'a RunArgs, asked_for: Vec<&'static str>) -> Self {
        Self { args, asked_for }
    }

    /// Whether everything of this kind may differ.
    pub(super) fn is_allowed(&self, change: Change) -> bool {
        self.args.taking_up.allow_changed.contains(&change)
    }

    /// Refuses settings that the computed steps depend on.
    pub(super) fn check_settings(&self, settings: &[Difference]) -> Result<(), Failure> {
        let is_refused = |change: &&Difference| self.is_refused(change);
        let bound: Vec<String> = settings.iter().filter(is_refused).map(ToString::to_string).collect();
        if bound.is_empty() {
            return Ok(());
        }
        Err(Failure::new(
            Exit::Changed,
            format!(
                "the settings differ from those this run was computed with:\n  {}\nremedy: undo the change, use another --work-dir, or go on with \
                 the new settings from here with `--allow-changed settings`",
                bound.join("\n  ")
            ),
        ))
    }

    /// Refuses settings other than those that a chosen checkpoint was computed with, which need not be those in force; `now` is
    /// how what is asked for differs from those in force. Gives the differences that are allowed and not said with `now`.
    pub(super) fn check_going_back(
        &self,
        checkpoint: Name,
        since: &[Difference],
        now: &[Difference],
    ) -> Result<Vec<String>, Failure> {
        let refused: Vec<&Difference> = since.iter().filter(|change| self.is_refused(change)).collect();
        if refused.is_empty() {
            let is_news = |change: &&Difference| change.class != Class::Free && !now.contains(change);
            return Ok(since.iter().filter(is_news).map(ToString::to_string).collect());
        }
        let lines: Vec<String> = refused.iter().map(ToString::to_string).collect();
        let back: Vec<String> = refused.iter().map(|change| restoring(change)).collect();
        Err(Failure::new(
            Exit::Changed,
            format!(
                "the settings differ from those that {checkpoint} was computed with:\n  {}\nremedy: take its settings with `{} \
                 --allow-changed settings`, or go on from it with these with `--allow-changed settings` alone",
                lines.join("\n  "),
                back.join(" ")
            ),
        ))
    }

    fn is_refused(&self, change: &Difference) -> bool {
        change.class == Class::Bound
            && !self.is_allowed(Change::Settings)
            && !self.asked_for.contains(&change.key.as_str())
    }

    /// Refuses another environment, data or model than what `what` was computed with.
    pub(super) fn check(&self, what: &str, changes: &Changes) -> Result<(), Failure> {
        let mut refused = Vec::new();
        let mut remedy = Vec::new();
        let mut check = |lines: Vec<&String>, change: Change, word: &'static str| {
            if !lines.is_empty() && !self.is_allowed(change) {
                refused.extend(lines.into_iter().cloned());
                remedy.push(word);
            }
        };
        // Lines begin with what they are about.
        let is_unasked =
            |line: &&String| !self.asked_for.iter().any(|key| line.starts_with(&format!("{key}: ")));
        check(changes.data.iter().collect(), Change::Data, "data");
        check(changes.model.iter().collect(), Change::Model, "model");
        check(changes.environment.iter().filter(is_unasked).collect(), Change::Environment, "environment");
        if refused.is_empty() {
            return Ok(());
        }
        Err(Failure::new(
            Exit::Changed,
            format!(
                "this is not what {what} was computed with:\n  {}\nremedy: restore what was there, use another --work-dir, or go on from here \
                 with `--allow-changed {}`",
                refused.join("\n  "),
                remedy.join(",")
            ),
        ))
    }
}

/// What asks for the old value of a setting.
fn restoring(change: &Difference) -> String {
    let old = change.old.as_ref().map_or("\"none\"".to_owned(), Value::literal);
    let given = format!("{}={old}", change.key);
    let is_plain = given.chars().all(|letter| letter.is_ascii_alphanumeric() || "._-=+".contains(letter));
    if is_plain { format!("--set {given}") } else { format!("--set '{given}'") }
}
