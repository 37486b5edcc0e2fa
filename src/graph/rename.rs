//! Values under other names, for nodes that move from an inner graph to the one around it.

use super::proto::{GraphProto, NodeProto};
use std::collections::HashSet;

/// `node` with every value it reads, makes or holds in inner graphs under the name that `name_of` gives it.
///
/// Absent values stay absent. The depth of the recursion is bounded: protobuf messages are decoded to a fixed depth only.
pub(super) fn renamed(mut node: NodeProto, name_of: &dyn Fn(&str) -> String) -> NodeProto {
    for name in node.input.iter_mut().chain(&mut node.output) {
        rename(name, name_of);
    }
    for attribute in &mut node.attribute {
        for graph in attribute.g.iter_mut().chain(&mut attribute.graphs) {
            rename_graph(graph, name_of);
        }
    }
    node
}

fn rename(name: &mut String, name_of: &dyn Fn(&str) -> String) {
    if !name.is_empty() {
        *name = name_of(name);
    }
}

fn rename_graph(graph: &mut GraphProto, name_of: &dyn Fn(&str) -> String) {
    for tensor in &mut graph.initializer {
        rename(&mut tensor.name, name_of);
    }
    for info in graph.input.iter_mut().chain(&mut graph.output).chain(&mut graph.value_info) {
        rename(&mut info.name, name_of);
    }
    for node in &mut graph.node {
        *node = renamed(std::mem::take(node), name_of);
    }
}

/// The values that `graph` and the graphs inside it define.
pub(super) fn defined(graph: &GraphProto) -> HashSet<String> {
    let mut names = HashSet::new();
    collect_defined(graph, &mut names);
    names
}

fn collect_defined(graph: &GraphProto, names: &mut HashSet<String>) {
    names.extend(graph.input.iter().map(|input| input.name.clone()));
    names.extend(graph.initializer.iter().map(|tensor| tensor.name.clone()));
    for node in &graph.node {
        names.extend(node.output.iter().cloned());
        for inner in node.attribute.iter().flat_map(|attribute| attribute.g.iter().chain(&attribute.graphs)) {
            collect_defined(inner, names);
        }
    }
}
