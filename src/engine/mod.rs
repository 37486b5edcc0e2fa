//! Running graphs on ONNX Runtime: the library, sessions, bindings, devices, and the step as a transaction.
//!
//! Belongs here: everything that touches `ort`, and the optimizer's loops over the tensors it holds.
//! Does not belong here: what a graph means, when to take a step, what is recorded of it.

pub mod library;
pub mod probe;
pub mod device;
pub mod error;
pub mod rounding;
pub mod session;
pub mod oracle;
pub mod state;
pub mod optimizer;
pub mod step;
pub mod inference;
mod outcome;
mod compiled;
mod host_update;
mod update_session;
mod transfer;
mod digest;
