//! The formulas with the factors of one step, and the tensors that are updated as a whole.

use super::adafactor::Adafactor;
use super::factors::{StepFactors, step_factors};
use super::kernel::{self, Elementwise, Gradient};
use super::lamb::{Lamb, Slices};
use super::muon::Muon;
use super::update::{Target, Update};
use super::{StepScalars, adaptive_moments};
use crate::config::OptimizerKind;
use crate::graph::update::{Factors, ParameterUpdate, muon_lr_factor};
use rayon::prelude::*;

/// How parameters of one sort are updated in one step.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kernel {
    pub(super) rule: Rule,
    /// The part of the way that a moving average goes.
    pub(super) fresh_average: f32,
}

/// A formula with its factors.
#[derive(Debug, Clone, Copy)]
pub(super) enum Rule {
    /// Each element stands alone.
    Elementwise(Elementwise),
    /// By the norm of the tensor.
    Lamb(Lamb),
    /// By the rows and columns of the tensor.
    Adafactor(Adafactor),
    /// By the matrix as a whole.
    Muon(Muon),
}

/// The formula of a parameter with all factors of this step.
pub(super) fn rule(update: &ParameterUpdate, scalars: &StepScalars) -> Rule {
    let lr = scalars.lr * update.lr_factor;
    let weight_decay = update.weight_decay;
    let gradient = Gradient { scale: scalars.grad_scale, limit: scalars.clip_value.unwrap_or(f32::INFINITY) };
    let StepFactors { first, second, third } = step_factors(&update.kind, scalars.step);
    let keep = (1.0 - lr * weight_decay) as f32;
    let moments = |betas, eps, decoupled: bool| {
        let (added, keep) = if decoupled { (0.0, keep) } else { (weight_decay as f32, 1.0) };
        adaptive_moments(gradient, added, keep, betas, eps)
    };
    let elementwise = match &update.kind {
        OptimizerKind::Sgd { momentum, nesterov, .. } => {
            let sgd = kernel::Sgd {
                gradient,
                weight_decay: weight_decay as f32,
                momentum: *momentum as f32,
                fresh: first as f32,
                nesterov: *nesterov,
                minus_lr: -lr as f32,
            };
            if *momentum == 0.0 { Elementwise::Sgd(sgd) } else { Elementwise::SgdMomentum(sgd) }
        }
        OptimizerKind::Adam { betas, eps } | OptimizerKind::AdamW { betas, eps } => {
            let decoupled = matches!(update.kind, OptimizerKind::AdamW { .. });
            Elementwise::Adam(kernel::Adam {
                moments: moments(*betas, *eps, decoupled),
                bias_correction2_sqrt: second as f32,
                minus_step_size: -(lr / first) as f32,
            })
        }
        OptimizerKind::NAdam { betas, eps, decoupled_weight_decay, .. } => {
            Elementwise::NAdam(kernel::NAdam {
                moments: moments(*betas, *eps, *decoupled_weight_decay),
                bias_correction2: third as f32,
                gradient_step: -(lr * first) as f32,
                average_step: -(lr * second) as f32,
            })
        }
        OptimizerKind::RAdam { betas, eps, decoupled_weight_decay } => Elementwise::RAdam(kernel::RAdam {
            moments: moments(*betas, *eps, *decoupled_weight_decay),
            minus_step_size: -(lr / first) as f32,
            rectified: (third > 0.0).then_some(second as f32),
        }),
        OptimizerKind::RmsProp { alpha, eps, momentum, centered } => {
            let rms_prop = kernel::RmsProp {
                gradient,
                weight_decay: weight_decay as f32,
                alpha: *alpha as f32,
                fresh: (1.0 - alpha) as f32,
                eps: *eps as f32,
                momentum: *momentum as f32,
                minus_lr: -lr as f32,
            };
            match (*momentum > 0.0, *centered) {
                (false, false) => Elementwise::RmsProp(rms_prop),
                (true, false) => Elementwise::RmsPropMomentum(rms_prop),
                (false, true) => Elementwise::RmsPropCentered(rms_prop),
                (true, true) => Elementwise::RmsPropCenteredMomentum(rms_prop),
            }
        }
        OptimizerKind::Adagrad { eps, .. } => Elementwise::Adagrad(kernel::Adagrad {
            gradient,
            weight_decay: weight_decay as f32,
            eps: *eps as f32,
            minus_lr: -(lr * first) as f32,
        }),
        OptimizerKind::Adadelta { rho, eps } => Elementwise::Adadelta(kernel::Adadelta {
            gradient,
            weight_decay: weight_decay as f32,
            rho: *rho as f32,
            fresh: (1.0 - rho) as f32,
            eps: *eps as f32,
            minus_lr: -lr as f32,
        }),
        OptimizerKind::Lion { betas } => Elementwise::Lion(kernel::Lion {
            gradient,
            keep,
            fresh1: (1.0 - betas.0) as f32,
            fresh2: (1.0 - betas.1) as f32,
            minus_lr: -lr as f32,
        }),
        OptimizerKind::Lamb { betas, eps } => {
            return Rule::Lamb(Lamb {
                gradient,
                weight_decay: weight_decay as f32,
                fresh1: (1.0 - betas.0) as f32,
                beta2: betas.1 as f32,
                fresh2: (1.0 - betas.1) as f32,
                bias_correction1: first as f32,
                bias_correction2_sqrt: second as f32,
                eps: *eps as f32,
                lr,
            });
        }
        OptimizerKind::Adafactor { eps, relative_eps, clip_threshold, .. } => {
            return Rule::Adafactor(Adafactor {
                gradient,
                keep,
                fresh: first as f32,
                eps: *eps as f32,
                relative_eps: *relative_eps,
                clip_threshold: *clip_threshold,
                rate: lr.min(second),
            });
        }
        OptimizerKind::Muon { momentum, nesterov, ns_steps, .. } => {
            let (momentum, nesterov, iterations) = (*momentum as f32, *nesterov, *ns_steps);
            return Rule::Muon(Muon { gradient, momentum, nesterov, iterations, keep, lr });
        }
    };
    Rule::Elementwise(elementwise)
}

