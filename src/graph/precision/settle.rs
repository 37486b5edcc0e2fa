//! A graph with 16-bit floats, written for the kernels there are.
//!
//! The CPU execution provider of ONNX Runtime 1.31 has no kernel that computes with bfloat16, and none with float16 on
//! most processors: it computes nodes of float16 in 32 bits without rounding anything between them. So on the CPU all
//! 16-bit values are carried as 32-bit ones, and what an operator computes is cast to the 16-bit type and back. The
//! numbers are those of 16-bit storage with sums in 32 bits: an operator with kernels of its own on another processor
//! differs from it in the order of its sums alone. For elementwise operators the result is the correctly rounded one,
//! since 24 bits are enough to round a sum, product or quotient of two 11-bit numbers a second time.
//!
//! On a graphics processor 16-bit values stay what they are; a node for which the CUDA execution provider has no kernel
//! in this type computes in 32 bits between casts.

use super::autocast::cast;
use crate::graph::emit::{Emit, Processor, Value};
use crate::graph::model::Node;
use crate::graph::tensor::{Dtype, ValueType};
use std::collections::{HashMap, HashSet};

/// Operators that give numbers of their operands and constants back, so that nothing is to be rounded. With 16-bit
/// floats, HardSigmoid is the steep one of [`Emit::unit_step`], which gives 0 and 1.
const EXACT: &[&str] = &[
    "Abs",
    "Clip",
    "Concat",
    "DepthToSpace",
    "Expand",
    "Flatten",
    "Gather",
    "GatherElements",
    "GatherND",
    "HardSigmoid",
    "Identity",
    "Max",
    "MaxPool",
    "MaxUnpool",
    "Min",
    "Neg",
    "OneHot",
    "Pad",
    "Relu",
    "Reshape",
    "Sign",
    "Slice",
    "SpaceToDepth",
    "Split",
    "Squeeze",
    "Tile",
    "Transpose",
    "Trilu",
    "Unsqueeze",
    "Where",
];

/// Operators with kernels for float16 and for bfloat16 in the CUDA execution provider, with the first opset that has
/// each (0: none), after ONNX Runtime's table docs/OperatorKernels.md. An opset older than the first one of the project
/// counts as 13.
const CUDA: &[(&str, i64, i64)] = &[
    ("Abs", 13, 13),
    ("Add", 13, 13),
    ("Cast", 13, 13),
    ("Clip", 13, 0),
    ("Concat", 13, 13),
    ("Conv", 13, 22),
    ("ConvTranspose", 13, 0),
    ("DepthToSpace", 13, 0),
    ("Div", 13, 13),
    ("Einsum", 13, 0),
    ("Equal", 13, 0),
    ("Expand", 13, 13),
    ("Flatten", 13, 13),
    ("Gather", 13, 13),
    ("GatherElements", 13, 13),
    ("GatherND", 13, 13),
    ("Gemm", 13, 13),
    ("Greater", 13, 0),
    ("GreaterOrEqual", 13, 0),
    ("Identity", 13, 13),
    ("Less", 13, 0),
    ("LessOrEqual", 13, 0),
    ("MatMul", 13, 13),
    ("Max", 13, 13),
    ("MaxPool", 13, 0),
    ("Min", 13, 13),
    ("Mul", 13, 13),
    ("Neg", 13, 13),
    ("OneHot", 13, 0),
    ("Pad", 13, 0),
    ("ReduceSum", 13, 13),
    ("Relu", 13, 13),
    ("Reshape", 13, 13),
    ("Sign", 13, 13),
    ("Slice", 13, 13),
    ("SpaceToDepth", 13, 0),
    ("Split", 13, 13),
    ("Squeeze", 13, 13),
    ("Sub", 13, 13),
    ("Sum", 13, 13),
    ("Tile", 13, 13),
    ("Transpose", 13, 13),
    ("Trilu", 14, 14),
    ("Unsqueeze", 13, 13),
    ("Where", 13, 16),
];

