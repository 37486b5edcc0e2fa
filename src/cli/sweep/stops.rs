//! The signals of a sweep: all of them go to its trials.

use crate::cli::exit::Exit;
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::signal::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;
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
            children.clone().for_each(|child| send(child, signal));
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

/// Whether a run ended because it was asked to, with its state saved: the same command goes on.
pub(super) fn is_to_go_on(exit: Exit) -> bool {
    matches!(exit, Exit::Stopped | Exit::Signal(_))
}
