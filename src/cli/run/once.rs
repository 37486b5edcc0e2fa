//! What a command line asks for that is done once, however many workers a supervisor starts for it: to begin anew, and to go
//! back to a checkpoint.
//!
//! The supervisor leaves a note of it before the first worker, and a worker takes the note away when it has done it, before it
//! computes a step. One that dies in between may have done it already: to do it again then does nothing, for what was to be
//! moved aside is gone, and the checkpoint is the newest.

use super::args::RunArgs;
use super::choice::Choice;
use crate::cli::exit::Exit;
use crate::cli::failure::{Failure, fail};
use crate::cli::supervise::FOLDER;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use trainer_runtime::disk::{DiskError, Operation};

/// Name of the note in the supervisor's folder.
const NOTE: &str = "to-do-once";

/// What the command line asks for of that kind, in words; `None` if it asks for nothing.
fn asked(args: &RunArgs) -> Option<String> {
    match &args.taking_up.resume {
        _ if args.fresh => Some("--fresh".to_owned()),
        Choice::Checkpoint(which) => Some(format!("--resume {which}")),
        Choice::Auto | Choice::Must | Choice::Never => None,
    }
}

/// Leaves the note for the workers to come, or takes away one that is there from before.
pub(in crate::cli) fn note(args: &RunArgs) -> Result<(), Failure> {
    let path = path(&args.work_dir);
    let noted = match asked(args) {
        Some(asked) => fs::write(&path, asked),
        None => remove(&path),
    };
    noted.map_err(|error| failed(&path, error))
}

/// What a worker that takes the place of another is to do: what was asked for, if that is still noted, and else to go on. Gives
/// what is to be said of it.
pub(super) fn settle(args: &mut RunArgs, work_dir: &Path) -> Option<String> {
    let asked = asked(args);
    let is_noted = path(work_dir).is_file();
    if asked.is_none() || !is_noted {
        (args.fresh, args.taking_up.resume) = (false, Choice::Auto);
    }
    asked.map(|asked| match is_noted {
        true => format!("{asked}: the worker before died before it had done that, so it is done now"),
        false => format!("{asked} was done by a worker before and is not done again"),
    })
}

/// Takes the note away: it is done.
pub(super) fn done(work_dir: &Path) -> Result<(), Failure> {
    let path = path(work_dir);
    remove(&path).map_err(|error| failed(&path, error))
}

fn path(work_dir: &Path) -> PathBuf {
    work_dir.join(FOLDER).join(NOTE)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn failed(path: &Path, error: io::Error) -> Failure {
    fail(Exit::StorageFailed)(DiskError::new(Operation::Write, path, error))
}
