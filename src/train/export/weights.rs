//! The weights of a trained model as PyTorch takes them: a safetensors file with the names of its `state_dict`.

use crate::graph::model::Graph;
use crate::graph::precision::{HalveError, halved};
use crate::graph::read::{is_constant, is_path};
use crate::graph::step::Excluded;
use crate::graph::tensor::{Dtype, Tensor, ValueType, elements};
use crate::train::infer::Trained;
use safetensors::tensor::{Dtype as StoredDtype, SafeTensorError, TensorView, serialize};
use std::collections::{BTreeMap, HashMap};
use thiserror::Error;

/// What the older exporter of PyTorch calls the weight of a Linear that it transposed beforehand.
const TRANSPOSED: &str = "onnx::MatMul_";

/// Why the weights can not be written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// A weight that float16 does not reach.
    #[error(transparent)]
    Half(#[from] HalveError),
    /// The file can not be made.
    #[error("the weights make no safetensors file: {0}")]
    Format(#[from] SafeTensorError),
}

/// The weights, ready to be stored.
#[derive(Debug)]
pub struct Weights {
    /// The bytes of the file.
    pub bytes: Vec<u8>,
    /// How many tensors.
    pub tensors: usize,
    /// Name in the model and name in the file, of those that got a PyTorch name back.
    pub restored: Vec<(String, String)>,
    /// Names that are none of PyTorch's, which could not be restored.
    pub unknown: Vec<String>,
}

/// Whether the floats of the file have 16 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bits {
    /// 32, or what the model has.
    AsTheyAre,
    /// float16.
    Sixteen,
}

/// The weights of `graph`, the model in its inference form with the trained values: parameters, running statistics, and
/// what is frozen. Constants of expressions are none.
///
/// # Errors
/// If a weight is beyond float16.
pub fn weights(trained: &Trained, graph: &Graph, bits: Bits) -> Result<Weights, WeightsError> {
    let mut tensors: BTreeMap<String, Tensor> = BTreeMap::new();
    let (mut restored, mut unknown) = (Vec::new(), Vec::new());
    for (name, tensor) in graph.initializers.iter().filter(|(name, _)| is_weight(trained, name)) {
        let (name, tensor) = match original(graph, name, tensor) {
            Some((original, tensor)) => {
                restored.push((name.clone(), original.clone()));
                (original, tensor)
            }
            None => (name.clone(), tensor.clone()),
        };
        if !is_path(&name) {
            unknown.push(name.clone());
        }
        let tensor = if bits == Bits::Sixteen { halved(&name, &tensor)? } else { tensor };
        tensors.insert(name, tensor);
    }
    let views = tensors.iter().filter_map(|(name, tensor)| {
        let view = TensorView::new(stored(tensor.dtype())?, tensor.dims().to_vec(), tensor.bytes());
        Some(view.map(|view| (name.as_str(), view)))
    });
    let views = views.collect::<Result<Vec<_>, _>>()?;
    // What `safetensors.torch.save_file` writes, and some loaders ask for.
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let count = views.len();
    Ok(Weights { bytes: serialize(views, Some(metadata))?, tensors: count, restored, unknown })
}

/// Whether an initializer is a parameter or a buffer of the module, as far as the file shows that.
fn is_weight(trained: &Trained, name: &str) -> bool {
    if trained.trainable.names().any(|trained| trained == name) {
        return true;
    }
    let excluded = trained.trainable.excluded.iter().find(|(excluded, _)| excluded == name);
    match excluded.map(|(_, reason)| *reason) {
        Some(Excluded::Frozen | Excluded::Buffer) => true,
        Some(_) => is_path(name) && !is_constant(name),
        None => false,
    }
}

