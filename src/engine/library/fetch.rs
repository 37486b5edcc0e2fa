//! Fetching a bundle into the cache: download, compare with the pinned checksum, unpack, put into place.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use sha2::{Digest, Sha256};
use thiserror::Error;
use zip::ZipArchive;

use super::announce::{Announce, Event, megabytes};
use super::cache::{State, WriteAccess, state};
use super::host::Host;
use super::pip::{self, Cause};
use super::wheels::{Bundle, Member, Wheel, unpacked_bytes};
use crate::system::disk;

/// Why a bundle could not be fetched.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FetchError {
    /// No wheel is pinned for this kind of machine.
    #[error(
        "no ONNX Runtime package ({}) is known for {os} on {arch}; install ONNX Runtime and name its library with \
         --ort-lib", bundle.name()
    )]
    NoWheels {
        /// What was wanted.
        bundle: Bundle,
        /// The operating system.
        os: &'static str,
        /// The processor.
        arch: &'static str,
    },
    /// There is no Python to run the package client.
    #[error(
        "ONNX Runtime has to be fetched, and there is no python3 on PATH to run `pip download`; install Python with \
         pip, or name a library that is already here with --ort-lib"
    )]
    NoPython,
    /// Python is there and does not start.
    #[error("cannot start {python}: {source}; repair it, or put another python3 first on PATH")]
    ClientNotStarted {
        /// The program.
        python: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The package client gave up.
    #[error("`{command_line}` failed ({status}); {}; it said:\n  {output}", cause.remedy())]
    ClientFailed {
        /// What was run.
        command_line: String,
        /// How it ended.
        status: ExitStatus,
        /// Why, as far as its output tells.
        cause: Cause,
        /// Its last lines.
        output: String,
    },
    /// The package client reports success and left something else than one file.
    #[error("`{command_line}` succeeded but left {found}; run it by hand to see what it does")]
    NoWheel {
        /// What was run.
        command_line: String,
        /// What was found.
        found: &'static str,
    },
    /// What arrived is not what was pinned.
    #[error(
        "{project} {version} arrived with a wrong checksum and was thrown away: SHA-256 {found}, expected {expected}; \
         try again, and if it stays wrong, the package index or a proxy on the way hands out another file"
    )]
    WrongChecksum {
        /// The package.
        project: &'static str,
        /// Its version.
        version: &'static str,
        /// The sum of what arrived.
        found: String,
        /// The pinned sum.
        expected: &'static str,
    },
    /// A wheel with the right checksum can not be unpacked.
    #[error(
        "cannot unpack {member} from {project}: {source}; this program's pins are wrong, please report it"
    )]
    BadWheel {
        /// The package.
        project: &'static str,
        /// The file inside.
        member: &'static str,
        /// What is wrong.
        source: io::Error,
    },
    /// The disk has too little room for the download.
    #[error(
        "{folder} has {} free, and fetching needs {}; free some room, or set XDG_CACHE_HOME to a folder on another \
         disk", megabytes(*free_bytes), megabytes(*needed_bytes)
    )]
    NoRoom {
        /// Where it would go.
        folder: PathBuf,
        /// What is there.
        free_bytes: u64,
        /// What is needed at the peak.
        needed_bytes: u64,
    },
    /// The cache folder can not be used.
    #[error(
        "cannot {action} {path}: {source}; make the folder writable, or set XDG_CACHE_HOME to one that is"
    )]
    Disk {
        /// What was tried, as a verb phrase.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl FetchError {
    pub(super) fn disk(action: &'static str, path: &Path) -> impl Fn(io::Error) -> Self + use<> {
        let path = path.to_path_buf();
        move |source| Self::Disk { action, path: path.clone(), source }
    }
}

/// How a bundle comes to be in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was there, or another process fetched it meanwhile.
    AlreadyThere,
    /// This call fetched it.
    Fetched,
}

