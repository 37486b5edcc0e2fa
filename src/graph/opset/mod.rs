//! The same model in another version of the default operator set, where that can be done truthfully.
//!
//! Belongs here: the table of what changed in which operator, and the few changes that can be made good for by writing
//! a node otherwise. A node that would mean something else is refused by name. Does not belong here: running both and
//! comparing them, which the export does.

mod table;

use super::model::{Graph, Node, attribute};
use super::read::{MAX_OPSET, MIN_OPSET};
use super::tensor::Tensor;
use std::collections::HashSet;
use table::{Absent, Change, changes, ir_version, since};
use thiserror::Error;

/// Why a model can not be given another opset.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpsetError {
    /// A version that this program does not know.
    #[error("`--opset`: found opset {found}, expected {MIN_OPSET} to {MAX_OPSET}")]
    Unknown {
        /// The version.
        found: i64,
    },
    /// Operators that would mean something else, or are not there.
    #[error(
        "the model has opset {from}, and with opset {to} it would be another one: {}; leave `--opset` out, or export the model anew \
         with opset_version={to}", nodes.join("; ")
    )]
    Changed {
        /// The opset it has.
        from: i64,
        /// The opset that was asked for.
        to: i64,
        /// Each node with the reason.
        nodes: Vec<String>,
    },
}

/// Most nodes that a message names.
const NAMED_NODES: usize = 8;

/// `graph` with the opset `to`. Constants have to be initializers, so that axes are found.
///
/// # Errors
/// If a node would mean something else, or an operator of the model is not there.
pub fn convert(graph: &Graph, to: i64) -> Result<Graph, OpsetError> {
    if !(MIN_OPSET..=MAX_OPSET).contains(&to) {
        return Err(OpsetError::Unknown { found: to });
    }
    let from = graph.opset;
    let mut converted = Graph { opset: to, ir_version: ir_version(to), ..graph.clone() };
    let mut step = Step { from, to, initializers: &mut converted.initializers };
    let mut refused = Vec::new();
    for node in &mut converted.nodes {
        if let Err(reason) = step.convert(node) {
            refused.push(format!("`{}` ({}): {reason}", node.name, node.op));
        }
    }
    if !refused.is_empty() {
        let more = refused.len().saturating_sub(NAMED_NODES);
        refused.truncate(NAMED_NODES);
        if more > 0 {
            refused.push(format!("and {more} more"));
        }
        return Err(OpsetError::Changed { from, to, nodes: refused });
    }
    let read: HashSet<String> = converted.nodes.iter().flat_map(Node::reads).map(str::to_owned).collect();
    let is_output = |name: &String| graph.outputs.iter().any(|port| port.name == *name);
    converted.initializers.retain(|(name, _)| read.contains(name) || is_output(name));
    Ok(converted)
}

struct Step<'a> {
    from: i64,
    to: i64,
    initializers: &'a mut Vec<(String, Tensor)>,
}

