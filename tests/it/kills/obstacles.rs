//! A disk that is full, can not be written to or takes no large files, a quota that is used up, too few descriptors: the
//! run ends with the code of storage and says what is in its way, nothing that was kept is altered, and when the
//! obstacle is gone, the same command finishes with the same bytes.

use super::calls::Effect;
use super::outcome::check_image;
use super::short::can_trace;
use super::tracer::{Next, Pace, REWRITES, Side, Stop, trace};
use super::{Boundary, sixty_steps, undisturbed};
use crate::work_dir::{Ended, WorkDir};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The exit code of a failed storage.
const STORAGE_FAILED: i32 = 74;

/// A file system of its own in memory, mounted where a work directory will be. Gone with the value.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None`, with the reason on stdout, if this machine lets nothing be mounted.
    fn mount(dir: &WorkDir, options: &str) -> Option<Self> {
        let path = dir.path();
        fs::create_dir(&path).unwrap();
        let mounted = mount(&["-t", "tmpfs", "-o", options, "tmpfs"], &path);
        mounted
            .map(|()| Self(path))
            .map_err(|reason| println!("not tested: nothing can be mounted: {reason}"))
            .ok()
    }

    #[track_caller]
    fn change(&self, options: &str) {
        mount(&["-o", &format!("remount,{options}")], &self.0).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(&self.0).status();
        assert!(std::thread::panicking() || unmounted.unwrap().success());
    }
}

fn mount(args: &[&str], path: &Path) -> Result<(), String> {
    let output = Command::new("mount").args(args).arg(path).output().map_err(|error| error.to_string())?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

/// The files of a run that must stay as they are: journal and checkpoints, by their paths.
fn kept(dir: &WorkDir) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut kept = BTreeMap::new();
    for folder in ["journal", "checkpoints"] {
        let Ok(entries) = fs::read_dir(dir.path().join(folder)) else { continue };
        for path in entries.map(|entry| entry.unwrap().path()) {
            if ["wal", "safetensors"].map(OsStr::new).contains(&path.extension().unwrap_or_default()) {
                kept.insert(path.clone(), fs::read(&path).unwrap());
            }
        }
    }
    kept
}

/// That journals were only appended to, and that a checkpoint which is still there is the one that it was.
#[track_caller]
fn check_unaltered(before: &BTreeMap<PathBuf, Vec<u8>>, dir: &WorkDir) {
    for (path, bytes) in before {
        let is_link = ["best", "last", "final"].map(Some).contains(&path.file_stem().and_then(OsStr::to_str));
        match fs::read(path) {
            Ok(now) if path.extension() == Some(OsStr::new("wal")) => {
                assert!(now.starts_with(bytes), "{} was altered", path.display());
            }
            Ok(now) => assert!(is_link || now == *bytes, "{} was altered", path.display()),
            Err(error) => {
                let newer = fs::read_dir(dir.path().join("checkpoints")).unwrap().count();
                assert!(newer > 2 && !is_link && bytes.len() > 100_000, "{}: {error}", path.display());
            }
        }
    }
}

/// A run with an obstacle in its way, which it names.
#[track_caller]
fn check_stops(dir: &WorkDir, command: &mut Command, words: &[&str]) {
    let before = kept(dir);
    let work_dir = dir.path();
    let ended = Ended::of(command).check_code(STORAGE_FAILED).check_says(words);
    let error = ended.stderr.lines().find(|line| line.starts_with("error: ")).unwrap_or_default();
    assert!(error.contains(work_dir.to_str().unwrap()), "no file is named: {error}");
    check_unaltered(&before, dir);
    check_image(&work_dir);
}

/// The obstacle is gone.
#[track_caller]
fn check_finishes(dir: &WorkDir) {
    dir.finish(&[]);
    undisturbed(&[]).check(dir);
}

/// A run that was killed in its fourth epoch, in what is already there of a work directory.
#[track_caller]
fn killed(dir: &WorkDir) {
    Boundary::Step(38).strike(Side::Behind, Pace::InTurn, dir);
}

