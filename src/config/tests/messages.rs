//! What a person reads after a mistake.

use super::*;

/// The complete message for a file `my.toml` with this text.
#[track_caller]
fn check_file_message(text: &str, expected: &str) {
    let error = from_toml(text, Path::new("my.toml")).expect_err("a mistake");
    assert_eq!(error.to_string(), expected);
}

/// The complete message for these `--set`.
#[track_caller]
fn check_set_message(sets: &[&str], expected: &str) {
    assert_eq!(load_sets(sets).expect_err("a mistake").to_string(), expected);
}

/// The message for a `--config` that leads here, with the folder written as DIR.
#[track_caller]
fn message_of_path(folder: &Path, name: &str) -> String {
    let file = Some(folder.join(name));
    let error = load(&Sources { file, ..Sources::default() }).expect_err("a mistake");
    error.to_string().replace(folder.to_str().expect("text"), "DIR")
}

#[test]
fn a_misspelled_key_is_answered_with_the_nearest_one() {
    check_file_message(
        "seed = 1\n[train]\nepoch = 3\n",
        "my.toml:3: unknown key `train.epoch`; did you mean `train.epochs`?",
    );
    check_file_message("[trian]\nepochs = 3\n", "my.toml:1: unknown key `trian`; did you mean `train`?");
    check_file_message(
        "[data.inputs.\"input.1\"]\nscal = 2\n",
        "my.toml:2: unknown key `data.inputs.\"input.1\".scal`; did you mean `data.inputs.\"input.1\".scale`?",
    );
}

#[test]
fn a_right_key_in_the_wrong_table_or_from_another_program_is_answered_with_its_place() {
    check_file_message("epochs = 3\n", "my.toml:1: unknown key `epochs`; did you mean `train.epochs`?");
    check_file_message(
        "[optimizer]\nlearning_rate = 0.1\n",
        "my.toml:2: unknown key `optimizer.learning_rate`; did you mean `optimizer.lr`?",
    );
}

#[test]
fn an_unknown_key_that_resembles_none_is_answered_with_where_all_are_listed() {
    check_set_message(
        &["frobnicate=3"],
        "--set frobnicate=3: unknown key `frobnicate`; remove it; `trainer config` lists every key",
    );
}

#[test]
fn a_value_of_the_wrong_type_is_shown_with_what_is_expected_and_an_example() {
    check_file_message(
        "[train]\nepochs = \"thirty\"\n",
        "my.toml:2: `train.epochs` is \"thirty\" (a string), expected an integer of at least 1; write, for \
         example, `epochs = 30`",
    );
    check_file_message(
        "train = 5\n",
        "my.toml:1: `train` is 5 (an integer), expected a table of settings; give its settings one by one; \
         `trainer config` lists them",
    );
    check_set_message(
        &["optimizer.lr=fast"],
        "--set optimizer.lr=fast: `optimizer.lr` is \"fast\" (a string), expected a finite number above 0; \
         write, for example, --set 'optimizer.lr=0.001'",
    );
    check_file_message(
        "seed = 1979-05-27\n",
        "my.toml:1: `seed` is 1979-05-27 (a date or time), expected an integer of at least 0; write, for example, \
         `seed = 0`",
    );
}

#[test]
fn a_value_out_of_range_is_shown_with_the_range() {
    check_file_message(
        "[checkpoint]\nkeep_last = 1\n",
        "my.toml:2: `checkpoint.keep_last` is 1 (an integer), expected an integer of at least 2; write, for \
         example, `keep_last = 3`",
    );
    check_set_message(
        &["optimizer.betas=[0.9, 1.0]"],
        "--set optimizer.betas=[0.9, 1.0]: `optimizer.betas` is [0.9, 1.0] (an array), expected an array of two \
         finite numbers in [0, 1); write, for example, --set 'optimizer.betas=[0.9, 0.999]'",
    );
    check_set_message(
        &["train.epochs=99999999999999999999"],
        "--set train.epochs=99999999999999999999: `train.epochs` is 99999999999999999999 (an integer), expected \
         an integer from 1 to 18446744073709551615; write, for example, --set 'train.epochs=30'",
    );
    check_set_message(
        &["train.clip_norm=nan"],
        "--set train.clip_norm=nan: `train.clip_norm` is nan (a float), expected a finite number above 0, or \
         \"none\"; write, for example, --set 'train.clip_norm=1.0'",
    );
}

