//! One download through the user's own package client, `python3 -m pip download`.
//!
//! The client brings the user's own index, proxy, certificates and cache with it, which this program then needs to
//! know nothing about.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use trainer_runtime::signals::Companion;

use super::announce::{Announce, Event};
use super::fetch::FetchError;
use super::wheels::Wheel;

/// The Python that wheels are asked for. Fixed, so that every user gets the very file whose checksum is pinned.
const PYTHON_VERSION: &str = "3.12";
const PYTHON_ABI: &str = "cp312";

/// How often the size of what has arrived is looked at.
const WATCH_EVERY: Duration = Duration::from_millis(250);

/// How many of the client's last lines an error quotes.
const QUOTED_LINES: usize = 12;

/// Why the client failed, as far as its output tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// This Python has no `pip` module.
    NoPip,
    /// The package index can not be reached.
    Network,
    /// The package index is there and does not have this version for this machine.
    NoSuchVersion,
    /// The disk is full.
    NoSpace,
    /// Anything else.
    Unknown,
}

impl Cause {
    /// What the user can do.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::NoPip => {
                "this Python has no pip: install it (`python3 -m ensurepip --user`, or the system's package \
                 python3-pip)"
            }
            Self::Network => {
                "the package index cannot be reached: check the network and the proxy settings, or name a mirror \
                 with PIP_INDEX_URL"
            }
            Self::NoSuchVersion => {
                "the package index does not offer this version for this machine: if PIP_INDEX_URL or pip's \
                 configuration names a mirror, try the public index"
            }
            Self::NoSpace => {
                "the disk is full: free some room, or set XDG_CACHE_HOME to a folder on a disk that has it"
            }
            Self::Unknown => "run the command by hand to see what is wrong",
        }
    }

    /// pip reports an index that it can not reach as one without the version, after warnings which tell the two apart.
    fn of(output: &str) -> Self {
        let says = |texts: &[&str]| texts.iter().any(|text| output.contains(text));
        if says(&["No module named pip", "No module named 'pip'"]) {
            Self::NoPip
        } else if says(&["No space left on device", "Disk quota exceeded"]) {
            Self::NoSpace
        } else if says(&[
            "NewConnectionError",
            "Failed to establish a new connection",
            "name resolution",
            "Network is unreachable",
            "Connection refused",
            "ConnectTimeout",
            "ReadTimeout",
            "timed out",
            "ProxyError",
            "SSLError",
            "CERTIFICATE_VERIFY_FAILED",
        ]) {
            Self::Network
        } else if says(&["No matching distribution found", "Could not find a version"]) {
            Self::NoSuchVersion
        } else {
            Self::Unknown
        }
    }
}

/// Downloads `wheel` into `folder` (empty, existing) and returns the one file that arrived, unchecked.
pub(super) fn download(
    python: &Path,
    wheel: &Wheel,
    folder: &Path,
    announce: &dyn Announce,
) -> Result<PathBuf, FetchError> {
    let (arrived, log_path, temporary) = (folder.join("wheel"), folder.join("log"), folder.join("tmp"));
    for subfolder in [&arrived, &temporary] {
        fs::create_dir(subfolder).map_err(FetchError::disk("make the folder", subfolder))?;
    }
    let log = File::create(&log_path).map_err(FetchError::disk("write", &log_path))?;
    let log_too = log.try_clone().map_err(FetchError::disk("write", &log_path))?;

    let mut client = Command::new(python);
    client
        .args(["-m", "pip", "download", "--no-deps", "--only-binary=:all:"])
        .args(["--disable-pip-version-check", "--no-input", "--progress-bar", "off"])
        .args(["--implementation", "cp", "--python-version", PYTHON_VERSION, "--abi", PYTHON_ABI])
        .args(["--platform", wheel.platform])
        .arg("--dest")
        .arg(&arrived)
        .arg(format!("{}=={}", wheel.project, wheel.version))
        // The client's own temporary files go where its download goes: they are as large, the system's folder for
        // such files may be small, and they are cleared away with the rest whatever happens to the client.
        .env("TMPDIR", &temporary)
        // Causes are recognised by their English text.
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(log_too);
    let command_line = format!("{} -m pip download {}=={}", python.display(), wheel.project, wheel.version);

    let status = run_watched(client, folder, wheel.size_bytes, announce)
        .map_err(|source| FetchError::ClientNotStarted { python: python.to_path_buf(), source })?;
    if !status.success() {
        let output = fs::read(&log_path).unwrap_or_default();
        return Err(client_failed(command_line, status, &String::from_utf8_lossy(&output)));
    }
    let entries = fs::read_dir(&arrived).map_err(FetchError::disk("read", &arrived))?;
    let mut files = entries.filter_map(|entry| Some(entry.ok()?.path()));
    match (files.next(), files.next()) {
        (Some(file), None) => Ok(file),
        (first, _) => {
            let found = if first.is_some() { "more than one file" } else { "no file" };
            Err(FetchError::NoWheel { command_line, found })
        }
    }
}

/// Runs the client to its end while a second thread tells how much has arrived in `folder`.
fn run_watched(
    mut client: Command,
    folder: &Path,
    size_bytes: u64,
    announce: &dyn Announce,
) -> io::Result<ExitStatus> {
    let mut child = client.spawn()?;
    // A signal that ends this process ends the client, too.
    let _companion = Companion::new(&child);
    let (stop, stopped) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            while stopped.recv_timeout(WATCH_EVERY) == Err(RecvTimeoutError::Timeout) {
                announce.tell(Event::Downloaded { done_bytes: folder_bytes(folder).min(size_bytes) });
            }
        });
        let status = child.wait();
        drop(stop);
        status
    })
}

/// Size of all files below `folder`; files that vanish meanwhile do not count.
fn folder_bytes(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let sizes = entries.filter_map(Result::ok).map(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => folder_bytes(&entry.path()),
        _ => entry.metadata().map_or(0, |metadata| metadata.len()),
    });
    sizes.sum()
}

fn client_failed(command_line: String, status: ExitStatus, output: &str) -> FetchError {
    let lines: Vec<_> = output.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    let quoted = lines.get(lines.len().saturating_sub(QUOTED_LINES)..).unwrap_or_default().join("\n  ");
    FetchError::ClientFailed { command_line, status, cause: Cause::of(output), output: quoted }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_cause(output: &str, expected: Cause) {
        assert_eq!(Cause::of(output), expected);
    }

    #[test]
    fn what_pip_says_is_traced_to_its_cause() {
        check_cause("/usr/bin/python3: No module named pip", Cause::NoPip);
        check_cause("ERROR: Could not install packages: [Errno 28] No space left on device", Cause::NoSpace);
        check_cause(
            "ERROR: Could not find a version that satisfies the requirement onnxruntime==1.31.1\n\
             ERROR: No matching distribution found for onnxruntime==1.31.1",
            Cause::NoSuchVersion,
        );
        check_cause(
            "WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError(': Failed to establish \
             a new connection: [Errno -3] Temporary failure in name resolution')'\n\
             ERROR: No matching distribution found for onnxruntime==1.31.1",
            Cause::Network,
        );
        check_cause("Traceback (most recent call last):", Cause::Unknown);
    }
}
