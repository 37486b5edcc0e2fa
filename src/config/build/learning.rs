//! `[loss]` and `[schedule]`.

use super::Reader;
use super::{float_of, text_of};
use crate::config::plan::{LossKind, LossPlan, ScheduleKind, SchedulePlan, ScheduleUnit};
use crate::config::value::KeyPath;

/// PyTorch's `ignore_index`; what the plan holds for losses that have none.
const IGNORE_INDEX: i64 = -100;

pub(super) fn loss(reader: &mut Reader<'_>) -> Option<LossPlan> {
    let kind = match reader.text("loss.kind")?.as_str() {
        "cross_entropy" => LossKind::CrossEntropy,
        "mse" => LossKind::Mse,
        "l1" => LossKind::L1,
        "bce_with_logits" => LossKind::BceWithLogits,
        "output" => LossKind::Output,
        _ => return None,
    };
    let output = reader.optional_text("loss.output");
    let target = reader.optional_text("loss.target");
    let mut plan = LossPlan {
        kind,
        output: output?,
        target: target?,
        label_smoothing: 0.0,
        class_weights: Vec::new(),
        ignore_index: IGNORE_INDEX,
    };
    if kind == LossKind::CrossEntropy {
        let smoothing = reader.float("loss.label_smoothing");
        let weights = reader.list("loss.class_weights");
        plan.ignore_index = reader.integer("loss.ignore_index")?;
        plan.label_smoothing = smoothing?;
        plan.class_weights = weights?.iter().filter_map(float_of).collect();
        check_class_weights(reader, &plan.class_weights);
    }
    Some(plan)
}

fn check_class_weights(reader: &mut Reader<'_>, weights: &[f64]) {
    if !weights.is_empty() && weights.iter().all(|weight| *weight == 0.0) {
        let path = KeyPath::dotted("loss.class_weights");
        reader.wrong(
            &path,
            "all 0",
            "a weight above 0 for at least one class",
            "raise one, or remove the key",
        );
    }
}

pub(super) fn schedule(reader: &mut Reader<'_>) -> Option<SchedulePlan> {
    let name = reader.text("schedule.kind")?;
    let kind = schedule_kind(reader, &name);
    // A cycle rises by itself, so that the plan holds a warm-up of no steps.
    let (warmup_steps, warmup_start) = if name == "one_cycle" {
        (Some(0), Some(1.0))
    } else {
        (reader.integer("schedule.warmup_steps"), reader.float("schedule.warmup_start"))
    };
    let unit = match name.as_str() {
        "constant" => Some(ScheduleUnit::Step),
        "reduce_on_plateau" => Some(ScheduleUnit::Epoch),
        _ => reader.text("schedule.unit").map(|unit| match unit.as_str() {
            "epoch" => ScheduleUnit::Epoch,
            _ => ScheduleUnit::Step,
        }),
    };
    Some(SchedulePlan { kind: kind?, warmup_steps: warmup_steps?, warmup_start: warmup_start?, unit: unit? })
}

fn schedule_kind(reader: &mut Reader<'_>, name: &str) -> Option<ScheduleKind> {
    match name {
        "constant" => Some(ScheduleKind::Constant),
        "step" => {
            let (step_size, gamma) = (reader.integer("schedule.step_size"), reader.float("schedule.gamma"));
            Some(ScheduleKind::Step { step_size: step_size?, gamma: gamma? })
        }
        "multistep" => {
            let (milestones, gamma) = (reader.list("schedule.milestones"), reader.float("schedule.gamma"));
            let milestones = milestones?
                .iter()
                .map(|value| reader.converted("schedule.milestones", value))
                .collect::<Option<Vec<u64>>>();
            Some(ScheduleKind::MultiStep { milestones: milestones?, gamma: gamma? })
        }
        "exponential" => Some(ScheduleKind::Exponential { gamma: reader.float("schedule.gamma")? }),
        "cosine" => {
            let (t_max, eta_min) =
                (reader.optional_integer("schedule.t_max"), reader.float("schedule.eta_min"));
            Some(ScheduleKind::Cosine { t_max: t_max?, eta_min: eta_min? })
        }
        "one_cycle" => {
            let pct_start = reader.float("schedule.pct_start");
            let div_factor = reader.float("schedule.div_factor");
            let final_div_factor = reader.float("schedule.final_div_factor");
            Some(ScheduleKind::OneCycle {
                pct_start: pct_start?,
                div_factor: div_factor?,
                final_div_factor: final_div_factor?,
            })
        }
        "polynomial" => {
            let (power, total) = (reader.float("schedule.power"), reader.optional_integer("schedule.total"));
            Some(ScheduleKind::Polynomial { power: power?, total: total? })
        }
        "reduce_on_plateau" => reduce_on_plateau(reader),
        _ => None,
    }
}

fn reduce_on_plateau(reader: &mut Reader<'_>) -> Option<ScheduleKind> {
    let factor = reader.float("schedule.factor");
    let patience = reader.integer("schedule.patience");
    let threshold = reader.float("schedule.threshold");
    let cooldown = reader.integer("schedule.cooldown");
    let min_lr = reader.float("schedule.min_lr");
    Some(ScheduleKind::ReduceOnPlateau {
        factor: factor?,
        patience: patience?,
        threshold: threshold?,
        cooldown: cooldown?,
        min_lr: min_lr?,
    })
}

/// The strings of an array.
pub(super) fn texts(reader: &mut Reader<'_>, path: &str) -> Option<Vec<String>> {
    reader.list(path)?.into_iter().map(text_of).collect()
}
