//! From the sources of settings to the plan.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::build::{build, stand_in_for_data};
use super::document::{read_file, read_flag, read_set, read_text};
use super::error::{ConfigError, Notice, Origin};
use super::plan::Plan;
use super::settings::{Layer, Settings};
use super::value::{KeyPath, Value};

/// Where settings come from. Later fields win over earlier ones, and all of them over the defaults.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The settings that a run wrote into its work directory, when it is resumed.
    pub work_dir_file: Option<PathBuf>,
    /// The file of `--config`. If it names an input, target or dimension, it names them all.
    pub file: Option<PathBuf>,
    /// The texts of all `--set`; of two with the same key the last one holds.
    pub sets: Vec<String>,
    /// Flags that stand for one setting each.
    pub flags: Vec<FlagValue>,
    /// Whether no data will be opened, so that none need be named.
    pub without_data: bool,
    /// The default number of threads; `None` asks the system how many cores this process may use.
    pub cores: Option<usize>,
}

/// A setting given by a flag of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct FlagValue {
    /// The flag, such as `--lr`.
    pub flag: &'static str,
    /// The dotted path of the setting.
    pub key: &'static str,
    /// The value.
    pub value: Value,
}

/// The plan, and how it came to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The checked settings.
    pub plan: Plan,
    /// Where each value that somebody gave comes from; all others are defaults.
    pub origins: BTreeMap<KeyPath, Origin>,
    /// Settings that were given and are not used. They are to be announced.
    pub notices: Vec<Notice>,
}

impl Loaded {
    /// Where the value of the setting at a dotted path comes from.
    pub fn origin(&self, path: &str) -> Origin {
        self.origins.get(&KeyPath::dotted(path)).cloned().unwrap_or(Origin::Default)
    }
}

/// Reads all sources and checks what they say together.
///
/// # Errors
/// [`ConfigError`] if a file can not be read or is not TOML, and otherwise with everything that is wrong at once.
pub fn load(sources: &Sources) -> Result<Loaded, ConfigError> {
    let mut settings = Settings::default();
    if let Some(path) = &sources.work_dir_file {
        settings.add(Layer::WorkDir, read_file(path)?);
    }
    if let Some(path) = &sources.file {
        settings.add(Layer::File, read_file(path)?);
    }
    for text in &sources.sets {
        settings.add(Layer::Set, read_set(text));
    }
    for FlagValue { flag, key, value } in &sources.flags {
        settings.add(Layer::Flags, read_flag(flag, key, value));
    }
    if sources.without_data {
        stand_in_for_data(&mut settings);
    }
    finish(settings, sources.cores)
}

/// Checks the text of one settings file, as [`load`] would if that were the only source. `path` is used for messages
/// and for relative paths; the file is not opened.
///
/// # Errors
/// As [`load`].
pub fn from_toml(text: &str, path: &Path) -> Result<Loaded, ConfigError> {
    let mut settings = Settings::default();
    settings.add(Layer::File, read_text(text, path)?);
    finish(settings, None)
}

pub(super) fn finish(mut settings: Settings, cores: Option<usize>) -> Result<Loaded, ConfigError> {
    settings.settle();
    // Where the system does not say, one thread is always right, if slow.
    let cores =
        cores.or_else(|| std::thread::available_parallelism().ok().map(usize::from)).unwrap_or(1).max(1);
    let plan = build(&mut settings, cores);
    match plan {
        Some(plan) if settings.problems.is_empty() => {
            Ok(Loaded { plan, origins: settings.origins(), notices: settings.notices })
        }
        _ => {
            let mut problems = settings.problems;
            problems.sort_by(|a, b| a.place().cmp(&b.place()));
            Err(ConfigError::Invalid { problems })
        }
    }
}
