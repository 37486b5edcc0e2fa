//! The settings of all sources together: what was given, where, and what holds for the rest.
//!
//! A later source wins over an earlier one. Where a later source makes a choice, settings of earlier sources that
//! belong to the other choice step aside, with a notice; within one source they contradict each other and are refused.

use std::collections::{BTreeMap, BTreeSet};

use super::document::{Document, Given};
use super::error::{Notice, Origin, Problem};
use super::key::{DefaultValue, Key, OnlyWith};
use super::table;
use super::value::{KeyPath, Value};

/// Pairs of settings of which one source may give only one.
const EXCLUSIVE: &[(&str, &str)] = &[
    ("model.onnx", "model.builtin"),
    ("data.train", "data.builtin"),
    ("data.validation", "data.builtin"),
    ("data.validation_fraction", "data.builtin"),
    ("data.validation", "data.validation_fraction"),
    ("data.tokens.train", "data.train"),
    ("data.tokens.train", "data.builtin"),
    ("data.images.train", "data.train"),
    ("data.images.train", "data.builtin"),
    ("data.tokens.train", "data.images.train"),
];

/// Tables of named entries. A settings file that names one entry names them all: entries of earlier sources go.
const NAMED_TABLES: &[&str] =
    &["data.inputs", "data.targets", "model.dimensions", "optimizer.groups", "loss.auxiliary"];

/// The sources of settings, from the weakest to the strongest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Layer {
    /// The settings file in the work directory.
    WorkDir,
    /// The file of `--config`.
    File,
    /// All `--set`.
    Set,
    /// Flags of their own.
    Flags,
}

#[derive(Debug, Clone)]
struct Entry {
    key: Option<&'static Key>,
    value: Option<Value>,
    origin: Origin,
    layer: Layer,
}

/// The settings of all sources together.
#[derive(Debug, Default)]
pub(super) struct Settings {
    entries: BTreeMap<KeyPath, Entry>,
    pub(super) problems: Vec<Problem>,
    pub(super) notices: Vec<Notice>,
    spoiled: Vec<KeyPath>,
}

impl Settings {
    /// Puts the settings of a source over what is there. Sources come in their order.
    pub(super) fn add(&mut self, layer: Layer, document: Document) {
        self.problems.extend(document.problems);
        self.spoiled.extend(document.spoiled);
        if matches!(layer, Layer::WorkDir | Layer::File) {
            self.replace_named_tables(&document.given);
        }
        for Given { path, key, value, origin } in document.given {
            self.entries.insert(path, Entry { key, value, origin, layer });
        }
    }

    fn replace_named_tables(&mut self, given: &[Given]) {
        let named: BTreeSet<&KeyPath> = given.iter().map(|given| &given.path).collect();
        for table in NAMED_TABLES.iter().map(|table| KeyPath::dotted(table)) {
            let Some(first) = given.iter().find(|given| given.path.is_under(&table)) else { continue };
            let gone: Vec<KeyPath> =
                self.entries.keys().filter(|path| path.is_under(&table)).cloned().collect();
            for path in gone {
                // What the new table names as well is replaced, not unused.
                if named.contains(&path) {
                    self.entries.remove(&path);
                } else {
                    self.set_aside(&path, &first.path, &first.origin);
                }
            }
        }
    }

    /// Settles which of two contradicting settings holds, once all sources are there.
    pub(super) fn settle(&mut self) {
        for (first, second) in EXCLUSIVE {
            self.settle_pair(&KeyPath::dotted(first), &KeyPath::dotted(second));
        }
        let conditional: Vec<(KeyPath, OnlyWith)> = self
            .entries
            .iter()
            .filter_map(|(path, entry)| Some((path.clone(), entry.key?.only_with?)))
            .collect();
        for (path, only_with) in conditional {
            self.settle_choice(&path, only_with);
        }
    }

    fn settle_pair(&mut self, first_path: &KeyPath, second_path: &KeyPath) {
        let (Some(first), Some(second)) = (self.entries.get(first_path), self.entries.get(second_path))
        else {
            return;
        };
        // `"none"` contradicts nothing.
        if first.value.is_none() || second.value.is_none() {
            return;
        }
        if first.layer == second.layer {
            self.problems.push(Problem::Exclusive {
                first: first_path.to_string(),
                first_origin: first.origin.clone(),
                second: second_path.to_string(),
                second_origin: second.origin.clone(),
            });
            self.spoiled.extend([first_path.clone(), second_path.clone()]);
            return;
        }
        let (weaker, winner, by_origin) = if first.layer < second.layer {
            (first_path, second_path, second.origin.clone())
        } else {
            (second_path, first_path, first.origin.clone())
        };
        self.set_aside(weaker, winner, &by_origin);
    }