/// The weight of a Linear that the older exporter transposed: the node that reads it is called after the module, and the
/// bias, which that exporter leaves alone, says that the name is right.
fn original(graph: &Graph, name: &str, tensor: &Tensor) -> Option<(String, Tensor)> {
    let &[rows, columns] = tensor.dims() else { return None };
    if !name.starts_with(TRANSPOSED) {
        return None;
    }
    let mut readers = graph.nodes.iter().filter(|node| node.reads().any(|read| read == name));
    let reader = readers
        .next()
        .filter(|node| node.op == "MatMul" && node.inputs.get(1).is_some_and(|input| input == name))?;
    let module = readers.next().is_none().then(|| module_of(&reader.name)).flatten()?;
    let has_bias = graph
        .initializers
        .iter()
        .any(|(known, bias)| *known == format!("{module}.bias") && bias.dims() == [columns]);
    let original = format!("{module}.weight");
    let is_free = graph.initializers.iter().all(|(known, _)| *known != original);
    let size = tensor.dtype().size_bytes();
    let mut bytes = Vec::with_capacity(tensor.bytes().len());
    for column in 0..columns {
        for row in 0..rows {
            let start = (row * columns + column) * size;
            bytes.extend_from_slice(tensor.bytes().get(start..start + size)?);
        }
    }
    debug_assert_eq!(bytes.len(), elements(tensor.dims()) * size);
    let kind = ValueType::new(tensor.dtype(), [columns, rows]);
    Tensor::new(kind, bytes).filter(|_| has_bias && is_free).map(|tensor| (original, tensor))
}

/// The module that a node of the older exporter is called after: `/encoder/encoder.0/fc/MatMul` is `encoder.0.fc`.
fn module_of(node: &str) -> Option<String> {
    let mut parts = node.strip_prefix('/')?.split('/').collect::<Vec<_>>();
    parts.pop()?;
    let mut path: Vec<&str> = Vec::new();
    for part in parts {
        // Within a Sequential, the part repeats the name of that.
        let repeats = path
            .last()
            .is_some_and(|last| part.strip_prefix(*last).is_some_and(|rest| rest.starts_with('.')));
        if repeats {
            path.pop();
        }
        path.push(part);
    }
    (!path.is_empty()).then(|| path.join("."))
}

/// The element type in the file; nothing for one that no weight has.
fn stored(dtype: Dtype) -> Option<StoredDtype> {
    match dtype {
        Dtype::F32 => Some(StoredDtype::F32),
        Dtype::F64 => Some(StoredDtype::F64),
        Dtype::F16 => Some(StoredDtype::F16),
        Dtype::Bf16 => Some(StoredDtype::BF16),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{is_constant, is_path, module_of, original};
    use crate::graph::model::{Graph, Node};
    use crate::graph::tensor::Tensor;

    fn transposed(node: &str, bias: &str) -> Graph {
        let weight = Tensor::from_f32([2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        Graph {
            name: "main".to_owned(),
            ir_version: 8,
            opset: 17,
            other_opsets: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            value_info: Vec::new(),
            roles: Default::default(),
            initializers: vec![
                ("onnx::MatMul_12".to_owned(), weight),
                (bias.to_owned(), Tensor::from_f32([3], &[0.0; 3])),
            ],
            nodes: vec![Node::new(
                node,
                "MatMul",
                vec!["x".into(), "onnx::MatMul_12".into()],
                vec!["y".into()],
            )],
        }
    }

    #[test]
    fn a_weight_transposed_by_the_exporter_gets_name_and_shape_back_where_its_bias_confirms_it() {
        let restore = |graph: &Graph| original(graph, "onnx::MatMul_12", &graph.initializers[0].1);
        let (name, tensor) = restore(&transposed("/layers/layers.0/fc/MatMul", "layers.0.fc.bias")).unwrap();
        assert_eq!((name.as_str(), tensor.dims()), ("layers.0.fc.weight", [3, 2].as_slice()));
        assert_eq!(tensor.to_f32().unwrap(), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
        assert_eq!(restore(&transposed("/layers/layers.0/fc/MatMul", "other.bias")), None);
        let mut twice = transposed("/fc/MatMul", "fc.bias");
        twice.nodes.push(Node { name: "/again".to_owned(), ..twice.nodes[0].clone() });
        assert_eq!(restore(&twice), None);
    }

    #[test]
    fn names_of_modules_are_told_from_those_of_constants() {
        assert_eq!(module_of("/MatMul"), None);
        assert_eq!(module_of("node_MatMul_3"), None);
        assert_eq!(module_of("/encoder/encoder.0/fc/MatMul").as_deref(), Some("encoder.0.fc"));
        assert!(is_path("layers.0.weight") && is_path("pe"));
        assert!(!is_path("onnx::Conv_30") && !is_path("/Constant_output_0") && !is_path("a..b"));
        assert!(is_constant("val_2") && is_constant("scalar_tensor_3") && !is_constant("value"));
    }
}
