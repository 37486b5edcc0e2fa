//! What can be said of a model before it is trained: its inputs, its operators, what its exporter did to it, and what its
//! outputs look like.
//!
//! Belongs here: questions that the file answers. Does not belong here: anything that is run, and what a run refuses
//! ([`super::step`] and [`super::autodiff`] say that).

mod exported;
mod inputs;
mod objective;
mod operators;

pub use exported::{Warning, WarningKind, silent_changes, warnings};
pub use inputs::{ASSUMED_SIZE, InputsError, Probe, probe};
pub use objective::{OutputShape, Suggestion, suggest};
pub use operators::{OperatorCount, doubtful, operators, without_rule};
