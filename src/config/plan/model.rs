//! `[model]`: the network, what of it is trained, and with which values it begins.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// The model to train.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelPlan {
    /// Where the graph comes from.
    pub source: ModelSource,
    /// Name patterns (`*` matches any run of characters) of initializers that are not trained.
    pub freeze: Vec<String>,
    /// Name patterns of initializers that are trained: exceptions from `freeze`, and without that the only ones.
    pub train: Vec<String>,
    /// Sizes of free dimensions other than the batch, by their symbolic name in the model.
    pub dimensions: BTreeMap<String, u64>,
    /// Which values the initializers of an ONNX file begin with.
    pub init: Init,
    /// A file with values that come before those.
    pub weights: Option<WeightsPlan>,
    /// Classes of the last layer, if it is to be replaced; at least 1.
    pub classes: Option<usize>,
}

/// Where a model's graph comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelSource {
    /// An ONNX file.
    Onnx(PathBuf),
    /// A network that this program builds itself, initialised from the seed.
    Builtin(Builtin),
}

/// The networks this program builds itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Builtin {
    /// A multi-layer perceptron.
    Mlp,
    /// A small convolutional network.
    Cnn,
}

/// Which values the initializers of an ONNX file begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Init {
    /// Those in the file.
    File,
    /// Drawn from the seed by PyTorch's defaults for the operators.
    Seed,
}

/// Initial values from a safetensors file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightsPlan {
    /// The file.
    pub path: PathBuf,
    /// From names in the file to names in the model; the first that matches decides.
    pub names: Vec<Rename>,
    /// Whether file and model must have the same names.
    pub strict: bool,
}

/// A rule for names. `*` occurs at most once on each side and stands for the same on both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rename {
    /// Pattern of names in the file.
    pub from: String,
    /// Name in the model.
    pub to: String,
}

impl Rename {
    /// Reads `from -> to`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (from, to) = text.split_once("->")?;
        let (from, to) = (from.trim(), to.trim());
        let stars = |side: &str| side.matches('*').count();
        let fits = !from.is_empty() && !to.is_empty() && stars(from) <= 1 && stars(to) <= stars(from);
        fits.then(|| Self { from: from.to_owned(), to: to.to_owned() })
    }
}

impl std::fmt::Display for Rename {
    /// The form that [`Rename::parse`] reads.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} -> {}", self.from, self.to)
    }
}

#[cfg(test)]
mod tests {
    use super::Rename;

    #[test]
    fn a_rule_reads_back_from_its_text_and_what_is_ambiguous_is_refused() {
        for text in ["a -> b", "module.* -> *", "*.gamma -> *.weight", "old.* -> new"] {
            assert_eq!(Rename::parse(text).map(|rule| rule.to_string()).as_deref(), Some(text));
        }
        assert_eq!(Rename::parse("a->b"), Rename::parse(" a -> b "));
        for text in ["", "a", "-> b", "a ->", "a.*.* -> b", "a -> *", "a.* -> *.*"] {
            assert_eq!(Rename::parse(text), None, "{text}");
        }
    }
}
