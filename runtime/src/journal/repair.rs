//! Making a damaged journal one that can be gone on with: what verifies is kept, everything else is set aside, and
//! nothing is deleted.
//!
//! A journal is a chain: behind a record that is gone, no other can be trusted to be the next, however intact it is. So
//! the records before the first damage are kept, and the rest of that segment and all later ones go aside, where a
//! person can look at them.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::appender::{Born, Link};
use super::error::{Damage, OpenError};
use super::format::HEADER_BYTES;
use super::load::{self, Contents, Successor};
use super::scan::{Beyond, search_any, search_beyond};
use super::segment::{file_name, is_or_was_segment, name_of};
use super::{Record, Tail, write};
use crate::RunId;
use crate::disk::{Bytes, DirEntry, Disk, DiskError, free_name, store_new};
use crate::mutant;

/// What to do about a journal; nothing is done yet.
#[derive(Debug)]
pub struct Repair {
    dir: PathBuf,
    /// The first damage; `None` for a journal that can be opened as it is.
    pub damage: Option<OpenError>,
    /// The records that are kept, in order.
    pub records: Vec<Record>,
    /// The numbers of the records that the journal loses: up to the last that anything in it tells of. `None` if it
    /// tells of none.
    pub lost: Option<RangeInclusive<u64>>,
    /// What goes aside.
    pub set_aside: Vec<Part>,
    /// How a journal without damage ends. A torn tail is none: opening the journal deals with it.
    pub tail: Tail,
    /// The run of a journal of which no segment is kept, so that it begins anew.
    begins_anew: Option<RunId>,
    /// The segment that is kept in part, and made anew with that part.
    kept_in_part: Option<Replacement>,
}

/// A segment of which not everything is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The segment.
    pub from: PathBuf,
    /// The name that the file, whole and as it was, gets.
    pub to: PathBuf,
    /// Where in it begins what is not kept; 0 if nothing is.
    pub offset_bytes: u64,
    /// The size of what is not kept.
    pub len_bytes: u64,
    /// How many intact records are in that.
    pub intact_records: u64,
    /// Whether the search for those was given up, so that there may be more.
    pub gave_up_counting: bool,
}

impl Part {
    /// Whether nothing of the segment is kept.
    pub fn is_whole(&self) -> bool {
        self.offset_bytes == 0
    }
}

/// What a segment is made anew with.
#[derive(Debug)]
struct Replacement {
    number: u64,
    run_id: RunId,
    after: Link,
    frames: Vec<u8>,
}

/// Finds out what is wrong with a journal and what to do about it. Nothing is changed. The caller holds the work
/// directory's [lock](crate::lock).
///
/// # Errors
/// If a segment has another format version, which is no damage, or a file can not be read.
pub fn examine(disk: &dyn Disk, dir: &Path) -> Result<Repair, OpenError> {
    let numbers = load::segment_numbers(disk, dir)?;
    let taken = if numbers.is_empty() { Vec::new() } else { disk.list(dir)? };
    let mut segments = Vec::new();
    for number in numbers {
        let path = dir.join(file_name(number));
        let bytes = Arc::new(disk.map(&path)?);
        load::check_version(&path, &bytes)?;
        segments.push(Segment { number, path, bytes });
    }
    let run_id = segments.iter().find_map(|segment| Some(load::header_of(&segment.bytes)?.run_id));
    let mut survey = Survey { dir, taken, kept: Contents::empty(), set_aside: Vec::new(), last_known: 0 };
    let mut kept_in_part = None;
    let mut damage = None;
    let mut rest = segments.iter().zip(1..).peekable();
    while let Some((segment, expected)) = rest.next() {
        if damage.is_some() {
            survey.set_aside_whole(segment);
            continue;
        }
        if segment.number != expected {
            damage = Some(OpenError::Missing { path: dir.join(file_name(expected)) });
            survey.set_aside_whole(segment);
            continue;
        }
        let successor = match rest.peek() {
            None => Successor::None,
            Some((next, _)) if next.number == expected + 1 => Successor::of(&next.bytes),
            Some(_) => Successor::Behind(None),
        };
        match survey.kept.add(&segment.path, &segment.bytes, expected, successor) {
            Ok(()) => {}
            Err(OpenError::Damaged(found)) => {
                kept_in_part = survey.set_aside_end(segment, &found);
                damage = Some(OpenError::Damaged(found));
            }
            Err(error) => {
                survey.set_aside_whole(segment);
                damage = Some(error);
            }
        }
    }
    let Survey { kept, set_aside, last_known, .. } = survey;
    let first_lost = kept.records.len() as u64 + 1;
    let lost = (last_known >= first_lost && damage.is_some()).then_some(first_lost..=last_known);
    // A segment without a record is one that others go on behind.
    let begins_anew = run_id.filter(|_| damage.is_some() && kept.last.is_none());
    let (dir, tail, records) = (dir.to_path_buf(), kept.tail, kept.records);
    Ok(Repair { dir, damage, records, lost, set_aside, tail, begins_anew, kept_in_part })
}

