//! What a file is that is no checkpoint of ours: another program's, or a damaged one.

use crate::cli::exit::Exit;
use crate::cli::failure::{Failure, fail};
use std::path::Path;
use trainer_runtime::checkpoint::{LoadError, LoadFault};
use trainer_runtime::disk::{Disk as _, DiskError, RealDisk};

/// What the header of a checkpoint has and that of another program's safetensors file has not.
const LACKS: &str = "it lacks the checksum of its header (`header_crc32`, the first of its metadata), the checksums of its \
                     tensors, run id, epoch and step";

/// The failure that stands for a file whose header does not verify.
pub fn refuse(path: &Path, error: LoadError) -> Failure {
    match error {
        LoadError::Disk(error) => unread(error),
        error if is_of_others(path, &error) => {
            let shown = path.display();
            let what = if is_safetensors(path) {
                format!(
                    "{shown} is a safetensors file of another program: {LACKS}; it may be given as initial weights \
                         (`model.weights`)"
                )
            } else {
                format!("{shown} is neither a checkpoint nor a segment of a journal, by its first bytes")
            };
            Failure::new(Exit::Usage, format!("{what}; only what `trainer run` wrote can be looked at"))
        }
        LoadError::Fault { fault: LoadFault::NotOurs, .. } if is_safetensors(path) => {
            let shown = path.display();
            let message =
                format!("{shown} has the name of a checkpoint, and another program saved it: {LACKS}");
            Failure::new(Exit::Usage, message)
        }
        error => fail(Exit::Damaged)(error),
    }
}

/// A file that can not be read: the wrong path, or a disk that failed.
pub(super) fn unread(error: DiskError) -> Failure {
    let exit = if error.is_not_found() { Exit::Usage } else { Exit::StorageFailed };
    fail(exit)(error)
}

/// Whether name and first bytes of a file that does not verify say that it never was a checkpoint of ours.
pub fn is_of_others(path: &Path, error: &LoadError) -> bool {
    matches!(error, LoadError::Fault { fault, .. } if is_foreign(fault)) && !has_our_name(path)
}

/// Whether the first bytes are such as none of our files begins with.
fn is_foreign(fault: &LoadFault) -> bool {
    matches!(fault, LoadFault::Short { .. } | LoadFault::HeaderTooLarge { .. } | LoadFault::NotOurs)
}

fn has_our_name(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(super::is_checkpoint_name)
}

/// Whether any reader of safetensors takes the file for one.
fn is_safetensors(path: &Path) -> bool {
    RealDisk.map(path).is_ok_and(|bytes| safetensors::SafeTensors::read_metadata(&bytes).is_ok())
}
