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

/// A table of one digit, with a line of names or without.
fn digit_rows(has_names: bool) -> String {
    let line = |number: fn(usize) -> String| (0..64).map(number).collect::<Vec<_>>().join(",");
    let names = if has_names { line(|column| format!("pixel{column}")) + "\n" } else { String::new() };
    // As 0.25 and not 0.0 at the beginning, for two columns of one name are refused in other words.
    format!("{names}{}\n", line(|column| format!("{}", column as f32 / 64.0 + 0.25)))
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
    // The number of the process that held the lock last may have more digits than that of the one before.
    let is_of_every_process = |path: &str| path.contains("trainer.log") || path.ends_with("/lock");
    let kept = |all: Vec<(String, u64)>| -> Vec<(String, u64)> {
        all.into_iter().filter(|(path, _)| !is_of_every_process(path)).collect()
    };
    assert_eq!(kept(contents(&dir.path())), kept(before));
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
    let input = dir.write("examples.csv", digit_rows(true));
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

#[test]
fn a_full_output_is_no_success() {
    let dir = finished();
    let full = || fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    for words in
        [["history"].as_slice(), &["history", "--csv"], &["inspect"], &["verify"], &["ls"], &["plot"]]
    {
        let (command, more) = words.split_first().unwrap();
        let mut command = trainer([*command]);
        let child = command.arg(dir.path()).args(more).stdout(full()).stderr(std::process::Stdio::piped());
        check(Ended::of_child(child.spawn().unwrap()), 74, &["can not write the result to the output"]);
    }
    let child = trainer(["setup", "--offline"]).stdout(full()).stderr(std::process::Stdio::piped()).spawn();
    check(Ended::of_child(child.unwrap()), 74, &["can not write the result to the output"]);
}

#[test]
fn a_file_in_the_place_of_a_folder_is_named() {
    let dir = WorkDir::new(&[]);
    let file = dir.write("a.png", "a picture");
    for words in [["history"].as_slice(), &["report"], &["plot"], &["repair"]] {
        check(on(words, Path::new(&file)), 2, &["a.png is not the folder of a run"]);
    }
}

#[test]
fn a_file_of_others_is_no_damaged_checkpoint_and_a_damaged_one_is_not_repaired_alone() {
    let dir = finished();
    let foreign = dir.write("a.png", "a picture");
    check(on(&["verify"], Path::new(&foreign)), 2, &["a.png is neither a checkpoint nor"]);
    let checkpoint = dir.path().join("checkpoints/best.safetensors");
    let mut bytes = fs::read(&checkpoint).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&checkpoint, bytes).unwrap();
    let said = on(&["verify"], &checkpoint).check_code(5).stdout;
    assert!(said.contains("put a copy of the file in its place") && said.contains("DAMAGED"), "{said}");
}

#[test]
fn runs_and_sweeps_have_folders_of_their_own() {
    let dir = finished();
    let sweep = dir.write(
        "sweep.toml",
        "model.builtin = \"mlp\"\ntrain.epochs = 1\n[sweep]\nmethod = \"grid\"\n[sweep.space]\nseed = [1]\n",
    );
    let sweep_into =
        |folder: &Path| Ended::of(trainer(["sweep", "--config", &sweep, "--work-dir"]).arg(folder));
    check(sweep_into(&dir.path()), 2, &["is the folder of a run", "another --work-dir"]);
    assert!(!dir.path().join("plan.json").exists());
    let folder = dir.path().with_file_name("sweep");
    sweep_into(&folder).check_code(0);
    for more in [[].as_slice(), &["--experiment", "new"]] {
        let run = Ended::of(trainer(["run", "--work-dir"]).arg(&folder).args(more));
        check(run, 2, &["is the folder of a sweep", "trainer sweep --work-dir"]);
    }
    assert!(!folder.join("journal").exists());
}

#[test]
fn results_replace_only_files_that_are_nobody_elses() {
    let dir = finished();
    let input = dir.write("examples.csv", digit_rows(true));
    let own = dir.path().join("checkpoints/answers.csv").display().to_string();
    let page = dir.path().join("journal/00000001.html").display().to_string();
    let picture = dir.make_folder("taken.svg").display().to_string();
    dir.make_folder("taken.csv");
    let taken = dir.path().with_file_name("taken.csv").display().to_string();
    for (words, says) in [
        (["predict", "--input", &input, "--force", "--output", &own].as_slice(), "that a run keeps itself"),
        (&["predict", "--input", &input, "--force", "--output", &taken], "is a folder"),
        (&["predict", "--input", &input, "--force", "--output", &input], "is the file of the examples"),
        (&["report", "--out", &page], "that a run keeps itself"),
        (&["report", "--out", &input], "ends in .html or .htm"),
        (&["plot", "--out", &picture], "is a folder"),
        (&["export", "--format", "onnx", "--force", "--output", "/dev/null"], "is no regular file"),
        (&["export", "--output", "old.onnx", "--opset", "12"], "--opset"),
    ] {
        check(on(words, &dir.path()), 2, &[says]);
    }
    assert_eq!(fs::read_to_string(&input).unwrap(), digit_rows(true));
}

#[test]
fn a_file_that_is_called_like_a_temporary_one_stays() {
    let dir = finished();
    let input = dir.write("examples.csv", digit_rows(true));
    for (words, output) in [
        (["plot", "--out"].as_slice(), "a.svg"),
        (&["report", "--out"], "a.html"),
        (&["export", "--output"], "a.onnx"),
        (&["export", "--output"], "a.safetensors"),
        (&["predict", "--input", &input, "--output"], "a.csv"),
    ] {
        let mine = dir.write(&format!("{output}.tmp"), "mine");
        let output = dir.path().with_file_name(output);
        let mut words = words.to_vec();
        words.push(output.to_str().unwrap());
        on(&words, &dir.path()).check_code(0);
        assert_eq!(fs::read_to_string(mine).unwrap(), "mine");
        let names = fs::read_dir(output.parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name());
        assert!(!names.into_iter().any(|name| name.to_string_lossy().starts_with('.')));
    }
}

#[test]
fn a_table_without_names_is_refused_and_not_robbed_of_its_first_line() {
    let dir = finished();
    let input = dir.write("examples.csv", digit_rows(false));
    let output = dir.path().with_file_name("answers.csv");
    let output = output.to_str().unwrap();
    let words = ["predict", "--input", &input, "--output", output];
    check(on(&words, &dir.path()), 2, &["holds numbers and not the names", "put a line with names above it"]);
    let numbered = (0..64).map(|column| column.to_string()).collect::<Vec<_>>().join(",");
    dir.write("examples.csv", format!("{numbered}\n{}", digit_rows(false)));
    on(&words, &dir.path()).check_code(0);
}
