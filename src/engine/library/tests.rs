//! The search, the fetch and the load together, with a script in the place of `python3 -m pip`. Here: the fetch.

mod loading;
mod search;

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::sync::{Barrier, Mutex};
use std::thread;

use sha2::{Digest, Sha256};
use tempfile::TempDir;
use zip::write::SimpleFileOptions;

use super::Host;
use super::announce::{Announce, Event};
use super::cache::{State, state};
use super::fetch::{FetchError, Outcome, ensure};
use super::pip::Cause;
use super::wheels::{Bundle, Member, Wheel};

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
