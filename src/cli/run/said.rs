//! What is said when a run is taken up: what was restored, and what becomes of the learning rate.

use crate::config::{Difference, OptimizerKind, Plan, ScheduleKind, from_toml};
use crate::train::batching::batches_per_epoch;
use crate::train::history::History;
use crate::train::saved::Saved;
use crate::train::schedule::Schedule;
use std::path::Path;

/// `Restored: weights, optimizer (AdamW), scheduler (cosine), ...`: only what the run has.
pub(super) fn restored(plan: &Plan, saved: &Saved) -> String {
    let mut parts = vec!["weights".to_owned(), format!("optimizer ({})", optimizer(&plan.optimizer.kind))];
    if plan.optimizer.ema.is_some() {
        parts.push("moving average of the weights".to_owned());
    }
    parts.push(format!("scheduler ({})", schedule(&plan.schedule.kind)));
    parts.push("data position".to_owned());
    if let Some(state) = saved.loss_scale {
        parts.push(format!("loss scale ({})", state.scale));
    }
    if let Some(stopping) = &plan.train.early_stopping {
        let passed = saved.early_stopping.epochs_without_improvement;
        parts.push(format!("early stopping ({passed} of {})", stopping.patience));
    }
    if let Some(best) = saved.best {
        parts.push(format!("best ({:.4} at epoch {})", best.value, best.epoch));
    }
    format!("Restored: {}", parts.join(", "))
}

/// What becomes of the learning rate where the run has another length, or batches of another size; `None` elsewhere.
pub(super) fn of_schedule(
    history: &History,
    plan: &Plan,
    changes: &[Difference],
    examples: usize,
    saved: &Saved,
) -> Option<String> {
    let is_about_length =
        |change: &Difference| matches!(change.key.as_str(), "train.epochs" | "train.batch_size");
    if !changes.iter().any(is_about_length) {
        return None;
    }
    let old = from_toml(history.settings.as_deref()?, Path::new("the settings in the journal")).ok()?.plan;
    let of = |plan: &Plan| {
        let per_epoch = batches_per_epoch(examples, plan);
        let total = plan.train.epochs.saturating_mul(per_epoch);
        (Schedule::new(&plan.schedule, plan.optimizer.lr, per_epoch, total), total)
    };
    let ((before, steps_before), (now, steps_now)) = (of(&old), of(plan));
    let (step, kind) = (saved.step + 1, schedule(&plan.schedule.kind));
    let rate = |schedule: &Schedule| format!("{:.3e}", schedule.lr(step, saved.epoch, &saved.plateau));
    let (rate_before, rate_now) = (rate(&before), rate(&now));
    Some(match plan.schedule.kind {
        ScheduleKind::Cosine { t_max: None, .. }
        | ScheduleKind::Polynomial { total: None, .. }
        | ScheduleKind::OneCycle { .. } => format!(
            "schedule ({kind}): spread over the whole run, which has {steps_now} steps now and had {steps_before}: step {step} has \
             the learning rate {rate_now}, where it would have been {rate_before}"
        ),
        ScheduleKind::Cosine { t_max: Some(t_max), .. } => format!(
            "schedule ({kind}): its length of {t_max} is a setting (schedule.t_max) and stays; past it the learning rate rises \
             again: step {step} has {rate_now}"
        ),
        ScheduleKind::Polynomial { total: Some(total), .. } => format!(
            "schedule ({kind}): its length of {total} is a setting (schedule.total) and stays; past it the learning rate keeps \
             its last value: step {step} has {rate_now}"
        ),
        _ => format!(
            "schedule ({kind}): does not depend on the length of the run: step {step} has the learning rate {rate_now}"
        ),
    })
}

fn schedule(kind: &ScheduleKind) -> &'static str {
    match kind {
        ScheduleKind::Constant => "constant",
        ScheduleKind::Step { .. } => "step",
        ScheduleKind::MultiStep { .. } => "multistep",
        ScheduleKind::Exponential { .. } => "exponential",
        ScheduleKind::Cosine { .. } => "cosine",
        ScheduleKind::OneCycle { .. } => "one cycle",
        ScheduleKind::Polynomial { .. } => "polynomial",
        ScheduleKind::ReduceOnPlateau { .. } => "reduce on plateau",
    }
}

fn optimizer(kind: &OptimizerKind) -> &'static str {
    match kind {
        OptimizerKind::Sgd { .. } => "SGD",
        OptimizerKind::Adam { .. } => "Adam",
        OptimizerKind::AdamW { .. } => "AdamW",
        OptimizerKind::RmsProp { .. } => "RMSprop",
        OptimizerKind::Adagrad { .. } => "Adagrad",
        OptimizerKind::Adadelta { .. } => "Adadelta",
        OptimizerKind::Lion { .. } => "Lion",
        OptimizerKind::Lamb { .. } => "LAMB",
        OptimizerKind::Adafactor { .. } => "Adafactor",
        OptimizerKind::NAdam { .. } => "NAdam",
        OptimizerKind::RAdam { .. } => "RAdam",
        OptimizerKind::Muon { .. } => "Muon",
    }
}
