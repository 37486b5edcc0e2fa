//! The control groups that limit this process, version 1 and version 2.
//!
//! `/proc/self/cgroup` names the group per hierarchy, `/proc/self/mountinfo` says where each hierarchy is mounted and
//! which of its groups that mount shows. A limit on any ancestor binds as well, so each file is read in the group and
//! in every group above it up to the mount point, and the smallest limit counts.

use std::fs;
use std::path::{Component, Path, PathBuf};

use super::Usage;
use super::numbers::{Numbers, keyed, only};

/// Version 1 writes "no limit" as the largest multiple of the page size that fits a signed 64-bit number; anything
/// from half of that up is no limit for any page size.
const V1_UNLIMITED_FROM_BYTES: u64 = 1 << 62;

/// What a hierarchy controls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Controller {
    /// Memory.
    Memory,
    /// Time of processors.
    Cpu,
}

/// The groups of this process in one hierarchy: its own first, then its ancestors up to the mount point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// The version of the hierarchy, 1 or 2.
    pub version: u8,
    /// The folders of the groups.
    pub groups: Vec<PathBuf>,
}

impl Chain {
    /// The groups that control something for this process, read below `root` (`/` outside tests): of version 1 if such
    /// a hierarchy is mounted, otherwise of version 2 if any of its groups has the file of the controller (a controller
    /// serves one version at a time). `None` means not limited: control groups are optional.
    pub fn of_this_process(root: &Path, controller: Controller) -> Option<Chain> {
        let memberships = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
        let mounts = fs::read_to_string(root.join("proc/self/mountinfo")).ok()?;
        let (name, v2_file) = match controller {
            Controller::Memory => ("memory", "memory.max"),
            Controller::Cpu => ("cpu", "cpu.max"),
        };
        let v1 = chain(root, &memberships, &mounts, Some(name));
        let v2 = || chain(root, &memberships, &mounts, None);
        v1.or_else(|| v2().filter(|chain| chain.groups.iter().any(|group| group.join(v2_file).exists())))
    }
}

