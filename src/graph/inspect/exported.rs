//! What an exporter did to a model that training would want undone, as far as the file shows it.

use super::inputs::Probe;
use crate::graph::model::{Graph, Node};
use crate::graph::proto::TensorProto;
use crate::graph::read::Header;
use crate::graph::tensor::{Dtype, Tensor, elements};
use std::collections::{HashMap, HashSet};

/// Something to know about a model before it is trained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// What it is about.
    pub kind: WarningKind,
    /// What was found, what it means and what to do.
    pub message: String,
}

/// What a warning is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WarningKind {
    /// BatchNormalization was folded into the convolutions before it.
    BatchNormFolded,
    /// BatchNormalization is in its inference form.
    BatchNormInference,
    /// Weights were computed with by the exporter and lost their names.
    FoldedWeights,
    /// One tensor stands for several parameters that had equal values.
    MergedParameters,
    /// A tensor that was one is there twice.
    SplitWeights,
    /// Weights that are constants inside nodes.
    ConstantWeights,
    /// There is no Dropout.
    NoDropout,
    /// The number of examples is fixed.
    FixedBatch,
}

impl WarningKind {
    /// Its name for programs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::BatchNormFolded => "batch_norm_folded",
            Self::BatchNormInference => "batch_norm_inference",
            Self::FoldedWeights => "folded_weights",
            Self::MergedParameters => "merged_parameters",
            Self::SplitWeights => "split_weights",
            Self::ConstantWeights => "constant_weights",
            Self::NoDropout => "no_dropout",
            Self::FixedBatch => "fixed_batch",
        }
    }
}

/// Tensors with fewer elements are equal by chance, or constants of expressions.
const FEW_ELEMENTS: usize = 64;

/// Most names that a message lists.
const LISTED: usize = 5;

/// Everything that can be seen in the file.
#[must_use]
pub fn warnings(graph: &Graph, header: &Header, probe: &Probe) -> Vec<Warning> {
    let found = [
        (WarningKind::FixedBatch, fixed_batch(probe)),
        (WarningKind::BatchNormFolded, batch_norm_folded(graph)),
        (WarningKind::BatchNormInference, batch_norm_inference(graph)),
        (WarningKind::FoldedWeights, folded_weights(graph)),
        (WarningKind::MergedParameters, merged_parameters(graph)),
        (WarningKind::SplitWeights, split_weights(graph)),
        (WarningKind::ConstantWeights, constant_weights(graph)),
        (WarningKind::NoDropout, no_dropout(graph, header)),
    ];
    found.into_iter().filter_map(|(kind, message)| Some(Warning { kind, message: message? })).collect()
}

/// Of these, what an exporter changed without a trace in the model's results, so that only training shows it: what is
/// trained is then not what was meant.
#[must_use]
pub fn silent_changes(graph: &Graph) -> Vec<Warning> {
    let found = [
        (WarningKind::BatchNormFolded, batch_norm_folded(graph)),
        (WarningKind::MergedParameters, merged_parameters(graph)),
        (WarningKind::SplitWeights, split_weights(graph)),
    ];
    found.into_iter().filter_map(|(kind, message)| Some(Warning { kind, message: message? })).collect()
}

fn standard<'a>(graph: &'a Graph, op: &'static str) -> impl Iterator<Item = &'a Node> {
    graph.nodes.iter().filter(move |node| node.op == op && node.domain.is_empty())
}

fn listing<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    let mut listed: Vec<String> = names.iter().take(LISTED).map(|name| format!("`{name}`")).collect();
    if names.len() > LISTED {
        listed.push(format!("and {} more", names.len() - LISTED));
    }
    listed.join(", ")
}

fn fixed_batch(probe: &Probe) -> Option<String> {
    let size = probe.fixed_batch?;
    Some(format!(
        "the model takes batches of {size} and no others: set `train.batch_size = {size}` and `data.drop_last = true`, or export \
         it with a dynamic batch axis (`dynamic_shapes`, or `dynamic_axes` of the older exporter)"
    ))
}

