//! The settings of a run, and which of them are not what would hold if nobody had given them.

use crate::config::{self, Plan, Value, differences, from_toml};
use crate::report::page::Setting;
use std::path::Path;

/// Every setting of the text, which is that of a whole run. A default may follow from other settings, so each setting is
/// left out in turn, and what then holds is its default.
pub(super) fn settings(text: &str, plan: &Plan, path: &Path) -> Vec<Setting> {
    let Ok(whole) = toml::from_str::<toml::Table>(text) else { return Vec::new() };
    let mut found = Vec::new();
    let mut at = Vec::new();
    leaves(&whole, &mut at, &mut found);
    let setting = |(segments, value): (Vec<String>, &toml::Value)| {
        let default = default_of(&whole, &segments, plan, path);
        Setting { path: dotted(&segments), value: value.to_string(), default }
    };
    found.into_iter().map(setting).collect()
}

/// Path and value of each setting.
fn leaves<'a>(table: &'a toml::Table, at: &mut Vec<String>, found: &mut Vec<(Vec<String>, &'a toml::Value)>) {
    for (name, value) in table {
        at.push(name.clone());
        match value {
            toml::Value::Table(inner) => leaves(inner, at, found),
            value => found.push((at.clone(), value)),
        }
        at.pop();
    }
}

/// The default of a setting, if that is another value than it has.
fn default_of(whole: &toml::Table, segments: &[String], plan: &Plan, path: &Path) -> Option<String> {
    let mut without = whole.clone();
    remove(&mut without, segments);
    let name = dotted(segments);
    let Some(loaded) = toml::to_string(&without).ok().and_then(|text| from_toml(&text, path).ok()) else {
        // Other settings need this one, so without it there is no run. What stands below a name of the user's has no default.
        return config::keys().find(|key| key.path == name).map(config::Key::default_words);
    };
    let changed = differences(&loaded.plan, plan).into_iter().find(|difference| difference.key == name)?;
    Some(changed.old.as_ref().map_or("not set".to_owned(), Value::literal))
}

fn remove(table: &mut toml::Table, segments: &[String]) {
    match segments {
        [] => {}
        [last] => _ = table.remove(last),
        [first, rest @ ..] => {
            if let Some(toml::Value::Table(inner)) = table.get_mut(first) {
                remove(inner, rest);
            }
        }
    }
}

fn dotted(segments: &[String]) -> String {
    config::KeyPath::of(segments.iter().map(String::as_str)).to_string()
}

#[cfg(test)]
mod tests {
    use super::settings;
    use crate::config::{Sources, load, to_toml};
    use std::path::Path;

    #[test]
    fn what_was_given_differs_from_the_defaults_and_nothing_else_does() {
        let sets = ["train.epochs=3", "optimizer.kind=sgd", "optimizer.momentum=0.5", "model.builtin=mlp"];
        let sets = sets.map(str::to_owned).to_vec();
        let plan = load(&Sources { sets, cores: Some(2), ..Sources::default() }).unwrap().plan;
        let all = settings(&to_toml(&plan), &plan, Path::new("/trainer.toml"));
        let changed: Vec<(&str, &str, &str)> = all
            .iter()
            .filter_map(|setting| {
                Some((setting.path.as_str(), setting.value.as_str(), setting.default.as_deref()?))
            })
            .filter(|(path, _, _)| *path != "threads")
            .collect();
        assert!(changed.contains(&("train.epochs", "3", "30")), "{changed:?}");
        assert!(changed.contains(&("model.builtin", "\"mlp\"", "\"cnn\"")), "{changed:?}");
        let paths: Vec<&str> = changed.iter().map(|(path, _, _)| *path).collect();
        assert_eq!(paths.len(), 4, "{changed:?}");
        assert!(all.len() > 30, "{}", all.len());
    }
}
