//! `trainer run --supervise`: a small parent that starts the run, and starts it again when it dies.

use super::exit::Exit;
use super::failure::{Failure, fail};
use super::run::args::{RunArgs, Verb};
use super::run::{experiment, load_settings, once};
use crate::report::run_log;
use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};
use trainer_runtime::checkpoint::Store;
use trainer_runtime::codec::{self, Decode, Encode};
use trainer_runtime::disk::RealDisk;
use trainer_runtime::journal::{Journal, OpenOptions};
use trainer_runtime::lock::{LockError, WorkDirLock};
use trainer_runtime::supervisor::{Death, Ended, Next, Outcome, Policy, Supervisor, Verdict};

/// The folder of the supervisor in a work directory: a lock and a journal of its own.
pub(super) const FOLDER: &str = "supervisor";

/// Kind 1 of the supervisor's journal: a worker died.
const WORKER_DIED: u16 = 1;

/// The executable of this process, even if its file was replaced meanwhile.
const THIS_PROGRAM: &str = "/proc/self/exe";

/// A worker's death in the supervisor's journal.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[bincode(crate = "trainer_runtime::codec::bincode")]
pub struct WorkerDied {
    /// Seconds since 1970.
    pub at_unix_s: u64,
    /// How it ended.
    pub death: Death,
    /// The newest checkpoint's step then; 0 if there was none.
    pub saved_step: u64,
    /// The pause before the next start in milliseconds; `None` if there is none.
    pub pause_ms: Option<u64>,
}

/// Runs the command in workers until it has come to an end.
///
/// # Errors
/// Wrong settings, another supervisor, or a worker that can not be started.
pub fn supervise(args: &RunArgs) -> Result<Exit, Failure> {
    let policy = Policy { restarts: args.max_restarts, ..Policy::default() };
    let mut supervisor = Supervisor::new(policy).map_err(fail(Exit::Failure))?;
    let place = experiment::find(args, Verb::Run)?;
    let mut args = args.clone();
    if let experiment::Place::Folder(folder) = &place {
        args.work_dir.clone_from(folder);
    }
    // Settings that are wrong leave no trace.
    load_settings(&args)?;
    args.work_dir = experiment::make(place)?;
    let args = &args;
    let folder = args.work_dir.join(FOLDER);
    let _lock = WorkDirLock::acquire(&folder).map_err(|error| match error {
        LockError::Held { .. } => fail(Exit::Locked)(error),
        other => fail(Exit::StorageFailed)(other),
    })?;
    once::note(args)?;
    let opened = Journal::open(RealDisk::shared(), &folder.join("journal"), OpenOptions::default());
    let mut journal = opened.map_err(fail(Exit::Damaged))?.journal;
    let program = program();
    let arguments: Vec<OsString> = of_worker(std::env::args_os().skip(1), args);
    let command = || {
        let mut command = Command::new(&program);
        command.args(&arguments);
        command
    };
    let saved_step = || saved_step(&args.work_dir);
    let outcome = supervisor.run(command, saved_step, judge, |death, next| {
        let line = format!("supervisor: the worker {death}; {}", follows(death, next));
        say(&line);
        run_log::note_beside(&args.work_dir, &line);
        if let Err(error) = record(&mut journal, death, next, saved_step()) {
            say(&format!("supervisor: the death could not be journaled: {error}"));
        }
    });
    Ok(match outcome.map_err(fail(Exit::Failure))? {
        Outcome::Ended(Ended::Code(code)) => Exit::from_code(code),
        Outcome::Ended(Ended::Signal(number)) => Exit::Signal(u8::try_from(number).unwrap_or(u8::MAX)),
        Outcome::Stopped(number) => {
            say("supervisor: stopped while no worker was at work. Run the same command again to go on.");
            Exit::Signal(u8::try_from(number).unwrap_or(u8::MAX))
        }
        Outcome::GaveUp(_) => Exit::Stopped,
    })
}

/// The arguments of a worker: those of this process, with the experiment by its name, so that every worker has the same one.
fn of_worker(arguments: impl Iterator<Item = OsString>, args: &RunArgs) -> Vec<OsString> {
    let name = args.work_dir.file_name().unwrap_or_default();
    let flag = "--experiment";
    let mut follows_flag = false;
    let named = |argument: OsString| {
        let is_value = std::mem::replace(&mut follows_flag, argument == flag);
        if is_value && args.taking_up.experiment.is_some() {
            return name.to_owned();
        }
        if argument.to_string_lossy().starts_with("--experiment=") {
            let mut renamed = OsString::from("--experiment=");
            renamed.push(name);
            return renamed;
        }
        argument
    };
    arguments.map(named).collect()
}

/// This program, even if its file was replaced meanwhile.
pub(super) fn program() -> PathBuf {
    let this = PathBuf::from(THIS_PROGRAM);
    if this.exists() { this } else { std::env::current_exe().unwrap_or(this) }
}

/// What is worth another try: a worker that was killed, and failures that nobody expected. A stop on request, wrong
/// settings, a diverged training or a full disk would only come again.
fn judge(ended: Ended) -> Verdict {
    match ended {
        Ended::Signal(_) => Verdict::TryAgain,
        Ended::Code(code) if code == Exit::Failure.code() => Verdict::TryAgain,
        Ended::Code(_) => Verdict::Final,
    }
}

fn follows(death: Death, next: Next) -> String {
    match next {
        Next::Start(_) if death.is_for_memory() => "starting again with half the micro-batch".to_owned(),
        Next::Start(pause) => format!("starting again in {} s", pause.as_secs()),
        Next::GiveUp | Next::End => {
            "giving up, because it made no progress since the deaths before; look at what it said, and run the same \
             command to go on"
                .to_owned()
        }
    }
}

/// The newest checkpoint's step; 0 if there is none.
fn saved_step(work_dir: &Path) -> u64 {
    let store = Store::open_read_only(RealDisk::shared(), &work_dir.join("checkpoints"));
    store.list().ok().and_then(|entries| entries.last().map(|entry| entry.name.step)).unwrap_or(0)
}

fn record(journal: &mut Journal, death: Death, next: Next, saved_step: u64) -> anyhow::Result<()> {
    let at_unix_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let pause_ms = match next {
        Next::Start(pause) => Some(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX)),
        Next::End | Next::GiveUp => None,
    };
    let died = WorkerDied { at_unix_s, death, saved_step, pause_ms };
    journal.append(WORKER_DIED, &codec::encode(&died)?)?;
    journal.sync()?;
    Ok(())
}

fn say(line: &str) {
    // Somebody who no longer listens is no reason to stop.
    _ = writeln!(io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::judge;
    use trainer_runtime::supervisor::{Ended, Verdict};

    #[test]
    fn deaths_and_unexpected_failures_are_tried_again_and_nothing_else() {
        for ended in [Ended::Signal(9), Ended::Signal(11), Ended::Code(1)] {
            assert_eq!(judge(ended), Verdict::TryAgain, "{ended:?}");
        }
        for code in [0, 2, 3, 4, 5, 6, 7, 74, 75, 130, 143] {
            assert_eq!(judge(Ended::Code(code)), Verdict::Final, "{code}");
        }
    }
}
