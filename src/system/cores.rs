//! How many cores this process may use.

use std::num::NonZero;
use std::path::Path;

use crate::system::Cgroup;

/// The cores this process may use, and what limits them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cores {
    /// Logical cores in the process's affinity mask (`taskset`, Slurm, cpusets).
    pub affinity: usize,
    /// The CPU quota of the control group, in cores; `None` without one.
    pub quota: Option<f64>,
    /// How many threads can run at once without being throttled; at least 1.
    pub usable: usize,
}

impl Cores {
    /// Of this process, with control groups read below `root` (`/` outside tests).
    pub fn of_this_process(root: &Path) -> Self {
        let affinity = rustix::thread::sched_getaffinity(None).map_or_else(
            // More cores than the mask has room for: std asks in another way.
            |_| std::thread::available_parallelism().map_or(1, NonZero::get),
            |mask| mask.count() as usize,
        );
        Self::limited(affinity, Cgroup::of_this_process(root).cpu_quota_cores)
    }

    /// A quota is rounded down: one thread more than it pays for would be stopped for a part of every period, and
    /// the others would wait for it at the end of each operator.
    fn limited(affinity: usize, quota: Option<f64>) -> Self {
        let within_quota = quota.map_or(affinity, |cores| cores.floor() as usize);
        Self { affinity, quota, usable: affinity.min(within_quota).max(1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_usable(affinity: usize, quota: Option<f64>, expected: usize) {
        assert_eq!(Cores::limited(affinity, quota).usable, expected);
    }

    #[test]
    fn the_tighter_of_affinity_and_quota_counts_and_a_quota_is_rounded_down() {
        check_usable(8, None, 8);
        check_usable(8, Some(2.9), 2);
        check_usable(2, Some(64.0), 2);
    }

    #[test]
    fn one_core_is_the_least() {
        check_usable(4, Some(0.25), 1);
        check_usable(0, None, 1);
    }

    #[test]
    fn this_process_has_at_least_one_core() {
        let cores = Cores::of_this_process(Path::new("/"));
        assert!(cores.usable >= 1 && cores.usable <= cores.affinity);
    }
}
