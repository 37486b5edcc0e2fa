//! `[data]` beyond files of arrays: tokens and images.

use std::path::PathBuf;

/// A text as the numbers of its tokens, cut into windows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokensPlan {
    /// The file with the tokens to train on.
    pub train: PathBuf,
    /// The file with those to validate on.
    pub validation: Option<PathBuf>,
    /// Element type of a file without a header.
    pub dtype: TokenType,
    /// Tokens of an example; at least 1.
    pub window: usize,
    /// Examples of an epoch; `None` means as many as cover the training tokens once.
    pub windows_per_epoch: Option<usize>,
}

/// Element types of files of tokens without a header, little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenType {
    /// Two bytes.
    U16,
    /// Four bytes.
    U32,
}

/// Images in folders, a folder per class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImagesPlan {
    /// The folder with the training images.
    pub train: PathBuf,
    /// The folder with the validation images.
    pub validation: Option<PathBuf>,
    /// Height of an example in pixels; at least 1.
    pub height: usize,
    /// Width of an example in pixels; at least 1.
    pub width: usize,
    /// 1 (grey) or 3 (red, green, blue).
    pub channels: usize,
    /// Length in pixels that the shorter side gets before the example is cut out; at least height and width.
    pub resize: usize,
    /// Which part of an image is taken.
    pub crop: Crop,
    /// Whether half of the training images are mirrored.
    pub flip: bool,
}

/// Which part of a training image is taken; of validation images always the middle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crop {
    /// The middle.
    Center,
    /// A part at a random place.
    Random,
    /// A part of random size and shape at a random place, scaled.
    RandomResized,
    /// All of it, scaled to the wanted size in both directions; of validation images, too.
    Stretch,
}
