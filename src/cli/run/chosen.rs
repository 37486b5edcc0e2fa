//! The checkpoint that `--resume` chooses: found and verified, and never another in its place.

use super::args::Verb;
use super::choice::{Choice, MODES};
use super::present;
use crate::cli::exit::Exit;
use crate::cli::failure::{Failure, fail};
use crate::cli::target::is_same_file;
use crate::train::best::Direction;
use crate::train::history::History;
use crate::train::infer::{Which, available, find_file, not_there};
use crate::train::keeper::Keeper;
use crate::train::resume::decode_saved;
use std::fs;
use std::path::{Path, PathBuf};
use trainer_runtime::checkpoint::{Checkpoint, Kind, Link, LoadError, Name, Store};
use trainer_runtime::disk::DiskError;
use xxhash_rust::xxh3::xxh3_128;

/// A checkpoint that verified and that the run is to go on from.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) name: Name,
    pub(super) checkpoint: Checkpoint,
    /// The branch it is of.
    pub(super) of_branch: u64,
    /// Its file, where that is not its place among the run's checkpoints.
    pub(super) from: Option<PathBuf>,
}

/// What a choice leads to.
#[derive(Debug)]
pub(super) enum Found {
    /// The checkpoint from which the run goes on anyway.
    Newest,
    /// Another one.
    Other(Chosen),
}

/// Finds the checkpoint.
///
/// # Errors
/// If it is not there, does not verify, or is of another run; nothing was changed.
pub(super) fn find(keeper: &Keeper, which: &Which) -> Result<Found, Failure> {
    let store = keeper.store();
    let load = |path: &Path| Checkpoint::load(&**keeper.disk(), path);
    let (path, loaded) = match (which, which.link()) {
        (_, Some(link)) => {
            let path = store.link_path(link);
            (path.clone(), load(&path))
        }
        (Which::File(path), None) => {
            let path = find_file(keeper.work_dir(), path).ok_or_else(|| missing(keeper, which))?;
            (path.clone(), load(&path))
        }
        (place, None) => {
            let names = names(store).map_err(fail(Exit::StorageFailed))?;
            let name = place.among(&names).ok_or_else(|| missing(keeper, which))?;
            (store.path(name), store.load(name))
        }
    };
    let checkpoint = loaded.map_err(|error| not_good(keeper, which, &error))?;
    let meta = checkpoint.meta();
    let name = meta.name();
    if keeper.history.settings.is_some() && !keeper.is_of_this_run(meta.run_id) {
        return Err(Failure::new(
            Exit::Changed,
            format!(
                "{} is of run {}, and {} holds run {}: give an empty --work-dir to begin a run with it, or take its weights alone \
                 with `--set model.weights=FILE`",
                path.display(),
                meta.run_id,
                keeper.work_dir().display(),
                keeper.run_id()
            ),
        ));
    }
    let own = store.path(name);
    let is_own = same_bytes(&path, &own);
    let newest = store.list().map_err(fail(Exit::StorageFailed))?.last().map(|entry| entry.name);
    if is_own && newest == Some(name) {
        return Ok(Found::Newest);
    }
    let current = keeper.history.branch();
    let of_branch = if is_own { current } else { branch_of(keeper, &path, name)? };
    let from = (!is_own).then_some(path);
    Ok(Found::Other(Chosen { name, checkpoint, of_branch, from }))
}

/// A checkpoint that is not there, with all that are.
fn missing(keeper: &Keeper, which: &Which) -> Failure {
    let modes = format!("{MODES}, nor ");
    let available = available(keeper.store());
    Failure::new(Exit::Usage, not_there("--resume", which, &modes, keeper.work_dir(), &available))
}

fn names(store: &Store) -> Result<Vec<Name>, DiskError> {
    Ok(store.list()?.iter().map(|entry| entry.name).collect())
}

fn names_of(store: &Store) -> Vec<Name> {
    names(store).unwrap_or_default()
}

/// Whether two files are one, or have equal bytes; a file that can not be read is equal to none.
fn same_bytes(one: &Path, other: &Path) -> bool {
    is_same_file(one, other) || {
        let (Ok(a), Ok(b)) = (fs::metadata(one), fs::metadata(other)) else { return false };
        a.len() == b.len() && matches!((fs::read(one), fs::read(other)), (Ok(a), Ok(b)) if a == b)
    }
}

