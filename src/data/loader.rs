//! Filling batches from a split that is bound to what a model takes.

use super::array::{Dtype, Place};
use super::batch::{HostArray, Values};
use super::content::Content;
use super::convert::{Scaling, floats, integers};
use super::dataset::{Role, Rows};
use super::images::{Draw, ImageError};
use crate::random::{Purpose, below, stream};
use rayon::prelude::*;

/// Why a batch can not be filled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// An integer that the model's type can not hold.
    #[error(
        "{place}, row {row} (the first is 0): found {found}, which does not fit into {expected}; correct the value"
    )]
    DoesNotFit {
        /// File and array.
        place: Place,
        /// Row of the array.
        row: usize,
        /// The value.
        found: i64,
        /// Type that is wanted.
        expected: Dtype,
    },
    /// An image that can not be used.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The thread that prepares batches ended before its time.
    #[error(
        "the thread that prepares batches ended before epoch {epoch}, batch {batch}; this is a defect of trainer"
    )]
    WorkerLost {
        /// Epoch of the missing batch.
        epoch: u64,
        /// The missing batch.
        batch: u64,
    },
}

/// A split whose arrays are bound to feeds. Cloning it is cheap: the data are shared.
#[derive(Debug, Clone)]
pub struct Loader {
    pub(crate) rows: Rows,
    pub(crate) columns: Vec<Column>,
    /// The seed of what is drawn anew in each epoch.
    pub(crate) draws: Option<u64>,
}

/// One array of a split and what becomes of it.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    pub(crate) role: Role,
    pub(crate) name: String,
    pub(crate) content: Content,
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    pub(crate) scaling: Scaling,
}

impl Loader {
    /// Examples, at least 1.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "a split is never empty")]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Fills one array per feed with the given examples, each below [`Loader::len`], as an epoch sees them: training
    /// examples that are drawn, such as windows of tokens and parts of images, are others in each. Memory of `arrays` is
    /// used again.
    ///
    /// # Errors
    /// If a stored integer does not fit into the type that is wanted, or an image can not be decoded.
    pub fn load(&self, epoch: u64, examples: &[usize], arrays: &mut Vec<HostArray>) -> Result<(), LoadError> {
        arrays.resize_with(self.columns.len(), || HostArray::empty(Dtype::F32));
        let rows: Vec<usize> = examples.iter().map(|example| self.row(epoch, *example)).collect();
        let draw = self.draws.map(|seed| Draw { seed, epoch });
        for (column, array) in self.columns.iter().zip(arrays) {
            array.reset(column.dtype, examples.len(), &column.shape);
            column.fill(&rows, draw, &mut array.values)?;
        }
        Ok(())
    }

    /// The row of an example in an epoch.
    fn row(&self, epoch: u64, example: usize) -> usize {
        match (&self.rows, self.draws) {
            (Rows::Windows { starts, .. }, Some(seed)) => {
                let mut rng = stream(seed, Purpose::Window, epoch, example as u64);
                usize::try_from(below(&mut rng, *starts as u64)).unwrap_or(0)
            }
            (rows, _) => rows.at(example),
        }
    }
}

impl Column {
    /// Fills `values`, which has room for exactly these rows.
    pub(crate) fn fill(
        &self,
        rows: &[usize],
        draw: Option<Draw>,
        values: &mut Values,
    ) -> Result<(), LoadError> {
        match &self.content {
            Content::Stored(array) => {
                self.convert(array.dtype, rows.iter().map(|row| (*row, array.row(*row))), values)
            }
            Content::Images(folder) => {
                let len = self.content.example_len();
                let mut pixels = vec![0_u8; len * rows.len()];
                let decoded: Vec<Result<(), ImageError>> = pixels
                    .par_chunks_exact_mut(len)
                    .zip(rows)
                    .map(|(pixels, row)| folder.example(*row, draw, pixels))
                    .collect();
                decoded.into_iter().collect::<Result<(), _>>()?;
                let examples = rows.iter().copied().zip(pixels.chunks_exact(len));
                self.convert(Dtype::U8, examples, values)
            }
        }
    }

    /// Converts stored examples, each with its row, to the type that is wanted.
    fn convert<'a>(
        &self,
        dtype: Dtype,
        examples: impl Iterator<Item = (usize, &'a [u8])>,
        values: &mut Values,
    ) -> Result<(), LoadError> {
        let (scaling, len) = (&self.scaling, self.content.example_len());
        match values {
            Values::F32(out) => {
                for (slots, (_, bytes)) in out.chunks_exact_mut(len).zip(examples) {
                    floats(slots, dtype, bytes, scaling, |value| value as f32);
                }
            }
            Values::F64(out) => {
                for (slots, (_, bytes)) in out.chunks_exact_mut(len).zip(examples) {
                    floats(slots, dtype, bytes, scaling, |value| value);
                }
            }
            Values::I32(out) => {
                for (slots, (row, bytes)) in out.chunks_exact_mut(len).zip(examples) {
                    integers(slots, dtype, bytes).map_err(|found| self.does_not_fit(row, found))?;
                }
            }
            Values::I64(out) => {
                for (slots, (row, bytes)) in out.chunks_exact_mut(len).zip(examples) {
                    integers(slots, dtype, bytes).map_err(|found| self.does_not_fit(row, found))?;
                }
            }
            Values::U8(out) => {
                for (slots, (row, bytes)) in out.chunks_exact_mut(len).zip(examples) {
                    integers(slots, dtype, bytes).map_err(|found| self.does_not_fit(row, found))?;
                }
            }
            Values::Bool(out) => {
                for (slots, (_, bytes)) in out.chunks_exact_mut(len).zip(examples) {
                    slots.iter_mut().zip(bytes).for_each(|(slot, byte)| *slot = *byte != 0);
                }
            }
        }
        Ok(())
    }

    fn does_not_fit(&self, row: usize, found: i64) -> LoadError {
        LoadError::DoesNotFit { place: self.content.place(), row, found, expected: self.dtype }
    }
}

#[cfg(test)]
mod tests;
