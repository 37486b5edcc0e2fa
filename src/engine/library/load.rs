//! Loading the library and making the one ONNX Runtime environment of the process.

use std::ffi::CStr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ort::environment::{Environment, GlobalThreadPoolOptions};
use ort::logging::LogLevel;
use thiserror::Error;

use super::elf::{self, NotALibrary};
use super::locate::{Located, Origin};

/// What ONNX Runtime's log lines are called in this program's log.
const LOG_TARGET: &str = "onnxruntime";

/// From version 1.29 on, the packaged Linux libraries report to their maker unless this variable is set when the
/// environment is made: they write a device id into the user's cache folder, note a first event, and later send both.
/// `DisableTelemetryEvents` needs an environment and so comes after that.
const TELEMETRY_SWITCH: &str = "ORT_DISABLE_TELEMETRY";

/// The environment of this process, once it is made. ONNX Runtime allows one per process, ever: it lives to the end.
static LOADED: Mutex<Option<Runtime>> = Mutex::new(None);

/// The thread pool that all sessions share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Threads {
    /// Threads that compute one operator together, the calling one included; at least 1 (0 counts as 1).
    pub count: usize,
    /// Whether a thread without work spins, which is faster on a quiet machine and slower on a shared one.
    pub spin: bool,
}

/// A loaded ONNX Runtime with its environment. Copies are cheap and stand for the same one.
#[derive(Debug, Clone)]
pub struct Runtime {
    /// The version the library itself reports.
    pub version: String,
    /// The file it was loaded from.
    pub path: PathBuf,
    /// Where that file comes from.
    pub origin: Origin,
    /// The thread pool.
    pub threads: Threads,
    environment: Environment,
}

impl Runtime {
    /// What sessions are made in.
    pub fn environment(&self) -> &Environment {
        &self.environment
    }
}

/// Why a library that was found can not be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LoadError {
    /// Its headers say that it can not be loaded.
    #[error("{path} cannot be loaded: {source}; {}", remedy(*.origin, path))]
    NotALibrary {
        /// The file.
        path: PathBuf,
        /// Where it comes from.
        origin: Origin,
        /// What is wrong with it.
        source: NotALibrary,
    },
    /// The dynamic loader refuses it.
    #[error("{path} cannot be loaded: {reason}; {}{}", hint(reason), remedy(*.origin, path))]
    Refused {
        /// The file.
        path: PathBuf,
        /// Where it comes from.
        origin: Origin,
        /// What the loader said.
        reason: String,
    },
    /// It is some other library.
    #[error(
        "{path} is a library, but not ONNX Runtime: it lacks the function OrtGetApiBase (the Python module of ONNX \
         Runtime is not it either); {}", remedy(*.origin, path)
    )]
    NotOnnxRuntime {
        /// The file.
        path: PathBuf,
        /// Where it comes from.
        origin: Origin,
    },
    /// It is an ONNX Runtime that lacks functions this program calls.
    #[error("{path} is ONNX Runtime {found}, and 1.{required_minor} or newer is needed; {}", remedy(*.origin, path))]
    WrongVersion {
        /// The file.
        path: PathBuf,
        /// Where it comes from.
        origin: Origin,
        /// The version it reports.
        found: String,
        /// The oldest minor version that will do.
        required_minor: u32,
    },
    /// The process has an ONNX Runtime already, and can have one only.
    #[error(
        "this process has loaded {loaded} with {loaded_threads:?} and cannot load {path} with {threads:?} as well; use \
         one library and one thread pool per process"
    )]
    AlreadyLoaded {
        /// The library that is loaded.
        loaded: PathBuf,
        /// Its thread pool.
        loaded_threads: Threads,
        /// The library that was asked for.
        path: PathBuf,
        /// The thread pool that was asked for.
        threads: Threads,
    },
    /// ONNX Runtime itself fails to start.
    #[error("{path} is loaded, and ONNX Runtime cannot start: {source}; {}", remedy(*.origin, path))]
    NotStarted {
        /// The file.
        path: PathBuf,
        /// Where it comes from.
        origin: Origin,
        /// What ONNX Runtime said.
        source: ort::Error,
    },
}

