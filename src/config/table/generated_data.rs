//! Settings of `[data.tokens]` and `[data.images]`.

use crate::config::differences::Class;
use crate::config::key::DefaultValue::{Always, Derived, Required, Unset};
use crate::config::key::{Key, Takes};

const TOKENS: &str = "data.tokens.train";
const IMAGES: &str = "data.images.train";

pub(super) const TOKENS_AND_IMAGES: &[Key] = &[
    Key::new(
        TOKENS,
        "The file with the tokens of a text as whole numbers, one behind the other: .npy, or any other file without a \
         header. Inputs take the array \"tokens\" (windows of it), targets \"next\" (the token behind each). Each epoch has \
         windows at places drawn by the seed, or one behind the other with data.shuffle = false.",
        Takes::Path,
        Unset { words: "the data are no tokens", example: "\"train.bin\"" },
    )
    .class(Class::Free),
    Key::new(
        "data.tokens.validation",
        "The file with the tokens to validate on, in windows one behind the other. Without it data.validation_fraction sets \
         the end of the training tokens aside.",
        Takes::Path,
        Unset { words: "no validation tokens", example: "\"val.bin\"" },
    )
    .only_with(TOKENS, &[])
    .class(Class::Free),
    Key::new(
        "data.tokens.dtype",
        "Type of the numbers in a file without a header, little-endian.",
        Takes::Choice(&["u16", "u32"]),
        Always("\"u16\""),
    )
    .only_with(TOKENS, &[]),
    Key::new("data.tokens.window", "Tokens of an example.", Takes::from(1), Required { example: "256" })
        .unit("tokens")
        .only_with(TOKENS, &[])
        .also_known_as(&["block_size", "seq_len", "context_length"]),
    Key::new(
        "data.tokens.windows_per_epoch",
        "Examples of an epoch.",
        Takes::from(1),
        Unset { words: "as many as cover the training tokens once", example: "1000" },
    )
    .unit("examples")
    .only_with(TOKENS, &[]),
    Key::new(
        IMAGES,
        "The folder with the training images: a folder for each class, with .png, .jpg and .jpeg files in it. Inputs take the \
         array \"images\" (channels x height x width, 0 to 255), targets \"labels\" (classes by the order of the folders).",
        Takes::Path,
        Unset { words: "the data are no folder of images", example: "\"images/train\"" },
    )
    .class(Class::Free),
    Key::new(
        "data.images.validation",
        "The folder with the validation images, with the same classes.",
        Takes::Path,
        Unset { words: "no validation folder", example: "\"images/val\"" },
    )
    .only_with(IMAGES, &[])
    .class(Class::Free),
    Key::new("data.images.height", "Height of an example.", Takes::Integer { min: 1, max: 8192 }, Required { example: "224" })
        .unit("pixels")
        .only_with(IMAGES, &[]),
    Key::new("data.images.width", "Width of an example.", Takes::Integer { min: 1, max: 8192 }, Required { example: "224" })
        .unit("pixels")
        .only_with(IMAGES, &[]),
    Key::new(
        "data.images.channels",
        "3 for red, green and blue, 1 for grey.",
        Takes::Integer { min: 1, max: 3 },
        Always("3"),
    )
    .unit("channels")
    .only_with(IMAGES, &[]),
    Key::new(
        "data.images.resize",
        "Length that the shorter side of an image gets before an example is cut out of it.",
        Takes::Integer { min: 1, max: 16384 },
        Derived { words: "8/7 of the longer of height and width, 256 for 224", example: "256" },
    )
    .unit("pixels")
    .only_with(IMAGES, &[]),
    Key::new(
        "data.images.crop",
        "Which part of a training image is taken: the middle, one at a random place, one of random size and shape (as \
         torchvision's RandomResizedCrop), or all of it, stretched. Of validation images the middle, or all of it.",
        Takes::Choice(&["center", "random", "random_resized", "stretch"]),
        Always("\"center\""),
    )
    .only_with(IMAGES, &[]),
    Key::new(
        "data.images.flip",
        "Whether half of the training images are mirrored, drawn by the seed.",
        Takes::Bool,
        Always("false"),
    )
    .only_with(IMAGES, &[]),
];
