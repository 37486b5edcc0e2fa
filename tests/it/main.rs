//! The integration tests: real processes, real files, real ONNX Runtime. One file per part of the product.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs, unreachable_pub)]

mod reference_models;
mod runtime_library;

mod data_files;
mod gradients;
mod graph;
mod losses;
mod models;
mod networks;
mod updates;
mod work_dir;

mod pytorch;
mod resume;
