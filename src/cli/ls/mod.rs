//! `trainer ls`: the runs in a folder, a line each. Nothing is changed and no lock is taken.
//!
//! Belongs here: finding runs, and what a line about one says. Does not belong here: what a run did in full, which `trainer
//! history` and `trainer inspect` tell.

use super::exit::Exit;
use super::failure::Failure;
use super::output::print;
use super::table::{Align, Table, size};
use clap::Args;
use rayon::prelude::*;
use serde::Serialize;
use std::fmt;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use trainer_runtime::clock::utc;
use trainer_runtime::keeper::{CHECKPOINTS_DIR, JOURNAL_DIR};

mod run_line;

use run_line::{RunLine, Standing};

/// Folders inside each other that are searched for runs: sweeps nest by a few names.
const DEEPEST: usize = 5;

/// The longest reason in the table; `--json` has it whole.
const MOST_CHARACTERS: usize = 60;

/// Arguments of `trainer ls`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Whether a run is running is what its lock says, so a process that died in any way shows no run as running. Damaged runs are
listed as such, and `trainer verify` says more.

Examples:
  trainer ls runs/                 the runs in a folder and in the folders of its sweeps
  trainer ls runs/ --json | jq -r '.runs[] | select(.state == \"interrupted\") | .path'")]
pub struct LsArgs {
    /// Folder with runs, or of one run
    #[arg(value_name = "DIR", default_value = ".")]
    pub dir: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
///
/// # Errors
/// If the folder is not there or can not be read.
pub fn run(args: &LsArgs, out: &mut dyn Write) -> Result<Exit, Failure> {
    let paths = find(&args.dir)?;
    let runs: Vec<RunLine> = paths.par_iter().map(|path| RunLine::of(&args.dir, path)).collect();
    if runs.is_empty() {
        log::info!("{} has no runs; `trainer run --work-dir {0}/NAME` starts one", args.dir.display());
    }
    let report = Report { dir: args.dir.clone(), runs };
    if args.json || !report.runs.is_empty() {
        print(&report, args.json, out)?;
    }
    Ok(Exit::Finished)
}

/// The folders of runs in a folder, itself among them, by name.
fn find(dir: &Path) -> Result<Vec<PathBuf>, Failure> {
    let unread = |error: std::io::Error| {
        Failure::new(Exit::Usage, format!("can not list {}: {error}; check the path", dir.display()))
    };
    fs::read_dir(dir).map_err(unread)?;
    let mut found = Vec::new();
    let mut open = vec![(dir.to_owned(), 0)];
    while let Some((folder, depth)) = open.pop() {
        if is_run(&folder) {
            found.push(folder);
            continue;
        }
        if depth == DEEPEST {
            continue;
        }
        // One that can not be read holds nothing that could be listed.
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        let inner = entries.flatten().filter(|entry| !entry.file_name().to_string_lossy().starts_with('.'));
        // Links could lead in circles.
        let inner = inner.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        open.extend(inner.map(|entry| (entry.path(), depth + 1)));
    }
    found.sort();
    Ok(found)
}

fn is_run(dir: &Path) -> bool {
    dir.join(JOURNAL_DIR).is_dir() || dir.join(CHECKPOINTS_DIR).is_dir()
}

#[derive(Serialize)]
struct Report {
    #[serde(serialize_with = "crate::cli::output::path")]
    dir: PathBuf,
    runs: Vec<RunLine>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = Table::new([
            ("name", Align::Left),
            ("state", Align::Left),
            ("epoch", Align::Right),
            ("step", Align::Right),
            ("best", Align::Left),
            ("last activity", Align::Left),
            ("disk", Align::Right),
        ]);
        let rows: Vec<Vec<String>> = self.runs.iter().map(cells).collect();
        let count = |standing| self.runs.iter().filter(|run| run.state == standing).count();
        write!(f, "{}", table.render(&rows))?;
        let states = [
            Standing::Running,
            Standing::Finished,
            Standing::Interrupted,
            Standing::Damaged,
            Standing::Unknown,
        ];
        let counts: Vec<String> = states
            .into_iter()
            .filter(|state| count(*state) > 0)
            .map(|state| format!("{} {}", count(state), state.word()))
            .collect();
        let bytes: u64 = self.runs.iter().map(|run| run.disk_bytes).sum();
        let all = self.runs.len();
        write!(f, "{all} run{}: {}; {}", if all == 1 { "" } else { "s" }, counts.join(", "), size(bytes))
    }
}

fn cells(run: &RunLine) -> Vec<String> {
    let known = |number: Option<u64>| number.map_or("-".to_owned(), |number| number.to_string());
    let epoch = match run.epochs {
        Some(epochs) => format!("{}/{epochs}", run.epoch),
        None => run.epoch.to_string(),
    };
    let best = match (&run.best, &run.watched) {
        (Some(best), Some(watched)) => format!("{watched} {:.4} at epoch {}", best.value, best.epoch),
        _ => "-".to_owned(),
    };
    let state = match &run.detail {
        Some(detail) if detail.chars().count() > MOST_CHARACTERS => {
            let start: String = detail.chars().take(MOST_CHARACTERS).collect();
            format!("{} ({start}...)", run.state.word())
        }
        Some(detail) => format!("{} ({detail})", run.state.word()),
        None => run.state.word().to_owned(),
    };
    let active = run.last_activity_unix_s.map_or("-".to_owned(), utc);
    vec![run.name.clone(), state, epoch, known(run.step), best, active, size(run.disk_bytes)]
}
