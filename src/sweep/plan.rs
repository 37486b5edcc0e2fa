//! The plan of a sweep: which trials there are, written into its folder before any of them starts.

use super::definition::{Definition, Method};
use super::draw::Drawn;
use super::once::create_once;
use crate::config::{self, ConfigError};
use crate::train::best::Direction;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;
use trainer_runtime::atomic_file;
use trainer_runtime::disk::{DiskError, RealDisk};

/// Its name in the folder of a sweep.
pub const FILE_NAME: &str = "plan.json";

/// The version of the file that this program writes.
const FORMAT: u32 = 1;

/// Far more than the most trials take.
const LIMIT_BYTES: u64 = 64 << 20;

/// What a sweep will do. It follows from `sweep.toml` and the number of threads alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SweepPlan {
    /// Version of the file: 1.
    pub format: u32,
    /// `grid`, `random` or `halving`.
    pub method: String,
    /// Seed of the draws.
    pub seed: u64,
    /// The column by which trials are compared.
    pub metric: String,
    /// `min` or `max`.
    pub mode: String,
    /// Threads of a trial that is not told otherwise. Equal bits need equal threads, so they stay what they were.
    pub threads: usize,
    /// Seconds for which a claim holds whose holder gives no sign of life.
    pub lease_s: u64,
    /// Of successive halving: epochs of the first rung.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_epochs: Option<u64>,
    /// Of successive halving: one of so many goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub factor: Option<u64>,
    /// The settings below what varies, a line `key = value` each.
    pub base: Vec<String>,
    /// The trials by number.
    pub trials: Vec<Trial>,
    /// CRC-32 (IEEE) of this plan as compact JSON with an empty text here, as 8 hexadecimal digits.
    pub crc32: String,
}

/// One run of a sweep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// Its number, from 1.
    pub number: u64,
    /// Its folder below that of the sweep.
    pub name: String,
    /// What varies, and what it is here.
    pub values: BTreeMap<String, String>,
    /// The settings that it has of its own, a line `key = value` each, in order.
    pub settings: Vec<String>,
}

/// A plan that can not be read or written, or that another `sweep.toml` made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PlanError {
    /// It can not be read or made.
    #[error("could not read or write {}: {source}; check the folder of the sweep", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It can not be replaced.
    #[error(transparent)]
    Write(#[from] DiskError),
    /// It is no plan, or was changed by hand.
    #[error(
        "{} is damaged: {reason}; move it aside, and the same sweep.toml makes it again (trials are recognised by their \
         names)",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A later version wrote it.
    #[error("{} has format {found}, and this version knows formats up to {FORMAT}; use the version that wrote it", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
    },
    /// The file below the space can not be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// It is that of another sweep.
    #[error(
        "{} is not what the plan of this sweep was made of:\n  {}\nremedy: undo the change, or use another --work-dir; values \
         may be added to a list of a grid, and `trials` of a random sweep be raised",
        path.display(),
        differences.join("\n  ")
    )]
    Changed {
        /// The sweep's file.
        path: PathBuf,
        /// What differs.
        differences: Vec<String>,
    },
}

impl SweepPlan {
    /// The plan of these trials.
    ///
    /// # Errors
    /// If the file below the space can not be read.
    pub fn of(definition: &Definition, drawn: &[Drawn], threads: usize) -> Result<Self, PlanError> {
        let trials = drawn.iter().map(|trial| Trial {
            number: trial.number,
            name: trial.name.clone(),
            values: trial.values.iter().cloned().collect(),
            settings: trial
                .settings
                .iter()
                .map(|varied| format!("{} = {}", varied.key, varied.value.literal()))
                .collect(),
        });
        let (min_epochs, factor) = match definition.method {
            Method::Halving { min_epochs, factor, .. } => (Some(min_epochs), Some(factor)),
            Method::Grid | Method::Random { .. } => (None, None),
        };
        let plan = Self {
            format: FORMAT,
            method: definition.method.name().to_owned(),
            seed: definition.seed,
            metric: definition.metric.clone(),
            mode: if definition.direction == Direction::HigherIsBetter { "max" } else { "min" }.to_owned(),
            threads,
            lease_s: definition.lease.as_secs(),
            min_epochs,
            factor,
            base: base_lines(definition, threads)?,
            trials: trials.collect(),
            crc32: String::new(),
        };
        Ok(plan.sealed())
    }

