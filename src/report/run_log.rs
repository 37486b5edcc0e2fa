//! The log file of a run, `trainer.log` in its work directory: what the program says, with the time of each line. It is
//! for people, and nothing depends on it: it is not synced, and one that can not be written never stops a run.

use env_logger::Logger;
use log::{Level, LevelFilter, Log, Metadata, Record};
use std::fmt::{self, Write as _};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use trainer_runtime::clock::utc;

/// Name of the log file in a work directory.
pub const FILE_NAME: &str = "trainer.log";
/// Name of the one before it.
pub const OLD_FILE_NAME: &str = "trainer.log.1";

/// Where a log file ends and the next one begins.
const MOST_BYTES: u64 = 8 << 20;

/// The target of log records that are lines which were said on stderr or stdout already: only the file takes them.
const SAID: &str = "trainer::said";

/// Records of other programs' code below this level are not for the file, unless stderr shows them.
const OF_OTHERS: LevelFilter = LevelFilter::Warn;

/// The log file that is open; a process has one run.
static OPEN: Mutex<Option<LogFile>> = Mutex::new(None);

/// Sends records of `log` to stderr as `stderr` has it, and those from info on to the log file, once one is
/// [`open`].
///
/// # Panics
/// Never; a logger that is installed already stays.
pub fn install(stderr: Logger) {
    log::set_max_level(stderr.filter().max(LevelFilter::Info));
    // Only an embedding program can have installed one before.
    _ = log::set_boxed_logger(Box::new(RunLog { stderr }));
}

/// Notes a line in the log file that was said elsewhere.
pub fn note(line: &str) {
    log::info!(target: SAID, "{line}");
}

/// Opens the log file of the run in `work_dir`, whose lock the caller holds, and notes which process writes there. A file
/// that has grown large gets another name first, in the place of the one before it.
pub fn open(work_dir: &Path) {
    let mut log = LogFile::open(work_dir.join(FILE_NAME), MOST_BYTES);
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    log.line(Level::Info, format_args!("process {} on {host}, trainer {}", std::process::id(), crate::BUILD));
    *open_log() = Some(log);
}

/// Notes a line in the log file of a work directory that another process works on.
pub fn note_beside(work_dir: &Path, line: &str) {
    // It may get another name at any time, so it is not kept open, and rotated by the other one alone.
    LogFile::open(work_dir.join(FILE_NAME), u64::MAX).line(Level::Info, format_args!("{line}"));
}

fn open_log() -> MutexGuard<'static, Option<LogFile>> {
    // A panic between two lines leaves at worst half a line.
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

struct RunLog {
    stderr: Logger,
}

impl RunLog {
    fn is_for_file(&self, metadata: &Metadata<'_>) -> bool {
        let is_ours = metadata.target().split("::").next() == Some("trainer");
        metadata.level() <= if is_ours { LevelFilter::Info } else { OF_OTHERS }
    }
}

impl Log for RunLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.is_for_file(metadata) || self.stderr.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        let is_said = record.target() == SAID;
        let is_shown = !is_said && self.stderr.matches(record);
        if is_shown {
            self.stderr.log(record);
        }
        if is_said || is_shown || self.is_for_file(record.metadata()) {
            let mut open = open_log();
            if let Some(file) = open.as_mut() {
                file.line(record.level(), *record.args());
            }
        }
    }

    fn flush(&self) {
        self.stderr.flush();
    }
}

/// A log file that is appended to.
#[derive(Debug)]
struct LogFile {
    path: PathBuf,
    most_bytes: u64,
    /// `None` when it could not be opened.
    file: Option<File>,
    len_bytes: u64,
    /// The line that is being written, kept so that a line takes no memory when there is none left.
    buffer: String,
    has_failed: bool,
}

impl LogFile {
    fn open(path: PathBuf, most_bytes: u64) -> Self {
        let buffer = String::with_capacity(1024);
        let mut log = Self { path, most_bytes, file: None, len_bytes: 0, buffer, has_failed: false };
        log.open_or_rotate();
        log
    }

