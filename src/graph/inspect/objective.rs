//! Which loss and metrics the shape of an output suggests.

use crate::config::{LossKind, LossPlan, Metric};
use crate::graph::model::{Graph, Node};
use crate::graph::tensor::ValueType;

/// An output of a model for a known batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputShape {
    /// Its name.
    pub name: String,
    /// Its type, for the batch.
    pub kind: ValueType,
}

/// What an output could be trained for.
#[derive(Debug, Clone, PartialEq)]
pub struct Suggestion {
    /// The loss, with the output it takes.
    pub loss: LossPlan,
    /// What could be measured besides.
    pub metrics: Vec<Metric>,
    /// What the target holds, in words; `None` without one.
    pub target: Option<String>,
    /// What of the output says so.
    pub reason: String,
    /// What else it could be, or what is in the way.
    pub note: Option<&'static str>,
}

/// Classes from which the top 5 are of interest.
const MANY_CLASSES: usize = 50;

/// Operators that leave the meaning of the values as it is.
const PASSING: &[&str] = &["Identity", "Cast", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose"];

/// The node that gives an output its meaning.
fn last_node<'a>(graph: &'a Graph, output: &str) -> Option<&'a Node> {
    let mut name = output;
    for node in graph.nodes.iter().rev() {
        if !node.outputs.iter().any(|output| output == name) {
            continue;
        }
        match node.inputs.first() {
            Some(input) if PASSING.contains(&node.op.as_str()) && node.domain.is_empty() => name = input,
            _ => return Some(node),
        }
    }
    None
}

/// What the first output that fits could be trained for, given the types of inputs and outputs for a batch.
#[must_use]
pub fn suggest(
    graph: &Graph,
    batch: usize,
    inputs: &[OutputShape],
    outputs: &[OutputShape],
) -> Option<Suggestion> {
    outputs.iter().find_map(|output| {
        let last_op = last_node(graph, &output.name).map_or("", |node| node.op.as_str());
        let mut suggestion = of_output(batch, last_op, inputs, output)?;
        suggestion.loss.output = (outputs.len() > 1).then(|| output.name.clone());
        Some(suggestion)
    })
}

fn of_output(
    batch: usize,
    last_op: &str,
    inputs: &[OutputShape],
    output: &OutputShape,
) -> Option<Suggestion> {
    if !output.kind.dtype.is_float() {
        return None;
    }
    let dims = output.kind.dims.as_slice();
    let name = &output.name;
    let per_example = match dims {
        [] => return Some(its_own_loss(name)),
        [1] if batch != 1 => return Some(its_own_loss(name)),
        [first, rest @ ..] if *first == batch => rest,
        _ => return None,
    };
    let shape = shape_text(per_example);
    let told = |what: &str| format!("`{name}` is {shape}{what}");
    let like = inputs.iter().find(|input| {
        input.kind.dtype.is_float() && input.kind.dims == dims && per_example.iter().any(|dim| *dim > 1)
    });
    let has_tokens = |length: usize| {
        inputs.iter().any(|input| !input.kind.dtype.is_float() && input.kind.dims.get(1) == Some(&length))
    };
    let labels = |dims: &[usize], classes: usize| {
        format!("int64 {}, classes from 0 to {}", shape_text(dims), classes.saturating_sub(1))
    };
    let same = |what: &str| Some(format!("float32 {shape}, {what}"));
    let suggestion = |kind: LossKind, metrics: &[Metric], target, reason| Suggestion {
        loss: LossPlan::new(kind),
        metrics: metrics.to_vec(),
        target,
        reason,
        note: None,
    };
    Some(match (last_op, per_example) {
        ("Sigmoid", dims) => suggestion(
            LossKind::Bce,
            if dims.len() <= 1 { &[Metric::Accuracy, Metric::Auroc] } else { &[Metric::Accuracy] },
            same("probabilities from 0 to 1"),
            told(", probabilities from a Sigmoid"),
        ),
        (_, [] | [1]) => Suggestion {
            note: Some(
                "for answers of yes and no: loss.kind = \"bce_with_logits\", metrics = [\"accuracy\", \"auroc\"]",
            ),
            ..suggestion(
                LossKind::Mse,
                &[Metric::Mae, Metric::R2],
                same("the values to predict"),
                told(", one value per example"),
            )
        },
        (_, dims) if like.is_some() && last_op != "LogSoftmax" => Suggestion {
            note: Some("if axis 1 counts classes: loss.kind = \"cross_entropy\", metrics = [\"accuracy\"]"),
            ..suggestion(
                LossKind::Mse,
                &[Metric::Mae],
                Some(format!("float32 {}, for an autoencoder the input itself", shape_text(dims))),
                told(&format!(", as large as input `{}`", like.map_or("", |input| &input.name))),
            )
        },
        (_, [1, ..]) => suggestion(
            LossKind::BceWithLogits,
            &[Metric::Accuracy],
            same("1 for yes and 0 for no"),
            told(", one value per position"),
        ),
        (_, [positions, classes]) if has_tokens(*positions) => {
            let kind = if last_op == "LogSoftmax" { LossKind::Nll } else { LossKind::CrossEntropy };
            let mut found = suggestion(
                kind,
                &[Metric::Accuracy, Metric::Perplexity],
                Some(labels(&[*positions], *classes)),
                told(", classes on the last axis for each position of the input"),
            );
            found.loss.class_axis = -1;
            found
        }
        (_, [classes, positions @ ..]) => {
            let kind = if last_op == "LogSoftmax" { LossKind::Nll } else { LossKind::CrossEntropy };
            let is_large = *classes >= MANY_CLASSES && positions.is_empty();
            let metrics =
                if is_large { vec![Metric::Accuracy, Metric::TopK(5)] } else { vec![Metric::Accuracy] };
            let what = if positions.is_empty() {
                "one value per class"
            } else {
                "classes on axis 1 for each position"
            };
            Suggestion {
                note: (last_op == "Softmax").then_some(
                    "the model ends in Softmax, but cross_entropy takes logits: export it without, or the loss is taken of a second softmax",
                ),
                ..suggestion(kind, &metrics, Some(labels(positions, *classes)), told(&format!(", {what}")))
            }
        }
    })
}

