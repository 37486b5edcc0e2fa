//! `[loss]` and its further losses.

use std::collections::BTreeMap;

use super::{Reader, float_of, text_of};
use crate::config::plan::{LossKind, LossPlan, Reduction};
use crate::config::value::{KeyPath, Value};

/// Which losses take a setting that not every loss takes.
const TAKEN_BY: &[(&str, &[&str])] = &[
    ("label_smoothing", &["cross_entropy"]),
    ("class_weights", &["cross_entropy", "nll"]),
    ("ignore_index", &["cross_entropy", "nll"]),
    ("class_axis", &["cross_entropy", "nll"]),
    ("pos_weight", &["bce_with_logits"]),
    ("delta", &["huber"]),
    ("beta", &["smooth_l1"]),
    ("log_target", &["kl_div"]),
    ("other_output", &["cosine", "contrastive"]),
    ("margin", &["cosine"]),
    ("temperature", &["contrastive"]),
    ("symmetric", &["contrastive"]),
];

/// Settings that these losses do not take.
const NOT_TAKEN_BY: &[(&str, &[&str])] = &[
    ("target", &["contrastive", "output"]),
    ("reduction", &["contrastive", "output"]),
    ("sample_weights", &["contrastive", "output"]),
    ("mask", &["contrastive", "output"]),
];

/// Whether a loss of this kind takes a setting, by the last segment of its path.
pub(in crate::config) fn takes(kind: &str, leaf: &str) -> bool {
    let lists = |table: &[(&str, &[&str])], kind: &str| {
        table.iter().find(|(name, _)| *name == leaf).map(|(_, kinds)| kinds.contains(&kind))
    };
    lists(TAKEN_BY, kind).unwrap_or(true) && !lists(NOT_TAKEN_BY, kind).unwrap_or(false)
}

pub(super) fn loss(reader: &mut Reader<'_>) -> Option<LossPlan> {
    let kind = reader.text("loss.kind")?;
    let first = Term { table: "loss", name: None, kind: &kind }.read(reader);
    let auxiliary = auxiliary(reader);
    let plan = LossPlan { auxiliary: auxiliary?, ..first? };
    check_sums(reader, &plan);
    Some(plan)
}

fn auxiliary(reader: &mut Reader<'_>) -> Option<BTreeMap<String, LossPlan>> {
    const TABLE: &str = "loss.auxiliary";
    let mut losses = BTreeMap::new();
    for name in reader.settings.names(TABLE) {
        let at = KeyPath::dotted(TABLE).child(&name);
        let Some(kind) = reader.find("loss.auxiliary.<name>.kind", Some(&name)).and_then(text_of) else {
            if !reader.settings.is_spoiled_path(&at.child("kind")) {
                let remedy = "add `kind = \"mse\"`, or another loss";
                reader.missing(&at.child("kind").to_string(), "a further loss has no default", remedy);
            }
            return None;
        };
        let loss = Term { table: "loss.auxiliary.<name>", name: Some(&name), kind: &kind }.read(reader)?;
        losses.insert(name, loss);
    }
    Some(losses)
}

/// A sum has no weight by which it could be put in proportion to another loss.
fn check_sums(reader: &mut Reader<'_>, plan: &LossPlan) {
    if plan.auxiliary.is_empty() || plan.terms().all(|term| term.reduction != Reduction::Sum) {
        return;
    }
    let further = plan.auxiliary.iter().find(|(_, loss)| loss.reduction == Reduction::Sum);
    let path = match further {
        Some((name, _)) => KeyPath::of(["loss", "auxiliary", name, "reduction"]),
        None => KeyPath::dotted("loss.reduction"),
    };
    let expected = "\"mean\" or \"batchmean\", because there are several losses";
    reader.wrong(&path, "\"sum\"", expected, "choose one, and set `weight` to the factor wanted");
}

/// One loss among the settings.
struct Term<'a> {
    table: &'static str,
    name: Option<&'a str>,
    kind: &'a str,
}

