//! `trainer repair`: sets what is damaged of a work directory aside, so that its run can go on, and deletes nothing.

use super::exit::Exit;
use super::failure::{Failure, fail};
use super::output::print;
use crate::train::history::History;
use crate::train::infer::branches;
use clap::Args;
use serde::Serialize;
use std::fmt;
use std::io::Write;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use trainer_runtime::checkpoint::{BranchFile, Entry, Link, LoadError, Store};
use trainer_runtime::disk::{Disk, DiskError, RealDisk};
use trainer_runtime::journal::repair::{Part, Repair, examine, has_segments};
use trainer_runtime::journal::{OpenError, Tail};
use trainer_runtime::keeper::{CHECKPOINTS_DIR, JOURNAL_DIR};
use trainer_runtime::lock::{LockError, WorkDirLock};

/// Arguments of `trainer repair`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Nothing is deleted: damaged files get new names beside the old ones.

Examples:
  trainer repair exp --dry-run    what is damaged, and what would be done about it
  trainer repair exp              does it; then `trainer run --work-dir exp` goes on")]
pub struct RepairArgs {
    /// Folder of the run
    #[arg(value_name = "DIR")]
    pub work_dir: PathBuf,
    /// Only say what would be done; ends with 5 if something is damaged
    #[arg(long)]
    pub dry_run: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs the command and says how the process should end.
///
/// # Errors
/// If the folder is no work directory, is held by another process, holds files of another format version, or a storage
/// operation fails.
pub fn run(args: &RepairArgs, out: &mut dyn Write) -> Result<Exit, Failure> {
    let dir = &args.work_dir;
    let (journal_dir, checkpoints_dir) = (dir.join(JOURNAL_DIR), dir.join(CHECKPOINTS_DIR));
    let disk = RealDisk::shared();
    refuse_foreign(&*disk, dir, &journal_dir, &checkpoints_dir)?;
    let _lock = WorkDirLock::acquire(dir).map_err(|error| match error {
        LockError::Held { .. } => fail(Exit::Locked)(error),
        other => fail(Exit::StorageFailed)(other),
    })?;
    let repair = examine(&*disk, &journal_dir).map_err(|error| match error {
        OpenError::Version { .. } => fail(Exit::Damaged)(error),
        other => fail(Exit::StorageFailed)(other),
    })?;
    let store = Store::open_read_only(Arc::clone(&disk), &checkpoints_dir);
    let mut checkpoints = look_at(&store, Line::OfRun).map_err(fail(Exit::StorageFailed))?;
    for branch in branches(&store) {
        checkpoints.extend(look_at(&branch, Line::OfBranch).map_err(fail(Exit::StorageFailed))?);
    }
    if !args.dry_run {
        repair.apply(&disk).map_err(fail(Exit::StorageFailed))?;
        set_aside(&mut checkpoints).map_err(fail(Exit::StorageFailed))?;
    }
    let report = Report::new(args, &repair, &checkpoints);
    print(&report, args.json, out)?;
    let exits = checkpoints.iter().filter_map(|checkpoint| checkpoint.left_as()).next();
    let is_damaged = !repair.is_whole() || checkpoints.iter().any(|checkpoint| checkpoint.state.is_damaged());
    Ok(match exits {
        Some(exit) => exit,
        None if args.dry_run && is_damaged => Exit::Damaged,
        None => Exit::Finished,
    })
}

/// The command that repairs a work directory.
pub fn command(work_dir: &Path) -> String {
    format!("trainer repair {}", work_dir.display())
}

/// A folder that holds nothing of ours is not even locked, which would leave a file in it.
fn refuse_foreign(disk: &dyn Disk, dir: &Path, journal: &Path, checkpoints: &Path) -> Result<(), Failure> {
    let has_checkpoints = || match disk.list(checkpoints) {
        Err(error) if error.is_not_found() => Ok(false),
        listed => Ok(listed?.iter().any(|entry| entry.name.contains(".safetensors"))),
    };
    let lacks = "neither a journal nor checkpoints, so there is nothing to repair";
    if dir.exists() && !dir.is_dir() {
        return Err(Failure::not_a_run(dir, lacks, ""));
    }
    let is_ours = has_segments(disk, journal).and_then(|found| Ok(found || has_checkpoints()?));
    if is_ours.map_err(|error: DiskError| fail(Exit::StorageFailed)(error))? {
        return Ok(());
    }
    Err(Failure::not_a_run(dir, lacks, ""))
}

/// A checkpoint, or a link to one.
struct Found {
    file: BranchFile,
    /// The folder that has it.
    store: Store,
    line: Line,
    path: PathBuf,
    state: State,
}

/// Which line of steps a checkpoint is kept for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    /// The run's own: the next run takes the newest of these.
    OfRun,
    /// A branch that ended, from which none is taken unless it is named.
    OfBranch,
}

