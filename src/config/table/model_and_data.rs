//! Settings of `[model]` and `[data]`.

use super::super::differences::Class;
use crate::config::key::DefaultValue::{Always, Derived, Unset};
use crate::config::key::{FloatRange, Key, Takes};

pub(super) const MODEL: &[Key] = &[
    Key::new(
        "model.onnx",
        "The ONNX file with the network to train; its initializers are the parameters.",
        Takes::Path,
        Unset { words: "a builtin network is trained", example: "\"model.onnx\"" },
    )
    .class(Class::Free)
    .also_known_as(&["path", "file"]),
    Key::new(
        "model.builtin",
        "A network that is built here and initialised from the seed, instead of model.onnx: a multi-layer \
         perceptron or a small convolutional network.",
        Takes::Choice(&["mlp", "cnn"]),
        Derived { words: "\"cnn\" if neither model.onnx nor files of data are named", example: "\"cnn\"" },
    ),
    Key::new(
        "model.freeze",
        "Patterns of names of initializers that are not trained; * stands for any characters.",
        Takes::Texts,
        Always("[]"),
    ),
    Key::new(
        "model.train",
        "Patterns of names of initializers that are trained all the same; without model.freeze nothing else is.",
        Takes::Texts,
        Always("[]"),
    ),
    Key::new(
        "model.init",
        "Which values the parameters begin with: those in the ONNX file, or drawn from the seed as PyTorch's layers \
         draw theirs by default.",
        Takes::Choice(&["file", "seed"]),
        Always("\"file\""),
    )
    .only_with("model.onnx", &[]),
    Key::new(
        "model.weights",
        "A safetensors file with values that take the place of those: a state_dict of PyTorch, or a checkpoint of this \
         program.",
        Takes::Path,
        Unset { words: "model.init decides", example: "\"weights.safetensors\"" },
    )
    .only_with("model.onnx", &[])
    .class(Class::Free)
    .also_known_as(&["pretrained", "checkpoint"]),
    Key::new(
        "model.weights_names",
        "Rules from names in the file to names in the model, such as \"module.* -> *\"; the first that matches decides.",
        Takes::Texts,
        Always("[]"),
    )
    .only_with("model.weights", &[]),
    Key::new(
        "model.weights_strict",
        "Whether missing and unexpected names are refused; otherwise they are listed.",
        Takes::Bool,
        Always("true"),
    )
    .only_with("model.weights", &[])
    .also_known_as(&["strict"]),
    Key::new(
        "model.classes",
        "Replaces the last layer by one with so many outputs, drawn from the seed.",
        Takes::from(1),
        Unset { words: "the last layer stays", example: "10" },
    )
    .unit("classes")
    .only_with("model.onnx", &[])
    .also_known_as(&["num_classes"]),
    Key::new(
        "model.dimensions.<name>",
        "Size of a free dimension other than the batch, by its symbolic name in the model.",
        Takes::Integer { min: 1, max: i64::MAX as i128 },
        Unset { words: "the model must then name no free dimension but the batch", example: "128" },
    )
    .only_with("model.onnx", &[]),
];

/// The rows that an input and a target have in common.
macro_rules! array_keys {
    ($table:literal, $meaning:literal) => {
        [
            Key::new(
                concat!($table, ".<name>.array"),
                concat!($meaning, ": name of an array in an .npz file or of a column in a .csv file."),
                Takes::Text,
                Unset { words: "the only array of its file", example: "\"images\"" },
            ),
            Key::new(
                concat!($table, ".<name>.columns"),
                "Columns of a .csv file that together form the array, in this order; instead of array.",
                Takes::Texts,
                Always("[]"),
            ),
            Key::new(
                concat!($table, ".<name>.file"),
                "A file of its own for this array (.npy, IDX, ...), instead of data.train.",
                Takes::Path,
                Unset { words: "data.train holds the array", example: "\"train.npy\"" },
            )
            .class(Class::Free),
            Key::new(
                concat!($table, ".<name>.validation_file"),
                "The same array for the validation examples; with file.",
                Takes::Path,
                Unset { words: "data.validation holds the array, if there is one", example: "\"val.npy\"" },
            )
            .class(Class::Free),
            Key::new(
                concat!($table, ".<name>.scale"),
                "Values become (value * scale - mean) / std.",
                Takes::Single(FloatRange::ANY),
                Always("1.0"),
            ),
            Key::new(
                concat!($table, ".<name>.mean"),
                "Subtracted after scaling: one number, or one per channel (axis 1 of the batch).",
                Takes::Singles(FloatRange::ANY),
                Always("[]"),
            ),
            Key::new(
                concat!($table, ".<name>.std"),
                "Divided by at last: one number, or one per channel (axis 1 of the batch).",
                Takes::Singles(FloatRange::POSITIVE),
                Always("[]"),
            ),
        ]
    };
}

const SOURCE: [Key; 6] = [
    Key::new(
        "data.builtin",
        "Embedded data instead of files: 1797 handwritten digits of 8x8 pixels, as the arrays \"images\" (f32, \
         1x8x8, 0 to 1) and \"labels\" (i64), with a fixed validation part.",
        Takes::Choice(&["digits"]),
        Derived { words: "\"digits\" if neither model.onnx nor files of data are named", example: "\"digits\"" },
    ),
    Key::new(
        "data.train",
        "The file with the training examples: .npz, .npy, .csv or IDX.",
        Takes::Path,
        Unset { words: "each array names its own file", example: "\"train.npz\"" },
    ).class(Class::Free)
    .also_known_as(&["path", "file", "dataset"]),
    Key::new(
        "data.validation",
        "The file with the validation examples; the same arrays as in data.train.",
        Takes::Path,
        Unset { words: "no validation file", example: "\"val.npz\"" },
    ).class(Class::Free)
    .also_known_as(&["val", "valid", "test", "eval"]),
    Key::new(
        "data.validation_fraction",
        "Part of the training examples set aside for validation, drawn by the seed; instead of data.validation.",
        Takes::Float(FloatRange::INSIDE_UNIT),
        Unset { words: "none is set aside", example: "0.1" },
    )
    .also_known_as(&["validation_split", "val_split", "test_size"]),
    Key::new(
        "data.shuffle",
        "Whether each epoch sees the examples in an order of its own, drawn by the seed.",
        Takes::Bool,
        Always("true"),
    ),
    Key::new(
        "data.drop_last",
        "Whether a last batch smaller than the batch size is left out.",
        Takes::Bool,
        Always("false"),
    ),
];

const INPUTS: [Key; 7] = array_keys!("data.inputs", "The array that feeds the model input <name>");
const TARGETS: [Key; 7] = array_keys!("data.targets", "The array that the loss knows as target <name>");

pub(super) const DATA: &[Key] = &{
    let [s0, s1, s2, s3, s4, s5] = SOURCE;
    let [i0, i1, i2, i3, i4, i5, i6] = INPUTS;
    let [t0, t1, t2, t3, t4, t5, t6] = TARGETS;
    [s0, s1, s2, s3, s4, s5, i0, i1, i2, i3, i4, i5, i6, t0, t1, t2, t3, t4, t5, t6]
};
