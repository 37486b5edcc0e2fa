//! `[model]`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::Reader;
use super::data::names_files;
use super::schedule::texts;
use crate::config::plan::{Builtin, Init, ModelPlan, ModelSource, Rename, WeightsPlan};
use crate::config::value::{KeyPath, Value};

pub(super) fn model(reader: &mut Reader<'_>) -> Option<ModelPlan> {
    let onnx = reader.optional_text("model.onnx");
    let builtin = reader.optional_text("model.builtin");
    let freeze = texts(reader, "model.freeze");
    let train = texts(reader, "model.train");
    let dimensions = dimensions(reader);
    let weights = weights(reader);
    let classes = reader.optional_integer("model.classes");
    let init = reader.text_where_it_applies("model.init").map(|text| match text.as_deref() {
        Some("seed") => Init::Seed,
        _ => Init::File,
    });
    let source = match (onnx?, builtin?.as_deref()) {
        (Some(path), _) => Some(ModelSource::Onnx(PathBuf::from(path))),
        (None, Some("mlp")) => Some(ModelSource::Builtin(Builtin::Mlp)),
        (None, Some("cnn")) => Some(ModelSource::Builtin(Builtin::Cnn)),
        (None, _) if names_files(reader) => {
            // Data of the user under a network that nobody chose would be a guess.
            let reason = "data are named, but no model to train on them";
            let remedy = "add `onnx = \"model.onnx\"` or `builtin = \"mlp\"` to [model]";
            reader.missing("model.onnx", reason, remedy);
            None
        }
        (None, _) => Some(ModelSource::Builtin(Builtin::Cnn)),
    };
    Some(ModelPlan {
        source: source?,
        freeze: freeze?,
        train: train?,
        dimensions: dimensions?,
        init: init?,
        weights: weights?,
        classes: classes?,
    })
}

fn dimensions(reader: &mut Reader<'_>) -> Option<BTreeMap<String, u64>> {
    let mut dimensions = BTreeMap::new();
    for name in reader.settings.names("model.dimensions") {
        if let Some(Value::Integer(size)) = reader.find("model.dimensions.<name>", Some(&name)) {
            dimensions.insert(name, u64::try_from(size).ok()?);
        }
    }
    Some(dimensions)
}

#[expect(clippy::option_option, reason = "wrong, not set and set are three things")]
fn weights(reader: &mut Reader<'_>) -> Option<Option<WeightsPlan>> {
    let Some(path) = reader.optional_text("model.weights")? else { return Some(None) };
    let names = texts(reader, "model.weights_names")?;
    let strict = reader.bool("model.weights_strict")?;
    let mut rules = Vec::new();
    for text in &names {
        match Rename::parse(text) {
            Some(rule) => rules.push(rule),
            None => {
                let expected = "rules like \"module.* -> *\", with at most one * on each side, and on the right only with one on \
                                the left";
                let path = KeyPath::dotted("model.weights_names");
                reader.wrong(&path, &Value::Text(text.clone()).short(), expected, "correct the rule");
                return None;
            }
        }
    }
    Some(Some(WeightsPlan { path: PathBuf::from(path), names: rules, strict }))
}
