//! Any bytes as an ONNX file. The source is that of `trainer`, without the parts of it that need ONNX Runtime: so the fuzz
//! build needs neither that nor most of what `trainer` depends on.
#![no_main]
#![allow(dead_code, unused_imports, missing_docs)]

#[path = "../../src/config/mod.rs"]
mod config;
#[path = "../../src/graph/mod.rs"]
mod graph;
#[path = "../../src/random.rs"]
mod random;

trainer_fuzz::target!(graph::fuzzing::onnx_model);
trainer_fuzz::structured!(graph::fuzzing::mutate_model);
