//! The arrays that the losses take of the data: targets, weights of examples, masks.

use super::prepare::PrepareError;
use crate::config::{LossKind, LossPlan, Plan, TargetUse};
use crate::data::{ArrayInfo, Dataset, Feed, Loader, Role};
use crate::graph::loss::Ignored;
use crate::graph::step::Target;
use crate::graph::tensor::Dtype;

/// What the losses take, that of the first loss first.
///
/// # Errors
/// If a loss needs a target and the data do not say which.
pub(super) fn choose(plan: &Plan, dataset: &Dataset) -> Result<Vec<Target>, PrepareError> {
    let arrays: Vec<ArrayInfo> =
        dataset.train().arrays().filter(|array| array.role == Role::Target).collect();
    let mut targets: Vec<Target> = Vec::new();
    let mut add = |target: Target| {
        if !targets.iter().any(|known| known.name == target.name) {
            targets.push(target);
        }
    };
    for loss in plan.loss.terms() {
        if let Some(array) = array_of(loss, plan, &arrays)? {
            add(target(loss, array, dataset));
        }
    }
    for loss in plan.loss.terms() {
        for name in [&loss.sample_weights, &loss.mask].into_iter().flatten() {
            let array = arrays.iter().find(|array| array.name == *name).ok_or_else(|| missing(&arrays))?;
            let shape = Some(array.shape.clone());
            add(Target { shape, ..Target::new(name.clone(), Dtype::F32) });
        }
    }
    Ok(targets)
}

/// Whether the first loss compares with a target, which metrics then do, too.
fn first_is_compared(plan: &Plan) -> bool {
    match plan.loss.kind.target() {
        TargetUse::Always => true,
        TargetUse::IfNamed => plan.loss.target.is_some(),
        TargetUse::Never => false,
    }
}

/// Positions among the feeds of what the metrics compare with, and of what says which positions count.
pub(super) fn positions(plan: &Plan, targets: &[Target], feeds: &[Feed]) -> (Option<usize>, Option<usize>) {
    let position = |name: &str| feeds.iter().position(|feed| feed.role == Role::Target && feed.name == name);
    let compared = targets.first().filter(|_| first_is_compared(plan));
    (compared.and_then(|target| position(&target.name)), plan.loss.mask.as_deref().and_then(position))
}

/// The array that a loss compares with.
fn array_of<'a>(
    loss: &LossPlan,
    plan: &Plan,
    arrays: &'a [ArrayInfo],
) -> Result<Option<&'a ArrayInfo>, PrepareError> {
    let name = match (loss.kind.target(), &loss.target) {
        (TargetUse::Never, _) | (TargetUse::IfNamed, None) => return Ok(None),
        (_, Some(name)) => Some(name.as_str()),
        (TargetUse::Always, None) => plan.data.only_target(&plan.loss),
    };
    let found = name.and_then(|name| arrays.iter().find(|array| array.name == name));
    found.map(Some).ok_or_else(|| missing(arrays))
}

fn missing(arrays: &[ArrayInfo]) -> PrepareError {
    let names: Vec<String> = arrays.iter().map(|array| format!("`{}`", array.name)).collect();
    let found = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    PrepareError::Target { found }
}

fn target(loss: &LossPlan, array: &ArrayInfo, dataset: &Dataset) -> Target {
    let is_labels =
        loss.kind == LossKind::Nll || (loss.kind == LossKind::CrossEntropy && !array.dtype.is_float());
    if !is_labels {
        return Target::new(array.name.clone(), Dtype::F32);
    }
    let occurs = dataset.holds_label(&array.name, loss.ignore_index);
    let ignored = if occurs { Ignored::Possible } else { Ignored::Never };
    Target { ignored, ..Target::new(array.name.clone(), Dtype::I64) }
}

/// Checks the values of a split: labels are classes, targets of binary cross entropy are probabilities. `classes` are the
/// targets that hold labels, with the number of classes.
///
/// # Errors
/// The first value that is neither.
pub(super) fn check(
    plan: &Plan,
    loader: &Loader,
    targets: &[Target],
    classes: &[(String, usize)],
) -> Result<(), PrepareError> {
    for loss in plan.loss.terms() {
        let only = targets.iter().find(|target| target.shape.is_none());
        let name = loss.target.as_deref().or(only.map(|target| target.name.as_str()));
        let Some(name) = name else { continue };
        match &loss.kind {
            LossKind::Bce | LossKind::BceWithLogits => loader.check_probabilities(name)?,
            kind if kind.takes_labels() => {
                if let Some((_, classes)) = classes.iter().find(|(target, _)| target == name) {
                    loader.check_labels(name, *classes, loss.ignore_index)?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}
