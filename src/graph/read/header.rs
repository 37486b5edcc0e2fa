//! What a model file says about itself.

use crate::graph::proto::ModelProto;

/// What a model file says about itself, beside its graph.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the file, without external data.
    pub file_bytes: usize,
    /// `ModelProto.ir_version`.
    pub ir_version: i64,
    /// The program that wrote it; empty if it does not say.
    pub producer_name: String,
    /// The version of that program.
    pub producer_version: String,
    /// Versions of the operator sets by domain; the default domain is empty.
    pub opsets: Vec<(String, i64)>,
    /// Functions local to the model, which the reader writes out.
    pub functions: Vec<String>,
}

impl Header {
    pub(super) fn of(model: &ModelProto, file_bytes: usize) -> Self {
        let opsets = model.opset_import.iter().map(|set| (set.domain.clone(), set.version));
        Self {
            file_bytes,
            ir_version: model.ir_version,
            producer_name: model.producer_name.clone(),
            producer_version: model.producer_version.clone(),
            opsets: opsets.collect(),
            functions: model.functions.iter().map(|function| function.name.clone()).collect(),
        }
    }
}
