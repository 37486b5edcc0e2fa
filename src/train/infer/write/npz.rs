//! Answers as arrays in an `.npz` file.
//!
//! A member begins with its shape, which is known at its end, and the answers to a batch belong to all members. So each
//! array is collected in a file without a name beside the one to be written: memory does not grow with the examples.

use super::{Appending, WriteError};
use crate::graph::tensor::{Dtype, Tensor, ValueType};
use crate::train::infer::predictor::Answered;
use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::PathBuf;
use trainer_runtime::disk::{DiskError, Operation};
use zip::ZipWriter;
use zip::result::ZipError;
use zip::write::SimpleFileOptions;

/// The array with the names of the files that the examples are.
const FILE_ARRAY: &str = "file";

/// Members from this size on need the longer form of the directory.
const LARGE_BYTES: u64 = u32::MAX as u64;

/// Arrays that are being written.
#[derive(Debug)]
pub(super) struct Arrays {
    file: Option<Appending>,
    path: PathBuf,
    folder: PathBuf,
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    name: String,
    dtype: Dtype,
    /// Shape of an example's answer.
    example: Vec<usize>,
    rows: usize,
    collected: BufWriter<File>,
}

impl Arrays {
    pub(super) fn new(file: Appending, folder: PathBuf) -> Self {
        let path = file.path.clone();
        Self { file: Some(file), path, folder, members: Vec::new() }
    }

    pub(super) fn add(&mut self, answered: &[Answered]) -> Result<(), WriteError> {
        if self.members.is_empty() {
            for answered in answered {
                self.members.push(self.member(answered)?);
            }
        }
        for (Answered { name, tensor }, member) in answered.iter().zip(&mut self.members) {
            let tensor = storable(tensor);
            let (rows, example) = tensor.dims().split_first().unwrap_or((&0, &[]));
            if (tensor.dtype(), example) != (member.dtype, member.example.as_slice()) {
                let found = ValueType::new(tensor.dtype(), example).to_string();
                let expected = ValueType::new(member.dtype, member.example.clone()).to_string();
                return Err(WriteError::Shapes { name: name.clone(), found, expected });
            }
            member.rows += rows;
            member
                .collected
                .write_all(tensor.bytes())
                .map_err(|error| Appending::error(&self.path, error))?;
        }
        Ok(())
    }

    fn member(&self, answered: &Answered) -> Result<Member, WriteError> {
        let tensor = storable(&answered.tensor);
        let collected = tempfile::tempfile_in(&self.folder)
            .map_err(|error| DiskError::new(Operation::Create, &self.folder, error))?;
        Ok(Member {
            name: answered.name.clone(),
            dtype: tensor.dtype(),
            example: tensor.dims().get(1..).unwrap_or_default().to_vec(),
            rows: 0,
            collected: BufWriter::new(collected),
        })
    }

    pub(super) fn finish(&mut self, file_names: Option<&[String]>) -> Result<(), WriteError> {
        let file = self.file.take().expect("a file is finished once");
        let path = self.path.clone();
        self.write(file, file_names).map_err(|error| Appending::error(&path, error))
    }

    fn write(&mut self, file: Appending, file_names: Option<&[String]>) -> io::Result<()> {
        let mut archive = ZipWriter::new_stream(BufWriter::new(file));
        if let Some(names) = file_names {
            let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).max(1);
            start(&mut archive, FILE_ARRAY, (names.len() * width * 4) as u64)?;
            archive.write_all(&header(&format!("<U{width}"), &[names.len()]))?;
            for name in names {
                let code_points = name.chars().map(u32::from).chain(std::iter::repeat(0)).take(width);
                let bytes: Vec<u8> = code_points.flat_map(u32::to_le_bytes).collect();
                archive.write_all(&bytes)?;
            }
        }
        for member in &mut self.members {
            member.collected.flush()?;
            let collected = member.collected.get_mut();
            let len_bytes = collected.seek(SeekFrom::End(0))?;
            collected.seek(SeekFrom::Start(0))?;
            let shape: Vec<usize> =
                std::iter::once(member.rows).chain(member.example.iter().copied()).collect();
            start(&mut archive, &member.name, len_bytes)?;
            archive.write_all(&header(descr(member.dtype), &shape))?;
            io::copy(collected, &mut archive)?;
        }
        let mut buffered = archive.finish().map_err(of_zip)?.into_inner();
        buffered.flush()
    }
}

fn start<W: Write + Seek>(archive: &mut ZipWriter<W>, name: &str, len_bytes: u64) -> io::Result<()> {
    // Stored, so that readers can map them.
    let options = SimpleFileOptions::default()
        .compression_method(zip::CompressionMethod::Stored)
        .large_file(len_bytes.saturating_add(1 << 16) >= LARGE_BYTES);
    archive.start_file(format!("{name}.npy"), options).map_err(of_zip)
}

fn of_zip(error: ZipError) -> io::Error {
    match error {
        ZipError::Io(error) => error,
        other => io::Error::other(other),
    }
}

/// The beginning of a `.npy` file of version 1.0, as `numpy.lib.format` describes it; its length is a multiple of 64.
fn header(descr: &str, shape: &[usize]) -> Vec<u8> {
    const BEFORE_TEXT: usize = 10;
    let axes: String = shape.iter().map(|axis| format!("{axis}, ")).collect();
    let axes = if shape.len() == 1 { axes.trim_end() } else { axes.trim_end_matches(", ") };
    let mut text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({axes}), }}");
    let total = (BEFORE_TEXT + text.len() + 1).next_multiple_of(64);
    text += &" ".repeat(total - BEFORE_TEXT - text.len() - 1);
    text.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    // A shape has few axes, so the text is far below 64 KiB.
    bytes.extend(u16::try_from(text.len()).unwrap_or(u16::MAX).to_le_bytes());
    bytes.extend(text.into_bytes());
    bytes
}

/// The tensor in a type that NumPy has: it has no bfloat16.
fn storable(tensor: &Tensor) -> Tensor {
    match tensor.to_f64().filter(|_| tensor.dtype() == Dtype::Bf16) {
        Some(numbers) => Tensor::from_f64(Dtype::F32, tensor.dims(), &numbers),
        None => tensor.clone(),
    }
}

fn descr(dtype: Dtype) -> &'static str {
    match dtype {
        Dtype::F32 | Dtype::Bf16 => "<f4",
        Dtype::F64 => "<f8",
        Dtype::F16 => "<f2",
        Dtype::I8 => "|i1",
        Dtype::I16 => "<i2",
        Dtype::I32 => "<i4",
        Dtype::I64 => "<i8",
        Dtype::U8 => "|u1",
        Dtype::U16 => "<u2",
        Dtype::U32 => "<u4",
        Dtype::U64 => "<u8",
        Dtype::Bool => "|b1",
    }
}
