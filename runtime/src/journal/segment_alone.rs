//! One segment by itself, for people who look at it: nothing is held against the segments before it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::{Damage, OpenError};
use super::format::HeaderFault;
use super::load::{self, Successor};
use super::scan::{ScannedFrame, scan};
use super::segment::{file_name, name_of, parse_file_name};
use super::{MAGIC, Payload, Record, Tail};
use crate::RunId;
use crate::disk::{Bytes, Disk, DiskError};

/// What a segment holds.
#[derive(Debug)]
pub struct Segment {
    /// The file.
    pub path: PathBuf,
    /// The run that it is of.
    pub run_id: RunId,
    /// Its number.
    pub number: u64,
    /// The size of the file.
    pub len_bytes: u64,
    /// Its intact records up to the first damage, or up to where the next segment goes on.
    pub records: Vec<Record>,
    /// How it ends, where it is not damaged.
    pub tail: Tail,
    /// The first damage.
    pub damage: Option<Damage>,
}

/// The segments in a directory of a journal by their numbers, each with its file's size in bytes. A directory that is
/// missing has none.
///
/// # Errors
/// If the directory can not be read.
pub fn segments(disk: &dyn Disk, dir: &Path) -> Result<Vec<(PathBuf, u64)>, DiskError> {
    let entries = match disk.list(dir) {
        Err(error) if error.is_not_found() => Vec::new(),
        listed => listed?,
    };
    let mut numbered: Vec<(u64, u64)> = entries
        .into_iter()
        .filter_map(|entry| Some((parse_file_name(&entry.name)?, entry.len_bytes)))
        .collect();
    numbered.sort_unstable();
    Ok(numbered.into_iter().map(|(number, bytes)| (dir.join(file_name(number)), bytes)).collect())
}

/// Whether a file that begins with these bytes is a segment of a journal, or was one.
#[must_use]
pub fn is_segment(first_bytes: &[u8]) -> bool {
    first_bytes.starts_with(&MAGIC)
}

/// Reads one segment. Where the next one lies beside it, this one ends where that one goes on.
///
/// # Errors
/// If the file can not be read, or its header does not verify.
pub fn read_segment(disk: &dyn Disk, path: &Path) -> Result<Segment, OpenError> {
    let bytes = Arc::new(Bytes::from(disk.read(path, u64::MAX)?));
    let named = parse_file_name(&name_of(path));
    let successor = match named.and_then(|number| number.checked_add(1)) {
        None => Successor::None,
        Some(next) => match disk.read(&path.with_file_name(file_name(next)), u64::MAX) {
            Err(error) if error.is_not_found() => Successor::None,
            next => Successor::of(&next?),
        },
    };
    let end = match successor {
        Successor::Behind(end) => end,
        Successor::None => None,
    };
    let mut records = Vec::new();
    let scanned = scan(&bytes, end, |ScannedFrame { sequence, kind, payload }| {
        let payload = Payload { segment: bytes.clone(), range: payload };
        records.push(Record { sequence, kind, payload });
    })
    .map_err(|fault| OpenError::header(path, fault))?;
    let (run_id, number) = (scanned.header.run_id, scanned.header.number);
    if named.is_some_and(|named| named != number) {
        return Err(OpenError::header(path, HeaderFault::Number { found: number }));
    }
    let (tail, damage) = match load::judge(path, &bytes, &scanned, successor) {
        Ok(tail) => (tail, None),
        Err(damage) => (Tail::Clean, Some(damage)),
    };
    let len_bytes = bytes.len() as u64;
    Ok(Segment { path: path.to_path_buf(), run_id, number, len_bytes, records, tail, damage })
}
