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
use prost::encoding::{WireType, encode_key, encode_varint};
use std::borrow::Cow;
use std::collections::HashMap;

/// The largest model that protobuf can hold in one message.
pub const MAX_BYTES: usize = i32::MAX as usize;

/// From how many bytes on a tensor is a piece of its own; smaller ones are copied, so that they are written together.
const PIECE_BYTES: usize = 1 << 16;

/// The bytes of an ONNX file holding `graph`, all initializers inside.
///
/// A model over [`MAX_BYTES`] can not be read back by any ONNX tool; the caller checks the length.
#[must_use]
pub fn to_bytes(graph: &Graph) -> Vec<u8> {
    Pieces::new(graph).all().concat()
}

/// The bytes of an ONNX file one behind the other, those of large tensors where they are in memory already.
#[derive(Debug)]
pub struct Pieces<'a> {
    pieces: Vec<Cow<'a, [u8]>>,
}

impl<'a> Pieces<'a> {
    /// Of a graph as it is.
    #[must_use]
    pub fn new(graph: &'a Graph) -> Self {
        Self::with_values(graph, &HashMap::new())
    }

    /// Of a graph, where `values` has the elements, little-endian, of initializers that are to be written with other values
    /// than their own. Values of another length are left out.
    #[must_use]
    pub fn with_values(graph: &'a Graph, values: &HashMap<&str, &'a [u8]>) -> Self {
        let default = OperatorSetIdProto { domain: String::new(), version: graph.opset };
        let others = graph.other_opsets.iter();
        let others =
            others.map(|(domain, version)| OperatorSetIdProto { domain: domain.clone(), version: *version });
        // Fields are written in the order of their numbers, as prost does it: what comes before the graph, ...
        let head = ModelProto {
            // 8 is the first version of all operator sets that are read here; older readers refuse what they do not know.
            ir_version: graph.ir_version.max(8),
            producer_name: env!("CARGO_PKG_NAME").to_owned(),
            producer_version: env!("CARGO_PKG_VERSION").to_owned(),
            ..Default::default()
        };
        let tail = ModelProto {
            opset_import: std::iter::once(default).chain(others).collect(),
            ..Default::default()
        };
        let before = nodes_and_name(graph).encode_to_vec();
        let after = ports(graph).encode_to_vec();
        let tensors: Vec<(Vec<u8>, &[u8])> = graph
            .initializers
            .iter()
            .map(|(name, tensor)| {
                let other = values.get(name.as_str()).filter(|bytes| bytes.len() == tensor.bytes().len());
                tensor_in_graph(name, tensor, other.copied().unwrap_or(tensor.bytes()))
            })
            .collect();
        let tensors_len: usize = tensors.iter().map(|(head, elements)| head.len() + elements.len()).sum();

        let (mut pieces, mut collected) = (Vec::new(), head.encode_to_vec());
        encode_key(GRAPH_OF_MODEL, WireType::LengthDelimited, &mut collected);
        encode_varint((before.len() + tensors_len + after.len()) as u64, &mut collected);
        collected.extend(before);
        for (head, elements) in tensors {
            collected.extend(head);
            if elements.len() < PIECE_BYTES {
                collected.extend(elements);
            } else {
                pieces.extend([Cow::Owned(std::mem::take(&mut collected)), Cow::Borrowed(elements)]);
            }
        }
        collected.extend(after);
        collected.extend(tail.encode_to_vec());
        pieces.push(Cow::Owned(collected));
        Self { pieces }
    }

    /// The pieces.
    #[must_use]
    pub fn all(&self) -> Vec<&[u8]> {
        self.pieces.iter().map(AsRef::as_ref).collect()
    }

    /// Number of bytes of all pieces.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        self.pieces.iter().map(|piece| piece.len()).sum()
    }

    /// CRC32 of all bytes.
    #[must_use]
    pub fn crc32(&self) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        self.pieces.iter().for_each(|piece| hasher.update(piece));
        hasher.finalize()
    }
}

