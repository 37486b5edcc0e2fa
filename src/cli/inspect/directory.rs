//! What the folder of a run holds: its journal in numbers, and each of its checkpoints.

use super::{InspectArgs, checkpoint_paths, checkpoints_dir, records};
use crate::cli::exit::Exit;
use crate::cli::failure::{Failure, fail};
use crate::cli::output;
use crate::cli::table::{Align, Table, size};
use crate::train::event::Event;
use rayon::prelude::*;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use trainer_runtime::checkpoint::{Examined, LoadError, TensorCheck};
use trainer_runtime::clock::utc;
use trainer_runtime::disk::RealDisk;
use trainer_runtime::journal::{self, OpenError, Tail};
use trainer_runtime::keeper::JOURNAL_DIR;

/// A folder.
#[derive(Debug, Serialize)]
struct DirectoryReport {
    #[serde(serialize_with = "crate::cli::output::path")]
    path: PathBuf,
    run_id: Option<String>,
    /// Whether everything verifies.
    good: bool,
    journal: Option<JournalReport>,
    checkpoints: Vec<CheckpointLine>,
}

/// A journal in numbers.
#[derive(Debug, Serialize)]
struct JournalReport {
    records: u64,
    /// Records by the name of their kind.
    by_kind: BTreeMap<String, u64>,
    /// Processes that have worked on the run.
    attempts: u64,
    segments: Vec<SegmentLine>,
    /// Bytes at the end that are no whole record.
    torn_bytes: u64,
    /// What the clock said when it began, in seconds since 1970; nothing if it has no reading of the clock.
    began_unix_s: Option<u64>,
    /// When something was last written, in seconds since 1970.
    last_written_unix_s: Option<u64>,
    damage: Option<String>,
}

#[derive(Debug, Serialize)]
struct SegmentLine {
    #[serde(serialize_with = "crate::cli::output::path")]
    path: PathBuf,
    len_bytes: u64,
    records: u64,
}

/// A checkpoint, or a link to one.
#[derive(Debug, Serialize)]
struct CheckpointLine {
    #[serde(serialize_with = "crate::cli::output::path")]
    path: PathBuf,
    /// Its file name; of a branch that ended, behind that of the branch's folder.
    #[serde(skip)]
    name: String,
    len_bytes: u64,
    /// For a link, the name of the checkpoint that it is a second name of, if that is there.
    same_file_as: Option<String>,
    cause: Option<String>,
    epoch: Option<u64>,
    step: Option<u64>,
    tensors: Option<u64>,
    /// Whether all of it verifies.
    good: bool,
    damage: Option<String>,
}

pub(super) fn print(args: &InspectArgs, out: &mut dyn Write) -> Result<Exit, Failure> {
    let dir = &args.path;
    let journal_dir = dir.join(JOURNAL_DIR);
    let checkpoints_dir = checkpoints_dir(dir);
    let checkpoints = checkpoint_paths(&checkpoints_dir)?;
    let has_journal = journal_dir.is_dir();
    if checkpoints.is_empty() && !has_journal {
        let lacks = "neither a journal nor checkpoints";
        return Err(Failure::not_a_run(dir, lacks, ", its journal, or the file of a checkpoint"));
    }
    let (journal, run_id) = if has_journal { of_journal(&journal_dir)? } else { (None, None) };
    let checkpoints = of_checkpoints(&checkpoints_dir, &checkpoints)?;
    let good = journal.as_ref().is_none_or(|journal| journal.damage.is_none())
        && checkpoints.iter().all(|checkpoint| checkpoint.good);
    let report = DirectoryReport { path: dir.clone(), run_id, good, journal, checkpoints };
    output::print(&report, args.json, out)?;
    Ok(if good { Exit::Finished } else { Exit::Damaged })
}

