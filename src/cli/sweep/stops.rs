//! The signals of a sweep: all of them go to its trials.

use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::signal::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;
use std::fs;
use std::io;
use std::process::Child;
use thiserror::Error;
use trainer_runtime::signals::ignored_at_start;

/// Signals could not be handled.
#[derive(Debug, Error)]
#[error("could not install the handling of signals: {source}; raise the limit on open files")]
pub(super) struct StopsError {
    source: io::Error,
}

/// What signals asked for.
#[derive(Debug)]
pub(super) struct Stops {
    signals: Signals,
    stopped_by: Option<i32>,
}

impl Stops {
    /// Handles signals from now on; those that were ignored when the process started stay so.
    pub(super) fn install() -> Result<Self, StopsError> {
        let ignored = ignored_at_start();
        let all = [SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2];
        let handled = all.into_iter().filter(|number| !ignored.contains(*number));
        let signals = Signals::new(handled).map_err(|source| StopsError { source })?;
        Ok(Self { signals, stopped_by: None })
    }

    /// Takes what has arrived and passes it on. Each trial saves and ends by itself, and a second stop signal has it end at
    /// once. Gives the first stop signal when it has just arrived.
    pub(super) fn pass_on<'c>(&mut self, children: impl Iterator<Item = &'c Child> + Clone) -> Option<i32> {
        let arrived: Vec<i32> = self.signals.pending().collect();
        let mut first = None;
        for number in arrived {
            if matches!(number, SIGHUP | SIGINT | SIGTERM) && self.stopped_by.is_none() {
                self.stopped_by = Some(number);
                first = Some(number);
            }
            let Some(signal) = Signal::from_named_raw(number) else { continue };
            // One that starts has nothing to save and nothing to tell, but it can be stopped.
            let is_for = |child: &&Child| !matches!(number, SIGUSR1 | SIGUSR2) || handles(child.id(), number);
            children.clone().filter(is_for).for_each(|child| send(child, signal));
        }
        first
    }

    /// The signal that stopped the sweep.
    pub(super) fn stopped_by(&self) -> Option<i32> {
        self.stopped_by
    }
}

/// Sends a signal to a trial.
pub(super) fn send(child: &Child, signal: Signal) {
    if let Err(error) = kill_process(Pid::from_child(child), signal) {
        log::debug!("process {} got no {signal:?}: {error}", child.id());
    }
}

/// Whether a process has a handler for a signal; one that has just been started would be ended by it.
fn handles(pid: u32, number: i32) -> bool {
    let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else { return true };
    is_caught(&status, number)
}

fn is_caught(status: &str, number: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_none_or(|mask| mask >> (number - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::{handles, is_caught};
    use rustix::process::Signal;

    #[test]
    fn the_signals_that_a_process_handles_are_read_from_what_the_kernel_says() {
        let status = "Name:\tx\nSigIgn:\t0000000000000000\nSigCgt:\t0000000000000a00\n";
        let (save, line) = (Signal::USR1.as_raw(), Signal::USR2.as_raw());
        assert!(is_caught(status, save) && is_caught(status, line));
        assert!(!is_caught(status, Signal::TERM.as_raw()));
        assert!(is_caught("", save), "what is not known is sent");
        let child = std::process::Command::new("sleep").arg("10").spawn();
        let mut child = child.unwrap();
        assert!(!handles(child.id(), save));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
