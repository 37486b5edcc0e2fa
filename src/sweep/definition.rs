//! The file `sweep.toml`, read and checked as far as that needs no trial.

use crate::config::{self, Below, ConfigError, KeyPath, LineNumbers, Value};
use crate::train::best::Direction;
use std::path::{Path, PathBuf};
use std::time::Duration;
use thiserror::Error;
use toml::de::{DeTable, DeValue};

mod space;

pub(super) use space::rounded;
pub use space::{Axis, Choice, Range, Span};

/// The table of a sweep's own settings.
const TABLE: &str = "sweep";

/// The settings of that table.
const KEYS: [&str; 12] = [
    "method",
    "trials",
    "seed",
    "metric",
    "mode",
    "name",
    "base",
    "space",
    "min_epochs",
    "factor",
    "lease_s",
    "ask_mlflow",
];

/// More trials than anybody looks at.
pub const MOST_TRIALS: u64 = 10_000;

/// What a sweep is to do.
#[derive(Debug, Clone)]
pub struct Definition {
    /// The file.
    pub path: PathBuf,
    /// How trials are chosen and run.
    pub method: Method,
    /// Seed of the draws; not that of the trials, which is a setting.
    pub seed: u64,
    /// The column of `history.csv` by which trials are compared.
    pub metric: String,
    /// Which way it improves.
    pub direction: Direction,
    /// The pattern of the trials' names.
    pub name: String,
    /// The settings file below the space; `None` for the other tables of the file itself.
    pub base: Option<PathBuf>,
    /// What varies, in the order of the file.
    pub axes: Vec<Axis>,
    /// How long a claim holds whose holder gives no sign of life.
    pub lease: Duration,
    /// Whether an MLflow server is asked which trials are finished.
    pub asks_mlflow: bool,
}

/// How trials are chosen and run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Every combination, each to its end.
    Grid,
    /// So many draws, each to its end.
    Random {
        /// How many.
        trials: u64,
    },
    /// All for a few epochs, the best of them for more.
    Halving {
        /// How many draws; `None` for every combination.
        trials: Option<u64>,
        /// Epochs of the first rung; at least 1.
        min_epochs: u64,
        /// One of so many goes on, for so many times the epochs; at least 2.
        factor: u64,
    },
}

impl Method {
    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Grid => "grid",
            Self::Random { .. } => "random",
            Self::Halving { .. } => "halving",
        }
    }

    /// How many trials are drawn; `None` for every combination.
    #[must_use]
    pub fn draws(self) -> Option<u64> {
        match self {
            Self::Grid => None,
            Self::Random { trials } => Some(trials),
            Self::Halving { trials, .. } => trials,
        }
    }
}

/// Why there is no sweep.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DefinitionError {
    /// A settings file can not be read, or is no TOML.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// What it says is wrong; all that was found.
    #[error("{}", listed(path, problems))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// At least one.
        problems: Vec<Problem>,
    },
}

/// One thing that is wrong with a `sweep.toml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The line from 1; `None` where nothing stands that could be wrong, or the words name the place.
    pub line: Option<usize>,
    /// The fact and the remedy.
    pub words: String,
}

impl Problem {
    pub(super) fn at(line: usize, words: String) -> Self {
        Self { line: Some(line), words }
    }

    pub(super) fn nowhere(words: String) -> Self {
        Self { line: None, words }
    }
}

fn listed(path: &Path, problems: &[Problem]) -> String {
    let said = |problem: &Problem| match problem.line {
        Some(line) => format!("{}:{line}: {}", path.display(), problem.words),
        None => problem.words.clone(),
    };
    match problems {
        [only] => said(only),
        _ => {
            let lines: Vec<String> =
                problems.iter().map(|problem| format!("\n  {}", said(problem))).collect();
            format!("{}: {} mistakes:{}", path.display(), problems.len(), lines.concat())
        }
    }
}

impl Definition {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// If it can not be read, and otherwise with everything that is wrong with its own table.
    pub fn read(path: &Path) -> Result<Self, DefinitionError> {
        let text = config::read_settings_text(path)?;
        let lines = LineNumbers::new(&text);
        let root = DeTable::parse(&text).map_err(|error| {
            let line = lines.line(error.span().map_or(0, |span| span.start));
            let words =
                format!("this is not TOML: {}; correct the line", error.message().replace('\n', ", "));
            DefinitionError::Invalid { path: path.to_owned(), problems: vec![Problem::at(line, words)] }
        })?;
        let mut reader = Reader { lines: &lines, problems: Vec::new() };
        let definition = reader.definition(root.get_ref(), path);
        match definition {
            Some(definition) if reader.problems.is_empty() => Ok(definition),
            definition => {
                let mut problems = reader.problems;
                problems.extend(wrong_below(definition.as_ref(), path));
                problems.sort_by_key(|problem| problem.line.unwrap_or(usize::MAX));
                Err(DefinitionError::Invalid { path: path.to_owned(), problems })
            }
        }
    }

