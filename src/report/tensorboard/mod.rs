//! Event files of TensorBoard, derived from the journal.
//!
//! Here: the format of the file, which scalars it holds, and keeping it up to date while a run goes on. Not here: when
//! that is.
//!
//! There is one file per work directory, always of the same name. It holds what the journal holds, each step once:
//! `train/loss`, `lr` and `gradient_norm` of each step, `train/epoch_loss`, `val/NAME` and `epoch` of each epoch, and
//! `train/examples_per_s` between two readings of the clock. Steps are written when the next reading of the clock tells
//! when they were done, so the bytes follow from the journal alone. An attempt that finds the beginning of these bytes
//! goes on behind it, even in the middle of a record that a kill has cut, and a TensorBoard that is reading the file
//! goes on as well; any other file is replaced as a whole.

mod proto;
pub mod record;
mod scalars;

use crate::train::history::History;
use record::framed;
use scalars::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use trainer_runtime::atomic_file;
use trainer_runtime::disk::{Disk, DiskError, DiskFile};

pub use proto::{Event, Summary, Value};

/// The folder of a work directory that TensorBoard is pointed at.
pub const FOLDER: &str = "tensorboard";

/// TensorBoard takes every file for one of events whose name has `tfevents` in it.
const FILE: &str = "events.out.tfevents.trainer";

/// The first event of a file says this of its version.
const FILE_VERSION: &str = "brain.Event:2";

/// The event file of a run, up to date with its journal.
#[derive(Debug)]
pub struct EventFile {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    cursor: Cursor,
}

impl EventFile {
    /// Makes the event file of the run in `work_dir` hold all that its history does.
    ///
    /// # Errors
    /// If a storage operation fails.
    pub fn open(disk: &dyn Disk, work_dir: &Path, history: &History) -> Result<Self, DiskError> {
        let folder = work_dir.join(FOLDER);
        disk.create_dir_all(&folder)?;
        let path = folder.join(FILE);
        let mut leftover = path.clone().into_os_string();
        leftover.push(".tmp");
        // Of a process that was killed; TensorBoard would read it beside the other. Most often there is none.
        if let Err(error) = disk.remove(Path::new(&leftover)) {
            log::debug!("nothing to remove: {error}");
        }
        let mut cursor = Cursor::default();
        let expected = cursor.all_of(history);
        // A longer file is no beginning of it.
        let found = disk.read(&path, expected.len() as u64).ok();
        let rest = found.as_ref().and_then(|found| expected.strip_prefix(found.as_slice()));
        if rest.is_none() {
            atomic_file::write(disk, &path, &expected)?;
        }
        let file = disk.open_append(&path)?;
        file.write_all(rest.unwrap_or_default())?;
        Ok(Self { path, file, cursor })
    }

    /// Appends what the history has besides, up to its last reading of the clock.
    ///
    /// # Errors
    /// If it can not be written. The file is then to be left alone until it is opened again.
    pub fn update(&mut self, history: &History) -> Result<(), DiskError> {
        let bytes = self.cursor.timed_of(history);
        if bytes.is_empty() { Ok(()) } else { self.file.write_all(&bytes) }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// An event as bytes of the file.
fn encoded(event: &Event) -> Vec<u8> {
    framed(&prost::Message::encode_to_vec(event))
}

#[cfg(test)]
mod tests;