#[test]
fn a_misspelled_choice_is_answered_with_the_nearest_one() {
    check_file_message(
        "[optimizer]\nkind = \"sdg\"\n",
        "my.toml:2: `optimizer.kind` is \"sdg\" (a string), expected one of \"sgd\", \"adam\", \"adamw\", \"rmsprop\", \
         \"adagrad\", \"adadelta\", \"nadam\", \"radam\", \"lion\", \"lamb\", \"adafactor\", \"muon\"; did you mean \"sgd\"?",
    );
}

#[test]
fn a_setting_of_another_kind_is_refused_with_the_kinds_that_take_it() {
    check_file_message(
        "[optimizer]\ndampening = 0.9\n",
        "my.toml:2: `optimizer.dampening` does not apply: it goes with optimizer.kind = \"sgd\", but \
         optimizer.kind is \"adamw\" (default); remove it or choose another `optimizer.kind`",
    );
    check_set_message(
        &["schedule.kind=one_cycle", "schedule.warmup_steps=5"],
        "--set schedule.warmup_steps=5: `schedule.warmup_steps` does not apply: it goes with any schedule.kind but \
         \"one_cycle\", but schedule.kind is \"one_cycle\" (--set schedule.kind=one_cycle); remove it or choose \
         another `schedule.kind`",
    );
    check_file_message(
        "[train.early_stopping]\nmin_delta = 0.1\n",
        "my.toml:2: `train.early_stopping.min_delta` does not apply: it goes with train.early_stopping.patience, \
         but train.early_stopping.patience is not set (default); remove it or choose another \
         `train.early_stopping.patience`",
    );
}

#[test]
fn a_group_that_names_no_parameters_is_refused() {
    check_file_message(
        "[optimizer.groups.slow]\nlr = 0.1\n",
        "`optimizer.groups.slow.parameters` is missing: the group names no parameters; add `parameters = \
         [\"backbone.*\"]`, with patterns of names",
    );
}

#[test]
fn a_further_loss_refuses_what_it_does_not_take() {
    check_file_message(
        &format!("{USER}\n[loss.auxiliary.a]\nkind = \"mse\"\ntemperature = 0.1\n"),
        "my.toml:9: `loss.auxiliary.a.temperature` is 0.1, expected nothing, because mse does not take it; remove it",
    );
    check_file_message(
        &format!("{USER}\n[loss]\nreduction = \"sum\"\n[loss.auxiliary.a]\nkind = \"mse\"\n"),
        "my.toml:8: `loss.reduction` is \"sum\", expected \"mean\" or \"batchmean\", because there are several losses; \
         choose one, and set `weight` to the factor wanted",
    );
}

#[test]
fn tokens_and_images_say_what_does_not_fit_them() {
    let user = "model.onnx = \"/m\"\ndata.targets.y = {}\n";
    check_file_message(
        &format!(
            "{user}data.inputs.x = {{ file = \"/x.npy\" }}\ndata.tokens = {{ train = \"/t\", window = 8 }}\n"
        ),
        "my.toml:3: `data.inputs.x.file` is \"/x.npy\", expected nothing, because the data are tokens or images and no arrays \
         in files; remove it",
    );
    let images = "data.images = { train = \"/t\", height = 8, width = 9, resize = 8, channels = 2 }\n";
    check_file_message(
        &format!("{user}data.inputs.x = {{}}\n{images}"),
        "2 settings are wrong:\n  \
         my.toml:4: `data.images.resize` is 8, expected at least 9, so that an example can be cut out; make it larger, or the \
         example smaller\n  \
         my.toml:4: `data.images.channels` is 2, expected 1 or 3; set 1 for grey or 3 for red, green and blue",
    );
    check_file_message(
        &format!("{user}data.inputs.x = {{}}\ndata.tokens.train = \"/t\"\n"),
        "`data.tokens.window` is missing: data.tokens.train = \"/t\" needs it; add `window = 256` to [data.tokens]",
    );
}

#[test]
fn two_settings_that_exclude_each_other_are_both_located() {
    check_file_message(
        "[model]\nonnx = \"m.onnx\"\nbuiltin = \"mlp\"\n[data]\nbuiltin = \"digits\"\ninputs.x.array = \"images\"\n",
        "my.toml:3: `model.builtin` and `model.onnx` (my.toml:2) exclude each other; remove one of them",
    );
    check_file_message(
        &format!("{USER}\ndata.validation = \"v.npz\"\ndata.validation_fraction = 0.1\n"),
        "my.toml:8: `data.validation_fraction` and `data.validation` (my.toml:7) exclude each other; remove one of \
         them",
    );
    check_file_message(
        &format!("{USER}\ndata.inputs.z = {{ array = \"a\", columns = [\"b\"] }}\n"),
        "my.toml:7: `data.inputs.z.columns` and `data.inputs.z.array` (my.toml:7) exclude each other; remove one of \
         them",
    );
}

