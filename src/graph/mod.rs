//! An ONNX model in memory: reading, editing, shapes, gradients, losses, writing.
//!
//! Belongs here: everything that turns the user's model into the graphs that a run executes, without executing any.
//! Does not belong here: ONNX Runtime (what must be evaluated or inferred is asked of an [`fold::Oracle`]), training
//! state, data files.

pub mod proto;
pub mod tensor;
pub mod model;
mod rename;
mod vector_products;
pub mod read;
pub mod write;
pub mod fold;
pub mod emit;
pub mod autodiff;
pub mod precision;
pub mod recompute;
pub mod draws;
pub mod train_form;
pub mod loss;
pub mod step;
pub mod update;
pub mod inference_form;
pub mod opset;
pub mod builtin;
pub mod start;
pub mod memory;
pub mod inspect;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
