//! Comma-separated values (RFC 4180) with a header row of column names; every column that is used holds numbers.

use std::io::Read;
use std::path::Path;

use bytes::Bytes;
use csv::{ErrorKind, ReaderBuilder, StringRecord, Trim};

use super::ReadError;
use super::npy::checked;
use crate::data::array::{Array, Dtype, Place};

/// Whether the columns form an axis of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Axes {
    /// One column, one number per example.
    None,
    /// Columns side by side on axis 1.
    Columns,
}

/// Reads columns into memory. Where every number of them is an integer the array is int64, otherwise float64.
pub(super) fn read(path: &Path, text: impl Read, columns: &[&str], axes: Axes) -> Result<Array, ReadError> {
    let mut reader = ReaderBuilder::new().trim(Trim::All).from_reader(text);
    let header = reader.headers().map_err(|error| csv_error(path, error))?.clone();
    let places = locate(path, &header, columns)?;
    let mut numbers = Numbers::Integers(Vec::new());
    let mut record = StringRecord::new();
    let mut rows = 0_usize;
    while reader.read_record(&mut record).map_err(|error| csv_error(path, error))? {
        for (&place, column) in places.iter().zip(columns) {
            let field = record.get(place).unwrap_or_default();
            if !numbers.push(field) {
                return Err(ReadError::CsvField {
                    path: path.to_path_buf(),
                    line: record.position().map_or(0, csv::Position::line),
                    column: (*column).to_owned(),
                    found: field.to_owned(),
                });
            }
        }
        rows += 1;
    }
    if rows == 0 {
        return Err(ReadError::CsvEmpty { path: path.to_path_buf(), missing: "row after the header" });
    }
    let shape: &[usize] = match axes {
        Axes::None => &[rows],
        Axes::Columns => &[rows, columns.len()],
    };
    let (dtype, data) = numbers.into_bytes();
    checked(Place::within(path, columns.join(", ")), dtype, shape, data)
}

/// Index of each wanted column.
fn locate(path: &Path, header: &StringRecord, columns: &[&str]) -> Result<Vec<usize>, ReadError> {
    if header.is_empty() || columns.is_empty() {
        return Err(ReadError::CsvEmpty { path: path.to_path_buf(), missing: "columns" });
    }
    let find = |column: &&str| {
        let mut found = header.iter().enumerate().filter(|(_, name)| name == column).map(|(index, _)| index);
        match (found.next(), found.next()) {
            (Some(index), None) => Ok(index),
            (Some(_), Some(_)) => {
                Err(ReadError::Ambiguous { path: path.to_path_buf(), name: (*column).to_owned() })
            }
            (None, _) => Err(ReadError::NoSuchArray {
                path: path.to_path_buf(),
                name: (*column).to_owned(),
                available: list(&header.iter().collect::<Vec<_>>()),
            }),
        }
    };
    columns.iter().map(find).collect()
}

/// The first names, for a message.
pub(super) fn list(names: &[&str]) -> String {
    const SHOWN: usize = 20;
    let mut text =
        names.iter().take(SHOWN).map(|name| format!("`{}`", name.escape_debug())).collect::<Vec<_>>();
    if names.len() > SHOWN {
        text.push(format!("and {} more", names.len() - SHOWN));
    }
    if text.is_empty() { "none".to_owned() } else { text.join(", ") }
}

/// Numbers as the narrowest of the two types that holds all of them so far.
enum Numbers {
    Integers(Vec<i64>),
    Floats(Vec<f64>),
}

impl Numbers {
    /// Appends a field; false if it is not a number.
    fn push(&mut self, field: &str) -> bool {
        if let Self::Integers(integers) = self {
            if let Ok(integer) = field.parse() {
                integers.push(integer);
                return true;
            }
            *self = Self::Floats(integers.iter().map(|integer| *integer as f64).collect());
        }
        match (self, field.parse()) {
            (Self::Floats(floats), Ok(float)) => {
                floats.push(float);
                true
            }
            _ => false,
        }
    }

    fn into_bytes(self) -> (Dtype, Bytes) {
        match self {
            Self::Integers(values) => (Dtype::I64, joined(values.into_iter().map(i64::to_le_bytes))),
            Self::Floats(values) => (Dtype::F64, joined(values.into_iter().map(f64::to_le_bytes))),
        }
    }
}

fn joined(elements: impl ExactSizeIterator<Item = [u8; 8]>) -> Bytes {
    let mut bytes = Vec::with_capacity(elements.len() * 8);
    elements.for_each(|element| bytes.extend_from_slice(&element));
    Bytes::from(bytes)
}

fn csv_error(path: &Path, error: csv::Error) -> ReadError {
    let path = path.to_path_buf();
    match error.kind() {
        ErrorKind::UnequalLengths { pos, expected_len, len } => ReadError::CsvRagged {
            path,
            line: pos.as_ref().map_or(0, csv::Position::line),
            found: *len,
            expected: *expected_len,
        },
        _ => ReadError::Csv { path, source: error },
    }
}
