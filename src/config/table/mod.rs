//! The one declaration of every setting.
//!
//! Belongs here: rows, in the order in which `trainer config` prints them, and finding a row. Does not belong here:
//! checks between settings (see `build`). A new setting is a row here, a field of the plan, and a line each in `build`
//! and `effective`; the tests fail if one of them is forgotten.

mod schedule;
mod generated_data;
mod loss;
mod mlflow;
mod model_and_data;
mod optimizer;
mod running;

use super::key::Key;
use super::value::KeyPath;

/// The segment of a declared path that stands for a name of the user's.
pub(super) const NAME: &str = "<name>";

/// Farthest edit distance at which a known key is still suggested for an unknown one.
const SUGGESTED_EDITS: usize = 3;

/// Longest unknown key for which a suggestion is looked for, in bytes.
const SUGGESTED_BYTES: usize = 64;

/// All settings, in the order of the file.
pub fn keys() -> impl Iterator<Item = &'static Key> {
    running::TOP
        .iter()
        .chain(model_and_data::MODEL)
        .chain(model_and_data::DATA)
        .chain(generated_data::TOKENS_AND_IMAGES)
        .chain(loss::LOSS)
        .chain(optimizer::OPTIMIZER)
        .chain(optimizer::EMA)
        .chain(schedule::SCHEDULE)
        .chain(running::TRAIN)
        .chain(running::CHECKPOINT)
        .chain(running::STOP)
        .chain(running::MEMORY)
        .chain(running::REPORT)
        .chain(mlflow::MLFLOW)
}

/// What stands at a path.
#[derive(Debug, Clone, Copy)]
pub(super) enum Found {
    /// A setting.
    Key(&'static Key),
    /// A table that holds settings.
    Table,
    /// Nothing known.
    Unknown,
}

/// What stands at `path`.
pub(super) fn find(path: &KeyPath) -> Found {
    let segments = path.segments();
    let mut found = Found::Unknown;
    for key in keys() {
        let mut declared = key.path.split('.');
        let fits = segments
            .iter()
            .all(|segment| declared.next().is_some_and(|name| name == NAME || name == segment));
        if fits {
            if declared.next().is_none() {
                return Found::Key(key);
            }
            found = Found::Table;
        }
    }
    found
}

/// The setting whose declared path is `path`, which must be one that is declared.
pub(super) fn declared(path: &str) -> Option<&'static Key> {
    keys().find(|key| key.path == path)
}

/// The known key or table nearest to `unknown`, with the names of the user put in, if one is near.
///
/// A right name in the wrong table, a name known from another program and a typing error are all found.
pub(super) fn nearest(unknown: &KeyPath) -> Option<String> {
    let full = unknown.to_string();
    if full.len() > SUGGESTED_BYTES {
        return None;
    }
    let leaf = unknown.segments().last()?;
    let mut best: Option<(usize, String)> = None;
    let mut offer = |edits: usize, candidate: String| {
        if best.as_ref().is_none_or(|(least, _)| edits < *least) {
            best = Some((edits, candidate));
        }
    };
    for key in keys() {
        let candidate = with_names_of(key.path, unknown);
        let known = candidate.to_string();
        let in_full = strsim::damerau_levenshtein(&full, &known);
        // The right name in another table counts as one edit, so that a typing error in the right table wins.
        let as_leaf = 1 + 2 * strsim::damerau_levenshtein(leaf, key.leaf());
        let as_alias = key.also_known_as.iter().map(|name| 1 + 2 * strsim::damerau_levenshtein(leaf, name));
        let edits = as_alias.chain([in_full, as_leaf]).min().unwrap_or(usize::MAX);
        offer(edits, known);
        if !key.table().is_empty() {
            let table = with_names_of(key.table(), unknown).to_string();
            offer(strsim::damerau_levenshtein(&full, &table), table);
        }
    }
    // Of a name of three letters, three edits leave nothing.
    best.filter(|(edits, _)| *edits <= SUGGESTED_EDITS.min(leaf.chars().count() / 2).max(1))
        .map(|(_, candidate)| candidate)
}

/// The declared path `pattern` with each `<name>` replaced by what `path` has there.
fn with_names_of(pattern: &str, path: &KeyPath) -> KeyPath {
    let segments = path.segments();
    KeyPath::of(pattern.split('.').enumerate().map(|(position, name)| match segments.get(position) {
        Some(segment) if name == NAME => segment.as_str(),
        _ => name,
    }))
}