/// Number of `ModelProto.graph`.
const GRAPH_OF_MODEL: u32 = 7;
/// Number of `GraphProto.initializer`.
const INITIALIZER_OF_GRAPH: u32 = 5;
/// Number of `TensorProto.raw_data`, the last field of a tensor that is written.
const RAW_DATA_OF_TENSOR: u32 = 9;

/// What stands before the elements of an initializer in its graph, and the elements.
fn tensor_in_graph<'a>(name: &str, tensor: &Tensor, elements: &'a [u8]) -> (Vec<u8>, &'a [u8]) {
    let mut fields = TensorProto { raw_data: None, ..tensor_proto(name, tensor) }.encode_to_vec();
    encode_key(RAW_DATA_OF_TENSOR, WireType::LengthDelimited, &mut fields);
    encode_varint(elements.len() as u64, &mut fields);
    let mut head = Vec::with_capacity(fields.len() + 16);
    encode_key(INITIALIZER_OF_GRAPH, WireType::LengthDelimited, &mut head);
    encode_varint((fields.len() + elements.len()) as u64, &mut head);
    head.extend(fields);
    (head, elements)
}

/// The message of the graph alone, as an attribute holds it.
#[must_use]
pub fn graph_proto(graph: &Graph) -> GraphProto {
    let initializer = graph.initializers.iter().map(|(name, tensor)| tensor_proto(name, tensor)).collect();
    let GraphProto { input, output, value_info, .. } = ports(graph);
    GraphProto { initializer, input, output, value_info, ..nodes_and_name(graph) }
}

fn nodes_and_name(graph: &Graph) -> GraphProto {
    let nodes = graph.nodes.iter().map(|node| NodeProto {
        input: node.inputs.clone(),
        output: node.outputs.clone(),
        name: node.name.clone(),
        op_type: node.op.clone(),
        attribute: node.attributes.clone(),
        domain: node.domain.clone(),
        overload: String::new(),
    });
    GraphProto { node: nodes.collect(), name: graph.name.clone(), ..Default::default() }
}

fn ports(graph: &Graph) -> GraphProto {
    GraphProto {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Builtin;
    use crate::graph::builtin;

    fn large() -> Graph {
        builtin::build(Builtin::Mlp, "x", &[28, 28], 10, 1)
    }

    /// What prost makes of the model as one message.
    fn by_prost(graph: &Graph) -> Vec<u8> {
        let empty = to_bytes(&Graph { initializers: Vec::new(), ..graph.clone() });
        let model = ModelProto::decode(empty.as_slice()).unwrap();
        ModelProto { graph: Some(graph_proto(graph)), ..model }.encode_to_vec()
    }

    #[test]
    fn the_pieces_are_the_bytes_that_prost_makes_of_the_model_as_one_message() {
        let graph = large();
        let pieces = Pieces::new(&graph);
        assert!(pieces.pieces.len() > 2, "a large tensor is a piece of its own");
        assert!(pieces.all().concat() == by_prost(&graph));
        assert_eq!(pieces.len_bytes(), by_prost(&graph).len());
        assert_eq!(pieces.crc32(), crc32fast::hash(&by_prost(&graph)));
        assert!(to_bytes(&graph) == by_prost(&graph));
    }
    #[test]
    fn values_of_the_right_length_take_the_place_of_those_of_the_graph() {
        let mut graph = large();
        let (weight, bias) = (vec![1_u8; 784 * 64 * 4], vec![2_u8; 64 * 4]);
        let values = HashMap::from([("fc1.weight", &weight[..]), ("fc1.bias", &bias), ("fc2.bias", &[3; 4])]);
        let written = Pieces::with_values(&graph, &values).all().concat();
        for (name, values) in [("fc1.weight", &weight), ("fc1.bias", &bias)] {
            let (_, tensor) = graph.initializers.iter_mut().find(|(known, _)| known == name).unwrap();
            *tensor = Tensor::new(tensor.kind().clone(), values.clone()).unwrap();
        }
        assert!(written == by_prost(&graph));
    }
}
