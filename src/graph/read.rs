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

mod domains;
mod error;
mod external;
mod functions;
mod header;
mod order;
mod recognise;
pub(super) mod roles;

pub use error::ReadError;
use external::EXTERNAL;
pub use header::Header;
pub(crate) use roles::{is_constant, is_path};

/// Oldest version of the default operator set that is read: from 13 on, the axes of the shape operators are inputs.
pub const MIN_OPSET: i64 = 13;

/// Newest version of the default operator set that is read: what a later one changes, no gradient rule knows.
pub const MAX_OPSET: i64 = 26;

/// Newest version of the format itself that is read, that of ONNX 1.20 and ONNX Runtime 1.31.
pub const MAX_IR_VERSION: i64 = 13;

/// Reads the model in `path`, external data included.
///
/// # Errors
/// Every way in which the file can fail to be a model; see [`ReadError`].
pub fn read_file(path: &Path) -> Result<Graph, ReadError> {
    Ok(read_file_with_header(path)?.1)
}

/// Reads the model in `path`, and what the file says about itself.
///
/// # Errors
/// As [`read_file`].
pub fn read_file_with_header(path: &Path) -> Result<(Header, Graph), ReadError> {
    let bytes = std::fs::read(path).map_err(|source| ReadError::Io { path: path.to_owned(), source })?;
    read_with_header(path, Bytes::from(bytes))
}

/// Reads a model from memory; `path` names it in messages, and its folder is where external data is looked for.
///
/// # Errors
/// As [`read_file`].
pub fn read_bytes(path: &Path, bytes: Bytes) -> Result<Graph, ReadError> {
    Ok(read_with_header(path, bytes)?.1)
}

/// As [`read_bytes`], with what the file says about itself.
///
/// # Errors
/// As [`read_file`].
pub fn read_with_header(path: &Path, bytes: Bytes) -> Result<(Header, Graph), ReadError> {
    let reader = Reader { path, file_bytes: bytes.len(), files: RefCell::default() };
    let mut model = ModelProto::decode(bytes.clone()).map_err(|error| {
        reader.not_onnx(
            &bytes,
            format!("{error}; it is truncated or damaged, copy it or export the model again"),
        )
    })?;
    let header = Header::of(&model, bytes.len());
    if model.graph.is_none() {
        let reason =
            "it holds no graph; it is truncated or something else, copy it or export the model again";
        return Err(reader.not_onnx(&bytes, reason.to_owned()));
    }
    let opset_of =
        |domain: &str| model.opset_import.iter().find(|set| set.domain == domain).map(|set| set.version);
    let opset = opset_of("").or_else(|| opset_of("ai.onnx")).unwrap_or(0);
    reader.check_versions(opset, model.ir_version)?;
    functions::inline(&mut model, &reader)?;
    let other_opsets =
        model.opset_import.iter().filter(|set| !set.domain.is_empty() && set.domain != "ai.onnx");
    let proto = model.graph.as_ref().expect("a model without a graph was refused");
    reader.check_domains(proto)?;
    let mut graph = reader.graph(proto)?;
    graph.ir_version = model.ir_version;
    graph.opset = opset;
    graph.roles = roles::roles(&model, proto);
    graph.other_opsets = other_opsets.map(|set| (set.domain.clone(), set.version)).collect();
    if opset < 14 {
        drop_batch_statistics(&mut graph);
    }
    reader.check_order(&graph)?;
    Ok((header, graph))
}

struct Reader<'a> {
    path: &'a Path,
    file_bytes: usize,
    /// External data by file. Each file is read once, so tensors that share bytes share memory, too, and no number of
    /// references can take more memory than the files are large.
    files: RefCell<HashMap<PathBuf, Bytes>>,
}

