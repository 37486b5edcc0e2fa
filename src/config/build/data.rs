//! `[data]`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::Reader;
use super::{float_of, generated_data, text_of};
use crate::config::document::{Document, Given};
use crate::config::error::Origin;
use crate::config::plan::{ArrayMap, DataPlan, DataSource, ImagesPlan, LossPlan, TargetUse, TokensPlan};
use crate::config::settings::{Layer, Settings};
use crate::config::table;
use crate::config::value::{KeyPath, Value};

/// The arrays of the embedded digits, and the names under which they are used if none are given.
const DIGITS_INPUT: &str = "images";
const DIGITS_TARGET: &str = "labels";

/// Whether the user named files of data, or meant to.
pub(super) fn names_files(reader: &Reader<'_>) -> bool {
    let has_file = |table: &str| {
        reader.settings.names(table).iter().any(|name| {
            let path = KeyPath::dotted(table).child(name).child("file");
            reader.settings.given(&path).is_some()
        })
    };
    ["data.train", "data.validation", "data.tokens.train", "data.images.train"]
        .iter()
        .any(|path| reader.settings.is_given(path) || reader.settings.is_spoiled(path))
        || has_file("data.inputs")
        || has_file("data.targets")
}

/// Names data that nobody opens where none are named, for commands that look at the model alone.
pub(in crate::config) fn stand_in(settings: &mut Settings) {
    let names_data = settings.is_given("data.builtin") || names_files(&Reader { settings });
    if names_data || !settings.is_given("model.onnx") {
        return;
    }
    let of_losses = ["loss.target", "loss.sample_weights", "loss.mask"];
    let mut targets: Vec<String> = of_losses
        .iter()
        .filter_map(|key| settings.given(&KeyPath::dotted(key)).cloned().and_then(text_of))
        .collect();
    if targets.is_empty() {
        targets.push("y".to_owned());
    }
    let array = |table: &str, name: &str| {
        (format!("{table}.<name>.array"), KeyPath::dotted(table).child(name).child("array"))
    };
    let mut named = vec![("data.train".to_owned(), KeyPath::dotted("data.train"))];
    if settings.names("data.inputs").is_empty() {
        named.push(array("data.inputs", "x"));
    }
    if settings.names("data.targets").is_empty() {
        named.extend(targets.iter().map(|name| array("data.targets", name)));
    }
    let given = named.into_iter().map(|(declared, path)| Given {
        key: table::declared(&declared),
        path,
        value: Some(Value::Text("none".to_owned())),
        origin: Origin::Flag("no data"),
    });
    let mut document = Document::default();
    document.given = given.collect();
    settings.add(Layer::Flags, document);
}

pub(super) fn data(reader: &mut Reader<'_>) -> Option<DataPlan> {
    let train = reader.optional_text("data.train");
    let validation = reader.optional_text("data.validation");
    let validation_fraction = reader.optional_float("data.validation_fraction");
    let shuffle = reader.bool("data.shuffle");
    let drop_last = reader.bool("data.drop_last");
    let inputs = arrays(reader, "data.inputs");
    let targets = arrays(reader, "data.targets");
    let tokens = generated_data::tokens(reader);
    let images = generated_data::images(reader);
    let is_digits = is_digits(reader)?;
    let source = match (tokens?, images?) {
        (Some(tokens), _) => DataSource::Tokens(tokens),
        (None, Some(images)) => DataSource::Images(images),
        (None, None) if is_digits => DataSource::Digits,
        (None, None) => {
            DataSource::Files { train: train?.map(PathBuf::from), validation: validation?.map(PathBuf::from) }
        }
    };
    let mut plan = DataPlan {
        source,
        validation_fraction: validation_fraction?,
        shuffle: shuffle?,
        drop_last: drop_last?,
        inputs: inputs?,
        targets: targets?,
    };
    match &plan.source {
        DataSource::Digits => complete_digits(reader, &mut plan),
        DataSource::Files { .. } => check_files(reader, &plan),
        DataSource::Tokens(TokensPlan { validation, .. })
        | DataSource::Images(ImagesPlan { validation, .. }) => {
            check_generated(reader, &plan, validation.is_some());
        }
    }
    Some(plan)
}

/// Tokens and images have two arrays, which need no files, and one source of validation examples.
fn check_generated(reader: &mut Reader<'_>, plan: &DataPlan, has_validation: bool) {
    if plan.inputs.is_empty() && !reader.settings.is_spoiled_table("data.inputs") {
        missing_input(reader, "tokens\" or \"images");
    }
    if has_validation && plan.validation_fraction.is_some() {
        let path = KeyPath::dotted("data.validation_fraction");
        let found = reader.settings.given(&path).map(Value::short).unwrap_or_default();
        let expected = "nothing, because there are validation data of their own";
        reader.wrong(&path, &found, expected, "remove one of them");
    }
    for (table, arrays) in [("data.inputs", &plan.inputs), ("data.targets", &plan.targets)] {
        for (name, map) in arrays {
            let path = KeyPath::dotted(table).child(name);
            let foreign = [("file", map.file.is_some()), ("columns", !map.columns.is_empty())];
            for (leaf, _) in foreign.into_iter().filter(|(_, is_given)| *is_given) {
                let path = path.child(leaf);
                let found = reader.settings.given(&path).map(Value::short).unwrap_or_default();
                let expected = "nothing, because the data are tokens or images and no arrays in files";
                reader.wrong(&path, &found, expected, "remove it");
            }
        }
    }
}

