//! Exit codes. Scripts and schedulers read them, so a number never changes its meaning.

use std::process::ExitCode;

/// How the command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Exit {
    /// 0: finished, or there was nothing to do.
    Finished,
    /// 1: an unexpected failure.
    Failure,
    /// 2: the command line or the settings are wrong.
    Usage,
    /// 3: another process holds the work directory.
    Locked,
    /// 4: settings or data differ from those of the run in the work directory.
    Changed,
    /// 5: no checkpoint verifies, or the journal is damaged.
    Damaged,
    /// 6: training diverged.
    Diverged,
    /// 7: memory ran out even with one example at a time.
    OutOfMemory,
    /// 74: storage failed (`EX_IOERR` of sysexits.h).
    StorageFailed,
    /// 75: stopped on its own, run again to go on (`EX_TEMPFAIL` of sysexits.h).
    Stopped,
    /// 128 + N: stopped by signal N, with the state saved.
    Signal(u8),
}

impl Exit {
    /// The number that the process returns. A signal above 127, which no system has, counts as 127.
    pub fn code(self) -> u8 {
        match self {
            Self::Finished => 0,
            Self::Failure => 1,
            Self::Usage => 2,
            Self::Locked => 3,
            Self::Changed => 4,
            Self::Damaged => 5,
            Self::Diverged => 6,
            Self::OutOfMemory => 7,
            Self::StorageFailed => 74,
            Self::Stopped => 75,
            Self::Signal(number) => 128 + number.min(127),
        }
    }
}

impl Exit {
    /// The end that a process's exit code tells of; a code that this program never returns is a failure.
    #[must_use]
    pub fn from_code(code: u8) -> Self {
        const PLAIN: [Exit; 10] = [
            Exit::Finished,
            Exit::Failure,
            Exit::Usage,
            Exit::Locked,
            Exit::Changed,
            Exit::Damaged,
            Exit::Diverged,
            Exit::OutOfMemory,
            Exit::StorageFailed,
            Exit::Stopped,
        ];
        let plain = PLAIN.into_iter().find(|exit| exit.code() == code);
        plain.unwrap_or(if code >= 128 { Self::Signal(code - 128) } else { Self::Failure })
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_reported_as_shells_do_and_never_as_another_code() {
        assert_eq!(Exit::Signal(2).code(), 130);
        assert_eq!(Exit::Signal(15).code(), 143);
        assert_eq!(Exit::Signal(255).code(), 255);
    }

    #[test]
    fn no_two_ends_share_a_code() {
        let ends = [
            Exit::Finished,
            Exit::Failure,
            Exit::Usage,
            Exit::Locked,
            Exit::Changed,
            Exit::Damaged,
            Exit::Diverged,
            Exit::OutOfMemory,
            Exit::StorageFailed,
            Exit::Stopped,
        ];
        let codes: std::collections::BTreeSet<u8> = ends.iter().map(|end| end.code()).collect();
        assert_eq!(codes.len(), ends.len());
        assert!(ends.into_iter().all(|end| Exit::from_code(end.code()) == end));
        assert_eq!((Exit::from_code(143), Exit::from_code(99)), (Exit::Signal(15), Exit::Failure));
    }
}