/// Sees to it that `folder` (`<cache>/onnxruntime-<version>/<bundle>`) holds every file of `wheels`.
///
/// Any number of processes may do this at once: one downloads, the others wait for it and find everything in place.
///
/// # Errors
/// Returned error, process death, power loss: each leaves either no bundle or a whole one; temporary files go with the
/// error, or with the next fetch.
pub fn ensure(
    folder: &Path,
    wheels: &[Wheel],
    host: &Host,
    announce: &dyn Announce,
) -> Result<Outcome, FetchError> {
    if state(folder, wheels) == State::Whole {
        return Ok(Outcome::AlreadyThere);
    }
    let python = host.python().ok_or(FetchError::NoPython)?;
    let access = WriteAccess::wait(folder.parent().unwrap_or(folder), announce)?;
    if state(folder, wheels) == State::Whole {
        return Ok(Outcome::AlreadyThere);
    }
    let staging = access.staging()?;
    check_room(staging.path(), wheels)?;
    let unpacked = staging.path().join("unpacked");
    fs::create_dir(&unpacked).map_err(FetchError::disk("make the folder", &unpacked))?;
    for wheel in wheels {
        announce.tell(Event::Downloading {
            project: wheel.project,
            version: wheel.version,
            size_bytes: wheel.size_bytes,
            folder: folder.to_path_buf(),
        });
        let workplace = staging.path().join(wheel.project);
        fs::create_dir(&workplace).map_err(FetchError::disk("make the folder", &workplace))?;
        let arrived = pip::download(&python, wheel, &workplace, announce)?;
        let file = verified(&arrived, wheel)?;
        announce.tell(Event::Unpacking { project: wheel.project });
        unpack(file, wheel, &unpacked)?;
        // Wheels are large: each makes room before the next arrives.
        fs::remove_dir_all(&workplace).map_err(FetchError::disk("remove", &workplace))?;
    }
    access.install(&staging, &unpacked, folder)?;
    announce.tell(Event::Installed { folder: folder.to_path_buf() });
    Ok(Outcome::Fetched)
}

/// At the peak, the largest wheel is there twice (the client copies it from its own temporary folder), beside all
/// that is unpacked.
fn check_room(folder: &Path, wheels: &[Wheel]) -> Result<(), FetchError> {
    let largest_bytes = wheels.iter().map(|wheel| wheel.size_bytes).max().unwrap_or_default();
    let needed_bytes = unpacked_bytes(wheels) + 2 * largest_bytes;
    // A file system that does not tell is given the benefit of the doubt: a full disk is still a clean error.
    let free_bytes = disk::file_system(folder).map_or(u64::MAX, |found| found.free_bytes);
    if free_bytes < needed_bytes {
        return Err(FetchError::NoRoom { folder: folder.to_path_buf(), free_bytes, needed_bytes });
    }
    Ok(())
}

/// The wheel, opened and found to have the pinned checksum. What is unpacked later is this open file, so nobody can
/// exchange it in between.
fn verified(path: &Path, wheel: &Wheel) -> Result<File, FetchError> {
    let mut file = File::open(path).map_err(FetchError::disk("read", path))?;
    let mut sum = Summing(Sha256::new());
    io::copy(&mut file, &mut sum).map_err(FetchError::disk("read", path))?;
    let found: String = sum.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    if found != wheel.sha256 {
        let (project, version, expected) = (wheel.project, wheel.version, wheel.sha256);
        return Err(FetchError::WrongChecksum { project, version, found, expected });
    }
    file.rewind().map_err(FetchError::disk("read", path))?;
    Ok(file)
}

/// A checksum as something to copy into.
struct Summing(Sha256);

impl Write for Summing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Unpacks the kept files of the wheel into `folder` and syncs them.
fn unpack(file: File, wheel: &Wheel, folder: &Path) -> Result<(), FetchError> {
    let bad = |member: &Member, source| FetchError::BadWheel {
        project: wheel.project,
        member: member.name,
        source,
    };
    let mut archive = None;
    for member in wheel.members {
        let archive = match &mut archive {
            Some(archive) => archive,
            none => {
                let file = file.try_clone().map_err(|error| bad(member, error))?;
                none.insert(ZipArchive::new(file).map_err(|error| bad(member, error.into()))?)
            }
        };
        let name = format!("{}/{}", wheel.folder, member.name);
        let source = archive.by_name(&name).map_err(|error| bad(member, error.into()))?;
        let path = folder.join(member.name);
        let mut target = File::create_new(&path).map_err(FetchError::disk("write", &path))?;
        // One byte more than pinned is read, no more, so that a longer file is noticed and never fills the disk.
        let copied = io::copy(&mut source.take(member.size_bytes + 1), &mut target);
        let found_bytes = copied.map_err(FetchError::disk("unpack", &path))?;
        if found_bytes != member.size_bytes {
            let text = format!("found at least {found_bytes} bytes, expected {}", member.size_bytes);
            return Err(bad(member, io::Error::new(io::ErrorKind::InvalidData, text)));
        }
        target.sync_all().map_err(FetchError::disk("sync", &path))?;
    }
    Ok(())
}