/// Loads the library and makes the environment: one thread pool for all sessions, no telemetry, log lines forwarded to
/// `log` under the target `onnxruntime`. Called again with the same arguments it returns the same environment.
///
/// It sets `ORT_DISABLE_TELEMETRY` in the environment of the process. A program that has threads in foreign code which
/// reads variables at that moment has to set it itself, before it starts them.
///
/// # Errors
/// See [`LoadError`]. After an error another library may be tried.
pub fn load(located: &Located, threads: Threads) -> Result<Runtime, LoadError> {
    let threads = Threads { count: threads.count.max(1), ..threads };
    // A thread that panicked while it held the lock has not left a half-made value: the value is set in one go.
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(runtime) = loaded.as_ref() {
        if runtime.path == located.path && runtime.threads == threads {
            return Ok(runtime.clone());
        }
        return Err(LoadError::AlreadyLoaded {
            loaded: runtime.path.clone(),
            loaded_threads: runtime.threads,
            path: located.path.clone(),
            threads,
        });
    }
    forbid_telemetry();
    let version = verify(located)?;
    let environment = environment_of(located, threads)?;
    let (path, origin) = (located.path.clone(), located.origin);
    Ok(loaded.insert(Runtime { version, path, origin, threads, environment }).clone())
}

/// Keeps ONNX Runtime from writing a device id and from reporting anything; to be called before the library is loaded.
#[allow(unsafe_code, reason = "the library takes this setting from the environment of the process alone")]
fn forbid_telemetry() {
    if std::env::var_os(TELEMETRY_SWITCH).is_some_and(|value| value == "1") {
        return;
    }
    // SAFETY: changing the environment is unsound only against foreign code that reads it at the same time. Rust code
    // reads it under the lock that this call takes; of foreign code, this program has started no thread before its
    // first library is loaded, and `load` asks the same of programs that embed it.
    unsafe { std::env::set_var(TELEMETRY_SWITCH, "1") };
}

/// The version of the library, if it is one that this program can run on.
fn verify(located: &Located) -> Result<String, LoadError> {
    let (path, origin) = (located.path.clone(), located.origin);
    elf::check(&path).map_err(|source| LoadError::NotALibrary { path: path.clone(), origin, source })?;
    let found = version_of(&path).map_err(|refusal| match refusal {
        Refusal::Loader(reason) => LoadError::Refused { path: path.clone(), origin, reason },
        Refusal::NotOnnxRuntime => LoadError::NotOnnxRuntime { path: path.clone(), origin },
    })?;
    let mut numbers = found.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
    let required_minor = ort::MINOR_VERSION;
    match (numbers.next(), numbers.next()) {
        (Some(1), Some(minor)) if minor >= required_minor => Ok(found),
        _ => Err(LoadError::WrongVersion { path, origin, found, required_minor }),
    }
}

enum Refusal {
    Loader(String),
    NotOnnxRuntime,
}

/// The version that the library at `path` reports about itself. Its initialisers run, and it stays or goes as the
/// dynamic loader decides.
#[allow(unsafe_code, reason = "asking a library is a foreign call")]
fn version_of(path: &Path) -> Result<String, Refusal> {
    type GetApiBase = unsafe extern "C" fn() -> *const ort::sys::OrtApiBase;
    // SAFETY: the file was checked to be a whole shared library. That its initialisers behave is what one has to
    // trust when one loads any library; the user, or a pinned checksum, vouches for this one.
    let library =
        unsafe { libloading::Library::new(path) }.map_err(|error| Refusal::Loader(reason_of(&error)))?;
    // SAFETY: a library that exports this name is ONNX Runtime, whose C API declares it with this type.
    let get_api_base =
        unsafe { library.get::<GetApiBase>(b"OrtGetApiBase") }.map_err(|_| Refusal::NotOnnxRuntime)?;
    // SAFETY: the function takes nothing and returns a pointer to a static table, or null.
    let version = unsafe { get_api_base().as_ref().map(|base| (base.GetVersionString)()) };
    let version = version.filter(|version| !version.is_null()).ok_or(Refusal::NotOnnxRuntime)?;
    // SAFETY: the version is a static, zero-terminated string of the library, which is still loaded here.
    Ok(unsafe { CStr::from_ptr(version) }.to_string_lossy().into_owned())
}

