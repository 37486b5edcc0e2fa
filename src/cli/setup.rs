//! `trainer setup`: brings ONNX Runtime onto this machine ahead of time, and tries it.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;

use crate::engine::library::announce::Announce;
use crate::engine::library::fetch::Outcome;
use crate::engine::library::locate::{bundle_folder, install};
use crate::engine::library::{Bundle, Host, LocateError, Located, Request, Runtime, Threads, Want};
use crate::engine::library::{cache, find, load};
use crate::engine::probe;

/// What to set up.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Whether the packages for CUDA are wanted, besides what a run on the CPU needs.
    pub cuda: bool,
    /// Whether nothing may be fetched.
    pub offline: bool,
    /// The library named with `--ort-lib`.
    pub ort_lib: Option<PathBuf>,
}

/// Fetches what is missing, loads it, tries its execution providers, and says so on `out`.
///
/// For the CPU, any library that a run would find is good enough. For CUDA the packages go into the cache in any case:
/// that is what is asked for. That CUDA does not start here is said and is no error, since machines are often set up
/// where there is no GPU.
///
/// # Errors
/// Whatever keeps a run from loading a library afterwards.
pub fn run(
    options: &Options,
    host: &Host,
    announce: &dyn Announce,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let want = if options.cuda { Want::Either } else { Want::Cpu };
    let request = Request { explicit: options.ort_lib.clone(), offline: options.offline, want };
    if options.cuda {
        set_up_cuda(options, host, announce, out)?;
    }
    let located = match find(&request, host)? {
        Some(located) => {
            writeln!(out, "ONNX Runtime is there: {} ({})", located.path.display(), located.origin)?;
            located
        }
        None => {
            let located = crate::engine::library::locate::locate_on(&request, host, announce)?;
            writeln!(out, "ONNX Runtime is installed: {}", located.path.display())?;
            located
        }
    };
    try_out(&located, options, host, out)
}

fn set_up_cuda(
    options: &Options,
    host: &Host,
    announce: &dyn Announce,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let folder = bundle_folder(Bundle::Cuda, host)?;
    let whole = cache::state(&folder, Bundle::Cuda.wheels()) == cache::State::Whole;
    if options.offline && !whole {
        return Err(LocateError::Offline).context("the packages for CUDA are not in the cache folder");
    }
    let state = match install(Bundle::Cuda, host, announce)? {
        Outcome::AlreadyThere => "are there",
        Outcome::Fetched => "are installed",
    };
    writeln!(out, "the packages for CUDA {state}: {}", folder.display())?;
    Ok(())
}

fn try_out(located: &Located, options: &Options, host: &Host, out: &mut dyn Write) -> anyhow::Result<()> {
    let runtime: Runtime = load(located, Threads { count: 1, spin: false })?;
    probe::cpu(&runtime).with_context(|| format!("{} does not compute", located.path.display()))?;
    writeln!(out, "ONNX Runtime {} loads and computes on the CPU", runtime.version)?;
    if options.cuda {
        match probe::cuda(&runtime, host, 0) {
            Ok(()) => writeln!(out, "CUDA starts")?,
            Err(reason) => writeln!(out, "CUDA does not start here: {reason}")?,
        }
    }
    Ok(())
}
