//! `trainer setup`: brings ONNX Runtime onto this machine ahead of time, and tries it.

use std::io::Write;
use std::path::PathBuf;

use super::exit::Exit;
use super::failure::Failure;
use super::output::print_text;
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
/// Whatever keeps a run from loading a library afterwards; and with [`Exit::StorageFailed`] if `out` takes no more.
pub fn run(
    options: &Options,
    host: &Host,
    announce: &dyn Announce,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let want = if options.cuda { Want::Either } else { Want::Cpu };
    let request = Request { explicit: options.ort_lib.clone(), offline: options.offline, want };
    if options.cuda {
        set_up_cuda(options, host, announce, out)?;
    }
    let located = match find(&request, host).map_err(failed)? {
        Some(located) => {
            let path = located.path.display();
            print_text(&format!("ONNX Runtime is there: {path} ({})\n", located.origin), out)?;
            located
        }
        None => {
            let located = locate_on(&request, host, announce).map_err(failed)?;
            print_text(&format!("ONNX Runtime is installed: {}\n", located.path.display()), out)?;
            located
        }
    };
    try_out(&located, options, host, out)?;
    Ok(Exit::Finished)
}

/// What keeps a run from loading a library: with one exit code, whatever it is.
fn failed(error: impl Into<anyhow::Error>) -> Failure {
    Failure { exit: Exit::Failure, error: error.into() }
}

fn set_up_cuda(
    options: &Options,
    host: &Host,
    announce: &dyn Announce,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let folder = bundle_folder(Bundle::Cuda, host).map_err(failed)?;
    let whole = cache::state(&folder, Bundle::Cuda.wheels()) == cache::State::Whole;
    if options.offline && !whole {
        let folder = folder.display();
        let message = format!(
            "the packages for CUDA are not in {folder}, and --offline forbids fetching them; run this once with a network"
        );
        return Err(Failure::new(Exit::Failure, message));
    }
    let state = match install(Bundle::Cuda, host, announce).map_err(failed)? {
        Outcome::AlreadyThere => "are there",
        Outcome::Fetched => "are installed",
    };
    print_text(&format!("the packages for CUDA {state}: {}\n", folder.display()), out)
}

fn try_out(located: &Located, options: &Options, host: &Host, out: &mut dyn Write) -> Result<(), Failure> {
    let runtime: Runtime = load(located, Threads { count: 1, spin: false }).map_err(failed)?;
    let does_not_compute = || format!("{} does not compute", located.path.display());
    probe::cpu(&runtime).map_err(|error| failed(anyhow::Error::from(error).context(does_not_compute())))?;
    print_text(&format!("ONNX Runtime {} loads and computes on the CPU\n", runtime.version), out)?;
    if !options.cuda {
        return Ok(());
    }
    let said = match probe::cuda(&runtime, host, 0) {
        Ok(()) => "CUDA starts\n".to_owned(),
        Err(reason) => format!("CUDA does not start here: {reason}\n"),
    };
    print_text(&said, out)
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
        let message = error.message();
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
