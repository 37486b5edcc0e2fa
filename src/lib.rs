//! Training of neural networks on stock ONNX Runtime.
//!
//! Data flows one way: [`config`] -> [`data`] -> [`graph`] -> [`engine`] -> [`train`] -> `trainer_runtime`.
//! [`report`] shows what a run does; [`cli`] wires the parts into the command `trainer`.

pub mod cli;
pub mod config;
pub mod data;
pub mod engine;
pub mod graph;
pub mod random;
pub mod report;
pub mod system;
pub mod train;
