//! Reading an ONNX file into a [`Graph`], with everything checked that later code relies on.

use super::model::{Dim, Graph, Node, Port};
use super::proto::{
    DimensionValue, GraphProto, ModelProto, NodeProto, TensorProto, TypeValue, ValueInfoProto,
};
use super::tensor::{Dtype, Tensor, ValueType, elements};
use bytes::Bytes;
use prost::Message;
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

mod error;
mod external;
mod functions;

pub use error::ReadError;
use external::EXTERNAL;

/// Oldest version of the default operator set that is read: from 13 on, the axes of the shape operators are inputs.
pub const MIN_OPSET: i64 = 13;

/// Names that start so are given by this program, to what it adds to a model.
const RESERVED: &str = "trainer/";

/// Reads the model in `path`, external data included.
///
/// # Errors
/// Every way in which the file can fail to be a model; see [`ReadError`].
pub fn read_file(path: &Path) -> Result<Graph, ReadError> {
    let bytes = std::fs::read(path).map_err(|source| ReadError::Io { path: path.to_owned(), source })?;
    read_bytes(path, Bytes::from(bytes))
}

/// Reads a model from memory; `path` names it in messages, and its folder is where external data is looked for.
///
/// # Errors
/// As [`read_file`].
pub fn read_bytes(path: &Path, bytes: Bytes) -> Result<Graph, ReadError> {
    let reader = Reader { path, files: RefCell::default() };
    let mut model = ModelProto::decode(bytes).map_err(|error| reader.not_onnx(error.to_string()))?;
    functions::inline(&mut model, &reader)?;
    let opset_of =
        |domain: &str| model.opset_import.iter().find(|set| set.domain == domain).map(|set| set.version);
    let proto = model.graph.as_ref().ok_or_else(|| reader.not_onnx("it holds no graph".to_owned()))?;
    let opset = opset_of("").or_else(|| opset_of("ai.onnx")).unwrap_or(0);
    if opset < MIN_OPSET {
        return Err(ReadError::Opset { path: path.to_owned(), found: opset });
    }
    let other_opsets =
        model.opset_import.iter().filter(|set| !set.domain.is_empty() && set.domain != "ai.onnx");
    let mut graph = reader.graph(proto)?;
    graph.ir_version = model.ir_version;
    graph.opset = opset;
    graph.other_opsets = other_opsets.map(|set| (set.domain.clone(), set.version)).collect();
    reader.check_order(&graph)?;
    Ok(graph)
}

struct Reader<'a> {
    path: &'a Path,
    /// External data by file. Each file is read once, so tensors that share bytes share memory, too, and no number of
    /// references can take more memory than the files are large.
    files: RefCell<HashMap<PathBuf, Bytes>>,
}

