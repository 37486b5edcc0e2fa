//! A plan as a complete, documented settings file, and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::json;

use super::effective::effective;
use super::error::Origin;
use super::key::{Key, Takes};
use super::load::Loaded;
use super::plan::Plan;
use super::table::{self, NAME};
use super::value::{KeyPath, Value};

/// Width that comment lines are wrapped to, in characters.
const COMMENT_CHARS: usize = 100;

const HEADING: &str = "\
# Settings of `trainer`, complete. A setting that does not apply or is not set is shown behind `# ` with an
# example. `--set key.path=value` and flags win over this file; relative paths start at the folder of this file.
";

/// The effective settings as a complete `trainer.toml`: every setting documented, those that apply with their values.
/// Reading it back gives an equal plan.
pub fn to_toml(plan: &Plan) -> String {
    render(plan, None)
}

/// As [`to_toml`], and each value that somebody gave says where.
pub fn to_toml_with_origins(loaded: &Loaded) -> String {
    render(&loaded.plan, Some(&loaded.origins))
}

fn render(plan: &Plan, origins: Option<&BTreeMap<KeyPath, Origin>>) -> String {
    let values = effective(plan);
    let mut out = HEADING.to_owned();
    let keys: Vec<&'static Key> = table::keys().collect();
    for rows in keys.chunk_by(|a, b| a.table() == b.table()) {
        let Some(first) = rows.first() else { continue };
        let table = first.table();
        if table.ends_with(NAME) {
            render_named_tables(&mut out, rows, table, &values, origins);
            continue;
        }
        if !table.is_empty() {
            let _ = write!(out, "\n[{table}]\n");
        }
        for key in rows {
            out.push('\n');
            render_documentation(&mut out, key);
            if key.leaf() == NAME {
                render_named_values(&mut out, key, table, &values, origins);
            } else {
                let path = KeyPath::dotted(key.path);
                render_value(&mut out, key, &path, values.get(&path), origins);
            }
        }
    }
    out
}