impl Term<'_> {
    fn path(&self, leaf: &str) -> KeyPath {
        match self.name {
            Some(name) => KeyPath::of(["loss", "auxiliary", name, leaf]),
            None => KeyPath::of(["loss", leaf]),
        }
    }

    /// The value that holds, if the loss takes the setting.
    fn find(&self, reader: &Reader<'_>, leaf: &str) -> Option<Value> {
        if !takes(self.kind, leaf) {
            return None;
        }
        reader.find(&format!("{}.{leaf}", self.table), self.name)
    }

    fn text(&self, reader: &Reader<'_>, leaf: &str) -> Option<String> {
        self.find(reader, leaf).and_then(text_of)
    }

    fn number(&self, reader: &Reader<'_>, leaf: &str, default: f64) -> f64 {
        self.find(reader, leaf).as_ref().and_then(float_of).unwrap_or(default)
    }

    fn numbers(&self, reader: &Reader<'_>, leaf: &str) -> Vec<f64> {
        match self.find(reader, leaf) {
            Some(Value::List(items)) => items.iter().filter_map(float_of).collect(),
            _ => Vec::new(),
        }
    }

    fn read(&self, reader: &mut Reader<'_>) -> Option<LossPlan> {
        self.refuse_foreign(reader);
        let kind = self.kind(reader)?;
        let reduction = match self.text(reader, "reduction").as_deref() {
            Some("sum") => Reduction::Sum,
            Some("batchmean") => Reduction::BatchMean,
            _ => Reduction::Mean,
        };
        if reduction == Reduction::BatchMean && self.kind != "kl_div" {
            let expected = "\"mean\" or \"sum\", because only kl_div has a mean over the batch";
            reader.wrong(&self.path("reduction"), "\"batchmean\"", expected, "choose one of them");
        }
        let ignore_index = match self.find(reader, "ignore_index") {
            Some(value) => reader.converted(&self.path("ignore_index").to_string(), &value)?,
            None => LossPlan::new(LossKind::Mse).ignore_index,
        };
        let class_axis = match self.find(reader, "class_axis") {
            Some(Value::Integer(axis)) => i64::try_from(axis).unwrap_or(1),
            _ => 1,
        };
        if class_axis == 0 {
            let expected = "another axis, because the first counts the examples";
            reader.wrong(&self.path("class_axis"), "0", expected, "set 1, or -1 for the last axis");
        }
        let class_weights = self.numbers(reader, "class_weights");
        if !class_weights.is_empty() && class_weights.iter().all(|weight| *weight == 0.0) {
            let expected = "a weight above 0 for at least one class";
            reader.wrong(&self.path("class_weights"), "all 0", expected, "raise one, or remove the key");
        }
        Some(LossPlan {
            output: self.text(reader, "output"),
            target: self.text(reader, "target"),
            weight: self.number(reader, "weight", 1.0),
            reduction,
            sample_weights: self.text(reader, "sample_weights"),
            mask: self.text(reader, "mask"),
            class_axis,
            label_smoothing: self.number(reader, "label_smoothing", 0.0),
            class_weights,
            ignore_index,
            pos_weight: self.numbers(reader, "pos_weight"),
            ..LossPlan::new(kind)
        })
    }

    fn kind(&self, reader: &mut Reader<'_>) -> Option<LossKind> {
        let flag = |reader: &Reader<'_>, leaf: &str| self.find(reader, leaf) == Some(Value::Bool(true));
        let other = self.text(reader, "other_output");
        Some(match self.kind {
            "cross_entropy" => LossKind::CrossEntropy,
            "nll" => LossKind::Nll,
            "mse" => LossKind::Mse,
            "l1" => LossKind::L1,
            "huber" => LossKind::Huber { delta: self.number(reader, "delta", 1.0) },
            "smooth_l1" => LossKind::SmoothL1 { beta: self.number(reader, "beta", 1.0) },
            "bce" => LossKind::Bce,
            "bce_with_logits" => LossKind::BceWithLogits,
            "kl_div" => LossKind::KlDiv { log_target: flag(reader, "log_target") },
            "cosine" => LossKind::Cosine { other, margin: self.number(reader, "margin", 0.0) },
            "contrastive" => {
                let Some(other) = other else {
                    let remedy = "add `other_output` with the name of the output of the second encoder";
                    let path = self.path("other_output").to_string();
                    reader.missing(&path, "a contrastive loss compares two outputs", remedy);
                    return None;
                };
                let temperature = self.number(reader, "temperature", 0.07);
                LossKind::Contrastive { other, temperature, symmetric: flag(reader, "symmetric") }
            }
            "output" => LossKind::Output,
            _ => return None,
        })
    }

    /// A further loss refuses what it does not take here; for the first one its rows do.
    fn refuse_foreign(&self, reader: &mut Reader<'_>) {
        if self.name.is_none() {
            return;
        }
        let leaves = TAKEN_BY.iter().chain(NOT_TAKEN_BY).map(|(leaf, _)| *leaf);
        for leaf in leaves.filter(|leaf| !takes(self.kind, leaf)) {
            let path = self.path(leaf);
            if let Some(found) = reader.settings.given(&path).map(Value::short) {
                let expected = format!("nothing, because {} does not take it", self.kind);
                reader.wrong(&path, &found, &expected, "remove it");
            }
        }
    }
}
