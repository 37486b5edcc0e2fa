//! Comma-separated values (RFC 4180) with a header row of column names; every column that is used holds numbers.

use std::io::{self, Read};
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

/// The longest row that is read. Rows of a few hundred thousand numbers are far below; a quote that is not closed makes a row
/// of all that follows, of which a packed file may hold a thousand times its size.
const MAX_ROW_BYTES: u64 = 64 << 20;

/// Bytes of a file, no more of them for one row than a limit and what the reader takes ahead.
struct ByRow<R> {
    bytes: R,
    limit_bytes: u64,
    left_bytes: u64,
}

/// Stands for a row that is too long, on its way through the reader of CSV.
#[derive(Debug, thiserror::Error)]
#[error("a row without an end")]
struct EndlessRow {
    limit_bytes: u64,
}

impl<R: Read> Read for ByRow<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left_bytes == 0 {
            return Err(io::Error::other(EndlessRow { limit_bytes: self.limit_bytes }));
        }
        let count = self.bytes.read(buffer)?;
        self.left_bytes = self.left_bytes.saturating_sub(count as u64);
        Ok(count)
    }
}

/// The rows of a file, some at a time, so that no more than those are in memory.
pub(crate) struct Rows<R> {
    path: PathBuf,
    reader: csv::Reader<ByRow<R>>,
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
        Self::with_limit(path, text, MAX_ROW_BYTES)
    }

    fn with_limit(path: &Path, text: R, limit_bytes: u64) -> Result<Self, ReadError> {
        let bytes = ByRow { bytes: text, limit_bytes, left_bytes: limit_bytes };
        let mut reader = ReaderBuilder::new().trim(Trim::All).from_reader(bytes);
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
        while rows < most && self.next()? {
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

    /// Reads a row; false behind the last one.
    fn next(&mut self) -> Result<bool, ReadError> {
        let bytes = self.reader.get_mut();
        bytes.left_bytes = bytes.limit_bytes;
        let line = self.reader.position().line();
        self.reader.read_record(&mut self.record).map_err(|error| match csv_error(&self.path, error) {
            ReadError::CsvRow { path, limit_bytes, .. } => ReadError::CsvRow { path, line, limit_bytes },
            other => other,
        })
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
        ErrorKind::Utf8 { pos, .. } => {
            ReadError::CsvEncoding { path, line: pos.as_ref().map_or(1, csv::Position::line) }
        }
        ErrorKind::Io(source) => {
            match source.get_ref().and_then(|inner| inner.downcast_ref::<EndlessRow>()) {
                Some(EndlessRow { limit_bytes }) => {
                    ReadError::CsvRow { path, line: 1, limit_bytes: *limit_bytes }
                }
                None => ReadError::Csv { path, source: error },
            }
        }
        _ => ReadError::Csv { path, source: error },
    }
}

#[cfg(test)]
mod tests {
    use super::Rows;
    use std::io::{self, Read as _};
    use std::path::Path;

    #[test]
    fn a_quote_that_is_not_closed_takes_in_no_more_than_a_row_may_have() {
        let limit_bytes = 1 << 16;
        let open = |text: &'static [u8]| {
            let text = text.chain(io::repeat(b'x'));
            Rows::with_limit(Path::new("a.csv"), text, limit_bytes)
        };
        let mut rows = open(b"a,b\n1,2\n3,4\n5,\"6\n").unwrap();
        let group = rows.group(&["a"], Vec::new()).unwrap();
        assert_eq!(rows.take(std::slice::from_ref(&group), 2).unwrap().unwrap()[0].rows, 2);
        let error = rows.take(&[group], 2).unwrap_err().to_string();
        assert!(
            error.contains("begins on line 4 is longer than 65536 bytes") && error.contains("not closed"),
            "{error}"
        );
        let error = open(b"a,\"b\n").err().unwrap().to_string();
        assert!(error.contains("begins on line 1"), "{error}");
    }

    #[test]
    fn many_rows_may_have_more_bytes_than_one() {
        let text = "a\n".to_owned() + &"123456\n".repeat(10_000);
        let mut rows = Rows::with_limit(Path::new("a.csv"), text.as_bytes(), 20_000).unwrap();
        let group = rows.group(&["a"], Vec::new()).unwrap();
        assert_eq!(rows.take(&[group], usize::MAX).unwrap().unwrap()[0].rows, 10_000);
    }
}