impl Reader<'_> {
    /// The error for bytes that are no model: what they are if they are known, otherwise this reason.
    fn not_onnx(&self, bytes: &[u8], reason: String) -> ReadError {
        let reason = recognise::recognise(bytes).map_or(reason, str::to_owned);
        ReadError::NotOnnx { path: self.path.to_owned(), reason }
    }

    fn check_versions(&self, opset: i64, ir_version: i64) -> Result<(), ReadError> {
        let path = self.path.to_owned();
        if opset < MIN_OPSET {
            return Err(ReadError::Opset { path, found: opset });
        }
        if opset > MAX_OPSET {
            return Err(ReadError::NewOpset { path, found: opset });
        }
        if ir_version > MAX_IR_VERSION {
            return Err(ReadError::IrVersion { path, found: ir_version });
        }
        Ok(())
    }

    /// The element type with this code.
    fn dtype(&self, what: impl Fn() -> String, code: i32) -> Result<Dtype, ReadError> {
        if let Some(dtype) = Dtype::from_code(code) {
            return Ok(dtype);
        }
        match other_element_type(code) {
            Some(name) => Err(ReadError::Unsupported {
                path: self.path.to_owned(),
                what: format!("{} of element type {code} ({name})", what()),
                remedy: "expected numbers of 8 to 64 bits; export the model in float32, without quantisation"
                    .to_owned(),
            }),
            None => Err(self.invalid(what(), format!("element type {code} is unknown"))),
        }
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
        self.check_names(proto)?;
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
        name_unread_parts(&mut nodes);
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
            roles: HashMap::new(),
            nodes,
        })
    }

    /// The empty name is that of an optional input or output which is left out, so no value can have it.
    fn check_names(&self, proto: &GraphProto) -> Result<(), ReadError> {
        let initializers = proto.initializer.iter().map(|tensor| ("initializer", &tensor.name)).enumerate();
        let inputs = proto.input.iter().map(|input| ("input", &input.name)).enumerate();
        let outputs = proto.output.iter().map(|output| ("output", &output.name)).enumerate();
        match initializers.chain(inputs).chain(outputs).find(|(_, (_, name))| name.is_empty()) {
            None => Ok(()),
            Some((position, (what, _))) => {
                Err(self.invalid(format!("{what} {position} of graph `{}`", proto.name), "it has no name"))
            }
        }
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
        let dtype = self.dtype(what, tensor.elem_type)?;
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
        let dtype = self.dtype(what, proto.data_type)?;
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
        let needed = if isize::try_from(expected_bytes).is_ok() {
            format!("{expected_bytes} bytes")
        } else {
            "more bytes than any memory has".to_owned()
        };
        let problem = format!("{kind} needs {needed}, found {found_bytes}");
        Tensor::new(kind, bytes).ok_or_else(|| self.invalid(what(), problem))
    }
}

/// The name of an element type of ONNX that graphs here do not hold.
fn other_element_type(code: i32) -> Option<&'static str> {
    Some(match code {
        8 => "string",
        14 => "complex64",
        15 => "complex128",
        17 => "float8e4m3fn",
        18 => "float8e4m3fnuz",
        19 => "float8e5m2",
        20 => "float8e5m2fnuz",
        21 => "uint4",
        22 => "int4",
        23 => "float4e2m1",
        24 => "float8e8m0",
        25 => "uint2",
        26 => "int2",
        _ => return None,
    })
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

/// Takes from BatchNormalization the outputs that it has before opset 14 in a model exported in training mode, where nothing
/// reads them: new statistics, and those of the batch for a backward pass. Here the training form makes its own.
fn drop_batch_statistics(graph: &mut Graph) {
    let read = graph.read_values();
    for node in &mut graph.nodes {
        if node.op == "BatchNormalization"
            && node.domain.is_empty()
            && !node.outputs.iter().skip(1).any(|output| read.contains(output))
        {
            node.outputs.truncate(1);
        }
    }
}

/// Gives the outputs of Split that have no name one, as `name#part1`: a part that nothing reads has a gradient, too.
pub(super) fn name_unread_parts(nodes: &mut [Node]) {
    for node in nodes.iter_mut().filter(|node| node.op == "Split" && node.domain.is_empty()) {
        let unnamed = node.outputs.iter_mut().enumerate().filter(|(_, output)| output.is_empty());
        for (position, output) in unnamed {
            *output = format!("{}#part{position}", node.name);
        }
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
