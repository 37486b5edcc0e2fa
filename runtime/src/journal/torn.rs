//! Putting a torn tail aside, so that appending can go on behind the last intact record.

use std::path::{Path, PathBuf};

use super::load::Tail;
use super::segment::name_of;
use crate::disk::{Disk, DiskError, free_name, store_new};
use crate::mutant;

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
/// A crash in between leaves the segment as it was, and the next attempt makes another copy: nothing is lost, and
/// nothing but the torn bytes is ever cut. Nobody may hold a mapping of the segment.
///
/// Returns `None` for a tail that is not torn.
pub(super) fn set_aside(disk: &dyn Disk, dir: &Path, tail: &Tail) -> Result<Option<SetAside>, DiskError> {
    let Tail::Torn { path: segment, offset_bytes, .. } = tail else {
        return Ok(None);
    };
    let bytes = disk.read(segment, u64::MAX)?;
    let torn = usize::try_from(*offset_bytes).ok().and_then(|offset| bytes.get(offset..)).unwrap_or_default();
    let stem = format!("{}.torn-at-{offset_bytes}", name_of(segment));
    let path = dir.join(free_name(&disk.list(dir)?, &stem));
    if mutant::is("torn-cut-before-copied") {
        disk.open_append(segment)?.truncate(*offset_bytes)?;
    }
    store_new(disk, dir, &path, torn)?;

    let file = disk.open_append(segment)?;
    file.truncate(*offset_bytes)?;
    mutant::unless("torn-cut-sync", || file.sync_data())?;
    Ok(Some(SetAside { path, tail: tail.clone() }))
}