fn of_journal(dir: &Path) -> Result<(Option<JournalReport>, Option<String>), Failure> {
    let whole = journal::read(&RealDisk, dir);
    let damage = match &whole {
        Ok(_) => None,
        Err(error) if error.is_damage() || matches!(error, OpenError::Version { .. }) => {
            Some(error.to_string())
        }
        Err(_) => return whole.map(|_| (None, None)).map_err(records::refuse),
    };
    let torn_bytes = match whole.as_ref().map(|contents| &contents.tail) {
        Ok(Tail::Torn { torn_bytes, .. }) => *torn_bytes,
        _ => 0,
    };
    let mut report = JournalReport {
        records: 0,
        by_kind: BTreeMap::new(),
        attempts: 0,
        segments: Vec::new(),
        torn_bytes,
        began_unix_s: None,
        last_written_unix_s: None,
        damage,
    };
    let mut run_id = None;
    let mut names = records::KindNames::default();
    for (path, len_bytes) in journal::segments(&RealDisk, dir).map_err(fail(Exit::StorageFailed))? {
        let written = fs::metadata(&path).ok().and_then(|found| u64::try_from(found.mtime()).ok());
        report.last_written_unix_s = report.last_written_unix_s.max(written);
        let mut count = 0;
        if let Ok(segment) = journal::read_segment(&RealDisk, &path) {
            count = segment.records.len() as u64;
            run_id = run_id.or(Some(segment.run_id.to_string()));
            for record in &segment.records {
                *report.by_kind.entry(names.of(record).to_owned()).or_default() += 1;
                report.note(record);
            }
        }
        report.records += count;
        report.segments.push(SegmentLine { path, len_bytes, records: count });
    }
    Ok((Some(report), run_id))
}

impl JournalReport {
    /// Takes from a record who worked on the run, and when.
    fn note(&mut self, record: &journal::Record) {
        match Event::decode(record.sequence, record.kind, &record.payload) {
            Ok(Event::RunStarted(_)) => self.attempts = self.attempts.max(1),
            Ok(Event::Resumed(resumed)) => self.attempts = resumed.attempt,
            Ok(Event::Sampled(sampled)) => {
                self.began_unix_s = self.began_unix_s.or(Some(sampled.unix_ms / 1000));
            }
            _ => {}
        }
    }
}

/// Examines every checkpoint, each file once.
fn of_checkpoints(dir: &Path, paths: &[PathBuf]) -> Result<Vec<CheckpointLine>, Failure> {
    // A run that goes on drops older ones.
    let found = paths.iter().filter_map(|path| Some((path, fs::metadata(path).ok()?)));
    let mut files: Vec<(PathBuf, u64, u64)> =
        found.map(|(path, found)| (path.clone(), found.ino(), found.len())).collect();
    let is_link = |path: &Path| path.file_name().is_none_or(|name| !name.to_string_lossy().contains("step-"));
    // In each folder, links behind what they are second names of.
    files.sort_by_key(|(path, ..)| (path.parent() != Some(dir), is_link(path)));
    let mut firsts: BTreeMap<u64, PathBuf> = BTreeMap::new();
    for (path, inode, _) in &files {
        firsts.entry(*inode).or_insert_with(|| path.clone());
    }
    let firsts = &firsts;
    let name_of = |path: &Path| path.strip_prefix(dir).unwrap_or(path).to_string_lossy().into_owned();
    let lines: Vec<Result<Option<CheckpointLine>, Failure>> = files
        .par_iter()
        .map(|(path, inode, len_bytes)| {
            let first = firsts.get(inode).filter(|first| *first != path);
            let same_file_as = first.map(|first| name_of(first));
            CheckpointLine::of(path, name_of(path), *len_bytes, same_file_as)
        })
        .collect();
    let lines: Result<Vec<Option<CheckpointLine>>, Failure> = lines.into_iter().collect();
    Ok(lines?.into_iter().flatten().collect())
}

