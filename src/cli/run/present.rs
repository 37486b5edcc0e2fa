//! What is in a work directory, told from the names of its files, and where these do not suffice from its journal.

use crate::report::recorded::{ReadError, Recorded};
use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};
use trainer_runtime::checkpoint::BranchFile;
use trainer_runtime::clock::utc;
use trainer_runtime::keeper::{CHECKPOINTS_DIR, JOURNAL_DIR};

/// How the folders begin in which `--fresh` keeps what was there.
const BEFORE: &str = "before-";

/// The folder of a supervisor, which has a journal of its own.
const SUPERVISOR: &str = "supervisor";

/// Whether a folder holds a journal or checkpoints.
pub(in crate::cli) fn has_run(dir: &Path) -> bool {
    has(dir, JOURNAL_DIR, |name| name.ends_with(".wal")) || has_checkpoints(dir)
}

/// Whether a folder holds a run that began: one whose process failed before that leaves a journal without a record of it. A
/// journal that can not be read is one of a run.
pub(super) fn has_begun(dir: &Path) -> bool {
    has_checkpoints(dir)
        || match Recorded::read(dir) {
            Ok(recorded) => recorded.history.settings.is_some(),
            Err(ReadError::NoRun { .. }) => false,
            Err(_) => has_run(dir),
        }
}

fn has_checkpoints(dir: &Path) -> bool {
    has(dir, CHECKPOINTS_DIR, |name| name.parse::<BranchFile>().is_ok())
}

fn has(dir: &Path, folder: &str, fits: fn(&str) -> bool) -> bool {
    let Ok(entries) = fs::read_dir(dir.join(folder)) else { return false };
    entries.filter_map(Result::ok).any(|entry| entry.file_name().to_str().is_some_and(fits))
}

/// Whether a folder in a work directory is none of a run's own.
pub(super) fn is_set_aside(name: &str) -> bool {
    name.starts_with(BEFORE) || name == SUPERVISOR
}

/// The time in UTC as the name of a folder has it: `2026-11-22_07-10-03`.
pub(super) fn utc_now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    utc(since.as_secs()).trim_end_matches(" UTC").replace(' ', "_").replace(':', "-")
}
