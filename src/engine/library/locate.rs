//! Which ONNX Runtime library a run takes: the first of a fixed list of places that has one.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::announce::{Announce, ToStderr, megabytes};
use super::cache::{self, State};
use super::elf;
use super::fetch::{self, FetchError};
use super::host::Host;
use super::wheels::{Bundle, ONNX_RUNTIME_FILE, ONNX_RUNTIME_VERSION, download_bytes};

/// The name of the library, and the beginning of the names that carry a version (`libonnxruntime.so.1.31.1`).
const LIBRARY_NAME: &str = "libonnxruntime.so";

/// What a run asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// The library named with `--ort-lib`.
    pub explicit: Option<PathBuf>,
    /// Whether nothing may be fetched (`--offline`).
    pub offline: bool,
    /// What the library has to be able to do.
    pub want: Want,
}

/// What the library has to be able to do. This chooses among the bundles of the cache; a library found elsewhere is
/// taken as it is, and whether CUDA starts with it is for the probe to find out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Want {
    /// Run on the CPU, as every library does.
    #[default]
    Cpu,
    /// Run on CUDA. The packages for that are large, so they are fetched by `trainer setup --cuda` alone.
    Cuda,
    /// Run on CUDA if its packages are in the cache, otherwise on the CPU.
    Either,
}

/// Where a library comes from, in the order of the search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Named with `--ort-lib`.
    Argument,
    /// Named by the variable `ORT_DYLIB_PATH`.
    Variable,
    /// In the folder of the running program.
    Executable,
    /// In this program's cache folder.
    Cache,
    /// In a folder that the dynamic loader searches.
    System,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Argument => "--ort-lib",
            Self::Variable => "ORT_DYLIB_PATH",
            Self::Executable => "next to the program",
            Self::Cache => "cache folder",
            Self::System => "system library path",
        })
    }
}

/// A library that was found; whether it can be loaded is not known yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// The file.
    pub path: PathBuf,
    /// Where it comes from.
    pub origin: Origin,
    /// Its version as far as its name tells (`1.31.1`); loading it tells for sure.
    pub version: Option<String>,
}

/// Why there is no library to load.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LocateError {
    /// A library was named, and there is none at that place.
    #[error(
        "{origin} names {path}, and there is no ONNX Runtime library; name the file libonnxruntime.so or its folder, \
         or leave {origin} out to have the library found"
    )]
    NotThere {
        /// Who named it.
        origin: Origin,
        /// What was named.
        path: PathBuf,
    },
    /// No library anywhere, and fetching one is forbidden.
    #[error(
        "no ONNX Runtime library is on this machine, and --offline forbids fetching one; name one with --ort-lib, or \
         run `trainer setup` once with a network"
    )]
    Offline,
    /// No library anywhere that could run on CUDA.
    #[error(
        "no ONNX Runtime library with CUDA is on this machine; run `trainer setup --cuda` (downloads {}), or name one \
         with --ort-lib", megabytes(download_bytes(Bundle::Cuda.wheels()))
    )]
    CudaNotSetUp,
    /// There is no folder to fetch into.
    #[error(
        "ONNX Runtime has to be fetched, and there is no cache folder to keep it in; set HOME or XDG_CACHE_HOME to an \
         absolute path, or name a library with --ort-lib"
    )]
    NoCacheFolder,
    /// Fetching failed.
    #[error(transparent)]
    Fetch(#[from] FetchError),
}

/// The library a run takes, fetched into the cache if there is none anywhere. Tells on stderr what it fetches.
///
/// # Errors
/// See [`LocateError`]; each says what to do.
pub fn locate(request: &Request) -> Result<Located, LocateError> {
    locate_on(request, &Host::of_this_process(), &ToStderr::default())
}

/// The same in given surroundings.
///
/// # Errors
/// See [`LocateError`].
pub fn locate_on(request: &Request, host: &Host, announce: &dyn Announce) -> Result<Located, LocateError> {
    if let Some(located) = find(request, host)? {
        return Ok(located);
    }
    match request.want {
        Want::Cuda => Err(LocateError::CudaNotSetUp),
        _ if request.offline => Err(LocateError::Offline),
        _ => {
            install(Bundle::Cpu, host, announce)?;
            let folder = bundle_folder(Bundle::Cpu, host)?;
            Ok(cached(&folder))
        }
    }
}

/// Sees to it that the bundle is in the cache, wherever else a library may be.
///
/// # Errors
/// See [`LocateError`].
pub fn install(bundle: Bundle, host: &Host, announce: &dyn Announce) -> Result<fetch::Outcome, LocateError> {
    let wheels = bundle.wheels();
    if wheels.is_empty() {
        let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
        return Err(FetchError::NoWheels { bundle, os, arch }.into());
    }
    Ok(fetch::ensure(&bundle_folder(bundle, host)?, wheels, host, announce)?)
}

/// Where the bundle is, or would be, in the cache.
///
/// # Errors
/// [`LocateError::NoCacheFolder`].
pub fn bundle_folder(bundle: Bundle, host: &Host) -> Result<PathBuf, LocateError> {
    host.cache_folder().map(|cache| bundle.folder(&cache)).ok_or(LocateError::NoCacheFolder)
}

