//! What follows from the end of a trial's process: what is said of it, and how a command ends that runs one trial.

use super::worker::End;
use crate::cli::exit::Exit;
use rustix::process::Signal;

/// How much somebody needs to read a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weight {
    /// As was to be expected.
    News,
    /// Something that should not be.
    Warning,
}

/// What is said of a trial that ended after a time, with the best value it has, if it is finished. `None` for one that
/// somebody else runs.
pub(super) fn words_of(
    end: &End,
    called: &str,
    took: &str,
    best: Option<(&str, f64, u64)>,
) -> Option<(Weight, String)> {
    Some(match end {
        End::Exit(Exit::Locked) => return None,
        End::Exit(Exit::Finished) => {
            let best = best.map_or(String::new(), |(metric, value, epoch)| {
                format!("; best {metric} {value} at epoch {epoch}")
            });
            (Weight::News, format!("{called} finished in {took}{best}"))
        }
        End::Exit(exit) => {
            let is_to_go_on = matches!(exit, Exit::Stopped | Exit::Signal(_));
            let how = if is_to_go_on { "stopped, to be gone on with" } else { "ended" };
            (Weight::News, format!("{called} {how} (exit code {}) after {took}", exit.code()))
        }
        End::Killed(9) => (
            Weight::Warning,
            format!(
                "{called} was killed (SIGKILL, as the kernel does for want of memory) after {took}; the same command goes on \
                 with it"
            ),
        ),
        End::Killed(number) => (
            Weight::News,
            format!(
                "{called} was ended by signal {number} while it started; the same command goes on with it"
            ),
        ),
        End::Failed(failure) => {
            let how = match (failure.exit_code, failure.signal) {
                (Some(code), _) => format!("failed with exit code {code}"),
                (None, Some(signal)) => format!("was ended by signal {signal}"),
                (None, None) => "failed".to_owned(),
            };
            (Weight::Warning, format!("{called} {how} after {took}: {}", failure.message))
        }
    })
}

/// How a command that runs one trial ends; `None` for a finished one.
pub(super) fn single_end(end: &End) -> Option<Exit> {
    match end {
        End::Exit(Exit::Finished) => None,
        End::Exit(exit) => Some(*exit),
        End::Killed(number) => Some(Exit::Signal(u8::try_from(*number).unwrap_or(u8::MAX))),
        End::Failed(failure) => {
            let code = failure.exit_code.and_then(|code| u8::try_from(code).ok());
            Some(code.map_or(Exit::Failure, Exit::from_code))
        }
    }
}

/// Whether a trial is tried again at once: somebody else was in its folder for a moment, or it was asked to save before it
/// could understand that.
pub(super) fn is_tried_again(end: &End) -> bool {
    let asks_to_save = |number| [Signal::USR1, Signal::USR2].iter().any(|signal| signal.as_raw() == number);
    match end {
        End::Exit(exit) => *exit == Exit::Locked,
        End::Killed(number) => asks_to_save(*number),
        End::Failed(_) => false,
    }
}

/// Whether a process that a signal ended without a word was killed from outside, and not by what it did: by SIGKILL, or by
/// one of those that it handles, and had no time yet to say so.
pub(super) fn is_from_outside(number: i32) -> bool {
    let asking = [Signal::KILL, Signal::HUP, Signal::INT, Signal::TERM, Signal::USR1, Signal::USR2];
    asking.iter().any(|signal| signal.as_raw() == number)
}
