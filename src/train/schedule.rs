//! The learning rate as a function of the step: nothing is advanced, so there is nothing that a resumed run could have
//! lost. The one exception, reduction on a plateau, depends on losses and keeps a small state which is saved.

use crate::config::{ScheduleKind, SchedulePlan, ScheduleUnit};
use std::f64::consts::PI;
use trainer_runtime::codec::{Decode, Encode};

/// `ReduceLROnPlateau` takes a reduction smaller than this for none, as PyTorch does (its `eps`).
const SMALLEST_REDUCTION: f64 = 1e-8;

/// A schedule with the length of its run.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    plan: SchedulePlan,
    base_lr: f64,
    steps_per_epoch: u64,
    total_steps: u64,
}

/// What reduction on a plateau has seen so far; updated once per epoch, saved in checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Encode, Decode)]
#[bincode(crate = "trainer_runtime::codec::bincode")]
pub struct PlateauState {
    /// The best loss, infinite before the first epoch.
    pub best: f64,
    /// Epochs since then that were not better.
    pub bad_epochs: u64,
    /// Epochs still to come in which nothing is counted.
    pub cooldown_left: u64,
    /// How often the rate was reduced.
    pub reductions: u64,
}

impl Default for PlateauState {
    fn default() -> Self {
        Self { best: f64::INFINITY, bad_epochs: 0, cooldown_left: 0, reductions: 0 }
    }
}

impl Schedule {
    /// The schedule of a run of `total_steps` updates, `steps_per_epoch` of them an epoch, whose full rate is
    /// `base_lr`. Lengths of zero count as one.
    #[must_use]
    pub fn new(plan: &SchedulePlan, base_lr: f64, steps_per_epoch: u64, total_steps: u64) -> Self {
        let (steps_per_epoch, total_steps) = (steps_per_epoch.max(1), total_steps.max(1));
        Self { plan: plan.clone(), base_lr, steps_per_epoch, total_steps }
    }

    /// The learning rate of update `step` in `epoch`, both counted from 1. A batch that is left out counts for its epoch
    /// and not as a step.
    ///
    /// The rate rises linearly from `warmup_start` times the first rate of the shape to all of it, which update
    /// `warmup_steps + 1` has; from there the shape runs, shortened by the warm-up where it lasts the whole run.
    /// A shape that counts epochs changes at the starts of epochs only: of the warm-up, it leaves out whole epochs.
    /// Shapes are PyTorch's in their closed form. Past its end, `Cosine` rises again and `Polynomial` and `OneCycle`
    /// keep their last rate.
    #[must_use]
    pub fn lr(&self, step: u64, epoch: u64, plateau: &PlateauState) -> f64 {
        let done = step.saturating_sub(1);
        let warmup = self.plan.warmup_steps;
        if done < warmup {
            let start = self.plan.warmup_start;
            let factor = start + (1.0 - start) * done as f64 / warmup as f64;
            return factor * self.shape(0, plateau);
        }
        let position = match self.plan.unit {
            ScheduleUnit::Step => done - warmup,
            ScheduleUnit::Epoch => epoch.saturating_sub(1).saturating_sub(warmup / self.steps_per_epoch),
        };
        self.shape(position, plateau)
    }

    /// Takes note of the loss at the end of an epoch. It matters to reduction on a plateau alone. A NaN is no
    /// improvement.
    pub fn end_epoch(&self, plateau: &mut PlateauState, loss: f64) {
        let ScheduleKind::ReduceOnPlateau { patience, threshold, cooldown, .. } = self.plan.kind else {
            return;
        };
        if loss < plateau.best * (1.0 - threshold) {
            plateau.best = loss;
            plateau.bad_epochs = 0;
        } else {
            plateau.bad_epochs += 1;
        }
        if plateau.cooldown_left > 0 {
            plateau.cooldown_left -= 1;
            plateau.bad_epochs = 0;
        }
        if plateau.bad_epochs > patience {
            plateau.reductions += 1;
            plateau.cooldown_left = cooldown;
            plateau.bad_epochs = 0;
        }
    }