/// Elements of the memory that the update of a parameter needs besides its tensors.
pub(super) fn scratch_elements(update: &ParameterUpdate) -> usize {
    match (&update.kind, update.dims.as_slice()) {
        (OptimizerKind::Muon { .. }, [rows, columns]) => super::muon::scratch_elements(*rows, *columns),
        (OptimizerKind::Adafactor { .. }, dims) => Factors::of(dims).map_or(0, |factors| factors.matrices),
        _ => 0,
    }
}

/// Runs one update whose kernel takes the tensor as a whole; all threads work on it.
pub(super) fn apply_whole(
    update: &mut Update<'_>,
    plan: &ParameterUpdate,
    kernel: &Kernel,
    scratch: &mut [f32],
) {
    if matches!(kernel.rule, Rule::Elementwise(_)) {
        return;
    }
    update.copy_source();
    let gradient = update.gradient;
    let Target { parameter, slots: [first, second, _], average } = &mut update.target;
    match &kernel.rule {
        Rule::Elementwise(_) => {}
        Rule::Lamb(lamb) => {
            lamb.run(Slices { parameter, gradient, exp_avg: first, exp_avg_sq: second });
        }
        Rule::Adafactor(adafactor) => {
            adafactor.run(parameter, gradient, [first, second], Factors::of(&plan.dims), scratch);
        }
        Rule::Muon(muon) => {
            if let (OptimizerKind::Muon { adjust_lr, .. }, [rows, columns]) =
                (&plan.kind, plan.dims.as_slice())
            {
                let lr_factor = muon_lr_factor(*adjust_lr, *rows, *columns);
                muon.run(parameter, gradient, first, *columns, lr_factor, scratch);
            }
        }
    }
    let parts = average.par_chunks_mut(super::sums::TASK_ELEMENTS);
    let parts = parts.zip(parameter.par_chunks(super::sums::TASK_ELEMENTS));
    parts.for_each(|(average, parameter)| kernel::move_average(average, parameter, kernel.fresh_average));
}
