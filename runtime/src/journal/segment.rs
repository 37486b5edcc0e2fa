//! Segment files: their names, and how a new one comes to be.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Disk, DiskError, DiskFile, remove_if_present};
use crate::mutant;

const SUFFIX: &str = ".wal";

/// The name of a segment: `00000001.wal` is the first.
pub(super) fn file_name(number: u64) -> String {
    format!("{number:08}{SUFFIX}")
}

/// The number of the segment with this name, if it is a segment's name exactly as [`file_name`] builds it.
pub(super) fn parse_file_name(name: &str) -> Option<u64> {
    let number = name.strip_suffix(SUFFIX)?.parse().ok()?;
    (file_name(number) == name && number > 0).then_some(number)
}

/// Whether a file is a segment, or was one, or a part of one, before it got this name.
pub(super) fn is_or_was_segment(name: &str) -> bool {
    name.split_once(SUFFIX).is_some_and(|(number, _)| parse_file_name(&format!("{number}{SUFFIX}")).is_some())
}

/// The name in the path of a segment.
pub(super) fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Creates a segment of these bytes, durably, and opens it for appending.
///
/// It is written under another name first, so that a segment's name never shows less than these bytes. A segment of this
/// number that an earlier attempt left, whose name was perhaps not made durable, is replaced.
pub(super) fn create(
    disk: &dyn Disk,
    dir: &Path,
    number: u64,
    bytes: &[u8],
) -> Result<(PathBuf, Arc<dyn DiskFile>), DiskError> {
    let path = dir.join(file_name(number));
    let mut temporary = dir.join(format!("{}.tmp", file_name(number)));
    if mutant::is("segment-no-temporary-name") {
        temporary.clone_from(&path);
    }
    remove_if_present(disk, &temporary)?;
    let file = disk.create_new(&temporary)?;
    file.write_all(bytes)?;
    if mutant::is("segment-renamed-before-sync") {
        disk.rename(&temporary, &path)?;
    }
    mutant::unless("segment-sync", || file.sync_data())?;
    mutant::unless("segment-renamed-before-sync", || disk.rename(&temporary, &path))?;
    mutant::unless("segment-sync-dir", || disk.sync_dir(dir))?;
    Ok((path, file))
}

#[cfg(test)]
mod tests {
    use super::{file_name, parse_file_name};

    #[test]
    fn only_canonical_names_are_segments() {
        assert_eq!(file_name(1), "00000001.wal");
        for number in [1, 99_999_999, 100_000_000, u64::MAX] {
            assert_eq!(parse_file_name(&file_name(number)), Some(number));
        }
        for name in ["1.wal", "00000000.wal", "00000001.wal.tmp", "+0000001.wal", "0000000a.wal", ".wal"] {
            assert_eq!(parse_file_name(name), None, "{name}");
        }
    }
}
