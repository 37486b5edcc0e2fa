//! `trainer verify`: every checksum of a work directory, or of one checkpoint. Nothing is changed, no lock is taken, and
//! ONNX Runtime is not started.

use super::args::GlobalArgs;
use super::exit::Exit;
use super::failure::{Failure, fail};
use super::inspect::check_is_file;
use super::inspect::foreign::{is_of_others, refuse};
use super::output::print;
use crate::report::progress::{ByteBar as Bar, Verbosity};
use crate::train::infer::branches;
use clap::Args;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use trainer_runtime::checkpoint::{Checkpoint, Entry, Link, LoadError, Name, Store};
use trainer_runtime::disk::{DiskError, RealDisk};
use trainer_runtime::journal::{self, OpenError, Tail};
use trainer_runtime::keeper::{CHECKPOINTS_DIR, JOURNAL_DIR};

/// Arguments of `trainer verify`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  trainer verify exp                                    exit code 5 if anything is damaged
  trainer verify exp/checkpoints/best.safetensors")]
pub struct VerifyArgs {
    /// Folder of a run, or the file of a checkpoint
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs the command and says how the process should end: with 5 if anything is damaged.
///
/// # Errors
/// If there is nothing to verify, or something can not be read.
pub fn run(args: &VerifyArgs, global: &GlobalArgs, out: &mut dyn Write) -> Result<Exit, Failure> {
    let path = &args.path;
    let bar = Bar::new(if global.quiet { Verbosity::Quiet } else { Verbosity::Normal });
    let report = if path.is_dir() { of_directory(path, &bar) } else { of_file(path, &bar) };
    drop(bar);
    let report = report?;
    let is_good = report.is_good();
    print(&report, args.json, out)?;
    Ok(if is_good { Exit::Finished } else { Exit::Damaged })
}

/// What was verified.
#[derive(Serialize)]
struct Report {
    #[serde(serialize_with = "crate::cli::output::path")]
    path: PathBuf,
    /// Nothing for a single checkpoint.
    journal: Option<JournalState>,
    checkpoints: Vec<CheckpointState>,
}

#[derive(Serialize)]
struct JournalState {
    records: u64,
    /// A torn end, in which nothing that was durable is lost; the next run sets it aside. While a run goes on, a record that
    /// is being written.
    torn_bytes: u64,
    damage: Option<String>,
}

#[derive(Clone, Serialize)]
struct CheckpointState {
    #[serde(serialize_with = "crate::cli::output::path")]
    path: PathBuf,
    len_bytes: u64,
    tensors: u64,
    step: Option<u64>,
    damage: Option<String>,
}

impl Report {
    fn is_good(&self) -> bool {
        let journal = self.journal.as_ref().is_none_or(|journal| journal.damage.is_none());
        journal && self.checkpoints.iter().all(|checkpoint| checkpoint.damage.is_none())
    }
}

fn of_file(path: &Path, bar: &Bar) -> Result<Report, Failure> {
    check_is_file(path)?;
    bar.expect(fs::metadata(path).map_or(0, |found| found.len()));
    let loaded = Checkpoint::load_watched(&RealDisk, path, &mut |bytes| bar.show(bytes));
    // What is no checkpoint at all is not called a damaged one.
    let loaded = match loaded {
        Err(error) if is_of_others(path, &error) => return Err(refuse(path, error)),
        loaded => loaded,
    };
    let checkpoint = CheckpointState::new(path.to_owned(), loaded).map_err(fail(Exit::Usage))?;
    Ok(Report { path: path.to_owned(), journal: None, checkpoints: vec![checkpoint] })
}

fn of_directory(dir: &Path, bar: &Bar) -> Result<Report, Failure> {
    let store = Store::open_read_only(RealDisk::shared(), &dir.join(CHECKPOINTS_DIR));
    let journal_dir = dir.join(JOURNAL_DIR);
    let paths = checkpoint_files(store).map_err(fail(Exit::StorageFailed))?;
    if paths.iter().all(|(_, named)| named.is_none()) && !journal_dir.is_dir() {
        let lacks = "neither a journal nor checkpoints";
        return Err(Failure::not_a_run(dir, lacks, ", or a checkpoint's file"));
    }
    // A second name of a file that was read needs no second reading.
    let file_of =
        |path: &Path| fs::metadata(path).ok().map(|found| ((found.dev(), found.ino()), found.len()));
    let files: BTreeMap<(u64, u64), u64> = paths.iter().filter_map(|(path, _)| file_of(path)).collect();
    bar.expect(files.values().sum());
    let mut known: BTreeMap<(u64, u64), CheckpointState> = BTreeMap::new();
    let mut checkpoints = Vec::new();
    let mut done_bytes = 0;
    for (path, named) in paths {
        let file = file_of(&path);
        if let Some(state) =
            file.and_then(|(file, _)| known.get(&file)).filter(|state| state.damage.is_none())
        {
            checkpoints.push(CheckpointState { path, ..state.clone() });
            continue;
        }
        let mut show = |bytes| bar.show(done_bytes + bytes);
        let loaded = match named {
            Some((folder, name)) => folder.load_watched(name, &mut show),
            None => Checkpoint::load_watched(&RealDisk, &path, &mut show),
        };
        match CheckpointState::new(path, loaded) {
            // A run that goes on drops older ones.
            Err(error) if error.is_not_found() => {}
            state => {
                let state = state.map_err(fail(Exit::StorageFailed))?;
                known.extend(file.map(|(file, _)| (file, state.clone())));
                checkpoints.push(state);
            }
        }
        done_bytes += file.map_or(0, |(_, bytes)| bytes);
    }
    Ok(Report { path: dir.to_owned(), journal: Some(of_journal(&journal_dir)?), checkpoints })
}

/// The files of all checkpoints and links, those of branches that ended behind the others; of a checkpoint also the folder
/// that has it, and its name.
fn checkpoint_files(store: Store) -> Result<Vec<(PathBuf, Option<(Store, Name)>)>, DiskError> {
    let mut files = Vec::new();
    let of_branches = branches(&store);
    for folder in std::iter::once(store).chain(of_branches) {
        for Entry { name, .. } in folder.list()? {
            files.push((folder.path(name), Some((folder.clone(), name))));
        }
        files.extend([Link::Best, Link::Last, Link::Final].map(|link| (folder.link_path(link), None)));
    }
    Ok(files)
}

fn of_journal(dir: &Path) -> Result<JournalState, Failure> {
    match journal::read(&RealDisk, dir) {
        Ok(contents) => {
            let torn_bytes = match contents.tail {
                Tail::Torn { torn_bytes, .. } => torn_bytes,
                _ => 0,
            };
            Ok(JournalState { records: contents.records.len() as u64, torn_bytes, damage: None })
        }
        Err(error) if error.is_damage() => {
            Ok(JournalState { records: 0, torn_bytes: 0, damage: Some(error.to_string()) })
        }
        Err(error @ OpenError::Version { .. }) => Err(fail(Exit::Damaged)(error)),
        Err(error) => Err(fail(Exit::StorageFailed)(error)),
    }
}

impl CheckpointState {
    /// # Errors
    /// If the file could not be read, which says nothing about it.
    fn new(path: PathBuf, loaded: Result<Checkpoint, LoadError>) -> Result<Self, DiskError> {
        match loaded {
            Ok(checkpoint) => Ok(Self {
                path,
                len_bytes: checkpoint.len_bytes(),
                tensors: checkpoint.iter().count() as u64,
                step: Some(checkpoint.meta().step),
                damage: None,
            }),
            Err(LoadError::Disk(error)) => Err(error),
            Err(error) => {
                Ok(Self { path, len_bytes: 0, tensors: 0, step: None, damage: Some(error.to_string()) })
            }
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(journal) = &self.journal {
            match &journal.damage {
                Some(damage) => writeln!(f, "DAMAGED  journal: {damage}")?,
                None => writeln!(f, "good     journal: {} records", journal.records)?,
            }
            if journal.torn_bytes > 0 {
                writeln!(f, "         its last {} bytes are not a whole record (yet)", journal.torn_bytes)?;
            }
        }
        for checkpoint in &self.checkpoints {
            let CheckpointState { path, len_bytes, tensors, step, damage } = checkpoint;
            match (damage, step) {
                (None, Some(step)) => writeln!(
                    f,
                    "good     {}: step {step}, {tensors} tensors, {len_bytes} bytes",
                    path.display()
                )?,
                (damage, _) => writeln!(f, "DAMAGED  {}", damage.as_deref().unwrap_or_default())?,
            }
        }
        if self.is_good() {
            return write!(f, "everything verifies");
        }
        match &self.journal {
            Some(_) => {
                let remedy = super::repair::command(&self.path);
                write!(f, "remedy: `{remedy}`; `--dry-run` says what it would do")
            }
            None => write!(
                f,
                "remedy: put a copy of the file in its place; `trainer repair DIR`, with the folder of its run, sets it aside"
            ),
        }
    }
}
