//! Mixed precision: which operators compute with 16-bit floats, and how a processor without kernels for them does.
//!
//! The parameters stay 32-bit floats, and so do the optimizer, the running statistics and the loss. `autocast` casts
//! what the operators of the first list read, before gradients are taken: the gradient of an operator is computed in
//! the type of the operator, and the gradient of the cast brings it back to 32 bits. `settle` then writes the graph for
//! the kernels there are. `half` gives a trained model 16-bit weights by the same table.
//!
//! Belongs here: the table of operators, and these passes. Does not belong here: the loss scale, which is a state of
//! the training (`train::loss_scale`).

mod autocast;
mod half;
mod settle;
mod table;

pub use autocast::Assignment;
pub(super) use autocast::autocast;
pub use half::{HalveError, Halved, halve, halved};
pub(super) use settle::settle;
pub use table::{Treatment, listed, treatment};

use super::tensor::Dtype;
use crate::config::Precision;

/// The 16-bit type of a precision; `None` for 32 bits.
#[must_use]
pub fn low_dtype(precision: Precision) -> Option<Dtype> {
    match precision {
        Precision::F32 => None,
        Precision::Bf16 => Some(Dtype::Bf16),
        Precision::F16(_) => Some(Dtype::F16),
    }
}

#[cfg(test)]
mod tests;
