//! From the settings of all sources to the plan, with the checks between settings.
//!
//! Belongs here: which settings need, exclude or bound each other. Does not belong here: whether one value on its own
//! is right; that is in its row of the table.
//!
//! A check between settings is left out where one of them is wrong already, so that one mistake is reported once.

mod data;
mod generated_data;
mod loss;
mod model;
mod schedule;
mod optimizer;
mod run;

pub(super) use data::stand_in as stand_in_for_data;
pub(super) use loss::takes as loss_takes;

use super::error::{Origin, Problem};
use super::key::{DefaultValue, Key};
use super::plan::Plan;
use super::settings::Settings;
use super::table::{self, NAME};
use super::value::{KeyPath, Value};

/// The plan that the settings describe, or `None` if it can not be made; problems are added to the settings.
/// A plan that comes with problems is not to be used.
pub(super) fn build(settings: &mut Settings, cores: usize) -> Option<Plan> {
    let mut reader = Reader { settings };
    let model = model::model(&mut reader);
    let data = data::data(&mut reader);
    let loss = loss::loss(&mut reader);
    let optimizer = optimizer::optimizer(&mut reader);
    let schedule = schedule::schedule(&mut reader);
    let metrics = run::metrics(&mut reader);
    let top = run::top(&mut reader, cores);
    let train = run::train(&mut reader, data.as_ref());
    let checkpoint = run::checkpoint(&mut reader);
    let stop = run::stop(&mut reader);
    let memory = run::memory(&mut reader);
    let report = run::report(&mut reader);
    let mlflow = run::mlflow(&mut reader);
    let (data, loss) = (data?, loss?);
    run::check_metrics(&mut reader, metrics.as_deref(), &loss);
    data::check_targets(&mut reader, &data, &loss);
    let top = top?;
    Some(Plan {
        seed: top.seed,
        device: top.device,
        threads: top.threads,
        spin: top.spin,
        model: model?,
        data,
        loss,
        metrics: metrics?,
        optimizer: optimizer?,
        schedule: schedule?,
        train: train?,
        checkpoint: checkpoint?,
        stop: stop?,
        memory: memory?,
        report: report?,
        mlflow: mlflow?,
    })
}

/// Typed access to the settings that hold. What is missing is reported where it is asked for.
struct Reader<'a> {
    settings: &'a mut Settings,
}