/// The older exporter gives the weights of a Conv that took up its BatchNormalization a name of its own; the newer one
/// names the bias that comes of it after the input of the Conv, and leaves the name of the normalisation to its output.
fn batch_norm_folded(graph: &Graph) -> Option<String> {
    let initializers: HashSet<&str> = graph.initializers.iter().map(|(name, _)| name.as_str()).collect();
    let is_initializer = |name: &&String| initializers.contains(name.as_str());
    let is_folded = |node: &&Node| {
        let [input, weight, bias] = node.inputs.as_slice() else { return false };
        let was_computed = weight.starts_with("onnx::Conv_") && is_initializer(&weight);
        let was_added = *bias == format!("{input}_bias") && is_initializer(&bias);
        let names_of_norm = |name: &String| {
            ["batch_norm", "batchnorm", "BatchNorm", "bn/"].iter().any(|word| name.contains(word))
        };
        was_computed || was_added || (node.outputs.iter().any(names_of_norm) && is_initializer(&bias))
    };
    let folded: Vec<&str> =
        standard(graph, "Conv").filter(is_folded).map(|node| node.name.as_str()).collect();
    if folded.is_empty() {
        return None;
    }
    Some(format!(
        "BatchNorm was folded into {} Conv nodes ({}): it is gone and would not be trained; export the model in training mode, with \
         `optimize=False`, or `training=TrainingMode.TRAINING` and `do_constant_folding=False` of the older exporter",
        folded.len(),
        listing(folded)
    ))
}

fn batch_norm_inference(graph: &Graph) -> Option<String> {
    let is_inference = |node: &&Node| node.int("training_mode").unwrap_or(0) == 0;
    let count = standard(graph, "BatchNormalization").filter(is_inference).count();
    (count > 0).then(|| {
        format!(
            "BatchNormalization is in its inference form, as exporters write it ({}): it is trained with the statistics of each \
             batch, as in PyTorch's training mode; freeze the running statistics (`model.freeze`) to keep them",
            if count == 1 { "1 node".to_owned() } else { format!("{count} nodes") }
        )
    })
}

