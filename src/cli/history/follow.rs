//! `--follow`: what a run adds, as it adds it.

use super::notes::Notes;
use super::rows::{self, Row};
use super::{HistoryArgs, text};
use crate::cli::exit::Exit;
use crate::cli::failure::{Failure, fail};
use crate::cli::output::written;
use crate::cli::supervise;
use crate::cli::table::Table;
use crate::report::recorded::{ReadError, Recorded};
use crate::train::event::Event;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};
use trainer_runtime::RunId;
use trainer_runtime::keeper::JOURNAL_DIR;
use trainer_runtime::lock::WorkDirLock;

/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(200);

/// A look takes no more than this part of the time.
const SHARE_OF_TIME: u32 = 4;

/// Looks at a journal in a row that may find it damaged: a segment may get its successor between two files being read.
const GLITCHES: usize = 3;

/// Prints what is recorded, and then what is added, until nobody works on the run, or the reader goes away.
pub(super) fn follow(args: &HistoryArgs, out: &mut dyn Write) -> Result<Exit, Failure> {
    let mut follower = Follower { args, known: None, table: None, csv_header: None, notes: Notes::default() };
    let dir = &args.work_dir;
    let mut last_seen = None;
    let mut glitches = 0;
    loop {
        // Before reading: what is recorded by the one who held the lock then is read below.
        let is_live = is_live(dir)?;
        let since = Instant::now();
        let seen = stamps(dir);
        if last_seen.as_ref() != Some(&seen) || !is_live {
            match Recorded::read(dir) {
                Ok(recorded) => {
                    (glitches, last_seen) = (0, Some(seen));
                    if let Err(error) = follower.show(&recorded, out)? {
                        written(Err(error))?;
                        return Ok(Exit::Finished);
                    }
                }
                // It has only just begun.
                Err(ReadError::NoRun { .. }) if is_live => {}
                Err(ReadError::Journal(error)) if is_live && glitches < GLITCHES && error.is_damage() => {
                    glitches += 1;
                }
                Err(error) => return Err(Failure::unread(dir, error)),
            }
        }
        if !is_live {
            return Ok(Exit::Finished);
        }
        std::thread::sleep(PAUSE.max(since.elapsed() * SHARE_OF_TIME));
    }
}

/// Whether a process works on the run, or one that starts it again watches over it.
fn is_live(dir: &Path) -> Result<bool, Failure> {
    for folder in [dir.to_owned(), dir.join(supervise::FOLDER)] {
        if WorkDirLock::holder(&folder).map_err(fail(Exit::StorageFailed))?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What changes with every record: the names, sizes and times of the segments.
fn stamps(dir: &Path) -> Vec<(std::ffi::OsString, u64, Option<SystemTime>)> {
    let Ok(entries) = fs::read_dir(dir.join(JOURNAL_DIR)) else { return Vec::new() };
    let mut stamps: Vec<_> = entries
        .flatten()
        .filter_map(|entry| {
            let found = entry.metadata().ok()?;
            Some((entry.file_name(), found.len(), found.modified().ok()))
        })
        .collect();
    stamps.sort();
    stamps
}

struct Follower<'a> {
    args: &'a HistoryArgs,
    /// The run, and how many of its events were shown.
    known: Option<(RunId, usize)>,
    /// The table whose header was printed.
    table: Option<Table>,
    csv_header: Option<String>,
    notes: Notes,
}

impl Follower<'_> {
    /// Prints what is new; the inner error is that of a reader who has gone away.
    fn show(&mut self, recorded: &Recorded, out: &mut dyn Write) -> Result<io::Result<()>, Failure> {
        let Recorded { run_id, events, .. } = recorded;
        let lines = match self.known {
            None => self.first(recorded),
            Some((known, shown)) if known == *run_id && shown <= events.len() => {
                let new = events.get(shown..).unwrap_or_default();
                new.iter().filter_map(|event| self.line(event, recorded)).collect()
            }
            Some(_) => {
                let message = format!(
                    "the journal in {} is another than it was: it was repaired, or the run was begun anew; follow it again",
                    self.args.work_dir.display()
                );
                return Err(Failure::new(Exit::Damaged, message));
            }
        };
        self.known = Some((*run_id, events.len()));
        Ok(out.write_all(lines.as_bytes()).and_then(|()| out.flush()))
    }

    /// All that is recorded at first.
    fn first(&mut self, recorded: &Recorded) -> String {
        let history = &recorded.history;
        recorded.events.iter().for_each(|event| _ = self.notes.of(event));
        if self.args.csv && !self.args.steps && history.epochs.is_empty() {
            // The columns are known when the first epoch has ended.
            return String::new();
        }
        let text = text(self.args, recorded);
        if self.args.csv {
            self.csv_header = text.lines().next().map(str::to_owned);
        }
        let rows = if self.args.steps { rows::of_steps(history) } else { rows::of_epochs(history) };
        self.table = (!rows.is_empty()).then(|| rows::table(&rows));
        text
    }

    /// The line of an event; nothing if it has none.
    fn line(&mut self, event: &Event, recorded: &Recorded) -> Option<String> {
        let note = self.notes.of(event);
        let HistoryArgs { csv, json, steps, .. } = *self.args;
        let row = match event {
            Event::StepDone(done) if steps => {
                let attempt = rows::attempt_of(&recorded.history, done.step);
                if csv {
                    return Some(rows::step_csv(done, attempt));
                }
                Row::of_step(done, attempt)
            }
            Event::EpochDone(done) if !steps && csv => return self.epoch_csv(done.epoch, recorded),
            Event::EpochDone(done) if !steps => Row::of_epoch(done),
            _ => return note.filter(|_| !csv).map(|note| note.line(json)),
        };
        let mut lines = String::new();
        if self.table.is_none() && !json {
            let table = rows::table(std::slice::from_ref(&row));
            lines += &table.header();
            self.table = Some(table);
        }
        let table = self.table.get_or_insert_with(|| rows::table(&[]));
        Some(lines + &row.line(table, json))
    }

    /// The line of an epoch in CSV, under the header that was printed first.
    fn epoch_csv(&mut self, epoch: u64, recorded: &Recorded) -> Option<String> {
        let csv = recorded.history.to_csv();
        let header = csv.lines().next()?;
        let start = format!("{epoch},");
        // One that a change made void meanwhile has no line any more.
        let line = csv.lines().skip(1).find(|line| line.starts_with(&start))?;
        match &self.csv_header {
            Some(printed) if printed == header => Some(format!("{line}\n")),
            Some(_) => {
                log::warn!("the columns are others from epoch {epoch} on; the header is printed again");
                self.csv_header = Some(header.to_owned());
                Some(format!("{header}\n{line}\n"))
            }
            None => {
                self.csv_header = Some(header.to_owned());
                Some(format!("{header}\n{line}\n"))
            }
        }
    }
}
