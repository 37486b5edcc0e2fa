//! Data files for the tests of this folder, written byte by byte so that they can also be written wrong.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use zip::write::{SimpleFileOptions, ZipWriter};

use crate::config::{ArrayMap, DataPlan, DataSource};

pub(crate) use zip::CompressionMethod;

/// A folder that goes away with the test.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }
}

/// A `.npy` file of version 1.0.
pub(crate) fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    npy_with_header(&format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n"), data)
}

pub(crate) fn npy_with_header(header: &str, data: &[u8]) -> Vec<u8> {
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend(u16::try_from(header.len()).unwrap().to_le_bytes());
    file.extend(header.as_bytes());
    file.extend(data);
    file
}

pub(crate) fn npy_f32(shape: &str, values: &[f32]) -> Vec<u8> {
    npy("<f4", shape, &values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>())
}

pub(crate) fn npy_i64(shape: &str, values: &[i64]) -> Vec<u8> {
    npy("<i8", shape, &values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>())
}

/// A `.npz` file of these members, whose names get `.npy` appended.
pub(crate) fn npz(method: CompressionMethod, members: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut archive = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in members {
        let options = SimpleFileOptions::default().compression_method(method);
        archive.start_file(format!("{name}.npy"), options).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

/// An IDX file.
pub(crate) fn idx(code: u8, shape: &[u32], data: &[u8]) -> Vec<u8> {
    let mut file = vec![0, 0, code, u8::try_from(shape.len()).unwrap()];
    shape.iter().for_each(|axis| file.extend(axis.to_be_bytes()));
    file.extend(data);
    file
}

/// A mapping without scaling.
pub(crate) fn map(array: Option<&str>) -> ArrayMap {
    ArrayMap::stored(array)
}

/// Settings with input `x` and target `y`.
pub(crate) fn plan(source: DataSource, x: ArrayMap, y: ArrayMap) -> DataPlan {
    DataPlan {
        source,
        validation_fraction: None,
        shuffle: true,
        drop_last: false,
        inputs: BTreeMap::from([("x".to_owned(), x)]),
        targets: BTreeMap::from([("y".to_owned(), y)]),
    }
}

pub(crate) fn files(train: Option<&str>, validation: Option<&str>) -> DataSource {
    DataSource::Files { train: train.map(PathBuf::from), validation: validation.map(PathBuf::from) }
}

/// A data set of `rows` examples: `x` is the row number as float32, `y` as int64.
pub(crate) fn numbered(folder: &Folder, rows: usize) -> DataPlan {
    let shape = format!("({rows},)");
    let x = npy_f32(&shape, &(0..rows).map(|row| row as f32).collect::<Vec<_>>());
    let y = npy_i64(&shape, &(0..rows as i64).collect::<Vec<_>>());
    folder.write("numbered.npz", npz(CompressionMethod::Stored, &[("x", x), ("y", y)]));
    plan(files(Some("numbered.npz"), None), map(None), map(None))
}