/// The branch that a checkpoint from elsewhere is of: the journal knows what was ever published. One that it does not know,
/// as after its loss, counts for the branch that goes on.
fn branch_of(keeper: &Keeper, path: &Path, name: Name) -> Result<u64, Failure> {
    let history = &keeper.history;
    let bytes = keeper.disk().map(path).map_err(fail(Exit::StorageFailed))?;
    let digest = xxh3_128(&bytes).to_be_bytes();
    Ok(history.branch_with(&name.to_string(), digest).unwrap_or_else(|| history.branch()))
}

/// What to say of a checkpoint that is missing or damaged: it is not replaced by another, and the best one that verifies is
/// named with the command that takes it.
fn not_good(keeper: &Keeper, which: &Which, error: &LoadError) -> Failure {
    let is_missing = matches!(error, LoadError::Disk(error) if error.is_not_found());
    // One that the run never had, or that it has dropped, was named by mistake; that its best is gone is a loss.
    if is_missing && (*which != Which::Best || keeper.history.best_epoch().is_none()) {
        return missing(keeper, which);
    }
    let what = match (which, is_missing) {
        (Which::Best, true) => format!(
            "there is no best checkpoint: {} is missing",
            keeper.store().link_path(Link::Best).display()
        ),
        _ => error.to_string(),
    };
    let instead = match best_that_verifies(keeper) {
        Some((name, Some(value))) => {
            format!("the best that verifies is epoch {}, {value}: `{}`", name.epoch(), command(keeper, name))
        }
        Some((name, None)) => format!("the newest that verifies is {name}: `{}`", command(keeper, name)),
        None => "no other verifies".to_owned(),
    };
    Failure::new(Exit::Damaged, format!("{what}; nothing takes its place by itself; {instead}"))
}

fn command(keeper: &Keeper, name: Name) -> String {
    format!("trainer run --work-dir {} --resume {}", keeper.work_dir().display(), Which::of(name))
}

/// The best epoch whose checkpoint verifies, with its value in words; or the newest checkpoint that does.
fn best_that_verifies(keeper: &Keeper) -> Option<(Name, Option<String>)> {
    let good: Vec<(Name, Checkpoint)> = names_of(keeper.store())
        .into_iter()
        .filter_map(|name| Some((name, keeper.store().load(name).ok()?)))
        .collect();
    let newest = good.last()?;
    let watched = decode_saved(newest.0, &newest.1).map(|saved| saved.watched).ok()?;
    let valued = good.iter().filter(|(name, _)| name.kind == Kind::Epoch).filter_map(|(name, _)| {
        let value = keeper.history.epochs.get(&name.epoch())?.value(&watched)?;
        Some((*name, value))
    });
    let lower = Direction::of(&watched) != Some(Direction::HigherIsBetter);
    let best = valued.min_by(|(_, a), (_, b)| if lower { a.total_cmp(b) } else { b.total_cmp(a) });
    Some(match best {
        Some((name, value)) => (name, Some(format!("{watched} {value:.4}"))),
        None => (newest.0, None),
    })
}

/// Refuses what does not fit to whether there is a run.
pub(super) fn check_presence(
    choice: &Choice,
    history: &History,
    work_dir: &Path,
    has_checkpoints: bool,
) -> Result<(), Failure> {
    let is_there = history.settings.is_some() || has_checkpoints;
    match choice {
        Choice::Must if !is_there => Err(nothing_there(work_dir)),
        Choice::Never if is_there => Err(Failure::new(
            Exit::Usage,
            format!(
                "{} holds a run, and --resume never forbids to go on with it: use another --work-dir, `--fresh`, which moves the run \
                 aside, or `--resume auto`",
                work_dir.display()
            ),
        )),
        _ => Ok(()),
    }
}

/// A folder without a run, where there must be one.
pub(super) fn nothing_there(work_dir: &Path) -> Failure {
    Failure::new(
        Exit::Usage,
        format!(
            "there is nothing to resume in {}: it has neither a journal nor checkpoints; `trainer run --work-dir {}` with `--resume \
             auto` starts a run",
            work_dir.display(),
            work_dir.display()
        ),
    )
}

/// As [`check_presence`], before anything is made.
pub(super) fn check_before(choice: &Choice, verb: Verb, work_dir: &Path) -> Result<(), Failure> {
    let wants_run = match choice {
        Choice::Must => true,
        // A new run may begin with a file.
        Choice::Checkpoint(Which::File(_)) | Choice::Auto | Choice::Never => verb == Verb::Resume,
        Choice::Checkpoint(_) => true,
    };
    if wants_run && !present::has_run(work_dir) { Err(nothing_there(work_dir)) } else { Ok(()) }
}