/// The loader's own words, which libloading keeps one level down.
pub(in crate::engine) fn reason_of(error: &libloading::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

fn environment_of(located: &Located, threads: Threads) -> Result<Environment, LoadError> {
    let (path, origin) = (located.path.clone(), located.origin);
    let builder = ort::init_from(&path).map_err(|error| {
        let reason = error.to_string();
        LoadError::Refused { path: path.clone(), origin, reason }
    })?;
    let start = || {
        let pool = GlobalThreadPoolOptions::default()
            .with_intra_threads(threads.count)?
            // Branches of a graph run one after the other: each operator has all threads.
            .with_inter_threads(1)?
            .with_spin_control(threads.spin)?;
        builder
            .with_name("trainer")
            .with_telemetry(false)
            .with_global_thread_pool(pool)
            .with_logger(Arc::new(forward_log_line))
            .build()
    };
    let environment = start().map_err(|source| LoadError::NotStarted { path, origin, source })?;
    environment.set_log_level(wanted_level(log::max_level()));
    Ok(environment)
}

/// What ONNX Runtime calls an error also comes back as the error of the failed call, and its warnings are hints to its
/// developers: both are for whoever asks for details. Only what it calls fatal is told to everybody.
fn forward_log_line(level: LogLevel, category: &str, _id: &str, location: &str, message: &str) {
    let level = match level {
        LogLevel::Fatal => log::Level::Error,
        LogLevel::Error | LogLevel::Warning => log::Level::Info,
        LogLevel::Info => log::Level::Debug,
        LogLevel::Verbose => log::Level::Trace,
    };
    log::log!(target: LOG_TARGET, level, "{message} [{category} {location}]");
}

/// The level below which ONNX Runtime need not even compose its lines.
fn wanted_level(ours: log::LevelFilter) -> LogLevel {
    match ours {
        log::LevelFilter::Trace => LogLevel::Verbose,
        log::LevelFilter::Debug => LogLevel::Info,
        log::LevelFilter::Info => LogLevel::Warning,
        _ => LogLevel::Fatal,
    }
}

/// What to do about a library that does not serve, by where it comes from.
fn remedy(origin: Origin, path: &Path) -> String {
    let folder = path.parent().unwrap_or(path).display();
    match origin {
        Origin::Argument => {
            "name another library with --ort-lib, or leave it out to have one found".to_owned()
        }
        Origin::Variable => "set ORT_DYLIB_PATH to another library, or unset it to have one found".to_owned(),
        Origin::Executable => "remove it from there, or name another library with --ort-lib".to_owned(),
        Origin::Cache => {
            format!("delete {folder} and run `trainer setup`, or name another library with --ort-lib")
        }
        Origin::System => {
            "run `trainer setup` to get a library of this program's own, or name another one with --ort-lib"
                .to_owned()
        }
    }
}

/// What the loader's words mean, for the two refusals that are met in practice.
fn hint(reason: &str) -> &'static str {
    if reason.contains("GLIBC") {
        "this system's C library is older than the one it was built for, so take a newer system or a library built for \
         this one; "
    } else if reason.contains("cannot open shared object file") {
        "install the library it needs; "
    } else {
        ""
    }
}
