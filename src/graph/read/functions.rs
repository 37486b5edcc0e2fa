//! Functions local to a model, written out where they are called.

use super::{ReadError, Reader};
use crate::graph::proto::{AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto};
use crate::graph::rename::renamed;
use prost::Message;
use std::collections::{HashMap, HashSet};

/// Most nodes that functions are written out to. A file of a few bytes can call functions that call functions, each
/// several times, and so on: what it asks for must not be unlimited.
const MAX_NODES: usize = 200_000;
/// Memory that these nodes may take for each byte of the file. Exporters that write a function per layer stay below 30.
const MAX_BYTES_PER_BYTE: usize = 256;
/// What they may take besides.
const MAX_BYTES: usize = 1 << 20;

/// Most functions that call each other in a row.
const MAX_DEPTH: usize = 64;

/// Domain, name and overload, which together say what is called.
type Key = (String, String, String);

fn standard(domain: &str) -> &str {
    if domain == "ai.onnx" { "" } else { domain }
}

/// Puts the nodes of a function in the place of each call, in the graph and in those inside it.
///
/// # Errors
/// If a function calls itself, wants another version of the standard operators than the model, is called with more values
/// than it has, or the whole would be beyond the limits above.
pub(super) fn inline(model: &mut ModelProto, reader: &Reader<'_>) -> Result<(), ReadError> {
    let functions = std::mem::take(&mut model.functions);
    if functions.is_empty() {
        return Ok(());
    }
    let version = |sets: &[crate::graph::proto::OperatorSetIdProto]| {
        sets.iter().find(|set| standard(&set.domain).is_empty()).map(|set| set.version)
    };
    let of_model = version(&model.opset_import);
    let mut by_key: HashMap<Key, FunctionProto> = HashMap::new();
    for function in functions {
        let of_function = version(&function.opset_import);
        if of_function.is_some() && of_function != of_model {
            let what = format!(
                "the function `{}` in opset {} of a model in opset {}",
                function.name,
                of_function.unwrap_or(0),
                of_model.unwrap_or(0)
            );
            let remedy =
                "convert the model to one opset (`onnx.version_converter`), or export it again".to_owned();
            return Err(ReadError::Unsupported { path: reader.path.to_owned(), what, remedy });
        }
        for set in &function.opset_import {
            if !standard(&set.domain).is_empty()
                && !model.opset_import.iter().any(|known| known.domain == set.domain)
            {
                model.opset_import.push(set.clone());
            }
        }
        let key = (standard(&function.domain).to_owned(), function.name.clone(), function.overload.clone());
        by_key.insert(key, function);
    }
    let mut inliner = Inliner { functions: &by_key, reader, calls: 0, nodes: 0, bytes: 0 };
    if let Some(graph) = &mut model.graph {
        inliner.graph(graph, &mut Vec::new())?;
    }
    let domains: HashSet<String> = by_key.into_keys().map(|(domain, _, _)| domain).collect();
    model.opset_import.retain(|set| standard(&set.domain).is_empty() || !domains.contains(&set.domain));
    Ok(())
}

struct Inliner<'a> {
    functions: &'a HashMap<Key, FunctionProto>,
    reader: &'a Reader<'a>,
    calls: usize,
    nodes: usize,
    bytes: usize,
}

impl<'a> Inliner<'a> {
    /// `open` are the functions that are being written out.
    fn graph(&mut self, graph: &mut GraphProto, open: &mut Vec<&'a FunctionProto>) -> Result<(), ReadError> {
        let mut nodes = Vec::with_capacity(graph.node.len());
        for node in std::mem::take(&mut graph.node) {
            self.node(node, open, &mut nodes)?;
        }
        graph.node = nodes;
        Ok(())
    }

