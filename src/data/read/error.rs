//! What can be wrong with a data file.

use std::io;
use std::path::PathBuf;

use crate::data::array::{Dtype, Place, show_shape};

/// Why a data file can not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The file is missing or may not be read.
    #[error("can not open the data file {}: check the path in `[data]` and the permissions", .path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The path leads to something that can not be mapped.
    #[error("{} is {found}; a data file must be a regular file", .path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// Neither name nor content tell the format.
    #[error(
        "{} is none of the known data formats: .npz, .npy, .csv (also .csv.gz) or IDX (also .gz); convert it with \
         NumPy's `savez`", .path.display()
    )]
    UnknownFormat {
        /// The file.
        path: PathBuf,
    },
    /// NumPy files inside gzip can not be mapped.
    #[error("{} is compressed as a whole; unpack it with `gunzip`, or store it with NumPy's `savez_compressed`", .path.display())]
    GzippedArrays {
        /// The file.
        path: PathBuf,
    },
    /// `array` or `columns` do not fit the format.
    #[error("the settings name {found} for {}, but {remedy}", .path.display())]
    WrongKey {
        /// The file.
        path: PathBuf,
        /// The key that is set.
        found: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// The file holds no array or column of this name.
    #[error("{} has no array or column `{name}`; it has: {available}", .path.display())]
    NoSuchArray {
        /// The file.
        path: PathBuf,
        /// What was asked for.
        name: String,
        /// What there is.
        available: String,
    },
    /// Two arrays or columns of one name.
    #[error("{} has more than one array or column `{name}`; rename one of them{}", .path.display(), missing_header(name))]
    Ambiguous {
        /// The file.
        path: PathBuf,
        /// The name.
        name: String,
    },
    /// The header of an array or a file breaks its format.
    #[error("{place}: the {format} header is damaged: {problem}; write the file again")]
    Header {
        /// File and array.
        place: Place,
        /// The format.
        format: &'static str,
        /// What is wrong, with what was found and expected.
        problem: String,
    },
    /// The element type is not one of those that are read.
    #[error(
        "{place} holds {found}; expected float32, float64, int32, int64, uint8, uint16, uint32 or bool, \
         little-endian: convert it with NumPy's `astype`"
    )]
    Dtype {
        /// File and array.
        place: Place,
        /// The type that is stored.
        found: String,
    },
    /// Column-major order with more than one axis that matters.
    #[error("{place} is stored in Fortran (column-major) order; store `numpy.ascontiguousarray(a)` instead")]
    FortranOrder {
        /// File and array.
        place: Place,
    },
    /// A single number is not a list of examples.
    #[error("{place} has no axis; expected one axis of examples before all others")]
    Scalar {
        /// File and array.
        place: Place,
    },
    /// There is nothing in the array.
    #[error(
        "{place} is empty: its shape is {}; expected at least one example and one value per example", show_shape(.shape)
    )]
    Empty {
        /// File and array.
        place: Place,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// The length of the data is not what the header says.
    #[error(
        "{place} is {} its header says: {dtype} of shape {shape} takes {expected_bytes} bytes, found {found_bytes}; \
         write or copy the file again",
        if .found_bytes < .expected_bytes { "shorter than" } else { "longer than" }
    )]
    Length {
        /// File and array.
        place: Place,
        /// Element type of the header.
        dtype: Dtype,
        /// Shape of the header.
        shape: String,
        /// Bytes that type and shape take.
        expected_bytes: u64,
        /// Bytes that are there.
        found_bytes: u64,
    },
    /// The shape takes more bytes than a machine word counts.
    #[error("{place} claims the impossible shape {shape}; write the file again")]
    TooLarge {
        /// File and array.
        place: Place,
        /// Its shape.
        shape: String,
    },
    /// A compressed length that no compressor can reach.
    #[error(
        "{place} claims to unpack {packed_bytes} bytes into {claimed_bytes}, which deflate can not do; write or copy \
         the file again"
    )]
    Inflation {
        /// File and array.
        place: Place,
        /// Compressed bytes.
        packed_bytes: u64,
        /// Bytes they are said to unpack to.
        claimed_bytes: u64,
    },
    /// Compressed data do not unpack.
    #[error("{place}: the compressed data are damaged; write or copy the file again")]
    Unpack {
        /// File and array.
        place: Place,
        /// What the decompressor says.
        source: io::Error,
    },
    /// The archive is not a ZIP file, or a damaged one.
    #[error("{} is not a sound .npz (ZIP) file; write or copy the file again", .path.display())]
    Zip {
        /// The file.
        path: PathBuf,
        /// What the ZIP reader says.
        source: zip::result::ZipError,
    },
    /// A member of the archive is stored in a way NumPy never uses.
    #[error(
        "{place} is stored with {found}; expected no compression or deflate: write it with NumPy's `savez`"
    )]
    ZipMethod {
        /// File and array.
        place: Place,
        /// The method.
        found: String,
    },
    /// Stored data do not have the checksum that the archive states.
    #[error(
        "{place} is damaged: its bytes have crc32 {found:08x}, the archive says {expected:08x}; write or copy the file \
         again"
    )]
    Checksum {
        /// File and array.
        place: Place,
        /// Checksum of the archive's directory.
        expected: u32,
        /// Checksum of the data.
        found: u32,
    },
    /// A CSV file without rows or columns.
    #[error("{} has no {missing}; expected a header row with column names and at least one row of numbers", .path.display())]
    CsvEmpty {
        /// The file.
        path: PathBuf,
        /// What is missing.
        missing: &'static str,
    },
    /// A row with more or fewer fields than the header. Blank lines before the row count as part of it.
    #[error("{}, line {line}: found {found} fields, expected {expected} as in the header", .path.display())]
    CsvRagged {
        /// The file.
        path: PathBuf,
        /// Line of the file; the first is 1.
        line: u64,
        /// Fields of this row.
        found: u64,
        /// Fields of the header.
        expected: u64,
    },
    /// A field that is not a number.
    #[error(
        "{}, line {line}, column `{column}`: found {}, expected a number; encode text and missing values as numbers \
         first", .path.display(), show_field(.found)
    )]
    CsvField {
        /// The file.
        path: PathBuf,
        /// Line of the file; the first is 1.
        line: u64,
        /// The column.
        column: String,
        /// The field.
        found: String,
    },
    /// A row of which no end is found; a quote that is not closed takes in everything behind it.
    #[error(
        "{}: the row that begins on line {line} is longer than {limit_bytes} bytes; look for a quote (`\"`) there that is not closed",
        .path.display()
    )]
    CsvRow {
        /// The file.
        path: PathBuf,
        /// Line of the file on which the row begins; the first is 1.
        line: u64,
        /// The longest row that is read.
        limit_bytes: u64,
    },
    /// The file is not text.
    #[error("{}, line {line}: this is no text in UTF-8; save the table in that encoding", .path.display())]
    CsvEncoding {
        /// The file.
        path: PathBuf,
        /// Line of the file; the first is 1.
        line: u64,
    },
    /// The file can not be unpacked or read.
    #[error("{} can not be read as CSV", .path.display())]
    Csv {
        /// The file.
        path: PathBuf,
        /// What the CSV reader says, with the line.
        source: csv::Error,
    },
}

/// A field for a message: quoted, and cut where it is long.
fn show_field(field: &str) -> String {
    const SHOWN_CHARS: usize = 40;
    if field.is_empty() {
        return "nothing".to_owned();
    }
    match field.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{:?}...", field.get(..end).unwrap_or_default()),
        None => format!("{field:?}"),
    }
}

/// What else to do about two columns of one name, if the name looks like a number: the file has no header.
fn missing_header(name: &str) -> &'static str {
    if name.trim().parse::<f64>().is_ok() {
        ", or, if the first line holds values, put a line with the names of the columns above it"
    } else {
        ""
    }
}
