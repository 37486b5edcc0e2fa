//! Mistakes that people make with any command: each gives one clear message and the documented exit code, and changes
//! nothing.

use crate::work_dir::{Ended, WorkDir, trainer};
use std::fs;
use std::path::Path;

/// Commands that look at the folder of a run, with what they need besides it.
const LOOKING: [&[&str]; 9] = [
    &["history"],
    &["plot"],
    &["report"],
    &["inspect"],
    &["verify"],
    &["eval"],
    &["predict", "--input", "examples.csv", "--output", "answers.csv"],
    &["export", "--output", "model.onnx"],
    &["repair", "--dry-run"],
];

/// The command `words[0]` on `folder`, with the other words behind it.
fn on(words: &[&str], folder: &Path) -> Ended {
    let (command, more) = words.split_first().unwrap();
    Ended::of(trainer([*command]).arg(folder).args(more))
}

/// That the command ends with this code, one error, and these words in it.
#[track_caller]
fn check(ended: Ended, code: i32, words: &[&str]) {
    let errors = ended.stderr.lines().filter(|line| line.starts_with("error: ")).count();
    assert_eq!(errors, 1, "{}", ended.stderr);
    ended.check_code(code).check_says(words);
}

/// A short run on the digits.
fn finished() -> WorkDir {
    let dir = WorkDir::new(&["model.builtin=mlp", "train.epochs=2", "schedule.kind=constant"]);
    dir.finish(&[]);
    dir
}

/// Path, size and time of everything in a folder.
fn contents(folder: &Path) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            found.push((path.display().to_string(), fs::metadata(&path).unwrap().len()));
        }
    }
    found.sort();
    found
}

#[test]
fn an_unknown_flag_is_named_with_the_nearest_one() {
    let ended = Ended::of(&mut trainer(["run", "--work-dir", "exp", "--epoch", "3"]));
    ended.check_code(2).check_says(&["--epoch", "--epochs"]);
    for words in LOOKING {
        on(words, Path::new("exp")).check_code(2);
        let (command, more) = words.split_first().unwrap();
        Ended::of(trainer([*command, "exp", "--no-such-flag"]).args(more))
            .check_code(2)
            .check_says(&["unexpected argument '--no-such-flag'", "--help"]);
    }
    Ended::of(&mut trainer(["histroy", "exp"])).check_code(2).check_says(&["histroy", "history"]);
}

#[test]
fn a_folder_that_is_missing_or_not_ours_is_named_by_every_command() {
    let dir = WorkDir::new(&[]);
    let missing = dir.path().join("missing");
    let foreign = dir.make_folder("foreign");
    fs::write(foreign.join("notes.txt"), "mine").unwrap();
    for words in LOOKING {
        check(on(words, &missing), 2, &["missing"]);
        check(on(words, &foreign), 2, &["foreign", "is not the folder of a run"]);
    }
    check(Ended::of(trainer(["resume"]).arg(&missing)), 2, &["missing", "trainer run"]);
    check(Ended::of(trainer(["resume"]).arg(&foreign)), 2, &["foreign", "trainer run"]);
    check(Ended::of(trainer(["ls"]).arg(&missing)), 2, &["missing"]);
    check(Ended::of(trainer(["diff"]).args([&missing, &foreign])), 2, &["missing"]);
    assert_eq!(contents(&foreign).len(), 1, "something was left in a folder of others");
    assert!(!missing.exists());
}

#[test]
fn a_folder_that_is_held_is_left_alone_by_what_changes_it_and_shown_by_what_looks() {
    let dir = WorkDir::new(&["model.builtin=mlp", "--epochs", "400", "schedule.kind=constant"]);
    let mut child = dir.start_until_step(30, &[]);
    for words in [["resume"].as_slice(), &["repair"]] {
        check(on(words, &dir.path()), 3, &["is held by process"]);
    }
    check(dir.run(&["--fresh"]), 3, &["is held by process"]);
    let listed = on(&["ls"], &dir.path()).check_code(0).stdout;
    assert!(listed.contains("running"), "{listed}");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_damaged_journal_ends_what_needs_it_with_5_and_the_remedy() {
    let dir = finished();
    let segment = dir.segment();
    let mut bytes = fs::read(&segment).unwrap();
    bytes[200] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let before = contents(&dir.path());
    for words in [["history"].as_slice(), &["plot"], &["report"]] {
        check(on(words, &dir.path()), 5, &["trainer repair "]);
    }
    check(dir.run(&["--epochs", "3"]), 5, &["trainer repair "]);
    on(&["verify"], &dir.path()).check_code(5);
    let listed = on(&["ls"], &dir.path()).check_code(0).stdout;
    assert!(listed.contains("damaged"), "{listed}");
    let after: Vec<_> =
        contents(&dir.path()).into_iter().filter(|(path, _)| !path.contains("trainer.log")).collect();
    let before: Vec<_> = before.into_iter().filter(|(path, _)| !path.contains("trainer.log")).collect();
    assert_eq!(after, before);
}

#[test]
fn a_newer_format_is_called_that_and_never_damaged() {
    let dir = finished();
    let segment = dir.segment();
    let mut bytes = fs::read(&segment).unwrap();
    bytes[8] = 99;
    bytes[63] ^= 1;
    fs::write(&segment, bytes).unwrap();
    for words in [["history"].as_slice(), &["plot"], &["report"], &["verify"]] {
        check(on(words, &dir.path()), 5, &["version 99"]);
    }
    check(dir.run(&["--epochs", "3"]), 5, &["version 99"]);
}

#[test]
fn results_that_can_not_be_written_end_with_74_and_the_name_of_the_file() {
    let dir = finished();
    let line = |number: fn(usize) -> String| (0..64).map(number).collect::<Vec<_>>().join(",");
    let (names, values) =
        (line(|column| format!("pixel{column}")), line(|column| format!("{}", column % 17)));
    let input = dir.write("examples.csv", format!("{names}\n{values}\n"));
    // Not a folder in which anybody can make a file, the superuser included.
    let path = "/proc/no-such-folder/result";
    for words in [
        ["plot", "--out", "/proc/no-such-folder/result.svg"].as_slice(),
        &["report", "--out", "/proc/no-such-folder/result.html"],
        &["predict", "--input", &input, "--output", "/proc/no-such-folder/result.csv"],
        &["export", "--output", "/proc/no-such-folder/result.onnx"],
    ] {
        check(on(words, &dir.path()), 74, &[path]);
    }
    check(Ended::of(&mut trainer(["run", "--work-dir", path])), 74, &["/proc/no-such-folder"]);
}
