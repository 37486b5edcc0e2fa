//! What an array of a split is read from: a stored array, or a folder of images.

use std::sync::Arc;

use super::array::{Array, Dtype, Place};
use super::images::ImageFolder;

/// The examples of one array of a split.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    /// As they are stored.
    Stored(Array),
    /// Decoded when they are asked for.
    Images(Arc<ImageFolder>),
}

impl Content {
    pub(crate) fn place(&self) -> Place {
        match self {
            Self::Stored(array) => array.place.clone(),
            Self::Images(folder) => folder.place(),
        }
    }

    pub(crate) fn dtype(&self) -> Dtype {
        match self {
            Self::Stored(array) => array.dtype,
            Self::Images(_) => Dtype::U8,
        }
    }

    pub(crate) fn rows(&self) -> usize {
        match self {
            Self::Stored(array) => array.rows,
            Self::Images(folder) => folder.len(),
        }
    }

    pub(crate) fn example_shape(&self) -> &[usize] {
        match self {
            Self::Stored(array) => &array.example_shape,
            Self::Images(folder) => folder.example_shape(),
        }
    }

    /// Elements of one example, at least 1.
    pub(crate) fn example_len(&self) -> usize {
        self.example_shape().iter().product()
    }

    /// The array, if it is stored.
    pub(crate) fn stored(&self) -> Option<&Array> {
        match self {
            Self::Stored(array) => Some(array),
            Self::Images(_) => None,
        }
    }
}
