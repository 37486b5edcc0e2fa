//! The table `[sweep.space]`: what varies, and over which values.

use super::{Problem, Reader};
use crate::config::{self, KeyPath, Value, Varied};
use toml::de::{DeTable, DeValue};

/// Most values of one axis that a grid makes of a range.
const MOST_OF_RANGE: f64 = 10_000.0;

/// Up to here a double holds every whole number, and no other becomes one of these: 2 to the 53, less 1.
const MOST_WHOLE: f64 = 9_007_199_254_740_991.0;

/// Something that varies.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    /// The setting as it is written, or the name of a choice.
    pub name: String,
    /// What it takes.
    pub span: Span,
    /// Its line in the file, from 1.
    pub line: usize,
}

/// What an axis takes.
#[derive(Debug, Clone, PartialEq)]
pub enum Span {
    /// One of these; at least one.
    Choices(Vec<Choice>),
    /// A number.
    Range(Range),
}

/// One value of an axis: what it is called, and the settings that it stands for.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// The value's text, or the name of the choice.
    pub label: String,
    /// The settings.
    pub settings: Vec<Varied>,
}

/// A range of numbers of one setting.
#[derive(Debug, Clone, PartialEq)]
pub struct Range {
    /// The setting.
    pub key: KeyPath,
    /// The smallest number.
    pub min: f64,
    /// The largest number, which is part of it.
    pub max: f64,
    /// Whether orders of magnitude are drawn evenly, not numbers.
    pub is_log: bool,
    /// Only `min` and multiples of this above it.
    pub step: Option<f64>,
    /// Whether the numbers are whole.
    pub is_whole: bool,
}

impl Axis {
    /// The one value of this axis that stands for `number`.
    #[must_use]
    pub fn choice_of(&self, range: &Range, number: f64) -> Choice {
        let value = if range.is_whole { Value::Integer(number as i128) } else { Value::Float(number) };
        let varied = Varied { key: range.key.clone(), value, line: self.line };
        Choice { label: label(&varied.value), settings: vec![varied] }
    }

    /// Every value, for a grid; `None` for a range without a step.
    #[must_use]
    pub fn values(&self) -> Option<Vec<Choice>> {
        match &self.span {
            Span::Choices(choices) => Some(choices.clone()),
            Span::Range(range) => {
                let step = range.step?;
                let count = ((range.max - range.min) / step + 1e-9).floor();
                let steps = 0..=count.min(MOST_OF_RANGE) as u64;
                Some(steps.map(|at| self.choice_of(range, range.at_step(at, step))).collect())
            }
        }
    }
}

impl Range {
    /// The number so many steps above the smallest.
    #[must_use]
    pub fn at_step(&self, at: u64, step: f64) -> f64 {
        let number = (self.min + at as f64 * step).min(self.max);
        // Whole numbers are exact as they are.
        if self.is_whole { number } else { rounded(number) }
    }
}

/// Rounded to 9 digits, so that 0.1 + 2 * 0.1 is 0.3, and a logarithm gives the same on every machine.
pub(in crate::sweep) fn rounded(number: f64) -> f64 {
    format!("{number:.8e}").parse().unwrap_or(number)
}

/// The text of a value: that of a string without its quotes.
fn label(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        other => other.literal(),
    }
}

