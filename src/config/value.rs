//! Values and key paths of the settings document, and how both are written in TOML.

use std::fmt;
use std::fmt::Write as _;

use toml::de::DeValue;

/// Longest piece of a found value that a message quotes, in characters.
const QUOTED_CHARS: usize = 60;

/// One value of the settings document.
///
/// Integers are 128 bits wide here, so that every `u64` (a seed, for instance) survives being written and read
/// again, and so that a number beyond the range of a key is reported as such instead of as a syntax error.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Integer(i128),
    /// A floating-point number.
    Float(f64),
    /// A string.
    Text(String),
    /// An array.
    List(Vec<Value>),
    /// Something that no setting takes.
    Foreign {
        /// What it is, with its article.
        kind: &'static str,
        /// Its text, or a sketch of it.
        text: String,
    },
}

impl Value {
    /// The value of a parsed TOML node; tables, which the caller descends into, come out as [`Value::Foreign`].
    pub fn from_toml(node: &DeValue<'_>) -> Self {
        match node {
            DeValue::Boolean(value) => Self::Bool(*value),
            DeValue::Integer(digits) => i128::from_str_radix(digits.as_str(), digits.radix())
                .map_or_else(|_| Self::foreign("a huge integer", digits.to_string()), Self::Integer),
            DeValue::Float(digits) => digits
                .as_str()
                .parse()
                .map_or_else(|_| Self::foreign("a float", digits.as_str().to_owned()), Self::Float),
            DeValue::String(text) => Self::Text(text.clone().into_owned()),
            DeValue::Array(items) => {
                Self::List(items.iter().map(|item| Self::from_toml(item.get_ref())).collect())
            }
            DeValue::Datetime(when) => Self::foreign("a date or time", when.to_string()),
            DeValue::Table(_) => Self::foreign("a table", "{ ... }".to_owned()),
        }
    }

    fn foreign(kind: &'static str, text: String) -> Self {
        Self::Foreign { kind, text }
    }

    /// Parses one TOML value.
    pub(super) fn parse(text: &str) -> Result<Self, toml::de::Error> {
        DeValue::parse(text).map(|node| Self::from_toml(node.get_ref()))
    }

    /// The value as TOML text on one line, which parses back to an equal value.
    pub fn literal(&self) -> String {
        match self {
            Self::Bool(value) => value.to_string(),
            Self::Integer(value) => value.to_string(),
            // Rust writes the shortest digits that read back as the same bits; only `NaN` is spelled differently.
            Self::Float(value) if value.is_nan() => "nan".to_owned(),
            Self::Float(value) => format!("{value:?}"),
            Self::Text(text) => quoted(text),
            Self::List(items) => {
                let items: Vec<String> = items.iter().map(Self::literal).collect();
                format!("[{}]", items.join(", "))
            }
            Self::Foreign { text, .. } => text.clone(),
        }
    }

    /// The value for a message: its text, cut if long, and what it is.
    pub(super) fn described(&self) -> String {
        let kind = match self {
            Self::Bool(_) => "a bool",
            Self::Integer(_) => "an integer",
            Self::Float(_) => "a float",
            Self::Text(_) => "a string",
            Self::List(_) => "an array",
            Self::Foreign { kind, .. } => kind,
        };
        format!("{} ({kind})", self.short())
    }

    /// The value for a message, cut if long.
    pub(super) fn short(&self) -> String {
        cut(&self.literal())
    }

    /// The value as JSON; numbers that JSON can not hold become strings.
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Bool(value) => (*value).into(),
            Self::Integer(value) => match (u64::try_from(*value), i64::try_from(*value)) {
                (Ok(value), _) => value.into(),
                (_, Ok(value)) => value.into(),
                _ => value.to_string().into(),
            },
            Self::Float(value) if value.is_finite() => (*value).into(),
            Self::Float(value) => value.to_string().into(),
            Self::Text(text) | Self::Foreign { text, .. } => text.clone().into(),
            Self::List(items) => items.iter().map(Self::to_json).collect(),
        }
    }
}

/// `text`, cut to the length that a message quotes.
pub(super) fn cut(text: &str) -> String {
    match text.char_indices().nth(QUOTED_CHARS) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
    }
}

/// `text` as a TOML basic string on one line.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// The path of one key, for instance `train.epochs` or `data.inputs."input.1".scale`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyPath(Vec<String>);

impl KeyPath {
    /// The path made of these segments.
    pub fn of<'a>(segments: impl IntoIterator<Item = &'a str>) -> Self {
        Self(segments.into_iter().map(str::to_owned).collect())
    }

    /// The path of a declared key, whose segments contain no dots.
    pub fn dotted(path: &str) -> Self {
        Self::of(path.split('.').filter(|segment| !segment.is_empty()))
    }

    /// The path of a key inside this table.
    #[must_use]
    pub fn child(&self, segment: &str) -> Self {
        let mut path = self.clone();
        path.0.push(segment.to_owned());
        path
    }

    /// The segments from the outermost table to the key.
    pub fn segments(&self) -> &[String] {
        &self.0
    }

    /// The last segment, as it stands before the `=`.
    pub(super) fn leaf(&self) -> String {
        self.0.last().map(|segment| bare_or_quoted(segment)).unwrap_or_default()
    }

    /// Whether the key lies in the table at `prefix`, at any depth, or is that table.
    pub(super) fn is_under(&self, prefix: &Self) -> bool {
        self.0.starts_with(&prefix.0)
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, segment) in self.0.iter().enumerate() {
            if position > 0 {
                f.write_char('.')?;
            }
            f.write_str(&bare_or_quoted(segment))?;
        }
        Ok(())
    }
}

/// A segment as TOML writes it: bare where that is allowed, otherwise quoted.
fn bare_or_quoted(segment: &str) -> String {
    let is_bare =
        !segment.is_empty() && segment.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if is_bare { segment.to_owned() } else { quoted(segment) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_literal_reads_back(value: Value) {
        let text = value.literal();
        assert_eq!(Value::parse(&text).expect(&text), value, "{text}");
    }

    #[test]
    fn every_kind_of_value_reads_back_from_its_literal() {
        check_literal_reads_back(Value::Bool(true));
        check_literal_reads_back(Value::Integer(i128::from(u64::MAX)));
        check_literal_reads_back(Value::Integer(-100));
        for float in [0.1, 1e-8, 1e300, 5e-324, -0.0, 1.0, 0.00392, 123_456_789.125] {
            check_literal_reads_back(Value::Float(float));
        }
        for text in ["", "a b", "\"quoted\" \\ back", "line\nbreak\ttab\r", "\u{7f}\u{1}\u{85}", "größe"] {
            check_literal_reads_back(Value::Text(text.to_owned()));
        }
        check_literal_reads_back(Value::List(vec![Value::Integer(1), Value::Float(0.5)]));
    }

    #[test]
    fn a_name_with_a_dot_is_quoted_in_its_path() {
        let path = KeyPath::of(["data", "inputs", "input.1", "scale"]);
        assert_eq!(path.to_string(), "data.inputs.\"input.1\".scale");
    }

    #[test]
    fn a_long_value_is_cut_in_messages() {
        let described = Value::Text("ä".repeat(5000)).described();
        assert!(described.chars().count() < 80, "{described}");
    }
}
