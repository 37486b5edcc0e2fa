//! Opening a journal and appending to it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::error::{AppendError, OpenError, SyncError};
use super::format::{
    FRAME_HEAD_BYTES, FrameHead, HEADER_BYTES, MAX_PAYLOAD_BYTES, SegmentHeader, push_frame,
};
use super::load::{self, LastSegment, Tail};
use super::repair::{self, SetAside};
use super::sync::{self, Syncer};
use super::{Record, segment};
use crate::RunId;
use crate::disk::{Disk, DiskFile};
use crate::run_id::random_bytes;

/// When a segment is full and the next one begins, unless the options say otherwise: 64 MiB.
const SEGMENT_LIMIT_BYTES: u64 = 64 << 20;

/// When records become durable without being asked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Each append returns when its records are durable.
    Step,
    /// A thread makes them durable at most this long after they were appended; appending never waits for it.
    Interval(Duration),
    /// Only [`Journal::sync`] makes them durable: for a program that calls it around its checkpoints.
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
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    run_id: RunId,
    durability: Durability,
    segment_limit_bytes: u64,
    segment: OpenSegment,
    next_sequence: u64,
    /// Reused for the frames of each append.
    buffer: Vec<u8>,
    syncer: Arc<Syncer>,
    sync_thread: Option<JoinHandle<()>>,
}

struct OpenSegment {
    file: Arc<dyn DiskFile>,
    number: u64,
    salt: u64,
    len_bytes: u64,
    /// The checksum of the last frame, or of the header.
    crc: u32,
}

impl Journal {
    /// Opens the journal in a directory, or starts one there, and brings back every record.
    ///
    /// A torn tail is copied to a file of its own and cut off. All records that are returned are durable.
    ///
    /// # Errors
    /// If a segment is missing or damaged ([`OpenError::Damaged`]), or a storage operation fails. Nothing is changed
    /// then.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, options: OpenOptions) -> Result<Opened, OpenError> {
        disk.create_dir_all(dir)?;
        let map = |path: &Path| disk.map(path);
        let mut contents = load::load(&*disk, dir, map)?;
        let mut set_aside = None;
        if contents.tail != Tail::Clean {
            // The mappings end before the segment is cut.
            contents.records.clear();
            set_aside = repair::set_aside(&*disk, dir, &contents.tail)?;
            contents = load::load(&*disk, dir, map)?;
        }
        let run_id = match contents.run_id.or(options.run_id) {
            Some(run_id) => run_id,
            None => RunId::random().map_err(OpenError::Random)?,
        };
        let next_sequence = contents.last.as_ref().map_or(1, |last| last.next_sequence);
        let segment = match contents.last {
            Some(last) if set_aside.is_none() => continue_segment(&*disk, dir, last)?,
            // Behind a torn tail too: the bytes that were cut may still lie on the disk, where a power loss can bring
            // them back behind new records. Under the salt of a new segment they never verify.
            last => {
                let salt = random_bytes().map(u64::from_le_bytes).map_err(OpenError::Random)?;
                let (number, previous_crc) = last.map_or((1, 0), |last| (last.number + 1, last.crc));
                let first_sequence = next_sequence;
                let header = SegmentHeader { run_id, number, first_sequence, salt, previous_crc };
                OpenSegment::create(&*disk, dir, &header)?
            }
        };
        let syncer = Arc::new(Syncer::new(segment.file.clone(), next_sequence - 1));
        let sync_thread = match options.durability {
            Durability::Interval(interval) => Some(sync::start_thread(syncer.clone(), interval)),
            Durability::Step | Durability::Checkpoint => None,
        };
        let journal = Journal {
            disk,
            dir: dir.to_path_buf(),
            run_id,
            durability: options.durability,
            segment_limit_bytes: options.segment_limit_bytes,
            segment,
            next_sequence,
            buffer: Vec::new(),
            syncer,
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
        self.next_sequence
    }

    /// The last record that is known to be durable; 0 when none is.
    pub fn durable_sequence(&self) -> u64 {
        self.syncer.durable()
    }

