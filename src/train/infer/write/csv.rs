//! Answers as a table: a column for each number of an example's answer, its name in the header.

use super::{Appending, MAX_COLUMNS, WriteError};
use crate::graph::tensor::{Dtype, Tensor};
use crate::train::infer::predictor::Answered;
use csv::{ErrorKind, Writer, WriterBuilder};
use std::io::{self, BufWriter};
use std::path::PathBuf;

/// The column with the name of the file that an example is.
const FILE_COLUMN: &str = "file";

/// A table that is being written.
#[derive(Debug)]
pub(super) struct Table {
    path: PathBuf,
    writer: Writer<BufWriter<Appending>>,
    /// Columns of each output; none before the header was written.
    widths: Option<Vec<usize>>,
    rows: usize,
}

impl Table {
    pub(super) fn new(file: Appending) -> Self {
        let path = file.path.clone();
        let writer = WriterBuilder::new().from_writer(BufWriter::new(file));
        Self { path, writer, widths: None, rows: 0 }
    }

    pub(super) fn add(
        &mut self,
        answered: &[Answered],
        file_names: Option<&[String]>,
    ) -> Result<(), WriteError> {
        let widths = match &self.widths {
            Some(widths) => widths.clone(),
            None => self.write_header(answered, file_names.is_some())?,
        };
        let mut columns = Vec::with_capacity(answered.len());
        for (answered, width) in answered.iter().zip(&widths) {
            let Answered { name, tensor } = answered;
            let found = example_width(tensor);
            if found != *width {
                let (found, expected) = (format!("{found} numbers"), format!("{width}"));
                return Err(WriteError::Shapes { name: name.clone(), found, expected });
            }
            columns.push(texts(tensor));
        }
        let rows = answered.first().and_then(|first| first.tensor.dims().first()).copied().unwrap_or(0);
        for row in 0..rows {
            let file_name = file_names.map(|names| names.get(self.rows).map_or("", String::as_str));
            let fields = columns
                .iter()
                .zip(&widths)
                .flat_map(|(texts, width)| texts.iter().skip(row * width).take(*width).map(String::as_str));
            let written = self.writer.write_record(file_name.into_iter().chain(fields));
            written.map_err(|error| Appending::error(&self.path, of_csv(error)))?;
            self.rows += 1;
        }
        Ok(())
    }

    fn write_header(&mut self, answered: &[Answered], has_files: bool) -> Result<Vec<usize>, WriteError> {
        let mut header: Vec<String> = has_files.then(|| FILE_COLUMN.to_owned()).into_iter().collect();
        let mut widths = Vec::new();
        for Answered { name, tensor } in answered {
            let columns = example_width(tensor);
            if header.len() + columns > MAX_COLUMNS {
                return Err(WriteError::TooWide { name: name.clone(), columns });
            }
            match tensor.dims() {
                [_] => header.push(name.clone()),
                [_, example @ ..] => {
                    header.extend((0..columns).map(|index| format!("{name}{}", place(index, example))))
                }
                [] => {}
            }
            widths.push(columns);
        }
        self.writer.write_record(&header).map_err(|error| Appending::error(&self.path, of_csv(error)))?;
        self.widths = Some(widths.clone());
        Ok(widths)
    }

    pub(super) fn finish(&mut self) -> Result<(), WriteError> {
        self.writer.flush().map_err(|error| Appending::error(&self.path, error))
    }
}

/// What the disk said, which says what to do: that it is full, for instance.
fn of_csv(error: csv::Error) -> io::Error {
    match error.into_kind() {
        ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    }
}

/// Numbers of an example's answer.
fn example_width(tensor: &Tensor) -> usize {
    tensor.dims().iter().skip(1).product()
}

/// The place of an element in an example of this shape, as `_2_0`.
fn place(mut index: usize, example: &[usize]) -> String {
    let mut axes = Vec::with_capacity(example.len());
    for axis in example.iter().rev() {
        axes.push(index % axis);
        index /= axis;
    }
    axes.iter().rev().map(|axis| format!("_{axis}")).collect()
}

/// Each element in the fewest digits that give it back.
fn texts(tensor: &Tensor) -> Vec<String> {
    fn shown<T: std::fmt::Display>(values: impl IntoIterator<Item = T>) -> Vec<String> {
        values.into_iter().map(|value| value.to_string()).collect()
    }
    let bytes = tensor.bytes();
    match tensor.dtype() {
        Dtype::F32 => shown(tensor.to_f32().unwrap_or_default()),
        Dtype::F64 => shown(tensor.to_f64().unwrap_or_default()),
        // They have fewer digits than their 32-bit form.
        Dtype::F16 | Dtype::Bf16 => {
            shown(tensor.to_f64().unwrap_or_default().into_iter().map(|value| value as f32))
        }
        Dtype::I32 | Dtype::I64 => shown(tensor.to_i64().unwrap_or_default()),
        Dtype::U8 | Dtype::Bool => shown(bytes.iter()),
        Dtype::I8 => shown(bytes.iter().map(|byte| byte.cast_signed())),
        Dtype::U16 => shown(bytes.as_chunks().0.iter().map(|chunk| u16::from_le_bytes(*chunk))),
        Dtype::I16 => shown(bytes.as_chunks().0.iter().map(|chunk| i16::from_le_bytes(*chunk))),
        Dtype::U32 => shown(bytes.as_chunks().0.iter().map(|chunk| u32::from_le_bytes(*chunk))),
        Dtype::U64 => shown(bytes.as_chunks().0.iter().map(|chunk| u64::from_le_bytes(*chunk))),
    }
}