#[test]
fn settings_that_do_not_fit_each_other_are_refused() {
    check_set_message(
        &["train.batch_size=8", "train.micro_batch=9"],
        "--set train.micro_batch=9: `train.micro_batch` is 9, expected at most train.batch_size, which is 8; make \
         it smaller, or the batch larger",
    );
    check_set_message(
        &["optimizer.kind=sgd", "optimizer.nesterov=true"],
        "--set optimizer.nesterov=true: `optimizer.nesterov` is true, expected false, because Nesterov's form \
         needs momentum above 0 and dampening 0, and they are 0 and 0; set optimizer.momentum = 0.9 and leave out \
         optimizer.dampening",
    );
    check_set_message(
        &["train.early_stopping.patience=3", "train.early_stopping.monitor=val_mae"],
        "--set train.early_stopping.monitor=val_mae: `train.early_stopping.monitor` is \"val_mae\", expected a \
         value that this run measures: \"train_loss\", \"val_loss\", \"val_accuracy\"; add the metric to `metrics`",
    );
    check_set_message(
        &["loss.kind=output", "metrics=[\"mae\"]"],
        "--set metrics=[\"mae\"]: `metrics` is [\"mae\"], expected [] with loss.kind = \"output\", which has no \
         target; remove it",
    );
    check_set_message(
        &["data.validation_fraction=0.1"],
        "--set data.validation_fraction=0.1: `data.validation_fraction` is 0.1, expected nothing, because the \
         digits have a fixed validation part; remove it, or name files of your own in data.train",
    );
    check_set_message(
        &["schedule.kind=multistep", "schedule.milestones=[3, 3]"],
        "--set schedule.milestones=[3, 3]: `schedule.milestones` is [3, 3] (an array), expected an array of \
         ascending integers of at least 1; write, for example, --set 'schedule.milestones=[10, 20]'",
    );
    check_set_message(
        &["loss.target=digit"],
        "--set loss.target=digit: `loss.target` is \"digit\", expected a target of [data]: \"labels\"; correct the \
         name, or add the target to data.targets",
    );
}

#[test]
fn what_must_be_given_is_named_with_the_reason_and_the_line_to_add() {
    check_set_message(
        &["schedule.kind=exponential"],
        "`schedule.gamma` is missing: schedule.kind = \"exponential\" needs it; add `gamma = 0.95` to [schedule]",
    );
    check_file_message(
        "[model]\nonnx = \"m.onnx\"\n",
        "`data.train` is missing: a model is named, but no data to train it on; add `train = \"train.npz\"` to \
         [data]",
    );
    check_file_message(
        &USER.replace("model.onnx", "#"),
        "`model.onnx` is missing: data are named, but no model to train on them; add `onnx = \"model.onnx\"` or \
         `builtin = \"mlp\"` to [model]",
    );
    check_file_message(
        &USER.replace("data.targets", "data.inputs"),
        "`data.targets` is missing: the loss compares with a target; add `targets.y = { array = \"y\" }` to \
         [data], with the name of the array",
    );
    check_file_message(
        "[model]\nonnx = \"m.onnx\"\n[data]\ntokens.train = \"t.bin\"\ntokens.window = 8\ninputs.ids = { array = \"tokens\" }\n",
        "`data.targets` is missing: the loss compares with a target; add `targets.y = { array = \"next\" }` to \
         [data], with the name of the array",
    );
    check_file_message(
        &format!("{USER}\ndata.targets.z = {{}}\n"),
        "`loss.target` is missing: there are 2 targets: \"y\", \"z\"; add `target` with one of them to [loss]",
    );
}

#[test]
fn files_of_single_arrays_must_be_complete() {
    let with = |inputs: &str, targets: &str| {
        format!("[model]\nonnx = \"m\"\n[data.inputs.x]\n{inputs}\n[data.targets.y]\n{targets}\n")
    };
    check_file_message(
        &with("file = \"x.npy\"", ""),
        "`data.targets.y.file` is missing: there is no data.train that could hold this array; add `file` here, or \
         data.train",
    );
    check_file_message(
        &with("file = \"x.npy\"\nvalidation_file = \"xv.npy\"", "file = \"y.npy\""),
        "`data.targets.y.validation_file` is missing: other arrays have validation examples, and `data.targets.y` \
         has none; name the file, or remove the others",
    );
}