    /// Units from the end of the warm-up to the end of the run, at least one.
    fn units_after_warmup(&self) -> u64 {
        let units = match self.plan.unit {
            ScheduleUnit::Step => self.total_steps.saturating_sub(self.plan.warmup_steps),
            ScheduleUnit::Epoch => {
                let epochs = self.total_steps.div_ceil(self.steps_per_epoch);
                epochs.saturating_sub(self.plan.warmup_steps / self.steps_per_epoch)
            }
        };
        units.max(1)
    }

    /// The rate after `position` units of the shape.
    fn shape(&self, position: u64, plateau: &PlateauState) -> f64 {
        let (lr, at) = (self.base_lr, position as f64);
        match &self.plan.kind {
            ScheduleKind::Constant => lr,
            ScheduleKind::Step { step_size, gamma } => {
                lr * gamma.powf((position / (*step_size).max(1)) as f64)
            }
            ScheduleKind::MultiStep { milestones, gamma } => {
                let passed = milestones.iter().filter(|milestone| **milestone <= position).count();
                lr * gamma.powf(passed as f64)
            }
            ScheduleKind::Exponential { gamma } => lr * gamma.powf(at),
            ScheduleKind::Cosine { t_max, eta_min } => {
                let t_max = t_max.unwrap_or_else(|| self.units_after_warmup()).max(1) as f64;
                eta_min + (lr - eta_min) * (1.0 + (PI * at / t_max).cos()) / 2.0
            }
            ScheduleKind::OneCycle { pct_start, div_factor, final_div_factor } => one_cycle(
                at,
                self.units_after_warmup() as f64,
                lr,
                *pct_start,
                *div_factor,
                *final_div_factor,
            ),
            ScheduleKind::Polynomial { power, total } => {
                let total = total.unwrap_or_else(|| self.units_after_warmup()).max(1) as f64;
                lr * (1.0 - at.min(total) / total).powf(*power)
            }
            ScheduleKind::ReduceOnPlateau { factor, min_lr, .. } => {
                reduced(lr, plateau.reductions, *factor, *min_lr)
            }
        }
    }
}

/// `OneCycleLR` with two phases of cosine annealing, at update `at` (from 0) of `total`.
fn one_cycle(at: f64, total: f64, max: f64, pct_start: f64, div_factor: f64, final_div_factor: f64) -> f64 {
    let initial = max / div_factor;
    let min = initial / final_div_factor;
    let (peak, last) = (pct_start * total - 1.0, total - 1.0);
    if at == 0.0 && peak >= 0.0 {
        // The phase that rises may be a single point, over which there is no part to compute.
        return initial;
    }
    if at <= peak {
        return cosine_between(initial, max, at / peak);
    }
    cosine_between(max, min, ((at - peak) / (last - peak)).min(1.0))
}

/// From `start` to `end` along half a cosine, `part` in `[0, 1]`.
fn cosine_between(start: f64, end: f64, part: f64) -> f64 {
    end + (start - end) / 2.0 * ((PI * part).cos() + 1.0)
}

/// The rate after a number of reductions. It is stepped through, for the lower bound and the smallest reduction act on
/// each; once one has no effect, neither have those after it.
fn reduced(base_lr: f64, reductions: u64, factor: f64, min_lr: f64) -> f64 {
    let mut lr = base_lr;
    for _ in 0..reductions {
        let next = (lr * factor).max(min_lr);
        if lr - next <= SMALLEST_REDUCTION {
            break;
        }
        lr = next;
    }
    lr
}

#[cfg(test)]
mod tests {
    use super::{PlateauState, Schedule};
    use crate::config::{ScheduleKind, SchedulePlan, ScheduleUnit};
    use serde_json::Value;

    /// The rate of a run in which no batch is left out.
    fn rate(schedule: &Schedule, step: u64, plateau: &PlateauState) -> f64 {
        schedule.lr(step, (step - 1) / schedule.steps_per_epoch + 1, plateau)
    }

