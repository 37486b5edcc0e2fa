//! How much memory this process can still take.

use std::fs;
use std::path::Path;

use crate::system::Cgroup;

/// The machine's memory and the control group's share of it. A field is `None` where nothing is limited or known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Memory {
    /// Physical memory of the machine.
    pub total_bytes: Option<u64>,
    /// What the kernel estimates can be taken without swapping (`MemAvailable`).
    pub available_bytes: Option<u64>,
    /// The version (1 or 2) of the control groups that account memory.
    pub cgroup_version: Option<u8>,
    /// The memory limit of the control group.
    pub cgroup_limit_bytes: Option<u64>,
    /// What that group uses, page cache included.
    pub cgroup_used_bytes: Option<u64>,
}

impl Memory {
    /// As this process sees it, read below `root` (`/` outside tests).
    pub fn of_this_process(root: &Path) -> Self {
        let meminfo = fs::read_to_string(root.join("proc/meminfo")).unwrap_or_default();
        let cgroup = Cgroup::of_this_process(root);
        Self {
            total_bytes: meminfo_bytes(&meminfo, "MemTotal"),
            available_bytes: meminfo_bytes(&meminfo, "MemAvailable"),
            cgroup_version: cgroup.memory_version,
            cgroup_limit_bytes: cgroup.memory_limit_bytes,
            cgroup_used_bytes: cgroup.memory_used_bytes,
        }
    }

    /// The most this process can ever hold: the smaller of the machine's memory and the group's limit.
    pub fn ceiling_bytes(&self) -> Option<u64> {
        match (self.total_bytes, self.cgroup_limit_bytes) {
            (Some(total_bytes), Some(limit_bytes)) => Some(total_bytes.min(limit_bytes)),
            (total_bytes, limit_bytes) => total_bytes.or(limit_bytes),
        }
    }
}

/// A line of `/proc/meminfo`: `MemTotal:       16384 kB`, where kB means 1024 bytes.
fn meminfo_bytes(meminfo: &str, key: &str) -> Option<u64> {
    let value = meminfo.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo_is_read_in_units_of_1024_bytes_and_nonsense_is_nothing() {
        let text = "MemTotal:       16384 kB\nMemFree: 1 kB\nMemAvailable:    512 kB\nHuge: 18446744073709551615 kB\n";
        assert_eq!(meminfo_bytes(text, "MemTotal"), Some(16384 * 1024));
        assert_eq!(meminfo_bytes(text, "MemAvailable"), Some(512 * 1024));
        assert_eq!(meminfo_bytes(text, "Mem"), None);
        assert_eq!(meminfo_bytes(text, "Huge"), None);
        assert_eq!(meminfo_bytes("MemTotal: many kB", "MemTotal"), None);
    }

    #[test]
    fn the_ceiling_is_the_smaller_of_machine_and_group() {
        let memory = |total_bytes, cgroup_limit_bytes| {
            Memory { total_bytes, cgroup_limit_bytes, ..Memory::default() }.ceiling_bytes()
        };
        assert_eq!(memory(Some(100), Some(40)), Some(40));
        assert_eq!(memory(Some(100), Some(400)), Some(100));
        assert_eq!(memory(Some(100), None), Some(100));
        assert_eq!(memory(None, None), None);
    }

    #[test]
    fn this_machine_has_memory() {
        let memory = Memory::of_this_process(Path::new("/"));
        assert!(memory.total_bytes.is_some_and(|bytes| bytes > 1 << 20));
        assert!(memory.available_bytes <= memory.total_bytes);
    }
}
