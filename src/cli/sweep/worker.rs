//! One trial as a process of this program, with a work directory, a settings file and a log of its own.

use super::Sweep;
use crate::cli::args::GlobalArgs;
use crate::cli::exit::Exit;
use crate::cli::failure::{Failure, fail};
use crate::cli::supervise::program;
use crate::config::to_toml;
use crate::report::mlflow::TRIAL_VARIABLE;
use crate::sweep::plan::Trial;
use crate::sweep::standing::{self, forget_failure, note_failure};
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use trainer_runtime::atomic_file;
use trainer_runtime::disk::RealDisk;
use trainer_runtime::supervisor::{BEFORE, SUPERVISOR_PID};

/// The settings with which a trial is started, in its folder.
const SETTINGS: &str = "trial.toml";

/// What a trial says, in its folder.
pub(super) const LOG: &str = "trial.log";

/// How much of the end of a log is read for the last error.
const LOG_TAIL_BYTES: u64 = 8192;

const SIGKILL: i32 = 9;

/// Starts a trial, to be ended after `epochs` if they are given.
pub(super) fn start(
    sweep: &Sweep,
    trial: &Trial,
    epochs: Option<u64>,
    global: &GlobalArgs,
) -> Result<Child, Failure> {
    let dir = sweep.trial_dir(trial);
    fs::create_dir_all(&dir).map_err(fail(Exit::StorageFailed))?;
    forget_failure(&dir).map_err(fail(Exit::StorageFailed))?;
    let settings = sweep.settings(trial.number).map(to_toml).unwrap_or_default();
    let path = dir.join(SETTINGS);
    atomic_file::write(&RealDisk, &path, settings.as_bytes()).map_err(fail(Exit::StorageFailed))?;
    let log = OpenOptions::new().create(true).append(true).open(dir.join(LOG));
    let log = log.map_err(fail(Exit::StorageFailed))?;
    let second = log.try_clone().map_err(fail(Exit::StorageFailed))?;
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
    command.env(TRIAL_VARIABLE, sweep.plan.trial_id(trial));
    // What is said of one run is not meant for each trial.
    command.env_remove("TRAINER_RUN_ID").env_remove("TRAINER_RESUME");
    command.stdin(Stdio::null()).stdout(second).stderr(log);
    command.spawn().map_err(fail(Exit::Failure))
}

/// How a trial's process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// With this code, which is no failure.
    Exit(Exit),
    /// It was killed, as the kernel does for memory, and goes on when it is run again.
    Killed,
    /// With an error; it was noted.
    Failed(standing::Failure),
}

/// Says how a trial in `dir` ended, and notes a failure.
pub(super) fn end_of(status: ExitStatus, dir: &Path) -> Result<End, Failure> {
    let exit = status.code().map(|code| Exit::from_code(u8::try_from(code).unwrap_or(u8::MAX)));
    match (exit, status.code()) {
        (Some(exit @ (Exit::Finished | Exit::Locked | Exit::Stopped)), _) => return Ok(End::Exit(exit)),
        (Some(exit @ Exit::Signal(_)), Some(code)) if code < 160 => return Ok(End::Exit(exit)),
        (None, _) if status.signal() == Some(SIGKILL) => return Ok(End::Killed),
        _ => {}
    }
    let message = last_error(&dir.join(LOG));
    let failure = standing::Failure { format: 1, exit_code: status.code(), signal: status.signal(), message };
    // Its folder may be gone; then there is nothing to note.
    if dir.is_dir() {
        note_failure(dir, &failure).map_err(fail(Exit::StorageFailed))?;
    }
    Ok(End::Failed(failure))
}

/// The last thing a trial said, from `error: ` on.
fn last_error(log: &Path) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(log)?;
        let len = file.metadata()?.len();
        file.seek(SeekFrom::Start(len.saturating_sub(LOG_TAIL_BYTES)))?;
        let mut tail = Vec::new();
        file.take(LOG_TAIL_BYTES).read_to_end(&mut tail)?;
        Ok(String::from_utf8_lossy(&tail).into_owned())
    };
    let tail = read().unwrap_or_default();
    let from_error = tail.rfind("error: ").and_then(|at| tail.get(at + "error: ".len()..));
    let last = from_error.or_else(|| tail.lines().next_back()).unwrap_or_default();
    last.trim_end().to_owned()
}