#[test]
fn the_digits_have_two_arrays_and_no_files() {
    check_set_message(
        &["data.inputs.x.array=pixels"],
        "--set data.inputs.x.array=pixels: `data.inputs.x.array` is \"pixels\", expected \"images\" or \"labels\", \
         the arrays of the digits; name one of them, or name data.train",
    );
    check_set_message(
        &["data.inputs.x={}"],
        "`data.inputs.x.array` is missing: the digits have two arrays, \"images\" and \"labels\"; add `array` with \
         one of them",
    );
    check_set_message(
        &["data.inputs.x.columns=[\"a\"]"],
        "--set data.inputs.x.columns=[\"a\"]: `data.inputs.x.columns` is [\"a\"], expected nothing, because the \
         digits are no .csv file; give `array` instead, or name a .csv file in data.train",
    );
    check_file_message(
        "[model]\nbuiltin = \"cnn\"\n[data]\nbuiltin = \"digits\"\ninputs.x = { array = \"images\", file = \"x\" }\n",
        "my.toml:5: `data.inputs.x.file` and `data.builtin` (my.toml:4) exclude each other; remove one of them",
    );
}

#[test]
fn numbers_that_would_become_0_or_infinite_are_refused() {
    check_set_message(
        &["train.clip_norm=inf"],
        "--set train.clip_norm=inf: `train.clip_norm` is inf (a float), expected a finite number above 0, or \
         \"none\"; write, for example, --set 'train.clip_norm=1.0'",
    );
    check_set_message(
        &["data.inputs.images={array=\"images\",scale=1e39}"],
        "--set data.inputs.images={array=\"images\",scale=1e39}: `data.inputs.images.scale` is 1e39 (a float), \
         expected a finite number of single precision; write, for example, --set 'data.inputs.images.scale=1.0'",
    );
    check_set_message(
        &["data.inputs.images={array=\"images\",std=1e-50}"],
        "--set data.inputs.images={array=\"images\",std=1e-50}: `data.inputs.images.std` is 1e-50 (a float), \
         expected a finite number of single precision above 0, or an array of those; write, for example, --set \
         'data.inputs.images.std=[]'",
    );
    check_set_message(
        &["loss.class_weights=[0, 0.0]"],
        "--set loss.class_weights=[0, 0.0]: `loss.class_weights` is all 0, expected a weight above 0 for at least \
         one class; raise one, or remove the key",
    );
}

#[test]
fn all_mistakes_of_one_file_are_reported_in_the_order_of_its_lines() {
    check_file_message(
        "[train]\nepoch = 3\nbatch_size = 0\nmicro_batch = 128\n\n[loss]\nkind = \"mse\"\nlabel_smoothing = 0.1\n\
         [checkpoint]\nkeep_last = 1\n",
        "4 settings are wrong:\n\
         \x20 my.toml:2: unknown key `train.epoch`; did you mean `train.epochs`?\n\
         \x20 my.toml:3: `train.batch_size` is 0 (an integer), expected an integer of at least 1; write, for \
         example, `batch_size = 64`\n\
         \x20 my.toml:8: `loss.label_smoothing` does not apply: it goes with loss.kind = \"cross_entropy\", but \
         loss.kind is \"mse\" (my.toml:7); remove it or choose another `loss.kind`\n\
         \x20 my.toml:10: `checkpoint.keep_last` is 1 (an integer), expected an integer of at least 2; write, for \
         example, `keep_last = 3`",
    );
}

#[test]
fn one_mistake_is_reported_once() {
    // What depends on the wrong value is neither missing nor out of place.
    check_set_message(
        &["schedule.kind=stepp", "schedule.gamma=0.5", "schedule.step_size=3"],
        "--set schedule.kind=stepp: `schedule.kind` is \"stepp\" (a string), expected one of \"constant\", \
         \"step\", \"multistep\", \"exponential\", \"cosine\", \"one_cycle\", \"polynomial\", \
         \"reduce_on_plateau\"; did you mean \"step\"?",
    );
    check_set_message(
        &["loss.kind=msee", "train.early_stopping.patience=3", "train.early_stopping.monitor=val_mae"],
        "--set loss.kind=msee: `loss.kind` is \"msee\" (a string), expected one of \"cross_entropy\", \"nll\", \
         \"mse\", \"l1\", \"huber\", \"smooth_l1\", \"bce\", \"bce_with_logits\", \"kl_div\", \"cosine\", \"contrastive\", \
         \"output\"; did you mean \"mse\"?",
    );
    check_set_message(
        &["schedule.kind=step", "schedule.step_sise=3"],
        "--set schedule.step_sise=3: unknown key `schedule.step_sise`; did you mean `schedule.step_size`?",
    );
}

