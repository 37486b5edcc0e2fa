//! From plan to text and back, and what two plans differ in.

use super::super::check::admit;
use super::super::effective::effective;
use super::super::key::FloatRange;
use super::super::table::NAME;
use super::super::{
    Class, Difference, Key, KeyPath, Origin, Takes, Value, differences, fingerprint, keys, to_toml,
};
use super::*;

/// Plans of every kind there is, and with every setting that may be left out given.
fn plans() -> Vec<Plan> {
    let mut plans = vec![
        plan_of_sets(&[]),
        plan_of_sets(&[
            "seed=18446744073709551615",
            "device=cuda:3",
            "threads=1",
            "spin=false",
            "metrics=[]",
        ]),
        plan_of_sets(&["metrics=[\"top5\", \"accuracy\", \"mae\"]", "model.builtin=mlp"]),
        plan_of_sets(&["loss.label_smoothing=0.1", "loss.class_weights=[1, 0.1]", "loss.ignore_index=-1"]),
        plan_of_user(
            "data.inputs.\"input.1\" = { scale = 0.00392, mean = [0.485, 0.456, 0.406], std = 0.1 }\n\
             data.inputs.\"\" = { columns = [\"a b\", \"c\\\"d\"] }\n\
             data.validation = \"/d/v \\\"1\\\".npz\"\nmodel.dimensions.\"seq len\" = 128\nmodel.freeze = [\"a.*\"]\n\
             optimizer.no_decay = [\"*.bias\"]\nloss.output = \"logits\"\nloss.target = \"y\"",
        ),
        plan_of(
            "model.onnx = \"/m\"\n[data.inputs.x]\nfile = \"/x\"\nvalidation_file = \"/xv\"\n[data.targets.y]\n\
             file = \"/y\"\nvalidation_file = \"/yv\"\nscale = 3.4028235e38\nmean = [1e-45]\n",
        ),
        plan_of_user(
            "model.train = [\"head.*\"]\nmodel.init = \"seed\"\nmodel.weights = \"/d/w.safetensors\"\n\
             model.weights_names = [\"m.* -> *\"]\nmodel.weights_strict = false\nmodel.classes = 5",
        ),
        plan_of(
            "model.onnx = \"/m\"\nloss.class_axis = -1\n[data]\ninputs.x = {}\ntargets.y = {}\n[data.tokens]\ntrain = \"/t\"\n\
             validation = \"/v\"\ndtype = \"u32\"\nwindow = 64\nwindows_per_epoch = 100",
        ),
        plan_of(
            "model.onnx = \"/m\"\n[data]\ninputs.x = {}\ntargets.y = {}\nvalidation_fraction = 0.2\n[data.images]\n\
             train = \"/t\"\nheight = 224\nwidth = 200\nchannels = 1\ncrop = \"random_resized\"\nflip = true",
        ),
        plan_of_user("data.validation_fraction = 0.1\ndata.shuffle = false\ndata.drop_last = true"),
        plan_of_sets(&[
            "train.micro_batch=auto",
            "train.eval_batch_size=9",
            "train.eval_every_epochs=4",
            "train.clip_norm=0.1",
            "train.clip_value=1e-300",
            "train.max_steps=7",
            "train.max_time_s=1.5",
            "train.early_stopping.patience=4",
            "train.early_stopping.monitor=val_accuracy",
            "checkpoint.every_steps=3",
            "checkpoint.every_minutes=0.5",
            "checkpoint.on_best=false",
            "checkpoint.keep_every_epochs=5",
            "checkpoint.keep_every_steps=1000",
            "checkpoint.digest_every_steps=0",
            "checkpoint.reserve=false",
            "checkpoint.disk_full_timeout_s=0",
            "stop.usr1=stop",
            "stop.grace_s=90",
            "memory.on_oom=stop",
            "memory.watch=false",
            "memory.budget_mb=900",
            "report.tensorboard=true",
        ]),
        plan_of_sets(&["train.micro_batch=8"]),
        plan_of_sets(&["train.precision=bf16"]),
        plan_of_sets(&[
            "train.precision=f16",
            "train.loss_scale.initial=1000.1",
            "train.loss_scale.growth_steps=7",
        ]),
    ];
    for durability in ["step", "checkpoint", "interval"] {
        plans.push(plan_of_sets(&[&format!("checkpoint.durability={durability}")]));
    }
    for kind in [
        "mse",
        "l1",
        "huber",
        "smooth_l1",
        "nll",
        "bce",
        "bce_with_logits",
        "kl_div",
        "cosine",
        "output",
        "cross_entropy",
    ] {
        plans.push(plan_of_user(&format!("loss.kind = \"{kind}\"")));
    }
    for lines in [
        "kind = \"contrastive\"\nother_output = \"b\"\ntemperature = 0.5\nsymmetric = true",
        "kind = \"huber\"\ndelta = 0.5\nreduction = \"sum\"",
        "target = \"y\"\nweight = 0.5\n[loss.auxiliary.a]\nkind = \"kl_div\"\nreduction = \"batchmean\"\n\
         [loss.auxiliary.\"b c\"]\nkind = \"bce_with_logits\"\npos_weight = [1, 2]\noutput = \"o\"",
        "target = \"y\"\nmask = \"m\"\nsample_weights = \"w\"\n[data.targets.m]\n[data.targets.w]",
    ] {
        plans.push(plan_of_user(&format!("[loss]\n{lines}")));
    }
    for lines in [
        "kind = \"adam\"",
        "kind = \"sgd\"\nmomentum = 0.9\nnesterov = true",
        "betas = [0.0, 0.5]",
        "kind = \"rmsprop\"\ncentered = true\nmomentum = 0.5",
        "kind = \"adagrad\"\nlr_decay = 0.1",
        "kind = \"adadelta\"",
        "kind = \"nadam\"\ndecoupled_weight_decay = true",
        "kind = \"radam\"",
        "kind = \"lion\"",
        "kind = \"lamb\"",
        "kind = \"adafactor\"\nbeta2_decay = -0.5",
        "kind = \"muon\"\nadjust_lr = \"match_rms_adamw\"\nadamw_patterns = [\"head.*\"]",
        "groups.a = { parameters = [\"x.*\"], lr = 0.0 }\ngroups.\"b c\" = { parameters = [\"y\"], weight_decay = 0.5 }",
        "lr = 0.1\n[ema]\ndecay = 0.99\nuse = false",
    ] {
        plans.push(plan_of_user(&format!("[optimizer]\n{lines}")));
    }
    for lines in [
        "kind = \"step\"\nstep_size = 3\nunit = \"step\"",
        "kind = \"multistep\"\nmilestones = [1, 2]",
        "kind = \"exponential\"\ngamma = 0.5",
        "kind = \"cosine\"\nt_max = 9\neta_min = 1e-5\nunit = \"epoch\"\nwarmup_steps = 3\nwarmup_start = 1.0",
        "kind = \"one_cycle\"",
        "kind = \"polynomial\"\ntotal = 5\npower = 2",
        "kind = \"polynomial\"",
        "kind = \"reduce_on_plateau\"\npatience = 0\nmin_lr = 1e-6\ncooldown = 2",
        "kind = \"constant\"\nwarmup_steps = 5",
    ] {
        plans.push(plan_of_user(&format!("[schedule]\n{lines}")));
    }
    plans
}

