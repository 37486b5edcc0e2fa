//! Which system calls touch storage, and which file each one names.

use std::fmt;
use std::fs::{File, read_link};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// Where the arguments of a call name its file; of two files, the one that is made or replaced.
#[derive(Debug, Clone, Copy)]
enum Names {
    /// By the descriptor in this argument.
    Descriptor(usize),
    /// By the text that this argument points at.
    Text(usize),
    /// By the text behind the descriptor of a directory in this argument; an empty text means the descriptor itself.
    At(usize),
}

/// What a call does to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It only looks, or lets go.
    Looks,
    /// It changes a file or a directory, makes one durable, or takes the lock.
    Changes,
    /// It appends or overwrites bytes, and can be cut short.
    Writes,
}

/// The most that a path takes, as in `PATH_MAX`.
const PATH_BYTES: usize = 4096;

use Effect::{Changes, Looks, Writes};
use Names::{At, Descriptor, Text};

const CALLS: &[(libc::c_long, &str, Names, Effect)] = &[
    (libc::SYS_write, "write", Descriptor(0), Writes),
    (libc::SYS_pwrite64, "pwrite64", Descriptor(0), Writes),
    (libc::SYS_writev, "writev", Descriptor(0), Changes),
    (libc::SYS_pwritev, "pwritev", Descriptor(0), Changes),
    (libc::SYS_pwritev2, "pwritev2", Descriptor(0), Changes),
    (libc::SYS_copy_file_range, "copy_file_range", Descriptor(2), Changes),
    (libc::SYS_sendfile, "sendfile", Descriptor(0), Changes),
    (libc::SYS_fsync, "fsync", Descriptor(0), Changes),
    (libc::SYS_fdatasync, "fdatasync", Descriptor(0), Changes),
    (libc::SYS_sync_file_range, "sync_file_range", Descriptor(0), Changes),
    (libc::SYS_syncfs, "syncfs", Descriptor(0), Changes),
    (libc::SYS_ftruncate, "ftruncate", Descriptor(0), Changes),
    (libc::SYS_truncate, "truncate", Text(0), Changes),
    (libc::SYS_fallocate, "fallocate", Descriptor(0), Changes),
    (libc::SYS_flock, "flock", Descriptor(0), Changes),
    (libc::SYS_openat, "openat", At(0), Looks),
    (libc::SYS_renameat, "renameat", At(2), Changes),
    (libc::SYS_renameat2, "renameat2", At(2), Changes),
    (libc::SYS_linkat, "linkat", At(2), Changes),
    (libc::SYS_symlinkat, "symlinkat", At(1), Changes),
    (libc::SYS_unlinkat, "unlinkat", At(0), Changes),
    (libc::SYS_mkdirat, "mkdirat", At(0), Changes),
    (libc::SYS_utimensat, "utimensat", At(0), Changes),
    (libc::SYS_fchmod, "fchmod", Descriptor(0), Changes),
    (libc::SYS_mmap, "mmap", Descriptor(4), Looks),
    (libc::SYS_read, "read", Descriptor(0), Looks),
    (libc::SYS_pread64, "pread64", Descriptor(0), Looks),
    (libc::SYS_lseek, "lseek", Descriptor(0), Looks),
    (libc::SYS_getdents64, "getdents64", Descriptor(0), Looks),
    (libc::SYS_fstat, "fstat", Descriptor(0), Looks),
    (libc::SYS_fstatfs, "fstatfs", Descriptor(0), Looks),
    (libc::SYS_statfs, "statfs", Text(0), Looks),
    (libc::SYS_statx, "statx", At(0), Looks),
    (libc::SYS_newfstatat, "newfstatat", At(0), Looks),
    (libc::SYS_fadvise64, "fadvise64", Descriptor(0), Looks),
    (libc::SYS_close, "close", Descriptor(0), Looks),
];