    /// What lies below the settings that vary.
    #[must_use]
    pub fn below(&self) -> Below<'_> {
        self.base.as_deref().map_or(Below::Itself { without: TABLE }, Below::File)
    }
}

/// What is wrong on its own with the settings below the space, which are told with the rest.
fn wrong_below(definition: Option<&Definition>, path: &Path) -> Vec<Problem> {
    let below = definition.map_or(Below::Itself { without: TABLE }, Definition::below);
    match config::given_settings(below, path) {
        Ok(_) => Vec::new(),
        Err(ConfigError::Invalid { problems }) => {
            problems.iter().map(|problem| Problem::nowhere(problem.to_string())).collect()
        }
        Err(other) => vec![Problem::nowhere(other.to_string())],
    }
}

/// The reading of one file.
struct Reader<'a> {
    lines: &'a LineNumbers,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn definition(&mut self, root: &DeTable<'_>, path: &Path) -> Option<Definition> {
        let Some((name, table)) = root.iter().find(|(name, _)| name.get_ref() == TABLE) else {
            self.problems.push(Problem::nowhere(format!(
                "{} has no table [sweep]; write `[sweep]` with a method, and `[sweep.space]` with what varies",
                path.display()
            )));
            return None;
        };
        let line = self.lines.line(name.span().start);
        let DeValue::Table(table) = table.get_ref() else {
            self.problems.push(Problem::at(line, "`sweep` is no table; write `[sweep]`".to_owned()));
            return None;
        };
        self.refuse_unknown(table);
        let seed = self.integer(table, "seed", 0, 0);
        let trials = self.optional_integer(table, "trials", 1);
        let method = self.method(table, trials, line);
        let axes = self.space(table, line);
        let metric = self.text(table, "metric").map_or("val_loss".to_owned(), |(text, _)| text);
        let direction = self.direction(table, &metric);
        let name = self.text(table, "name").map_or("{trial}".to_owned(), |(text, _)| text);
        let base = self.base(root, table, path);
        let lease_s = self.integer(table, "lease_s", 60, 1);
        let asks_mlflow = self.bool(table, "ask_mlflow");
        if asks_mlflow && matches!(method, Some(Method::Halving { .. })) {
            let words = "`ask_mlflow` goes with \"grid\" and \"random\": a rung needs the results themselves; remove it";
            self.problems.push(Problem::at(line, words.to_owned()));
        }
        let too_many = trials.is_some_and(|trials| trials > MOST_TRIALS);
        if too_many {
            let words = format!("`trials` is above {MOST_TRIALS}; split the sweep");
            self.problems.push(Problem::at(line, words));
        }
        Some(Definition {
            path: path.to_owned(),
            method: method?,
            seed,
            metric,
            direction: direction?,
            name,
            base,
            axes,
            lease: Duration::from_secs(lease_s),
            asks_mlflow,
        })
    }

    fn refuse_unknown(&mut self, table: &DeTable<'_>) {
        for (name, _) in table {
            let (line, name) = (self.lines.line(name.span().start), name.get_ref().as_ref());
            if KEYS.contains(&name) {
                continue;
            }
            let is_setting = config::parse_key(name).is_some_and(|path| config::key_at(&path).is_some());
            let remedy = match nearest(name, &KEYS) {
                Some(near) => format!("did you mean `{near}`?"),
                None if is_setting => "settings that vary stand in [sweep.space]".to_owned(),
                None => format!("it takes {}", KEYS.join(", ")),
            };
            self.problems.push(Problem::at(line, format!("unknown key `sweep.{name}`; {remedy}")));
        }
    }

    fn method(&mut self, table: &DeTable<'_>, trials: Option<u64>, table_line: usize) -> Option<Method> {
        let min_epochs = self.optional_integer(table, "min_epochs", 1);
        let factor = self.optional_integer(table, "factor", 2);
        let (word, line) = self.text(table, "method").unwrap_or_else(|| ("grid".to_owned(), table_line));
        let method = match (word.as_str(), trials) {
            ("grid", None) => Method::Grid,
            ("grid", Some(_)) => {
                let words = "`trials` goes with method = \"random\" or \"halving\"; a grid has as many as its space; \
                             remove it";
                self.problems.push(Problem::at(line, words.to_owned()));
                return None;
            }
            ("random", Some(trials)) => Method::Random { trials },
            ("random", None) => {
                let words =
                    "`trials` is missing: method = \"random\" needs it; add, for example, `trials = 20`";
                self.problems.push(Problem::at(line, words.to_owned()));
                return None;
            }
            ("halving", trials) => {
                let (min_epochs, factor) = (min_epochs.unwrap_or(1), factor.unwrap_or(3));
                return Some(Method::Halving { trials, min_epochs, factor });
            }
            (word, _) => {
                let methods = ["grid", "random", "halving"];
                let near = nearest(word, &methods).map(|near| format!("; did you mean \"{near}\"?"));
                let words = format!(
                    "`method` is \"{word}\", expected \"grid\", \"random\" or \"halving\"{}",
                    near.unwrap_or_default()
                );
                self.problems.push(Problem::at(line, words));
                return None;
            }
        };
        if min_epochs.is_some() || factor.is_some() {
            let words = "`min_epochs` and `factor` go with method = \"halving\"; remove them";
            self.problems.push(Problem::at(line, words.to_owned()));
        }
        Some(method)
    }

    fn direction(&mut self, table: &DeTable<'_>, metric: &str) -> Option<Direction> {
        let Some((mode, line)) = self.text(table, "mode") else {
            let known = Direction::of(metric);
            if known.is_none() {
                let words = format!(
                    "`metric` is \"{metric}\", which is no column of history.csv; write val_loss, train_loss or val_ \
                             and the name of a metric"
                );
                let line = self.text(table, "metric").map(|(_, line)| line);
                self.problems.push(Problem { line, words });
            }
            return known;
        };
        match mode.as_str() {
            "min" => Some(Direction::LowerIsBetter),
            "max" => Some(Direction::HigherIsBetter),
            _ => {
                let words = format!("`mode` is \"{mode}\", expected \"min\" or \"max\"");
                self.problems.push(Problem::at(line, words));
                None
            }
        }
    }

    /// The settings file below the space. Other tables beside it would be below nothing.
    fn base(&mut self, root: &DeTable<'_>, table: &DeTable<'_>, path: &Path) -> Option<PathBuf> {
        let (base, _) = self.text(table, "base")?;
        for (name, _) in root.iter().filter(|(name, _)| name.get_ref() != TABLE) {
            let words = format!(
                "`{}` and `sweep.base` exclude each other: the settings below a sweep stand in one file; move it to {base}, or \
                 remove `base`",
                name.get_ref()
            );
            self.problems.push(Problem::at(self.lines.line(name.span().start), words));
        }
        Some(path.parent().unwrap_or(Path::new("")).join(base))
    }

    /// The value of a key of the table, and its line.
    fn find<'t, 'i>(&self, table: &'t DeTable<'i>, key: &str) -> Option<(&'t DeValue<'i>, usize)> {
        let (name, value) = table.iter().find(|(name, _)| name.get_ref() == key)?;
        Some((value.get_ref(), self.lines.line(name.span().start)))
    }

    fn text(&mut self, table: &DeTable<'_>, key: &str) -> Option<(String, usize)> {
        let (value, line) = self.find(table, key)?;
        match Value::from_toml(value) {
            Value::Text(text) if !text.is_empty() => Some((text, line)),
            other => {
                self.refuse(key, &other, "a string that is not empty", line);
                None
            }
        }
    }

    fn bool(&mut self, table: &DeTable<'_>, key: &str) -> bool {
        let Some((value, line)) = self.find(table, key) else { return false };
        match Value::from_toml(value) {
            Value::Bool(value) => value,
            other => {
                self.refuse(key, &other, "true or false", line);
                false
            }
        }
    }

    fn integer(&mut self, table: &DeTable<'_>, key: &str, default: u64, min: u64) -> u64 {
        self.optional_integer(table, key, min).unwrap_or(default)
    }

    fn optional_integer(&mut self, table: &DeTable<'_>, key: &str, min: u64) -> Option<u64> {
        let (value, line) = self.find(table, key)?;
        let value = Value::from_toml(value);
        let number = if let Value::Integer(number) = value { u64::try_from(number).ok() } else { None };
        if let Some(number) = number.filter(|number| *number >= min) {
            return Some(number);
        }
        self.refuse(key, &value, &format!("an integer of at least {min}"), line);
        None
    }

    fn refuse(&mut self, key: &str, found: &Value, expected: &str, line: usize) {
        let words = format!("`sweep.{key}` is {}, expected {expected}", found.literal());
        self.problems.push(Problem::at(line, words));
    }

    fn unknown_setting(&mut self, key: &KeyPath, line: usize) {
        let remedy = match config::nearest_key(key) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "`trainer config` lists every key".to_owned(),
        };
        self.problems.push(Problem::at(line, format!("unknown setting `{key}`; {remedy}")));
    }
}

/// The word of a list that is nearest to another one, if one is near.
pub(super) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let edits = |known: &&str| strsim::damerau_levenshtein(word, known);
    let near = known.iter().copied().min_by_key(|known| edits(known))?;
    (edits(&near) <= 2.min(word.chars().count() / 2)).then_some(near)
}
