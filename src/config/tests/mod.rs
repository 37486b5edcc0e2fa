//! Tests of settings as a whole, from text to plan and back.

mod defaults;
mod layers;
mod messages;
mod round_trip;

use std::path::Path;

use super::{ConfigError, FlagValue, Loaded, Plan, Problem, Sources, from_toml, load};

/// A model and data of the user, with nothing else set.
const USER: &str = r#"
model.onnx = "/d/m.onnx"
data.train = "/d/t.npz"
data.inputs.x = {}
data.targets.y = {}
"#;

/// What `trainer run --set ...` without a file makes of these texts.
fn load_sets(sets: &[&str]) -> Result<Loaded, ConfigError> {
    let sets = sets.iter().map(|&set| set.to_owned()).collect();
    load(&Sources { sets, cores: Some(2), ..Sources::default() })
}

#[track_caller]
fn plan_of_sets(sets: &[&str]) -> Plan {
    load_sets(sets).unwrap_or_else(|error| panic!("{error}")).plan
}

#[track_caller]
fn plan_of(text: &str) -> Plan {
    from_toml(text, Path::new("/d/my.toml")).unwrap_or_else(|error| panic!("{error}")).plan
}

/// The plan for a model and data of the user with these lines added.
#[track_caller]
fn plan_of_user(lines: &str) -> Plan {
    plan_of(&format!("{USER}\n{lines}"))
}
