//! What the initializers of a model were in the program that it was exported from.

use crate::graph::model::Role;
use crate::graph::proto::{GraphProto, ModelProto};
use std::collections::HashMap;

/// Key under which PyTorch's exporter notes, with each value, what `torch.export` took it for.
pub(in crate::graph) const KIND: &str = "pkg.torch.export.graph_signature.InputSpec.kind";

const PYTORCH: &str = "pytorch";

/// The roles of the initializers, as far as the file tells them.
///
/// The exporter based on `torch.export` notes them. The older one does not, but writes the constants of expressions as
/// nodes, so that a number among its initializers which is called like an attribute of a module is a parameter.
pub(super) fn roles(model: &ModelProto, graph: &GraphProto) -> HashMap<String, Role> {
    let noted = graph.value_info.iter().filter_map(|info| {
        let note = info.metadata_props.iter().find(|entry| entry.key == KIND)?;
        Some((info.name.as_str(), Role::named(&note.value)?))
    });
    let noted: HashMap<&str, Role> = noted.collect();
    let is_pytorch = model.producer_name.eq_ignore_ascii_case(PYTORCH);
    let initializers = graph.initializer.iter();
    initializers
        .filter_map(|tensor| {
            let role = noted.get(tensor.name.as_str()).copied();
            let is_unnoted_number = noted.is_empty() && is_pytorch && tensor.dims.is_empty();
            let is_parameter = is_unnoted_number && is_path(&tensor.name) && !is_constant(&tensor.name);
            Some((tensor.name.clone(), role.or_else(|| is_parameter.then_some(Role::Parameter))?))
        })
        .collect()
}

/// Whether a name is one of attributes of modules: words between dots.
pub(crate) fn is_path(name: &str) -> bool {
    let is_word =
        |word: &str| !word.is_empty() && word.chars().all(|letter| letter.is_alphanumeric() || letter == '_');
    name.split('.').all(is_word)
}

/// Whether it is one that exporters give to constants.
pub(crate) fn is_constant(name: &str) -> bool {
    let stem = name.trim_end_matches(|letter: char| letter.is_ascii_digit()).trim_end_matches('_');
    let is_known =
        ["val", "const", "scalar_tensor", "int64", "constant", "lifted_tensor", "_tensor_constant"]
            .iter()
            .any(|known| stem.eq_ignore_ascii_case(known));
    is_known || stem.is_empty()
}
