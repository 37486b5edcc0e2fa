//! Memory that is about to run out: how much there is, who limits it, and a thread that says so in time.
//!
//! Here: the limits of control groups (version 1 and 2), the machine's memory, pressure stall information, and memory
//! kept in reserve. Not here: what is done about it.
//!
//! Only what can not be reclaimed counts as used: the page cache of files shrinks before anything is killed.
//! Sources: Linux, `Documentation/admin-guide/cgroup-v2.rst`, `cgroup-v1/memory.rst`, `accounting/psi.rst`.

mod cgroup;
mod judge;
mod machine;
mod numbers;
mod reserve;
mod watch;

use std::fmt;
use std::time::Duration;

pub use cgroup::{Chain, Controller, MemoryGroup};
pub use machine::{headroom_bytes, oom_kills, resident_bytes};
pub use reserve::Reserve;
pub use watch::{Watch, WatchOptions, time_for_save};

/// Whose memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The control group of this process, or the one above it with the tightest limit.
    ControlGroup,
    /// The whole machine.
    Machine,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Scope::ControlGroup => "control group",
            Scope::Machine => "machine",
        })
    }
}

/// How much is used of how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Bytes that can not be reclaimed.
    pub used_bytes: u64,
    /// The most there can be.
    pub limit_bytes: u64,
}

impl Usage {
    /// What is left.
    pub fn headroom_bytes(self) -> u64 {
        self.limit_bytes.saturating_sub(self.used_bytes)
    }

    /// The used part, from 0 to 1 and beyond.
    pub fn share(self) -> f64 {
        self.used_bytes as f64 / self.limit_bytes.max(1) as f64
    }
}

/// Memory that is about to run out.
#[derive(Debug, Clone, PartialEq)]
pub struct Pressure {
    /// Whose.
    pub scope: Scope,
    /// How much is used.
    pub usage: Usage,
    /// How fast it grew; 0 if it did not.
    pub growth_bytes_per_s: f64,
    /// When it would be used up if it went on like this; `None` if it does not grow.
    pub time_left: Option<Duration>,
    /// Why it was taken for pressure.
    pub reason: Reason,
}

/// Why something was taken for pressure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Nearly all is used.
    Threshold,
    /// It would be used up before a save is done.
    Growth,
    /// Processes wait for memory.
    Stalled,
    /// The kernel has killed a process for memory.
    Killed,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::Threshold => "nearly all of it is used",
            Reason::Growth => "at this rate it is used up before a save is done",
            Reason::Stalled => "processes wait for memory",
            Reason::Killed => "the kernel has killed a process for memory",
        })
    }
}

/// `control group: 1890 of 2000 MB used, growing by 100 MB/s; nearly all of it is used`
impl fmt::Display for Pressure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let megabytes = |bytes: f64| bytes / 1e6;
        let (used, limit) = (self.usage.used_bytes as f64, self.usage.limit_bytes as f64);
        write!(f, "{}: {:.0} of {:.0} MB used", self.scope, megabytes(used), megabytes(limit))?;
        if self.growth_bytes_per_s > 0.0 {
            write!(f, ", growing by {:.0} MB/s", megabytes(self.growth_bytes_per_s))?;
        }
        write!(f, "; {}", self.reason)
    }
}
