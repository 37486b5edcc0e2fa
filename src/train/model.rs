//! The model of a run: the ONNX file or a builtin network, and the values it begins with.

use super::prepare::PrepareError;
use crate::config::matches_pattern;
use crate::config::{DataSource, Init, ModelPlan, ModelSource, Plan};
use crate::data::{Dataset, Role};
use crate::graph::builtin;
use crate::graph::model::Graph;
use crate::graph::read::read_file;
use crate::graph::start::{draw, load_weights, resize_head};
use crate::graph::step::{self, Target};
use crate::graph::tensor::{Dtype, elements};

/// The model of a plan, with the values it begins with.
///
/// # Errors
/// If the file is no model, its weights or its last layer do not fit, or the data do not say what a builtin network needs.
pub(super) fn open(plan: &Plan, dataset: &Dataset, target: Option<&Target>) -> Result<Graph, PrepareError> {
    let kind = match &plan.model.source {
        ModelSource::Onnx(path) => return start(plan, read_file(path)?),
        ModelSource::Builtin(kind) => *kind,
    };
    let inputs: Vec<_> = dataset.train().arrays().filter(|array| array.role == Role::Input).collect();
    let [input] = inputs.as_slice() else { return Err(PrepareError::Inputs { found: inputs.len() }) };
    let outputs = match (&plan.data.source, target) {
        (DataSource::Digits, _) => 10,
        (_, Some(target)) if target.dtype == Dtype::I64 => {
            let largest = dataset.largest_label(&target.name);
            let classes = largest.and_then(|label| usize::try_from(label).ok()).map(|label| label + 1);
            classes
                .ok_or_else(|| PrepareError::Outputs { found: format!("{largest:?} as the largest label") })?
        }
        (_, Some(target)) => {
            let array = dataset
                .train()
                .arrays()
                .find(|array| array.name == target.name && array.role == Role::Target);
            array.map_or(1, |array| elements(&array.shape))
        }
        (_, None) => return Err(PrepareError::Outputs { found: "no target".to_owned() }),
    };
    Ok(builtin::build(kind, &input.name, &input.shape, outputs, plan.seed))
}

/// Gives an ONNX model the values and the last layer that the settings ask for.
pub(super) fn start(plan: &Plan, mut graph: Graph) -> Result<Graph, PrepareError> {
    if plan.model.init == Init::Seed {
        let result = draw(&mut graph, plan.seed);
        log::info!("{} initializers were drawn from the seed", result.drawn.len());
        list("kept their values, because their operators have no default", &result.kept);
    }
    if let Some(weights) = &plan.model.weights {
        let result = load_weights(&mut graph, weights)?;
        log::info!("{}: {} initializers loaded", weights.path.display(), result.loaded.len());
        list("are not in the file and kept their values", &result.missing);
        list("are in the file and not in the model", &result.unexpected);
    }
    if let Some(classes) = plan.model.classes {
        let output = step::loss_output(&graph, &plan.loss)?;
        match resize_head(&mut graph, &output, classes, plan.seed)? {
            None => log::info!("the last layer has {classes} outputs already; it keeps its values"),
            Some(resized) => log::info!(
                "the last layer `{}` now has {classes} outputs, not {}: {} drawn from the seed",
                resized.node,
                resized.from,
                resized.initializers.join(", ")
            ),
        }
    }
    Ok(graph)
}

/// Says which names something holds for.
fn list(what: &str, names: &[String]) {
    if !names.is_empty() {
        log::info!("{} {what}: {}", names.len(), names.join(", "));
    }
}

/// Whether an initializer stays as it is: `freeze` names it and `train` does not, or only `train` is given and does not
/// name it.
pub(super) fn is_frozen(plan: &ModelPlan, name: &str) -> bool {
    let names = |patterns: &[String]| patterns.iter().any(|pattern| matches_pattern(pattern, name));
    let is_named = if plan.freeze.is_empty() { !plan.train.is_empty() } else { names(&plan.freeze) };
    is_named && !names(&plan.train)
}

/// Refuses patterns that name no initializer, but warns only of those of parameters without weight decay, of which a model
/// may well have none.
pub(super) fn check_patterns(plan: &Plan, graph: &Graph) -> Result<(), PrepareError> {
    let matches_none =
        |pattern: &&String| !graph.initializers.iter().any(|(name, _)| matches_pattern(pattern, name));
    let groups = plan.optimizer.groups.iter();
    let groups =
        groups.map(|(name, group)| (format!("optimizer.groups.{name}.parameters"), &group.parameters));
    let model = [("model.freeze", &plan.model.freeze), ("model.train", &plan.model.train)];
    let model = model.into_iter().map(|(key, patterns)| (key.to_owned(), patterns));
    for (key, patterns) in model.chain(groups) {
        if let Some(pattern) = patterns.iter().find(matches_none) {
            let names = graph.initializers.iter().take(8).map(|(name, _)| format!("`{name}`"));
            let names = names.collect::<Vec<_>>().join(", ");
            return Err(PrepareError::Pattern { key, pattern: pattern.clone(), what: "initializer", names });
        }
    }
    let is_node = |pattern: &&String| graph.nodes.iter().any(|node| matches_pattern(pattern, &node.name));
    if let Some(pattern) = plan.memory.recompute.iter().find(|pattern| !is_node(pattern)) {
        let names = graph.nodes.iter().take(8).map(|node| format!("`{}`", node.name));
        let names = names.collect::<Vec<_>>().join(", ");
        let key = "memory.recompute".to_owned();
        return Err(PrepareError::Pattern { key, pattern: pattern.clone(), what: "node", names });
    }
    if let Some(pattern) = plan.optimizer.no_decay.iter().find(matches_none) {
        log::warn!("`optimizer.no_decay` has `{pattern}`, which matches no initializer of the model");
    }
    Ok(())
}