/// Calls that newer architectures have no more.
#[cfg(target_arch = "x86_64")]
const OLD_CALLS: &[(libc::c_long, &str, Names, Effect)] = &[
    (libc::SYS_open, "open", Text(0), Looks),
    (libc::SYS_rename, "rename", Text(1), Changes),
    (libc::SYS_link, "link", Text(1), Changes),
    (libc::SYS_symlink, "symlink", Text(1), Changes),
    (libc::SYS_unlink, "unlink", Text(0), Changes),
    (libc::SYS_rmdir, "rmdir", Text(0), Changes),
    (libc::SYS_mkdir, "mkdir", Text(0), Changes),
    (libc::SYS_stat, "stat", Text(0), Looks),
    (libc::SYS_lstat, "lstat", Text(0), Looks),
];
#[cfg(not(target_arch = "x86_64"))]
const OLD_CALLS: &[(libc::c_long, &str, Names, Effect)] = &[];

/// A system call that touches a file.
#[derive(Debug, Clone)]
pub struct StorageCall {
    pub name: &'static str,
    pub path: PathBuf,
    pub effect: Effect,
}

/// The storage call that thread `tid` is about to make, if it is one.
pub fn storage_call(tid: i32, number: u64, args: &[u64; 6]) -> Option<StorageCall> {
    let wanted = libc::c_long::try_from(number).ok()?;
    let (number, name, names, effect) =
        *CALLS.iter().chain(OLD_CALLS).find(|(number, ..)| *number == wanted)?;
    let path = match names {
        Descriptor(at) => descriptor(tid, args[at])?,
        Text(at) => at_directory(tid, libc::AT_FDCWD as u64, args[at])?,
        At(at) => at_directory(tid, args[at], args[at + 1])?,
    };
    let makes = libc::O_CREAT | libc::O_TRUNC;
    let opens_to_make = number == libc::SYS_openat && args[2] & makes as u64 != 0;
    Some(StorageCall { name, path, effect: if opens_to_make { Changes } else { effect } })
}

/// The file behind a descriptor of the thread's process.
fn descriptor(tid: i32, descriptor: u64) -> Option<PathBuf> {
    let descriptor = descriptor as i32;
    if descriptor == libc::AT_FDCWD {
        return read_link(format!("/proc/{tid}/cwd")).ok();
    }
    read_link(format!("/proc/{tid}/fd/{descriptor}")).ok()
}

fn at_directory(tid: i32, directory: u64, text: u64) -> Option<PathBuf> {
    let text = text_at(tid, text)?;
    if text.is_absolute() {
        return Some(text);
    }
    let directory = descriptor(tid, directory)?;
    Some(if text.as_os_str().is_empty() { directory } else { directory.join(text) })
}

/// The text with a zero behind it at an address of the thread's process.
fn text_at(tid: i32, address: u64) -> Option<PathBuf> {
    if address == 0 {
        return Some(PathBuf::new());
    }
    let memory = File::open(format!("/proc/{tid}/mem")).ok()?;
    let mut text = Vec::new();
    while text.len() < PATH_BYTES {
        let mut piece = [0; 256];
        let read = memory.read_at(&mut piece, address + text.len() as u64).ok().filter(|read| *read > 0)?;
        let end = piece[..read].iter().position(|byte| *byte == 0);
        text.extend_from_slice(&piece[..end.unwrap_or(read)]);
        if end.is_some() {
            return Some(std::ffi::OsString::from_vec(text).into());
        }
    }
    None
}

/// Bytes of the memory of the thread's process.
pub fn bytes_at(tid: i32, address: u64, len_bytes: u64) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(len_bytes).unwrap()];
    let memory = File::open(format!("/proc/{tid}/mem")).unwrap();
    memory.read_exact_at(&mut bytes, address).unwrap();
    bytes
}

/// A moment of a run that another run of the same settings has as well: the Nth time that this thread makes this call on
/// this file. Shown as `checkpoint-writ fdatasync checkpoints/step-00000004.safetensors.tmp #1`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point {
    /// The name of the thread, as the system cuts it.
    pub thread: String,
    pub call: &'static str,
    /// Within the work directory.
    pub path: PathBuf,
    /// Counted from 1.
    pub nth: u64,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path == Path::new("") { Path::new(".") } else { &self.path };
        write!(f, "{} {} {} #{}", self.thread, self.call, path.display(), self.nth)
    }
}
