//! What a user can do wrong ends with a message that says what to do, the right exit code, and nothing half done.

use crate::data_files::{npy_f32, npy_i64, npz};
use crate::networks::{linear, one_node};
use crate::work_dir::{Ended, WorkDir, test_data, trainer};
use std::fs;
use std::process::Stdio;
use trainer::train::event::Event;

/// A run that ends with this code, says all of these words, and leaves no work directory.
#[track_caller]
fn check_leaves_nothing(args: &[&str], code: i32, words: &[&str]) {
    let dir = WorkDir::new(&[]);
    let ended = dir.run(args).check_code(code).check_says(words);
    assert_eq!(ended.stdout, "");
    assert!(!dir.path().exists(), "a work directory was made");
}

#[test]
fn a_mistyped_key_is_refused_with_the_nearest_known_one() {
    let words = ["--set optimzer.lr=1", "unknown key `optimzer.lr`", "did you mean `optimizer.lr`?"];
    check_leaves_nothing(&["optimzer.lr=1"], 2, &words);
}

#[test]
fn a_value_of_the_wrong_type_is_refused_with_what_was_found_and_expected() {
    let words = ["`optimizer.lr` is \"fast\" (a string)", "expected a finite number above 0"];
    check_leaves_nothing(&["optimizer.lr=fast"], 2, &words);
}

#[test]
fn a_batch_size_of_0_is_refused() {
    check_leaves_nothing(&["--batch-size", "0"], 2, &["--batch-size", "expected an integer of at least 1"]);
}

#[test]
fn an_unknown_flag_is_refused_with_the_nearest_known_one() {
    check_leaves_nothing(&["--epochz", "3"], 2, &["unexpected argument '--epochz'", "'--epochs'"]);
}

#[test]
fn a_settings_file_that_is_not_there_is_named_once() {
    let dir = WorkDir::new(&[]);
    let ended = dir.run(&["--config", "no-such.toml"]).check_code(2).check_says(&["no-such.toml"]);
    assert_eq!(ended.stderr.matches("No such file").count(), 1, "{}", ended.stderr);
    assert!(!dir.path().exists());
}

#[test]
fn a_mistake_in_a_settings_file_is_named_with_the_file_and_the_line() {
    let dir = WorkDir::new(&[]);
    let file = dir.write("my.toml", "seed = 1\n[optimizer]\nkind = \"adamv\"\n");
    let words = [file.as_str(), "`optimizer.kind`", "adamv", "\"adamw\""];
    dir.run(&["--config", &file]).check_code(2).check_says(&words);
    let file = dir.write("broken.toml", "seed = 1\n[optimizer\n");
    dir.run(&["--config", &file]).check_code(2).check_says(&[&format!("{file}:2:"), "not TOML"]);
    assert!(!dir.path().exists());
}