#[test]
fn every_plan_reads_back_equal_from_its_text() {
    for plan in plans() {
        let text = to_toml(&plan);
        let again = from_toml(&text, Path::new("/elsewhere/trainer.toml"))
            .unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(again.plan, plan, "{text}");
        assert_eq!(to_toml(&again.plan), text);
    }
}

#[test]
fn single_precision_numbers_are_written_with_the_digits_that_were_given() {
    let plan = plan_of_user("data.inputs.z = { scale = 0.00392, mean = [0.1, 0.485] }");
    let text = to_toml(&plan);
    assert!(text.contains("\nscale = 0.00392\n") && text.contains("\nmean = [0.1, 0.485]\n"), "{text}");
}

#[test]
fn every_setting_is_documented_in_the_text_of_every_plan() {
    for plan in plans() {
        let text = to_toml(&plan);
        for key in keys() {
            let words: Vec<&str> = text.split(['#', ' ', '\n']).filter(|word| !word.is_empty()).collect();
            let meaning: Vec<&str> = key.meaning.split(['#', ' ']).filter(|word| !word.is_empty()).collect();
            assert!(words.windows(meaning.len()).any(|window| window == meaning), "{}\n{text}", key.path);
        }
    }
}

/// A value of the setting other than its default and its example.
fn other_value(key: &Key) -> String {
    let number = |range: &FloatRange| {
        let candidates = [(0.5, "0.5"), (7.5, "7.5"), (-0.5, "-0.5")];
        candidates.iter().find(|(number, _)| range.contains(*number)).expect("one is in every range").1
    };
    match key.takes {
        Takes::Bool => (key.example() != "true").to_string(),
        Takes::Integer { min, max } => (min.max(0) + 7).min(max).to_string(),
        Takes::IntegerOr { word, .. } => format!("\"{word}\""),
        Takes::Float(range) | Takes::Single(range) => number(&range).to_owned(),
        Takes::FloatPair(_) | Takes::Floats(_) | Takes::Singles(_) => "[0.5, 0.25]".to_owned(),
        Takes::Text if key.path.ends_with("monitor") => "\"train_loss\"".to_owned(),
        Takes::Text if key.leaf() == "uri" => "\"https://y\"".to_owned(),
        Takes::Text if key.leaf().starts_with("other") => "\"second\"".to_owned(),
        Takes::Text => "\"y\"".to_owned(),
        Takes::Path => "\"/d/other\"".to_owned(),
        Takes::Choice(choices) => {
            let mut quoted = choices.iter().rev().map(|choice| format!("\"{choice}\""));
            quoted.find(|choice| choice != key.example()).unwrap_or_else(|| key.example().to_owned())
        }
        Takes::Device => "\"cuda:3\"".to_owned(),
        Takes::Texts if key.path == "model.weights_names" => "[\"module.* -> *\"]".to_owned(),
        Takes::Texts => "[\"a\"]".to_owned(),
        Takes::Metrics => "[\"top3\"]".to_owned(),
        Takes::Ascending(_) => "[3, 8]".to_owned(),
    }
}