#[test]
fn a_set_without_key_or_value_is_answered_with_its_form() {
    let form = "write --set key.path=value, for example --set train.epochs=40";
    check_set_message(&["seed"], &format!("--set seed: there is no `=` in it; {form}"));
    check_set_message(&["=3"], &format!("--set =3: there is no key before `=`; {form}"));
    check_set_message(&["seed="], &format!("--set seed=: there is no value after `=`; {form}"));
    check_set_message(&["a b=3"], &format!("--set a b=3: `a b` is not a key; {form}"));
    check_set_message(&["a#b=3"], &format!("--set a#b=3: `a#b` is not a key; {form}"));
    check_set_message(
        &["metrics=[\"mae\""],
        &format!("--set metrics=[\"mae\": the value is not TOML: unclosed array, expected `]`; {form}"),
    );
}

#[test]
fn a_fraction_is_not_taken_from_arrays_with_validation_files_of_their_own() {
    check_file_message(
        "model.onnx = \"m\"\ndata.validation_fraction = 0.1\n[data.inputs.x]\nfile = \"x\"\nvalidation_file = \"v\"\n\
         [data.targets.y]\nfile = \"y\"\nvalidation_file = \"w\"\n",
        "my.toml:2: `data.validation_fraction` is 0.1, expected nothing, because arrays have a validation_file of \
         their own; remove one of them",
    );
}

#[test]
fn text_that_is_not_toml_is_located() {
    check_file_message(
        "[train]\nepochs 30\n",
        "my.toml:2:8: this is not TOML: key with no value, expected `=`; correct the line",
    );
    check_file_message(
        "seed = 1\nseed = 2\n",
        "my.toml:2:1: this is not TOML: duplicate key; correct the line",
    );
}

#[test]
fn a_file_that_can_not_be_read_is_named_with_the_reason() {
    let folder = tempfile::tempdir().expect("folder");
    let at = folder.path();
    assert_eq!(
        message_of_path(at, "missing.toml"),
        "can not read the settings file DIR/missing.toml: No such file or directory (os error 2); check the path \
         and the permissions"
    );
    std::fs::create_dir(at.join("exp")).expect("made");
    assert_eq!(
        message_of_path(at, "exp"),
        "the settings file DIR/exp is a directory, not a file; name the .toml file itself"
    );
    std::fs::write(at.join("latin.toml"), b"seed = 1\ndevice = \"gr\xfcn\"\n").expect("written");
    assert_eq!(
        message_of_path(at, "latin.toml"),
        "the settings file DIR/latin.toml, line 2: byte 21 of the file is 0xfc, which is not UTF-8; save the file \
         as UTF-8"
    );
    std::fs::write(at.join("huge.toml"), vec![b'\n'; 256 * 1024 + 1]).expect("written");
    assert_eq!(
        message_of_path(at, "huge.toml"),
        "the settings file DIR/huge.toml has more than 262144 bytes; settings are far smaller, so check that it is \
         the right file"
    );
}

#[test]
fn a_file_full_of_unknown_keys_is_refused_quickly_with_the_first_ones_and_a_count() {
    let text: String = (0..20_000).map(|number| format!("unknown{number} = 1\n")).collect();
    let error = from_toml(&text, Path::new("my.toml")).expect_err("unknown keys").to_string();
    assert_eq!(error.lines().count(), 52, "{error}");
    assert!(error.contains("my.toml: 19950 more unknown keys; `trainer config` lists every key"), "{error}");
}

#[test]
fn deeply_nested_text_is_refused() {
    let text = format!("seed = {}1{}", "[".repeat(50_000), "]".repeat(50_000));
    let error = from_toml(&text, Path::new("my.toml")).expect_err("too deep").to_string();
    assert!(error.starts_with("my.toml:1:"), "{error}");
}

#[test]
fn no_mistake_makes_an_error_without_a_problem() {
    for text in ["", "seed = -1", "[a]\n[b]\nc.d = 1", "data.inputs = {}", "data.inputs.x = 1"] {
        if let Err(ConfigError::Invalid { problems }) = from_toml(text, Path::new("my.toml")) {
            assert!(!problems.is_empty(), "{text}");
            assert!(
                problems.iter().all(|problem| !matches!(problem, Problem::MoreUnknownKeys { .. })),
                "{text}"
            );
        }
    }
}
