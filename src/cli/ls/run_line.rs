//! What is said of one run.

use crate::config::from_toml;
use crate::report::recorded::{self, ReadError, Recorded};
use crate::train::event::EpochDone;
use crate::train::history::History;
use serde::Serialize;
use std::collections::BTreeSet;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use trainer_runtime::journal::OpenError;
use trainer_runtime::keeper::JOURNAL_DIR;
use trainer_runtime::lock::{Holder, WorkDirLock};

/// How a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Standing {
    /// A process works on it.
    Running,
    /// Complete.
    Finished,
    /// Not complete, and nobody works on it.
    Interrupted,
    /// Its journal can not be read.
    Damaged,
    /// Whether anybody works on it can not be found out, or a newer program wrote it.
    Unknown,
}

impl Standing {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Interrupted => "interrupted",
            Self::Damaged => "DAMAGED",
            Self::Unknown => "unknown",
        }
    }
}

/// A run.
#[derive(Debug, Serialize)]
pub(super) struct RunLine {
    /// Its folder within the one that is listed.
    pub(super) name: String,
    #[serde(serialize_with = "crate::cli::output::path")]
    pub(super) path: PathBuf,
    pub(super) run_id: Option<String>,
    pub(super) state: Standing,
    /// Who works on it, why it ended, or what is damaged.
    pub(super) detail: Option<String>,
    /// The process that works on it.
    pub(super) pid: Option<u32>,
    /// The machine which that is on.
    pub(super) host: Option<String>,
    /// Epochs that have ended.
    pub(super) epoch: u64,
    /// Epochs of the settings.
    pub(super) epochs: Option<u64>,
    /// The last step; nothing if not even the first is recorded.
    pub(super) step: Option<u64>,
    /// The column by which the best epoch is chosen.
    pub(super) watched: Option<String>,
    pub(super) best: Option<Best>,
    pub(super) attempts: u64,
    /// When a file of it was last written, in seconds since 1970.
    pub(super) last_activity_unix_s: Option<u64>,
    /// What its files take on the disk, each file once.
    pub(super) disk_bytes: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct Best {
    pub(super) value: f64,
    pub(super) epoch: u64,
}

impl RunLine {
    pub(super) fn of(listed: &Path, dir: &Path) -> Self {
        let Usage { disk_bytes, last_activity_unix_s } = Usage::of(dir);
        let name = match dir.strip_prefix(listed) {
            Ok(inner) if inner.as_os_str().is_empty() => dir.display().to_string(),
            Ok(inner) => inner.display().to_string(),
            Err(_) => dir.display().to_string(),
        };
        let mut line = Self {
            name,
            path: dir.to_owned(),
            run_id: None,
            state: Standing::Damaged,
            detail: None,
            pid: None,
            host: None,
            epoch: 0,
            epochs: None,
            step: None,
            watched: None,
            best: None,
            attempts: 0,
            last_activity_unix_s,
            disk_bytes,
        };
        match Recorded::read(dir) {
            Ok(recorded) => line.read(dir, &recorded),
            Err(error) => line.unread(dir, &error),
        }
        line
    }

    fn read(&mut self, dir: &Path, recorded: &Recorded) {
        let Recorded { run_id, history, .. } = recorded;
        self.run_id = Some(run_id.to_string());
        self.epoch = history.epochs.keys().next_back().copied().unwrap_or(0);
        self.step = history.steps.keys().next_back().copied();
        self.attempts = history.attempts;
        self.settings(history);
        match recorded.standing(dir) {
            Ok(recorded::Standing::Running(holder)) => self.running(holder),
            Ok(recorded::Standing::Finished(reason)) => {
                (self.state, self.detail) = (Standing::Finished, Some(reason));
            }
            Ok(recorded::Standing::Interrupted(end)) => {
                (self.state, self.detail) = (Standing::Interrupted, Some(end));
            }
            Err(error) => (self.state, self.detail) = (Standing::Unknown, Some(error.to_string())),
        }
    }

    /// What the settings in force say of the run.
    fn settings(&mut self, history: &History) {
        let plan = history.settings.as_deref().and_then(|text| from_toml(text, Path::new("")).ok());
        let Some(plan) = plan.map(|loaded| loaded.plan) else { return };
        self.epochs = Some(plan.train.epochs);
        let has_validation = |epoch: &EpochDone| epoch.value("val_loss").is_some();
        let watched = match plan.train.early_stopping {
            Some(early_stopping) => early_stopping.monitor,
            None if history.epochs.values().any(has_validation) => "val_loss".to_owned(),
            None => "train_loss".to_owned(),
        };
        let best = history.best_epoch();
        self.best = best.and_then(|epoch| Some(Best { value: epoch.value(&watched)?, epoch: epoch.epoch }));
        self.watched = Some(watched);
    }

    fn running(&mut self, holder: Holder) {
        self.state = Standing::Running;
        let process = holder.pid.map_or("a process".to_owned(), |pid| format!("process {pid}"));
        let on = holder.host.as_ref().map_or(String::new(), |host| format!(" on {host}"));
        self.detail = Some(process + &on);
        (self.pid, self.host) = (holder.pid, holder.host);
    }

    fn unread(&mut self, dir: &Path, error: &ReadError) {
        let holder = WorkDirLock::holder(dir).ok().flatten();
        self.detail = Some(match (error, holder) {
            (_, Some(holder)) => return self.running(holder),
            (ReadError::NoRun { .. }, None) if !dir.join(JOURNAL_DIR).is_dir() => {
                "its journal is gone".to_owned()
            }
            (ReadError::NoRun { .. }, None) => {
                self.state = Standing::Interrupted;
                "nothing is recorded".to_owned()
            }
            (ReadError::Journal(OpenError::Damaged(damage)), None) => {
                format!("record {} of its journal is damaged: {}", damage.sequence, damage.fault)
            }
            // What a newer program wrote is not damaged.
            (ReadError::Journal(OpenError::Version { .. }) | ReadError::Event(_), None) => {
                self.state = Standing::Unknown;
                error.to_string()
            }
            (error, None) => error.to_string(),
        });
    }
}

/// What the files of a folder come to.
#[derive(Default)]
struct Usage {
    disk_bytes: u64,
    last_activity_unix_s: Option<u64>,
}

impl Usage {
    fn of(dir: &Path) -> Self {
        let mut usage = Self::default();
        let mut seen = BTreeSet::new();
        let mut open = vec![dir.to_owned()];
        while let Some(folder) = open.pop() {
            let Ok(entries) = fs::read_dir(folder) else { continue };
            for entry in entries.flatten() {
                // Not of what a link leads to.
                let Ok(found) = entry.metadata() else { continue };
                if found.is_dir() {
                    open.push(entry.path());
                } else if seen.insert((found.dev(), found.ino())) {
                    usage.add(&found);
                }
            }
        }
        usage
    }

    fn add(&mut self, file: &Metadata) {
        /// Of what `stat` counts in.
        const BLOCK_BYTES: u64 = 512;
        self.disk_bytes += file.blocks() * BLOCK_BYTES;
        let written = u64::try_from(file.mtime()).ok();
        self.last_activity_unix_s = self.last_activity_unix_s.max(written);
    }
}
