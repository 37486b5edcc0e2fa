//! The file system under a path: its kind, its room, and how long a durable write takes on it.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use thiserror::Error;

/// Size of one measured write: the sector size of current disks, and about a journal record with its neighbours.
const SYNC_WRITE_BYTES: usize = 4096;

/// A file system with a name of its own in `statfs(2)`, and whether it keeps data through a power loss.
const FILE_SYSTEMS: &[(u64, &str, Durability)] = &[
    (0xEF53, "ext4", Durability::Disk),
    (0x5846_5342, "xfs", Durability::Disk),
    (0x9123_683E, "btrfs", Durability::Disk),
    (0x2FC1_2FC1, "zfs", Durability::Disk),
    (0xF2F5_2010, "f2fs", Durability::Disk),
    (0xCA45_1A4E, "bcachefs", Durability::Disk),
    (0x4D44, "vfat", Durability::Disk),
    (0x2011_BAB0, "exfat", Durability::Disk),
    (0x794C_7630, "overlay", Durability::Disk),
    (0x0102_1994, "tmpfs", Durability::Memory),
    (0x8584_58F6, "ramfs", Durability::Memory),
    (0x6969, "nfs", Durability::Network),
    (0xFF53_4D42, "cifs", Durability::Network),
    (0xFE53_4D42, "smb", Durability::Network),
    (0x00C3_6400, "ceph", Durability::Network),
    (0x0BD0_0BD0, "lustre", Durability::Network),
    (0x4750_4653, "gpfs", Durability::Network),
    (0x1983_0326, "beegfs", Durability::Network),
    (0x0102_1997, "9p", Durability::Network),
    (0x6573_5546, "fuse", Durability::Network),
];

/// Where a file system keeps its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// On a disk of this machine: synced data outlives a power loss.
    Disk,
    /// In memory: everything is gone after a restart of the machine.
    Memory,
    /// On another machine, or behind a program: as durable as that one makes it.
    Network,
    /// Not a file system this program knows.
    Unknown,
}

/// The file system under a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSystem {
    /// The path that was looked at: the asked one, or its nearest ancestor that exists.
    pub path: PathBuf,
    /// The usual name (`ext4`, `tmpfs`, ...), or the kernel's number in hex.
    pub kind: String,
    /// Where it keeps its data.
    pub durability: Durability,
    /// Room that this user may fill.
    pub free_bytes: u64,
    /// Size of the whole file system.
    pub total_bytes: u64,
}

/// How long a small write takes until it is durable (`write` and `fdatasync`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SyncLatency {
    /// The middle of all measured times.
    pub median: Duration,
    /// The worst of them.
    pub max: Duration,
}

/// Why a disk could not be examined.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DiskError {
    /// The file system does not answer.
    #[error("cannot examine the file system at {path}: {source}; check that the path exists and is readable")]
    Unreadable {
        /// The path asked about.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No file can be written and synced there.
    #[error(
        "cannot write and sync a file in {path}: {source}; free some room there, make the folder writable, \
         or choose another --work-dir"
    )]
    Unwritable {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Examines the file system that holds `path`, or would hold it once it is made.
///
/// # Errors
/// [`DiskError::Unreadable`] if the system does not answer for it.
pub fn file_system(path: &Path) -> Result<FileSystem, DiskError> {
    let existing = nearest_existing(path);
    let unreadable =
        |source: rustix::io::Errno| DiskError::Unreadable { path: existing.clone(), source: source.into() };
    let kind_number = rustix::fs::statfs(&existing).map_err(unreadable)?.f_type as u64;
    let room = rustix::fs::statvfs(&existing).map_err(unreadable)?;
    let (kind, durability) =
        FILE_SYSTEMS.iter().find(|(number, _, _)| *number == kind_number & 0xFFFF_FFFF).map_or_else(
            || (format!("{kind_number:#x}"), Durability::Unknown),
            |(_, name, durability)| ((*name).to_owned(), *durability),
        );
    Ok(FileSystem {
        path: existing,
        kind,
        durability,
        free_bytes: room.f_bavail.saturating_mul(room.f_frsize),
        total_bytes: room.f_blocks.saturating_mul(room.f_frsize),
    })
}

/// Measures `samples` (at least 1) durable writes on the disk that holds `path`, or would hold it once it is made.
///
/// The file has no name where the file system allows that, so nothing is left behind, however the process ends.
///
/// # Errors
/// [`DiskError::Unwritable`] if the folder takes no file or no data.
pub fn sync_latency(path: &Path, samples: usize) -> Result<SyncLatency, DiskError> {
    let folder = nearest_existing(path);
    measure(&folder, samples.max(1)).map_err(|source| DiskError::Unwritable { path: folder, source })
}

fn measure(folder: &Path, samples: usize) -> io::Result<SyncLatency> {
    let mut file = tempfile::tempfile_in(folder)?;
    let block = [0x5A; SYNC_WRITE_BYTES];
    // The first write also allocates the file, which no later append pays for.
    file.write_all(&block)?;
    file.sync_all()?;
    let mut times = Vec::with_capacity(samples);
    for _ in 0..samples {
        let start = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    Ok(SyncLatency { median, max: times.last().copied().unwrap_or_default() })
}

/// The path itself if it exists, otherwise its nearest ancestor that does; `.` for a relative path without any.
fn nearest_existing(path: &Path) -> PathBuf {
    path.ancestors()
        .find(|ancestor| !ancestor.as_os_str().is_empty() && ancestor.exists())
        .unwrap_or(Path::new("."))
        .to_path_buf()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_does_not_exist_yet_is_examined_at_its_nearest_ancestor() {
        let folder = tempfile::tempdir().unwrap();
        let found = file_system(&folder.path().join("not/yet/there")).unwrap();
        assert_eq!(found.path, folder.path());
        assert!(found.free_bytes <= found.total_bytes && found.total_bytes > 0);
        assert_eq!(nearest_existing(Path::new("no-such-folder/exp")), Path::new("."));
    }

    #[test]
    fn measuring_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let latency = sync_latency(folder.path(), 5).unwrap();
        assert!(latency.median <= latency.max && latency.max > Duration::ZERO);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_that_takes_no_file_is_named_with_the_remedy() {
        let message = sync_latency(Path::new("/proc"), 1).unwrap_err().to_string();
        assert!(message.contains("/proc") && message.contains("--work-dir"), "{message}");
    }

    #[test]
    fn file_systems_in_memory_are_known_as_such() {
        if let Ok(found) = file_system(Path::new("/dev/shm")) {
            assert!(found.kind != "tmpfs" || found.durability == Durability::Memory);
        }
        assert_eq!(file_system(Path::new("/proc")).unwrap().durability, Durability::Unknown);
    }
}
