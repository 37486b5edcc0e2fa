//! One trial as a process of this program, with a work directory, a settings file and a log of its own.

use super::Sweep;
use super::ended::is_from_outside;
use crate::cli::args::GlobalArgs;
use crate::cli::exit::Exit;
use crate::cli::failure::{Failure, fail};
use crate::cli::supervise::program;
use crate::config::to_toml;
use crate::report::mlflow::{TRIAL_NAME_VARIABLE, TRIAL_VARIABLE};
use crate::sweep::plan::Trial;
use crate::sweep::standing::{self, forget_failure, note_failure};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use thiserror::Error;
use trainer_runtime::atomic_file;
use trainer_runtime::disk::RealDisk;
use trainer_runtime::supervisor::{BEFORE, SUPERVISOR_PID};

/// The settings with which a trial is started, in its folder.
const SETTINGS: &str = "trial.toml";

/// What a trial says, in its folder.
pub(super) const LOG: &str = "trial.log";

/// How much of the end of a log is read for the last error.
const LOG_TAIL_BYTES: u64 = 8192;

/// A trial that could not be started.
#[derive(Debug, Error)]
#[error("could not make or open {}: {source}; check the folder of the trial", path.display())]
struct StartError {
    path: PathBuf,
    source: io::Error,
}

/// A trial's process, and where in its log it begins.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) child: Child,
    pub(super) log_from: u64,
}

/// Starts a trial, to be ended after `epochs` if they are given.
pub(super) fn start(
    sweep: &Sweep,
    trial: &Trial,
    epochs: Option<u64>,
    global: &GlobalArgs,
) -> Result<Started, Failure> {
    let dir = sweep.trial_dir(trial);
    let at = |path: PathBuf| move |source| fail(Exit::StorageFailed)(StartError { path, source });
    fs::create_dir_all(&dir).map_err(at(dir.clone()))?;
    forget_failure(&dir).map_err(at(dir.join(standing::FAILURE)))?;
    let settings = sweep.settings(trial.number).map(to_toml).unwrap_or_default();
    let path = dir.join(SETTINGS);
    atomic_file::write(&RealDisk, &path, settings.as_bytes()).map_err(fail(Exit::StorageFailed))?;
    let log_path = dir.join(LOG);
    let log = OpenOptions::new().create(true).append(true).open(&log_path).map_err(at(log_path.clone()))?;
    let log_from = log.metadata().map_err(at(log_path.clone()))?.len();
    let second = log.try_clone().map_err(at(log_path))?;
    let mut command = Command::new(program());
    command.arg("run").arg("--work-dir").arg(&dir).arg("--config").arg(&path);
    if let Some(epochs) = epochs {
        command.arg("--epochs").arg(epochs.to_string());
    }
    if let Some(library) = &global.ort_lib {
        command.arg("--ort-lib").arg(library);
    }
    if global.offline {
        command.arg("--offline");
    }
    // A signal to the process group reaches a trial twice, and it is to end with the sweep: as under a supervisor.
    command.env(SUPERVISOR_PID, std::process::id().to_string()).env_remove(BEFORE);
    command.env(TRIAL_VARIABLE, sweep.plan.trial_id(trial)).env(TRIAL_NAME_VARIABLE, &trial.name);
    // What is said of one run is not meant for each trial.
    command.env_remove("TRAINER_RUN_ID").env_remove("TRAINER_RESUME");
    command.stdin(Stdio::null()).stdout(second).stderr(log);
    let child = command.spawn().map_err(fail(Exit::Failure))?;
    Ok(Started { child, log_from })
}

/// How a trial's process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// With this code, which is no failure.
    Exit(Exit),
    /// It was killed by this signal from outside, as the kernel does for memory, and goes on when it is run again.
    Killed(i32),
    /// With an error; it was noted.
    Failed(standing::Failure),
}

/// Says how a trial in `dir` ended, whose process began at `log_from` in its log, and notes a failure.
pub(super) fn end_of(status: ExitStatus, dir: &Path, log_from: u64) -> Result<End, Failure> {
    let exit = status.code().map(|code| Exit::from_code(u8::try_from(code).unwrap_or(u8::MAX)));
    match (exit, status.code()) {
        (Some(exit @ (Exit::Finished | Exit::Locked | Exit::Stopped)), _) => return Ok(End::Exit(exit)),
        (Some(exit @ Exit::Signal(_)), Some(code)) if code < 160 => return Ok(End::Exit(exit)),
        _ => {}
    }
    if let Some(number) = status.signal().filter(|number| is_from_outside(*number)) {
        return Ok(End::Killed(number));
    }
    let message = last_error(&dir.join(LOG), log_from);
    let failure = standing::Failure { format: 1, exit_code: status.code(), signal: status.signal(), message };
    // Its folder may be gone; then there is nothing to note.
    if dir.is_dir() {
        note_failure(dir, &failure).map_err(fail(Exit::StorageFailed))?;
    }
    Ok(End::Failed(failure))
}

/// The last thing a trial said behind `from`, and of that what follows the last `error: `.
fn last_error(log: &Path, from: u64) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(log)?;
        let len = file.metadata()?.len();
        file.seek(SeekFrom::Start(len.saturating_sub(LOG_TAIL_BYTES).max(from)))?;
        let mut tail = Vec::new();
        file.take(LOG_TAIL_BYTES).read_to_end(&mut tail)?;
        Ok(String::from_utf8_lossy(&tail).into_owned())
    };
    let tail = read().unwrap_or_default();
    let from_error = tail.rfind("error: ").and_then(|at| tail.get(at + "error: ".len()..));
    let last = from_error.or_else(|| tail.lines().next_back()).unwrap_or_default();
    last.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::{End, LOG, end_of};
    use crate::sweep::standing::failure;
    use std::fs;
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::ExitStatus;

    /// The end of a process with this status, as `wait` tells it, after it said `log` behind what an earlier one had said.
    #[track_caller]
    fn check_end(status: i32, log: &str, expected: Result<i32, &str>) {
        let dir = tempfile::tempdir().unwrap();
        let before = "error: of an earlier attempt\n";
        fs::write(dir.path().join(LOG), format!("{before}{log}")).unwrap();
        let end = end_of(ExitStatus::from_raw(status), dir.path(), before.len() as u64).unwrap();
        let note = failure(dir.path()).unwrap();
        match (end, expected) {
            (End::Killed(signal), Ok(number)) => assert_eq!((signal, note), (number, None)),
            (End::Failed(failed), Err(message)) => {
                assert_eq!(failed.message, message);
                assert_eq!(note, Some(failed));
            }
            (end, expected) => panic!("{end:?}, not {expected:?}"),
        }
    }

    #[test]
    fn a_trial_that_a_signal_ended_before_it_handled_any_has_not_failed() {
        for number in [1, 2, 9, 10, 12, 15] {
            check_end(number, "", Ok(number));
        }
    }

    #[test]
    fn a_failure_is_told_in_the_words_of_its_own_attempt() {
        check_end(2 << 8, "reading\nerror: no such file\n", Err("no such file"));
        check_end(11, "step 3\n", Err("step 3"));
        check_end(11, "", Err(""));
    }
}