    /// Opens the file; one that has grown large gets its other name before.
    fn open_or_rotate(&mut self) {
        let opened = fs::metadata(&self.path)
            .and_then(|found| {
                if found.is_file() && found.len() >= self.most_bytes {
                    fs::rename(&self.path, self.path.with_file_name(OLD_FILE_NAME))?;
                }
                Ok(())
            })
            .or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
            .and_then(|()| OpenOptions::new().append(true).create(true).open(&self.path))
            .and_then(|file| Ok((file.metadata()?.len(), file)));
        match opened {
            Ok((len_bytes, file)) => (self.len_bytes, self.file) = (len_bytes, Some(file)),
            Err(error) => {
                self.file = None;
                self.fail(&error);
            }
        }
    }

    /// Appends a line: when, how important where that is not usual, and what. Line breaks in it are kept, indented.
    fn line(&mut self, level: Level, what: fmt::Arguments<'_>) {
        if self.len_bytes >= self.most_bytes {
            self.open_or_rotate();
        }
        let Some(file) = &mut self.file else { return };
        self.buffer.clear();
        if self.has_failed {
            // What was cut off ends here.
            self.buffer.push('\n');
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        _ = write!(self.buffer, "{} ", timestamp(since.as_secs(), since.subsec_millis()));
        if level != Level::Info {
            _ = write!(self.buffer, "{level} ");
        }
        let start = self.buffer.len();
        _ = write!(self.buffer, "{what}");
        while self.buffer.ends_with('\n') {
            self.buffer.pop();
        }
        if self.buffer.get(start..).is_some_and(|text| text.contains('\n')) {
            self.buffer = self.buffer.replace('\n', "\n    ");
        }
        self.buffer.push('\n');
        // One call, so that lines of two processes do not mix.
        match file.write_all(self.buffer.as_bytes()) {
            Ok(()) => {
                self.has_failed = false;
                self.len_bytes += self.buffer.len() as u64;
            }
            Err(error) => self.fail(&error),
        }
    }

    /// Says once that the file lacks lines.
    fn fail(&mut self, error: &io::Error) {
        static SAID_ONCE: std::sync::Once = std::sync::Once::new();
        self.has_failed = true;
        let path = self.path.display();
        SAID_ONCE.call_once(|| {
            let said = "the run goes on, and what can not be written there is not kept";
            // Nobody may listen.
            _ = writeln!(io::stderr(), "note: could not write to {path}: {error}; {said}");
        });
    }
}

/// `2026-11-22T07:19:17.123Z`.
fn timestamp(unix_s: u64, millis: u32) -> String {
    let moment = utc(unix_s);
    let moment = moment.trim_end_matches(" UTC").replacen(' ', "T", 1);
    format!("{moment}.{millis:03}Z")
}

#[cfg(test)]
mod tests {
    use super::{FILE_NAME, LogFile, OLD_FILE_NAME, timestamp};
    use log::Level;
    use std::fs;

    #[test]
    fn a_line_has_its_moment_its_level_and_one_beginning() {
        assert_eq!(timestamp(1_795_315_123, 7), "2026-11-22T02:38:43.007Z");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        let mut log = LogFile::open(path.clone(), 1000);
        log.line(Level::Info, format_args!("one"));
        log.line(Level::Warn, format_args!("two\nlines\n"));
        let text = fs::read_to_string(path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[0].starts_with("20") && lines[0].ends_with("Z one"), "{text}");
        assert!(lines[1].ends_with("Z WARN two") && lines[2] == "    lines", "{text}");
    }

    #[test]
    fn a_file_that_has_grown_large_gets_another_name_and_two_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        for attempt in 0..5 {
            let mut log = LogFile::open(dir.path().join(FILE_NAME), 200);
            (0..3).for_each(|line| log.line(Level::Info, format_args!("{attempt} {line} {:->80}", "")));
        }
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
        assert!(
            read(FILE_NAME).contains(" 4 2 ") && !read(FILE_NAME).contains(" 3 0 "),
            "{}",
            read(FILE_NAME)
        );
        assert!(read(FILE_NAME).len() < 400 && read(OLD_FILE_NAME).len() < 400);
        // Every line is whole.
        assert!([FILE_NAME, OLD_FILE_NAME].iter().all(|name| read(name).ends_with("-\n")));
    }

    #[test]
    fn a_file_that_can_not_be_opened_is_no_failure() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join(FILE_NAME)).unwrap();
        let mut log = LogFile::open(dir.path().join(FILE_NAME), 200);
        log.line(Level::Info, format_args!("nobody reads this"));
        assert!(log.file.is_none());
    }
}
