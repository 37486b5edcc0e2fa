//! One process at a time in a work directory.
//!
//! The lock is the kernel's (`flock`), so it is free again the moment its holder dies, however it dies. What the file
//! says is only for people. This is the one file that does not go through [`Disk`]: it holds no results, and
//! a lock can not be simulated away.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::clock::utc;
use crate::disk::{Disk, DiskError, RealDisk};

/// The name of the lock file in a work directory.
pub const FILE_NAME: &str = "lock";

/// Far more than the few lines that a lock file has; more is not read.
const READ_LIMIT_BYTES: u64 = 4096;

/// How often, and how long each time, a process that wants the lock waits for others that only ask who has it.
const GLANCES: usize = 10;
const GLANCE: Duration = Duration::from_millis(5);

/// The right to change a work directory, held until it is dropped or the process ends.
#[derive(Debug)]
pub struct WorkDirLock {
    // Closing the file frees the lock.
    _file: File,
    path: PathBuf,
}

/// A work directory that could not be locked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Another process, or another handle in this one, holds it.
    #[error(
        "{path} is held by {holder}; wait for it, stop it, or use another work directory",
        path = path.display()
    )]
    Held {
        /// The lock file.
        path: PathBuf,
        /// What the lock file says of its holder.
        holder: Holder,
    },
    /// The work directory could not be created.
    #[error(transparent)]
    CreateDir(DiskError),
    /// The file system has no locks, so nothing would keep two processes from writing to one run.
    #[error(
        "the file system of {path} has no locks (flock: {source}); use a work directory on a local file system, or mount this \
         one with locks: NFS with its lock service running or with `local_lock=flock` if only this machine uses it",
        path = path.display()
    )]
    NoLocks {
        /// The lock file.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// The lock file could not be opened or written.
    #[error("could not open or write {path}: {source}; the work directory must be writable", path = path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
}

impl LockError {
    /// An answer to `flock` other than that somebody holds it.
    fn of_flock(path: PathBuf, source: io::Error) -> LockError {
        use rustix::io::Errno;
        let no_locks = [Errno::NOLCK, Errno::OPNOTSUPP, Errno::NOSYS, Errno::INVAL];
        if no_locks.iter().any(|errno| source.raw_os_error() == Some(errno.raw_os_error())) {
            return LockError::NoLocks { path, source };
        }
        LockError::Io { path, source }
    }
}

/// What a lock file says of the process that holds it; nothing of it is certain, since anybody can write there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Holder {
    /// The process, on its own machine.
    pub pid: Option<u32>,
    /// The name of that machine.
    pub host: Option<String>,
    /// When it took the lock.
    pub since: Option<SystemTime>,
}

