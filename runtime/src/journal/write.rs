//! Opening a journal and appending to it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::Record;
use super::appender::{Appender, Born, EMPTY_SEGMENT_BYTES, Link, OpenSegment, Pending};
use super::error::{AppendError, OpenError, SyncError};
use super::failover::Failover;
use super::format::{FRAME_HEAD_BYTES, Frames, MAX_PAYLOAD_BYTES};
use super::load::{self, LastSegment, Tail};
use super::segment::file_name;
use super::sync::{self, Shared, State, SyncHandle};
use super::torn::{self, SetAside};
use crate::RunId;
use crate::disk::Disk;
use crate::mutant;

/// When a segment is full and the next one begins, unless the options say otherwise: 64 MiB.
const SEGMENT_LIMIT_BYTES: u64 = 64 << 20;

/// The most bytes of frames that are kept in memory until they are durable: 16 MiB. An append that would exceed it first
/// makes durable what there is.
const PENDING_LIMIT_BYTES: u64 = 16 << 20;

/// When records become durable without being asked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Each append returns when its records are durable.
    Step,
    /// A thread makes them durable this long after they were appended; appending does not wait for it, unless 16 MiB
    /// are appended faster than the disk makes them durable.
    Interval(Duration),
    /// Only [`Journal::sync`] and [`SyncHandle::wait`] make them durable, and every 16 MiB an append: for a program that
    /// syncs around its checkpoints.
    Checkpoint,
}

/// How to open a journal.
#[derive(Debug, Clone)]
pub struct OpenOptions {
    /// The run that a new journal belongs to; drawn at random if `None`. An existing journal keeps its own.
    pub run_id: Option<RunId>,
    /// When records become durable; default: within a second.
    pub durability: Durability,
    /// The size at which a new segment begins, in bytes; default 64 MiB.
    pub segment_limit_bytes: u64,
}

impl Default for OpenOptions {
    fn default() -> OpenOptions {
        OpenOptions {
            run_id: None,
            durability: Durability::Interval(Duration::from_secs(1)),
            segment_limit_bytes: SEGMENT_LIMIT_BYTES,
        }
    }
}

/// A journal that was opened: what it held, and where to append.
#[derive(Debug)]
pub struct Opened {
    /// The journal.
    pub journal: Journal,
    /// Every record it held, in order; all of them are durable now.
    pub records: Vec<Record>,
    /// What was torn from its end and where it is now; `None` when the journal ended with a whole record.
    pub set_aside: Option<SetAside>,
}

/// The end of a journal, to append to. One per directory at a time: the caller holds the work directory's
/// [lock](crate::lock).
///
/// Dropping it syncs what was appended; call [`close`](Journal::close) to learn whether that succeeded.
pub struct Journal {
    dir: PathBuf,
    run_id: RunId,
    durability: Durability,
    segment_limit_bytes: u64,
    shared: Arc<Shared>,
    sync_thread: Option<JoinHandle<()>>,
}

