//! Comma-separated values (RFC 4180) with a header row of column names; every column that is used holds numbers.

use std::io::Read;
use std::path::{Path, PathBuf};

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
    let example_shape: &[usize] = match axes {
        Axes::None => &[],
        Axes::Columns => &[columns.len()],
    };
    let mut rows = Rows::open(path, text)?;
    let group = rows.group(columns, example_shape.to_vec())?;
    let arrays = rows.take(std::slice::from_ref(&group), usize::MAX)?;
    let missing = "row after the header";
    arrays
        .and_then(|mut arrays| arrays.pop())
        .ok_or(ReadError::CsvEmpty { path: path.to_path_buf(), missing })
}

/// The rows of a file, some at a time, so that no more than those are in memory.
pub(crate) struct Rows<R> {
    path: PathBuf,
    reader: csv::Reader<R>,
    header: StringRecord,
    record: StringRecord,
}

/// Columns that together form an array.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    columns: Vec<String>,
    places: Vec<usize>,
    example_shape: Vec<usize>,
}

impl Group {
    pub(crate) fn example_shape(&self) -> &[usize] {
        &self.example_shape
    }
}

impl<R: Read> Rows<R> {
    pub(crate) fn open(path: &Path, text: R) -> Result<Self, ReadError> {
        let mut reader = ReaderBuilder::new().trim(Trim::All).from_reader(text);
        let header = reader.headers().map_err(|error| csv_error(path, error))?.clone();
        Ok(Self { path: path.to_path_buf(), reader, header, record: StringRecord::new() })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn columns(&self) -> impl Iterator<Item = &str> {
        self.header.iter()
    }

    /// These columns as an array whose examples have this shape, of as many elements.
    pub(crate) fn group(&self, columns: &[&str], example_shape: Vec<usize>) -> Result<Group, ReadError> {
        let places = locate(&self.path, &self.header, columns)?;
        let columns = columns.iter().map(|column| (*column).to_owned()).collect();
        Ok(Group { columns, places, example_shape })
    }

    /// An array per group of the next rows, of which there are at most `most`; nothing behind the last row.
    pub(crate) fn take(&mut self, groups: &[Group], most: usize) -> Result<Option<Vec<Array>>, ReadError> {
        let mut numbers: Vec<Numbers> = groups.iter().map(|_| Numbers::Integers(Vec::new())).collect();
        let mut rows = 0_usize;
        while rows < most
            && self.reader.read_record(&mut self.record).map_err(|error| csv_error(&self.path, error))?
        {
            for (group, numbers) in groups.iter().zip(&mut numbers) {
                self.push(group, numbers)?;
            }
            rows += 1;
        }
        if rows == 0 {
            return Ok(None);
        }
        let array = |(group, numbers): (&Group, Numbers)| {
            let shape: Vec<usize> =
                std::iter::once(rows).chain(group.example_shape.iter().copied()).collect();
            let (dtype, data) = numbers.into_bytes();
            checked(Place::within(&self.path, group.columns.join(", ")), dtype, &shape, data)
        };
        groups.iter().zip(numbers).map(array).collect::<Result<_, _>>().map(Some)
    }

    /// Appends the fields of a group in the row that was read.
    fn push(&self, group: &Group, numbers: &mut Numbers) -> Result<(), ReadError> {
        for (&place, column) in group.places.iter().zip(&group.columns) {
            let field = self.record.get(place).unwrap_or_default();
            if !numbers.push(field) {
                return Err(ReadError::CsvField {
                    path: self.path.clone(),
                    line: self.record.position().map_or(0, csv::Position::line),
                    column: column.clone(),
                    found: field.to_owned(),
                });
            }
        }
        Ok(())
    }
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
