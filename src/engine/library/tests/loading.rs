//! What is refused before or by loading, and what a loaded ONNX Runtime does.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::engine::library::elf::tests::some_library;
use crate::engine::library::load::{LoadError, Threads, load};
use crate::engine::library::locate::{Located, Origin, Request};
use crate::engine::library::{Host, locate};
use crate::engine::probe::{self, CudaUnusable};

#[track_caller]
fn check_load_fails(path: &Path, origin: Origin, expected: &[&str]) -> LoadError {
    let located = Located { path: path.to_path_buf(), origin, version: None };
    let error = load(&located, Threads { count: 1, spin: false }).unwrap_err();
    let message = error.to_string();
    for part in expected.iter().copied().chain([path.to_str().unwrap()]) {
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
    error
}

#[test]
fn a_file_that_is_no_library_is_refused_with_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("libonnxruntime.so");
    fs::write(&path, "oops, a web page").unwrap();
    check_load_fails(&path, Origin::Argument, &["begins with \"oops, a web page\"", "--ort-lib"]);
}

#[test]
fn another_library_is_refused_with_the_function_it_lacks() {
    let error = check_load_fails(&some_library(), Origin::Variable, &["OrtGetApiBase", "ORT_DYLIB_PATH"]);
    assert!(matches!(error, LoadError::NotOnnxRuntime { .. }), "{error}");
}

#[test]
fn a_truncated_library_is_refused_instead_of_killing_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("libonnxruntime.so.1.31.1");
    let whole = fs::read(some_library()).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let cpu = format!("delete {}", folder.path().display());
    check_load_fails(&path, Origin::Cache, &["cut off", &cpu, "trainer setup"]);
}

#[test]
fn a_library_that_vanished_is_refused() {
    check_load_fails(Path::new("/no/such/lib.so"), Origin::System, &["cannot be read", "trainer setup"]);
}

/// Where a test that runs itself again, in a process of its own, finds the library it shall load.
const LIBRARY_OF_CHILD: &str = "TRAINER_TEST_LIBRARY";

/// Runs the calling test again in a process with an empty environment but for `LIBRARY_OF_CHILD` and a home of its own.
/// Whatever would be sent from there goes to a proxy that does not exist.
#[track_caller]
fn check_in_a_process_of_its_own(test: &str) -> TempDir {
    let library = locate(&Request::default()).unwrap().path;
    let home = tempfile::tempdir().unwrap();
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args([&format!("engine::library::tests::loading::{test}"), "--exact", "--nocapture"])
        .env_clear()
        .env(LIBRARY_OF_CHILD, library)
        .env("HOME", home.path())
        .env("https_proxy", "http://127.0.0.1:9")
        .output()
        .unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    home
}

#[test]
fn a_loaded_runtime_computes_reports_to_nobody_and_is_the_only_one() {
    let Some(library) = std::env::var_os(LIBRARY_OF_CHILD) else {
        let home =
            check_in_a_process_of_its_own("a_loaded_runtime_computes_reports_to_nobody_and_is_the_only_one");
        let left: Vec<_> = fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(left.is_empty(), "ONNX Runtime wrote {left:?} into the user's home");
        return;
    };
    let located = Located { path: library.into(), origin: Origin::Argument, version: None };
    let threads = Threads { count: 2, spin: false };
    let runtime = load(&located, threads).unwrap();
    assert!(runtime.version.starts_with("1."), "{}", runtime.version);
    probe::cpu(&runtime).unwrap();
    assert_eq!(load(&located, threads).unwrap().version, runtime.version);

    let other = load(&located, Threads { count: 3, spin: false }).unwrap_err();
    assert!(matches!(other, LoadError::AlreadyLoaded { .. }), "{other}");
    // A CPU library says that it has no CUDA; a GPU library says what this machine lacks, or starts.
    if let Err(reason) = probe::cuda(&runtime, &Host::default(), 0) {
        assert!(!matches!(reason, CudaUnusable::Other { .. }), "not recognised: {reason}");
    }
}
