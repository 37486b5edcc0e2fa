//! What can be wrong with a data set as a whole.

use super::Role;
use crate::data::array::Place;
use crate::data::images::FolderError;
use crate::data::read::ReadError;

/// Why a data set can not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A file can not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A folder of images can not be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// Not a list of tokens.
    #[error("{place} holds {found}, expected one axis of whole numbers: the tokens of a text")]
    NotTokens {
        /// The file.
        place: Place,
        /// What it holds.
        found: String,
    },
    /// A text shorter than a window.
    #[error(
        "{place} has {found} tokens for this split, expected more than the {window} of a window; lower `data.tokens.window`"
    )]
    TooFewTokens {
        /// The file.
        place: Place,
        /// Tokens of the split.
        found: usize,
        /// Tokens of a window.
        window: usize,
    },
    /// Tokens and images have two arrays each.
    #[error(
        "{role} `{name}` asks for array `{found}`, expected `{first}` or `{second}`; correct `data.{role}s.{name}.array`"
    )]
    NoSuchArray {
        /// What the array is for.
        role: Role,
        /// Its name.
        name: String,
        /// What was asked for.
        found: String,
        /// One of the arrays.
        first: String,
        /// The other.
        second: String,
    },
    /// Nothing feeds the model.
    #[error(
        "no array is mapped to an input of the model; add one as `inputs.NAME = {{ array = \"...\" }}` to `[data]`"
    )]
    NoInputs,
    /// An array without a file.
    #[error("found no file for {role} `{name}`; set `data.train`, or `file` in `data.{role}s.{name}`")]
    NoFile {
        /// What the array is for.
        role: Role,
        /// Its name.
        name: String,
    },
    /// An array without validation examples where others have some.
    #[error(
        "found no validation file for {role} `{name}`, but other arrays have one; set `data.validation`, or \
         `validation_file` in `data.{role}s.{name}`"
    )]
    NoValidationFile {
        /// What the array is for.
        role: Role,
        /// Its name.
        name: String,
    },
    /// The digits have two arrays and no files.
    #[error(
        "the embedded digits have no {found} (asked for by {role} `{name}`); expected array `images` or `labels`, and \
         neither `columns` nor `file`"
    )]
    NotInDigits {
        /// What the array is for.
        role: Role,
        /// Its name.
        name: String,
        /// What was asked for.
        found: String,
    },
    /// Arrays of one split with different numbers of examples.
    #[error("{second} has {second_rows} examples, but {first} has {first_rows}; expected equal numbers")]
    Rows {
        /// The first array.
        first: Place,
        /// Its examples.
        first_rows: usize,
        /// The array that differs.
        second: Place,
        /// Its examples.
        second_rows: usize,
    },
    /// Training and validation examples of different shapes.
    #[error("the examples of {validation} have shape {found}, expected {expected} as in {train}")]
    ValidationShape {
        /// The training array.
        train: Place,
        /// The validation array.
        validation: Place,
        /// Shape of its examples.
        found: String,
        /// Shape of the training examples.
        expected: String,
    },
    /// Two sources of validation data.
    #[error("found both a validation file and `data.validation_fraction`; remove one of them")]
    TwoValidations,
    /// The fraction leaves one side empty.
    #[error(
        "`data.validation_fraction` = {fraction} can not split {examples} examples; expected a fraction between 0 and \
         1, and at least 2 examples"
    )]
    Fraction {
        /// The setting.
        fraction: f64,
        /// Examples to split.
        examples: usize,
    },
}
