//! Settings that are laid over those of a file one by one, as each trial of a sweep does.

use std::collections::BTreeMap;
use std::path::Path;

use super::document::{self, file_text, read_file, read_text_without, read_varied};
use super::effective::effective;
use super::error::ConfigError;
use super::key::Key;
use super::load::{Loaded, finish};
use super::plan::Plan;
use super::settings::{Layer, Settings};
use super::table::{self, Found};
use super::value::{KeyPath, Value};

/// One setting that is laid over those of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Varied {
    /// Which.
    pub key: KeyPath,
    /// Its value.
    pub value: Value,
    /// The line of the file that gives it, from 1.
    pub line: usize,
}

/// The file below the settings that vary.
#[derive(Debug, Clone, Copy)]
pub enum Below<'a> {
    /// A settings file.
    File(&'a Path),
    /// The file that varies them, without this table of it.
    Itself {
        /// The table that holds no settings.
        without: &'a str,
    },
}

/// The settings of the file `below` with those `varied` over them, which stand in the file at `path`: relative paths
/// start at its folder, and messages name its lines. `cores` is the default number of threads.
///
/// # Errors
/// As [`load`](super::load()).
pub fn load_varied(
    below: Below<'_>,
    varied: &[Varied],
    path: &Path,
    cores: usize,
) -> Result<Loaded, ConfigError> {
    let document = match below {
        Below::File(file) => read_file(file)?,
        Below::Itself { without } => read_text_without(&file_text(path)?, path, Some(without))?,
    };
    let mut settings = Settings::default();
    settings.add(Layer::File, document);
    settings.add(Layer::Set, read_varied(varied, path));
    finish(settings, Some(cores))
}

/// What the file below the space gives, by key, each as TOML. Whether the settings go together is not asked: what is
/// missing may vary.
///
/// # Errors
/// If it can not be read, or a value is wrong on its own.
pub fn given_settings(below: Below<'_>, path: &Path) -> Result<BTreeMap<String, String>, ConfigError> {
    let document = match below {
        Below::File(file) => read_file(file)?,
        Below::Itself { without } => read_text_without(&file_text(path)?, path, Some(without))?,
    };
    if !document.problems.is_empty() {
        return Err(ConfigError::Invalid { problems: document.problems });
    }
    let none = || "\"none\"".to_owned();
    let given = document.given.into_iter();
    Ok(given
        .map(|given| (given.path.to_string(), given.value.map_or_else(none, |value| value.literal())))
        .collect())
}

/// The text of a file that holds settings, or something else in TOML.
///
/// # Errors
/// If it can not be read, or is no text of a sensible length.
pub fn read_settings_text(path: &Path) -> Result<String, ConfigError> {
    file_text(path)
}

/// The path of a key as it is written, parts of which may be quoted; `None` if it is not one.
pub fn parse_key(text: &str) -> Option<KeyPath> {
    if text.contains(['\n', '\r']) { None } else { document::parse_key(text) }
}

/// The declaration of the setting at `path`.
pub fn key_at(path: &KeyPath) -> Option<&'static Key> {
    match table::find(path) {
        Found::Key(key) => Some(key),
        Found::Table | Found::Unknown => None,
    }
}

/// The known key or table nearest to `unknown`, if one is near.
pub fn nearest_key(unknown: &KeyPath) -> Option<String> {
    table::nearest(unknown)
}

/// Every setting of a plan that applies and is set.
pub fn settings_of(plan: &Plan) -> BTreeMap<KeyPath, Value> {
    effective(plan)
}

/// The line, from 1, of each byte of a text.
#[derive(Debug)]
pub struct LineNumbers(document::Lines);

impl LineNumbers {
    /// Of this text.
    pub fn new(text: &str) -> Self {
        Self(document::Lines::new(text))
    }

    /// The line of the byte at `offset`.
    pub fn line(&self, offset: usize) -> usize {
        self.0.line(offset)
    }
}
