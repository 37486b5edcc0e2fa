//! The settings of `[loss]`.

use super::Writer;
use crate::config::build::loss_takes;
use crate::config::plan::{LossKind, LossPlan, Reduction};
use crate::config::value::{KeyPath, Value};

pub(super) fn write(out: &mut Writer, loss: &LossPlan) {
    write_term(out, &KeyPath::dotted("loss"), loss);
    for (name, further) in &loss.auxiliary {
        write_term(out, &KeyPath::of(["loss", "auxiliary", name]), further);
    }
}

fn write_term(out: &mut Writer, at: &KeyPath, loss: &LossPlan) {
    let LossPlan {
        kind,
        output,
        target,
        weight,
        reduction,
        sample_weights,
        mask,
        class_axis,
        label_smoothing,
        class_weights,
        ignore_index,
        pos_weight,
        auxiliary: _,
    } = loss;
    let name = kind.name();
    let mut put = |leaf: &str, value: Value| {
        if leaf == "kind" || loss_takes(name, leaf) {
            out.put_at(at.child(leaf), value);
        }
    };
    let floats = |numbers: &[f64]| Value::List(numbers.iter().copied().map(Value::Float).collect());
    put("kind", Value::Text(name.to_owned()));
    let texts = [("output", output), ("target", target), ("sample_weights", sample_weights), ("mask", mask)];
    for (leaf, text) in texts {
        if let Some(text) = text {
            put(leaf, Value::Text(text.clone()));
        }
    }
    put("label_smoothing", Value::Float(*label_smoothing));
    put("class_weights", floats(class_weights));
    put("ignore_index", Value::Integer((*ignore_index).into()));
    // What has its default is left out, so that a run which began before these settings were there is still the same.
    if *class_axis != 1 {
        put("class_axis", Value::Integer((*class_axis).into()));
    }
    if *weight != 1.0 {
        put("weight", Value::Float(*weight));
    }
    match reduction {
        Reduction::Mean => {}
        Reduction::Sum => put("reduction", Value::Text("sum".to_owned())),
        Reduction::BatchMean => put("reduction", Value::Text("batchmean".to_owned())),
    }
    if !pos_weight.is_empty() {
        put("pos_weight", floats(pos_weight));
    }
    if let Some(other) = kind.other_output() {
        put("other_output", Value::Text(other.to_owned()));
    }
    match kind {
        LossKind::Huber { delta } => put("delta", Value::Float(*delta)),
        LossKind::SmoothL1 { beta } => put("beta", Value::Float(*beta)),
        LossKind::KlDiv { log_target } => put("log_target", Value::Bool(*log_target)),
        LossKind::Cosine { margin, .. } => put("margin", Value::Float(*margin)),
        LossKind::Contrastive { temperature, symmetric, .. } => {
            put("temperature", Value::Float(*temperature));
            put("symmetric", Value::Bool(*symmetric));
        }
        _ => {}
    }
}
