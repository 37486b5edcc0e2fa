//! Answers in a file: arrays (`.npz`) or a table (`.csv`), written batch by batch and published whole or not at all.

mod csv;
mod npz;
mod target;

use super::predictor::Answered;
use csv::Table;
use npz::Arrays;
use std::path::{Path, PathBuf};
use target::{Appending, Target};
use thiserror::Error;
use trainer_runtime::disk::DiskError;

/// Why answers can not be written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WriteError {
    /// A file ending that says no format.
    #[error("{} ends neither with .npz nor with .csv; give the file of the answers one of these endings", path.display())]
    Format {
        /// The file.
        path: PathBuf,
    },
    /// The file is there.
    #[error("{} is there already; give another name, or replace it with `--force`", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A table too wide for anybody.
    #[error(
        "`{name}` takes {columns} columns, expected at most {MAX_COLUMNS} in all; write an .npz file, or choose outputs with `--output-names`"
    )]
    TooWide {
        /// The output.
        name: String,
        /// Its columns.
        columns: usize,
    },
    /// Examples with answers of different shapes, which arrays and tables do not hold.
    #[error("`{name}` is {found} for these examples and was {expected} before; give examples of one shape")]
    Shapes {
        /// The output.
        name: String,
        /// Type and shape of an example's answer.
        found: String,
        /// Those of the first.
        expected: String,
    },
    /// Storage failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Most columns of a table.
const MAX_COLUMNS: usize = 1 << 16;

/// Whether a file that is there is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overwrite {
    /// It is refused.
    Never,
    /// It is replaced when the new one is whole.
    Allowed,
}

/// A file of answers that is being written and has no name yet.
#[derive(Debug)]
pub struct Writer {
    target: Target,
    overwrite: Overwrite,
    format: Format,
    /// Names of the files that the examples are, for a folder of images.
    file_names: Option<Vec<String>>,
}

#[derive(Debug)]
enum Format {
    Npz(Box<Arrays>),
    Csv(Box<Table>),
}

impl Writer {
    /// Begins a file whose ending says the format. `file_names` has the name of each example, where they are files.
    ///
    /// # Errors
    /// If the ending is another, the file is there and may not be replaced, or nothing can be written there.
    pub fn create(
        path: &Path,
        overwrite: Overwrite,
        file_names: Option<&[String]>,
    ) -> Result<Self, WriteError> {
        let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
        let is_npz = match ending.as_deref() {
            Some("npz") => true,
            Some("csv") => false,
            _ => return Err(WriteError::Format { path: path.to_owned() }),
        };
        refuse_existing(path, overwrite)?;
        let target = Target::create(path)?;
        let file = target.appending();
        let format = if is_npz {
            Format::Npz(Box::new(Arrays::new(file, folder_of(path))))
        } else {
            Format::Csv(Box::new(Table::new(file)))
        };
        Ok(Self { target, overwrite, format, file_names: file_names.map(<[String]>::to_vec) })
    }

    /// Adds the answers to the next examples, the same ones each time.
    ///
    /// # Errors
    /// If they do not fit those before, or storage fails.
    pub fn add(&mut self, answered: &[Answered]) -> Result<(), WriteError> {
        match &mut self.format {
            Format::Npz(arrays) => arrays.add(answered),
            Format::Csv(table) => table.add(answered, self.file_names.as_deref()),
        }
    }

    /// Makes the file durable and gives it its name.
    ///
    /// # Errors
    /// If storage fails, or a file of this name came meanwhile that may not be replaced; there is then no such file, or the
    /// one from before.
    pub fn publish(self) -> Result<(), WriteError> {
        match self.format {
            Format::Npz(mut arrays) => arrays.finish(self.file_names.as_deref())?,
            Format::Csv(mut table) => table.finish()?,
        }
        self.target.publish(self.overwrite)
    }
}

/// Refuses a file that is there, unless it may be replaced.
///
/// # Errors
/// If it is there.
pub fn refuse_existing(path: &Path, overwrite: Overwrite) -> Result<(), WriteError> {
    if overwrite == Overwrite::Never && std::fs::symlink_metadata(path).is_ok() {
        return Err(WriteError::Exists { path: path.to_owned() });
    }
    Ok(())
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests;
