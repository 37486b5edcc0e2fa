//! The settings of `[optimizer]` and `[ema]`.

use super::Writer;
use crate::config::plan::{AdjustLr, EmaPlan, OptimizerKind, OptimizerPlan, ParameterGroup};
use crate::config::value::{KeyPath, Value};

pub(super) fn write(out: &mut Writer, optimizer: &OptimizerPlan) {
    let OptimizerPlan { kind, lr, weight_decay, no_decay, groups, ema } = optimizer;
    let name = write_kind(out, kind);
    out.text("optimizer.kind", name);
    out.float("optimizer.lr", *lr);
    out.float("optimizer.weight_decay", *weight_decay);
    out.texts("optimizer.no_decay", no_decay.iter().cloned());
    for (name, ParameterGroup { parameters, lr, weight_decay }) in groups {
        let at = KeyPath::of(["optimizer", "groups", name]);
        let patterns = parameters.iter().cloned().map(Value::Text).collect();
        out.put_at(at.child("parameters"), Value::List(patterns));
        for (leaf, number) in [("lr", lr), ("weight_decay", weight_decay)] {
            if let Some(number) = number {
                out.put_at(at.child(leaf), Value::Float(*number));
            }
        }
    }
    if let Some(EmaPlan { decay, is_used }) = ema {
        out.float("ema.decay", *decay);
        out.put("ema.use", Value::Bool(*is_used));
    }
}

/// Writes what belongs to one algorithm, and returns its name.
fn write_kind(out: &mut Writer, kind: &OptimizerKind) -> &'static str {
    match kind {
        OptimizerKind::Sgd { momentum, dampening, nesterov } => {
            out.float("optimizer.momentum", *momentum);
            out.float("optimizer.dampening", *dampening);
            out.put("optimizer.nesterov", Value::Bool(*nesterov));
            "sgd"
        }
        OptimizerKind::Adam { betas, eps } => named_adam(out, *betas, *eps, "adam"),
        OptimizerKind::AdamW { betas, eps } => named_adam(out, *betas, *eps, "adamw"),
        OptimizerKind::Lamb { betas, eps } => named_adam(out, *betas, *eps, "lamb"),
        OptimizerKind::Lion { betas } => {
            out.floats("optimizer.betas", &[betas.0, betas.1]);
            "lion"
        }
        OptimizerKind::RmsProp { alpha, eps, momentum, centered } => {
            out.float("optimizer.alpha", *alpha);
            out.float("optimizer.eps", *eps);
            out.float("optimizer.momentum", *momentum);
            out.put("optimizer.centered", Value::Bool(*centered));
            "rmsprop"
        }
        OptimizerKind::Adagrad { lr_decay, eps } => {
            out.float("optimizer.lr_decay", *lr_decay);
            out.float("optimizer.eps", *eps);
            "adagrad"
        }
        OptimizerKind::Adadelta { rho, eps } => {
            out.float("optimizer.rho", *rho);
            out.float("optimizer.eps", *eps);
            "adadelta"
        }
        OptimizerKind::NAdam { betas, eps, momentum_decay, decoupled_weight_decay } => {
            out.float("optimizer.momentum_decay", *momentum_decay);
            out.put("optimizer.decoupled_weight_decay", Value::Bool(*decoupled_weight_decay));
            named_adam(out, *betas, *eps, "nadam")
        }
        OptimizerKind::RAdam { betas, eps, decoupled_weight_decay } => {
            out.put("optimizer.decoupled_weight_decay", Value::Bool(*decoupled_weight_decay));
            named_adam(out, *betas, *eps, "radam")
        }
        OptimizerKind::Adafactor { beta2_decay, eps, relative_eps, clip_threshold } => {
            out.float("optimizer.beta2_decay", *beta2_decay);
            out.float("optimizer.eps", *eps);
            out.float("optimizer.relative_eps", *relative_eps);
            out.float("optimizer.clip_threshold", *clip_threshold);
            "adafactor"
        }
        OptimizerKind::Muon { momentum, nesterov, ns_steps, adjust_lr, betas, eps, adamw_patterns } => {
            out.float("optimizer.momentum", *momentum);
            out.put("optimizer.nesterov", Value::Bool(*nesterov));
            out.integer("optimizer.ns_steps", u64::from(*ns_steps));
            let adjust_lr = match adjust_lr {
                AdjustLr::Original => "original",
                AdjustLr::MatchRmsAdamw => "match_rms_adamw",
            };
            out.text("optimizer.adjust_lr", adjust_lr);
            out.texts("optimizer.adamw_patterns", adamw_patterns.iter().cloned());
            named_adam(out, *betas, *eps, "muon")
        }
    }
}

fn named_adam(out: &mut Writer, betas: (f64, f64), eps: f64, name: &'static str) -> &'static str {
    out.floats("optimizer.betas", &[betas.0, betas.1]);
    out.float("optimizer.eps", eps);
    name
}
