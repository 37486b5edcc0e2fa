//! The limits that control groups put on this process, version 1 and version 2.
//!
//! Which groups there are is known to `trainer_runtime::memory`; a limit on any ancestor binds as well.
//! Source: Linux, `Documentation/admin-guide/cgroup-v2.rst` and `cgroup-v1/{memory,cpuacct}.rst`.

use std::fs;
use std::path::{Path, PathBuf};

use trainer_runtime::memory::{Chain, Controller, MemoryGroup};

/// What the control groups of this process allow. A field is `None` where nothing is limited or known.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Cgroup {
    /// The version (1 or 2) of the hierarchy that controls memory.
    pub memory_version: Option<u8>,
    /// The smallest memory limit of the group and its ancestors.
    pub memory_limit_bytes: Option<u64>,
    /// Memory in use by the group that has that limit, page cache included.
    pub memory_used_bytes: Option<u64>,
    /// The smallest CPU quota of the group and its ancestors, in cores (1.5 = one and a half).
    pub cpu_quota_cores: Option<f64>,
}

impl Cgroup {
    /// Reads the limits of this process below `root` (`/` outside tests). Files that are missing or unreadable mean
    /// "not limited": control groups are optional.
    pub fn of_this_process(root: &Path) -> Self {
        let mut found = Self::default();
        if let Some(group) = MemoryGroup::of_this_process(root) {
            found.memory_version = Some(group.version);
            (found.memory_limit_bytes, found.memory_used_bytes) =
                (group.limit_bytes(), group.charged_bytes());
        }
        if let Some(chain) = Chain::of_this_process(root, Controller::Cpu) {
            found.cpu_quota_cores = quota_of(&chain);
        }
        found
    }
}

fn quota_of(chain: &Chain) -> Option<f64> {
    let quota_in = |group: &PathBuf| {
        let (quota_us, period_us) = match chain.version {
            1 => (number(&group.join("cpu.cfs_quota_us"))?, number(&group.join("cpu.cfs_period_us"))?),
            _ => {
                let text = read(&group.join("cpu.max"))?;
                let (quota_us, period_us) = text.trim().split_once(' ')?;
                (quota_us.parse().ok()?, period_us.parse().ok()?)
            }
        };
        (period_us > 0).then_some(quota_us as f64 / period_us as f64)
    };
    chain.groups.iter().filter_map(quota_in).min_by(f64::total_cmp)
}

fn read(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// The file's one unsigned number; `None` for `max`, for `-1` and for anything else.
fn number(path: &Path) -> Option<u64> {
    read(path)?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lays `files` (path below the root, content) out in a folder and checks what is read from it.
    #[track_caller]
    fn check_limits(files: &[(&str, &str)], expected: Cgroup) {
        let root = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        assert_eq!(Cgroup::of_this_process(root.path()), expected);
    }

    const V2_MOUNT: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
    const V1_MOUNTS: &str = "\
        31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
        32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n\
        35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
        41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";

    #[test]
    fn the_smallest_limit_of_a_group_and_its_ancestors_counts_in_version_2() {
        check_limits(
            &[
                ("proc/self/cgroup", "0::/user.slice/job\n"),
                ("proc/self/mountinfo", V2_MOUNT),
                ("sys/fs/cgroup/user.slice/job/memory.max", "max\n"),
                ("sys/fs/cgroup/user.slice/job/memory.current", "7\n"),
                ("sys/fs/cgroup/user.slice/job/cpu.max", "400000 100000\n"),
                ("sys/fs/cgroup/user.slice/memory.max", "8589934592\n"),
                ("sys/fs/cgroup/user.slice/memory.current", "1073741824\n"),
                ("sys/fs/cgroup/user.slice/cpu.max", "150000 100000\n"),
            ],
            Cgroup {
                memory_version: Some(2),
                memory_limit_bytes: Some(8 << 30),
                memory_used_bytes: Some(1 << 30),
                cpu_quota_cores: Some(1.5),
            },
        );
    }

    #[test]
    fn limits_are_read_from_version_1_beside_a_mounted_version_2() {
        check_limits(
            &[
                ("proc/self/cgroup", "4:memory:/job/7\n1:cpu,cpuacct:/job\n0::/\n"),
                ("proc/self/mountinfo", V1_MOUNTS),
                ("sys/fs/cgroup/memory/job/7/memory.limit_in_bytes", "536870912\n"),
                ("sys/fs/cgroup/memory/job/7/memory.usage_in_bytes", "4096\n"),
                ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
                ("sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us", "200000\n"),
                ("sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us", "100000\n"),
            ],
            Cgroup {
                memory_version: Some(1),
                memory_limit_bytes: Some(512 << 20),
                memory_used_bytes: Some(4096),
                cpu_quota_cores: Some(2.0),
            },
        );
    }

    #[test]
    fn version_1_without_limits_reports_use_alone() {
        check_limits(
            &[
                ("proc/self/cgroup", "4:memory:/\n1:cpu,cpuacct:/\n"),
                ("proc/self/mountinfo", V1_MOUNTS),
                ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
                ("sys/fs/cgroup/memory/memory.usage_in_bytes", "123\n"),
                ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n"),
                ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
            ],
            Cgroup { memory_version: Some(1), memory_used_bytes: Some(123), ..Cgroup::default() },
        );
    }

    #[test]
    fn a_container_that_sees_only_its_own_group_is_read_at_the_mount_point() {
        check_limits(
            &[
                ("proc/self/cgroup", "0::/../../docker/abc\n"),
                ("proc/self/mountinfo", V2_MOUNT),
                ("sys/fs/cgroup/memory.max", "1000\n"),
                ("sys/fs/cgroup/memory.current", "10\n"),
            ],
            Cgroup {
                memory_version: Some(2),
                memory_limit_bytes: Some(1000),
                memory_used_bytes: Some(10),
                cpu_quota_cores: None,
            },
        );
    }

    #[test]
    fn a_mount_that_shows_a_part_of_the_hierarchy_is_read_below_that_part() {
        check_limits(
            &[
                ("proc/self/cgroup", "4:memory:/docker/abc/inner\n"),
                (
                    "proc/self/mountinfo",
                    "35 31 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n",
                ),
                ("sys/fs/cgroup/memory/inner/memory.limit_in_bytes", "2000\n"),
                ("sys/fs/cgroup/memory/memory.limit_in_bytes", "3000\n"),
            ],
            Cgroup { memory_version: Some(1), memory_limit_bytes: Some(2000), ..Cgroup::default() },
        );
    }

    #[test]
    fn nonsense_and_absence_limit_nothing() {
        check_limits(&[], Cgroup::default());
        check_limits(
            &[
                ("proc/self/cgroup", "::\n0:\n\u{fffd}0::/x\n0::/job\n"),
                ("proc/self/mountinfo", "- - -\n\n30 23 - cgroup2\n"),
            ],
            Cgroup::default(),
        );
        check_limits(
            &[
                ("proc/self/cgroup", "0::/\n"),
                ("proc/self/mountinfo", V2_MOUNT),
                ("sys/fs/cgroup/cpu.max", "100000 0\n"),
            ],
            Cgroup::default(),
        );
    }
}
