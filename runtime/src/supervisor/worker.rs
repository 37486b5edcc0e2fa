//! The worker's process.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, kill_process};
use signal_hook::consts::signal::{SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;

use super::policy::Record;
use super::{BEFORE, Death, Ended, Next, Policy, SUPERVISOR_PID, Verdict};
use crate::memory::oom_kills;

/// The signals that are forwarded.
const FORWARDED: [i32; 5] = [SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2];

/// Those of them that stop.
const STOPS: [i32; 3] = [SIGHUP, SIGINT, SIGTERM];

/// How often signals are looked for while nothing runs.
const LOOK: Duration = Duration::from_millis(50);

/// Added to the worker's readiness to be killed for memory, so that the kernel takes it and not its supervisor.
const OOM_SCORE: &str = "300";

/// Why a worker could not be watched over.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SupervisorError {
    /// Signals can not be handled.
    #[error("could not install the handling of signals: {source}; raise the limit on open files")]
    Signals {
        /// What the system answered.
        source: io::Error,
    },
    /// The worker can not be started.
    #[error("could not start the worker: {source}; raise the limits on processes and memory")]
    Start {
        /// What the system answered.
        source: io::Error,
    },
    /// The worker can not be waited for.
    #[error("could not wait for the worker: {source}")]
    Wait {
        /// What the system answered.
        source: io::Error,
    },
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The last worker's end, which is that of the supervisor.
    Ended(Ended),
    /// A stop signal came while no worker ran, or it killed a worker that was not yet ready for it.
    Stopped(i32),
    /// Workers died too often without progress.
    GaveUp(Death),
}

/// Watches over workers, one after another.
#[derive(Debug)]
pub struct Supervisor {
    policy: Policy,
    signals: Signals,
    record: Record,
}

impl Supervisor {
    /// To be called before any thread is started.
    ///
    /// # Errors
    /// If the system refuses a handler.
    pub fn new(policy: Policy) -> Result<Supervisor, SupervisorError> {
        let ignored = crate::signals::ignored_at_start();
        let handled = FORWARDED.into_iter().filter(|number| !ignored.contains(*number)).chain([SIGCHLD]);
        let signals = Signals::new(handled).map_err(|source| SupervisorError::Signals { source })?;
        Ok(Supervisor { policy, signals, record: Record::default() })
    }

    /// Starts workers, made by `command`, until one comes to an end that is final, or there is no progress. `progress`
    /// is what is durable of the work; `judge` says what an end means; `tell` is told of each death and what follows.
    ///
    /// # Errors
    /// See [`SupervisorError`].
    pub fn run(
        &mut self,
        mut command: impl FnMut() -> Command,
        mut progress: impl FnMut() -> u64,
        judge: impl Fn(Ended) -> Verdict,
        mut tell: impl FnMut(Death, Next),
    ) -> Result<Outcome, SupervisorError> {
        let root = Path::new("/");
        let mut before: Option<Death> = None;
        loop {
            let kills_before = oom_kills(root).unwrap_or(0);
            let mut command = command();
            command.env(SUPERVISOR_PID, std::process::id().to_string());
            match before {
                Some(death) => command.env(BEFORE, death.to_variable()),
                None => command.env_remove(BEFORE),
            };
            let child = command.spawn().map_err(|source| SupervisorError::Start { source })?;
            prefer_as_victim(&child);
            let (ended, stopped_by) = self.watch(child)?;
            let death = Death { ended, oom_kills: oom_kills(root).unwrap_or(0).saturating_sub(kills_before) };
            match (stopped_by, ended) {
                (Some(number), Ended::Signal(by))
                    if u32::try_from(number).is_ok_and(|number| number == by) =>
                {
                    return Ok(Outcome::Stopped(number));
                }
                (Some(_), _) => return Ok(Outcome::Ended(ended)),
                (None, _) => {}
            }
            let next = self.record.died(&self.policy, judge(ended), death, progress());
            if next != Next::End {
                tell(death, next);
            }
            match next {
                Next::End => return Ok(Outcome::Ended(ended)),
                Next::GiveUp => return Ok(Outcome::GaveUp(death)),
                Next::Start(pause) => {
                    if let Some(number) = self.pause(pause) {
                        return Ok(Outcome::Stopped(number));
                    }
                }
            }
            before = Some(death);
        }
    }

    /// Forwards signals until the worker has ended; says how, and which stop signal it was sent.
    fn watch(&mut self, mut child: Child) -> Result<(Ended, Option<i32>), SupervisorError> {
        let mut stopped_by = None;
        loop {
            // It may have ended before its end was listened for, so it is asked for before each wait.
            if let Some(status) = child.try_wait().map_err(|source| SupervisorError::Wait { source })? {
                return Ok((Ended::of(status), stopped_by));
            }
            for number in self.signals.wait() {
                if number == SIGCHLD {
                    continue;
                }
                if STOPS.contains(&number) {
                    stopped_by = stopped_by.or(Some(number));
                }
                let signal = rustix::process::Signal::from_named_raw(number);
                if let Some(signal) = signal
                    && let Err(error) = kill_process(Pid::from_child(&child), signal)
                {
                    log::debug!("signal {number} could not be forwarded: {error}");
                }
            }
        }
    }

    /// Waits; a stop signal ends the wait.
    fn pause(&mut self, pause: Duration) -> Option<i32> {
        let since = Instant::now();
        loop {
            if let Some(number) = self.signals.pending().find(|number| STOPS.contains(number)) {
                return Some(number);
            }
            let left = pause.saturating_sub(since.elapsed());
            if left.is_zero() {
                return None;
            }
            thread::sleep(left.min(LOOK));
        }
    }
}

/// Has the kernel kill this process before its supervisor, should memory run out.
fn prefer_as_victim(child: &Child) {
    let path = format!("/proc/{}/oom_score_adj", child.id());
    if let Err(error) = fs::write(&path, OOM_SCORE) {
        log::debug!("{path} could not be written: {error}");
    }
}