/// A linear model of two inputs on a table that fits it, to be spoilt.
fn good() -> WorkDir {
    let mut dir = WorkDir::new(&["train.epochs=1", "optimizer.kind=sgd"]);
    let model = dir.write("linear.onnx", linear(2, &[0.0, 0.0]));
    let (x, y) = (npy_f32(&[4, 2], &[1.0; 8]), npy_i64(&[0, 1, 0, 1]));
    let data = dir.write("data.npz", npz(&[("images", x), ("labels", y)]));
    dir.add(&[&format!("model.onnx={model}"), &format!("data.train={data}")]);
    dir.add(&[r#"data.inputs.x={array="images"}"#, r#"data.targets.y={array="labels"}"#]);
    dir
}

/// That a spoilt run is refused before its first step, and the same folder takes a good one afterwards.
#[track_caller]
fn check_refused(dir: &WorkDir, spoilt: &[&str], code: i32, words: &[&str]) {
    let ended = dir.run(spoilt).check_code(code).check_says(words);
    assert_eq!((ended.stdout.as_str(), dir.events().len()), ("", 0));
    let errors = ended.stderr.lines().filter(|line| line.starts_with("error: "));
    assert_eq!(errors.count(), 1, "{}", ended.stderr);
}

#[test]
fn a_refused_run_does_not_spoil_its_work_directory() {
    let dir = good();
    check_refused(&dir, &["loss.output=logits"], 2, &["no output `logits`", "`y`", "`loss.output`"]);
    dir.finish(&[]).check_says(&["Starting run"]);
}

#[test]
fn a_model_file_that_is_missing_or_no_onnx_is_named() {
    let dir = good();
    check_refused(&dir, &["model.onnx=/no/such.onnx"], 2, &["/no/such.onnx", "No such file"]);
    let text = dir.write("text.onnx", "hello");
    check_refused(&dir, &[&format!("model.onnx={text}")], 2, &[&text, "ONNX"]);
    let whole = fs::read(test_data("models/mlp-script.onnx")).unwrap();
    for len in [0, 100, whole.len() / 2, whole.len() - 1] {
        let cut = dir.write("cut.onnx", &whole[..len]);
        check_refused(&dir, &[&format!("model.onnx={cut}")], 2, &[&cut]);
    }
}

#[test]
fn operators_without_a_gradient_are_listed_by_node() {
    let dir = good();
    let foreign = dir.write("foreign.onnx", crate::networks::foreign(&["first", "second"]));
    let words = [
        "2 nodes of the model can not be differentiated",
        "first (com.microsoft.QuickGelu): ",
        "second (com.microsoft.QuickGelu): ",
    ];
    check_refused(&dir, &[&format!("model.onnx={foreign}")], 2, &words);
}

#[test]
fn an_operator_that_onnxruntime_does_not_know_is_named() {
    let dir = good();
    let model = dir.write("strange.onnx", one_node("Frobnicate", 2, &[0.0, 0.0]));
    check_refused(
        &dir,
        &[&format!("model.onnx={model}")],
        2,
        &["ONNX Runtime does not accept the model", "Frobnicate"],
    );
}

#[test]
fn data_that_do_not_fit_are_refused_with_file_array_and_row() {
    let dir = good();
    let spoil = |images: Vec<u8>, labels: Vec<u8>, words: &[&str]| {
        let data = dir.write("spoilt.npz", npz(&[("images", images), ("labels", labels)]));
        check_refused(&dir, &[&format!("data.train={data}")], 2, &[&[data.as_str()], words].concat());
    };
    let images = || npy_f32(&[4, 2], &[1.0; 8]);
    let nan = npy_f32(&[4, 2], &[1.0, 1.0, 1.0, 1.0, 1.0, f32::NAN, 1.0, 1.0]);
    spoil(images(), npy_i64(&[0, 1, 2, 1]), &["`labels`", "row 2", "found label 2, expected 0 to 1"]);
    spoil(images(), npy_i64(&[0, -1, 1, 1]), &["`labels`", "row 1", "found label -1"]);
    spoil(nan, npy_i64(&[0, 1, 1, 1]), &["`images`", "row 2", "NaN"]);
    spoil(images(), npy_i64(&[0, 1, 1]), &["`labels`", "3", "4"]);
}

#[test]
fn arrays_that_are_missing_or_of_another_shape_are_named() {
    let dir = good();
    let missing = ["has no array or column `pictures`", "`images`, `labels`"];
    check_refused(&dir, &[r#"data.inputs.x={array="pictures"}"#], 2, &missing);
    let words = ["input `x`", "[batch, 2]", "[3]"];
    let data =
        dir.write("wide.npz", npz(&[("images", npy_f32(&[1, 3], &[1.0; 3])), ("labels", npy_i64(&[0]))]));
    check_refused(&dir, &[&format!("data.train={data}")], 2, &words);
    check_refused(&dir, &["data.train=/no/such.npz"], 2, &["/no/such.npz", "No such file"]);
}

#[test]
fn a_ragged_row_of_a_table_is_refused_with_its_line() {
    let dir = WorkDir::new(&["model.builtin=mlp"]);
    let table = dir.write("ragged.csv", "a,b,c\n1,2,0\n1,2\n");
    let arrays = [r#"data.inputs.x={columns=["a","b"]}"#, r#"data.targets.y={array="c"}"#];
    let settings = [&format!("data.train={table}"), arrays[0], arrays[1]];
    check_refused(&dir, &settings, 2, &[&table, "line 3: found 2 fields, expected 3"]);
}

#[test]
fn a_second_process_is_turned_away_with_the_pid_of_the_first() {
    let dir = WorkDir::new(&["--epochs", "200"]);
    let mut first = dir.start_until_step(1, &[]);
    let pid = first.id().to_string();
    let second = dir.run(&[]).check_code(3).check_says(&[
        "is held by process",
        &pid,
        " on ",
        " since 20",
        "another work directory",
    ]);
    assert_eq!(second.stdout, "");
    first.kill().unwrap();
    assert_eq!(Ended::of_child(first).killed_by, Some(9));
    dir.finish(&["--max-steps", "1"]);
}

#[test]
fn a_work_directory_that_can_not_be_made_is_a_storage_failure() {
    let dir = WorkDir::new(&[]);
    let file = dir.write("file", "");
    for path in [file.clone(), format!("{file}/exp"), "/proc/exp".to_owned()] {
        let ended = Ended::of(&mut trainer(["run", "--work-dir", &path])).check_code(74);
        ended.check_says(&["error: could not create the directory"]);
    }
}

#[test]
fn changed_settings_are_refused_and_listed_unless_they_are_allowed() {
    let dir = good();
    dir.finish(&[]);
    let change = ["optimizer.lr=0.5", "train.epochs=2"];
    let words = ["optimizer.lr: 0.001 -> 0.5", "--allow-changed settings", "use another --work-dir"];
    dir.run(&change).check_code(4).check_says(&words);
    assert_eq!(dir.epochs().len(), 1);
    let ended = dir.finish(&[change[0], change[1], "--allow-changed", "settings"]);
    ended.check_says(&[
        "changed setting: optimizer.lr: 0.001 -> 0.5",
        "changed setting: train.epochs: 1 -> 2",
    ]);
    let plans = dir.events().into_iter().filter(|event| matches!(event, Event::PlanChanged(_)));
    assert_eq!((plans.count(), dir.epochs().len()), (1, 2));
    assert!(dir.read("trainer.toml").contains("\nlr = 0.5\n"));
}

#[test]
fn changed_data_are_refused_with_both_fingerprints_unless_they_are_allowed() {
    let dir = good();
    dir.finish(&[]);
    let (x, y) = (npy_f32(&[4, 2], &[2.0; 8]), npy_i64(&[0, 1, 0, 1]));
    let data = dir.write("data.npz", npz(&[("images", x), ("labels", y)]));
    let longer = ["train.epochs=2"];
    let refused = dir.run(&longer).check_code(4).check_says(&[&data, "--allow-changed data"]);
    let line = refused.stderr.lines().find(|line| line.contains(&data)).unwrap();
    assert_eq!(line.matches(" bytes").count(), 2, "{line}");
    let ended = dir.finish(&[longer[0], "--allow-changed", "data"]);
    ended.check_says(&["accepted change: ", &data]);
    // What was accepted is what the run has from then on.
    dir.finish(&["train.epochs=3"]);
    assert_eq!(dir.epochs().len(), 3);
}

#[test]
fn a_changed_model_is_refused_unless_it_is_allowed() {
    let dir = good();
    dir.finish(&[]);
    dir.write("linear.onnx", linear(2, &[1.0, 0.0]));
    let longer = ["train.epochs=2"];
    dir.run(&longer).check_code(4).check_says(&["the model: CRC32 was ", "--allow-changed model"]);
    dir.finish(&[longer[0], "--allow-changed", "model"]);
    dir.finish(&["train.epochs=3"]);
    assert_eq!(dir.epochs().len(), 3);
}

#[test]
fn cuda_that_does_not_start_is_explained() {
    let mut command = trainer(["run", "--device", "cuda", "--work-dir"]);
    let dir = WorkDir::new(&[]);
    let ended = Ended::of(command.arg(dir.path()).env("CUDA_VISIBLE_DEVICES", "").arg("--offline"));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("CUDA"), "{}", ended.stderr);
}

#[test]
fn a_file_that_is_no_library_is_refused_as_such() {
    let dir = WorkDir::new(&[]);
    let text = dir.write("notes.txt", "not a library");
    let ended =
        dir.run(&["--ort-lib", &text]).check_code(1).check_says(&[&text, "it is not a shared library"]);
    assert_eq!(ended.stderr.matches("not a shared library").count(), 1, "{}", ended.stderr);
}

/// A process that has neither a library nor the permission to fetch one.
#[track_caller]
fn check_without_library(args: &[&str]) -> Ended {
    let dir = WorkDir::new(&[]);
    let mut command = trainer(args);
    command.env("XDG_CACHE_HOME", dir.make_folder("cache")).env("HOME", dir.make_folder("home"));
    command.env_remove("ORT_DYLIB_PATH").env_remove("LD_LIBRARY_PATH").current_dir(dir.make_folder("here"));
    Ended::of(command.arg("--offline"))
}

#[test]
fn without_a_library_and_offline_the_ways_to_one_are_named() {
    let ended = check_without_library(&["run", "--work-dir", "exp"]);
    if ended.code == Some(0) {
        // The system has the library in its own path, where it is meant to be found.
        return;
    }
    ended.check_code(1).check_says(&["no ONNX Runtime library", "--offline", "--ort-lib", "trainer setup"]);
    check_without_library(&["setup"]).check_code(1).check_says(&["no ONNX Runtime library"]);
    let doctor = check_without_library(&["doctor"]).check_code(1);
    assert!(doctor.stdout.contains("library      none"), "{}", doctor.stdout);
}

#[test]
fn doctor_and_setup_say_what_a_run_would_use() {
    let doctor = Ended::of(&mut trainer(["doctor"])).check_code(0);
    for word in
        ["library      ONNX Runtime 1.", "cpu          starts", "cuda ", "memory", "disk", "sync", "verdict"]
    {
        assert!(doctor.stdout.contains(word), "{word}: {}", doctor.stdout);
    }
    let json = Ended::of(&mut trainer(["doctor", "--json"])).check_code(0);
    assert!(serde_json::from_str::<serde_json::Value>(&json.stdout).unwrap().is_object());
    let setup = Ended::of(&mut trainer(["setup"])).check_code(0);
    assert!(setup.stdout.contains("loads and computes on the CPU"), "{}", setup.stdout);
}

#[test]
fn printed_settings_are_settings_again() {
    let dir = WorkDir::new(&[]);
    let settings = |printed: &str| {
        let lines = printed.lines().filter(|line| !line.starts_with("# Given by"));
        lines.map(str::to_owned).collect::<Vec<String>>()
    };
    let printed = Ended::of(&mut trainer(["config", "--epochs", "7"])).check_code(0);
    let file = dir.write("printed.toml", &printed.stdout);
    let again = Ended::of(&mut trainer(["config", "--config", &file])).check_code(0);
    assert_eq!(settings(&again.stdout), settings(&printed.stdout));
    assert!(printed.stdout.contains("\nepochs = 7\n"));
    let json = Ended::of(&mut trainer(["config", "--json"])).check_code(0);
    assert!(serde_json::from_str::<serde_json::Value>(&json.stdout).unwrap().is_object());
}

#[test]
fn a_closed_stdout_or_stderr_does_not_stop_a_run() {
    let dir = WorkDir::new(&["model.builtin=mlp", "--epochs", "2"]);
    let mut child = dir.command(&[]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop((child.stdout.take(), child.stderr.take()));
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(dir.epochs().len(), 2);
    let mut child = dir.command(&["--seed", "3"]).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stderr.take());
    assert_eq!(child.wait().unwrap().code(), Some(4), "an error that nobody reads keeps its code");
}

#[test]
fn a_pattern_of_frozen_names_that_matches_nothing_is_refused() {
    let dir = WorkDir::new(&["model.freeze=[\"blok1*\"]"]);
    dir.run(&[]).check_code(2).check_says(&["`model.freeze` has `blok1*`", "`block1.conv.weight`"]);
}

#[test]
fn targets_of_binary_cross_entropy_beyond_0_and_1_are_refused() {
    let dir = WorkDir::new(&["model.builtin=mlp", "loss.kind=bce_with_logits"]);
    let arrays = [("x", npy_f32(&[3, 2], &[0.; 6])), ("y", npy_f32(&[3, 1], &[0., 1., 2.]))];
    let data = dir.write("data.npz", npz(&arrays));
    let maps = ["data.inputs.x={array=\"x\"}", "data.targets.y={array=\"y\"}"];
    let words = ["row 2", "found 2", "from 0 to 1"];
    dir.run(&[&format!("data.train={data}"), maps[0], maps[1]]).check_code(2).check_says(&words);
}

#[test]
fn times_beyond_all_clocks_are_as_good_as_no_limit() {
    let dir = WorkDir::new(&["model.builtin=mlp", "train.epochs=1", "--max-time", "1e300"]);
    dir.finish(&["checkpoint.durability=interval", "checkpoint.interval_s=1e300"]);
}
