//! From the text of a settings file, of a `--set` or of a flag to single settings.
//!
//! Everything here knows which keys exist and what each takes, and nothing of how settings depend on each other.

use std::fs::File;
use std::io::Read as _;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::check::admit;
use super::error::{ConfigError, Origin, Problem};
use super::key::{Key, Takes};
use super::table::{self, Found};
use super::value::{KeyPath, Value};
use super::varied::Varied;

/// Largest settings file that is read.
const FILE_LIMIT_BYTES: u64 = 256 * 1024;

/// How many unknown keys of one file are listed.
const LISTED_UNKNOWN_KEYS: usize = 50;

/// One setting as one source gives it, already of the type that its key takes.
#[derive(Debug, Clone)]
pub(super) struct Given {
    /// Where it belongs.
    pub(super) path: KeyPath,
    /// Its declaration; `None` for a named table without settings, such as `inputs.x = {}`.
    pub(super) key: Option<&'static Key>,
    /// The value; `None` for `"none"`.
    pub(super) value: Option<Value>,
    /// Where it stands.
    pub(super) origin: Origin,
}

/// The settings that one source gives, and what is wrong with the others.
#[derive(Debug, Default)]
pub(super) struct Document {
    pub(super) given: Vec<Given>,
    pub(super) problems: Vec<Problem>,
    /// Paths of settings that are named in `problems`, for which nothing is to be concluded from their absence.
    pub(super) spoiled: Vec<KeyPath>,
    unknown_count: usize,
}

/// Reads a settings file. Relative paths in it are made absolute from the folder of the file.
pub(super) fn read_file(path: &Path) -> Result<Document, ConfigError> {
    read_text(&file_text(path)?, path)
}

/// The text of a settings file.
pub(super) fn file_text(path: &Path) -> Result<String, ConfigError> {
    let failed = |source| ConfigError::Read { path: path.to_owned(), source };
    // Opening a pipe would wait for a writer that may never come.
    let metadata = path.metadata().map_err(failed)?;
    if !metadata.is_file() {
        let found = if metadata.is_dir() { "a directory" } else { "a device, pipe or socket" };
        return Err(ConfigError::NotAFile { path: path.to_owned(), found });
    }
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(FILE_LIMIT_BYTES + 1).read_to_end(&mut bytes))
        .map_err(failed)?;
    if bytes.len() as u64 > FILE_LIMIT_BYTES {
        return Err(ConfigError::TooLarge { path: path.to_owned(), limit_bytes: FILE_LIMIT_BYTES });
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(error) => {
            let (offset, bytes) = (error.utf8_error().valid_up_to(), error.into_bytes());
            let before = bytes.get(..offset).unwrap_or_default();
            Err(ConfigError::NotUtf8 {
                path: path.to_owned(),
                line: 1 + before.iter().filter(|&&byte| byte == b'\n').count(),
                offset,
                found: bytes.get(offset).copied().unwrap_or_default(),
            })
        }
    }
}

/// Reads the text of the settings file at `path`, which itself is not opened.
pub(super) fn read_text(text: &str, path: &Path) -> Result<Document, ConfigError> {
    read_text_without(text, path, None)
}

