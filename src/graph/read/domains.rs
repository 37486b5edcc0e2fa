//! That every operator is of a domain that ONNX Runtime has.

use super::{ReadError, Reader};
use crate::graph::proto::{GraphProto, NodeProto};

/// The domains whose operators come with ONNX Runtime; the standard one is empty or `ai.onnx`.
const DOMAINS: [&str; 8] = [
    "",
    "ai.onnx",
    "ai.onnx.ml",
    "ai.onnx.preview",
    "ai.onnx.preview.training",
    "com.microsoft",
    "com.microsoft.nchwc",
    "com.ms.internal.nhwc",
];

/// Most nodes that a message names.
const NAMED_NODES: usize = 20;

impl Reader<'_> {
    /// Refuses nodes of other domains, all at once. Functions local to the model have been written out before.
    pub(super) fn check_domains(&self, graph: &GraphProto) -> Result<(), ReadError> {
        let mut foreign = Vec::new();
        collect(graph, &mut foreign);
        if foreign.is_empty() {
            return Ok(());
        }
        let count = foreign.len();
        let name = |node: &&NodeProto| {
            let first = node.output.first().map_or("", String::as_str);
            if node.name.is_empty() { first.to_owned() } else { node.name.clone() }
        };
        let named = foreign.iter().take(NAMED_NODES);
        let mut listing: Vec<String> =
            named.map(|node| format!("`{}` ({}.{})", name(node), node.domain, node.op_type)).collect();
        if count > NAMED_NODES {
            listing.push(format!("and {} more", count - NAMED_NODES));
        }
        Err(ReadError::Domain { path: self.path.to_owned(), listing: listing.join(", ") })
    }
}

/// The depth of the recursion is bounded: protobuf messages are decoded to a fixed depth only.
fn collect<'a>(graph: &'a GraphProto, foreign: &mut Vec<&'a NodeProto>) {
    for node in &graph.node {
        if !DOMAINS.contains(&node.domain.as_str()) {
            foreign.push(node);
        }
        for attribute in &node.attribute {
            attribute.g.iter().chain(&attribute.graphs).for_each(|inner| collect(inner, foreign));
        }
    }
}
