//! The integration tests: real processes, real files, real ONNX Runtime. One file per part of the product.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs, unreachable_pub)]

mod reference_models;
mod runtime_library;

mod gradients;
mod graph;
mod losses;
mod models;
mod updates;
mod data_files;
mod networks;
mod work_dir;

mod pytorch;
mod resume;