/// The chain of the version 1 hierarchy with `controller`, or of the version 2 hierarchy for `None`.
fn chain(root: &Path, memberships: &str, mounts: &str, controller: Option<&str>) -> Option<Chain> {
    let member_path = memberships.lines().find_map(|line| {
        // hierarchy-ID:controller-list:cgroup-path
        let mut fields = line.splitn(3, ':');
        let (id, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let ours = match controller {
            Some(name) => controllers.split(',').any(|one| one == name),
            None => id == "0" && controllers.is_empty(),
        };
        ours.then_some(path)
    })?;
    let (mount_root, mount_point) = mounts.lines().find_map(|line| {
        // ID parent major:minor root mount-point options [optional...] - type source super-options
        let (head, tail) = line.split_once(" - ")?;
        let mut head = head.split(' ').skip(3);
        let (mount_root, mount_point) = (head.next()?, head.next()?);
        let mut tail = tail.split(' ');
        let (kind, options) = (tail.next()?, tail.nth(1).unwrap_or(""));
        let ours = match controller {
            Some(name) => kind == "cgroup" && options.split(',').any(|one| one == name),
            None => kind == "cgroup2",
        };
        ours.then_some((mount_root, mount_point))
    })?;
    let mount_dir = root.join(mount_point.trim_start_matches('/'));
    // In a container the mount may show only a part of the hierarchy, or the path may point outside of what is
    // visible (`/../..`); the mount point itself is then the closest group that can be read.
    let below_mount = Path::new(member_path)
        .strip_prefix(mount_root)
        .ok()
        .filter(|path| path.components().all(|part| matches!(part, Component::Normal(_))))
        .unwrap_or(Path::new(""));
    let own_group = mount_dir.join(below_mount);
    let groups = own_group.ancestors().take_while(|group| group.starts_with(&mount_dir));
    let version = if controller.is_some() { 1 } else { 2 };
    Some(Chain { version, groups: groups.map(Path::to_path_buf).collect() })
}

/// The group whose memory limit binds this process first, with its files open.
#[derive(Debug)]
pub struct MemoryGroup {
    /// The version of its hierarchy, 1 or 2.
    pub version: u8,
    /// Its folder.
    pub path: PathBuf,
    limit: Option<Numbers>,
    used: Option<Numbers>,
    stat: Option<Numbers>,
    events: Option<Numbers>,
}

impl MemoryGroup {
    /// The group of this process, or of its ancestors, with the smallest limit; its own where nothing is limited. Read
    /// below `root`, `/` outside tests.
    pub fn of_this_process(root: &Path) -> Option<MemoryGroup> {
        let Chain { version, groups } = Chain::of_this_process(root, Controller::Memory)?;
        let limit_file = if version == 1 { "memory.limit_in_bytes" } else { "memory.max" };
        let limit_of = |group: &&PathBuf| {
            let text = fs::read_to_string(group.join(limit_file)).ok()?;
            only(&text).filter(|limit_bytes| *limit_bytes < V1_UNLIMITED_FROM_BYTES)
        };
        let limited = groups.iter().rev().filter_map(|group| Some((limit_of(&group)?, group)));
        // Of equal limits the outermost group's counts: it is used up first.
        let tightest = limited.min_by_key(|(limit_bytes, _)| *limit_bytes).map(|(_, group)| group);
        let path = tightest.or_else(|| groups.first())?.clone();
        let open = |name: &str| Numbers::open(&path.join(name));
        let (used, events) = match version {
            1 => ("memory.usage_in_bytes", "memory.oom_control"),
            _ => ("memory.current", "memory.events"),
        };
        let (limit, used, stat, events) = (open(limit_file), open(used), open("memory.stat"), open(events));
        Some(MemoryGroup { version, path, limit, used, stat, events })
    }

    /// The limit now; `None` if there is none.
    pub fn limit_bytes(&self) -> Option<u64> {
        let limit = self.limit.as_ref()?.read(only)?;
        (limit < V1_UNLIMITED_FROM_BYTES).then_some(limit)
    }

    /// What is charged to the group, page cache included.
    pub fn charged_bytes(&self) -> Option<u64> {
        self.used.as_ref()?.read(only)
    }

    /// What is used of the limit, without the cache of files, which shrinks before anything is killed. `None` without a
    /// limit.
    pub fn usage(&self) -> Option<Usage> {
        let (limit_bytes, charged_bytes) = (self.limit_bytes()?, self.charged_bytes()?);
        let cache_bytes =
            self.stat.as_ref().and_then(|stat| stat.read(|text| Some(cache_bytes(text, self.version))));
        let used_bytes = charged_bytes.saturating_sub(cache_bytes.unwrap_or(0));
        Some(Usage { used_bytes, limit_bytes })
    }

    /// How many processes of the group the kernel has killed for memory.
    pub fn oom_kills(&self) -> Option<u64> {
        self.events.as_ref()?.read(|text| keyed(text, "oom_kill"))
    }
}

/// Bytes of files in memory that are no process's own.
fn cache_bytes(stat: &str, version: u8) -> u64 {
    // In version 1 the plain keys are of the group alone, and those with `total_` of the groups below it as well.
    let keys = match version {
        1 => ["total_inactive_file", "total_active_file"],
        _ => ["inactive_file", "active_file"],
    };
    keys.iter().filter_map(|key| keyed(stat, key)).sum()
}

#[cfg(test)]
mod tests {
    use super::{Chain, Controller, MemoryGroup};
    use crate::memory::Usage;
    use std::fs;
    use std::path::Path;

    const V2_MOUNT: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
    const V1_MOUNT: &str = "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n";

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        root
    }

    #[test]
    fn the_tightest_group_of_version_2_counts_without_the_cache_of_files() {
        let root = tree(&[
            ("proc/self/cgroup", "0::/pod/worker\n"),
            ("proc/self/mountinfo", V2_MOUNT),
            ("sys/fs/cgroup/pod/worker/memory.max", "max\n"),
            ("sys/fs/cgroup/pod/memory.max", "1000000\n"),
            ("sys/fs/cgroup/pod/memory.current", "900000\n"),
            ("sys/fs/cgroup/pod/memory.stat", "anon 500000\ninactive_file 100000\nactive_file 50000\n"),
            ("sys/fs/cgroup/pod/memory.events", "low 0\nhigh 0\nmax 7\noom 2\noom_kill 1\n"),
        ]);
        let group = MemoryGroup::of_this_process(root.path()).unwrap();
        assert_eq!((group.version, group.path.ends_with("pod")), (2, true));
        assert_eq!(group.usage(), Some(Usage { used_bytes: 750_000, limit_bytes: 1_000_000 }));
        assert_eq!(group.oom_kills(), Some(1));
        // The files are open, and read anew each time.
        fs::write(root.path().join("sys/fs/cgroup/pod/memory.current"), "950000\n").unwrap();
        assert_eq!(group.usage().map(|usage| usage.used_bytes), Some(800_000));
    }

    #[test]
    fn version_1_counts_the_groups_below_and_no_limit_is_none() {
        let files = [
            ("proc/self/cgroup", "4:memory:/job\n0::/\n"),
            ("proc/self/mountinfo", V1_MOUNT),
            ("sys/fs/cgroup/memory/job/memory.limit_in_bytes", "2000\n"),
            ("sys/fs/cgroup/memory/job/memory.usage_in_bytes", "1500\n"),
            (
                "sys/fs/cgroup/memory/job/memory.stat",
                "inactive_file 9\ntotal_inactive_file 300\ntotal_active_file 200\n",
            ),
            ("sys/fs/cgroup/memory/job/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n"),
        ];
        let root = tree(&files);
        let group = MemoryGroup::of_this_process(root.path()).unwrap();
        assert_eq!(group.usage(), Some(Usage { used_bytes: 1000, limit_bytes: 2000 }));
        assert_eq!((group.version, group.oom_kills()), (1, Some(4)));
        let unlimited = root.path().join("sys/fs/cgroup/memory/job/memory.limit_in_bytes");
        fs::write(unlimited, "9223372036854771712\n").unwrap();
        assert_eq!(group.usage(), None);
    }

    #[test]
    fn without_control_groups_there_are_none() {
        let root = tree(&[("proc/self/cgroup", "0::/\n"), ("proc/self/mountinfo", V2_MOUNT)]);
        assert!(MemoryGroup::of_this_process(root.path()).is_none());
        assert_eq!(Chain::of_this_process(Path::new("/nonexistent"), Controller::Cpu), None);
    }
}