/// The same, but for one table at the top, which is another program's or a sweep's.
pub(super) fn read_text_without(
    text: &str,
    path: &Path,
    table: Option<&str>,
) -> Result<Document, ConfigError> {
    let lines = Lines::new(text);
    let mut root = DeTable::parse(text).map_err(|error| {
        let (line, column) = lines.position(text, error.span().map_or(0, |span| span.start));
        // The reader's message may have several lines: what it found, and what it expected.
        let message = error.message().trim_end().replace('\n', ", ");
        ConfigError::Syntax { path: path.to_owned(), line, column, message }
    })?;
    if let Some(table) = table {
        root.get_mut().remove(table);
    }
    let mut document = Document::default();
    let origin = |span: Range<usize>| Origin::File { path: path.to_owned(), line: lines.line(span.start) };
    document.take_table(root.get_ref(), &KeyPath::default(), &origin);
    if document.unknown_count > LISTED_UNKNOWN_KEYS {
        let count = document.unknown_count - LISTED_UNKNOWN_KEYS;
        document.problems.push(Problem::MoreUnknownKeys { path: path.to_owned(), count });
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    document.make_paths_absolute(folder);
    Ok(document)
}

/// Reads the text after one `--set`: `key.path=value`, where the value is TOML or a bare string.
pub(super) fn read_set(text: &str) -> Document {
    let mut document = Document::default();
    match split_set(text) {
        Ok((path, value)) => document.take_set(&path, value, text),
        Err(found) => document.problems.push(Problem::SetSyntax { text: text.to_owned(), found }),
    }
    document.make_paths_absolute(Path::new(""));
    document
}

/// Takes the value of a flag for the declared setting `key`.
pub(super) fn read_flag(flag: &'static str, key: &str, value: &Value) -> Document {
    let mut document = Document::default();
    document.take_value(&KeyPath::dotted(key), value, Origin::Flag(flag));
    document.make_paths_absolute(Path::new(""));
    document
}

/// Takes settings that stand in the file at `path` in a form of their own.
pub(super) fn read_varied(varied: &[Varied], path: &Path) -> Document {
    let mut document = Document::default();
    for Varied { key, value, line } in varied {
        document.take_value(key, value, Origin::File { path: path.to_owned(), line: *line });
    }
    document.make_paths_absolute(path.parent().unwrap_or(Path::new("")));
    document
}

/// Splits `key.path=value` at the first `=` outside of quotes and reads the key.
fn split_set(text: &str) -> Result<(KeyPath, &str), String> {
    let mut quote = None;
    let split = text.char_indices().find(|&(_, c)| match (quote, c) {
        (None, '=') => true,
        (None, '"' | '\'') => {
            quote = Some(c);
            false
        }
        (Some(open), c) if open == c => {
            quote = None;
            false
        }
        _ => false,
    });
    let Some((position, _)) = split else { return Err("there is no `=` in it".to_owned()) };
    let key = text.get(..position).unwrap_or_default().trim();
    let value = text.get(position + 1..).unwrap_or_default().trim();
    if key.is_empty() {
        return Err("there is no key before `=`".to_owned());
    }
    if value.is_empty() {
        return Err("there is no value after `=`".to_owned());
    }
    let path = if key.contains(['\n', '\r']) { None } else { parse_key(key) };
    path.map(|path| (path, value)).ok_or_else(|| format!("`{key}` is not a key"))
}

/// Reads a dotted key, parts of which may be quoted.
pub(super) fn parse_key(key: &str) -> Option<KeyPath> {
    let line = format!("{key} = 0");
    let root = DeTable::parse(&line).ok()?;
    let mut path = KeyPath::default();
    let mut table = root.get_ref();
    loop {
        let mut entries = table.iter();
        let (Some((name, value)), None) = (entries.next(), entries.next()) else { return None };
        path = path.child(name.get_ref());
        match value.get_ref() {
            DeValue::Table(inner) => table = inner,
            DeValue::Integer(_) => return Some(path),
            _ => return None,
        }
    }
}

impl Document {
    /// Takes all settings in `table`, which stands at `at`.
    fn take_table(&mut self, table: &DeTable<'_>, at: &KeyPath, origin: &dyn Fn(Range<usize>) -> Origin) {
        for (name, node) in table {
            let path = at.child(name.get_ref());
            let here = origin(name.span());
            match (table::find(&path), node.get_ref()) {
                (Found::Table, DeValue::Table(inner)) if inner.is_empty() && is_named(&path) => {
                    self.given.push(Given { path, key: None, value: None, origin: here });
                }
                (Found::Table, DeValue::Table(inner)) => self.take_table(inner, &path, origin),
                (_, node) => self.take_value(&path, &Value::from_toml(node), here),
            }
        }
    }

    /// Takes the value of a `--set`, whose text is read as TOML unless the key takes text.
    fn take_set(&mut self, path: &KeyPath, value: &str, text: &str) {
        let origin = Origin::Set(text.to_owned());
        let parsed = DeValue::parse(value);
        if let (Found::Table, Ok(node)) = (table::find(path), &parsed)
            && let DeValue::Table(inner) = node.get_ref()
        {
            if inner.is_empty() && is_named(path) {
                self.given.push(Given { path: path.clone(), key: None, value: None, origin });
            } else {
                self.take_table(inner, path, &|_| origin.clone());
            }
            return;
        }
        let wants_text = matches!(table::find(path), Found::Key(key) if key.takes.is_text());
        let is_bracketed = value.starts_with(['[', '{', '"', '\'']);
        let value = match parsed.map(|node| Value::from_toml(node.get_ref())) {
            Ok(Value::Text(inner)) => Value::Text(inner),
            Err(error) if is_bracketed => {
                let found =
                    format!("the value is not TOML: {}", error.message().trim_end().replace('\n', ", "));
                self.spoiled.push(path.clone());
                self.problems.push(Problem::SetSyntax { text: text.to_owned(), found });
                return;
            }
            Ok(parsed) if !wants_text => parsed,
            _ => Value::Text(value.to_owned()),
        };
        self.take_value(path, &value, origin);
    }

    /// Takes one value if there is a key at `path` and the key takes it.
    fn take_value(&mut self, path: &KeyPath, value: &Value, origin: Origin) {
        match table::find(path) {
            Found::Key(key) => match admit(key, path, value, &origin) {
                Ok(value) => self.given.push(Given { path: path.clone(), key: Some(key), value, origin }),
                Err(problem) => self.spoil(path, *problem),
            },
            Found::Table => {
                let problem = Problem::Value {
                    origin,
                    key: path.to_string(),
                    found: value.described(),
                    expected: "a table of settings".to_owned(),
                    remedy: "give its settings one by one; `trainer config` lists them".to_owned(),
                };
                self.spoil(path, problem);
            }
            Found::Unknown => {
                self.unknown_count += 1;
                self.spoiled.push(path.clone());
                if self.unknown_count <= LISTED_UNKNOWN_KEYS {
                    let nearest = table::nearest(path);
                    self.problems.push(Problem::UnknownKey {
                        origin,
                        key: super::value::cut(&path.to_string()),
                        // What was meant is known only if there is a suggestion; that one is not missing then.
                        nearest: nearest.inspect(|known| self.spoiled.push(KeyPath::dotted(known))),
                    });
                }
            }
        }
    }

    fn spoil(&mut self, path: &KeyPath, problem: Problem) {
        self.spoiled.push(path.clone());
        self.problems.push(problem);
    }

    /// Makes every path absolute, starting at `folder`, so that it stays right wherever the settings are copied.
    fn make_paths_absolute(&mut self, folder: &Path) {
        let mut problems = Vec::new();
        for given in &mut self.given {
            let (Some(Key { takes: Takes::Path, .. }), Some(Value::Text(text))) =
                (given.key, &mut given.value)
            else {
                continue;
            };
            let (origin, key) = (given.origin.clone(), given.path.to_string());
            match absolute(folder, text) {
                Ok(path) => match path.to_str() {
                    Some(utf8) => *text = utf8.to_owned(),
                    None => problems.push((given.path.clone(), Problem::PathNotUtf8 { origin, key, path })),
                },
                Err(error) => {
                    let (found, reason) = (Value::Text(text.clone()).short(), error.to_string());
                    let problem = Problem::PathNotAbsolute { origin, key, found, reason };
                    problems.push((given.path.clone(), problem));
                }
            }
        }
        for (path, problem) in problems {
            self.spoil(&path, problem);
        }
    }
}

fn absolute(folder: &Path, text: &str) -> std::io::Result<PathBuf> {
    std::path::absolute(folder.join(text))
}

/// Whether `path` is a table whose name the user chose.
fn is_named(path: &KeyPath) -> bool {
    matches!(path.segments(), [data, map, _] if data == "data" && (map == "inputs" || map == "targets"))
}

/// Where the lines of a text begin, so that looking up a line costs no pass over the text.
#[derive(Debug)]
pub(super) struct Lines {
    starts: Vec<usize>,
}

impl Lines {
    pub(super) fn new(text: &str) -> Self {
        let after_breaks = text.match_indices('\n').map(|(position, _)| position + 1);
        Self { starts: std::iter::once(0).chain(after_breaks).collect() }
    }

    /// The line, from 1, of the byte at `offset`.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.starts.partition_point(|&start| start <= offset)
    }

    /// Line and column, both from 1, of the byte at `offset`; the column counts characters.
    pub(super) fn position(&self, text: &str, offset: usize) -> (usize, usize) {
        let line = self.line(offset);
        let start = self.starts.get(line.saturating_sub(1)).copied().unwrap_or_default();
        let column = 1 + text.get(start..offset).map_or(0, |before| before.chars().count());
        (line, column)
    }
}
