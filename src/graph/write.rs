//! Writing a [`Graph`] as an ONNX model.

use super::model::{Dim, Graph, Port};
use super::proto::{
    DimensionProto, DimensionValue, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    StringStringEntryProto, TensorProto, TensorShapeProto, TensorTypeProto, TypeProto, TypeValue,
    ValueInfoProto,
};
use super::read::roles::KIND;
use super::tensor::Tensor;
use prost::Message;

/// The largest model that protobuf can hold in one message.
pub const MAX_BYTES: usize = i32::MAX as usize;

/// The bytes of an ONNX file holding `graph`, all initializers inside.
///
/// A model over [`MAX_BYTES`] can not be read back by any ONNX tool; the caller checks the length.
#[must_use]
pub fn to_bytes(graph: &Graph) -> Vec<u8> {
    to_proto(graph).encode_to_vec()
}

fn to_proto(graph: &Graph) -> ModelProto {
    let default = OperatorSetIdProto { domain: String::new(), version: graph.opset };
    let others = graph.other_opsets.iter();
    let others =
        others.map(|(domain, version)| OperatorSetIdProto { domain: domain.clone(), version: *version });
    ModelProto {
        // 8 is the first version of all operator sets that are read here; older readers refuse what they do not know.
        ir_version: graph.ir_version.max(8),
        producer_name: env!("CARGO_PKG_NAME").to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        graph: Some(graph_proto(graph)),
        opset_import: std::iter::once(default).chain(others).collect(),
        ..Default::default()
    }
}

/// The message of the graph alone, as a model or an attribute holds it.
#[must_use]
pub fn graph_proto(graph: &Graph) -> GraphProto {
    let nodes = graph.nodes.iter().map(|node| NodeProto {
        input: node.inputs.clone(),
        output: node.outputs.clone(),
        name: node.name.clone(),
        op_type: node.op.clone(),
        attribute: node.attributes.clone(),
        domain: node.domain.clone(),
        overload: String::new(),
    });
    GraphProto {
        node: nodes.collect(),
        name: graph.name.clone(),
        initializer: graph.initializers.iter().map(|(name, tensor)| tensor_proto(name, tensor)).collect(),
        input: graph.inputs.iter().map(value_info).collect(),
        output: graph.outputs.iter().map(value_info).collect(),
        value_info: graph.value_info.iter().map(value_info).chain(roles(graph)).collect(),
        ..Default::default()
    }
}

/// What the initializers were, noted as PyTorch's exporter notes it.
fn roles(graph: &Graph) -> impl Iterator<Item = ValueInfoProto> {
    graph.initializers.iter().filter_map(|(name, tensor)| {
        let role = graph.roles.get(name)?;
        let note = StringStringEntryProto { key: KIND.to_owned(), value: role.name().to_owned() };
        let info = value_info(&Port::fixed(name.clone(), tensor.dtype(), tensor.dims()));
        Some(ValueInfoProto { metadata_props: vec![note], ..info })
    })
}

/// The message of one constant tensor.
#[must_use]
pub fn tensor_proto(name: &str, tensor: &Tensor) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        // A dimension above i64::MAX can not belong to a tensor that is in memory.
        dims: tensor.dims().iter().map(|dim| i64::try_from(*dim).unwrap_or(i64::MAX)).collect(),
        data_type: tensor.dtype().code(),
        raw_data: Some(tensor.bytes().clone()),
        ..Default::default()
    }
}

fn value_info(port: &Port) -> ValueInfoProto {
    let kind = port.dtype.map(|dtype| {
        let dim = |dim: &Dim| DimensionProto {
            value: match dim {
                Dim::Fixed(size) => Some(DimensionValue::Value(i64::try_from(*size).unwrap_or(i64::MAX))),
                Dim::Symbol(name) => Some(DimensionValue::Param(name.clone())),
                Dim::Unknown => None,
            },
        };
        let shape = port.dims.as_ref().map(|dims| TensorShapeProto { dim: dims.iter().map(dim).collect() });
        TypeProto { value: Some(TypeValue::Tensor(TensorTypeProto { elem_type: dtype.code(), shape })) }
    });
    ValueInfoProto { name: port.name.clone(), r#type: kind, metadata_props: Vec::new() }
}