impl Step<'_> {
    /// Writes a node as the other opset has it; the reason, if it has none like it.
    fn convert(&mut self, node: &mut Node) -> Result<(), String> {
        let inner: Vec<String> = node.inner_ops().map(str::to_owned).collect();
        for op in inner {
            // What is within a branch or loop is not rewritten.
            if since(&op).is_none_or(|since| since > self.to) || !self.changes(&op).is_empty() {
                return Err(format!("within it, {op} changed"));
            }
        }
        if !node.domain.is_empty() {
            return Ok(());
        }
        match since(&node.op) {
            None => return Err("what changed in it is not known".to_owned()),
            Some(since) if since > self.to => return Err(format!("it came with opset {since}")),
            Some(_) => {}
        }
        for (version, change) in self.changes(&node.op) {
            self.apply(node, change).map_err(|reason| format!("{reason} (opset {version})"))?;
        }
        Ok(())
    }

    fn changes(&self, op: &str) -> Vec<(i64, Change)> {
        changes(op, self.from.min(self.to), self.from.max(self.to))
    }

    fn apply(&mut self, node: &mut Node, change: Change) -> Result<(), String> {
        let is_newer = self.to > self.from;
        match change {
            Change::Meaning(reason) => Err(reason.to_owned()),
            Change::UnlessZero(name) => match node.int(name) {
                Some(value) if value != 0 => Err(format!("with {name}={value} it was defined otherwise")),
                _ => Ok(()),
            },
            Change::UnlessText(name, same) => match node.string(name) {
                Some(value) if value != same => Err(format!("with {name}={value} it was defined otherwise")),
                _ => Ok(()),
            },
            Change::AxesBecameInput if is_newer => {
                self.axes_to_input(node);
                Ok(())
            }
            Change::AxesBecameInput => self.axes_to_attribute(node),
            Change::PartsAreCounted if is_newer => {
                if node.inputs.get(1).is_none_or(String::is_empty) {
                    let parts = i64::try_from(node.outputs.len()).unwrap_or(i64::MAX);
                    node.attributes.push(attribute::int("num_outputs", parts));
                }
                Ok(())
            }
            Change::PartsAreCounted => match node.int("num_outputs") {
                Some(_) => Err("it states the number of its parts".to_owned()),
                None => Ok(()),
            },
            _ if is_newer => Ok(()),
            Change::Attribute(name, absent) => without(node, name, absent),
            Change::Inputs(most) => match node.inputs.get(most).filter(|name| !name.is_empty()) {
                Some(input) => Err(format!("it reads `{input}` as an input that was not there")),
                None => {
                    node.inputs.truncate(most);
                    Ok(())
                }
            },
            Change::Values(name, values) => match node.string(name).filter(|value| values.contains(value)) {
                Some(value) => Err(format!("{name}={value} was not there")),
                None => Ok(()),
            },
        }
    }

    fn axes_to_input(&mut self, node: &mut Node) {
        let Some(axes) = node.ints("axes").map(<[i64]>::to_vec) else { return };
        node.attributes.retain(|attribute| attribute.name != "axes");
        let name = format!("trainer/axes_of/{}", node.name);
        self.initializers.push((name.clone(), Tensor::from_i64(vec![axes.len()], &axes)));
        node.inputs.truncate(1);
        node.inputs.push(name);
    }

    fn axes_to_attribute(&self, node: &mut Node) -> Result<(), String> {
        without(node, "noop_with_empty_axes", Absent::Int(0))?;
        let Some(name) = node.inputs.get(1).filter(|name| !name.is_empty()).cloned() else {
            node.inputs.truncate(1);
            return Ok(());
        };
        let known = self.initializers.iter().find(|(known, _)| *known == name);
        let axes = known.and_then(|(_, tensor)| tensor.to_i64());
        let axes = axes.ok_or_else(|| format!("its axes `{name}` are computed"))?;
        node.inputs.truncate(1);
        if !axes.is_empty() {
            node.attributes.push(attribute::ints("axes", &axes));
        }
        Ok(())
    }
}

/// Takes away an attribute that was not there, if that changes nothing.
fn without(node: &mut Node, name: &str, absent: Absent) -> Result<(), String> {
    let Some(found) = node.attributes.iter().find(|attribute| attribute.name == name) else { return Ok(()) };
    let is_same = match absent {
        Absent::Int(value) => node.int(name) == Some(value),
        Absent::Text(value) => node.string(name) == Some(value),
        // Dilations of 1 are none.
        Absent::Nothing => {
            !found.ints.is_empty() && name == "dilations" && found.ints.iter().all(|value| *value == 1)
        }
    };
    if !is_same {
        return Err(format!("its attribute {name} was not there"));
    }
    node.attributes.retain(|attribute| attribute.name != name);
    Ok(())
}

#[cfg(test)]
mod tests;