enum State {
    Good,
    /// With its fault, and the name it has got.
    Damaged(LoadError, Option<PathBuf>),
    /// It may be good.
    Unreadable(LoadError),
    OtherVersion(LoadError),
}

impl State {
    fn is_damaged(&self) -> bool {
        matches!(self, State::Damaged(..))
    }
}

impl Found {
    fn new(file: BranchFile, store: &Store, line: Line, error: Option<LoadError>) -> Self {
        let path = match file {
            BranchFile::Checkpoint(name) => store.path(name),
            BranchFile::Link(link) => store.link_path(link),
        };
        let state = match error {
            None => State::Good,
            Some(error @ LoadError::Fault { .. }) => State::Damaged(error, None),
            Some(error @ LoadError::Version { .. }) => State::OtherVersion(error),
            Some(error) => State::Unreadable(error),
        };
        Self { file, store: store.clone(), line, path, state }
    }

    /// How the process ends because of a file that could be neither kept nor set aside.
    fn left_as(&self) -> Option<Exit> {
        match &self.state {
            State::Unreadable(_) => Some(Exit::StorageFailed),
            State::OtherVersion(_) => Some(Exit::Damaged),
            State::Good | State::Damaged(..) => None,
        }
    }
}

/// Verifies every checkpoint of a folder, the oldest first, and what the links name.
fn look_at(store: &Store, line: Line) -> Result<Vec<Found>, DiskError> {
    let mut found = Vec::new();
    for Entry { name, .. } in store.list()? {
        found.push(Found::new(BranchFile::Checkpoint(name), store, line, store.load(name).err()));
    }
    for link in [Link::Best, Link::Last, Link::Final] {
        match store.load_link(link) {
            Err(LoadError::Disk(error)) if error.is_not_found() => {}
            loaded => found.push(Found::new(BranchFile::Link(link), store, line, loaded.err())),
        }
    }
    Ok(found)
}

fn set_aside(found: &mut [Found]) -> Result<(), DiskError> {
    for Found { file, store, state, .. } in found {
        if let State::Damaged(_, aside) = state {
            *aside = Some(match *file {
                BranchFile::Checkpoint(name) => store.set_aside(name)?,
                BranchFile::Link(link) => store.set_aside_link(link)?,
            });
        }
    }
    Ok(())
}

/// What was found and done, for people and for programs.
#[derive(Serialize)]
struct Report {
    #[serde(serialize_with = "crate::cli::output::path")]
    work_dir: PathBuf,
    dry_run: bool,
    journal: JournalReport,
    checkpoints: Vec<CheckpointReport>,
    /// What the next `trainer run` does.
    next_run: String,
}

#[derive(Serialize)]
struct JournalReport {
    /// The first damage; nothing if there is none.
    damage: Option<String>,
    kept_records: u64,
    /// The first record that is lost, and the last that is known of.
    lost_records: Option<[u64; 2]>,
    /// How many of those are intact in what is set aside.
    intact_records_set_aside: u64,
    /// A torn end, which the next run deals with.
    torn_bytes: u64,
    set_aside: Vec<PartReport>,
}

#[derive(Serialize)]
struct PartReport {
    #[serde(serialize_with = "crate::cli::output::path")]
    from: PathBuf,
    #[serde(serialize_with = "crate::cli::output::path")]
    to: PathBuf,
    /// Where in the file begins what is not kept.
    offset_bytes: u64,
    len_bytes: u64,
    intact_records: u64,
    /// Whether there may be more.
    gave_up_counting: bool,
}

#[derive(Serialize)]
struct CheckpointReport {
    #[serde(serialize_with = "crate::cli::output::path")]
    path: PathBuf,
    /// `good`, `damaged`, `unreadable` or `other version`.
    state: &'static str,
    error: Option<String>,
    #[serde(serialize_with = "crate::cli::output::optional_path")]
    set_aside: Option<PathBuf>,
}

impl Report {
    fn new(args: &RepairArgs, repair: &Repair, found: &[Found]) -> Self {
        let part = |part: &Part| PartReport {
            from: part.from.clone(),
            to: part.to.clone(),
            offset_bytes: part.offset_bytes,
            len_bytes: part.len_bytes,
            intact_records: part.intact_records,
            gave_up_counting: part.gave_up_counting,
        };
        let torn_bytes = match &repair.tail {
            Tail::Torn { torn_bytes, .. } => *torn_bytes,
            _ => 0,
        };
        Self {
            work_dir: args.work_dir.clone(),
            dry_run: args.dry_run,
            journal: JournalReport {
                damage: repair.damage.as_ref().map(ToString::to_string),
                kept_records: repair.records.len() as u64,
                lost_records: repair.lost.as_ref().map(|lost| [*lost.start(), *lost.end()]),
                intact_records_set_aside: repair.set_aside.iter().map(|part| part.intact_records).sum(),
                torn_bytes,
                set_aside: repair.set_aside.iter().map(part).collect(),
            },
            checkpoints: found.iter().map(CheckpointReport::new).collect(),
            next_run: next_run(args, repair, found),
        }
    }
}