/// Whether the embedded digits are used; `None` if that can not be said or no data are named where they must be.
fn is_digits(reader: &mut Reader<'_>) -> Option<bool> {
    if let Some(builtin) = reader.optional_text("data.builtin")? {
        return Some(builtin == "digits");
    }
    if names_files(reader) {
        return Some(false);
    }
    if reader.settings.is_given("model.onnx") {
        if !reader.settings.is_spoiled_table("data") {
            let reason = "a model is named, but no data to train it on";
            reader.missing("data.train", reason, "add `train = \"train.npz\"` to [data]");
        }
        return None;
    }
    Some(true)
}

/// One entry for each name in `data.inputs` or `data.targets`.
fn arrays(reader: &mut Reader<'_>, table: &str) -> Option<BTreeMap<String, ArrayMap>> {
    let mut arrays = BTreeMap::new();
    let mut is_complete = true;
    for name in reader.settings.names(table) {
        match array(reader, table, &name) {
            Some(map) => {
                arrays.insert(name, map);
            }
            None => is_complete = false,
        }
    }
    is_complete.then_some(arrays)
}

fn array(reader: &mut Reader<'_>, table: &str, name: &str) -> Option<ArrayMap> {
    let at = KeyPath::dotted(table).child(name);
    let find = |leaf: &str| reader.find(&format!("{table}.<name>.{leaf}"), Some(name));
    let text = |leaf: &str| find(leaf).and_then(text_of);
    let list = |leaf: &str| match find(leaf) {
        Some(Value::List(items)) => items,
        _ => Vec::new(),
    };
    let singles = |leaf: &str| -> Vec<f32> {
        list(leaf).iter().filter_map(float_of).map(|number| number as f32).collect()
    };
    let map = ArrayMap {
        array: text("array"),
        columns: list("columns").into_iter().filter_map(text_of).collect(),
        file: text("file").map(PathBuf::from),
        validation_file: text("validation_file").map(PathBuf::from),
        scale: find("scale").as_ref().and_then(float_of).map_or(1.0, |number| number as f32),
        mean: singles("mean"),
        std: singles("std"),
    };
    if map.array.is_some() && !map.columns.is_empty() {
        reader.exclusive(at.child("array"), at.child("columns"));
        return None;
    }
    if map.validation_file.is_some()
        && map.file.is_none()
        && !reader.settings.is_spoiled_path(&at.child("file"))
    {
        let reason =
            "validation_file is given, and a validation file of its own goes with a training file of its own";
        reader.missing(&at.child("file").to_string(), reason, "add `file`, or use data.validation");
        return None;
    }
    Some(map)
}

/// The digits are used under their own names where the user gave none, and have no files and two arrays only.
fn complete_digits(reader: &mut Reader<'_>, plan: &mut DataPlan) {
    if plan.inputs.is_empty() {
        let is_onnx = reader.settings.is_given("model.onnx");
        if is_onnx && !reader.settings.is_spoiled_table("data.inputs") {
            missing_input(reader, DIGITS_INPUT);
        }
        plan.inputs.insert(DIGITS_INPUT.to_owned(), ArrayMap::stored(Some(DIGITS_INPUT)));
    }
    if plan.targets.is_empty() {
        plan.targets.insert(DIGITS_TARGET.to_owned(), ArrayMap::stored(Some(DIGITS_TARGET)));
    }
    if plan.validation_fraction.is_some() {
        let path = KeyPath::dotted("data.validation_fraction");
        let found = reader.settings.given(&path).map(Value::short).unwrap_or_default();
        let expected = "nothing, because the digits have a fixed validation part";
        reader.wrong(&path, &found, expected, "remove it, or name files of your own in data.train");
    }
    for (table, arrays) in [("data.inputs", &plan.inputs), ("data.targets", &plan.targets)] {
        for (name, map) in arrays {
            let path = KeyPath::dotted(table).child(name);
            let array = map.array.as_deref();
            if !map.columns.is_empty() {
                let columns = path.child("columns");
                let found = reader.settings.given(&columns).map(Value::short).unwrap_or_default();
                let expected = "nothing, because the digits are no .csv file";
                let remedy = "give `array` instead, or name a .csv file in data.train";
                reader.wrong(&columns, &found, expected, remedy);
            } else if let Some(array) = array {
                if array != DIGITS_INPUT && array != DIGITS_TARGET {
                    let expected = "\"images\" or \"labels\", the arrays of the digits";
                    let found = Value::Text(array.to_owned()).short();
                    reader.wrong(
                        &path.child("array"),
                        &found,
                        expected,
                        "name one of them, or name data.train",
                    );
                }
            } else if !reader.settings.is_spoiled_path(&path.child("array")) {
                let reason = "the digits have two arrays, \"images\" and \"labels\"";
                reader.missing(&path.child("array").to_string(), reason, "add `array` with one of them");
            }
            if map.file.is_some() {
                reader.exclusive(KeyPath::dotted("data.builtin"), path.child("file"));
            }
        }
    }
}