    /// The plan in the folder of a sweep, if there is one.
    ///
    /// # Errors
    /// If it is there and can not be read, or is not whole.
    pub fn read(sweep_dir: &Path) -> Result<Option<Self>, PlanError> {
        let path = sweep_dir.join(FILE_NAME);
        let bytes = match fs::metadata(&path) {
            Ok(found) if found.len() > LIMIT_BYTES => {
                return Err(PlanError::Damaged {
                    path,
                    reason: format!("it has more than {LIMIT_BYTES} bytes"),
                });
            }
            Ok(_) => fs::read(&path),
            Err(error) => Err(error),
        };
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(PlanError::Io { path, source }),
        };
        let json: serde_json::Value = serde_json::from_slice(&bytes)
            .map_err(|error| PlanError::Damaged { path: path.clone(), reason: error.to_string() })?;
        if let Some(found) = json.get("format").and_then(serde_json::Value::as_u64)
            && found > u64::from(FORMAT)
        {
            return Err(PlanError::Version { path, found });
        }
        let plan: Self = serde_json::from_value(json)
            .map_err(|error| PlanError::Damaged { path: path.clone(), reason: error.to_string() })?;
        if plan.clone().sealed().crc32 != plan.crc32 {
            return Err(PlanError::Damaged { path, reason: "its checksum does not fit".to_owned() });
        }
        Ok(Some(plan))
    }

    /// Brings the folder of a sweep to this plan: makes it, finds the same one there, or adds trials to it. Gives the plan
    /// that holds, and how many trials were added to one that was there. The caller holds the lock of the folder.
    ///
    /// # Errors
    /// If the plan there is another, or storage fails.
    pub fn adopt(self, sweep_dir: &Path, definition: &Definition) -> Result<(Self, usize), PlanError> {
        let path = sweep_dir.join(FILE_NAME);
        let Some(known) = Self::read(sweep_dir)? else {
            let made = create_once(&path, &self.bytes());
            return match made.map_err(|source| PlanError::Io { path, source })? {
                true => Ok((self, 0)),
                // Somebody was faster, on a file system whose locks do not reach other machines.
                false => self.adopt(sweep_dir, definition),
            };
        };
        let count = known.trials.len();
        let plan = self.over(known.clone(), definition)?;
        if plan != known {
            atomic_file::write(&RealDisk, &path, &plan.bytes())?;
        }
        let added = plan.trials.len() - count;
        Ok((plan, added))
    }

    /// This plan in the place of the `known` one: its trials keep their numbers, and further ones come behind them.
    ///
    /// # Errors
    /// If the known one is that of another sweep.
    pub fn over(self, known: Self, definition: &Definition) -> Result<Self, PlanError> {
        let differences = self.differences(&known, definition)?;
        if !differences.is_empty() {
            return Err(PlanError::Changed { path: definition.path.clone(), differences });
        }
        let is_new = |trial: &&Trial| !known.trials.iter().any(|old| trial.is(old));
        let added: Vec<Trial> = self.trials.iter().filter(is_new).cloned().collect();
        let is_as_known = (&self.metric, &self.mode) == (&known.metric, &known.mode);
        if added.is_empty() && is_as_known {
            return Ok(known);
        }
        let first = known.trials.len() as u64 + 1;
        let mut trials = known.trials;
        trials.extend((first..).zip(added).map(|(number, trial)| Trial { number, ..trial }));
        Ok(Self { trials, ..self }.sealed())
    }

    /// The plan with some of its trials alone, for those who look at it.
    #[must_use]
    pub fn with_only(mut self, is_wanted: impl Fn(&Trial) -> bool) -> Self {
        self.trials.retain(is_wanted);
        self.sealed()
    }

    /// What keeps this plan from taking the place of the `known` one.
    fn differences(&self, known: &Self, definition: &Definition) -> Result<Vec<String>, PlanError> {
        let mut differences = Vec::new();
        let number = |number: Option<u64>| number.map_or("not set".to_owned(), |number| number.to_string());
        let pairs = [
            ("sweep.method", known.method.clone(), self.method.clone()),
            ("sweep.seed", known.seed.to_string(), self.seed.to_string()),
            ("sweep.lease_s", known.lease_s.to_string(), self.lease_s.to_string()),
            ("sweep.min_epochs", number(known.min_epochs), number(self.min_epochs)),
            ("sweep.factor", number(known.factor), number(self.factor)),
        ];
        let changed = pairs.into_iter().filter(|(_, old, new)| old != new);
        differences.extend(changed.map(|(key, old, new)| format!("{key}: {old} -> {new}")));
        // What a rung decided depends on the metric.
        if self.method == "halving" && (&self.metric, &self.mode) != (&known.metric, &known.mode) {
            differences.push(format!(
                "sweep.metric: {} ({}) -> {} ({})",
                known.metric, known.mode, self.metric, self.mode
            ));
        }
        differences.extend(different_settings(
            &known.base,
            &base_lines(definition, known.threads)?,
            sweep_path(definition),
        ));
        for old in &known.trials {
            match self.trials.iter().find(|new| new.settings == old.settings && new.name == old.name) {
                Some(_) => {}
                None => {
                    let renamed = self.trials.iter().find(|new| new.settings == old.settings);
                    differences.push(match renamed {
                        Some(new) => {
                            format!("trial {} ({}) would be called {}", old.number, old.name, new.name)
                        }
                        None => format!(
                            "trial {} ({}) is gone: {}",
                            old.number,
                            old.name,
                            old.settings.join(", ")
                        ),
                    });
                }
            }
        }
        let is_more = self.trials.iter().any(|new| !known.trials.iter().any(|old| new.is(old)));
        if self.method == "halving" && is_more {
            differences
                .push("there are more trials, which would have taken part in the first rung".to_owned());
        }
        Ok(differences)
    }

    /// What a trial is called for others that do not share its folder: a digest (XXH3, 128 bits) of its name, its settings
    /// and those below them. Of files below, the names count and not the folders, which differ between machines.
    #[must_use]
    pub fn trial_id(&self, trial: &Trial) -> String {
        let without_folder = |line: &str| match line.split_once(" = \"/") {
            Some((key, path)) => format!("{key} = {}", path.rsplit('/').next().unwrap_or(path)),
            None => line.to_owned(),
        };
        let base =
            self.base.iter().filter(|line| !line.starts_with("threads = ") && !line.starts_with("mlflow."));
        let mut text: Vec<String> = base.map(|line| without_folder(line)).collect();
        text.push(trial.name.clone());
        text.extend(trial.settings.iter().cloned());
        format!("{:032x}", xxhash_rust::xxh3::xxh3_128(text.join("\n").as_bytes()))
    }

    fn sealed(mut self) -> Self {
        self.crc32 = String::new();
        // Text, numbers and lists are always JSON.
        let bytes = serde_json::to_vec(&self).unwrap_or_default();
        self.crc32 = format!("{:08x}", crc32fast::hash(&bytes));
        self
    }

    fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).unwrap_or_default()
    }
}