impl Journal {
    /// Opens the journal in a directory, or starts one there, and brings back every record.
    ///
    /// A torn tail is copied to a file of its own and cut off. Appending goes on in a new segment, in which records that
    /// no other record says were durable are written again: the process that appended them may have failed to sync them, and then the system
    /// shows them and a power loss takes them. So all records that are returned are durable.
    ///
    /// # Errors
    /// If a segment is missing or damaged ([`OpenError::is_damage`]), or a storage operation fails. No record is lost
    /// then.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, options: OpenOptions) -> Result<Opened, OpenError> {
        disk.create_dir_all(dir)?;
        let map = |path: &Path| disk.map(path);
        let mut contents = load::load(&*disk, dir, map)?;
        let mut set_aside = None;
        if contents.tail != Tail::Clean {
            // The mappings end before the segment is cut.
            let tail = std::mem::replace(&mut contents, load::Contents::empty()).tail;
            set_aside = torn::set_aside(&*disk, dir, &tail)?;
            contents = load::load(&*disk, dir, map)?;
        }
        let appender = match contents.last {
            Some(last) => take_up(disk, dir, last)?,
            None => begin(disk, dir, options.run_id)?,
        };
        let run_id = appender.run_id;
        let shared = Arc::new(Shared::new(appender));
        let sync_thread = match options.durability {
            Durability::Interval(interval) => Some(sync::start_thread(shared.clone(), interval)),
            Durability::Step | Durability::Checkpoint => None,
        };
        let journal = Journal {
            dir: dir.to_path_buf(),
            run_id,
            durability: options.durability,
            segment_limit_bytes: options.segment_limit_bytes,
            shared,
            sync_thread: sync_thread.transpose().map_err(OpenError::Thread)?,
        };
        Ok(Opened { journal, records: contents.records, set_aside })
    }

    /// The run that this journal belongs to.
    pub fn run_id(&self) -> RunId {
        self.run_id
    }

    /// The number that the next record gets.
    pub fn next_sequence(&self) -> u64 {
        self.shared.lock().appender.end.sequence + 1
    }

    /// The last record that is known to be durable; 0 when none is.
    pub fn durable_sequence(&self) -> u64 {
        self.shared.lock().appender.durable.sequence
    }

    /// Appends a record with one `write(2)` and returns its number.
    ///
    /// When this returns, the record survives the death of the process; when it survives a loss of power, the
    /// [`Durability`] says. When the write fails, the journal [goes on in a new segment](Journal::take_failovers).
    ///
    /// # Errors
    /// If the record is not acceptable or there is no room for it (nothing is written, and appending may be tried
    /// again), or a write or sync and going on in a new segment have failed, now or before.
    pub fn append(&mut self, kind: u16, payload: &[u8]) -> Result<u64, AppendError> {
        self.append_batch(&[(kind, payload)])
    }

    /// Appends records with one `write(2)` and returns the number of the last one; of an empty batch, the number of
    /// the last record there is.
    ///
    /// After the death of the process within this call, any number of the first records may be there.
    ///
    /// # Errors
    /// As [`append`](Journal::append); a record that is not acceptable refuses the whole batch.
    pub fn append_batch(&mut self, records: &[(u16, &[u8])]) -> Result<u64, AppendError> {
        let batch_bytes = check_acceptable(records)?;
        let mut state = self.shared.lock();
        if let Some(failure) = &state.failure {
            return Err(AppendError::Latched(failure.clone()));
        }
        let end = state.appender.end.sequence;
        if records.is_empty() {
            return Ok(end);
        }
        let pending_bytes = state.appender.pending.len_bytes();
        let has_too_many_pending = pending_bytes > 0 && pending_bytes + batch_bytes > PENDING_LIMIT_BYTES;
        if has_too_many_pending || self.is_full(&state, batch_bytes) {
            drop(state);
            self.shared.sync_up_to(end)?;
            state = self.shared.lock();
        }
        // Asked again: if that sync failed, the segment is a new one.
        if self.is_full(&state, batch_bytes) {
            state.rotate()?;
        }
        let before = state.appender.mark();
        let was_idle = state.appender.pending.is_empty();
        state.append(records, batch_bytes)?;
        let end = state.appender.end.sequence;
        drop(state);
        match self.durability {
            Durability::Step => {
                self.shared.sync_up_to(end).inspect_err(|_| self.shared.forget_after(before))?;
            }
            Durability::Interval(_) if was_idle => self.shared.wake(),
            Durability::Interval(_) | Durability::Checkpoint => {}
        }
        Ok(end)
    }

    fn is_full(&self, state: &State, more_bytes: u64) -> bool {
        let segment_bytes = state.appender.segment.len_bytes;
        segment_bytes > EMPTY_SEGMENT_BYTES && segment_bytes + more_bytes > self.segment_limit_bytes
    }

    /// Makes every record appended so far durable.
    ///
    /// # Errors
    /// If that fails and the journal can not go on in a new segment, or could not before.
    pub fn sync(&mut self) -> Result<(), SyncError> {
        let state = self.shared.lock();
        if let Some(failure) = &state.failure {
            return Err(SyncError::Latched(failure.clone()));
        }
        let end = state.appender.end.sequence;
        drop(state);
        self.shared.sync_up_to(end)
    }

    /// A handle with which another thread makes every record appended so far durable. Returns at once.
    pub fn sync_handle(&self) -> SyncHandle {
        let end = self.shared.lock().appender.end.sequence;
        SyncHandle::new(self.shared.clone(), end)
    }

    /// The times that a segment failed and the journal went on in a new one, since the last call. They may come from any
    /// append, sync or wait, also on another thread; a program tells its user of them.
    pub fn take_failovers(&mut self) -> Vec<Failover> {
        std::mem::take(&mut self.shared.lock().failovers)
    }

    /// After a failure that was final, tries once more to go on in a new segment, with every record whose append
    /// succeeded: for a program that has made room on a full disk. Does nothing when there was no failure.
    ///
    /// # Errors
    /// The same failure again, if that fails.
    pub fn try_again(&mut self) -> Result<(), SyncError> {
        self.shared.try_again()
    }

    /// Makes everything durable and ends the journal.
    ///
    /// # Errors
    /// As [`sync`](Journal::sync).
    pub fn close(mut self) -> Result<(), SyncError> {
        self.stop_thread();
        self.sync()
    }

    fn stop_thread(&mut self) {
        if let Some(thread) = self.sync_thread.take() {
            self.shared.end();
            if thread.join().is_err() {
                log::error!("the thread that syncs the journal panicked");
            }
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.stop_thread();
        if let Err(error) = self.sync() {
            log::error!("{error}");
        }
        for failover in self.take_failovers() {
            log::warn!("{failover}");
        }
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.lock();
        f.debug_struct("Journal")
            .field("dir", &self.dir)
            .field("run_id", &self.run_id)
            .field("segment", &state.appender.segment.number)
            .field("end", &state.appender.end.sequence)
            .finish_non_exhaustive()
    }
}

