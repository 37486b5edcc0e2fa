//! How a worker ended.

use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::str::FromStr;

use crate::codec::{Decode, Encode};

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[bincode(crate = "crate::codec::bincode")]
pub enum Ended {
    /// It exited with this code.
    Code(u8),
    /// This signal killed it.
    Signal(u32),
}

impl Ended {
    pub(super) fn of(status: ExitStatus) -> Ended {
        match (status.code(), status.signal()) {
            (Some(code), _) => Ended::Code(u8::try_from(code).unwrap_or(u8::MAX)),
            (None, signal) => {
                Ended::Signal(signal.and_then(|signal| u32::try_from(signal).ok()).unwrap_or(0))
            }
        }
    }
}

/// The end of a worker, and what the kernel said meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[bincode(crate = "crate::codec::bincode")]
pub struct Death {
    /// How it ended.
    pub ended: Ended,
    /// Processes that the kernel killed for memory meanwhile, in the control group of the worker or on the machine.
    pub oom_kills: u64,
}

/// The number of SIGKILL, which the kernel kills for memory with.
const SIGKILL: u32 = 9;

impl Death {
    /// Whether the kernel has killed it for memory.
    pub fn is_for_memory(self) -> bool {
        self.ended == Ended::Signal(SIGKILL) && self.oom_kills > 0
    }
}

/// `was killed by SIGKILL for want of memory (the kernel killed 1 process)`, `exited with code 1`.
impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ended {
            Ended::Code(code) => write!(f, "exited with code {code}")?,
            Ended::Signal(number) => {
                let number = i32::try_from(number).unwrap_or(0);
                match signal_hook::low_level::signal_name(number) {
                    Some(name) => write!(f, "was killed by {name}")?,
                    None => write!(f, "was killed by signal {number}")?,
                }
            }
        }
        match self.oom_kills {
            0 => Ok(()),
            kills if self.is_for_memory() => {
                write!(f, " for want of memory (kernel's count of such kills: {kills})")
            }
            kills => write!(f, " (the kernel killed {kills} for memory meanwhile)"),
        }
    }
}

/// A text that tells of no death.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} tells of no death; it is written by the supervisor and not by hand")]
pub struct ParseDeathError {
    /// The text.
    pub found: String,
}

impl Death {
    /// The form for an environment variable.
    pub(super) fn to_variable(self) -> String {
        match self.ended {
            Ended::Code(code) => format!("code {code} {}", self.oom_kills),
            Ended::Signal(number) => format!("signal {number} {}", self.oom_kills),
        }
    }
}

impl FromStr for Death {
    type Err = ParseDeathError;

    fn from_str(text: &str) -> Result<Death, ParseDeathError> {
        let parse = || {
            let mut words = text.split(' ');
            let (how, number, kills) = (words.next()?, words.next()?, words.next()?);
            let ended = match how {
                "code" => Ended::Code(number.parse().ok()?),
                "signal" => Ended::Signal(number.parse().ok()?),
                _ => return None,
            };
            let oom_kills = kills.parse().ok()?;
            words.next().is_none().then_some(Death { ended, oom_kills })
        };
        parse().ok_or_else(|| ParseDeathError { found: text.chars().take(64).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::{Death, Ended};

    #[track_caller]
    fn check(ended: Ended, oom_kills: u64, words: &str, is_for_memory: bool) {
        let death = Death { ended, oom_kills };
        assert_eq!((death.to_string().as_str(), death.is_for_memory()), (words, is_for_memory));
        assert_eq!(death.to_variable().parse(), Ok(death));
    }

    #[test]
    fn a_death_is_told_in_words_and_comes_back_from_its_variable() {
        check(Ended::Code(1), 0, "exited with code 1", false);
        check(Ended::Signal(11), 0, "was killed by SIGSEGV", false);
        check(Ended::Signal(9), 0, "was killed by SIGKILL", false);
        let words = "was killed by SIGKILL for want of memory (kernel's count of such kills: 2)";
        check(Ended::Signal(9), 2, words, true);
        check(Ended::Code(1), 1, "exited with code 1 (the kernel killed 1 for memory meanwhile)", false);
    }

    #[test]
    fn other_texts_tell_of_no_death() {
        for text in ["", "code", "code x 0", "signal 9", "signal 9 0 0", "code 300 0"] {
            assert!(text.parse::<Death>().is_err(), "{text}");
        }
    }
}
