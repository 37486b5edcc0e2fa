//! Whether one value is what its key takes.

use super::error::{Origin, Problem};
use super::key::{FloatRange, Key, Takes};
use super::plan::{Device, Metric};
use super::value::{KeyPath, Value};

/// Farthest edit distance at which a known choice is suggested for another word.
const SUGGESTED_EDITS: usize = 2;

/// The value in the one form in which the plan reads it (numbers of float settings are floats, for instance);
/// `Ok(None)` for `"none"` where the key may be unset.
pub(super) fn admit(
    key: &Key,
    path: &KeyPath,
    value: &Value,
    origin: &Origin,
) -> Result<Option<Value>, Box<Problem>> {
    if key.can_be_none() && *value == Value::Text("none".to_owned()) {
        return Ok(None);
    }
    match admitted(&key.takes, value) {
        Some(value) => Ok(Some(value)),
        None => {
            let mut expected = match (key.takes, value) {
                // The upper end of 64 bits is worth a word only to those who went beyond it.
                (Takes::Integer { min, max }, Value::Integer(found)) if *found > max => {
                    format!("an integer from {min} to {max}")
                }
                _ => key.takes.expected(),
            };
            if key.can_be_none() {
                expected.push_str(", or \"none\"");
            }
            Err(Box::new(Problem::Value {
                origin: origin.clone(),
                key: path.to_string(),
                found: value.described(),
                expected,
                remedy: remedy(key, path, value, origin),
            }))
        }
    }
}

/// The value in its one form, if the key takes it.
fn admitted(takes: &Takes, value: &Value) -> Option<Value> {
    match (takes, value) {
        (Takes::Bool, Value::Bool(_)) => Some(value.clone()),
        (Takes::Integer { min, max }, Value::Integer(number)) => {
            (min..=max).contains(&number).then(|| value.clone())
        }
        (Takes::IntegerOr { min, .. }, Value::Integer(number)) => {
            (*min..=i128::from(u64::MAX)).contains(number).then(|| value.clone())
        }
        (Takes::IntegerOr { word, .. }, Value::Text(text)) => (text == word).then(|| value.clone()),
        (Takes::Float(range), _) => number_in(range, value).map(Value::Float),
        (Takes::Single(range), _) => single_in(range, value).map(Value::Float),
        (Takes::FloatPair(range), Value::List(items)) if items.len() == 2 => {
            each(items, |item| number_in(range, item).map(Value::Float))
        }
        (Takes::Floats(range), Value::List(items)) => {
            each(items, |item| number_in(range, item).map(Value::Float))
        }
        (Takes::Singles(range), Value::List(items)) => {
            each(items, |item| single_in(range, item).map(Value::Float))
        }
        (Takes::Singles(range), _) => {
            single_in(range, value).map(|number| Value::List(vec![Value::Float(number)]))
        }
        (Takes::Text | Takes::Path, Value::Text(text)) => (!text.is_empty()).then(|| value.clone()),
        (Takes::Choice(choices), Value::Text(text)) => {
            choices.contains(&text.as_str()).then(|| value.clone())
        }
        (Takes::Device, Value::Text(text)) => {
            Device::parse(text).map(|device| Value::Text(device.to_string()))
        }
        (Takes::Texts, Value::List(items)) => each(items, |item| match item {
            Value::Text(text) if !text.is_empty() => Some(item.clone()),
            _ => None,
        }),
        (Takes::Metrics, Value::List(items)) => {
            let mut metrics = Vec::new();
            for item in items {
                let Value::Text(text) = item else { return None };
                let metric = Metric::parse(text)?;
                if metrics.contains(&metric) {
                    return None;
                }
                metrics.push(metric);
            }
            Some(value.clone())
        }
        (Takes::Ascending(min), Value::List(items)) => ascending_from(*min, items).then(|| value.clone()),
        _ => None,
    }
}

fn each(items: &[Value], admit: impl Fn(&Value) -> Option<Value>) -> Option<Value> {
    items.iter().map(admit).collect::<Option<Vec<_>>>().map(Value::List)
}

/// The number in `value`, if it is one and in range. An integer is a number, too.
fn number_in(range: &FloatRange, value: &Value) -> Option<f64> {
    let number = match value {
        Value::Float(number) => *number,
        Value::Integer(number) => *number as f64,
        _ => return None,
    };
    range.contains(number).then_some(number)
}

/// The number in `value`, if it is in range after rounding to single precision: what is tiny must not become 0,
/// and what is huge must not become infinite.
fn single_in(range: &FloatRange, value: &Value) -> Option<f64> {
    let number = number_in(range, value)?;
    range.contains(f64::from(number as f32)).then_some(number)
}

fn ascending_from(min: i128, items: &[Value]) -> bool {
    let mut least = min;
    items.iter().all(|item| match item {
        Value::Integer(number) if *number >= least && *number <= i128::from(u64::MAX) => {
            least = number + 1;
            true
        }
        _ => false,
    }) && !items.is_empty()
}

/// What to do about a value that is not taken.
fn remedy(key: &Key, path: &KeyPath, value: &Value, origin: &Origin) -> String {
    if let (Takes::Choice(choices), Value::Text(text)) = (&key.takes, value)
        && text.len() <= 64
        && let Some(near) = choices
            .iter()
            .map(|choice| (strsim::damerau_levenshtein(text, choice), choice))
            .min()
            .filter(|(edits, _)| *edits <= SUGGESTED_EDITS)
    {
        return format!("did you mean \"{}\"?", near.1);
    }
    format!("write, for example, {}", example(key, path, origin))
}

/// How the setting could be given where it was given.
fn example(key: &Key, path: &KeyPath, origin: &Origin) -> String {
    let value = key.example();
    match origin {
        Origin::Set(_) => format!("--set '{path}={value}'"),
        Origin::Flag(flag) => format!("{flag} {}", value.trim_matches('"')),
        Origin::File { .. } | Origin::Default => format!("`{} = {value}`", path.leaf()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::keys;
    use super::*;

    #[test]
    fn every_default_and_every_example_is_a_value_that_its_key_takes() {
        use super::super::key::DefaultValue;
        for key in keys() {
            let mut texts = vec![key.example()];
            match key.default {
                DefaultValue::By { cases, .. } => texts.extend(cases.iter().map(|(_, value)| *value)),
                DefaultValue::ByModel { builtin, onnx } => texts.extend([builtin, onnx]),
                _ => {}
            }
            for text in texts {
                let value = Value::parse(text).expect(text);
                let path = KeyPath::dotted(key.path);
                admit(key, &path, &value, &Origin::Default).unwrap_or_else(|problem| panic!("{problem}"));
            }
        }
    }
}