impl CheckpointReport {
    fn new(found: &Found) -> Self {
        let (state, error, set_aside) = match &found.state {
            State::Good => ("good", None, None),
            State::Damaged(error, aside) => ("damaged", Some(error), aside.clone()),
            State::Unreadable(error) => ("unreadable", Some(error), None),
            State::OtherVersion(error) => ("other version", Some(error), None),
        };
        Self { path: found.path.clone(), state, error: error.map(ToString::to_string), set_aside }
    }
}

/// What `trainer run` does with what is kept.
fn next_run(args: &RepairArgs, repair: &Repair, found: &[Found]) -> String {
    let run = format!("`trainer run --work-dir {}`", args.work_dir.display());
    let history = match History::from_records(&repair.records) {
        Ok(history) => history,
        Err(error) => return format!("{run} refuses the journal: {error}"),
    };
    let newest = found
        .iter()
        .rev()
        .filter(|found| found.line == Line::OfRun)
        .filter_map(|found| match found.file {
            BranchFile::Checkpoint(name) => Some((name, &found.state)),
            BranchFile::Link(_) => None,
        })
        .find(|(_, state)| !matches!(state, State::Damaged(..) | State::Unreadable(_)));
    if let Some((_, State::OtherVersion(error))) = newest {
        return format!("{run} refuses a checkpoint: {error}");
    }
    let step = newest.map_or(0, |(name, _)| name.step);
    let begins = match newest {
        Some((name, _)) => format!("{run} goes on from {name}, step {step}"),
        None if history.settings.is_none() => {
            return format!("{run} starts a new run: nothing is left of the old one");
        }
        None => format!("{run} begins at step 0, for there is no good checkpoint"),
    };
    let last = history.last_step();
    if history.settings.is_none() {
        return format!("{begins}, without the history before it");
    }
    match last {
        _ if last > step => {
            format!(
                "{begins}; it computes the steps {} to {last} again and compares them with the journal",
                step + 1
            )
        }
        _ if last < step => {
            format!("{begins}; of the steps {} to {step} there is no history any more", last + 1)
        }
        _ => begins,
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (would, is) = if self.dry_run { ("would be ", "would be") } else { ("", "is") };
        let journal = &self.journal;
        match &journal.damage {
            Some(damage) => writeln!(f, "journal: {damage}")?,
            None => writeln!(f, "journal: good")?,
        }
        writeln!(f, "  {would}kept: {}", records(1..=journal.kept_records))?;
        for part in &journal.set_aside {
            let from = if part.offset_bytes == 0 {
                String::new()
            } else {
                format!(" from byte {}", part.offset_bytes)
            };
            let at_least = if part.gave_up_counting { "at least " } else { "" };
            let PartReport { from: path, to, len_bytes, intact_records, .. } = part;
            let (path, to) = (path.display(), to.display());
            writeln!(
                f,
                "  {would}set aside: {path}{from} ({len_bytes} bytes, {at_least}{intact_records} intact records) {is} in {to}"
            )?;
        }
        if let Some([first, last]) = journal.lost_records {
            let intact = journal.intact_records_set_aside;
            writeln!(
                f,
                "  {would}lost to the run: {}; {intact} of them are intact in what {is} set aside",
                records(first..=last)
            )?;
        }
        if journal.torn_bytes > 0 {
            writeln!(
                f,
                "  its last {} bytes were written in part only; the next run sets them aside",
                journal.torn_bytes
            )?;
        }
        for checkpoint in &self.checkpoints {
            let path = checkpoint.path.display();
            match (&checkpoint.error, &checkpoint.set_aside) {
                (None, _) => writeln!(f, "checkpoint: {path} is good")?,
                (Some(error), Some(aside)) => {
                    writeln!(f, "checkpoint: {error}; set aside as {}", aside.display())?
                }
                (Some(error), None) if checkpoint.state == "damaged" => {
                    writeln!(f, "checkpoint: {error}; would be set aside")?
                }
                (Some(error), None) => writeln!(f, "checkpoint: {error}; left where it is")?,
            }
        }
        write!(f, "next: {}", self.next_run)
    }
}

/// `records 3 to 7 (5)`.
fn records(numbers: RangeInclusive<u64>) -> String {
    let (first, last) = numbers.into_inner();
    match (last + 1).saturating_sub(first) {
        0 => "no record".to_owned(),
        1 => format!("record {first}"),
        count => format!("records {first} to {last} ({count})"),
    }
}
