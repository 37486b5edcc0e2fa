//! File formats: one file each, and the choice between them. A reader turns untrusted bytes into [`Array`]s or an
//! error; it never panics and never allocates more than the file can hold. What arrays are used for is not decided
//! here.

pub(crate) mod csv;
mod error;
pub(crate) mod idx;
mod npy;
mod npz;

use std::io::{Cursor, Read};
use std::path::Path;

use bytes::Bytes;
use flate2::read::MultiGzDecoder;

use super::array::{Array, Place};
use super::fingerprint::Fingerprint;
use super::map::map_file;

pub use error::ReadError;

/// The best that deflate can do is 1032 to 1 (<https://zlib.net/zlib_tech.html>): a length beyond that is a lie, which
/// is noticed before anything is allocated.
const MAX_INFLATION: usize = 1032;

/// Reading that much takes long enough to say so.
const ANNOUNCED_BYTES: usize = 1_000_000_000;

/// Which part of a file is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted<'a> {
    /// The only array of a file that holds one.
    Only,
    /// The array of this name (`.npz`) or the column of this name (`.csv`), of examples without axes.
    Named(&'a str),
    /// These columns of a `.csv` file, side by side on one axis.
    Columns(&'a [String]),
}

/// A data file that is open: its bytes are mapped and its format is known.
#[derive(Debug)]
pub(crate) struct DataFile {
    place: Place,
    bytes: Bytes,
    content: Content,
}

/// The rows of a `.csv` file that is open.
pub(crate) type CsvRows = csv::Rows<Box<dyn Read + Send>>;

#[derive(Debug)]
enum Content {
    Npz(npz::Npz),
    Npy,
    Idx { gzip: bool },
    Csv { gzip: bool },
}

impl DataFile {
    /// Maps a file and finds out its format, by its name where that says it and by its first bytes otherwise.
    pub(crate) fn open(path: &Path) -> Result<Self, ReadError> {
        let bytes = map_file(path)?;
        let place = Place::file(path);
        let content = match format_of_name(path).or_else(|| format_of_content(&bytes)) {
            Some(Format::Npz) => Content::Npz(npz::Npz::open(path, bytes.clone())?),
            Some(Format::Npy) => Content::Npy,
            Some(Format::Idx { gzip }) => Content::Idx { gzip },
            Some(Format::Csv { gzip }) => Content::Csv { gzip },
            Some(Format::GzippedArrays) => return Err(ReadError::GzippedArrays { path: path.to_path_buf() }),
            None => return Err(ReadError::UnknownFormat { path: path.to_path_buf() }),
        };
        Ok(Self { place, bytes, content })
    }

    /// Whether several arrays are told apart by name.
    pub(crate) fn has_names(&self) -> bool {
        matches!(self.content, Content::Npz(_) | Content::Csv { .. })
    }

    pub(crate) fn array(&self, wanted: Wanted<'_>) -> Result<Array, ReadError> {
        match (&self.content, wanted) {
            (Content::Npz(npz), Wanted::Named(name)) => npz.array(name),
            (Content::Npy, Wanted::Only) => npy::read(self.place.clone(), self.bytes.clone()),
            (Content::Idx { gzip }, Wanted::Only) => idx::read(self.place.clone(), &self.bytes, *gzip),
            (Content::Csv { gzip }, Wanted::Named(column)) => self.csv(*gzip, &[column], csv::Axes::None),
            (Content::Csv { gzip }, Wanted::Columns(columns)) => {
                let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
                self.csv(*gzip, &columns, csv::Axes::Columns)
            }
            (Content::Npz(_), Wanted::Columns(_)) => {
                Err(self.wrong_key("columns", "an .npz file holds arrays: use `array`"))
            }
            (Content::Npz(_) | Content::Csv { .. }, Wanted::Only) => {
                Err(self.wrong_key("nothing", "the file holds several arrays: name one with `array`"))
            }
            (Content::Npy | Content::Idx { .. }, Wanted::Named(_)) => {
                Err(self.wrong_key("array", "the file holds one array without a name: remove the key"))
            }
            (Content::Npy | Content::Idx { .. }, Wanted::Columns(_)) => {
                Err(self.wrong_key("columns", "the file holds one array: remove the key"))
            }
        }
    }

    /// Size and checksum of the whole file. The members of an `.npz` that are used in place are verified on the way,
    /// so that every byte is read once.
    pub(crate) fn fingerprint(&self, named: &str) -> Result<Fingerprint, ReadError> {
        if self.bytes.len() >= ANNOUNCED_BYTES {
            log::info!(
                "{}: reading {} MB once for the fingerprint",
                self.place,
                self.bytes.len() / 1_000_000
            );
        }
        let crc32 = match &self.content {
            Content::Npz(npz) => npz.checksum()?,
            Content::Npy | Content::Idx { .. } | Content::Csv { .. } => crc32fast::hash(&self.bytes),
        };
        Ok(Fingerprint::new(named, self.bytes.len(), crc32))
    }

    fn csv(&self, gzip: bool, columns: &[&str], axes: csv::Axes) -> Result<Array, ReadError> {
        let path = &self.place.path;
        if gzip {
            csv::read(path, MultiGzDecoder::new(&self.bytes[..]), columns, axes)
        } else {
            csv::read(path, &self.bytes[..], columns, axes)
        }
    }

    /// The rows of a `.csv` file, to be read some at a time; nothing for a file of another format.
    pub(crate) fn csv_rows(&self) -> Option<Result<CsvRows, ReadError>> {
        let Content::Csv { gzip } = self.content else { return None };
        let bytes = Cursor::new(self.bytes.clone());
        let text: Box<dyn Read + Send> =
            if gzip { Box::new(MultiGzDecoder::new(bytes)) } else { Box::new(bytes) };
        Some(csv::Rows::open(&self.place.path, text))
    }

    pub(crate) fn wrong_key(&self, found: &'static str, remedy: &'static str) -> ReadError {
        ReadError::WrongKey { path: self.place.path.to_path_buf(), found, remedy }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Npz,
    Npy,
    Idx { gzip: bool },
    Csv { gzip: bool },
    GzippedArrays,
}

/// The format that a file name states. IDX files are named like `train-images-idx3-ubyte` or `train-images.idx3`.
fn format_of_name(path: &Path) -> Option<Format> {
    let name = path.file_name()?.to_string_lossy().to_lowercase();
    let (stem, gzip) = match name.strip_suffix(".gz") {
        Some(stem) => (stem, true),
        None => (name.as_str(), false),
    };
    if stem.ends_with(".npz") || stem.ends_with(".npy") {
        return Some(match (gzip, stem.ends_with(".npz")) {
            (true, _) => Format::GzippedArrays,
            (false, true) => Format::Npz,
            (false, false) => Format::Npy,
        });
    }
    if stem.ends_with(".csv") {
        return Some(Format::Csv { gzip });
    }
    let states_idx = |part: &str| {
        part.strip_prefix("idx").is_some_and(|axes| axes.is_empty() || axes.parse::<u8>().is_ok())
    };
    stem.rsplit(['.', '-']).take(2).any(states_idx).then_some(Format::Idx { gzip })
}

fn format_of_content(bytes: &[u8]) -> Option<Format> {
    if bytes.starts_with(b"PK\x03\x04") {
        Some(Format::Npz)
    } else if bytes.starts_with(npy::MAGIC) {
        Some(Format::Npy)
    } else if idx::looks_like_header(bytes) {
        Some(Format::Idx { gzip: false })
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
