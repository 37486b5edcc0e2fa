//! Claims on trials: of all processes on all machines that share the folder of a sweep, one works on a trial.
//!
//! The claims on a trial are files `claims/<trial>/<generation>`, made once ([`create_once`]) and never removed. The one with the
//! highest generation counts. Whoever finds it given back, or its claimant dead, may make the next generation, and of several
//! that try one succeeds: since no name is ever used again, nobody can take away a claim that is newer than the one he judged.
//!
//! Whether a claimant is dead: on the same boot of the same machine, in the same namespace of processes, the kernel says so at once.
//! Elsewhere its file must not have changed for the time of the lease, by the clock of the one who watches; a live claimant
//! rewrites it six times in that time. No two clocks are compared. A claimant that was away for longer (a machine asleep, a network cut) finds the
//! next generation when it looks, and stops its trial; until then the lock of the work directory keeps the other out where the
//! file system's locks reach both machines.

use super::once::create_once;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use thiserror::Error;
use trainer_runtime::RunId;

/// The folder of the claims in that of a sweep.
pub const FOLDER: &str = "claims";

/// Signs of life in the time of a lease.
const BEATS_PER_LEASE: u32 = 6;

/// How often a claim is read that is replaced meanwhile.
const READS: u32 = 5;

/// Claims that could not be read or made.
#[derive(Debug, Error)]
#[error("could not read or make the claim {}: {source}; check the folder of the sweep", path.display())]
pub struct ClaimError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

/// Who claims.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claimant {
    /// The machine, for people.
    pub host: String,
    /// This boot of its kernel; empty where that is not known.
    pub boot_id: String,
    /// The namespace of its process numbers.
    pub pid_namespace: String,
    /// The process.
    pub pid: u32,
    /// When it was started, in the kernel's ticks since boot: numbers of processes are used again.
    pub started_ticks: u64,
}

/// The contents of a claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Contents {
    format: u32,
    claimant: Claimant,
    /// Tells claims of one process apart.
    nonce: String,
    /// Counts the signs of life.
    beat: u64,
    /// Whether the claimant has no more to do with the trial.
    is_released: bool,
}

/// What came of trying to claim a trial.
#[derive(Debug)]
pub enum Take {
    /// It is ours.
    Taken(Claim),
    /// It is somebody else's.
    Elsewhere(Elsewhere),
}

/// The claim of another process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elsewhere {
    /// Whose; `None` if it can not be read.
    pub by: Option<Claimant>,
    /// Whether that one is known to live. Otherwise the time of a lease has to pass, with more looks in it.
    pub is_alive: bool,
}

/// A trial that is ours, until the claim is released or this process ends.
#[derive(Debug)]
pub struct Claim {
    path: PathBuf,
    next: PathBuf,
    contents: Contents,
    refreshed: Instant,
    every: Duration,
}

/// The claims of a sweep, as one process sees them.
#[derive(Debug)]
pub struct Claims {
    dir: PathBuf,
    lease: Duration,
    me: Claimant,
    watched: BTreeMap<u64, Watched>,
}

/// A claim that was found, and since when it has not changed.
#[derive(Debug)]
struct Watched {
    path: PathBuf,
    bytes: Vec<u8>,
    since: Instant,
    has_moved: bool,
}

impl Claims {
    /// The claims in the folder of a sweep.
    #[must_use]
    pub fn of(sweep_dir: &Path, lease: Duration) -> Self {
        Self { dir: sweep_dir.join(FOLDER), lease, me: Claimant::this_process(), watched: BTreeMap::new() }
    }

    /// Who else has claimed a trial; `None` if nobody has whose claim still counts. Changes nothing.
    ///
    /// # Errors
    /// If a claim can not be read.
    pub fn elsewhere(&mut self, trial: u64) -> Result<Option<Elsewhere>, ClaimError> {
        let dir = self.trial_dir(trial);
        let newest = newest(&dir).map_err(|source| fail(&dir, source))?;
        newest.map_or(Ok(None), |generation| self.judged(trial, &dir.join(file_name(generation))))
    }

    /// Tries to claim a trial. Does not wait.
    ///
    /// # Errors
    /// If a claim can not be read or made.
    pub fn take(&mut self, trial: u64) -> Result<Take, ClaimError> {
        let dir = self.trial_dir(trial);
        fs::create_dir_all(&dir).map_err(|source| fail(&dir, source))?;
        let mut at_least = None;
        loop {
            // A list of the folder may be older than an answer that a name is taken.
            let newest = newest(&dir).map_err(|source| fail(&dir, source))?.max(at_least);
            let next = newest.map_or(1, |generation| generation.saturating_add(1));
            if let Some(generation) = newest
                && let Some(elsewhere) = self.judged(trial, &dir.join(file_name(generation)))?
            {
                return Ok(Take::Elsewhere(elsewhere));
            }
            let path = dir.join(file_name(next));
            let nonce = RunId::random().map_err(|source| fail(&path, source))?.to_string();
            let claimant = self.me.clone();
            let contents = Contents { format: 1, claimant, nonce, beat: 0, is_released: false };
            if create_once(&path, &contents.bytes()).map_err(|source| fail(&path, source))? {
                self.watched.remove(&trial);
                return Ok(Take::Taken(Claim {
                    path,
                    next: dir.join(file_name(next.saturating_add(1))),
                    contents,
                    refreshed: Instant::now(),
                    every: self.lease / BEATS_PER_LEASE,
                }));
            }
            // Somebody was faster.
            at_least = Some(next);
        }
    }

