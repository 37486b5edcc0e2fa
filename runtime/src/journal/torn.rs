//! Putting a torn tail aside, so that appending can go on behind the last intact record.

use std::path::{Path, PathBuf};

use super::load::Tail;
use crate::disk::{Disk, DiskError, store_new};

/// A torn tail that was moved out of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAside {
    /// The file that now holds the torn bytes.
    pub path: PathBuf,
    /// What was torn.
    pub tail: Tail,
}

impl std::fmt::Display for SetAside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "the last record was written in part only; its bytes are set aside in {}",
            self.path.display()
        )
    }
}

/// Copies the torn bytes into a file of their own, then cuts them from the segment.
///
/// A crash in between leaves the segment as it was, and the next repair makes another copy: nothing is lost, and
/// nothing but the torn bytes is ever cut. Nobody may hold a mapping of the segment.
///
/// Returns `None` for a tail that is not torn.
pub(super) fn set_aside(disk: &dyn Disk, dir: &Path, tail: &Tail) -> Result<Option<SetAside>, DiskError> {
    let Tail::Torn { path: segment, offset_bytes, .. } = tail else {
        return Ok(None);
    };
    let bytes = disk.read(segment, u64::MAX)?;
    let torn = usize::try_from(*offset_bytes).ok().and_then(|offset| bytes.get(offset..)).unwrap_or_default();
    let name = free_name(disk, dir, segment, *offset_bytes)?;
    store_new(disk, dir, &name, torn)?;

    let file = disk.open_append(segment)?;
    file.truncate(*offset_bytes)?;
    file.sync_data()?;
    Ok(Some(SetAside { path: dir.join(name), tail: tail.clone() }))
}

/// `00000003.wal.torn-at-1234`, with a number behind it when an earlier repair took that name.
fn free_name(disk: &dyn Disk, dir: &Path, segment: &Path, offset_bytes: u64) -> Result<String, DiskError> {
    let segment = segment.file_name().unwrap_or_default().to_string_lossy();
    let stem = format!("{segment}.torn-at-{offset_bytes}");
    let taken = disk.list(dir)?;
    let is_free = |name: &String| taken.iter().all(|entry| entry.name != *name);
    let numbered = (2_u64..).map(|count| format!("{stem}-{count}"));
    Ok(std::iter::once(stem.clone()).chain(numbered).find(is_free).unwrap_or(stem))
}
