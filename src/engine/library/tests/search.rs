//! Which library is taken, and what is said when there is none.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use tempfile::TempDir;

use super::{Heard, Machine};
use crate::engine::library::elf::tests::some_library;
use crate::engine::library::fetch::FetchError;
use crate::engine::library::locate::{LocateError, Origin, Request, Want, find, install, locate_on};
use crate::engine::library::{Bundle, Host, locate};

/// A folder with files of these names, each a whole shared library.
fn folder_with(names: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in names {
        fs::copy(some_library(), folder.path().join(name)).unwrap();
    }
    folder
}

/// A cache that holds the CPU bundle as far as sizes tell.
fn cache_with(bundle: Bundle) -> TempDir {
    let cache = tempfile::tempdir().unwrap();
    let folder = bundle.folder(&cache.path().join("trainer"));
    fs::create_dir_all(&folder).unwrap();
    for member in bundle.wheels().iter().flat_map(|wheel| wheel.members) {
        fs::File::create(folder.join(member.name)).unwrap().set_len(member.size_bytes).unwrap();
    }
    cache
}

#[track_caller]
fn check_origin(request: &Request, host: &Host, expected: Option<(Origin, &Path)>) {
    let found = find(request, host).unwrap();
    let found = found.as_ref().map(|found| (found.origin, found.path.as_path()));
    assert_eq!(found, expected);
}

#[test]
fn the_places_are_searched_in_the_documented_order() {
    let named = folder_with(&["mine.so"]);
    let variable = folder_with(&["other.so"]);
    let executable = folder_with(&["libonnxruntime.so.1.30.0"]);
    let cache = cache_with(Bundle::Cpu);
    let system = folder_with(&["libonnxruntime.so.1"]);
    let mut request = Request { explicit: Some(named.path().join("mine.so")), ..Request::default() };
    let mut host = Host {
        ort_dylib_path: Some(variable.path().join("other.so").into()),
        executable: Some(executable.path().join("trainer")),
        xdg_cache_home: Some(cache.path().into()),
        system_folders: vec![system.path().to_path_buf()],
        ..Host::default()
    };
    check_origin(&request, &host, Some((Origin::Argument, &named.path().join("mine.so"))));
    request.explicit = None;
    check_origin(&request, &host, Some((Origin::Variable, &variable.path().join("other.so"))));
    host.ort_dylib_path = Some("".into());
    check_origin(
        &request,
        &host,
        Some((Origin::Executable, &executable.path().join("libonnxruntime.so.1.30.0"))),
    );
    host.executable = None;
    let cached = Bundle::Cpu.folder(&cache.path().join("trainer")).join("libonnxruntime.so.1.31.1");
    check_origin(&request, &host, Some((Origin::Cache, &cached)));
    host.xdg_cache_home = None;
    check_origin(&request, &host, Some((Origin::System, &system.path().join("libonnxruntime.so.1"))));
    host.ld_library_path = Some(executable.path().into());
    check_origin(
        &request,
        &host,
        Some((Origin::System, &executable.path().join("libonnxruntime.so.1.30.0"))),
    );
    check_origin(&request, &Host::default(), None);
}

#[test]
fn a_library_that_was_named_and_is_not_there_is_refused_not_passed_over() {
    let system = folder_with(&["libonnxruntime.so"]);
    let mut host = Host { system_folders: vec![system.path().to_path_buf()], ..Host::default() };
    let request = Request { explicit: Some("/no/such/lib.so".into()), ..Request::default() };
    let message = find(&request, &host).unwrap_err().to_string();
    assert!(message.contains("--ort-lib names /no/such/lib.so"), "{message}");
    for value in ["/no/such/lib.so", "libnosuch.so"] {
        host.ort_dylib_path = Some(value.into());
        let message = find(&Request::default(), &host).unwrap_err().to_string();
        assert!(message.contains(&format!("ORT_DYLIB_PATH names {value}")), "{message}");
    }
    host.ort_dylib_path = Some("libonnxruntime.so".into());
    check_origin(
        &Request::default(),
        &host,
        Some((Origin::Variable, &system.path().join("libonnxruntime.so"))),
    );
}

