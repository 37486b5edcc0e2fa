//! Which source wins, and what becomes of the settings that lose.

use std::fs;

use super::super::{DataSource, Device, ModelSource, Origin, Value};
use super::*;

/// Loads a settings file of a work directory, a file of `--config`, some `--set` and a learning rate as a flag.
fn load_layers(
    work_dir: &str,
    file: &str,
    sets: &[&str],
    lr: Option<f64>,
) -> (tempfile::TempDir, Result<Loaded, ConfigError>) {
    let folder = tempfile::tempdir().expect("folder");
    let written = |name: &str, text: &str| {
        (!text.is_empty()).then(|| {
            let path = folder.path().join(name);
            fs::write(&path, text).expect("written");
            path
        })
    };
    let sources = Sources {
        work_dir_file: written("trainer.toml", work_dir),
        file: written("my.toml", file),
        sets: sets.iter().map(|&set| set.to_owned()).collect(),
        flags: lr
            .map(|lr| FlagValue { flag: "--lr", key: "optimizer.lr", value: Value::Float(lr) })
            .into_iter()
            .collect(),
        without_data: false,
        cores: Some(2),
    };
    let loaded = load(&sources);
    (folder, loaded)
}

#[track_caller]
fn check_lr(work_dir: &str, file: &str, sets: &[&str], flag: Option<f64>, expected: f64, origin: &str) {
    let (folder, loaded) = load_layers(work_dir, file, sets, flag);
    let loaded = loaded.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(loaded.plan.optimizer.lr, expected);
    let found = loaded.origin("optimizer.lr").to_string();
    assert_eq!(found.replace(folder.path().to_str().expect("text"), "DIR"), origin);
}

#[test]
fn a_later_source_wins_and_is_known() {
    let (work_dir, file) = ("optimizer.lr = 0.1", "\noptimizer.lr = 0.2");
    check_lr("", "", &[], None, 0.003, "default");
    check_lr(work_dir, "", &[], None, 0.1, "DIR/trainer.toml:1");
    check_lr(work_dir, file, &[], None, 0.2, "DIR/my.toml:2");
    check_lr(work_dir, file, &["optimizer.lr=0.3"], None, 0.3, "--set optimizer.lr=0.3");
    check_lr(work_dir, file, &["optimizer.lr=0.3"], Some(0.4), 0.4, "--lr");
}

#[test]
fn of_two_sets_of_one_key_the_last_one_holds() {
    assert_eq!(plan_of_sets(&["seed=1", "seed=2"]).seed, 2);
}

#[test]
fn a_wrong_value_is_reported_even_if_a_later_source_replaces_it() {
    let (_folder, loaded) = load_layers("", "optimizer.lr = -1", &[], Some(0.1));
    assert!(
        loaded.expect_err("a mistake").to_string().contains("my.toml:1: `optimizer.lr` is -1 (an integer)")
    );
}

#[test]
fn a_choice_of_a_later_source_sets_settings_of_the_other_choice_aside_with_a_notice() {
    let (_folder, loaded) =
        load_layers("[optimizer]\nkind = \"adam\"\neps = 1e-6\nlr = 0.5", "", &["optimizer.kind=sgd"], None);
    let loaded = loaded.expect("valid settings");
    assert_eq!(loaded.plan.optimizer.lr, 0.5);
    let notices: Vec<String> = loaded.notices.iter().map(ToString::to_string).collect();
    let [notice] = notices.as_slice() else { panic!("{notices:?}") };
    let expected = "trainer.toml:3: `optimizer.eps` is not used, because `optimizer.kind` (--set optimizer.kind=sgd) comes later";
    assert!(notice.ends_with(expected), "{notice}");
}

#[test]
fn an_exclusive_setting_of_a_later_source_replaces_the_other() {
    let (folder, loaded) = load_layers(
        "model.builtin = \"mlp\"\ndata.builtin = \"digits\"",
        &USER.replace("/d/", ""),
        &["data.validation_fraction=0.2"],
        None,
    );
    let loaded = loaded.expect("valid settings");
    assert_eq!(loaded.plan.model.source, ModelSource::Onnx(folder.path().join("m.onnx")));
    assert_eq!(loaded.plan.data.validation_fraction, Some(0.2));
    assert_eq!(loaded.notices.len(), 2, "{:?}", loaded.notices);
}