fn missing_input(reader: &mut Reader<'_>, array: &str) {
    let reason = "no input of the model is given an array";
    let remedy =
        format!("add `inputs.NAME = {{ array = \"{array}\" }}` to [data], with the name of a model input");
    reader.missing("data.inputs", reason, remedy);
}

/// Every array has a file, for training and, if there is validation data, for validation.
fn check_files(reader: &mut Reader<'_>, plan: &DataPlan) {
    let DataSource::Files { train, validation } = &plan.source else { return };
    if plan.inputs.is_empty() && !reader.settings.is_spoiled_table("data.inputs") {
        missing_input(reader, "x");
    }
    let has_own_validation =
        plan.inputs.values().chain(plan.targets.values()).any(|map| map.validation_file.is_some());
    for (table, arrays) in [("data.inputs", &plan.inputs), ("data.targets", &plan.targets)] {
        for (name, map) in arrays {
            let path = KeyPath::dotted(table).child(name);
            if map.file.is_none() && train.is_none() && !reader.settings.is_spoiled("data.train") {
                let reason = "there is no data.train that could hold this array";
                reader.missing(&path.child("file").to_string(), reason, "add `file` here, or data.train");
            }
            let validates = validation.is_some() || has_own_validation;
            let is_validated = match map.file {
                Some(_) => map.validation_file.is_some(),
                None => validation.is_some(),
            };
            if validates && !is_validated {
                let key = match map.file {
                    Some(_) => path.child("validation_file").to_string(),
                    None => "data.validation".to_owned(),
                };
                let reason = format!("other arrays have validation examples, and `{path}` has none");
                reader.missing(&key, reason, "name the file, or remove the others");
            }
        }
    }
    if has_own_validation && plan.validation_fraction.is_some() {
        let fraction = KeyPath::dotted("data.validation_fraction");
        let found = reader.settings.given(&fraction).map(Value::short).unwrap_or_default();
        let expected = "nothing, because arrays have a validation_file of their own";
        reader.wrong(&fraction, &found, expected, "remove one of them");
    }
}

/// The targets, weights and masks that the losses take exist, and where none is named only one is possible.
pub(super) fn check_targets(reader: &mut Reader<'_>, data: &DataPlan, loss: &LossPlan) {
    if reader.settings.is_spoiled_table("data.targets") {
        return;
    }
    let further =
        loss.auxiliary.iter().map(|(name, further)| (KeyPath::of(["loss", "auxiliary", name]), further));
    let terms: Vec<_> = std::iter::once((KeyPath::dotted("loss"), loss)).chain(further).collect();
    let names: Vec<String> = data.targets.keys().map(|name| format!("\"{name}\"")).collect();
    for (at, term) in terms {
        let named =
            [("target", &term.target), ("sample_weights", &term.sample_weights), ("mask", &term.mask)];
        for (leaf, name) in named {
            let Some(name) = name.as_ref().filter(|name| !data.targets.contains_key(*name)) else { continue };
            if names.is_empty() {
                continue;
            }
            let expected = format!("a target of [data]: {}", names.join(", "));
            let found = Value::Text(name.clone()).short();
            let remedy = "correct the name, or add the target to data.targets";
            reader.wrong(&at.child(leaf), &found, &expected, remedy);
        }
        if term.kind.target() != TargetUse::Always {
            continue;
        }
        if names.is_empty() {
            let reason = "the loss compares with a target";
            let array = match data.source {
                DataSource::Tokens(_) => "next",
                DataSource::Images(_) | DataSource::Digits => "labels",
                DataSource::Files { .. } => "y",
            };
            let remedy =
                format!("add `targets.y = {{ array = \"{array}\" }}` to [data], with the name of the array");
            reader.missing("data.targets", reason, &remedy);
            return;
        }
        if term.target.is_none() && data.only_target(loss).is_none() {
            let reason = format!("there are {} targets: {}", names.len(), names.join(", "));
            let table = at.to_string();
            let remedy = format!("add `target` with one of them to [{table}]");
            reader.missing(&at.child("target").to_string(), reason, remedy);
        }
    }
}
