//! Running graphs on ONNX Runtime: the library, sessions, bindings, devices, and the step as a transaction.
//!
//! Belongs here: everything that touches `ort`, and the optimizer's loops over the tensors it holds.
//! Does not belong here: what a graph means, when to take a step, what is recorded of it.

mod compiled;
pub mod device;
pub mod error;
mod host_update;
pub mod library;
pub mod optimizer;
pub mod oracle;
mod outcome;
pub mod probe;
pub mod session;
pub mod state;
pub mod step;
mod transfer;
mod update_session;