    fn reference() -> Value {
        serde_json::from_str(include_str!("../../tests/data/schedules.json")).unwrap()
    }

    fn plan(kind: ScheduleKind, unit: ScheduleUnit, warmup_steps: u64) -> SchedulePlan {
        SchedulePlan { kind, warmup_steps, warmup_start: 0.1, unit }
    }

    /// The kind that a case of `scripts/reference/schedules.py` describes.
    fn kind(name: &str, settings: &Value) -> ScheduleKind {
        let number = |key: &str| settings[key].as_f64().unwrap_or_else(|| panic!("{name} has no {key}"));
        let count = |key: &str| settings[key].as_u64();
        match name {
            "constant" => ScheduleKind::Constant,
            "step" => ScheduleKind::Step { step_size: count("step_size").unwrap(), gamma: number("gamma") },
            "multi_step" => {
                let milestones = settings["milestones"].as_array().unwrap();
                let milestones = milestones.iter().map(|milestone| milestone.as_u64().unwrap()).collect();
                ScheduleKind::MultiStep { milestones, gamma: number("gamma") }
            }
            "exponential" => ScheduleKind::Exponential { gamma: number("gamma") },
            "cosine" => ScheduleKind::Cosine { t_max: count("t_max"), eta_min: number("eta_min") },
            "one_cycle" => ScheduleKind::OneCycle {
                pct_start: number("pct_start"),
                div_factor: number("div_factor"),
                final_div_factor: number("final_div_factor"),
            },
            "polynomial" => ScheduleKind::Polynomial { power: number("power"), total: count("total") },
            "plateau" => ScheduleKind::ReduceOnPlateau {
                factor: number("factor"),
                patience: count("patience").unwrap(),
                threshold: number("threshold"),
                cooldown: count("cooldown").unwrap(),
                min_lr: number("min_lr"),
            },
            other => panic!("unknown schedule {other}"),
        }
    }

    #[track_caller]
    fn check_rate(found: f64, expected: &Value, base_lr: f64, what: &str) {
        let expected = expected.as_f64().unwrap();
        // PyTorch chains some schedules, each rate from the one before, and gathers rounding errors on the way.
        let allowed = 1e-12 * base_lr + 1e-10 * expected.abs();
        assert!((found - expected).abs() <= allowed, "{what}: {found} where PyTorch has {expected}");
    }

    #[test]
    fn every_rate_of_every_case_is_the_one_pytorch_sets() {
        let reference = reference();
        let base_lr = reference["base_lr"].as_f64().unwrap();
        let cases = reference["cases"].as_array().unwrap();
        assert_eq!(cases.len(), 40);
        for case in cases {
            let unit = if case["unit"] == "epoch" { ScheduleUnit::Epoch } else { ScheduleUnit::Step };
            let plan = SchedulePlan {
                kind: kind(case["kind"].as_str().unwrap(), &case["settings"]),
                warmup_steps: case["warmup_steps"].as_u64().unwrap(),
                warmup_start: case["warmup_start"].as_f64().unwrap(),
                unit,
            };
            let steps_per_epoch = case["steps_per_epoch"].as_u64().unwrap();
            let total_steps = steps_per_epoch * case["epochs"].as_u64().unwrap();
            let schedule = Schedule::new(&plan, base_lr, steps_per_epoch, total_steps);
            let rates = case["lr"].as_array().unwrap();
            assert_eq!(rates.len() as u64, total_steps);
            for (expected, step) in rates.iter().zip(1..) {
                let found = rate(&schedule, step, &PlateauState::default());
                check_rate(found, expected, base_lr, &format!("{plan:?} at step {step}"));
            }
        }
    }

