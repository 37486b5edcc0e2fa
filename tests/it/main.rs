//! The integration tests: real processes, real files, real ONNX Runtime. One file per part of the product.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs, unreachable_pub)]

mod control_group;
mod data_files;
mod networks;
mod reference_models;
mod runtime_library;
mod work_dir;

mod broken_models;
mod check;
mod data_formats;
mod evaluating;
mod exit_codes;
mod families;
mod gradients;
mod graph;
mod kills;
mod learning;
mod loss_reference;
mod looking;
mod losses;
mod main_job;
mod memory;
mod mlflow;
mod misuse;
mod models;
mod objectives;
mod panics;
mod plots;
mod precision;
mod predicting;
mod pytorch;
mod recompute;
mod records;
mod repair;
mod resume;
mod resume_modes;
mod signals;
mod tensorboard;
mod sweeps;
mod tidy;
mod tokens_and_images;
mod updates;