impl Trial {
    fn is(&self, other: &Self) -> bool {
        self.name == other.name && self.settings == other.settings
    }
}

fn sweep_path(definition: &Definition) -> &Path {
    definition.base.as_deref().unwrap_or(&definition.path)
}

/// The settings below what varies, as lines. Data and models that only the trials name are not missed.
fn base_lines(definition: &Definition, threads: usize) -> Result<Vec<String>, PlanError> {
    let given = config::given_settings(definition.below(), &definition.path)?;
    let mut lines: Vec<String> = given.iter().map(|(key, value)| format!("{key} = {value}")).collect();
    let has_threads = given.keys().any(|key| key == "threads");
    if !has_threads {
        lines.push(format!("threads = {threads}"));
    }
    Ok(lines)
}

/// What differs between two lists of lines `key = value`.
fn different_settings(old: &[String], new: &[String], path: &Path) -> Vec<String> {
    fn split(lines: &[String]) -> BTreeMap<&str, &str> {
        lines.iter().filter_map(|line| line.split_once(" = ")).collect()
    }
    let (old, new) = (split(old), split(new));
    let keys: std::collections::BTreeSet<&str> = old.keys().chain(new.keys()).copied().collect();
    let word = |value: Option<&&str>| value.map_or("not set".to_owned(), |value| (*value).to_owned());
    keys.into_iter()
        .filter(|key| old.get(key) != new.get(key))
        .map(|key| format!("{key}: {} -> {} ({})", word(old.get(key)), word(new.get(key)), path.display()))
        .collect()
}