/// The other settings that must be there for this one to apply.
fn company(key: &Key) -> Vec<&'static str> {
    let mut sets = match key.path {
        "data.inputs.<name>.validation_file" => {
            vec!["data.inputs.x.file=\"/d/x\"", "data.targets.y={file=\"/d/y\", validation_file=\"/d/w\"}"]
        }
        "data.targets.<name>.validation_file" => vec![
            "data.targets.x={file=\"/d/x\"}",
            "data.inputs.x={file=\"/d/y\", validation_file=\"/d/w\"}",
            "data.targets.y={file=\"/d/y\", validation_file=\"/d/w\"}",
            "loss.target=y",
        ],
        path if path.starts_with("data.targets") => vec!["loss.target=y"],
        "optimizer.nesterov" => vec!["optimizer.momentum=0.9"],
        path if path.starts_with("optimizer.groups") => vec!["optimizer.groups.x.parameters=[\"w\"]"],
        "ema.use" => vec!["ema.decay=0.9"],
        "model.weights_names" | "model.weights_strict" => vec!["model.weights=/d/w.safetensors"],
        "loss.sample_weights" | "loss.mask" => vec!["data.targets.z={}", "loss.target=z"],
        "loss.reduction" => vec!["loss.kind=kl_div"],
        "data.tokens.train" => vec!["data.tokens.window=8"],
        path if path.starts_with("data.tokens") => vec!["data.tokens.train=/d/t", "data.tokens.window=8"],
        "data.images.train" => vec!["data.images.height=4", "data.images.width=4"],
        path if path.starts_with("data.images") => {
            vec!["data.images.train=/d/i", "data.images.height=4", "data.images.width=4"]
        }
        path if path.starts_with("loss.auxiliary") => company_of_further_loss(key),
        "train.early_stopping.monitor" => vec!["train.early_stopping.patience=2"],
        _ => Vec::new(),
    };
    match key.only_with.map(|only_with| (only_with.key, only_with.values)) {
        Some(("optimizer.kind", [first, ..])) => sets.push(match *first {
            "sgd" => "optimizer.kind=sgd",
            "adam" => "optimizer.kind=adam",
            "rmsprop" => "optimizer.kind=rmsprop",
            "adagrad" => "optimizer.kind=adagrad",
            "adadelta" => "optimizer.kind=adadelta",
            "nadam" => "optimizer.kind=nadam",
            "adafactor" => "optimizer.kind=adafactor",
            "muon" => "optimizer.kind=muon",
            other => panic!("settings of {other} are not covered"),
        }),
        Some(("loss.kind", [first, ..])) if key.leaf() != "reduction" => match *first {
            "bce_with_logits" => sets.push("loss.kind=bce_with_logits"),
            "huber" => sets.push("loss.kind=huber"),
            "smooth_l1" => sets.push("loss.kind=smooth_l1"),
            "kl_div" => sets.push("loss.kind=kl_div"),
            "cosine" => sets.push("loss.kind=cosine"),
            "contrastive" => sets.extend(["loss.kind=contrastive", "loss.other_output=z"]),
            _ => {}
        },
        Some(("schedule.kind", [first, ..])) => match *first {
            "step" => sets.extend(["schedule.kind=step", "schedule.step_size=2"]),
            "multistep" => sets.push("schedule.kind=multistep"),
            "cosine" => sets.push("schedule.kind=cosine"),
            "one_cycle" => sets.push("schedule.kind=one_cycle"),
            "polynomial" => sets.push("schedule.kind=polynomial"),
            "reduce_on_plateau" => sets.push("schedule.kind=reduce_on_plateau"),
            _ => {}
        },
        Some(("train.precision", _)) => sets.push("train.precision=f16"),
        Some(("train.early_stopping.patience", _)) => sets.push("train.early_stopping.patience=2"),
        _ => {}
    }
    sets
}