/// One table for each name the user chose, documented once; an example in comments where there is none.
fn render_named_tables(
    out: &mut String,
    rows: &[&'static Key],
    table: &str,
    values: &BTreeMap<KeyPath, Value>,
    origins: Option<&BTreeMap<KeyPath, Origin>>,
) {
    let parent = KeyPath::dotted(table.trim_end_matches(NAME));
    let names = names_under(&parent, values);
    if names.is_empty() {
        let _ = write!(out, "\n# [{table}]\n");
    }
    for (position, name) in names.iter().enumerate() {
        let at = parent.child(name);
        let _ = write!(out, "\n[{at}]\n");
        for key in rows {
            let path = at.child(key.leaf());
            if position == 0 {
                out.push('\n');
                render_documentation(out, key);
            } else if !values.contains_key(&path) {
                continue;
            }
            render_value(out, key, &path, values.get(&path), origins);
        }
    }
    if names.is_empty() {
        for key in rows {
            out.push('\n');
            render_documentation(out, key);
            render_value(out, key, &KeyPath::dotted(key.path), None, origins);
        }
    }
}

/// One line for each name the user chose, in the table of the row.
fn render_named_values(
    out: &mut String,
    key: &'static Key,
    table: &str,
    values: &BTreeMap<KeyPath, Value>,
    origins: Option<&BTreeMap<KeyPath, Origin>>,
) {
    let parent = KeyPath::dotted(table);
    let names = names_under(&parent, values);
    if names.is_empty() {
        let _ = writeln!(out, "# {} = {}", NAME, key.example());
    }
    for name in names {
        let path = parent.child(&name);
        render_value(out, key, &path, values.get(&path), origins);
    }
}

fn names_under(parent: &KeyPath, values: &BTreeMap<KeyPath, Value>) -> Vec<String> {
    let depth = parent.segments().len();
    let under = values.keys().filter(|path| path.is_under(parent));
    let mut names: Vec<String> = under.filter_map(|path| path.segments().get(depth).cloned()).collect();
    names.dedup();
    names
}

/// Meaning, then on one line unit, default, minimum, choices and to which choice the setting belongs.
fn render_documentation(out: &mut String, key: &Key) {
    comment(out, key.meaning);
    let mut facts = Vec::new();
    if !key.unit.is_empty() {
        facts.push(format!("Unit: {}.", key.unit));
    }
    facts.push(format!("Default: {}.", key.default_words()));
    match (key.takes.minimum(), key.takes) {
        (Some(minimum), _) => facts.push(format!("Minimum: {minimum}.")),
        (None, Takes::Choice(_) | Takes::Device | Takes::Metrics) => {
            facts.push(format!("Takes {}.", key.takes.expected()));
        }
        (None, _) => {}
    }
    if let Some(only_with) = key.only_with {
        facts.push(format!("Only with {}.", only_with.words()));
    }
    comment(out, &facts.join(" "));
}

/// `text` as comment lines.
fn comment(out: &mut String, text: &str) {
    let mut width = 0;
    for word in text.split_whitespace() {
        let word_chars = word.chars().count();
        if width == 0 || width + 1 + word_chars > COMMENT_CHARS {
            out.push_str(if width == 0 { "# " } else { "\n# " });
            width = 1;
        } else {
            out.push(' ');
        }
        out.push_str(word);
        width += 1 + word_chars;
    }
    out.push('\n');
}

/// The line of one setting; an example in a comment if it has no value.
fn render_value(
    out: &mut String,
    key: &Key,
    path: &KeyPath,
    value: Option<&Value>,
    origins: Option<&BTreeMap<KeyPath, Origin>>,
) {
    match value {
        Some(value) => {
            if let Some(origin) = origins.and_then(|origins| origins.get(path)) {
                let shown: String = origin.to_string().chars().filter(|c| !c.is_control()).collect();
                let _ = writeln!(out, "# Given by {shown}");
            }
            let _ = writeln!(out, "{} = {}", path.leaf(), value.literal());
        }
        None => {
            let _ = writeln!(out, "# {} = {}", key.leaf(), key.example());
        }
    }
}

/// The effective settings and the documentation of every key, for programs:
/// `{"settings": {nested as in the file}, "keys": [{"key", "value", "source", "meaning", "unit", "default",
/// "minimum", "expected", "only_with", "on_resume"}]}`. `value` is null for what is not set or does not apply, and
/// keys with a name of the user's are listed once with `<name>` and without value.
pub fn to_json(loaded: &Loaded) -> serde_json::Value {
    let values = effective(&loaded.plan);
    let mut settings = serde_json::Map::new();
    for (path, value) in &values {
        insert_nested(&mut settings, path.segments(), value.to_json());
    }
    let keys: Vec<serde_json::Value> = table::keys()
        .map(|key| {
            let path = KeyPath::dotted(key.path);
            let value = values.get(&path);
            json!({
                "key": key.path,
                "value": value.map(Value::to_json),
                "source": value.map(|_| loaded.origin(key.path).to_string()),
                "meaning": key.meaning,
                "unit": (!key.unit.is_empty()).then_some(key.unit),
                "default": key.default_words(),
                "minimum": key.takes.minimum(),
                "expected": key.takes.expected(),
                "only_with": key.only_with.map(|only_with| only_with.words()),
                "on_resume": key.class.name(),
            })
        })
        .collect();
    json!({ "settings": settings, "keys": keys })
}

fn insert_nested(
    table: &mut serde_json::Map<String, serde_json::Value>,
    segments: &[String],
    value: serde_json::Value,
) {
    match segments {
        [] => {}
        [leaf] => {
            table.insert(leaf.clone(), value);
        }
        [head, rest @ ..] => {
            let inner = table.entry(head.clone()).or_insert_with(|| json!({}));
            if let Some(inner) = inner.as_object_mut() {
                insert_nested(inner, rest, value);
            }
        }
    }
}
