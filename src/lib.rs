//! Training of neural networks on stock ONNX Runtime.
//!
//! Data flows one way: [`config`] -> [`data`] -> [`graph`] -> [`engine`] -> [`train`] -> `trainer_runtime`.
//! [`report`] shows what a run does; [`cli`] wires the parts into the command `trainer`.

pub mod config;
pub mod random;
pub mod data;
pub mod graph;
pub mod engine;
pub mod train;
pub mod report;
pub mod sweep;
pub mod system;
pub mod cli;

/// This build: the version, and the commit where that is known. Equal bits are promised for one build.
pub const BUILD: &str = env!("TRAINER_BUILD");
