//! Trials whose processes run: their claims are kept alive, and given back at the end.

use super::stops::send;
use super::warn;
use crate::sweep::claim::Claim;
use rustix::process::Signal;
use std::path::PathBuf;
use std::process::Child;
use std::time::Instant;

/// A trial's process.
#[derive(Debug)]
pub(super) struct Running {
    /// The number of the trial.
    pub(super) number: u64,
    pub(super) dir: PathBuf,
    pub(super) child: Child,
    /// Where it begins in the log of the trial.
    pub(super) log_from: u64,
    pub(super) claim: Claim,
    pub(super) since: Instant,
    pub(super) hold: Hold,
}

/// How a trial is held that runs here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hold {
    /// By a claim that shows life.
    Firm,
    /// A sign of life could not be given, which was said.
    Silent,
    /// Somebody has taken it over.
    Lost,
}

impl Running {
    /// Shows that this process lives, and stops the trial if this one was taken for dead. A disk that takes no sign of life
    /// stops nothing: what it means is that others may take the trial over.
    pub(super) fn show_life(&mut self) {
        if self.hold == Hold::Lost {
            return;
        }
        let number = self.number;
        match self.claim.refresh() {
            Ok(true) => {}
            Ok(false) => {
                self.hold = Hold::Lost;
                warn(&format!(
                    "trial {number}: its claim was taken over, because this process gave no sign of life; it is stopped here"
                ));
                send(&self.child, Signal::TERM);
            }
            Err(error) => {
                if std::mem::replace(&mut self.hold, Hold::Silent) == Hold::Firm {
                    warn(&format!("trial {number} goes on, but other machines may take it over: {error}"));
                }
            }
        }
    }
}

/// Gives a claim back. One that can not be is free when this process has ended.
pub(super) fn give_back(claim: Claim, number: u64) {
    if let Err(error) = claim.release() {
        warn(&format!("trial {number} is free for others when this process has ended: {error}"));
    }
}