impl WorkDirLock {
    /// Takes the lock of a work directory, creating the directory if it is missing.
    ///
    /// # Errors
    /// [`LockError::Held`] when somebody else has it: this does not wait, but for the moment that
    /// [`holder`](WorkDirLock::holder) may have it in another process.
    pub fn acquire(work_dir: &Path) -> Result<WorkDirLock, LockError> {
        RealDisk.create_dir_all(work_dir).map_err(LockError::CreateDir)?;
        let path = work_dir.join(FILE_NAME);
        let fail = |source| LockError::Io { path: path.clone(), source };
        // Not truncated on opening: until the lock is ours, the contents are somebody else's.
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(fail)?;
        let mut glances = 0..GLANCES;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if glances.next().is_some() => std::thread::sleep(GLANCE),
                Err(TryLockError::WouldBlock) => {
                    return Err(LockError::Held { holder: Holder::read(&mut file), path });
                }
                Err(TryLockError::Error(source)) => return Err(LockError::of_flock(path, source)),
            }
        }
        Holder::this_process().write(&mut file).map_err(fail)?;
        Ok(WorkDirLock { _file: file, path })
    }

    /// Who holds the lock of a work directory now; `None` if nobody does. Nothing is written.
    ///
    /// # Errors
    /// If the lock file is there and can not be opened, or its file system has no locks.
    pub fn holder(work_dir: &Path) -> Result<Option<Holder>, LockError> {
        let path = work_dir.join(FILE_NAME);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(source) => return Err(LockError::Io { path, source }),
        };
        // Shared, so that two who only ask do not see each other.
        match file.try_lock_shared() {
            Ok(()) => Ok(None),
            Err(TryLockError::WouldBlock) => Ok(Some(Holder::read(&mut file))),
            Err(TryLockError::Error(source)) => Err(LockError::of_flock(path, source)),
        }
    }

    /// The lock file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Holder {
    fn this_process() -> Holder {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Holder { pid: Some(std::process::id()), host: Some(host), since: Some(SystemTime::now()) }
    }

    fn write(&self, file: &mut File) -> io::Result<()> {
        let since_unix_s = self.since.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let text = format!(
            "pid {}\nhost {}\nsince_unix_s {}\n",
            self.pid.unwrap_or_default(),
            self.host.as_deref().unwrap_or_default(),
            since_unix_s.unwrap_or_default().as_secs()
        );
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(text.as_bytes())
    }

    /// Reads what is there; an unreadable line is left out, since the lock is held whatever the file says.
    fn read(file: &mut File) -> Holder {
        let mut bytes = Vec::new();
        if file.take(READ_LIMIT_BYTES).read_to_end(&mut bytes).is_err() {
            return Holder::default();
        }
        let mut holder = Holder::default();
        for line in String::from_utf8_lossy(&bytes).lines() {
            match line.split_once(' ') {
                Some(("pid", pid)) => holder.pid = pid.parse().ok(),
                Some(("host", host)) => {
                    holder.host = Some(host.chars().filter(|c| !c.is_control()).collect());
                }
                Some(("since_unix_s", seconds)) => {
                    holder.since = seconds
                        .parse()
                        .ok()
                        .and_then(|seconds| UNIX_EPOCH.checked_add(Duration::from_secs(seconds)));
                }
                _ => {}
            }
        }
        holder
    }
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.pid {
            Some(pid) => write!(f, "process {pid}")?,
            None => write!(f, "another process")?,
        }
        if let Some(host) = &self.host {
            write!(f, " on {host}")?;
        }
        let Some(since) = self.since else { return Ok(()) };
        if let Ok(since_unix) = since.duration_since(UNIX_EPOCH) {
            write!(f, " since {}", utc(since_unix.as_secs()))?;
        }
        match SystemTime::now().duration_since(since).map(|held| held.as_secs()) {
            Ok(s @ 0..60) => write!(f, " (for {s} s)"),
            Ok(s @ 60..3600) => write!(f, " (for {} min)", s / 60),
            Ok(s) => write!(f, " (for {} h {} min)", s / 3600, s / 60 % 60),
            // Its clock, or ours, was set since.
            Err(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};
    use std::time::{Duration, SystemTime};

    use super::{Holder, LockError, WorkDirLock};

    #[test]
    fn whoever_asks_sees_the_holder_and_keeps_nobody_out() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(WorkDirLock::holder(dir.path()).unwrap(), None);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "asking left a file");
        let lock = WorkDirLock::acquire(dir.path()).unwrap();
        let holder = WorkDirLock::holder(dir.path()).unwrap().expect("it is held");
        assert_eq!(holder.pid, Some(std::process::id()));
        drop(lock);
        assert_eq!(WorkDirLock::holder(dir.path()).unwrap(), None);
        // One that asks at this moment.
        let glance = std::fs::File::open(dir.path().join(super::FILE_NAME)).unwrap();
        glance.lock_shared().unwrap();
        let ends = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(15));
            drop(glance);
        });
        WorkDirLock::acquire(dir.path()).unwrap();
        ends.join().unwrap();
    }

    #[test]
    fn a_second_holder_is_refused_and_told_who_the_first_is() {
        let dir = tempfile::tempdir().unwrap();
        let work_dir = dir.path().join("a/exp");
        let lock = WorkDirLock::acquire(&work_dir).unwrap();
        let error = WorkDirLock::acquire(&work_dir).unwrap_err();
        let LockError::Held { path, holder } = &error else { panic!("{error}") };
        assert_eq!(path, lock.path());
        assert_eq!(holder.pid, Some(std::process::id()));
        assert!(holder.host.is_some() && holder.since.is_some());
        let message = error.to_string();
        assert!(message.contains(&format!("process {}", std::process::id())), "{message}");
    }

    #[test]
    fn the_lock_is_free_again_when_it_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        drop(WorkDirLock::acquire(dir.path()).unwrap());
        WorkDirLock::acquire(dir.path()).unwrap();
    }

    /// Run by the test below in a process of its own: takes the lock, says so, and waits to be killed.
    #[test]
    #[ignore = "holds a lock until its process is killed"]
    fn holder_process() {
        let Some(work_dir) = std::env::var_os("LOCK_TEST_DIR") else { return };
        let _lock = WorkDirLock::acquire(work_dir.as_ref()).unwrap();
        println!("\nlocked");
        std::thread::park();
    }

    #[test]
    fn the_lock_of_another_process_is_respected_and_freed_by_its_death() {
        let dir = tempfile::tempdir().unwrap();
        let mut holder = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "lock::tests::holder_process", "--ignored", "--nocapture"])
            .env("LOCK_TEST_DIR", dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(holder.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap() == "locked"));
        let error = WorkDirLock::acquire(dir.path()).unwrap_err();
        assert!(
            matches!(&error, LockError::Held { holder: told, .. } if told.pid == Some(holder.id())),
            "{error}"
        );
        holder.kill().unwrap();
        holder.wait().unwrap();
        WorkDirLock::acquire(dir.path()).unwrap();
    }

    #[test]
    fn a_lock_file_of_any_contents_is_no_obstacle() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        std::fs::write(
            &path,
            [b"pid x\nhost \x1b[31m\nsince_unix_s 99999999999999999999\n\xff", &[b'z'; 9999][..]].concat(),
        )
        .unwrap();
        let told = Holder::read(&mut std::fs::File::open(&path).unwrap());
        assert_eq!(told, Holder { pid: None, host: Some("[31m".to_owned()), since: None });
        let _lock = WorkDirLock::acquire(dir.path()).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with(&format!("pid {}\n", std::process::id())) && text.len() < 500, "{text}");
    }

    #[test]
    fn the_holder_is_described_with_what_is_known() {
        assert_eq!(Holder::default().to_string(), "another process");
        let hours = SystemTime::now() - Duration::from_secs(2 * 3600 + 5 * 60 + 1);
        let holder = Holder { pid: Some(7), host: Some("box".to_owned()), since: Some(hours) };
        let text = holder.to_string();
        assert!(
            text.starts_with("process 7 on box since 20") && text.ends_with(" UTC (for 2 h 5 min)"),
            "{text}"
        );
    }

    #[test]
    fn a_file_system_without_locks_is_told_from_one_that_can_not_be_written() {
        use rustix::io::Errno;
        let of = |errno: Errno| {
            LockError::of_flock("/exp/lock".into(), std::io::Error::from_raw_os_error(errno.raw_os_error()))
        };
        for errno in [Errno::NOLCK, Errno::OPNOTSUPP] {
            let message = of(errno).to_string();
            assert!(
                message.contains("/exp/lock has no locks") && message.contains("local_lock"),
                "{message}"
            );
        }
        assert!(matches!(of(Errno::IO), LockError::Io { .. }));
    }
}