/// Rewrites the nodes of `low` that have no kernel on the graph's processor, and gives how many nodes the first `count`
/// have become.
pub(in crate::graph) fn settle(emit: &mut Emit, low: Dtype, count: usize) -> usize {
    let mut settled =
        Settled { processor: emit.processor(), low, carried: HashSet::new(), widened: HashMap::new() };
    if settled.processor == Processor::Cpu {
        settled.carried.extend(emit.widen(low));
    }
    let mut first = std::mem::take(emit.nodes_mut());
    let rest = first.split_off(count.min(first.len()));
    first.into_iter().for_each(|node| settled.push(emit, node));
    let count = emit.nodes().len();
    rest.into_iter().for_each(|node| settled.push(emit, node));
    count
}

struct Settled {
    processor: Processor,
    low: Dtype,
    /// On the CPU, the 32-bit values that are 16-bit ones in truth.
    carried: HashSet<Value>,
    /// On a graphics processor, the 32-bit form of a 16-bit value, by name.
    widened: HashMap<String, String>,
}

impl Settled {
    fn push(&mut self, emit: &mut Emit, node: Node) {
        let has_kernel = || node.domain.is_empty() && has_cuda_kernel(&node.op, emit.opset(), self.low);
        match self.processor {
            Processor::Cpu => self.carry_in_single(emit, node),
            Processor::Gpu if has_kernel() => emit.push(node),
            Processor::Gpu => self.compute_in_single(emit, node),
        }
    }

    fn carry_in_single(&self, emit: &mut Emit, mut node: Node) {
        let low = self.low;
        let is_carried =
            |emit: &Emit, name: &String| emit.find(name).is_some_and(|x| self.carried.contains(&x));
        let cast_to = (node.op == "Cast").then(|| node.int("to")).flatten();
        let is_widening = cast_to == Some(i64::from(Dtype::F32.code()));
        if is_widening && node.inputs.first().is_some_and(|name| is_carried(emit, name)) {
            // It is one already.
            node.op = "Identity".to_owned();
            node.attributes.clear();
        }
        let is_narrowing = cast_to == Some(i64::from(low.code()));
        let is_exact = node.domain.is_empty() && EXACT.contains(&node.op.as_str());
        let mut casts = Vec::new();
        for name in node.outputs.iter_mut().filter(|_| !is_exact) {
            let Some(value) = emit.find(name).filter(|value| self.carried.contains(value)) else { continue };
            let dims = emit.dims(value).to_vec();
            let computed = format!("trainer/unrounded/{name}");
            let rounded = format!("trainer/{low}/rounded/{name}");
            if !is_narrowing {
                emit.declare(&computed, ValueType::new(Dtype::F32, dims.clone()));
                casts.push(cast(&node.name, computed.clone(), rounded.clone(), low));
            }
            emit.declare(&rounded, ValueType::new(low, dims));
            casts.push(cast(&node.name, rounded.clone(), name.clone(), Dtype::F32));
            *name = if is_narrowing { rounded } else { computed };
        }
        emit.push(node);
        casts.into_iter().for_each(|cast| emit.push(cast));
    }

    fn compute_in_single(&mut self, emit: &mut Emit, mut node: Node) {
        let mut casts = Vec::new();
        for name in &mut node.inputs {
            let Some(dims) = dims_of_low(emit, name, self.low) else { continue };
            let wide = self.widened.entry(name.clone()).or_insert_with(|| {
                let wide = format!("trainer/float32/widened/{name}");
                emit.declare(&wide, ValueType::new(Dtype::F32, dims));
                emit.push(cast(&node.name, name.clone(), wide.clone(), Dtype::F32));
                wide
            });
            wide.clone_into(name);
        }
        for name in &mut node.outputs {
            let Some(dims) = dims_of_low(emit, name, self.low) else { continue };
            let computed = format!("trainer/unrounded/{name}");
            emit.declare(&computed, ValueType::new(Dtype::F32, dims));
            casts.push(cast(&node.name, computed.clone(), name.clone(), self.low));
            *name = computed;
        }
        emit.push(node);
        casts.into_iter().for_each(|cast| emit.push(cast));
    }
}

fn dims_of_low(emit: &Emit, name: &str, low: Dtype) -> Option<Vec<usize>> {
    let value = emit.find(name).filter(|value| emit.dtype(*value) == low)?;
    Some(emit.dims(value).to_vec())
}

fn has_cuda_kernel(op: &str, opset: i64, low: Dtype) -> bool {
    CUDA.iter().any(|(known, float16, bfloat16)| {
        let since = if low == Dtype::Bf16 { *bfloat16 } else { *float16 };
        *known == op && since > 0 && opset >= since
    })
}
