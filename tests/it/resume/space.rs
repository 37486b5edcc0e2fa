//! Runs on a file system that becomes full: a real one of 20 MiB in memory, mounted in a namespace of its own.

use super::{three_epochs, undisturbed};
use crate::work_dir::WorkDir;
use std::fs;
use std::process::{Command, Stdio};
use trainer_runtime::checkpoint::{EmergencyCause, Kind};

/// More checkpoints than the small file system has room for.
const MANY: [&str; 2] = ["checkpoint.every_steps=5", "checkpoint.keep_last=100"];

/// Mounts the file system on the first argument, fills all but 4 MiB, does what stands in place of `$script`, in which
/// `trainer "$@"` is the run, and leaves the work directory where the second argument says.
const SCRIPT: &str = r#"
set -u
mount -t tmpfs -o size=20m tmpfs "$1" || exit 99
head -c 16777216 /dev/zero > "$1/filler"
small=$1 kept=$2 program=$3
shift 3
trainer() { exec "$program" run --work-dir "$small/exp" "$@"; }
$script
cp -a "$small/exp" "$kept"
"#;

/// Does that, and gives what was said on stderr; `None` where the system lets nobody mount anything.
#[track_caller]
fn on_a_small_disk(dir: &WorkDir, more: &[&str], script: &str) -> Option<String> {
    let may_mount = Command::new("unshare").args(["-rm", "true"]).stderr(Stdio::null()).status();
    if !may_mount.is_ok_and(|status| status.success()) {
        eprintln!("not tested: this system lets no one make a namespace to mount a small file system in");
        return None;
    }
    let small = dir.make_folder("small");
    let run = dir.command(more);
    let mut arguments = run.get_args().skip(3);
    let script = SCRIPT.replace("$script", script);
    let mut command = Command::new("unshare");
    command.args(["-rm", "sh", "-c", &script, "sh"]).arg(&small).arg(dir.path());
    command.arg(env!("CARGO_BIN_EXE_trainer")).args(&mut arguments);
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{:?}\n{said}", output.status);
    assert!(!said.contains("panicked at"), "{said}");
    Some(said)
}

#[track_caller]
fn check_says(said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "{word:?} is not in:\n{said}");
    }
}

#[test]
fn training_pauses_on_a_full_disk_and_goes_on_when_there_is_room() {
    let dir = three_epochs(&MANY);
    let script = r#"
        trainer "$@" 2> "$small.log" & pid=$!
        until grep -q "training pauses" "$small.log"; do
            kill -0 $pid 2> /dev/null || break
            sleep 0.02
        done
        rm "$small/filler"
        wait $pid; code=$?
        cat "$small.log" >&2
        [ $code = 0 ] || exit $code
    "#;
    let Some(said) = on_a_small_disk(&dir, &[], script) else { return };
    check_says(&said, &["the disk is full, training pauses", "are needed to go on", "); step "]);
    check_says(&said, &[" is saved. Free some space", "there is room again", "waits for 600 s"]);
    dir.result().check_equals(&undisturbed(&MANY));
    assert!(!dir.path().join("ballast").exists(), "a run that is over needs no reserve");
    assert!(dir.checkpoints().len() > 27, "something durable was removed: {:?}", dir.checkpoints());
}

#[test]
fn a_run_that_does_not_wait_for_room_ends_with_74_and_goes_on_from_its_last_step() {
    let dir = three_epochs(&MANY);
    let script = r#"
        (trainer "$@" --set checkpoint.disk_full_timeout_s=0)
        [ $? = 74 ] || exit 98
        cp -a "$small/exp" "$kept.ended"
        rm "$small/filler"
        (trainer "$@") || exit $?
    "#;
    let Some(said) = on_a_small_disk(&dir, &[], script) else { return };
    check_says(&said, &["`checkpoint.disk_full_timeout_s` is 0", "error: the disk is full"]);
    check_says(
        &said,
        &["Previous attempt: ended because the disk was full at step ", "; 0 steps to compute again"],
    );
    dir.result().check_equals(&undisturbed(&MANY));
    let ended = fs::read_dir(dir.path().with_extension("ended").join("checkpoints")).unwrap();
    let names = ended.filter_map(|entry| entry.unwrap().file_name().into_string().unwrap().parse().ok());
    let emergency = names.max().map(|name: trainer_runtime::checkpoint::Name| name.kind);
    assert_eq!(emergency, Some(Kind::Emergency(EmergencyCause::DiskFull)));
}

#[test]
fn a_disk_with_too_little_room_for_the_reserve_says_so_and_a_signal_ends_the_pause() {
    let dir = three_epochs(&MANY);
    let script = r#"
        head -c 2500000 /dev/zero > "$small/more"
        trainer "$@" 2> "$small.log" & pid=$!
        until grep -q "training pauses" "$small.log"; do
            kill -0 $pid 2> /dev/null || break
            sleep 0.02
        done
        kill -TERM $pid
        wait $pid; code=$?
        cat "$small.log" >&2
        echo "ended with $code" >&2
    "#;
    let Some(said) = on_a_small_disk(&dir, &[], script) else { return };
    check_says(&said, &["so no reserve of", "training pauses", "ended with 143", "is saved"]);
    let recorded = dir.steps().last().unwrap().step;
    assert_eq!(dir.checkpoints().last().unwrap().step, recorded, "a step was recorded and not saved");
    dir.finish(&[]);
    dir.result().check_equals(&undisturbed(&MANY));
}
