//! Where the values begin that training changes: the model's own, those of a safetensors file, drawn ones; and a last
//! layer for another number of classes.
//!
//! Belongs here: edits of a model's initializers before anything is computed. Does not belong here: the ONNX file itself
//! (`read`), and what of it is trained (`step::trainable`).

mod head;
mod parts;
mod seed;
mod weights;

#[cfg(test)]
mod tests;

pub use head::{HeadError, Resized, resize_head};
pub(super) use parts::layer_initializers;
pub use seed::{Drawn, draw};
pub use weights::{Loaded, WeightsError, load_weights};
