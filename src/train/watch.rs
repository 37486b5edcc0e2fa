//! Which column of the history best tracking and early stopping watch.

use super::best::{Best, Direction};
use super::early_stopping::{EarlyStoppingState, monitor_direction};
use super::event::EpochDone;
use super::outcome::RunError;
use super::run::Context;
use super::saved::Saved;
use crate::config::Plan;

/// The column that best tracking and early stopping watch, and which way it improves.
pub(super) fn watched_column(plan: &Plan, has_validation: bool) -> Result<(String, Direction), RunError> {
    if let Some(plan) = &plan.train.early_stopping {
        return Ok((plan.monitor.clone(), monitor_direction(plan)?));
    }
    let column = if has_validation { "val_loss" } else { "train_loss" };
    Ok((column.to_owned(), Direction::LowerIsBetter))
}

/// Takes best tracking and early stopping from the history, for a column that was not watched before.
pub(super) fn watch_from_the_start(
    saved: &mut Saved,
    plan: &Plan,
    watched: &(String, Direction),
    context: &mut Context<'_>,
) {
    let (column, direction) = watched;
    if !saved.watched.is_empty() {
        let line = format!("`{column}` is watched from here on, not `{}`", saved.watched);
        context
            .observer
            .notice(&format!("{line}; the best epoch and early stopping are taken from the history"));
    }
    saved.watched.clone_from(column);
    saved.best = None;
    saved.early_stopping = EarlyStoppingState::default();
    let epochs = &context.keeper.history.epochs;
    let has_validation = epochs.values().any(|epoch| !epoch.validation.is_empty());
    // Epochs that were not validated were not looked at.
    let is_looked_at = |epoch: &&EpochDone| !has_validation || !epoch.validation.is_empty();
    for epoch in epochs.range(..saved.epoch).map(|(_, epoch)| epoch).filter(is_looked_at) {
        let Some(value) = epoch.value(column) else { continue };
        Best::observe(&mut saved.best, Best { value, epoch: epoch.epoch, step: epoch.step }, *direction);
        if let Some(plan) = &plan.train.early_stopping {
            saved.early_stopping.end_epoch(plan, *direction, value);
        }
    }
}