#[test]
fn a_folder_may_be_named_and_its_newest_library_is_taken() {
    let folder = folder_with(&[
        "libonnxruntime.so.1.9.0",
        "libonnxruntime.so.1.31.1",
        "libonnxruntime_providers_shared.so",
    ]);
    let request = Request { explicit: Some(folder.path().to_path_buf()), ..Request::default() };
    let found = find(&request, &Host::default()).unwrap().unwrap();
    assert_eq!(found.path, folder.path().join("libonnxruntime.so.1.31.1"));
    assert_eq!(found.version.as_deref(), Some("1.31.1"));
    let empty = tempfile::tempdir().unwrap();
    let request = Request { explicit: Some(empty.path().to_path_buf()), ..Request::default() };
    assert!(matches!(find(&request, &Host::default()), Err(LocateError::NotThere { .. })));
}

#[test]
fn a_system_library_that_is_too_old_or_no_library_is_passed_over() {
    let (old, text, good) = (
        folder_with(&["libonnxruntime.so.1.17.1"]),
        folder_with(&[]),
        folder_with(&["libonnxruntime.so.1.22.0"]),
    );
    symlink("libonnxruntime.so.1.17.1", old.path().join("libonnxruntime.so")).unwrap();
    fs::write(text.path().join("libonnxruntime.so"), "INPUT(-lonnxruntime)").unwrap();
    let mut host =
        Host { system_folders: vec![old.path().to_path_buf(), text.path().to_path_buf()], ..Host::default() };
    check_origin(&Request::default(), &host, None);
    host.system_folders.push(good.path().to_path_buf());
    check_origin(
        &Request::default(),
        &host,
        Some((Origin::System, &good.path().join("libonnxruntime.so.1.22.0"))),
    );
}

#[test]
fn what_is_wanted_chooses_among_the_bundles_of_the_cache() {
    let cache = cache_with(Bundle::Cpu);
    let host = Host { xdg_cache_home: Some(cache.path().into()), ..Host::default() };
    let library =
        |bundle: Bundle| bundle.folder(&cache.path().join("trainer")).join("libonnxruntime.so.1.31.1");
    let wanting = |want| Request { want, ..Request::default() };
    let cpu = library(Bundle::Cpu);
    check_origin(&wanting(Want::Cpu), &host, Some((Origin::Cache, &cpu)));
    check_origin(&wanting(Want::Either), &host, Some((Origin::Cache, &cpu)));
    check_origin(&wanting(Want::Cuda), &host, None);
    let refused = locate_on(&wanting(Want::Cuda), &host, &Heard::default()).unwrap_err();
    assert!(refused.to_string().contains("trainer setup --cuda` (downloads 1.4 GB)"), "{refused}");
}

#[test]
fn a_damaged_cache_is_not_found() {
    let cache = cache_with(Bundle::Cpu);
    let host = Host { xdg_cache_home: Some(cache.path().into()), ..Host::default() };
    let file = find(&Request::default(), &host).unwrap().unwrap().path;
    fs::File::options().write(true).open(file).unwrap().set_len(1000).unwrap();
    check_origin(&Request::default(), &host, None);
}

#[test]
fn offline_nothing_is_fetched_and_the_error_says_how_to_get_a_library() {
    let machine = Machine::honest();
    let request = Request { offline: true, ..Request::default() };
    let heard = Heard::default();
    let error = locate_on(&request, &machine.host, &heard).unwrap_err();
    assert!(matches!(error, LocateError::Offline), "{error}");
    let message = error.to_string();
    assert!(message.contains("--ort-lib") && message.contains("trainer setup"), "{message}");
    assert!(heard.0.lock().unwrap().is_empty());
    assert!(!machine.root.path().join("cache").exists());
}

#[test]
fn without_a_cache_folder_the_error_names_the_variables() {
    let host = Host::default();
    let message = install(Bundle::Cpu, &host, &Heard::default()).unwrap_err().to_string();
    assert!(message.contains("HOME") && message.contains("XDG_CACHE_HOME"), "{message}");
}

#[test]
fn what_is_missing_everywhere_is_fetched_and_what_arrives_is_checked_against_the_real_pins() {
    let machine = Machine::honest();
    let error = locate_on(&Request::default(), &machine.host, &Heard::default()).unwrap_err();
    assert!(
        matches!(error, LocateError::Fetch(FetchError::WrongChecksum { project: "onnxruntime", .. })),
        "{error}"
    );
}

#[test]
fn the_public_search_uses_this_process() {
    let request = Request { explicit: Some(some_library()), ..Request::default() };
    assert_eq!(locate(&request).unwrap().origin, Origin::Argument);
}
