//! The search, the fetch and the load together, with a script in the place of `python3 -m pip`.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Barrier, Mutex};
use std::thread;

use sha2::{Digest, Sha256};
use tempfile::TempDir;
use zip::write::SimpleFileOptions;

use super::announce::{Announce, Event};
use super::cache::{State, state};
use super::elf::tests::some_library;
use super::fetch::{FetchError, Outcome, ensure};
use super::load::{LoadError, Threads, load};
use super::locate::{LocateError, Located, Origin, Request, Want, find, install, locate_on};
use super::pip::Cause;
use super::wheels::{Bundle, Member, Wheel};
use super::{Host, locate};
use crate::engine::probe::{self, CudaUnusable};

/// Content of the one library in the fake wheel.
const LIBRARY: &[u8] = b"as good as any library while nobody loads it";

#[derive(Default)]
struct Heard(Mutex<Vec<Event>>);

impl Announce for Heard {
    fn tell(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

impl Heard {
    fn downloads(&self) -> usize {
        let events = self.0.lock().unwrap();
        events.iter().filter(|event| matches!(event, Event::Downloading { .. })).count()
    }
}

/// A machine of its own: a cache, a folder of programs with a `python3` in it, and a wheel that this one hands out.
struct Machine {
    root: TempDir,
    host: Host,
    wheels: &'static [Wheel],
}

impl Machine {
    /// `client` is what the stand-in for pip does: shell commands that find the destination folder in `$dest` and the
    /// honest wheel at `$wheel`.
    fn with_client(client: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        fs::create_dir(at("bin")).unwrap();
        let wheel = at("fake-1.0-py3-none-any.whl");
        fs::write(&wheel, wheel_bytes()).unwrap();
        let stand_in = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/python3-stand-in.sh");
        symlink(stand_in, at("bin/python3")).unwrap();
        fs::write(at("bin/client.sh"), format!("wheel='{}'\n{client}\n", wheel.display())).unwrap();
        let host = Host {
            xdg_cache_home: Some(at("cache").into()),
            path: Some(at("bin").into()),
            ..Host::default()
        };
        Self { root, host, wheels: pins_of(&wheel_bytes()) }
    }

    fn honest() -> Self {
        Self::with_client("cp \"$wheel\" \"$dest\"")
    }

    fn folder(&self) -> PathBuf {
        Bundle::Cpu.folder(&self.host.cache_folder().unwrap())
    }

    fn library(&self) -> PathBuf {
        self.folder().join("libfake.so")
    }

    fn fetch(&self, heard: &Heard) -> Result<Outcome, FetchError> {
        ensure(&self.folder(), self.wheels, &self.host, heard)
    }

    /// Everything below the version's folder, by name.
    fn cache_names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder().parent().unwrap()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// A fetch that must fail, say `expected`, and leave neither a bundle nor a temporary file.
    #[track_caller]
    fn check_fetch_fails(&self, expected: &[&str]) -> FetchError {
        let error = self.fetch(&Heard::default()).unwrap_err();
        let message = error.to_string();
        for part in expected {
            assert!(message.contains(part), "{part:?} is not in: {message}");
        }
        assert_eq!(self.cache_names(), ["lock"]);
        error
    }
}

fn wheel_bytes() -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default();
    for (name, content) in [("fake/capi/libfake.so", LIBRARY), ("fake/other.py", b"not kept".as_slice())] {
        archive.start_file(name, options).unwrap();
        archive.write_all(content).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

/// Pins for the fake wheel, with the checksum of `content`.
fn pins_of(content: &[u8]) -> &'static [Wheel] {
    let sum: String = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
    let members: &[Member] = &[Member { name: "libfake.so", size_bytes: LIBRARY.len() as u64 }];
    Box::leak(Box::new([Wheel {
        project: "fake",
        version: "1.0",
        platform: "any",
        sha256: sum.leak(),
        size_bytes: content.len() as u64,
        folder: "fake/capi",
        members: members.to_vec().leak(),
    }]))
}

#[test]
fn a_fetch_installs_the_pinned_files_alone_and_a_second_one_does_nothing() {
    let machine = Machine::honest();
    let heard = Heard::default();
    assert_eq!(machine.fetch(&heard).unwrap(), Outcome::Fetched);
    assert_eq!(fs::read(machine.library()).unwrap(), LIBRARY);
    assert_eq!(fs::read_dir(machine.folder()).unwrap().count(), 1);
    assert_eq!(machine.cache_names(), ["cpu", "lock"]);
    assert_eq!(machine.fetch(&heard).unwrap(), Outcome::AlreadyThere);
    assert_eq!(heard.downloads(), 1);
}

#[test]
fn the_client_is_asked_for_the_exact_version_and_the_pinned_platform() {
    let machine = Machine::honest();
    machine.fetch(&Heard::default()).unwrap();
    let asked = fs::read_to_string(machine.root.path().join("bin/arguments")).unwrap();
    assert!(asked.starts_with("-m pip download --no-deps --only-binary=:all: "), "{asked}");
    for part in [" fake==1.0", "--platform any", "--python-version 3.12", "--abi cp312"] {
        assert!(asked.contains(part), "{asked}");
    }
}

#[test]
fn the_clients_temporary_files_go_where_the_download_goes() {
    let machine = Machine::with_client(
        "[ \"$TMPDIR\" -ef \"$dest/../tmp\" ] || exit 1; touch \"$TMPDIR/left\"; cp \"$wheel\" \"$dest\"",
    );
    machine.fetch(&Heard::default()).unwrap();
    assert_eq!(machine.cache_names(), ["cpu", "lock"]);
}

#[test]
fn a_failing_client_is_quoted_with_its_cause_and_what_to_do() {
    let cases = [
        ("echo 'python3: No module named pip' >&2; exit 1", Cause::NoPip, "ensurepip"),
        (
            "echo 'ERROR: No matching distribution found for fake==1.0'; exit 1",
            Cause::NoSuchVersion,
            "mirror",
        ),
        ("echo 'Connection refused'; exit 1", Cause::Network, "proxy"),
        ("echo '[Errno 28] No space left on device'; exit 2", Cause::NoSpace, "XDG_CACHE_HOME"),
        ("echo 'Segmentation fault'; exit 139", Cause::Unknown, "by hand"),
    ];
    for (client, expected_cause, remedy) in cases {
        let machine = Machine::with_client(client);
        let said = client.split('\'').nth(1).unwrap();
        let error = machine.check_fetch_fails(&[remedy, said, "-m pip download fake==1.0"]);
        assert!(
            matches!(error, FetchError::ClientFailed { cause, .. } if cause == expected_cause),
            "{error}"
        );
    }
}

#[test]
fn a_client_that_leaves_nothing_or_too_much_is_not_believed() {
    Machine::with_client("exit 0").check_fetch_fails(&["left no file"]);
    Machine::with_client("cp \"$wheel\" \"$dest\"; cp \"$wheel\" \"$dest/b.whl\"")
        .check_fetch_fails(&["more than one file"]);
}

#[test]
fn a_wheel_with_another_checksum_is_thrown_away() {
    let machine = Machine::with_client("{ cat \"$wheel\"; echo; } > \"$dest/a.whl\"");
    let error = machine.check_fetch_fails(&["wrong checksum", machine.wheels[0].sha256]);
    assert!(matches!(error, FetchError::WrongChecksum { .. }), "{error}");
}

#[test]
fn a_truncated_wheel_is_thrown_away() {
    Machine::with_client("head -c 100 \"$wheel\" > \"$dest/a.whl\"").check_fetch_fails(&["wrong checksum"]);
}

#[test]
fn a_pinned_wheel_that_is_no_archive_or_lacks_the_file_is_an_error() {
    let mut machine = Machine::honest();
    let path = machine.root.path().join("fake-1.0-py3-none-any.whl");
    fs::write(&path, "no archive").unwrap();
    machine.wheels = pins_of(b"no archive");
    machine.check_fetch_fails(&["cannot unpack libfake.so from fake"]);

    let mut empty = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    empty.start_file("fake/other.py", SimpleFileOptions::default()).unwrap();
    let bytes = empty.finish().unwrap().into_inner();
    fs::write(&path, &bytes).unwrap();
    machine.wheels = pins_of(&bytes);
    machine.check_fetch_fails(&["cannot unpack libfake.so from fake"]);
}

#[test]
fn without_python_the_error_says_so_and_nothing_is_made() {
    let mut machine = Machine::honest();
    machine.host.path = Some("/nowhere".into());
    let error = machine.fetch(&Heard::default()).unwrap_err();
    assert!(
        error.to_string().contains("no python3 on PATH") && error.to_string().contains("--ort-lib"),
        "{error}"
    );
    assert!(!machine.folder().parent().unwrap().exists());
}

#[test]
fn a_python_that_can_not_be_started_is_named() {
    let machine = Machine::honest();
    let python = machine.root.path().join("bin/python3");
    fs::remove_file(&python).unwrap();
    fs::write(&python, "#!/nowhere/interpreter\n").unwrap();
    fs::set_permissions(&python, fs::Permissions::from_mode(0o755)).unwrap();
    machine.check_fetch_fails(&["cannot start", &python.display().to_string()]);
}

#[test]
fn a_disk_without_room_is_refused_before_anything_is_downloaded() {
    let machine = Machine::honest();
    let mut huge = machine.wheels[0];
    huge.size_bytes = 1 << 62;
    let heard = Heard::default();
    let error = ensure(&machine.folder(), &[huge], &machine.host, &heard).unwrap_err();
    assert!(matches!(error, FetchError::NoRoom { .. }), "{error}");
    assert_eq!(heard.downloads(), 0);
    assert_eq!(machine.cache_names(), ["lock"]);
}

#[test]
fn of_many_at_once_one_downloads_and_all_find_the_whole_library() {
    let machine = Machine::with_client("sleep 0.2; cp \"$wheel\" \"$dest\"");
    let (heard, start) = (Heard::default(), Barrier::new(8));
    let outcomes: Vec<_> = thread::scope(|scope| {
        let fetch = || {
            start.wait();
            let outcome = machine.fetch(&heard).unwrap();
            assert_eq!(state(&machine.folder(), machine.wheels), State::Whole);
            outcome
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(fetch)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Outcome::Fetched).count(), 1);
    assert_eq!(heard.downloads(), 1);
    assert!(heard.0.lock().unwrap().iter().any(|event| matches!(event, Event::Waiting { .. })));
    assert_eq!(machine.cache_names(), ["cpu", "lock"]);
}

#[test]
fn what_a_killed_fetch_left_is_no_library_and_the_next_fetch_clears_it_away() {
    let machine = Machine::honest();
    let leftover = machine.folder().parent().unwrap().join("staging-killed/unpacked");
    fs::create_dir_all(&leftover).unwrap();
    fs::write(leftover.join("libfake.so"), LIBRARY).unwrap();
    assert_eq!(state(&machine.folder(), machine.wheels), State::Absent);
    assert_eq!(machine.fetch(&Heard::default()).unwrap(), Outcome::Fetched);
    assert_eq!(machine.cache_names(), ["cpu", "lock"]);
}

#[test]
fn a_damaged_cached_library_is_recognised_and_fetched_again() {
    let machine = Machine::honest();
    machine.fetch(&Heard::default()).unwrap();
    fs::write(machine.library(), &LIBRARY[..10]).unwrap();
    assert!(matches!(
        state(&machine.folder(), machine.wheels),
        State::Damaged { found_bytes: Some(10), expected_bytes, .. } if expected_bytes == LIBRARY.len() as u64
    ));
    assert_eq!(machine.fetch(&Heard::default()).unwrap(), Outcome::Fetched);
    assert_eq!(fs::read(machine.library()).unwrap(), LIBRARY);
    fs::remove_file(machine.library()).unwrap();
    assert_eq!(machine.fetch(&Heard::default()).unwrap(), Outcome::Fetched);
    assert_eq!(machine.cache_names(), ["cpu", "lock"]);
}

#[test]
fn a_cache_that_can_not_be_written_is_named_with_the_remedy() {
    let mut machine = Machine::honest();
    let file = machine.root.path().join("a-file");
    fs::write(&file, "").unwrap();
    machine.host.xdg_cache_home = Some(file.into());
    let message = machine.fetch(&Heard::default()).unwrap_err().to_string();
    assert!(message.contains("a-file") && message.contains("XDG_CACHE_HOME"), "{message}");
}

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

#[test]
fn the_public_search_uses_this_process() {
    let request = Request { explicit: Some(some_library()), ..Request::default() };
    assert_eq!(locate(&request).unwrap().origin, Origin::Argument);
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
        .args([&format!("engine::library::tests::{test}"), "--exact", "--nocapture"])
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