    #[test]
    fn reduction_on_a_plateau_follows_pytorch_epoch_by_epoch() {
        let reference = reference();
        let base_lr = reference["base_lr"].as_f64().unwrap();
        let cases = reference["plateaus"].as_array().unwrap();
        assert_eq!(cases.len(), 8);
        for case in cases {
            let plan = plan(kind("plateau", &case["settings"]), ScheduleUnit::Epoch, 0);
            let schedule = Schedule::new(&plan, base_lr, 3, 300);
            let mut state = PlateauState::default();
            let losses = case["losses"].as_array().unwrap();
            for ((loss, expected), epoch) in losses.iter().zip(case["lr"].as_array().unwrap()).zip(1..) {
                let what = format!("{plan:?} in epoch {epoch}");
                check_rate(rate(&schedule, 3 * epoch - 2, &state), expected, base_lr, &what);
                schedule.end_epoch(&mut state, loss.as_f64().unwrap_or(f64::NAN));
            }
        }
    }

    #[test]
    fn plateau_state_survives_being_saved() {
        let state = PlateauState { best: 0.25, bad_epochs: 3, cooldown_left: 1, reductions: 2 };
        for state in [state, PlateauState::default()] {
            let bytes = trainer_runtime::codec::encode(&state).unwrap();
            let read: PlateauState = trainer_runtime::codec::decode(&bytes).unwrap();
            assert_eq!(read, state);
        }
    }

    #[test]
    fn an_epoch_shape_after_warmup_changes_at_epoch_starts_only() {
        let kind = ScheduleKind::Step { step_size: 1, gamma: 0.5 };
        // Ten steps an epoch; the warm-up ends in the middle of epoch 2, so its first epoch is left out.
        let schedule = Schedule::new(&plan(kind, ScheduleUnit::Epoch, 15), 1.0, 10, 50);
        let lr = |step| rate(&schedule, step, &PlateauState::default());
        assert_eq!((lr(1), lr(16), lr(20)), (0.1, 1.0, 1.0));
        assert_eq!((lr(21), lr(30), lr(31)), (0.5, 0.5, 0.25));
    }

    #[test]
    fn a_shape_that_lasts_the_whole_run_is_shortened_by_the_warmup() {
        let whole = |unit, warmup_steps| {
            let kind = ScheduleKind::Polynomial { power: 1.0, total: None };
            Schedule::new(&plan(kind, unit, warmup_steps), 1.0, 10, 50)
        };
        let state = PlateauState::default();
        assert_eq!(rate(&whole(ScheduleUnit::Step, 30), 31, &state), 1.0);
        assert_eq!(rate(&whole(ScheduleUnit::Step, 30), 41, &state), 0.5);
        assert_eq!(rate(&whole(ScheduleUnit::Epoch, 30), 41, &state), 0.5);
    }

    #[test]
    fn a_warmup_longer_than_the_run_never_leaves_the_ramp() {
        let kinds = [
            ScheduleKind::Cosine { t_max: None, eta_min: 0.0 },
            ScheduleKind::Polynomial { power: 1.0, total: None },
            ScheduleKind::OneCycle { pct_start: 0.3, div_factor: 25.0, final_div_factor: 1e4 },
        ];
        for kind in kinds {
            let schedule = Schedule::new(&plan(kind.clone(), ScheduleUnit::Step, 1000), 1.0, 10, 50);
            let rates: Vec<f64> =
                (1..=50).map(|step| rate(&schedule, step, &PlateauState::default())).collect();
            assert!(rates.iter().all(|lr| lr.is_finite() && *lr > 0.0), "{kind:?}: {rates:?}");
            assert!(rates.windows(2).all(|pair| pair[0] < pair[1]), "{kind:?}: {rates:?}");
        }
    }

    #[test]
    fn one_cycle_is_finite_for_runs_of_any_length() {
        for total in 1..20 {
            for pct_start in [0.05, 0.25, 0.5, 0.95] {
                let kind = ScheduleKind::OneCycle { pct_start, div_factor: 25.0, final_div_factor: 1e4 };
                let schedule = Schedule::new(&plan(kind, ScheduleUnit::Step, 0), 1.0, 5, total);
                for step in 1..total + 3 {
                    let lr = rate(&schedule, step, &PlateauState::default());
                    assert!((0.0..=1.0).contains(&lr), "{pct_start}, step {step} of {total}: {lr}");
                }
            }
        }
    }
}
