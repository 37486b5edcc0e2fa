//! `[optimizer]` and `[ema]`.

use std::collections::BTreeMap;

use super::schedule::texts;
use super::{Reader, float_of, text_of};
use crate::config::plan::{AdjustLr, EmaPlan, OptimizerKind, OptimizerPlan, ParameterGroup};
use crate::config::value::{KeyPath, Value};

pub(super) fn optimizer(reader: &mut Reader<'_>) -> Option<OptimizerPlan> {
    let name = reader.text("optimizer.kind")?;
    let lr = reader.float("optimizer.lr");
    let weight_decay = reader.float("optimizer.weight_decay");
    let no_decay = texts(reader, "optimizer.no_decay");
    let groups = groups(reader);
    let ema = ema(reader);
    let kind = kind(reader, &name);
    Some(OptimizerPlan {
        kind: kind?,
        lr: lr?,
        weight_decay: weight_decay?,
        no_decay: no_decay?,
        groups: groups?,
        ema: ema?,
    })
}

fn kind(reader: &mut Reader<'_>, name: &str) -> Option<OptimizerKind> {
    match name {
        "sgd" => sgd(reader),
        "adam" => adam(reader).map(|(betas, eps)| OptimizerKind::Adam { betas, eps }),
        "adamw" => adam(reader).map(|(betas, eps)| OptimizerKind::AdamW { betas, eps }),
        "lamb" => adam(reader).map(|(betas, eps)| OptimizerKind::Lamb { betas, eps }),
        "lion" => betas(reader).map(|betas| OptimizerKind::Lion { betas }),
        "rmsprop" => {
            let (alpha, eps) = (reader.float("optimizer.alpha"), reader.float("optimizer.eps"));
            let (momentum, centered) =
                (reader.float("optimizer.momentum"), reader.bool("optimizer.centered"));
            let (momentum, centered) = (momentum?, centered?);
            Some(OptimizerKind::RmsProp { alpha: alpha?, eps: eps?, momentum, centered })
        }
        "adagrad" => {
            let (lr_decay, eps) = (reader.float("optimizer.lr_decay"), reader.float("optimizer.eps"));
            Some(OptimizerKind::Adagrad { lr_decay: lr_decay?, eps: eps? })
        }
        "adadelta" => {
            let (rho, eps) = (reader.float("optimizer.rho"), reader.float("optimizer.eps"));
            Some(OptimizerKind::Adadelta { rho: rho?, eps: eps? })
        }
        "nadam" => {
            let (adam, momentum_decay) = (adam(reader), reader.float("optimizer.momentum_decay"));
            let decoupled_weight_decay = reader.bool("optimizer.decoupled_weight_decay")?;
            let ((betas, eps), momentum_decay) = (adam?, momentum_decay?);
            Some(OptimizerKind::NAdam { betas, eps, momentum_decay, decoupled_weight_decay })
        }
        "radam" => radam(reader),
        "adafactor" => {
            let (beta2_decay, eps) = (reader.float("optimizer.beta2_decay"), reader.float("optimizer.eps"));
            let relative_eps = reader.float("optimizer.relative_eps");
            let clip_threshold = reader.float("optimizer.clip_threshold")?;
            let (beta2_decay, eps, relative_eps) = (beta2_decay?, eps?, relative_eps?);
            Some(OptimizerKind::Adafactor { beta2_decay, eps, relative_eps, clip_threshold })
        }
        "muon" => muon(reader),
        _ => None,
    }
}

fn sgd(reader: &mut Reader<'_>) -> Option<OptimizerKind> {
    let momentum = reader.float("optimizer.momentum");
    let dampening = reader.float("optimizer.dampening");
    let nesterov = reader.bool("optimizer.nesterov");
    let (momentum, dampening, nesterov) = (momentum?, dampening?, nesterov?);
    if nesterov && (momentum == 0.0 || dampening != 0.0) {
        let path = KeyPath::dotted("optimizer.nesterov");
        let expected = format!(
            "false, because Nesterov's form needs momentum above 0 and dampening 0, and they are {momentum} and \
             {dampening}"
        );
        reader.wrong(
            &path,
            "true",
            &expected,
            "set optimizer.momentum = 0.9 and leave out optimizer.dampening",
        );
    }
    Some(OptimizerKind::Sgd { momentum, dampening, nesterov })
}

fn adam(reader: &mut Reader<'_>) -> Option<((f64, f64), f64)> {
    let betas = betas(reader);
    let eps = reader.float("optimizer.eps");
    Some((betas?, eps?))
}

fn betas(reader: &mut Reader<'_>) -> Option<(f64, f64)> {
    match reader.list("optimizer.betas")?.as_slice() {
        [Value::Float(first), Value::Float(second)] => Some((*first, *second)),
        _ => None,
    }
}

fn radam(reader: &mut Reader<'_>) -> Option<OptimizerKind> {
    let adam = adam(reader);
    let decoupled_weight_decay = reader.bool("optimizer.decoupled_weight_decay")?;
    let (betas, eps) = adam?;
    Some(OptimizerKind::RAdam { betas, eps, decoupled_weight_decay })
}

fn muon(reader: &mut Reader<'_>) -> Option<OptimizerKind> {
    let (momentum, nesterov) = (reader.float("optimizer.momentum"), reader.bool("optimizer.nesterov"));
    let ns_steps = reader.integer("optimizer.ns_steps");
    let adjust_lr = reader.text("optimizer.adjust_lr").map(|text| match text.as_str() {
        "match_rms_adamw" => AdjustLr::MatchRmsAdamw,
        _ => AdjustLr::Original,
    });
    let adam = adam(reader);
    let adamw_patterns = texts(reader, "optimizer.adamw_patterns")?;
    let ((betas, eps), momentum, nesterov) = (adam?, momentum?, nesterov?);
    let (ns_steps, adjust_lr) = (ns_steps?, adjust_lr?);
    Some(OptimizerKind::Muon { momentum, nesterov, ns_steps, adjust_lr, betas, eps, adamw_patterns })
}

fn groups(reader: &mut Reader<'_>) -> Option<BTreeMap<String, ParameterGroup>> {
    const TABLE: &str = "optimizer.groups";
    let mut groups = BTreeMap::new();
    for name in reader.settings.names(TABLE) {
        let find = |leaf: &str| reader.find(&format!("{TABLE}.<name>.{leaf}"), Some(&name));
        let number = |leaf: &str| find(leaf).as_ref().and_then(float_of);
        let (lr, weight_decay) = (number("lr"), number("weight_decay"));
        let parameters: Vec<String> = match find("parameters") {
            Some(Value::List(items)) => items.into_iter().filter_map(text_of).collect(),
            _ => Vec::new(),
        };
        let at = KeyPath::dotted(TABLE).child(&name).child("parameters");
        if parameters.is_empty() && !reader.settings.is_spoiled_path(&at) {
            let remedy = "add `parameters = [\"backbone.*\"]`, with patterns of names";
            reader.missing(&at.to_string(), "the group names no parameters", remedy);
            return None;
        }
        groups.insert(name, ParameterGroup { parameters, lr, weight_decay });
    }
    Some(groups)
}

#[expect(clippy::option_option, reason = "wrong, not set and set are three things")]
fn ema(reader: &mut Reader<'_>) -> Option<Option<EmaPlan>> {
    let Some(decay) = reader.optional_float("ema.decay")? else { return Some(None) };
    Some(Some(EmaPlan { decay, is_used: reader.bool("ema.use")? }))
}