impl Reader<'_> {
    pub(super) fn space(&mut self, table: &DeTable<'_>, table_line: usize) -> Vec<Axis> {
        let Some((space, line)) = self.find(table, "space") else {
            let words = "`sweep.space` is missing: nothing varies; add a table [sweep.space] with, for example, \
                         \"optimizer.lr\" = [0.001, 0.01]";
            self.problems.push(Problem::at(table_line, words.to_owned()));
            return Vec::new();
        };
        let DeValue::Table(space) = space else {
            self.problems.push(Problem::at(line, "`sweep.space` is no table".to_owned()));
            return Vec::new();
        };
        let mut axes = Vec::new();
        self.axes_of(space, &KeyPath::default(), &mut axes);
        axes.sort_by_key(|(start, _)| *start);
        let axes: Vec<Axis> = axes.into_iter().map(|(_, axis)| axis).collect();
        if axes.is_empty() && self.problems.is_empty() {
            self.problems.push(Problem::at(line, "`sweep.space` is empty: nothing varies".to_owned()));
        }
        self.refuse_twice(&axes);
        axes
    }

    /// The axes in a table, each with where it begins. Settings may be written as `"optimizer.lr"` and, as TOML reads keys
    /// without quotes, as tables in tables.
    fn axes_of(&mut self, table: &DeTable<'_>, at: &KeyPath, axes: &mut Vec<(usize, Axis)>) {
        for (name, node) in table {
            let (start, text) = (name.span().start, name.get_ref().as_ref());
            let line = self.lines.line(start);
            let path = match config::parse_key(text) {
                Some(key) => key.segments().iter().fold(at.clone(), |path, segment| path.child(segment)),
                None => at.child(text),
            };
            let is_setting = config::key_at(&path).is_some();
            let span = match node.get_ref() {
                DeValue::Array(_) if !is_setting => {
                    self.unknown_setting(&path, line);
                    None
                }
                DeValue::Array(items) => self.listed(&path, items.iter().map(|item| item.get_ref()), line),
                DeValue::Table(range) if is_setting => self.range(&path, range, line),
                DeValue::Table(inner) if is_nested(inner, &path) => {
                    self.axes_of(inner, &path, axes);
                    None
                }
                DeValue::Table(range) if range.contains_key("min") || range.contains_key("max") => {
                    self.unknown_setting(&path, line);
                    None
                }
                DeValue::Table(choices) => self.choices(text, choices, line),
                _ if is_setting => {
                    let words = format!(
                        "`{path}` has one value: write a list, a range {{ min = .., max = .. }}, or move it to \
                                         the settings below the sweep"
                    );
                    self.problems.push(Problem::at(line, words));
                    None
                }
                _ => {
                    self.unknown_setting(&path, line);
                    None
                }
            };
            if let Some(span) = span {
                let name = if is_setting { path.to_string() } else { text.to_owned() };
                axes.push((start, Axis { name, span, line }));
            }
        }
    }

    fn listed<'v, 'i: 'v>(
        &mut self,
        path: &KeyPath,
        items: impl Iterator<Item = &'v DeValue<'i>>,
        line: usize,
    ) -> Option<Span> {
        let mut choices: Vec<Choice> = Vec::new();
        for item in items {
            let value = Value::from_toml(item);
            let label = label(&value);
            if choices.iter().any(|choice| choice.label == label) {
                self.problems.push(Problem::at(line, format!("`{path}` has {label} twice; remove one")));
                continue;
            }
            choices.push(Choice { label, settings: vec![Varied { key: path.clone(), value, line }] });
        }
        if choices.is_empty() {
            self.problems.push(Problem::at(line, format!("`{path}` has no values; give at least one")));
            return None;
        }
        Some(Span::Choices(choices))
    }

    fn choices(&mut self, name: &str, table: &DeTable<'_>, line: usize) -> Option<Span> {
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(label, _)| label.span().start);
        let mut choices = Vec::new();
        for (label, node) in entries {
            let line = self.lines.line(label.span().start);
            let DeValue::Table(settings) = node.get_ref() else {
                let words = format!(
                    "`{name}.{}` is no table of settings; write {name} = {{ NAME = {{ \"some.setting\" = VALUE }} }}, or name \
                     a setting; `trainer config` lists them",
                    label.get_ref()
                );
                self.problems.push(Problem::at(line, words));
                continue;
            };
            let mut varied = Vec::new();
            self.settings_of(settings, &KeyPath::default(), &mut varied);
            choices.push(Choice { label: label.get_ref().to_string(), settings: varied });
        }
        if choices.is_empty() {
            self.problems.push(Problem::at(line, format!("`{name}` has no choices; give at least one")));
            return None;
        }
        Some(Span::Choices(choices))
    }

    /// The settings of a choice, in tables or with dots.
    fn settings_of(&mut self, table: &DeTable<'_>, at: &KeyPath, varied: &mut Vec<Varied>) {
        for (name, node) in table {
            let (line, text) = (self.lines.line(name.span().start), name.get_ref().as_ref());
            let key = match config::parse_key(text) {
                Some(key) => key.segments().iter().fold(at.clone(), |path, segment| path.child(segment)),
                None => at.child(text),
            };
            match node.get_ref() {
                _ if config::key_at(&key).is_some() => {
                    varied.push(Varied { key, value: Value::from_toml(node.get_ref()), line });
                }
                DeValue::Table(inner) => self.settings_of(inner, &key, varied),
                _ => self.unknown_setting(&key, line),
            }
        }
    }

    fn range(&mut self, path: &KeyPath, table: &DeTable<'_>, line: usize) -> Option<Span> {
        let mut numbers = [None, None, None];
        let (mut is_log, mut is_whole, mut is_right) = (false, true, true);
        for (name, node) in table {
            let (at, value) = (name.get_ref().as_ref(), Value::from_toml(node.get_ref()));
            let slot = ["min", "max", "step"].iter().position(|known| *known == at);
            match (slot.and_then(|slot| numbers.get_mut(slot)), at, &value) {
                (Some(slot), _, Value::Integer(number)) => *slot = Some(*number as f64),
                (Some(slot), _, Value::Float(number)) if number.is_finite() => {
                    (*slot, is_whole) = (Some(*number), false);
                }
                (None, "log", Value::Bool(log)) => is_log = *log,
                (found, ..) => {
                    is_right = false;
                    let words = match found {
                        Some(_) => format!("`{path}`: {at} is {}, expected a number", value.literal()),
                        None => format!(
                            "`{path}`: {at} = {} is not of a range: it has min, max, step and log",
                            value.literal()
                        ),
                    };
                    self.problems.push(Problem::at(line, words));
                }
            }
        }
        let [min, max, step] = numbers;
        let wrong = match (min, max, step) {
            _ if !is_right => return None,
            (Some(min), Some(max), _) if min > max => format!("min {min} is above max {max}"),
            (Some(min), Some(max), _) if is_whole && min.abs().max(max.abs()) > MOST_WHOLE => {
                format!("whole numbers of a range go up to {MOST_WHOLE}; take a list for larger ones")
            }
            (Some(min), Some(_), _) if is_log && min <= 0.0 => {
                format!("min {min} has no logarithm; give one above 0")
            }
            (Some(_), Some(_), Some(_)) if is_log => "step and log exclude each other".to_owned(),
            (Some(_), Some(_), Some(step)) if step <= 0.0 => {
                format!("step is {step}, expected a number above 0")
            }
            (Some(min), Some(max), step) => {
                return Some(Span::Range(Range { key: path.clone(), min, max, is_log, step, is_whole }));
            }
            _ => "a range needs min and max".to_owned(),
        };
        self.problems.push(Problem::at(line, format!("`{path}`: {wrong}")));
        None
    }

    /// Two axes that set one setting would hide each other.
    fn refuse_twice(&mut self, axes: &[Axis]) {
        for (index, axis) in axes.iter().enumerate() {
            for key in keys_of(axis) {
                let other = axes.iter().take(index).find(|other| keys_of(other).contains(&key));
                if let Some(other) = other {
                    let words = format!(
                        "`{key}` varies with `{}` (line {}), too; remove one",
                        other.name, other.line
                    );
                    self.problems.push(Problem::at(axis.line, words));
                }
            }
        }
    }
}

/// The settings that an axis sets.
fn keys_of(axis: &Axis) -> Vec<KeyPath> {
    match &axis.span {
        Span::Range(range) => vec![range.key.clone()],
        Span::Choices(choices) => {
            let mut keys: Vec<KeyPath> = choices
                .iter()
                .flat_map(|choice| choice.settings.iter().map(|varied| varied.key.clone()))
                .collect();
            keys.sort();
            keys.dedup();
            keys
        }
    }
}

/// Whether a table is one of settings, as TOML reads `optimizer.lr = [..]` without quotes.
fn is_nested(table: &DeTable<'_>, at: &KeyPath) -> bool {
    !table.is_empty()
        && table.iter().all(|(name, node)| {
            let path = at.child(name.get_ref());
            match node.get_ref() {
                DeValue::Table(inner) if config::key_at(&path).is_none() => is_nested(inner, &path),
                _ => config::key_at(&path).is_some(),
            }
        })
}
