//! The confusion matrix at the end of a run.

use crate::cli::failure::Failure;
use crate::report::progress::Progress;
use crate::train::evaluate::{CONFUSION_CSV, confusion};
use crate::train::keeper::Keeper;
use crate::train::prepare::Prepared;

/// Writes the confusion matrix of the validation examples, where there is one. A run is complete without it, so an
/// evaluation that fails is only reported.
pub(super) fn write(prepared: &mut Prepared, keeper: &Keeper, progress: &Progress) -> Result<(), Failure> {
    match confusion(prepared) {
        Ok(None) => {}
        Ok(Some(matrix)) => {
            keeper.write_file(CONFUSION_CSV, matrix.to_csv().as_bytes())?;
            log::debug!("confusion matrix, a row per true class:\n{}", matrix.to_table());
        }
        Err(error) => progress.line(&format!("{CONFUSION_CSV} was not written: {error}")),
    }
    Ok(())
}