fn its_own_loss(name: &str) -> Suggestion {
    Suggestion {
        loss: LossPlan::new(LossKind::Output),
        metrics: Vec::new(),
        target: None,
        reason: format!("`{name}` is a single value for the whole batch, so it is taken as the loss itself"),
        note: None,
    }
}

/// Dimensions per example, as `[batch, 10]`.
fn shape_text(per_example: &[usize]) -> String {
    let dims = per_example.iter().map(|dim| format!(", {dim}"));
    format!("[batch{}]", dims.collect::<String>())
}

impl Suggestion {
    /// The settings to paste into `trainer.toml`: metrics, loss, and data with arrays called like the inputs.
    #[must_use]
    pub fn toml(&self, model: &str, inputs: &[OutputShape]) -> String {
        let mut lines = Vec::new();
        if !self.metrics.is_empty() || self.target.is_some() {
            let names: Vec<String> = self.metrics.iter().map(|metric| format!("\"{metric}\"")).collect();
            lines.push(format!("metrics = [{}]\n", names.join(", ")));
        }
        lines.push(format!("[model]\nonnx = {}\n", quoted(model)));
        lines.push("[data]\ntrain = \"train.npz\"".to_owned());
        for input in inputs {
            let per_example = shape_text(input.kind.dims.get(1..).unwrap_or_default());
            lines.push(format!(
                "inputs.{} = {{ array = {} }}  # {} {per_example}",
                key(&input.name),
                quoted(&input.name),
                input.kind.dtype
            ));
        }
        if let Some(target) = &self.target {
            lines.push(format!("targets.y = {{ array = \"y\" }}  # {target}"));
        }
        lines.push(format!("\n[loss]\nkind = \"{}\"", self.loss.kind.name()));
        if let Some(output) = &self.loss.output {
            lines.push(format!("output = {}", quoted(output)));
        }
        if self.loss.class_axis != 1 {
            lines.push(format!("class_axis = {}", self.loss.class_axis));
        }
        lines.join("\n") + "\n"
    }
}

/// A key of TOML, quoted if it has to be.
fn key(name: &str) -> String {
    let is_bare = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
    if !name.is_empty() && name.chars().all(is_bare) { name.to_owned() } else { quoted(name) }
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    let escaped = text.chars().map(|letter| match letter {
        '"' | '\\' => format!("\\{letter}"),
        control if control.is_control() => format!("\\u{:04x}", u32::from(control)),
        other => other.to_string(),
    });
    format!("\"{}\"", escaped.collect::<String>())
}