/// The library a run would take without fetching anything: `--ort-lib`, `ORT_DYLIB_PATH`, the program's folder, the
/// cache, the system's folders, in this order.
///
/// What the user named is taken or refused, never passed over. What merely lies in a system folder is passed over, and
/// logged, when it can not serve.
///
/// # Errors
/// [`LocateError::NotThere`] if a library was named and is not there.
pub fn find(request: &Request, host: &Host) -> Result<Option<Located>, LocateError> {
    if let Some(named) = &request.explicit {
        return named_library(named, Origin::Argument).map(Some);
    }
    if let Some(named) = host.ort_dylib_path.as_deref().filter(|value| !value.is_empty()) {
        return match bare_name(named) {
            Some(name) => in_loader_folders(name, host, Origin::Variable).map(Some),
            None => named_library(Path::new(named), Origin::Variable).map(Some),
        };
    }
    if let Some(path) = host.executable.as_deref().and_then(Path::parent).and_then(library_in) {
        return Ok(Some(located(path, Origin::Executable)));
    }
    Ok(in_cache(request.want, host).or_else(|| in_system(host)))
}

fn located(path: PathBuf, origin: Origin) -> Located {
    Located { version: version_of_name(&path), path, origin }
}

fn named_library(named: &Path, origin: Origin) -> Result<Located, LocateError> {
    let path = if named.is_dir() { library_in(named) } else { Some(named.to_path_buf()) };
    // The loader takes a path without a slash for a name to search for; an absolute one is a path in any case.
    let path = path.filter(|path| path.is_file()).and_then(|path| std::path::absolute(path).ok());
    path.map(|path| located(path, origin))
        .ok_or_else(|| LocateError::NotThere { origin, path: named.to_path_buf() })
}

/// A name without any slash, which by the convention of `ORT_DYLIB_PATH` is searched for like any library.
fn bare_name(value: &OsStr) -> Option<&OsStr> {
    let is_bare = !value.as_encoded_bytes().contains(&b'/') && !Path::new(value).exists();
    is_bare.then_some(value)
}

fn in_loader_folders(name: &OsStr, host: &Host, origin: Origin) -> Result<Located, LocateError> {
    let path = host.loader_folders().map(|folder| folder.join(name)).find(|path| path.is_file());
    path.map(|path| located(path, origin)).ok_or_else(|| LocateError::NotThere { origin, path: name.into() })
}

fn in_cache(want: Want, host: &Host) -> Option<Located> {
    // The CUDA bundle's library runs on the CPU as well.
    let bundles: &[Bundle] = match want {
        Want::Cpu => &[Bundle::Cpu, Bundle::Cuda],
        Want::Cuda => &[Bundle::Cuda],
        Want::Either => &[Bundle::Cuda, Bundle::Cpu],
    };
    let cache = host.cache_folder()?;
    bundles.iter().find_map(|bundle| {
        let folder = bundle.folder(&cache);
        match cache::state(&folder, bundle.wheels()) {
            State::Whole if !bundle.wheels().is_empty() => Some(cached(&folder)),
            State::Damaged { file, found_bytes, expected_bytes } => {
                let found = found_bytes.map_or("is missing".to_owned(), |bytes| format!("has {bytes} bytes"));
                log::warn!(
                    "{} {found}, expected {expected_bytes}; the cached library is not used and will be fetched again",
                    file.display()
                );
                None
            }
            _ => None,
        }
    })
}

fn cached(folder: &Path) -> Located {
    Located {
        path: folder.join(ONNX_RUNTIME_FILE),
        origin: Origin::Cache,
        version: Some(ONNX_RUNTIME_VERSION.to_owned()),
    }
}

fn in_system(host: &Host) -> Option<Located> {
    let candidates = host.loader_folders().filter_map(|folder| library_in(&folder));
    candidates.map(|path| located(path, Origin::System)).find(|found| match unfit(found) {
        None => true,
        Some(reason) => {
            log::warn!("{} is passed over: {reason}", found.path.display());
            false
        }
    })
}

/// What keeps a library that merely lies in a system folder from being used, as far as can be told without loading it.
fn unfit(found: &Located) -> Option<String> {
    if let Err(error) = elf::check(&found.path) {
        return Some(error.to_string());
    }
    let minor: u32 = found.version.as_deref()?.split('.').nth(1)?.parse().ok()?;
    (minor < ort::MINOR_VERSION)
        .then(|| format!("it is ONNX Runtime 1.{minor}, and 1.{} or newer is needed", ort::MINOR_VERSION))
}

/// The ONNX Runtime library in a folder: the plain name if it is there, otherwise the newest of those with a version.
fn library_in(folder: &Path) -> Option<PathBuf> {
    let plain = folder.join(LIBRARY_NAME);
    if plain.is_file() {
        return Some(plain);
    }
    let entries = fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    let versioned = entries.filter_map(|path| Some((numbers(version_in(&path)?)?, path)));
    versioned.filter(|(_, path)| path.is_file()).max().map(|(_, path)| path)
}

/// The part of a file name after `libonnxruntime.so.`.
fn version_in(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()?.strip_prefix(LIBRARY_NAME)?.strip_prefix('.')
}

fn numbers(version: &str) -> Option<Vec<u32>> {
    version.split('.').map(|number| number.parse().ok()).collect()
}

/// The version in the library's name, seen through symbolic links; `None` without at least major and minor.
fn version_of_name(path: &Path) -> Option<String> {
    let real = path.canonicalize().ok()?;
    let version = version_in(&real)?;
    numbers(version).filter(|numbers| numbers.len() >= 2).map(|_| version.to_owned())
}
