//! Activations that are computed again in the backward pass instead of being kept from the forward pass until then.
//!
//! The forward pass is cut into segments. Of a segment that is computed again, only what later segments read is kept; the
//! backward pass gets copies of its nodes, which start from there. A copy waits for the gradient that arrives at its
//! segment, or ONNX Runtime would compute it at once and keep it just as long.
//!
//! The results have the same bits: the copies are the same operators on the same values, and which operators ONNX
//! Runtime fuses depends on who reads a value, which [`rewrite`] leaves as it is.
//!
//! Belongs here: what is kept, how much that is, and the change of the graph. Does not belong here: how much memory there
//! is.

mod rewrite;
mod segments;
mod survey;

use super::autodiff::Backward;
use super::emit::{Emit, Value};
use crate::config::matches_pattern;
use std::fmt;
use std::ops::Range;
use survey::Survey;

/// Which activations are computed again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Recompute {
    /// None: everything that the backward pass reads is kept.
    #[default]
    Nothing,
    /// Those of the nodes whose names match one of these patterns.
    Nodes(Vec<String>),
    /// So many that the rest takes about this many bytes at most, and no more of them than that needs.
    ToFit {
        /// For activations alone.
        budget_bytes: usize,
    },
}

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recomputed {
    /// Nodes that are computed a second time.
    pub nodes: usize,
    /// Nodes of the forward pass.
    pub of_nodes: usize,
    /// Bytes of activations at the fullest moment, by their shapes, if all are kept.
    pub kept_bytes_before: usize,
    /// The same with what is computed again.
    pub kept_bytes: usize,
    /// The most that there was to be, if that could not be.
    pub missed_bytes: Option<usize>,
}

impl fmt::Display for Recomputed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mb = |bytes: usize| bytes as f64 / 1e6;
        let Self { nodes, of_nodes, kept_bytes_before, kept_bytes, missed_bytes } = self;
        write!(
            out,
            "{nodes} of {of_nodes} nodes are computed again in the backward pass: activations take about {:.1} MB \
             instead of {:.1} MB",
            mb(*kept_bytes),
            mb(*kept_bytes_before)
        )?;
        match missed_bytes {
            Some(bytes) => write!(
                out,
                "; `memory.budget_mb` leaves {:.1} MB for them, which can not be met: take a smaller \
                 `train.micro_batch`",
                mb(*bytes)
            ),
            None => Ok(()),
        }
    }
}

/// Changes a graph with a backward pass so that it keeps less. `outside` are values that are read from outside.
///
/// Returns `None` if everything is kept, as it was asked for or because it fits.
pub fn apply(
    emit: &mut Emit,
    backward: &Backward,
    parameters: &[Value],
    outside: &[Value],
    choice: &Recompute,
) -> Option<Recomputed> {
    if *choice == Recompute::Nothing {
        return None;
    }
    let survey = Survey::new(emit, backward.forward_nodes, parameters, outside);
    let segments = match choice {
        Recompute::Nothing => return None,
        Recompute::Nodes(patterns) => matching(emit, &survey, patterns),
        Recompute::ToFit { budget_bytes } => segments::to_fit(&survey, *budget_bytes),
    };
    let kept_bytes = survey.kept_bytes(&segments);
    let missed_bytes = match choice {
        Recompute::ToFit { budget_bytes } => Some(*budget_bytes).filter(|budget| kept_bytes > *budget),
        Recompute::Nothing | Recompute::Nodes(_) => None,
    };
    let kept_bytes_before = survey.kept_bytes(&[]);
    let nodes = rewrite::rewrite(emit, &survey, backward, &segments);
    let recomputed =
        Recomputed { nodes, of_nodes: survey.len(), kept_bytes_before, kept_bytes, missed_bytes };
    (nodes > 0 || missed_bytes.is_some()).then_some(recomputed)
}

/// The segments of the nodes that are named: neighbours belong together if the same text stands in the place of the first
/// star, up to the next separator; so `/layers.*` makes a segment of every layer.
fn matching(emit: &Emit, survey: &Survey, patterns: &[String]) -> Vec<Range<usize>> {
    let mut segments: Vec<(String, Range<usize>)> = Vec::new();
    for (position, node) in emit.nodes().iter().take(survey.len()).enumerate() {
        // What is written out in the place of a node is called `trainer/<node>/...`.
        let name = node.name.strip_prefix("trainer/").unwrap_or(&node.name);
        let matched = patterns.iter().find(|pattern| matches_pattern(pattern, name));
        let Some(pattern) = matched else { continue };
        let start = pattern.find('*').unwrap_or(pattern.len());
        let rest = name.get(start..).unwrap_or_default();
        let key = rest.split(['/', '.', ':']).next().unwrap_or_default().to_owned();
        match segments.last_mut() {
            // Constants and shapes may stand between.
            Some((last, range))
                if *last == key && (range.end..position).all(|between| !survey.is_activation(between)) =>
            {
                range.end = position + 1;
            }
            _ => segments.push((key, position..position + 1)),
        }
    }
    let whole = segments.into_iter().map(|(_, range)| survey.widened(range));
    whole.filter(|range| !range.is_empty()).collect()
}