/// A further loss of a kind that takes the setting.
fn company_of_further_loss(key: &Key) -> Vec<&'static str> {
    let kind = match key.leaf() {
        "kind" => return Vec::new(),
        "label_smoothing" | "class_weights" | "ignore_index" | "class_axis" => {
            "loss.auxiliary.x.kind=cross_entropy"
        }
        "pos_weight" => "loss.auxiliary.x.kind=bce_with_logits",
        "delta" => "loss.auxiliary.x.kind=huber",
        "beta" => "loss.auxiliary.x.kind=smooth_l1",
        "log_target" | "reduction" => "loss.auxiliary.x.kind=kl_div",
        "other_output" | "margin" => "loss.auxiliary.x.kind=cosine",
        "temperature" | "symmetric" => {
            return vec!["loss.auxiliary.x.kind=contrastive", "loss.auxiliary.x.other_output=z"];
        }
        "sample_weights" | "mask" => {
            return vec![
                "loss.auxiliary.x.kind=mse",
                "data.targets.z={}",
                "loss.target=z",
                "loss.auxiliary.x.target=z",
            ];
        }
        _ => "loss.auxiliary.x.kind=mse",
    };
    vec![kind]
}

#[test]
fn every_declared_setting_reaches_the_plan_and_comes_back_from_it() {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("my.toml");
    std::fs::write(&file, USER).expect("written");
    for key in keys() {
        let (path, value) = (key.path.replace(NAME, "x"), other_value(key));
        let mut sets: Vec<String> = company(key).into_iter().map(str::to_owned).collect();
        sets.push(format!("{path}={value}"));
        // The builtin model and data take the place of the user's only where no arrays are named.
        let is_builtin = key.path.ends_with(".builtin");
        let file = (!is_builtin).then(|| file.clone());
        let loaded = load(&Sources { file, sets, ..Sources::default() })
            .unwrap_or_else(|error| panic!("{path} = {value}: {error}"));
        let path = KeyPath::dotted(&path);
        let value = Value::parse(&value).expect("TOML");
        let expected = admit(key, &path, &value, &Origin::Default).expect("a value that is taken");
        assert_eq!(effective(&loaded.plan).get(&path).cloned(), expected, "{path}");
        let text = to_toml(&loaded.plan);
        assert_eq!(from_toml(&text, Path::new("a.toml")).expect(&text).plan, loaded.plan, "{path}");
    }
}

#[test]
fn every_setting_is_declared_once() {
    let mut paths: Vec<&str> = keys().map(|key| key.path).collect();
    let count = paths.len();
    paths.sort_unstable();
    paths.dedup();
    assert_eq!(paths.len(), count);
}

#[track_caller]
fn check_differences(old: &[&str], new: &[&str], expected: &[(&str, Class)]) {
    let (old, new) = (plan_of_sets(old), plan_of_sets(new));
    let found = differences(&old, &new);
    let found: Vec<(String, Class)> = found.iter().map(|found| (found.to_string(), found.class)).collect();
    let expected: Vec<(String, Class)> =
        expected.iter().map(|(text, class)| ((*text).to_owned(), *class)).collect();
    assert_eq!(found, expected);
    let is_bound = found.iter().any(|(_, class)| *class == Class::Bound);
    assert_eq!(fingerprint(&old) != fingerprint(&new), is_bound, "the fingerprint is of what binds");
}

#[test]
fn equal_plans_do_not_differ() {
    check_differences(&[], &[], &[]);
}