/// The older exporter calls what it computes from weights `onnx::Operator_number`.
fn folded_weights(graph: &Graph) -> Option<String> {
    let is_folded = |name: &&str| {
        let rest = name.strip_prefix("onnx::").and_then(|rest| rest.rsplit_once('_'));
        rest.is_some_and(|(op, number)| op != "Conv" && number.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let floats = graph.initializers.iter().filter(|(_, tensor)| is_large_float(tensor));
    let folded: Vec<&str> = floats.map(|(name, _)| name.as_str()).filter(is_folded).collect();
    if folded.is_empty() {
        return None;
    }
    Some(format!(
        "{} weights were computed with by the exporter and lost their names ({}): they are trained under these, transposed or \
         joined; `do_constant_folding=False`, or the newer exporter, keeps PyTorch's",
        folded.len(),
        listing(folded)
    ))
}

fn is_large_float(tensor: &Tensor) -> bool {
    tensor.dtype().is_float() && elements(tensor.dims()) >= FEW_ELEMENTS
}

/// Inputs, by operator, that are parameters of one layer alone: those of normalisations, and biases.
const OF_ONE_LAYER: &[(&str, &[usize])] = &[
    ("BatchNormalization", &[1, 2, 3, 4]),
    ("Conv", &[2]),
    ("ConvTranspose", &[2]),
    ("Gemm", &[2]),
    ("GroupNormalization", &[1, 2]),
    ("InstanceNormalization", &[1, 2]),
    ("LayerNormalization", &[1, 2]),
    ("RMSNormalization", &[1]),
];

fn merged_parameters(graph: &Graph) -> Option<String> {
    let floats = graph.initializers.iter().filter(|(_, tensor)| tensor.dtype().is_float());
    let mut readers: HashMap<&str, usize> = floats.map(|(name, _)| (name.as_str(), 0)).collect();
    for node in graph.nodes.iter().filter(|node| node.domain.is_empty()) {
        let Some((_, positions)) = OF_ONE_LAYER.iter().find(|(op, _)| *op == node.op) else { continue };
        for name in positions.iter().filter_map(|at| node.inputs.get(*at)) {
            if let Some(count) = readers.get_mut(name.as_str()) {
                *count += 1;
            }
        }
    }
    let named = graph.initializers.iter().map(|(name, _)| name.as_str());
    let merged: Vec<&str> = named.filter(|name| readers.get(name).is_some_and(|count| *count > 1)).collect();
    if merged.is_empty() {
        return None;
    }
    Some(format!(
        "a bias or normalisation weight belongs to several layers at once ({}): exporters merge parameters of equal value, \
         and merged ones are trained as one; export with `optimize=False` unless the layers share them in PyTorch, too",
        listing(merged)
    ))
}

fn split_weights(graph: &Graph) -> Option<String> {
    let read: HashSet<&str> = graph.nodes.iter().flat_map(Node::reads).collect();
    // A sum over the elements does not see in which order they are.
    let mut first_of: HashMap<(Vec<usize>, u64), (&str, &Tensor)> = HashMap::new();
    let mut pairs = Vec::new();
    for (name, tensor) in &graph.initializers {
        if tensor.dtype() != Dtype::F32
            || tensor.dims().len() < 2
            || !is_large_float(tensor)
            || !read.contains(name.as_str())
        {
            continue;
        }
        let Some(sum) = sum_of_different(tensor) else { continue };
        let mut dims = tensor.dims().to_vec();
        dims.sort_unstable();
        match first_of.get(&(dims.clone(), sum)) {
            None => _ = first_of.insert((dims, sum), (name, tensor)),
            Some((other, first)) if first.kind() == tensor.kind() && first.bytes() == tensor.bytes() => {
                pairs.push(format!("`{name}` equals `{other}`"));
            }
            Some((other, first)) if is_transpose(first, tensor) => {
                pairs.push(format!("`{name}` is `{other}` transposed"));
            }
            Some(_) => {}
        }
    }
    if pairs.is_empty() {
        return None;
    }
    let more = pairs.len().saturating_sub(LISTED);
    pairs.truncate(LISTED);
    if more > 0 {
        pairs.push(format!("and {more} more"));
    }
    Some(format!(
        "weights are there twice ({}): if they are tied in PyTorch, the exporter has split them, and they would be trained apart; \
         export with `optimize=False`, or `do_constant_folding=False` of the older exporter",
        pairs.join(", ")
    ))
}

/// A sum of hashes of the elements of a tensor of float32; `None` if all of them are equal, as they are in many tensors.
fn sum_of_different(tensor: &Tensor) -> Option<u64> {
    let words = || {
        tensor.bytes().chunks_exact(4).filter_map(|chunk| Some(u32::from_le_bytes(chunk.try_into().ok()?)))
    };
    let first = words().next()?;
    let hash = |word: u32| {
        let mixed = (u64::from(word) ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ mixed >> 31).wrapping_mul(0x94d0_49bb_1331_11eb)
    };
    words().any(|word| word != first).then(|| words().fold(0, |sum: u64, word| sum.wrapping_add(hash(word))))
}

fn is_transpose(first: &Tensor, second: &Tensor) -> bool {
    let ([rows, columns], [other_rows, other_columns]) = (first.dims(), second.dims()) else { return false };
    let is_equal = |row: usize, column: usize| {
        let (here, there) = ((row * columns + column) * 4, (column * rows + row) * 4);
        first.bytes().get(here..here + 4) == second.bytes().get(there..there + 4)
    };
    rows == other_columns
        && columns == other_rows
        && (0..*rows).all(|row| (0..*columns).all(|column| is_equal(row, column)))
}

fn constant_weights(graph: &Graph) -> Option<String> {
    let is_float = |tensor: &TensorProto| Dtype::from_code(tensor.data_type).is_some_and(Dtype::is_float);
    let size = |tensor: &TensorProto| {
        tensor.dims.iter().fold(1_i64, |product, dim| product.saturating_mul((*dim).max(0)))
    };
    let is_large = |tensor: &TensorProto| is_float(tensor) && size(tensor) >= FEW_ELEMENTS as i64;
    let constants = standard(graph, "Constant");
    let large = constants.filter(|node| node.attributes.iter().filter_map(|a| a.t.as_ref()).any(is_large));
    let large: HashSet<&str> = large.filter_map(|node| node.outputs.first()).map(String::as_str).collect();
    let layers = ["Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU", "RNN"];
    let readers = graph.nodes.iter().filter(|node| layers.contains(&node.op.as_str()));
    let read = readers.flat_map(|node| node.inputs.iter().skip(1)).map(String::as_str);
    let mut weights: Vec<&str> = read.filter(|name| large.contains(name)).collect();
    weights.sort_unstable();
    weights.dedup();
    if weights.is_empty() {
        return None;
    }
    Some(format!(
        "{} weights are constants inside nodes ({}) and are not trained: export the model with its weights as initializers \
         (`export_params=True`, `keep_initializers_as_inputs=False`)",
        weights.len(),
        listing(weights)
    ))
}

fn no_dropout(graph: &Graph, header: &Header) -> Option<String> {
    let is_pytorch = header.producer_name.eq_ignore_ascii_case("pytorch");
    (is_pytorch && standard(graph, "Dropout").next().is_none()).then(|| {
        "there is no Dropout: if the PyTorch model has any, it was exported in evaluation mode; export it in training mode"
            .to_owned()
    })
}