impl Reader<'_> {
    fn not_onnx(&self, reason: String) -> ReadError {
        ReadError::NotOnnx { path: self.path.to_owned(), reason }
    }

    fn invalid(&self, what: String, problem: impl Into<String>) -> ReadError {
        ReadError::Invalid { path: self.path.to_owned(), what, problem: problem.into() }
    }

    fn graph(&self, proto: &GraphProto) -> Result<Graph, ReadError> {
        if !proto.sparse_initializer.is_empty() {
            let remedy = "store the weights as dense initializers".to_owned();
            return Err(ReadError::Unsupported {
                path: self.path.to_owned(),
                what: "a sparse initializer".into(),
                remedy,
            });
        }
        let mut initializers = Vec::with_capacity(proto.initializer.len());
        for tensor in &proto.initializer {
            initializers.push((tensor.name.clone(), self.tensor(tensor)?));
        }
        let named: HashSet<&str> = proto.initializer.iter().map(|tensor| tensor.name.as_str()).collect();
        // Before IR version 4 initializers are listed among the inputs, too.
        let inputs = proto.input.iter().filter(|input| !named.contains(input.name.as_str()));
        let inputs = inputs.map(|input| self.port(input)).collect::<Result<Vec<_>, _>>()?;
        let outputs = proto.output.iter().map(|output| self.port(output)).collect::<Result<Vec<_>, _>>()?;
        let mut nodes = Vec::with_capacity(proto.node.len());
        for (position, node) in proto.node.iter().enumerate() {
            self.check_attributes(node, &node.name)?;
            nodes.push(plain_node(node, position));
        }
        make_names_unique(&mut nodes);
        let name = if proto.name.is_empty() { "model".to_owned() } else { proto.name.clone() };
        Ok(Graph {
            name,
            ir_version: 0,
            opset: 0,
            other_opsets: Vec::new(),
            inputs,
            outputs,
            value_info: Vec::new(),
            initializers,
            nodes,
        })
    }

    fn port(&self, info: &ValueInfoProto) -> Result<Port, ReadError> {
        let what = || format!("input or output `{}`", info.name);
        let Some(kind) = info.r#type.as_ref().and_then(|kind| kind.value.as_ref()) else {
            return Ok(Port::inferred(info.name.clone()));
        };
        let TypeValue::Tensor(tensor) = kind else {
            let remedy = "only tensors are fed to and taken from a model".to_owned();
            return Err(ReadError::Unsupported {
                path: self.path.to_owned(),
                what: format!("{} of a type other than tensor", what()),
                remedy,
            });
        };
        let dtype = Dtype::from_code(tensor.elem_type).ok_or_else(|| {
            self.invalid(what(), format!("element type {} is unknown or not numeric", tensor.elem_type))
        })?;
        let dims = tensor.shape.as_ref().map(|shape| {
            let dim = |value: &Option<DimensionValue>| match value {
                Some(DimensionValue::Value(size)) => usize::try_from(*size).map_or(Dim::Unknown, Dim::Fixed),
                Some(DimensionValue::Param(name)) if !name.is_empty() => Dim::Symbol(name.clone()),
                _ => Dim::Unknown,
            };
            shape.dim.iter().map(|d| dim(&d.value)).collect()
        });
        Ok(Port { name: info.name.clone(), dtype: Some(dtype), dims })
    }

    fn tensor(&self, proto: &TensorProto) -> Result<Tensor, ReadError> {
        let what = || format!("initializer `{}`", proto.name);
        let dtype = Dtype::from_code(proto.data_type).ok_or_else(|| {
            self.invalid(what(), format!("element type {} is unknown or not numeric", proto.data_type))
        })?;
        let dims = proto.dims.iter().map(|dim| usize::try_from(*dim)).collect::<Result<Vec<_>, _>>();
        let dims = dims.map_err(|_| {
            self.invalid(what(), format!("its shape {:?} has a negative dimension", proto.dims))
        })?;
        let expected_bytes = elements(&dims).saturating_mul(dtype.size_bytes());
        let bytes = if proto.data_location == EXTERNAL {
            self.external(proto, expected_bytes)?
        } else if let Some(raw) = &proto.raw_data {
            raw.clone()
        } else {
            Bytes::from(typed_data(proto, dtype))
        };
        let found_bytes = bytes.len();
        let kind = ValueType::new(dtype, dims);
        let problem = format!("{kind} needs {expected_bytes} bytes, found {found_bytes}");
        Tensor::new(kind, bytes).ok_or_else(|| self.invalid(what(), problem))
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

    /// Checks that values are produced once and before they are read.
    fn check_order(&self, graph: &Graph) -> Result<(), ReadError> {
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
            for input in node.inputs.iter().filter(|name| !name.is_empty()) {
                if !known.contains(input.as_str()) {
                    let later = graph.nodes.iter().any(|other| other.outputs.contains(input));
                    let problem = if later {
                        format!(
                            "it reads `{input}`, which only a later node produces (a cycle, or nodes out of order)"
                        )
                    } else {
                        format!("it reads `{input}`, which nothing produces (a missing initializer or input)")
                    };
                    return Err(self.invalid(what(), problem));
                }
            }
            for output in node.outputs.iter().filter(|name| !name.is_empty()) {
                self.check_name(output)?;
                if !known.insert(output.as_str()) {
                    return Err(self
                        .invalid(what(), format!("its output `{output}` is defined twice, expected once")));
                }
            }
        }
        match graph.outputs.iter().find(|port| !known.contains(port.name.as_str())) {
            Some(port) => Err(self.invalid(format!("output `{}`", port.name), "nothing produces it")),
            None => Ok(()),
        }
    }
}

/// The elements of a tensor that stores them in a typed field instead of `raw_data`.
fn typed_data(proto: &TensorProto, dtype: Dtype) -> Vec<u8> {
    let ints = proto.int32_data.iter();
    match dtype {
        Dtype::F32 => proto.float_data.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Dtype::F64 => proto.double_data.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Dtype::I64 => proto.int64_data.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Dtype::U64 => proto.uint64_data.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Dtype::U32 => proto.uint64_data.iter().flat_map(|x| (*x as u32).to_le_bytes()).collect(),
        Dtype::I32 => ints.flat_map(|x| x.to_le_bytes()).collect(),
        // These share `int32_data`, one element per number, its low bytes counting.
        Dtype::I16 | Dtype::U16 | Dtype::F16 | Dtype::Bf16 => {
            ints.flat_map(|x| (*x as u16).to_le_bytes()).collect()
        }
        Dtype::I8 | Dtype::U8 | Dtype::Bool => ints.map(|x| *x as u8).collect(),
    }
}

/// The node as this program holds it; without a name of its own it is called after operator and position.
pub(super) fn plain_node(node: &NodeProto, position: usize) -> Node {
    let name = if node.name.is_empty() { format!("{}_{position}", node.op_type) } else { node.name.clone() };
    let domain = if node.domain == "ai.onnx" { String::new() } else { node.domain.clone() };
    Node {
        name,
        op: node.op_type.clone(),
        domain,
        inputs: node.input.clone(),
        outputs: node.output.clone(),
        attributes: node.attribute.clone(),
    }
}

/// Gives later nodes with a name that is taken a number, as `name#2`.
pub(super) fn make_names_unique(nodes: &mut [Node]) {
    let mut taken: HashSet<String> = HashSet::new();
    let mut numbers: HashMap<String, usize> = HashMap::new();
    for node in nodes {
        if !taken.contains(&node.name) {
            taken.insert(node.name.clone());
            continue;
        }
        // The number goes on from the last one of this name: a file full of equal names must not take forever.
        let number = numbers.entry(node.name.clone()).or_insert(1);
        let free = loop {
            *number += 1;
            let candidate = format!("{}#{number}", node.name);
            if taken.insert(candidate.clone()) {
                break candidate;
            }
        };
        node.name = free;
    }
}