    /// Appends a record with one `write(2)` and returns its number.
    ///
    /// When this returns, the record survives the death of the process; when it survives a loss of power, the
    /// [`Durability`] says.
    ///
    /// # Errors
    /// If the record is not acceptable (nothing is written), or a write or sync fails or has failed before.
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
        if let Some(failure) = self.syncer.failure() {
            return Err(AppendError::Latched(failure));
        }
        let batch_bytes = check_acceptable(records)?;
        if records.is_empty() {
            return Ok(self.next_sequence - 1);
        }
        let is_full = self.segment.len_bytes + batch_bytes > self.segment_limit_bytes;
        if is_full && self.segment.len_bytes > HEADER_BYTES as u64 {
            self.start_next_segment()?;
        }
        self.write_frames(records)?;
        if self.durability == Durability::Step {
            self.syncer.sync()?;
        }
        Ok(self.next_sequence - 1)
    }

    /// Makes every record appended so far durable.
    ///
    /// # Errors
    /// If that fails, or a write or sync has failed before.
    pub fn sync(&mut self) -> Result<(), SyncError> {
        self.syncer.sync()
    }

    /// Makes everything durable and ends the journal.
    ///
    /// # Errors
    /// If that fails, or a write or sync has failed before.
    pub fn close(mut self) -> Result<(), SyncError> {
        self.stop_thread();
        self.syncer.sync()
    }

    fn write_frames(&mut self, records: &[(u16, &[u8])]) -> Result<(), AppendError> {
        let watermark = self.syncer.durable();
        let mut crc = self.segment.crc;
        self.buffer.clear();
        for (&(kind, payload), sequence) in records.iter().zip(self.next_sequence..) {
            let payload_bytes = payload.len();
            let head = FrameHead { payload_bytes, kind, sequence, watermark, previous_crc: crc };
            crc = push_frame(&mut self.buffer, self.segment.salt, head, payload);
        }
        if let Err(error) = self.segment.file.write_all(&self.buffer) {
            return Err(AppendError::Disk(self.syncer.latch(error)));
        }
        self.segment.crc = crc;
        self.segment.len_bytes += self.buffer.len() as u64;
        self.next_sequence += records.len() as u64;
        self.syncer.note_written(self.next_sequence - 1);
        Ok(())
    }

    /// Makes this segment durable, then goes on in a new one: only the last segment ever has a tail that can tear.
    fn start_next_segment(&mut self) -> Result<(), AppendError> {
        self.syncer.sync()?;
        let header = SegmentHeader {
            run_id: self.run_id,
            number: self.segment.number + 1,
            first_sequence: self.next_sequence,
            salt: random_bytes().map(u64::from_le_bytes).map_err(AppendError::Random)?,
            previous_crc: self.segment.crc,
        };
        match OpenSegment::create(&*self.disk, &self.dir, &header) {
            Ok(segment) => self.segment = segment,
            Err(error) => return Err(AppendError::Disk(self.syncer.latch(error))),
        }
        self.syncer.replace_file(self.segment.file.clone());
        Ok(())
    }

    fn stop_thread(&mut self) {
        if let Some(thread) = self.sync_thread.take() {
            self.syncer.end();
            if thread.join().is_err() {
                log::error!("the thread that syncs the journal panicked");
            }
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.stop_thread();
        if let Err(error) = self.syncer.sync() {
            log::error!("{error}");
        }
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal")
            .field("dir", &self.dir)
            .field("run_id", &self.run_id)
            .field("segment", &self.segment.number)
            .field("next_sequence", &self.next_sequence)
            .finish_non_exhaustive()
    }
}

impl OpenSegment {
    fn create(
        disk: &dyn Disk,
        dir: &Path,
        header: &SegmentHeader,
    ) -> Result<OpenSegment, crate::disk::DiskError> {
        let (_, file) = segment::create(disk, dir, header)?;
        let crc = header.crc();
        Ok(OpenSegment {
            file,
            number: header.number,
            salt: header.salt,
            len_bytes: HEADER_BYTES as u64,
            crc,
        })
    }
}

/// Opens the last segment behind its last record. Its records, and even its name, may only be in the memory of the
/// system, left there by a process that died: both are synced, so that the watermark of the next record may count
/// what is there.
fn continue_segment(disk: &dyn Disk, dir: &Path, last: LastSegment) -> Result<OpenSegment, OpenError> {
    let file = disk.open_append(&last.path)?;
    file.sync_data()?;
    disk.sync_dir(dir)?;
    let LastSegment { number, salt, valid_bytes: len_bytes, crc, .. } = last;
    Ok(OpenSegment { file, number, salt, len_bytes, crc })
}

/// How many bytes the frames of these records have, if all of them can be appended.
fn check_acceptable(records: &[(u16, &[u8])]) -> Result<u64, AppendError> {
    let mut batch_bytes = 0;
    for (kind, payload) in records {
        if *kind == 0 {
            return Err(AppendError::KindZero);
        }
        if payload.len() > MAX_PAYLOAD_BYTES {
            return Err(AppendError::PayloadTooLong { found_bytes: payload.len() });
        }
        batch_bytes += (FRAME_HEAD_BYTES + payload.len()) as u64;
    }
    Ok(batch_bytes)
}