/// Whether a directory holds segments of a journal, or what an earlier repair set aside of them.
///
/// # Errors
/// If it can not be read; one that is missing holds none.
pub fn has_segments(disk: &dyn Disk, dir: &Path) -> Result<bool, DiskError> {
    match disk.list(dir) {
        Err(error) if error.is_not_found() => Ok(false),
        listed => Ok(listed?.iter().any(|entry| is_or_was_segment(&entry.name))),
    }
}

struct Segment {
    number: u64,
    path: PathBuf,
    bytes: Arc<Bytes>,
}

/// What is kept and what is not, as far as the segments have been looked through.
struct Survey<'a> {
    dir: &'a Path,
    taken: Vec<DirEntry>,
    kept: Contents,
    set_aside: Vec<Part>,
    /// The last record that what is not kept tells of.
    last_known: u64,
}

impl Survey<'_> {
    /// Sets aside a segment from where it is damaged, and gives what it is made anew with.
    fn set_aside_end(&mut self, segment: &Segment, damage: &Damage) -> Option<Replacement> {
        let start = usize::try_from(damage.offset_bytes).ok()?;
        let after = self.kept.last.as_ref().map_or(Link::START, |last| last.end);
        // It was read up to there, so this is the same again, without what comes behind.
        let scan = self.kept.add_start(&segment.bytes, start).ok()?;
        self.last_known = self.last_known.max(damage.sequence).max(scan.promised());
        let found = search_beyond(&segment.bytes, &scan);
        self.add_part(segment, &format!("damaged-at-{start}"), start, &found);
        let frames = segment.bytes.get(HEADER_BYTES..scan.valid_bytes).unwrap_or_default().to_vec();
        Some(Replacement { number: segment.number, run_id: scan.header.run_id, after, frames })
    }

    fn set_aside_whole(&mut self, segment: &Segment) {
        if let Some(header) = load::header_of(&segment.bytes) {
            self.last_known = self.last_known.max(header.first_sequence.saturating_sub(1));
        }
        self.add_part(segment, "set-aside", 0, &search_any(&segment.bytes));
    }

    fn add_part(&mut self, segment: &Segment, ending: &str, start: usize, found: &Beyond) {
        self.last_known = self.last_known.max(found.last_sequence).max(found.watermark);
        let name = free_name(&self.taken, &format!("{}.{ending}", name_of(&segment.path)));
        self.set_aside.push(Part {
            from: segment.path.clone(),
            to: self.dir.join(name),
            offset_bytes: start as u64,
            len_bytes: segment.bytes.len().saturating_sub(start) as u64,
            intact_records: found.intact_records,
            gave_up_counting: found.gave_up,
        });
    }
}

impl Repair {
    /// Whether there is nothing to do.
    pub fn is_whole(&self) -> bool {
        self.damage.is_none()
    }

    /// Does it. A crash in between leaves a journal that is refused as damaged, and to be repaired again, or one that
    /// is repaired; each byte is at every instant where it was, or where it goes.
    ///
    /// # Errors
    /// If a storage operation fails.
    pub fn apply(&self, disk: &Arc<dyn Disk>) -> Result<(), OpenError> {
        let (whole, in_part): (Vec<&Part>, Vec<&Part>) =
            self.set_aside.iter().partition(|part| part.is_whole());
        for part in in_part {
            keep_second_name(&**disk, &self.dir, part)?;
        }
        // The part that is kept is in a new file, under a new salt, before the old one gives up its name. A segment that
        // comes behind it does not fit behind the new one, so until all are gone the journal is refused.
        if let Some(Replacement { number, run_id, after, frames }) = &self.kept_in_part {
            let born = Born::new(*run_id, *number, *after, frames).map_err(OpenError::Random)?;
            born.create(&**disk, &self.dir)?;
        }
        // The last first, so that there is no gap, and the one that does not fit stays until the end.
        for part in whole.into_iter().rev() {
            disk.rename(&part.from, &part.to)?;
            mutant::unless("repair-sync-dir", || disk.sync_dir(&self.dir))?;
        }
        if self.begins_anew.is_some() {
            // A journal without a record still tells which run it is of.
            write::begin(disk.clone(), &self.dir, self.begins_anew)?;
        }
        Ok(())
    }
}

/// Gives a segment the name under which it stays, beside its own; where there are no hard links, a copy gets it.
fn keep_second_name(disk: &dyn Disk, dir: &Path, part: &Part) -> Result<(), DiskError> {
    match disk.hard_link(&part.from, &part.to) {
        Ok(()) => mutant::unless("repair-link-sync-dir", || disk.sync_dir(dir)),
        Err(_) => store_new(disk, dir, &part.to, &disk.read(&part.from, u64::MAX)?),
    }
}
