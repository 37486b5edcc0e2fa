//! Rules against PyTorch's own gradients where an operator has no derivative, or where conventions differ.
//!
//! `scripts/reference/gradients.py` wrote the operands and the gradients.

use super::case::{Case, Expected, Input, Values, case};
use crate::work_dir::test_data;
use serde_json::Value as Json;
use trainer::graph::model::attribute;

pub fn cases() -> Vec<Case> {
    let text = std::fs::read_to_string(test_data("gradients.json")).unwrap();
    serde_json::from_str::<Vec<Json>>(&text).unwrap().iter().map(case_of).collect()
}

fn text(json: &Json) -> &'static str {
    json.as_str().unwrap().to_owned().leak()
}

fn numbers(json: &Json) -> Vec<f64> {
    json.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

fn integers(values: &[f64]) -> Vec<i64> {
    values.iter().map(|value| *value as i64).collect()
}

fn case_of(entry: &Json) -> Case {
    let mut made = case(text(&entry["op"]), text(&entry["about"])).single_curved();
    made.opsets = vec![entry["opset"].as_i64().unwrap()];
    made.inputs = entry["inputs"].as_array().unwrap().iter().map(input_of).collect();
    for (name, value) in entry["attributes"].as_object().unwrap() {
        made.attributes.push(match value {
            Json::String(text) => attribute::string(name, text),
            Json::Array(_) => attribute::ints(name, &integers(&numbers(value))),
            Json::Number(number) if number.is_f64() => {
                attribute::float(name, number.as_f64().unwrap() as f32)
            }
            other => attribute::int(name, other.as_i64().unwrap()),
        });
    }
    made.expected = Expected::PyTorch(entry["gradients"].as_array().unwrap().iter().map(numbers).collect());
    made
}

fn input_of(input: &Json) -> Input {
    let dims: Vec<usize> = integers(&numbers(&input["dims"])).iter().map(|dim| *dim as usize).collect();
    let values = numbers(&input["values"]);
    match input["kind"].as_str().unwrap() {
        "varied" => Input::Varied { dims, values: Values::Listed(values) },
        "fixed" => Input::Fixed { dims, values },
        "ints" => Input::Ints { dims, values: integers(&values) },
        "bools" => Input::Bools { dims, values: values.iter().map(|value| *value != 0.0).collect() },
        other => panic!("an operand of kind {other}"),
    }
}