    /// The depth of the recursion is bounded by that of calls, and of inner graphs, which protobuf bounds.
    fn node(
        &mut self,
        mut node: NodeProto,
        open: &mut Vec<&'a FunctionProto>,
        nodes: &mut Vec<NodeProto>,
    ) -> Result<(), ReadError> {
        let key = (standard(&node.domain).to_owned(), node.op_type.clone(), node.overload.clone());
        let Some(function) = self.functions.get(&key) else {
            for attribute in &mut node.attribute {
                for graph in attribute.g.iter_mut().chain(&mut attribute.graphs) {
                    self.graph(graph, open)?;
                }
            }
            nodes.push(node);
            return Ok(());
        };
        let what = || format!("function `{}`", function.name);
        if open.iter().any(|other| std::ptr::eq(*other, function)) {
            return Err(self.reader.invalid(what(), "it calls itself"));
        }
        if open.len() >= MAX_DEPTH {
            return Err(self
                .reader
                .invalid(what(), format!("more than {MAX_DEPTH} functions call each other")));
        }
        if node.input.len() > function.input.len() || node.output.len() > function.output.len() {
            let problem = format!(
                "it is called with {} inputs and {} outputs, expected at most {} and {}",
                node.input.len(),
                node.output.len(),
                function.input.len(),
                function.output.len()
            );
            return Err(self.reader.invalid(what(), problem));
        }
        self.calls += 1;
        let prefix = if node.name.is_empty() {
            format!("{}_{}", function.name, self.calls)
        } else {
            format!("{}_{}", node.name, self.calls)
        };
        let names = names_of_call(&node, function);
        let name_of = |name: &str| names.get(name).cloned().unwrap_or_else(|| format!("{prefix}/{name}"));
        open.push(function);
        for inner in &function.node {
            let mut inner = renamed(with_attributes(inner.clone(), &node, function), &name_of);
            inner.name =
                format!("{prefix}/{}", if inner.name.is_empty() { &inner.op_type } else { &inner.name });
            self.count(&inner, &what())?;
            self.node(inner, open, nodes)?;
        }
        open.pop();
        Ok(())
    }

    fn count(&mut self, node: &NodeProto, what: &str) -> Result<(), ReadError> {
        let limit_bytes = self.reader.file_bytes.saturating_mul(MAX_BYTES_PER_BYTE).saturating_add(MAX_BYTES);
        self.nodes += 1;
        self.bytes = self.bytes.saturating_add(held_bytes(node));
        if self.nodes <= MAX_NODES && self.bytes <= limit_bytes {
            return Ok(());
        }
        let problem = format!(
            "the functions of a file of {} bytes are written out to more than {MAX_NODES} nodes or {limit_bytes} bytes",
            self.reader.file_bytes
        );
        Err(self.reader.invalid(what.to_owned(), problem))
    }
}

/// The memory that a node takes, about: what stands in it, and the places for that.
fn held_bytes(node: &NodeProto) -> usize {
    let names = node.input.len() + node.output.len();
    let places = size_of::<NodeProto>()
        + names * size_of::<String>()
        + node.attribute.len() * size_of::<AttributeProto>();
    // Graphs inside it take more places than this knows of, a few for each byte.
    let inner_factor = if node.attribute.iter().any(|attribute| attribute.g.is_some()) { 32 } else { 1 };
    places.saturating_add(node.encoded_len().saturating_mul(inner_factor))
}

/// The values of the surrounding graph by the names that the function has for them; absent ones are empty.
fn names_of_call(node: &NodeProto, function: &FunctionProto) -> HashMap<String, String> {
    let inputs = function.input.iter().enumerate();
    let inputs = inputs.map(|(at, name)| (name.clone(), node.input.get(at).cloned().unwrap_or_default()));
    let outputs = function.output.iter().zip(&node.output).filter(|(_, given)| !given.is_empty());
    inputs.chain(outputs.map(|(name, given)| (name.clone(), given.clone()))).collect()
}

/// The node with the attributes of the call, or else the defaults of the function, where it refers to them.
fn with_attributes(mut node: NodeProto, call: &NodeProto, function: &FunctionProto) -> NodeProto {
    let given = |name: &str| {
        let attributes = call.attribute.iter().chain(&function.attribute_proto);
        attributes.into_iter().find(|attribute| attribute.name == name).cloned()
    };
    let resolved = |attribute: AttributeProto| {
        if attribute.ref_attr_name.is_empty() {
            return Some(attribute);
        }
        given(&attribute.ref_attr_name).map(|value| AttributeProto { name: attribute.name, ..value })
    };
    node.attribute = node.attribute.into_iter().filter_map(resolved).collect();
    for attribute in &mut node.attribute {
        for graph in attribute.g.iter_mut().chain(&mut attribute.graphs) {
            for inner in &mut graph.node {
                *inner = with_attributes(std::mem::take(inner), call, function);
            }
        }
    }
    node
}
