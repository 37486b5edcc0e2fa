//! The memory of the machine and of this process.

use std::fs;
use std::path::Path;

use rustix::process::{Resource, getrlimit};

use super::numbers::{Numbers, full_avg10, keyed};
use super::{MemoryGroup, Usage};

/// The machine's files, open.
#[derive(Debug)]
pub(super) struct Machine {
    meminfo: Option<Numbers>,
    pressure: Option<Numbers>,
}

impl Machine {
    /// Read below `root`, `/` outside tests. `group` has pressure of its own where it is of version 2.
    pub(super) fn open(root: &Path, group: Option<&MemoryGroup>) -> Machine {
        let of_group = group.and_then(|group| Numbers::open(&group.path.join("memory.pressure")));
        Machine {
            meminfo: Numbers::open(&root.join("proc/meminfo")),
            pressure: of_group.or_else(|| Numbers::open(&root.join("proc/pressure/memory"))),
        }
    }

    pub(super) fn usage(&self) -> Option<Usage> {
        self.meminfo.as_ref()?.read(usage)
    }

    /// The part of the last 10 s, in percent, in which no process got on for want of memory.
    pub(super) fn stalled_percent(&self) -> Option<f64> {
        self.pressure.as_ref()?.read(full_avg10)
    }
}

/// What is not available without swapping counts as used.
fn usage(meminfo: &str) -> Option<Usage> {
    let bytes = |key| keyed(meminfo, key)?.checked_mul(1024);
    let (limit_bytes, available_bytes) = (bytes("MemTotal")?, bytes("MemAvailable")?);
    Some(Usage { used_bytes: limit_bytes.saturating_sub(available_bytes), limit_bytes })
}

/// How many processes the kernel has killed for memory: in the control group that binds this process, or on the whole
/// machine where there is none. `None` if nobody counts.
pub fn oom_kills(root: &Path) -> Option<u64> {
    let of_group = MemoryGroup::of_this_process(root).and_then(|group| group.oom_kills());
    of_group.or_else(|| keyed(&fs::read_to_string(root.join("proc/vmstat")).ok()?, "oom_kill"))
}

/// What this process could still take: the least that its control group, the machine, and its own limit on address
/// space leave. `None` if nothing is known.
pub fn headroom_bytes(root: &Path) -> Option<u64> {
    let group = MemoryGroup::of_this_process(root);
    let of_group = group.as_ref().and_then(MemoryGroup::usage).map(Usage::headroom_bytes);
    let of_machine = Machine::open(root, None).usage().map(Usage::headroom_bytes);
    let of_process = getrlimit(Resource::As).current.and_then(|limit_bytes| {
        let pages = statm(root, 0)?;
        Some(limit_bytes.saturating_sub(pages))
    });
    of_group.into_iter().chain(of_machine).chain(of_process).min()
}

/// What this process has in memory.
pub fn resident_bytes(root: &Path) -> Option<u64> {
    statm(root, 1)
}

/// A field of `/proc/self/statm`, in bytes: 0 the address space, 1 what is resident.
fn statm(root: &Path, field: usize) -> Option<u64> {
    let text = fs::read_to_string(root.join("proc/self/statm")).ok()?;
    let pages: u64 = text.split(' ').nth(field)?.parse().ok()?;
    pages.checked_mul(rustix::param::page_size() as u64)
}

#[cfg(test)]
mod tests {
    use super::{headroom_bytes, oom_kills, resident_bytes, usage};
    use crate::memory::Usage;
    use std::path::Path;

    #[test]
    fn what_is_available_is_not_used() {
        let text = "MemTotal:       1000 kB\nMemFree:  1 kB\nMemAvailable:    400 kB\n";
        assert_eq!(usage(text), Some(Usage { used_bytes: 600 * 1024, limit_bytes: 1000 * 1024 }));
        assert_eq!(usage("MemTotal: 18446744073709551615 kB\nMemAvailable: 1 kB\n"), None);
    }

    #[test]
    fn this_process_lives_in_some_memory_and_has_some_left() {
        let root = Path::new("/");
        assert!(resident_bytes(root).unwrap() > 1 << 20);
        assert!(headroom_bytes(root).unwrap() > 1 << 20);
        assert!(oom_kills(root).is_some());
    }
}