impl CheckpointLine {
    /// `None` if it is gone.
    fn of(
        path: &Path,
        name: String,
        len_bytes: u64,
        same_file_as: Option<String>,
    ) -> Result<Option<Self>, Failure> {
        let mut line = Self {
            path: path.to_owned(),
            name,
            len_bytes,
            same_file_as,
            cause: None,
            epoch: None,
            step: None,
            tensors: None,
            good: false,
            damage: None,
        };
        let examined = match Examined::open(&RealDisk, path) {
            Ok(examined) => examined,
            Err(LoadError::Disk(error)) if error.is_not_found() => return Ok(None),
            Err(LoadError::Disk(error)) => return Err(fail(Exit::StorageFailed)(error)),
            Err(error) => {
                line.damage = Some(error.to_string());
                return Ok(Some(line));
            }
        };
        let meta = examined.meta();
        line.cause = Some(meta.kind.to_string());
        line.epoch = Some(meta.epoch);
        line.step = Some(meta.step);
        line.tensors = Some(examined.tensors().count() as u64);
        let bad: Vec<&str> = match &line.same_file_as {
            // The file itself is examined under its other name.
            Some(_) => Vec::new(),
            None => {
                let bad = examined.tensors().filter(|tensor| tensor.check() != TensorCheck::Good);
                bad.map(|tensor| tensor.name).collect()
            }
        };
        line.damage = match (examined.fault(), bad.first()) {
            (Some(fault), _) => Some(fault.to_string()),
            (None, Some(first)) => {
                let do_not = if bad.len() == 1 { "tensor does not" } else { "tensors do not" };
                Some(format!("{} {do_not} verify, the first is {first:?}", bad.len()))
            }
            (None, None) => None,
        };
        line.good = line.damage.is_none();
        Ok(Some(line))
    }
}

impl fmt::Display for DirectoryReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |name: &str, value: &str| writeln!(f, "{name:<14}{value}");
        row("folder", &self.path.display().to_string())?;
        row("run", self.run_id.as_deref().unwrap_or("-"))?;
        if let Some(journal) = &self.journal {
            let bytes: u64 = journal.segments.iter().map(|segment| segment.len_bytes).sum();
            let segments = journal.segments.len();
            let plural = if segments == 1 { "" } else { "s" };
            let text = format!("{} records, {} in {segments} segment{plural}", journal.records, size(bytes));
            row("journal", &text)?;
            row("attempts", &journal.attempts.to_string())?;
            if let Some(began) = journal.began_unix_s {
                row("began", &utc(began))?;
            }
            if let Some(written) = journal.last_written_unix_s {
                row("last written", &utc(written))?;
            }
            if journal.torn_bytes > 0 {
                row("", &format!("its last {} bytes are not a whole record (yet)", journal.torn_bytes))?;
            }
            if let Some(damage) = &journal.damage {
                row("DAMAGED", damage)?;
            }
            for (kind, count) in &journal.by_kind {
                row("", &format!("{count:>7}  {kind}"))?;
            }
        }
        if self.checkpoints.is_empty() {
            return writeln!(f, "no checkpoints");
        }
        let table = Table::new([
            ("checkpoint", Align::Left),
            ("cause", Align::Left),
            ("epoch", Align::Right),
            ("step", Align::Right),
            ("size", Align::Right),
            ("tensors", Align::Right),
            ("state", Align::Left),
        ]);
        let rows: Vec<Vec<String>> = self.checkpoints.iter().map(CheckpointLine::cells).collect();
        write!(f, "\n{}", table.render(&rows))
    }
}

impl CheckpointLine {
    fn cells(&self) -> Vec<String> {
        let number = |number: Option<u64>| number.map_or("-".to_owned(), |number| number.to_string());
        let state = match (&self.damage, &self.same_file_as) {
            (Some(damage), _) => format!("DAMAGED: {damage}"),
            (None, Some(same)) => format!("same file as {same}"),
            (None, None) => "good".to_owned(),
        };
        vec![
            self.name.clone(),
            self.cause.clone().unwrap_or("-".to_owned()),
            number(self.epoch),
            number(self.step),
            size(self.len_bytes),
            number(self.tensors),
            state,
        ]
    }
}