impl Reader<'_> {
    /// The row of a declared path, in which `<name>` stands for a name, and the path with that name.
    fn locate(declared: &str, name: Option<&str>) -> Option<(&'static Key, KeyPath)> {
        let key = table::declared(declared)?;
        let path = KeyPath::of(declared.split('.').map(|segment| match name {
            Some(name) if segment == NAME => name,
            _ => segment,
        }));
        Some((key, path))
    }

    /// The value that holds at a declared path; `None` if it is not set.
    fn find(&self, declared: &str, name: Option<&str>) -> Option<Value> {
        let (key, path) = Self::locate(declared, name)?;
        self.settings.value(key, &path)
    }

    /// The value that holds; where there is none, that is a problem.
    fn need(&mut self, declared: &str) -> Option<Value> {
        if self.settings.is_spoiled(declared) {
            return None;
        }
        let value = self.find(declared, None);
        if value.is_none() {
            let key = table::declared(declared)?;
            let choice = match (key.only_with, key.default) {
                (_, DefaultValue::By { key, .. }) => Some(key),
                (Some(only_with), _) => Some(only_with.key),
                _ => None,
            };
            // A choice that is itself wrong has been reported.
            if choice.is_some_and(|choice| self.settings.is_spoiled(choice)) {
                return None;
            }
            let chosen =
                choice.and_then(|choice| Some(format!("{choice} = \"{}\"", self.settings.text(choice)?)));
            let reason = chosen.map_or("it has no default".to_owned(), |chosen| format!("{chosen} needs it"));
            let remedy = format!("add `{} = {}` to [{}]", key.leaf(), key.example(), key.table());
            self.missing(declared, reason, remedy);
        }
        value
    }

    fn missing(&mut self, key: &str, reason: impl Into<String>, remedy: impl Into<String>) {
        let (reason, remedy) = (reason.into(), remedy.into());
        self.settings.add_problem(Problem::Missing { key: key.to_owned(), reason, remedy });
    }

    /// Reports that the value at a path does not fit the other settings.
    fn wrong(&mut self, path: &KeyPath, found: &str, expected: &str, remedy: &str) {
        let origin = self.settings.origin(path);
        self.settings.add_problem(Problem::Value {
            origin,
            key: path.to_string(),
            found: found.to_owned(),
            expected: expected.to_owned(),
            remedy: remedy.to_owned(),
        });
    }

    fn exclusive(&mut self, first: KeyPath, second: KeyPath) {
        let (first_origin, second_origin): (Origin, Origin) =
            (self.settings.origin(&first), self.settings.origin(&second));
        self.settings.add_problem(Problem::Exclusive {
            first: first.to_string(),
            first_origin,
            second: second.to_string(),
            second_origin,
        });
    }

    fn bool(&mut self, path: &str) -> Option<bool> {
        match self.need(path)? {
            Value::Bool(value) => Some(value),
            _ => None,
        }
    }

    fn float(&mut self, path: &str) -> Option<f64> {
        match self.need(path)? {
            Value::Float(value) => Some(value),
            _ => None,
        }
    }

    fn integer<T: TryFrom<i128>>(&mut self, path: &str) -> Option<T> {
        let value = self.need(path)?;
        self.converted(path, &value)
    }

    /// An integer in the type of the plan, which may be smaller than 64 bits on this machine.
    fn converted<T: TryFrom<i128>>(&mut self, path: &str, value: &Value) -> Option<T> {
        let Value::Integer(number) = value else { return None };
        let converted = T::try_from(*number).ok();
        if converted.is_none() {
            let expected = format!("a number of at most {}", usize::MAX);
            self.wrong(&KeyPath::dotted(path), &number.to_string(), &expected, "give a smaller number");
        }
        converted
    }

    fn text(&mut self, path: &str) -> Option<String> {
        match self.need(path)? {
            Value::Text(value) => Some(value),
            _ => None,
        }
    }

    /// The text that holds at a path, or nothing where the setting does not apply. The outer `None` means that it is wrong.
    #[expect(clippy::option_option, reason = "wrong, not set and set are three things")]
    fn text_where_it_applies(&mut self, path: &str) -> Option<Option<String>> {
        let only_with = table::declared(path).and_then(|key| key.only_with);
        if self.settings.applies(only_with) { self.text(path).map(Some) } else { Some(None) }
    }

    fn list(&mut self, path: &str) -> Option<Vec<Value>> {
        match self.need(path)? {
            Value::List(items) => Some(items),
            _ => None,
        }
    }

    /// A setting that may be unset. The outer `None` means that it is wrong.
    #[expect(clippy::option_option, reason = "wrong, not set and set are three things")]
    fn optional<T>(
        &mut self,
        path: &str,
        convert: impl FnOnce(&mut Self, Value) -> Option<T>,
    ) -> Option<Option<T>> {
        if self.settings.is_spoiled(path) {
            return None;
        }
        match self.find(path, None) {
            None => Some(None),
            Some(value) => convert(self, value).map(Some),
        }
    }

    #[expect(clippy::option_option, reason = "wrong, not set and set are three things")]
    fn optional_integer<T: TryFrom<i128>>(&mut self, path: &str) -> Option<Option<T>> {
        self.optional(path, |reader, value| reader.converted(path, &value))
    }

    #[expect(clippy::option_option, reason = "wrong, not set and set are three things")]
    fn optional_float(&mut self, path: &str) -> Option<Option<f64>> {
        self.optional(path, |_, value| float_of(&value))
    }

    #[expect(clippy::option_option, reason = "wrong, not set and set are three things")]
    fn optional_text(&mut self, path: &str) -> Option<Option<String>> {
        self.optional(path, |_, value| text_of(value))
    }
}

fn float_of(value: &Value) -> Option<f64> {
    match value {
        Value::Float(number) => Some(*number),
        _ => None,
    }
}

fn text_of(value: Value) -> Option<String> {
    match value {
        Value::Text(text) => Some(text),
        _ => None,
    }
}
