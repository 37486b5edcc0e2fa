//! The fields of `--json` are those that docs/json.md lists.

use super::interrupted;
use crate::work_dir::{Ended, WorkDir, trainer};
use serde_json::Value as Json;
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

/// The fields that the table with this title lists in the section of a command.
fn documented(command: &str, title: &str) -> BTreeSet<String> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/json.md");
    let text = fs::read_to_string(path).unwrap();
    let section = text.split("\n## ").find(|section| section.starts_with(&format!("`trainer {command}`\n")));
    let section = section.unwrap_or_else(|| panic!("docs/json.md has no section on `trainer {command}`"));
    let rows = section.lines().skip_while(|line| !line.starts_with(&format!("| {title} |"))).skip(2);
    let cells = rows.take_while(|line| line.starts_with('|')).map(|line| line.split('|').nth(1).unwrap());
    let fields: BTreeSet<String> =
        cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(str::to_owned).collect();
    assert!(!fields.is_empty(), "docs/json.md has no table `{title}` on `trainer {command}`");
    fields
}

/// The paths to all values that are no objects; of empty lists and objects, and of nothing, the path to them.
fn printed(value: &Json, path: &str, fields: &mut BTreeSet<String>) {
    match value {
        Json::Object(object) if !object.is_empty() => {
            for (name, value) in object {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                printed(value, &path, fields);
            }
        }
        Json::Array(list) if list.iter().any(Json::is_object) => {
            list.iter().for_each(|value| printed(value, &format!("{path}[]"), fields));
        }
        _ => _ = fields.insert(path.to_owned()),
    }
}

/// Whether a documented field is this one; a NAME in it is any name.
fn is(documented: &str, printed: &str) -> bool {
    let (documented, printed): (Vec<&str>, Vec<&str>) =
        (documented.split('.').collect(), printed.split('.').collect());
    documented.len() == printed.len()
        && documented.iter().zip(&printed).all(|(documented, printed)| {
            // An empty list is printed as a field of its own.
            documented.trim_end_matches("[]") == printed.trim_end_matches("[]")
                || documented.strip_suffix("NAME").is_some_and(|start| printed.starts_with(start))
        })
}

/// That these values have fields that are documented, and all of them in one value or another.
#[track_caller]
fn check(command: &str, title: &str, values: &[Json]) {
    let documented = documented(command, title);
    let mut found = BTreeSet::new();
    values.iter().for_each(|value| printed(value, "", &mut found));
    for field in &found {
        let leads_on = |listed: &String| {
            listed.starts_with(&format!("{field}.")) || listed.starts_with(&format!("{field}[]"))
        };
        let is_listed = documented.iter().any(|listed| is(listed, field) || leads_on(listed));
        assert!(is_listed, "`trainer {command} --json` prints {field}, which docs/json.md does not list");
    }
    for listed in &documented {
        let start = format!("{listed}.");
        let is_printed = found.iter().any(|field| is(listed, field) || field.starts_with(&start));
        assert!(is_printed, "docs/json.md lists {listed}, which `trainer {command} --json` does not print");
    }
}

fn json_of(args: &[&str], code: i32) -> Json {
    serde_json::from_str(&Ended::of(&mut trainer(args)).check_code(code).stdout).unwrap()
}

fn lines_of(args: &[&str]) -> Vec<Json> {
    let text = Ended::of(&mut trainer(args)).check_code(0).stdout;
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn what_looks_at_a_run_prints_the_fields_that_are_documented() {
    let dir = interrupted();
    let path = dir.path().to_str().unwrap().to_owned();
    let checkpoint = |name: &str| format!("{path}/checkpoints/{name}");
    let names = dir.checkpoints();
    let first = checkpoint(&names[0].to_string());
    let last = checkpoint("final.safetensors");

    let (notes, epochs): (Vec<Json>, Vec<Json>) =
        lines_of(&["history", &path, "--json"]).into_iter().partition(|line| line.get("note").is_some());
    check("history", "field of an epoch", &epochs);
    check("history", "field of a note", &notes);
    let mut steps = lines_of(&["history", &path, "--steps", "--json"]);
    steps.retain(|line| line.get("note").is_none());
    check("history", "field of a step", &steps);

    // Between the two lies a part of an epoch.
    let emergency = names.iter().find(|name| name.to_string().starts_with("emergency"));
    let inspected = [Some(last.clone()), emergency.map(|name| checkpoint(&name.to_string()))];
    let inspected: Vec<Json> =
        inspected.into_iter().flatten().map(|path| json_of(&["inspect", &path, "--json"], 0)).collect();
    check("inspect", "field of a checkpoint", &inspected);
    check("inspect", "field of a folder", &[json_of(&["inspect", &path, "--json"], 0)]);
    let mut records = lines_of(&["inspect", &path, "--records", "--json"]);
    records.iter_mut().for_each(|record| record["fields"] = Json::Null);
    check("inspect", "field of a record", &records);

    check("diff", "field", &[json_of(&["diff", &first, &last, "--json"], 1)]);
    check("ls", "field", &[json_of(&["ls", &path, "--json"], 0)]);
    check("verify", "field", &[json_of(&["verify", &path, "--json"], 0)]);
}

#[test]
fn repair_config_and_doctor_print_the_fields_that_are_documented() {
    let dir = interrupted();
    let segment = dir.segment();
    let mut bytes = fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let path = dir.path().to_str().unwrap().to_owned();
    check("repair", "field", &[json_of(&["repair", &path, "--dry-run", "--json"], 5)]);

    let mut config = json_of(&["config", "--json"], 0);
    config["settings"] = Json::Null;
    for key in config["keys"].as_array_mut().unwrap() {
        key["value"] = Json::Null;
    }
    check("config", "field", &[config]);
    let folder = WorkDir::new(&[]).make_folder("disk");
    let doctor = trainer(["doctor", "--json", "--work-dir"]).arg(folder.parent().unwrap()).output().unwrap();
    check("doctor", "field", &[serde_json::from_slice(&doctor.stdout).unwrap()]);
}
