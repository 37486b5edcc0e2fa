//! That values are produced once, and before they are read.

use super::{ReadError, Reader};
use crate::graph::model::{Graph, Node};
use std::collections::{HashMap, HashSet};

/// Names that start so are given by this program, to what it adds to a model.
const RESERVED: &str = "trainer/";

/// Most nodes of a cycle that a message names.
const NAMED_NODES: usize = 6;

impl Reader<'_> {
    /// Checks that values are produced once and before they are read, by graphs inside nodes, too.
    pub(super) fn check_order(&self, graph: &Graph) -> Result<(), ReadError> {
        let mut known: HashSet<&str> = HashSet::new();
        let given = graph.inputs.iter().map(|port| port.name.as_str());
        for name in given.chain(graph.initializers.iter().map(|(name, _)| name.as_str())) {
            self.check_name(name)?;
            if !known.insert(name) {
                return Err(self.invalid(format!("value `{name}`"), "it is defined twice, expected once"));
            }
        }
        for node in &graph.nodes {
            let what = || format!("node `{}` ({})", node.name, node.op);
            if let Some(input) = node.reads().find(|name| !known.contains(name)) {
                return Err(self.invalid(what(), why_unknown(graph, input)));
            }
            for output in node.outputs.iter().filter(|name| !name.is_empty()) {
                self.check_name(output)?;
                if !known.insert(output.as_str()) {
                    let problem = format!("its output `{output}` is defined twice, expected once");
                    return Err(self.invalid(what(), problem));
                }
            }
        }
        match graph.outputs.iter().find(|port| !known.contains(port.name.as_str())) {
            Some(port) => Err(self.invalid(format!("output `{}`", port.name), "nothing produces it")),
            None => Ok(()),
        }
    }

    fn check_name(&self, name: &str) -> Result<(), ReadError> {
        if !name.starts_with(RESERVED) {
            return Ok(());
        }
        Err(ReadError::Unsupported {
            path: self.path.to_owned(),
            what: format!("a value called `{name}`"),
            remedy: format!("names that start with `{RESERVED}` are kept for the training graph, rename it"),
        })
    }
}

/// Why a node can not read a value: nothing makes it, or only what comes later.
fn why_unknown(graph: &Graph, input: &str) -> String {
    let makes = |node: &&Node| node.outputs.iter().any(|output| output == input);
    let Some(later) = graph.nodes.iter().find(makes) else {
        return format!("it reads `{input}`, which nothing produces (a missing initializer or input)");
    };
    let known = "expected nodes behind those whose outputs they read";
    match cycle(graph) {
        Some(names) => format!(
            "it reads `{input}`, which only a later node produces: {} are a cycle, {known}",
            names.join(" -> ")
        ),
        None => format!(
            "it reads `{input}`, which only a later node produces, `{}` (nodes out of order), {known}",
            later.name
        ),
    }
}

/// Names of nodes of which each reads what the next one makes, the first one again at the end; `None` if the nodes can be
/// put in order. Long cycles are shortened.
fn cycle(graph: &Graph) -> Option<Vec<String>> {
    let mut makers: HashMap<&str, usize> = HashMap::new();
    for (position, node) in graph.nodes.iter().enumerate() {
        for output in node.outputs.iter().filter(|name| !name.is_empty()) {
            makers.entry(output).or_insert(position);
        }
    }
    let before: Vec<HashSet<usize>> = graph
        .nodes
        .iter()
        .map(|node| node.reads().filter_map(|name| makers.get(name).copied()).collect())
        .collect();
    let mut after: Vec<Vec<usize>> = vec![Vec::new(); graph.nodes.len()];
    let mut waiting: Vec<usize> = before.iter().map(HashSet::len).collect();
    for (position, makers) in before.iter().enumerate() {
        for maker in makers {
            after.get_mut(*maker)?.push(position);
        }
    }
    let mut ready: Vec<usize> =
        waiting.iter().enumerate().filter(|(_, count)| **count == 0).map(|(position, _)| position).collect();
    while let Some(position) = ready.pop() {
        for reader in after.get(position)? {
            let count = waiting.get_mut(*reader)?;
            *count -= 1;
            if *count == 0 {
                ready.push(*reader);
            }
        }
    }
    // Every node that still waits reads what another waiting one makes: the way back from any of them ends in a cycle.
    let is_waiting = |position: &usize| waiting.get(*position).is_some_and(|count| *count > 0);
    let mut way: Vec<usize> = vec![(0..waiting.len()).find(is_waiting)?];
    loop {
        let last = way.last()?;
        let next = *before.get(*last)?.iter().filter(|position| is_waiting(position)).min()?;
        if let Some(start) = way.iter().position(|position| *position == next) {
            way.drain(..start);
            break;
        }
        way.push(next);
    }
    let name = |position: &usize| {
        graph.nodes.get(*position).map_or(String::new(), |node| format!("`{}`", node.name))
    };
    let mut names: Vec<String> = way.iter().take(NAMED_NODES).map(name).collect();
    if way.len() > NAMED_NODES {
        names.push("...".to_owned());
    }
    names.extend(way.first().map(name));
    Some(names)
}
