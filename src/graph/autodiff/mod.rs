//! Reverse mode over ONNX: from a scalar loss to gradients, as nodes of the same graph.
//!
//! Belongs here: the driver, which walks the graph backwards, un-broadcasts, adds up the gradients of a value with
//! several consumers and reports operators without a rule; and the table of rules, one row per operator.
//! Does not belong here: anything about training (losses, optimizers, batches).
//!
//! To add an operator, write one function and one row in a file of [`rules`], and one case in `tests/it/gradients/`.

mod compose;
mod driver;
pub mod rules;
mod view;

pub(super) use compose::compose;
pub use driver::{Backward, Unsupported, UnsupportedNode, backward, differentiate};
pub use rules::{Composition, Gradient, InputGrads, Refusal, Rule, Ruled, find, table};
pub use view::NodeView;