    fn trial_dir(&self, trial: u64) -> PathBuf {
        self.dir.join(format!("{trial:06}"))
    }

    /// Reads and judges the newest claim on a trial.
    fn judged(&mut self, trial: u64, path: &Path) -> Result<Option<Elsewhere>, ClaimError> {
        let bytes = read(|| fs::read(path)).map_err(|source| fail(path, source))?;
        let contents: Option<Contents> = serde_json::from_slice(&bytes).ok();
        let is_alive = self.judge(trial, path, bytes, contents.as_ref());
        Ok(is_alive.map(|is_alive| Elsewhere { by: contents.map(|contents| contents.claimant), is_alive }))
    }

    /// Whether the newest claim on a trial still counts: `None` if it does not, and otherwise whether its claimant is known to
    /// live.
    fn judge(
        &mut self,
        trial: u64,
        path: &Path,
        bytes: Vec<u8>,
        contents: Option<&Contents>,
    ) -> Option<bool> {
        if let Some(contents) = contents {
            if contents.is_released {
                return None;
            }
            if let Some(is_alive) = contents.claimant.is_alive_beside(&self.me) {
                return is_alive.then_some(true);
            }
        }
        let now = Instant::now();
        let watched = self.watched.entry(trial).or_insert_with(|| Watched {
            path: path.to_owned(),
            bytes: bytes.clone(),
            since: now,
            has_moved: false,
        });
        if watched.path != path {
            *watched = Watched { path: path.to_owned(), bytes, since: now, has_moved: false };
        } else if watched.bytes != bytes {
            *watched = Watched { path: path.to_owned(), bytes, since: now, has_moved: true };
        }
        (now.duration_since(watched.since) < self.lease).then_some(watched.has_moved)
    }
}

impl Claim {
    /// Gives a sign of life if one is due. `false` if somebody has taken the trial over meanwhile: it is ours no more.
    ///
    /// # Errors
    /// If the claim can not be rewritten.
    pub fn refresh(&mut self) -> Result<bool, ClaimError> {
        if self.refreshed.elapsed() < self.every {
            return Ok(true);
        }
        if self.next.exists() {
            return Ok(false);
        }
        self.contents.beat += 1;
        self.refreshed = Instant::now();
        self.rewrite()?;
        Ok(true)
    }

    /// Gives the trial back.
    ///
    /// # Errors
    /// If the claim can not be rewritten; then it is free when this process has ended.
    pub fn release(mut self) -> Result<(), ClaimError> {
        self.contents.is_released = true;
        self.rewrite()
    }

    /// Only the claimant writes to its claim, so nobody else's change is lost. It need not be durable: after a power loss
    /// the claimant is dead, whatever the file says.
    fn rewrite(&self) -> Result<(), ClaimError> {
        let temporary = self.path.with_extension("tmp");
        let written =
            fs::write(&temporary, self.contents.bytes()).and_then(|()| fs::rename(&temporary, &self.path));
        written.map_err(|source| ClaimError { path: self.path.clone(), source })
    }
}

impl Contents {
    fn bytes(&self) -> Vec<u8> {
        // Numbers and text are always JSON.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// Reads a claim, which its claimant may replace at this moment: NFS then has no more of the file that was opened.
fn read(mut read: impl FnMut() -> io::Result<Vec<u8>>) -> io::Result<Vec<u8>> {
    let mut tries = 1;
    loop {
        match read() {
            Err(error) if error.kind() == io::ErrorKind::StaleNetworkFileHandle && tries < READS => {
                tries += 1
            }
            result => return result,
        }
    }
}

fn fail(path: &Path, source: io::Error) -> ClaimError {
    ClaimError { path: path.to_owned(), source }
}

fn file_name(generation: u64) -> String {
    format!("{generation:06}")
}

/// The highest generation in a folder of claims.
fn newest(dir: &Path) -> io::Result<Option<u64>> {
    let mut newest = None;
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        entries => entries?,
    };
    for entry in entries {
        let name = entry?.file_name();
        let generation = name.to_str().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
        newest = newest.max(generation.and_then(|name| name.parse().ok()));
    }
    Ok(newest)
}

impl Claimant {
    fn this_process() -> Self {
        let pid = std::process::id();
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let pid_namespace = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        Self {
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            boot_id: boot_id.trim().to_owned(),
            pid_namespace: pid_namespace.to_string_lossy().into_owned(),
            pid,
            started_ticks: started_ticks(pid).unwrap_or(0),
        }
    }

    /// Whether this claimant lives, as far as a process in the place of `other` can tell from its own kernel.
    fn is_alive_beside(&self, other: &Self) -> Option<bool> {
        let is_known = !self.boot_id.is_empty() && !self.pid_namespace.is_empty();
        let is_beside = self.boot_id == other.boot_id && self.pid_namespace == other.pid_namespace;
        (is_known && is_beside).then(|| started_ticks(self.pid) == Some(self.started_ticks))
    }
}

impl std::fmt::Display for Claimant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let host: String = self.host.chars().filter(|letter| !letter.is_control()).collect();
        write!(f, "process {} on {host}", self.pid)
    }
}

/// When a process was started: field 22 of its `stat`, counted after the name, which may hold anything. A process that has ended and was not
/// waited for does not count.
fn started_ticks(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests;