#[test]
fn more_epochs_are_free_unless_the_learning_rate_is_spread_over_them() {
    let epochs = "train.epochs: 30 -> 40";
    check_differences(&[], &["train.epochs=40"], &[(epochs, Class::Schedule)]);
    let fixed = "schedule.t_max=100";
    check_differences(&[fixed], &[fixed, "train.epochs=40"], &[(epochs, Class::Free)]);
    for (kind, class) in [
        ("constant", Class::Free),
        ("polynomial", Class::Schedule),
        ("one_cycle", Class::Schedule),
        ("reduce_on_plateau", Class::Free),
    ] {
        let kind = format!("schedule.kind={kind}");
        check_differences(&[&kind], &[&kind, "train.epochs=40"], &[(epochs, class)]);
    }
}

#[test]
fn what_is_saved_and_measured_is_free_to_change() {
    check_differences(
        &["spin=true"],
        &[
            "spin=false",
            "checkpoint.every_steps=5",
            "train.max_steps=9",
            "train.max_time_s=9",
            "train.early_stopping.patience=2",
            "train.eval_batch_size=1",
        ],
        &[
            ("checkpoint.every_steps: not set -> 5", Class::Free),
            ("spin: true -> false", Class::Free),
            ("train.early_stopping.min_delta: not set -> 0.0", Class::Free),
            ("train.early_stopping.monitor: not set -> \"val_loss\"", Class::Free),
            ("train.early_stopping.patience: not set -> 2", Class::Free),
            ("train.eval_batch_size: not set -> 1", Class::Free),
            ("train.max_steps: not set -> 9", Class::Free),
            ("train.max_time_s: not set -> 9.0", Class::Free),
        ],
    );
}

#[test]
fn a_schedule_or_micro_batch_may_change_and_is_told_apart_from_what_is_free() {
    check_differences(
        &[],
        &["schedule.eta_min=0.1", "train.micro_batch=8"],
        &[
            ("schedule.eta_min: 0.0 -> 0.1", Class::Schedule),
            ("train.micro_batch: not set -> 8", Class::Schedule),
        ],
    );
}

#[test]
fn what_would_have_made_other_steps_binds() {
    for (set, difference) in [
        ("seed=1", "seed: 0 -> 1"),
        ("threads=3", "threads: 2 -> 3"),
        ("device=cpu", "device: \"auto\" -> \"cpu\""),
        ("model.builtin=mlp", "model.builtin: \"cnn\" -> \"mlp\""),
        ("train.batch_size=32", "train.batch_size: 64 -> 32"),
        ("optimizer.lr=0.1", "optimizer.lr: 0.003 -> 0.1"),
        ("train.clip_norm=1.0", "train.clip_norm: not set -> 1.0"),
        ("data.shuffle=false", "data.shuffle: true -> false"),
        ("data.inputs.images={array=\"images\",scale=2}", "data.inputs.images.scale: 1.0 -> 2.0"),
        ("loss.label_smoothing=0.1", "loss.label_smoothing: 0.0 -> 0.1"),
    ] {
        check_differences(&[], &[set], &[(difference, Class::Bound)]);
    }
}

#[test]
fn the_class_of_every_setting_is_a_decision() {
    let of = |class: Class| keys().filter(|key| key.class == class).map(|key| key.path).collect::<Vec<_>>();
    let free = of(Class::Free);
    let is_about_saving_or_length = |path: &&str| {
        ["checkpoint.", "stop.", "memory.", "report.", "mlflow."].iter().any(|table| path.starts_with(table))
            || path.starts_with("train.early_stopping.")
            || path.starts_with("train.max_")
            // What lies at a path is compared by its content.
            || keys().any(|key| key.path == *path && matches!(key.takes, Takes::Path))
            || ["spin", "metrics", "train.epochs", "train.eval_batch_size"].contains(path)
    };
    assert!(free.iter().all(is_about_saving_or_length), "{free:?}");
    let schedule = of(Class::Schedule);
    let others = ["train.micro_batch", "train.loss_scale.growth_steps", "train.eval_every_epochs"];
    let is_schedule = |path: &&str| path.starts_with("schedule.") || others.contains(path);
    assert!(schedule.iter().all(is_schedule), "{schedule:?}");
}

#[test]
fn the_fingerprint_of_given_settings_never_changes() {
    // zlib.crc32 of the 27 lines gives the same. A run that was started with these settings holds this number.
    assert_eq!(fingerprint(&plan_of_sets(&["threads=2"])), 2_739_626_188);
}

#[test]
fn a_difference_names_old_and_new_value() {
    let (old, new) = (plan_of_sets(&[]), plan_of_sets(&["seed=5"]));
    let expected = Difference {
        key: "seed".to_owned(),
        old: Some(Value::Integer(0)),
        new: Some(Value::Integer(5)),
        class: Class::Bound,
    };
    assert_eq!(differences(&old, &new), [expected]);
}