#[test]
fn settings_of_a_replaced_model_go_with_it() {
    let (_folder, loaded) = load_layers(
        &format!("{USER}\nmodel.dimensions.n = 3"),
        "",
        &["model.builtin=mlp", "data.validation_fraction=0.5"],
        None,
    );
    let loaded = loaded.expect("valid settings");
    assert!(loaded.plan.model.dimensions.is_empty());
    let keys: Vec<&str> = loaded.notices.iter().map(|notice| notice.key.as_str()).collect();
    assert_eq!(keys, ["model.onnx", "model.dimensions.n"]);
}

#[test]
fn a_file_that_names_inputs_names_them_all_and_a_set_adds_to_them() {
    let (_folder, loaded) = load_layers(
        &format!("{USER}\ndata.inputs.old.scale = 2.0"),
        "data.inputs.new.scale = 3.0",
        &["data.inputs.new.mean=0.5", "data.inputs.more.array=b"],
        None,
    );
    let plan = loaded.expect("valid settings").plan;
    let names: Vec<&String> = plan.data.inputs.keys().collect();
    assert_eq!(names, ["more", "new"]);
    assert_eq!((plan.data.inputs["new"].scale, plan.data.inputs["new"].mean.as_slice()), (3.0, &[0.5][..]));
    assert_eq!(plan.data.targets.len(), 1);
}

#[test]
fn paths_of_a_file_start_at_its_folder_and_paths_of_a_set_at_the_current_one() {
    let sets = ["data.validation=v.npz"];
    let (folder, loaded) = load_layers("", &USER.replace("/d/", "data/../"), &sets, None);
    let plan = loaded.expect("valid settings").plan;
    let current = std::env::current_dir().expect("current folder");
    assert_eq!(
        plan.data.source,
        DataSource::Files {
            train: Some(folder.path().join("data/../t.npz")),
            validation: Some(current.join("v.npz"))
        }
    );
}

#[test]
fn a_set_takes_toml_and_bare_words() {
    let sets =
        ["device=cuda:1", "metrics=[\"top3\"]", "optimizer.lr=1e-2", "train.clip_norm = 1", "spin=false"];
    let plan = plan_of_sets(&sets);
    assert_eq!((plan.device, plan.spin), (Device::Cuda(1), false));
    assert_eq!((plan.optimizer.lr, plan.train.clip_norm), (0.01, Some(1.0)));
    assert_eq!(plan.metrics.first().map(ToString::to_string).as_deref(), Some("top3"));
}

#[test]
fn a_set_of_a_text_keeps_what_looks_like_a_number() {
    let plan = plan_of_sets(&["loss.output=1.50", "loss.target='labels'"]);
    assert_eq!(plan.loss.output.as_deref(), Some("1.50"));
    assert_eq!(plan.loss.target.as_deref(), Some("labels"));
}

#[test]
fn a_set_takes_names_with_dots_and_equal_signs_in_quotes_and_whole_tables() {
    let sets = ["data.inputs.\"a.b=c\".array=images", "data.targets.t={array=\"labels\", scale=2}"];
    let plan = plan_of_sets(&sets);
    assert_eq!(plan.data.inputs["a.b=c"].array.as_deref(), Some("images"));
    assert_eq!(plan.data.targets["t"].scale, 2.0);
}

#[test]
fn none_unsets_a_number_of_an_earlier_source() {
    let (_folder, loaded) = load_layers("train.clip_norm = 1.0", "", &["train.clip_norm=none"], None);
    let loaded = loaded.expect("valid settings");
    assert_eq!(loaded.plan.train.clip_norm, None);
    assert_eq!(loaded.origin("train.clip_norm"), Origin::Set("train.clip_norm=none".to_owned()));
}

#[cfg(unix)]
#[test]
fn a_path_that_could_not_be_written_into_the_settings_is_refused() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    let folder = tempfile::tempdir().expect("folder");
    let odd = folder.path().join(OsStr::from_bytes(b"caf\xe9"));
    fs::create_dir(&odd).expect("made");
    let file = odd.join("my.toml");
    fs::write(&file, USER.replace("/d/t.npz", "t.npz")).expect("written");
    let error = load(&Sources { file: Some(file), ..Sources::default() }).expect_err("not UTF-8").to_string();
    assert!(error.contains("my.toml:3: `data.train` leads to"), "{error}");
    assert!(
        error.ends_with("could not be written into the settings of the run; rename the folder"),
        "{error}"
    );
}