    /// Refuses or sets aside the setting at `path` if the choice it belongs to was made otherwise.
    fn settle_choice(&mut self, path: &KeyPath, only_with: OnlyWith) {
        if self.applies(Some(only_with)) || self.is_spoiled(only_with.key) {
            return;
        }
        let Some(entry) = self.entries.get(path) else { return };
        let selector = KeyPath::dotted(only_with.key);
        // What replaced `model.onnx` made the choice as well.
        let decider = match self.entries.get(&selector) {
            None if only_with.key == "model.onnx" => KeyPath::dotted("model.builtin"),
            _ => selector,
        };
        let chosen_origin = self.entries.get(&decider).map_or(Origin::Default, |entry| entry.origin.clone());
        if self.entries.get(&decider).is_some_and(|decider| decider.layer > entry.layer) {
            self.set_aside(path, &decider, &chosen_origin);
            return;
        }
        let chosen = match self.text(only_with.key) {
            Some(value) if !only_with.values.is_empty() => format!("{} is \"{value}\"", only_with.key),
            _ => format!("{} is not set", only_with.key),
        };
        self.problems.push(Problem::NotApplicable {
            origin: entry.origin.clone(),
            key: path.to_string(),
            selector: only_with.key,
            takes: only_with.words(),
            chosen,
            chosen_origin,
        });
        self.spoiled.push(path.clone());
    }

    /// Takes the setting at `path` out, because the one at `by` decides otherwise, and notes that.
    fn set_aside(&mut self, path: &KeyPath, by: &KeyPath, by_origin: &Origin) {
        if let Some(entry) = self.entries.remove(path) {
            self.notices.push(Notice {
                key: path.to_string(),
                origin: entry.origin,
                by_key: by.to_string(),
                by_origin: by_origin.clone(),
            });
        }
    }

    /// Whether something about `path` is wrong already, so that nothing is to be concluded from its value.
    pub(super) fn is_spoiled(&self, path: &str) -> bool {
        let path = KeyPath::dotted(path);
        self.is_spoiled_path(&path)
    }

    pub(super) fn is_spoiled_path(&self, path: &KeyPath) -> bool {
        self.spoiled.iter().any(|spoiled| path.is_under(spoiled))
    }

    /// Whether something in the table at `path`, or the table, is wrong already.
    pub(super) fn is_spoiled_table(&self, path: &str) -> bool {
        let path = KeyPath::dotted(path);
        self.spoiled.iter().any(|spoiled| path.is_under(spoiled) || spoiled.is_under(&path))
    }

    pub(super) fn add_problem(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Where the value at `path` comes from.
    pub(super) fn origin(&self, path: &KeyPath) -> Origin {
        self.entries.get(path).map_or(Origin::Default, |entry| entry.origin.clone())
    }

    /// Where each given value comes from.
    pub(super) fn origins(&self) -> BTreeMap<KeyPath, Origin> {
        self.entries.iter().map(|(path, entry)| (path.clone(), entry.origin.clone())).collect()
    }

    /// The value that a source gives, without defaults.
    pub(super) fn given(&self, path: &KeyPath) -> Option<&Value> {
        self.entries.get(path).and_then(|entry| entry.value.as_ref())
    }

    /// Whether a source gives a value.
    pub(super) fn is_given(&self, path: &str) -> bool {
        self.given(&KeyPath::dotted(path)).is_some()
    }

    /// Names of the entries of a named table, in order.
    pub(super) fn names(&self, table: &str) -> Vec<String> {
        let table = KeyPath::dotted(table);
        let depth = table.segments().len();
        let mut names: Vec<String> = self
            .entries
            .keys()
            .filter(|path| path.is_under(&table))
            .filter_map(|path| path.segments().get(depth).cloned())
            .collect();
        names.dedup();
        names
    }

    /// The value that holds: the given one, or the default of `key`.
    pub(super) fn value(&self, key: &'static Key, path: &KeyPath) -> Option<Value> {
        if let Some(entry) = self.entries.get(path) {
            return entry.value.clone();
        }
        let text = match key.default {
            DefaultValue::Always(text) => text,
            DefaultValue::By { key: choice, cases, .. } => {
                let chosen = self.text(choice)?;
                cases.iter().find(|(value, _)| *value == chosen)?.1
            }
            DefaultValue::ByOrModel { key: choice, cases, builtin, onnx } => {
                let chosen = self.text(choice)?;
                let of_model = if self.is_given("model.onnx") { onnx } else { builtin };
                cases.iter().find(|(value, _)| *value == chosen).map_or(of_model, |case| case.1)
            }
            DefaultValue::ByModel { onnx, .. } if self.is_given("model.onnx") => onnx,
            DefaultValue::ByModel { builtin, .. } => builtin,
            DefaultValue::Unset { .. } | DefaultValue::Derived { .. } | DefaultValue::Required { .. } => {
                return None;
            }
        };
        Value::parse(text)
            .ok()
            .and_then(|value| super::check::admit(key, path, &value, &Origin::Default).ok()?)
    }

    /// The string that holds at the declared path; `None` also where that is wrong, so that nothing follows from it.
    pub(super) fn text(&self, path: &str) -> Option<String> {
        if self.is_spoiled(path) {
            return None;
        }
        match self.value(table::declared(path)?, &KeyPath::dotted(path))? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Whether settings under this condition apply.
    pub(super) fn applies(&self, only_with: Option<OnlyWith>) -> bool {
        match only_with {
            None => true,
            Some(OnlyWith { key, values: [] }) => self.is_given(key),
            Some(OnlyWith { key, values }) => {
                self.text(key).is_some_and(|chosen| values.contains(&chosen.as_str()))
            }
        }
    }
}
