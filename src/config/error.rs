//! What can be wrong with settings, and where a value comes from.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::value::cut;

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody gave it.
    Default,
    /// A settings file.
    File {
        /// The file as it was named.
        path: PathBuf,
        /// Line of the key, from 1.
        line: usize,
    },
    /// `--set`; the text after it.
    Set(String),
    /// A flag of its own, such as `--lr`.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Set(text) => write!(f, "--set {}", cut(text)),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file can not be read.
    #[error("can not read the settings file {}: {source}; check the path and the permissions", path.display())]
    Read {
        /// The file as it was named.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The path leads to something that is no file.
    #[error("the settings file {} is {found}, not a file; name the .toml file itself", path.display())]
    NotAFile {
        /// The path as it was named.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// The file is too large to be one of settings.
    #[error(
        "the settings file {} has more than {limit_bytes} bytes; settings are far smaller, so check that it is the \
         right file",
        path.display()
    )]
    TooLarge {
        /// The file as it was named.
        path: PathBuf,
        /// The largest size that is read.
        limit_bytes: u64,
    },
    /// The file is not text.
    #[error(
        "the settings file {}, line {line}: byte {offset} of the file is {found:#04x}, which is not UTF-8; save \
         the file as UTF-8",
        path.display()
    )]
    NotUtf8 {
        /// The file as it was named.
        path: PathBuf,
        /// Line of the first wrong byte, from 1.
        line: usize,
        /// Its offset in the file.
        offset: usize,
        /// Its value.
        found: u8,
    },
    /// The file is not TOML.
    #[error("{}:{line}:{column}: this is not TOML: {message}; correct the line", path.display())]
    Syntax {
        /// The file as it was named.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
        /// What the TOML reader says.
        message: String,
    },
    /// Settings that can be read, but are wrong; all that were found.
    #[error("{}", listed(problems))]
    Invalid {
        /// At least one.
        problems: Vec<Problem>,
    },
}

/// One line for one problem; a heading and a line each for more.
fn listed(problems: &[Problem]) -> String {
    match problems {
        [only] => only.to_string(),
        _ => {
            let lines: Vec<String> = problems.iter().map(|problem| format!("\n  {problem}")).collect();
            format!("{} settings are wrong:{}", problems.len(), lines.concat())
        }
    }
}

/// One thing that is wrong with the settings.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// `--set` without `=`, or with something before it that is no key.
    #[error("--set {}: {found}; write --set key.path=value, for example --set train.epochs=40", cut(text))]
    SetSyntax {
        /// What was given.
        text: String,
        /// What is wrong with it.
        found: String,
    },
    /// A key that does not exist.
    #[error("{origin}: unknown key `{key}`; {}", suggestion(nearest.as_deref()))]
    UnknownKey {
        /// Where it stands.
        origin: Origin,
        /// Its path.
        key: String,
        /// The nearest known key, if one is near.
        nearest: Option<String>,
    },
    /// More unknown keys than anybody wants to read.
    #[error("{}: {count} more unknown keys; `trainer config` lists every key", path.display())]
    MoreUnknownKeys {
        /// The file.
        path: PathBuf,
        /// How many are not listed.
        count: usize,
    },
    /// A value of the wrong type, or outside the range.
    #[error("{origin}: `{key}` is {found}, expected {expected}; {remedy}")]
    Value {
        /// Where it stands.
        origin: Origin,
        /// Its path.
        key: String,
        /// The value, cut if it is long.
        found: String,
        /// What is taken.
        expected: String,
        /// What to do.
        remedy: String,
    },
    /// A setting of another kind than the one that was chosen.
    #[error(
        "{origin}: `{key}` does not apply: it goes with {takes}, but {chosen} ({chosen_origin}); remove it or \
         choose another `{selector}`"
    )]
    NotApplicable {
        /// Where it stands.
        origin: Origin,
        /// Its path.
        key: String,
        /// The key of the choice.
        selector: &'static str,
        /// With what it applies.
        takes: String,
        /// What was chosen, in words.
        chosen: String,
        /// Where that was chosen.
        chosen_origin: Origin,
    },
    /// Two settings that exclude each other.
    #[error(
        "{second_origin}: `{second}` and `{first}` ({first_origin}) exclude each other; remove one of them"
    )]
    Exclusive {
        /// One path.
        first: String,
        /// Where it stands.
        first_origin: Origin,
        /// The other path.
        second: String,
        /// Where it stands.
        second_origin: Origin,
    },
    /// A setting that must be given.
    #[error("`{key}` is missing: {reason}; {remedy}")]
    Missing {
        /// Its path.
        key: String,
        /// Why it is needed.
        reason: String,
        /// What to do.
        remedy: String,
    },
    /// A path that can not be written into a settings file.
    #[error(
        "{origin}: `{key}` leads to {}, which is not UTF-8 and could not be written into the settings of the run; \
         rename the folder",
        path.display()
    )]
    PathNotUtf8 {
        /// Where it stands.
        origin: Origin,
        /// Its path in the settings.
        key: String,
        /// The complete path.
        path: PathBuf,
    },
    /// A path that can not be made absolute.
    #[error(
        "{origin}: `{key}` is {found}, which can not be made an absolute path: {reason}; give an absolute path"
    )]
    PathNotAbsolute {
        /// Where it stands.
        origin: Origin,
        /// Its path in the settings.
        key: String,
        /// The value.
        found: String,
        /// What the system says.
        reason: String,
    },
}

impl Problem {
    /// Where people look for it: files from the top, then the command line, then what stands nowhere.
    pub(super) fn place(&self) -> (u8, Option<&Path>, usize) {
        match self {
            Self::UnknownKey { origin, .. }
            | Self::Value { origin, .. }
            | Self::NotApplicable { origin, .. }
            | Self::Exclusive { second_origin: origin, .. }
            | Self::PathNotUtf8 { origin, .. }
            | Self::PathNotAbsolute { origin, .. } => match origin {
                Origin::File { path, line } => (0, Some(path), *line),
                Origin::Set(_) => (1, None, 0),
                Origin::Flag(_) => (2, None, 0),
                Origin::Default => (3, None, 0),
            },
            Self::MoreUnknownKeys { path, .. } => (0, Some(path), usize::MAX),
            Self::SetSyntax { .. } => (1, None, 0),
            Self::Missing { .. } => (3, None, 0),
        }
    }
}

fn suggestion(nearest: Option<&str>) -> String {
    match nearest {
        Some(known) => format!("did you mean `{known}`?"),
        None => "remove it; `trainer config` lists every key".to_owned(),
    }
}

/// A setting that was given and is not used, because a later source decided otherwise. It is to be announced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Path of the setting that is not used.
    pub key: String,
    /// Where it stands.
    pub origin: Origin,
    /// Path of the setting that decided otherwise.
    pub by_key: String,
    /// Where that stands.
    pub by_origin: Origin,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, origin, by_key, by_origin } = self;
        write!(f, "{origin}: `{key}` is not used, because `{by_key}` ({by_origin}) comes later")
    }
}
