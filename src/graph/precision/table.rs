//! Which operators compute in which precision: the one table, from which docs/precision.md is made.

/// In which precision an operator computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Treatment {
    /// With 16-bit floats, whatever comes in: sums of products, in which most of the time goes. Kernels multiply 16-bit
    /// numbers exactly and add up in 32 bits.
    Low,
    /// As what it reads: with 16-bit floats if all floats that come in are, except for scalar constants that 16 bits
    /// represent exactly. It moves elements, or rounds each result once.
    Follow,
    /// With 32-bit floats: it sums many numbers, leaves the range of 16 bits, or its gradient is a formula of several
    /// operators, each of which would round.
    Single,
}

const LOW: &[&str] = &["Conv", "ConvTranspose", "Einsum", "Gemm", "MatMul"];

const FOLLOW: &[&str] = &[
    "Abs",
    "Add",
    "Clip",
    "Concat",
    "DepthToSpace",
    "Expand",
    "Flatten",
    "Gather",
    "GatherElements",
    "GatherND",
    "Identity",
    "Max",
    "MaxPool",
    "Min",
    "Mul",
    "Neg",
    "Pad",
    "Relu",
    "Reshape",
    "Slice",
    "SpaceToDepth",
    "Split",
    "Squeeze",
    "Sub",
    "Sum",
    "Tile",
    "Transpose",
    "Trilu",
    "Unsqueeze",
    "Where",
];

/// How an operator of the standard domain is treated. What is in no list, as operators of other domains, computes with
/// 32-bit floats.
#[must_use]
pub fn treatment(op: &str) -> Treatment {
    if LOW.contains(&op) {
        Treatment::Low
    } else if FOLLOW.contains(&op) {
        Treatment::Follow
    } else {
        Treatment::Single
    }
}

/// The operators of a list by name; none for [`Treatment::Single`], which has all others.
#[must_use]
pub fn listed(treatment: Treatment) -> &'static [&'static str] {
    match treatment {
        Treatment::Low => LOW,
        Treatment::Follow => FOLLOW,
        Treatment::Single => &[],
    }
}
