//! Filling batches from a split that is bound to what a model takes.

use super::array::{Array, Dtype, Place};
use super::batch::{HostArray, Values};
use super::convert::{Scaling, floats, integers};
use super::dataset::{Role, Rows};

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
}

/// One array of a split and what becomes of it.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    pub(crate) role: Role,
    pub(crate) name: String,
    pub(crate) array: Array,
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

    /// Fills one array per feed with the given examples, each below [`Loader::len`]. Memory of `arrays` is used again.
    ///
    /// # Errors
    /// If a stored integer does not fit into the type that is wanted.
    pub fn load(&self, examples: &[usize], arrays: &mut Vec<HostArray>) -> Result<(), LoadError> {
        arrays.resize_with(self.columns.len(), || HostArray::empty(Dtype::F32));
        for (column, array) in self.columns.iter().zip(arrays) {
            array.reset(column.dtype, examples.len(), &column.shape);
            let rows = examples.iter().map(|example| self.rows.at(*example));
            column.fill(rows, &mut array.values)?;
        }
        Ok(())
    }
}

impl Column {
    /// Fills `values`, which has room for exactly these rows.
    pub(crate) fn fill(
        &self,
        rows: impl Iterator<Item = usize>,
        values: &mut Values,
    ) -> Result<(), LoadError> {
        let (array, scaling, len) = (&self.array, &self.scaling, self.array.example_len());
        let (dtype, bytes) = (array.dtype, |row| array.row(row));
        match values {
            Values::F32(out) => {
                for (slots, row) in out.chunks_exact_mut(len).zip(rows) {
                    floats(slots, dtype, bytes(row), scaling, |value| value as f32);
                }
            }
            Values::F64(out) => {
                for (slots, row) in out.chunks_exact_mut(len).zip(rows) {
                    floats(slots, dtype, bytes(row), scaling, |value| value);
                }
            }
            Values::I32(out) => {
                for (slots, row) in out.chunks_exact_mut(len).zip(rows) {
                    integers(slots, dtype, bytes(row)).map_err(|found| self.does_not_fit(row, found))?;
                }
            }
            Values::I64(out) => {
                for (slots, row) in out.chunks_exact_mut(len).zip(rows) {
                    integers(slots, dtype, bytes(row)).map_err(|found| self.does_not_fit(row, found))?;
                }
            }
            Values::U8(out) => {
                for (slots, row) in out.chunks_exact_mut(len).zip(rows) {
                    integers(slots, dtype, bytes(row)).map_err(|found| self.does_not_fit(row, found))?;
                }
            }
            Values::Bool(out) => {
                for (slots, row) in out.chunks_exact_mut(len).zip(rows) {
                    slots.iter_mut().zip(bytes(row)).for_each(|(slot, byte)| *slot = *byte != 0);
                }
            }
        }
        Ok(())
    }

    fn does_not_fit(&self, row: usize, found: i64) -> LoadError {
        LoadError::DoesNotFit { place: self.array.place.clone(), row, found, expected: self.dtype }
    }
}

#[cfg(test)]
mod tests;
