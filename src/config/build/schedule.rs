//! `[schedule]`.

use super::Reader;
use super::text_of;
use crate::config::plan::{ScheduleKind, SchedulePlan, ScheduleUnit};

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
