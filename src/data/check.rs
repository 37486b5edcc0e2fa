//! Checks of the values themselves, before training starts: each reads a whole split once.

use super::array::{Dtype, Place};
use super::batch::{HostArray, Values};
use super::convert::stored_integers;
use super::dataset::Role;
use super::loader::{Column, Loader};

/// Why the content of an array can not be trained on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// The target is not among the feeds, or not an integer.
    #[error("there is no integer target `{name}` whose labels could be checked")]
    NoLabels {
        /// The target.
        name: String,
    },
    /// A target of binary cross entropy that is no probability.
    #[error(
        "{place}, row {row} (the first is 0): found {found}, expected a value from 0 to 1, as `bce_with_logits` takes it; use \
         labels 0 and 1, or another loss"
    )]
    Probability {
        /// File and array.
        place: Place,
        /// Row of the array.
        row: usize,
        /// The value after conversion.
        found: f32,
    },
    /// A label beyond the classes of the model.
    #[error(
        "{place}, row {row} (the first is 0): found label {found}, expected 0 to {largest} or the ignored {ignored}; \
         labels count from 0 and the model has {classes} classes"
    )]
    Label {
        /// File and array.
        place: Place,
        /// Row of the array.
        row: usize,
        /// The label.
        found: i64,
        /// The largest that is allowed.
        largest: i64,
        /// `loss.ignore_index`.
        ignored: i64,
        /// Classes of the model.
        classes: usize,
    },
    /// NaN or infinity.
    #[error(
        "{place}, row {row}, value {index} (the first is 0): found {found}, expected a finite number; replace or remove \
         missing values, and check `scale`, `mean` and `std`"
    )]
    NotFinite {
        /// File and array.
        place: Place,
        /// Row of the array.
        row: usize,
        /// Index of the value within the example, row-major.
        index: usize,
        /// The value after conversion.
        found: f64,
    },
}

impl Loader {
    /// Checks that every label of an integer target is a class or the ignored label.
    ///
    /// # Errors
    /// The first label that is neither, with its row.
    pub fn check_labels(&self, target: &str, classes: usize, ignore_index: i64) -> Result<(), CheckError> {
        let is_labels = |column: &&Column| {
            column.role == Role::Target && column.name == target && !column.content.dtype().is_float()
        };
        let found = self.columns.iter().find(is_labels).and_then(|column| column.content.stored());
        let Some(array) = found else {
            return Err(CheckError::NoLabels { name: target.to_owned() });
        };
        let largest = i64::try_from(classes).unwrap_or(i64::MAX) - 1;
        for row in self.rows.covering() {
            let mut labels = stored_integers(array.dtype, array.row(row));
            if let Some(found) = labels.find(|label| !(0..=largest).contains(label) && *label != ignore_index)
            {
                let (place, ignored) = (array.place.clone(), ignore_index);
                return Err(CheckError::Label { place, row, found, largest, ignored, classes });
            }
        }
        Ok(())
    }

    /// Checks that every value of a target is a probability, in `[0, 1]`, as binary cross entropy takes it.
    ///
    /// # Errors
    /// The first value that is not, with its row.
    pub fn check_probabilities(&self, target: &str) -> Result<(), CheckError> {
        let is_target = |column: &&Column| column.role == Role::Target && column.name == target;
        let Some(column) = self.columns.iter().find(is_target) else { return Ok(()) };
        let mut example = HostArray::empty(Dtype::F32);
        example.reset(Dtype::F32, 1, &column.shape);
        for row in self.rows.covering() {
            let filled = column.fill(&[row], None, &mut example.values);
            debug_assert!(filled.is_ok(), "{filled:?}");
            let Values::F32(values) = &example.values else { continue };
            if let Some(found) = values.iter().find(|value| !(0.0..=1.0).contains(*value)) {
                let (place, found) = (column.content.place(), *found);
                return Err(CheckError::Probability { place, row, found });
            }
        }
        Ok(())
    }

    /// Checks that every number handed to the model is finite, after conversion and scaling.
    ///
    /// # Errors
    /// The first number that is not, with its row.
    pub fn check_finite(&self) -> Result<(), CheckError> {
        self.columns.iter().try_for_each(|column| self.check_finite_column(column))
    }

    fn check_finite_column(&self, column: &Column) -> Result<(), CheckError> {
        let can_fail = column.content.dtype().is_float() || !column.scaling.is_identity();
        // The values of images are few, and to decode all of them would take as long as an epoch.
        let is_stored = column.content.stored().is_some();
        if !can_fail || !is_stored || !matches!(column.dtype, Dtype::F32 | Dtype::F64) {
            return Ok(());
        }
        let mut example = HostArray::empty(column.dtype);
        example.reset(column.dtype, 1, &column.shape);
        for row in self.rows.covering() {
            // Numbers with fractions take every stored value, so there is no other outcome.
            let filled = column.fill(&[row], None, &mut example.values);
            debug_assert!(filled.is_ok(), "{filled:?}");
            if let Some((index, found)) = first_not_finite(&example.values) {
                return Err(CheckError::NotFinite { place: column.content.place(), row, index, found });
            }
        }
        Ok(())
    }
}

fn first_not_finite(values: &Values) -> Option<(usize, f64)> {
    match values {
        Values::F32(values) => {
            let index = values.iter().position(|value| !value.is_finite())?;
            values.get(index).map(|found| (index, f64::from(*found)))
        }
        Values::F64(values) => {
            let index = values.iter().position(|value| !value.is_finite())?;
            values.get(index).map(|found| (index, *found))
        }
        Values::I32(_) | Values::I64(_) | Values::U8(_) | Values::Bool(_) => None,
    }
}
