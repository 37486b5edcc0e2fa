//! Whole files as bytes: the one place that maps files into memory.

use std::fs::{self, File};
use std::path::Path;

use bytes::Bytes;
use memmap2::Mmap;

use super::read::ReadError;

/// The content of a regular file, read from disk only where it is touched.
///
/// Anything but a regular file is refused before it is opened: opening a pipe would wait for a writer.
pub(crate) fn map_file(path: &Path) -> Result<Bytes, ReadError> {
    let unreadable = |source| ReadError::Open { path: path.to_path_buf(), source };
    let metadata = fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        let found = if metadata.is_dir() { "a folder" } else { "a pipe, socket or device" };
        return Err(ReadError::NotAFile { path: path.to_path_buf(), found });
    }
    let file = File::open(path).map_err(unreadable)?;
    map(&file).map(Bytes::from_owner).map_err(unreadable)
}

#[allow(unsafe_code)]
fn map(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: the map is private to this process, read-only, and only ever handed out as shared bytes, whose every bit
    // pattern is valid. What Rust can not rule out is another process that changes the file meanwhile. Bytes read from
    // it are converted, never trusted again after a check: no length, index or reference is taken from the map once
    // the headers are parsed into values of our own, so changed content can change numbers but not memory safety. A
    // shortened file ends the process by a signal, which the documentation of the module states.
    unsafe { Mmap::map(file) }
}
