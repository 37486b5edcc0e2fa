//! `trainer inspect`: what a checkpoint, a journal or the folder of a run holds. Nothing is changed, no lock is taken, and
//! ONNX Runtime is not started.
//!
//! Belongs here: reading this program's own files and telling what is in them. Does not belong here: what a run did, which
//! `trainer history` tells; opening files of other programs.

use super::exit::Exit;
use super::failure::{Failure, fail};
use crate::train::infer::branches;
use clap::Args;
use std::fs::{self, File};
use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};
use trainer_runtime::checkpoint::{Link, Name, Store};
use trainer_runtime::disk::{Disk as _, RealDisk};
use trainer_runtime::journal;
use trainer_runtime::keeper::{CHECKPOINTS_DIR, JOURNAL_DIR};

pub mod checkpoint;
mod directory;
pub mod foreign;
mod records;
pub mod state;

/// Arguments of `trainer inspect`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Ends with 5 if what is looked at is damaged, and with 2 if it is nothing that this program wrote.

Examples:
  trainer inspect exp                                   the journal and the checkpoints of a run
  trainer inspect exp/checkpoints/best.safetensors      epoch, step, state, and every tensor with its norm and checksum
  trainer inspect exp --records --kind EpochDone,Resumed
  trainer inspect exp/journal/00000001.wal --last 20    the last records of a segment")]
pub struct InspectArgs {
    /// Folder of a run, its journal or its checkpoints; or the file of a checkpoint or of a segment of a journal
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
    /// Print the records of the journal, one per line, as is done for a segment in any case
    #[arg(long)]
    pub records: bool,
    /// Only records of these kinds, by name or number
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    pub kind: Vec<String>,
    /// Only the last records, so many of them
    #[arg(long, value_name = "N")]
    pub last: Option<usize>,
    /// Print JSON: an object, or one per record and line
    #[arg(long)]
    pub json: bool,
}

/// Runs the command and says how the process should end: with 5 if anything is damaged.
///
/// # Errors
/// If there is nothing of ours to look at, or it can not be read.
pub fn run(args: &InspectArgs, out: &mut dyn Write) -> Result<Exit, Failure> {
    let path = &args.path;
    let wants_records = args.records || !args.kind.is_empty() || args.last.is_some();
    if path.is_dir() {
        let is_journal = !journal::segments(&RealDisk, path).map_err(fail(Exit::StorageFailed))?.is_empty();
        let journal_dir = if is_journal { path.clone() } else { path.join(JOURNAL_DIR) };
        if wants_records || is_journal {
            let segments = journal::segments(&RealDisk, &journal_dir).map_err(fail(Exit::StorageFailed))?;
            if segments.is_empty() {
                return Err(Failure::not_a_run(path, "no journal", ", or the file of a segment"));
            }
            return records::of_folder(args, &journal_dir, out);
        }
        return directory::print(args, out);
    }
    if journal::is_segment(&first_bytes(path)?) {
        return records::of_segment(args, path, out);
    }
    if wants_records {
        let message = format!(
            "{} is no segment of a journal, so it has no records; give the folder of a run or one of its `{JOURNAL_DIR}/*.wal`",
            path.display()
        );
        return Err(Failure::new(Exit::Usage, message));
    }
    checkpoint::print(args, out)
}

/// The first bytes of a file, which say what it is.
fn first_bytes(path: &Path) -> Result<Vec<u8>, Failure> {
    check_is_file(path)?;
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(64).read_to_end(&mut bytes));
    read.map_err(|error| unread(path, &error))?;
    Ok(bytes)
}

/// Refuses what is no file: opening a pipe would wait for somebody to write into it.
///
/// # Errors
/// If it is none, or not there.
pub fn check_is_file(path: &Path) -> Result<(), Failure> {
    let found = fs::metadata(path).map_err(|error| unread(path, &error))?;
    if found.is_file() {
        return Ok(());
    }
    let message =
        format!("{} is no file; give the file of a checkpoint, or the folder of a run", path.display());
    Err(Failure::new(Exit::Usage, message))
}

fn unread(path: &Path, error: &io::Error) -> Failure {
    let exit = match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied | io::ErrorKind::NotADirectory => {
            Exit::Usage
        }
        _ => Exit::StorageFailed,
    };
    Failure::new(exit, format!("can not read {}: {error}; check the path", path.display()))
}

/// Whether a file has a name that a checkpoint has.
fn is_checkpoint_name(name: &str) -> bool {
    let links = [Link::Best, Link::Last, Link::Final].map(|link| link.to_string());
    name.parse::<Name>().is_ok() || links.iter().any(|link| link == name)
}

/// The folder of checkpoints in a folder, if it is not one itself.
fn checkpoints_dir(dir: &Path) -> PathBuf {
    let inner = dir.join(CHECKPOINTS_DIR);
    if inner.is_dir() { inner } else { dir.to_owned() }
}

/// The checkpoints of a folder of checkpoints, links among them, by path; those of branches that ended behind the others.
fn checkpoint_paths(dir: &Path) -> Result<Vec<PathBuf>, Failure> {
    let store = Store::open_read_only(RealDisk::shared(), dir);
    let of_branches = branches(&store);
    let mut paths = Vec::new();
    for folder in std::iter::once(store).chain(of_branches) {
        let listed = RealDisk.list(folder.dir()).map_err(fail(Exit::StorageFailed))?;
        let named = listed.into_iter().filter(|entry| is_checkpoint_name(&entry.name));
        paths.extend(named.map(|entry| folder.dir().join(entry.name)));
    }
    Ok(paths)
}
