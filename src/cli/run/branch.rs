//! Going back to a chosen checkpoint: the branch that ends is recorded, and its checkpoints are moved into a folder.
//!
//! First the record is durable, which says what is moved; then files are moved (`trainer_runtime::keeper::Cut`); then the run
//! goes on, which the next record says. A process that dies between the first and the last leaves all that the next one needs
//! to finish it.

use super::chosen::Chosen;
use crate::cli::exit::Exit;
use crate::cli::failure::{Failure, fail};
use crate::report::progress::Progress;
use crate::train::best::Best;
use crate::train::event::BranchCut;
use crate::train::keeper::Keeper;
use crate::train::saved::Saved;
use trainer_runtime::checkpoint::{BranchFile, Kind, Link, LoadError, Name};
use trainer_runtime::keeper::Cut;
use xxhash_rust::xxh3::xxh3_128;

/// Finishes a cut that a process which died had recorded, and forgets what one took in that died before it recorded any.
pub(super) fn finish_open_cut(keeper: &Keeper, progress: &Progress) -> Result<(), Failure> {
    if let Some(cut) = &keeper.history.open_cut {
        keeper.finish_cut(&left_behind(cut)).map_err(fail(Exit::StorageFailed))?;
        progress.line(&format!("a cut that was begun is finished: {cut}"));
    }
    keeper.store().forget_taken_in().map_err(fail(Exit::StorageFailed))
}

/// Ends the branch at the chosen checkpoint, if anything is beyond it; `saved` is the checkpoint's state.
pub(super) fn cut(
    keeper: &mut Keeper,
    chosen: &Chosen,
    saved: &Saved,
    progress: &Progress,
) -> Result<Option<BranchCut>, Failure> {
    let store = keeper.store();
    let moved = to_be_moved(keeper, chosen)?;
    let history = &keeper.history;
    let current = history.branch();
    let is_beyond = history.last_step() > saved.step
        || history.epochs.range(saved.epoch..).next().is_some()
        || history.finished.is_some();
    if moved.is_empty() && !is_beyond && chosen.of_branch == current {
        // A checkpoint for an empty folder.
        if let Some(from) = &chosen.from {
            store.take_in(from, chosen.name).map_err(fail(Exit::StorageFailed))?;
            store.leave_behind(current, &[], Some(chosen.name)).map_err(fail(Exit::StorageFailed))?;
        }
        return Ok(None);
    }
    // Folders of a journal that was lost are still there.
    let is_free = |branch: &u64| !store.branch_dir(*branch).exists();
    let branch = (current..).find(is_free).unwrap_or(current);
    let reached = history.epochs.values().next_back();
    let best = history.best_epoch().and_then(|epoch| {
        Some(Best { value: epoch.value(&saved.watched)?, epoch: epoch.epoch, step: epoch.step })
    });
    let cut = BranchCut {
        branch,
        of_branch: if chosen.of_branch == current { branch } else { chosen.of_branch },
        checkpoint: chosen.name.to_string(),
        step: saved.step,
        epoch: saved.epoch,
        batch: saved.batch,
        taken_in: chosen.from.is_some(),
        moved: moved.iter().map(ToString::to_string).collect(),
        reached_step: history.last_step(),
        reached_epoch: reached.map_or(0, |epoch| epoch.epoch),
        best,
    };
    keeper.cut(&left_behind(&cut), chosen.from.as_deref(), cut.clone())?;
    progress.info(&format!("{cut}, as branch {}", keeper.history.branch()));
    if !moved.is_empty() {
        let folder = keeper.store().branch_dir(branch);
        progress.info(&format!(
            "what branch {branch} had saved beyond is kept in {}: {}",
            folder.display(),
            cut.moved.join(", ")
        ));
    }
    Ok(Some(cut))
}

/// Sees to it that the best checkpoint of the state is among the run's: where that is of a branch that ended, it gets a
/// second name. No other takes its place; that it is missing is said.
pub(super) fn bring_best(keeper: &Keeper, best: Option<Best>, progress: &Progress) -> Result<(), Failure> {
    let Some(best) = best else { return Ok(()) };
    let name = Name::new(Kind::Epoch, best.epoch, best.step);
    let (store, history) = (keeper.store(), &keeper.history);
    let entries = store.list().map_err(fail(Exit::StorageFailed))?;
    let Some(digest) = history.published.get(&name.to_string()) else { return Ok(()) };
    if entries.iter().any(|entry| entry.name == name) {
        return Ok(());
    }
    for cut in history.branches.iter().rev() {
        let path = store.branch(cut.branch).path(name);
        let is_it = keeper.disk().map(&path).is_ok_and(|bytes| xxh3_128(&bytes).to_be_bytes() == *digest);
        if is_it {
            store.take_in(&path, name).map_err(fail(Exit::StorageFailed))?;
            return store.leave_behind(cut.branch, &[], Some(name)).map_err(fail(Exit::StorageFailed));
        }
    }
    if store.load_link(Link::Best).is_ok_and(|checkpoint| checkpoint.meta().name() == name) {
        return Ok(());
    }
    progress.line(&format!(
        "the best checkpoint so far, {name}, is not there any more: no other takes its place until a better one comes"
    ));
    Ok(())
}

fn left_behind(cut: &BranchCut) -> Cut {
    let taken_in = if cut.taken_in { cut.checkpoint.parse::<Name>().ok() } else { None };
    let moved = cut.moved.iter().filter_map(|name| name.parse().ok()).collect();
    Cut { branch: cut.branch, moved, taken_in }
}

/// What is not of the line of steps that the chosen checkpoint is of, or lies beyond it.
fn to_be_moved(keeper: &Keeper, chosen: &Chosen) -> Result<Vec<BranchFile>, Failure> {
    let (store, history) = (keeper.store(), &keeper.history);
    let of_chosen = history.published_in(chosen.of_branch);
    let stays = |name: Name| {
        let text = name.to_string();
        let is_shared = chosen.of_branch == history.branch()
            || of_chosen.is_some_and(|published| {
                published.get(&text).is_some_and(|digest| history.published.get(&text) == Some(digest))
            });
        let is_replaced = name == chosen.name && chosen.from.is_some();
        name <= chosen.name && is_shared && !is_replaced
    };
    let entries = store.list().map_err(fail(Exit::StorageFailed))?;
    let checkpoints = entries.iter().map(|entry| entry.name).filter(|name| !stays(*name));
    let mut moved: Vec<BranchFile> = checkpoints.map(BranchFile::Checkpoint).collect();
    for link in Link::ALL {
        match store.load_link(link) {
            Ok(named) if stays(named.meta().name()) => {}
            Ok(_) => moved.push(BranchFile::Link(link)),
            // One that is not there; and one that is damaged is set aside when the run is taken up.
            Err(LoadError::Disk(error)) if error.is_not_found() => {}
            Err(LoadError::Fault { .. }) => {}
            // It may name what is of the branch that ends, and would be taken for the run's.
            Err(error) => return Err(fail(Exit::StorageFailed)(error)),
        }
    }
    Ok(moved)
}
