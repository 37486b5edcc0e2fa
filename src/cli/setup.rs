//! `trainer setup`: brings ONNX Runtime onto this machine ahead of time, and tries it.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;

use crate::engine::library::announce::Announce;
use crate::engine::library::fetch::Outcome;
use crate::engine::library::locate::{bundle_folder, install, locate_on};
use crate::engine::library::{Bundle, Host, Located, Request, Runtime, Threads, Want};
use crate::engine::library::{cache, find, load};
use crate::engine::probe;
use clap::Args;

/// Arguments of `trainer setup`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  trainer setup             fetches the library for the CPU into the cache folder
  trainer setup --cuda      fetches the one for NVIDIA GPUs, with the CUDA libraries it needs
  trainer setup --offline   only says which library a run would use, and fails if there is none")]
pub struct SetupArgs {
    /// Fetch what computing on an NVIDIA GPU needs
    #[arg(long)]
    pub cuda: bool,
}

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
            let located = locate_on(&request, host, announce)?;
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
        anyhow::bail!(
            "the packages for CUDA are not in {}, and --offline forbids fetching them; run this once with a network",
            folder.display()
        );
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::engine::library::announce::ToStderr;

    #[track_caller]
    fn check_refused(options: &Options, host: &Host, expected: &[&str]) {
        let mut out = Vec::new();
        let error = run(options, host, &ToStderr::default(), &mut out).unwrap_err();
        let message = format!("{error:#}");
        for part in expected {
            assert!(message.contains(part), "{part:?} is not in: {message}");
        }
        assert!(!String::from_utf8(out).unwrap().contains("loads"));
    }

    #[test]
    fn offline_nothing_is_fetched_for_cpu_or_cuda() {
        let cache = tempfile::tempdir().unwrap();
        let host = Host { xdg_cache_home: Some(cache.path().into()), ..Host::default() };
        let options = Options { offline: true, ..Options::default() };
        check_refused(&options, &host, &["--offline", "--ort-lib"]);
        check_refused(&Options { cuda: true, ..options }, &host, &["CUDA are not in", "--offline"]);
        assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_library_that_is_there_and_broken_is_not_called_ready() {
        let folder = tempfile::tempdir().unwrap();
        let library = folder.path().join("libonnxruntime.so");
        fs::write(&library, "nothing").unwrap();
        let options = Options { ort_lib: Some(library.clone()), ..Options::default() };
        check_refused(&options, &Host::default(), &[library.to_str().unwrap(), "not a shared library"]);
    }

    #[test]
    fn without_python_the_way_out_is_named() {
        let cache = tempfile::tempdir().unwrap();
        let host = Host { xdg_cache_home: Some(cache.path().into()), ..Host::default() };
        check_refused(&Options::default(), &host, &["python3", "--ort-lib"]);
    }
}
