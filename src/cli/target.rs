//! Where a result that a user names a file for may be written.

use super::exit::Exit;
use super::failure::Failure;
use std::fs;
use std::path::Path;
use trainer_runtime::keeper::{CHECKPOINTS_DIR, JOURNAL_DIR};
use trainer_runtime::lock;

/// Refuses a target that can not be replaced by a file, or lies among the files that a run keeps itself; nothing that is
/// said to force it makes that right.
///
/// # Errors
/// With [`Exit::Usage`].
pub fn check(path: &Path) -> Result<(), Failure> {
    let shown = path.display();
    let refuse = |message| Err(Failure::new(Exit::Usage, message));
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => {
            return refuse(format!("{shown} is a folder; name a file in it, or another one"));
        }
        Ok(found) if !found.is_file() => {
            return refuse(format!(
                "{shown} is no regular file, so it can not be replaced by one; give another name"
            ));
        }
        _ => {}
    }
    if is_of_a_run(path) {
        return refuse(format!(
            "{shown} would lie among the files that a run keeps itself; give a name outside of its `{CHECKPOINTS_DIR}` and \
             `{JOURNAL_DIR}`"
        ));
    }
    Ok(())
}

/// Whether the folder of this file is one of those in which only a run writes.
fn is_of_a_run(path: &Path) -> bool {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Ok(folder) = folder.canonicalize() else { return false };
    let (Some(name), Some(run)) = (folder.file_name(), folder.parent()) else { return false };
    let has_lock = || run.join(lock::FILE_NAME).is_file();
    let has_both = || run.join(JOURNAL_DIR).is_dir() && run.join(CHECKPOINTS_DIR).is_dir();
    (name == CHECKPOINTS_DIR || name == JOURNAL_DIR) && (has_lock() || has_both())
}

/// Whether two paths lead to one file that is there.
#[must_use]
pub fn is_same_file(one: &Path, other: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let file = |path: &Path| fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
    file(one).is_some_and(|found| file(other) == Some(found))
}