#[test]
fn a_full_disk_is_named_and_the_same_command_finishes_when_there_is_room() {
    // Too small for the first checkpoint, for the third, and for all that are kept.
    for size in ["300k", "1280k", "1400k"] {
        let dir = sixty_steps(&[]);
        let Some(disk) = SmallDisk::mount(&dir, &format!("size={size}")) else { return };
        check_stops(
            &dir,
            &mut dir.command(&["checkpoint.disk_full_timeout_s=0"]),
            &["free some space", "step-000000"],
        );
        check_stops(&dir, &mut dir.command(&["checkpoint.disk_full_timeout_s=0"]), &["free some space"]);
        disk.change("size=10m");
        check_finishes(&dir);
    }
}

#[test]
fn a_disk_that_can_not_be_written_to_is_named_and_nothing_there_is_altered() {
    if !can_trace() {
        return;
    }
    let dir = sixty_steps(&[]);
    let Some(disk) = SmallDisk::mount(&dir, "ro") else { return };
    check_stops(&dir, &mut dir.command(&[]), &["Read-only file system"]);
    disk.change("rw");
    killed(&dir);
    disk.change("ro");
    check_stops(&dir, &mut dir.command(&[]), &["Read-only file system"]);
    disk.change("rw");
    check_finishes(&dir);
}

/// `trainer run` under a limit of the shell: `-f` of 512 bytes, `-n` of descriptors.
fn limited(dir: &WorkDir, option: &str, limit: u64) -> Command {
    let plain = dir.command(&[]);
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit {option} {limit} && exec \"$0\" \"$@\"")]);
    command.arg(plain.get_program()).args(plain.get_args());
    command
}

#[test]
fn a_limit_on_the_size_of_files_is_named_and_the_same_command_finishes_without_it() {
    for limit in [8, 40, 180] {
        let dir = sixty_steps(&[]);
        check_stops(&dir, &mut limited(&dir, "-f", limit), &["File too large", "ulimit -f"]);
        check_finishes(&dir);
    }
}

#[test]
fn too_few_descriptors_are_said_and_the_same_command_finishes_with_more() {
    let (mut refused, mut enough) = (0, 0);
    for limit in [5, 6, 7, 9, 11, 13, 64] {
        let dir = sixty_steps(&[]);
        let ended = Ended::of(&mut limited(&dir, "-n", limit));
        check_image(&dir.path());
        match ended.code {
            Some(0) => enough += 1,
            Some(1 | STORAGE_FAILED) => {
                refused += 1;
                ended.check_says(&["Too many open files", "ulimit -n"]);
            }
            _ => panic!("{limit} descriptors: {ended:?}"),
        }
        check_finishes(&dir);
    }
    assert!(refused > 2 && enough > 0, "{refused} limits were too low, {enough} were not");
}

#[test]
fn a_quota_that_is_used_up_is_named_and_the_same_command_finishes_when_there_is_more() {
    if !can_trace() || !REWRITES {
        return;
    }
    // The lock is written first and the journal's header second; then settings, steps and checkpoints.
    for writes in [0, 1, 3, 40, 200] {
        let dir = sixty_steps(&[]);
        let mut written = 0;
        let mut look = |stop: &Stop<'_>| {
            let is_write = stop.side == Side::Before && stop.effect == Effect::Writes;
            written += usize::from(is_write);
            if is_write && written > writes { Next::Fail(libc::EDQUOT) } else { Next::GoOn }
        };
        let ended = trace(
            &mut dir.command(&["checkpoint.disk_full_timeout_s=0"]),
            &dir.path(),
            Pace::InTurn,
            &mut look,
        )
        .unwrap();
        ended.check_code(STORAGE_FAILED).check_says(&["uota exceeded", dir.path().to_str().unwrap()]);
        check_image(&dir.path());
        check_finishes(&dir);
    }
}