/// Starts the first segment of a journal.
pub(super) fn begin(disk: Arc<dyn Disk>, dir: &Path, run_id: Option<RunId>) -> Result<Appender, OpenError> {
    let run_id = run_id.map_or_else(RunId::random, Ok).map_err(OpenError::Random)?;
    start(disk, dir, run_id, Born::new(run_id, 1, Link::START, &[]))
}

/// Goes on behind the last record of a journal that was there, in a new segment: a process appends only to segments that
/// it made itself.
///
/// What the processes before appended and lost may still lie on the disk, behind a tail that was cut or a size that a
/// power loss took back, and another power loss can bring it back behind new records. Under the salt of a new segment it
/// never verifies. Records that are not known to be durable are written again, because of what `sync_data` may have
/// answered the process before this one.
///
/// A last segment to which nothing was appended is made anew, so that opening alone does not add segments.
fn take_up(disk: Arc<dyn Disk>, dir: &Path, last: LastSegment) -> Result<Appender, OpenError> {
    // Its name may only be in the memory of the system, left there by a process that died.
    mutant::unless("journal-open-sync-dir", || disk.sync_dir(dir))?;
    let LastSegment { run_id, number, after, frames, is_as_born, end, durable, unproven, .. } = &last;
    if mutant::is("journal-open-same-segment") && unproven.is_empty() {
        return go_on_in_same_segment(disk, dir, &last);
    }
    let born = if *is_as_born {
        Born::new(*run_id, *number, *after, frames)
    } else if mutant::is("journal-open-believes-tail") {
        Born::new(*run_id, number + 1, *end, &[])
    } else {
        Born::new(*run_id, number + 1, *durable, unproven)
    };
    start(disk, dir, *run_id, born)
}

/// What [`take_up`] must not do.
fn go_on_in_same_segment(disk: Arc<dyn Disk>, dir: &Path, last: &LastSegment) -> Result<Appender, OpenError> {
    let LastSegment { run_id, number, salt, end, durable, frames, .. } = last;
    let path = dir.join(file_name(*number));
    let (file, frames, len_bytes) =
        (disk.open_append(&path)?, Frames::new(*salt), EMPTY_SEGMENT_BYTES + frames.len() as u64);
    let segment = OpenSegment { file, path, number: *number, frames, len_bytes, reserved_bytes: len_bytes };
    let (dir, pending) = (dir.to_path_buf(), Pending::default());
    Ok(Appender { disk, dir, run_id: *run_id, segment, end: *end, durable: *durable, pending })
}

fn start(
    disk: Arc<dyn Disk>,
    dir: &Path,
    run_id: RunId,
    born: io::Result<Born>,
) -> Result<Appender, OpenError> {
    let born = born.map_err(OpenError::Random)?;
    let segment = born.create(&*disk, dir)?;
    let (dir, end) = (dir.to_path_buf(), born.end);
    Ok(Appender { disk, dir, run_id, segment, end, durable: end, pending: Pending::default() })
}

/// How many bytes the frames of these records have, if all of them can be appended.
fn check_acceptable(records: &[(u16, &[u8])]) -> Result<u64, AppendError> {
    let mut batch_bytes = 0;
    for (kind, payload) in records {
        if *kind == 0 {
            return Err(AppendError::KindZero);
        }
        if payload.len() > MAX_PAYLOAD_BYTES && !mutant::is("journal-append-length-cap") {
            return Err(AppendError::PayloadTooLong { found_bytes: payload.len() });
        }
        batch_bytes += (FRAME_HEAD_BYTES + payload.len()) as u64;
    }
    Ok(batch_bytes)
}
