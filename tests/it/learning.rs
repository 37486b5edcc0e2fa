//! Losses, metrics, optimizers and limits, from the setting to the numbers in the journal.

use crate::networks::linear;
use crate::work_dir::WorkDir;
use trainer::config::Builtin;
use trainer::graph::builtin::build;
use trainer::graph::model::Graph;
use trainer::graph::read::read_file;
use trainer::train::event::Event;

/// A run of `y = 0.1 a + 0.1 b + bias` on rows of a table with the columns `a`, `b` and `target`.
fn on_table(bias: &[f32], rows: &[[f32; 3]], settings: &[&str]) -> WorkDir {
    let mut dir = WorkDir::new(&["optimizer.kind=sgd", "data.shuffle=false"]);
    let model = dir.write("linear.onnx", linear(2, bias));
    let lines = rows.iter().map(|[a, b, target]| format!("{a},{b},{target}\n"));
    let table = dir.write("table.csv", format!("a,b,target\n{}", lines.collect::<String>()));
    let files =
        [format!("model.onnx={model}"), format!("data.train={table}"), format!("data.validation={table}")];
    dir.add(&[&files[0], &files[1], &files[2], r#"data.inputs.x={columns=["a","b"]}"#]);
    dir.add(&[r#"data.targets.y={array="target"}"#]);
    dir.add(settings);
    dir
}

fn first_loss(dir: &WorkDir) -> f64 {
    f64::from(f32::from_bits(dir.steps()[0].loss_bits))
}

#[track_caller]
fn check_close(found: f64, expected: f64) {
    assert!((found - expected).abs() <= 1e-6 * expected.abs().max(1.0), "{found}, expected {expected}");
}

#[test]
fn mean_squared_error_finds_a_linear_law() {
    let row = |index: usize| {
        let (a, b) = ((index % 5) as f32 - 2.0, (index % 3) as f32 - 1.0);
        [a, b, 2.0 * a - b + 0.5]
    };
    let rows: Vec<[f32; 3]> = (0..30).map(row).collect();
    let settings = ["loss.kind=mse", "--batch-size", "30", "--epochs", "60", "--lr", "0.2"];
    let dir = on_table(&[0.0], &rows, &settings);
    dir.finish(&[]);
    let errors = rows.iter().map(|[a, b, y]| f64::from(0.1 * a + 0.1 * b - y).powi(2));
    check_close(first_loss(&dir), errors.sum::<f64>() / 30.0);
    assert!(dir.measured("val_mae", 60) < 1e-3, "{}", dir.measured("val_mae", 60));
    let weight = dir.final_checkpoint().tensor("weight").unwrap().to_vec::<f32>().unwrap();
    assert!((weight[0] - 2.0).abs() < 1e-3 && (weight[1] + 1.0).abs() < 1e-3, "{weight:?}");
}

#[test]
fn binary_cross_entropy_is_that_of_the_logit() {
    let rows = [[3.0, 1.0, 1.0], [-2.0, 1.0, 0.0], [4.0, 4.0, 0.0], [1.0, 1.0, 1.0]];
    let dir = on_table(&[0.0], &rows, &["loss.kind=bce_with_logits", "--epochs", "1", "--lr", "1e-9"]);
    dir.finish(&[]);
    let losses = rows.iter().map(|[a, b, y]| {
        let logit = f64::from(0.1 * (a + b));
        (1.0 + logit.exp()).ln() - f64::from(*y) * logit
    });
    check_close(first_loss(&dir), losses.sum::<f64>() / 4.0);
    check_close(dir.measured("val_accuracy", 1), 0.75);
}

/// Ten rows whose logits are the bias (3, 2, 1, 0) and a constant, with classes of these frequencies.
fn ranked(frequencies: [usize; 4], settings: &[&str]) -> WorkDir {
    let classes = frequencies.iter().enumerate();
    let rows: Vec<[f32; 3]> =
        classes.flat_map(|(class, count)| vec![[1.0, 1.0, class as f32]; *count]).collect();
    let dir = on_table(&[3.0, 2.0, 1.0, 0.0], &rows, settings);
    dir.finish(&["--epochs", "1", "--lr", "1e-9"]);
    dir
}

/// Cross entropy of the class at this place of the bias (3, 2, 1, 0).
fn cross_entropy(class: usize) -> f64 {
    let sum: f64 = (0..4).map(|exponent| f64::from(exponent).exp()).sum();
    sum.ln() - (3.0 - class as f64)
}

#[test]
fn top_k_counts_the_examples_whose_class_is_among_the_k_largest() {
    let dir = ranked([4, 3, 2, 1], &[r#"metrics=["accuracy","top2","top3"]"#]);
    check_close(dir.measured("val_accuracy", 1), 0.4);
    check_close(dir.measured("val_top2", 1), 0.7);
    check_close(dir.measured("val_top3", 1), 0.9);
    let header = dir.read("history.csv");
    assert!(header.starts_with("epoch,step,lr,train_loss,val_loss,val_accuracy,val_top2,val_top3,seconds"));
}

#[test]
fn class_weights_weigh_and_their_sum_divides() {
    let weights = [1.0, 2.0, 0.5, 4.0];
    let counts = [4.0, 3.0, 2.0, 1.0];
    let dir = ranked([4, 3, 2, 1], &["loss.class_weights=[1,2,0.5,4]"]);
    let weighed = (0..4).map(|class| weights[class] * counts[class] * cross_entropy(class)).sum::<f64>();
    let weight = (0..4).map(|class| weights[class] * counts[class]).sum::<f64>();
    check_close(first_loss(&dir), weighed / weight);
    check_close(dir.measured("val_loss", 1), weighed / weight);
}

#[test]
fn examples_with_the_ignored_label_do_not_count() {
    let dir = ranked([4, 3, 2, 1], &["loss.ignore_index=3"]);
    let expected = (4.0 * cross_entropy(0) + 3.0 * cross_entropy(1) + 2.0 * cross_entropy(2)) / 9.0;
    check_close(first_loss(&dir), expected);
    check_close(dir.measured("val_accuracy", 1), 4.0 / 9.0);
}

#[test]
fn accumulated_gradients_are_those_of_the_whole_batch() {
    let last = |micro_batch: &str| {
        let settings = ["model.builtin=mlp", "--batch-size", "60", "--epochs", "1"];
        let dir = WorkDir::new(&settings);
        dir.finish(&["--micro-batch", micro_batch]);
        let losses = dir.steps().into_iter().map(|step| f64::from(f32::from_bits(step.loss_bits)));
        losses.collect::<Vec<f64>>()
    };
    for (whole, parts) in last("60").into_iter().zip(last("16")) {
        assert!((whole - parts).abs() < 1e-4 * whole, "{whole} and {parts}");
    }
}

#[test]
fn training_stops_early_when_nothing_improves() {
    let patience = ["train.early_stopping.patience=2", "train.early_stopping.min_delta=0.5"];
    let settings = ["model.builtin=mlp", "--lr", "1e-9", patience[0], patience[1]];
    let dir = WorkDir::new(&settings);
    dir.finish(&[]).check_says(&["stopping early: val_loss did not improve for 2 epochs"]);
    assert_eq!(dir.epochs().len(), 3);
    let again = dir.finish(&[]);
    assert!(again.stdout.contains("stopped early"), "{}", again.stdout);
    assert!(again.stdout.contains("train.early_stopping.patience"), "{}", again.stdout);
}

#[test]
fn a_diverging_run_ends_with_6_and_its_refused_steps_in_the_journal() {
    let dir = WorkDir::new(&["model.builtin=mlp", "optimizer.kind=sgd", "--lr", "1e30"]);
    dir.run(&["schedule.warmup_steps=0"]).check_code(6).check_says(&[
        "training diverged: 10 batches in a row",
        "was left out: loss ",
        "lower `optimizer.lr`",
    ]);
    let refused = dir.events().into_iter().filter(|event| matches!(event, Event::StepRefused(_)));
    assert_eq!(refused.count(), 10);
    assert!(dir.steps().len() < 13);
}

/// Parameters before and after one step of plain gradient descent with rate 1.
fn one_step(settings: &[&str]) -> (WorkDir, Vec<f64>) {
    let dir = WorkDir::new(&["model.builtin=mlp", "optimizer.kind=sgd", "--lr", "1", "--max-steps", "1"]);
    dir.finish(&[settings, &["schedule.kind=constant", "schedule.warmup_steps=0"]].concat());
    let (before, after) = (initial(0), read_file(&dir.path().join("model.onnx")).unwrap());
    let changes = before.initializers.iter().flat_map(|(name, before)| {
        let after = values(&after, name);
        let before = before.to_f64().unwrap();
        before.iter().zip(after).map(|(before, after)| after - before).collect::<Vec<f64>>()
    });
    let changes = changes.collect();
    (dir, changes)
}

fn initial(seed: u64) -> Graph {
    build(Builtin::Mlp, "images", &[1, 8, 8], 10, seed)
}

fn values(graph: &Graph, name: &str) -> Vec<f64> {
    let found = graph.initializers.iter().find(|(initializer, _)| initializer == name);
    found.unwrap_or_else(|| panic!("no initializer {name}")).1.to_f64().unwrap()
}

#[test]
fn the_norm_of_the_gradient_is_clipped_and_recorded_unclipped() {
    let norm = |changes: &[f64]| changes.iter().map(|change| change * change).sum::<f64>().sqrt();
    let (dir, changes) = one_step(&[]);
    let unclipped = norm(&changes);
    assert!((dir.steps()[0].gradient_norm / unclipped - 1.0).abs() < 1e-3, "{unclipped}");
    let (dir, changes) = one_step(&["train.clip_norm=0.05"]);
    assert!((norm(&changes) / 0.05 - 1.0).abs() < 1e-3, "{}", norm(&changes));
    assert!((dir.steps()[0].gradient_norm / unclipped - 1.0).abs() < 1e-3);
}

#[test]
fn elements_of_the_gradient_are_clipped() {
    let largest = |changes: &[f64]| changes.iter().fold(0.0_f64, |most, change| most.max(change.abs()));
    assert!(largest(&one_step(&[]).1) > 0.01);
    let clipped = largest(&one_step(&["train.clip_value=0.001"]).1);
    assert!((clipped / 0.001 - 1.0).abs() < 1e-3, "{clipped}");
}

#[test]
fn a_frozen_parameter_keeps_its_bits() {
    let dir = WorkDir::new(&["model.builtin=mlp", "--epochs", "1", r#"model.freeze=["fc1.*"]"#]);
    dir.finish(&[]).check_says(&["`fc1.weight` is not trained: `model.freeze` names it"]);
    let (before, after) = (initial(0), read_file(&dir.path().join("model.onnx")).unwrap());
    for name in ["fc1.weight", "fc1.bias"] {
        assert_eq!(values(&before, name), values(&after, name), "{name}");
    }
    assert_ne!(values(&before, "head.weight"), values(&after, "head.weight"));
    assert!(dir.final_checkpoint().tensor("fc1.weight").is_none(), "what is not trained is not saved");
}

#[test]
fn every_metric_has_its_column_and_the_confusion_matrix_is_written_at_the_end() {
    // All rows are taken for class 0, whose logit is the largest.
    let metrics = r#"metrics=["precision","recall","f1","f1_micro","auroc","perplexity"]"#;
    let dir = ranked([4, 3, 2, 1], &[metrics]);
    check_close(dir.measured("val_precision", 1), 0.4 / 4.0);
    check_close(dir.measured("val_recall", 1), 1.0 / 4.0);
    check_close(dir.measured("val_f1", 1), 2.0 * 4.0 / 14.0 / 4.0);
    check_close(dir.measured("val_f1_micro", 1), 0.4);
    check_close(dir.measured("val_auroc", 1), 0.5);
    check_close(dir.measured("val_perplexity", 1), dir.measured("val_loss", 1).exp());
    let matrix =
        "true,predicted_0,predicted_1,predicted_2,predicted_3\n0,4,0,0,0\n1,3,0,0,0\n2,2,0,0,0\n3,1,0,0,0\n";
    assert_eq!(dir.read("confusion.csv"), matrix);
}

#[test]
fn what_is_no_class_has_no_confusion_matrix() {
    let rows = [[3.0, 1.0, 1.0], [-2.0, 1.0, 0.0]];
    let dir =
        on_table(&[0.0], &rows, &["loss.kind=mse", r#"metrics=["r2"]"#, "--epochs", "1", "--lr", "1e-9"]);
    dir.finish(&[]);
    // Errors 0.36 and 0.01 of deviations 0.5.
    check_close(dir.measured("val_r2", 1), 1.0 - 0.37 / 0.5);
    assert!(!dir.path().join("confusion.csv").exists());
}

#[test]
fn a_batch_in_which_nothing_counts_is_passed_over_and_not_taken_for_divergence() {
    // Batches of two rows, in the order of the file: the second and third hold ignored labels only.
    let classes = [0.0, 1.0, 3.0, 3.0, 3.0, 3.0, 2.0, 3.0];
    let rows: Vec<[f32; 3]> = classes.iter().map(|class| [1.0, 1.0, *class]).collect();
    let settings = ["loss.ignore_index=3", "--batch-size", "2", "--epochs", "2", "train.max_refused_steps=1"];
    for more in [&[][..], &["--micro-batch", "1"]] {
        let dir = on_table(&[3.0, 2.0, 1.0, 0.0], &rows, &[&settings[..], more].concat());
        dir.finish(&["--lr", "1e-3"]);
        let steps = dir.steps();
        let batches: Vec<(u64, u64)> = steps.iter().map(|step| (step.epoch, step.batch)).collect();
        assert_eq!(batches, [(1, 0), (1, 3), (2, 0), (2, 3)]);
        check_close(first_loss(&dir), (cross_entropy(0) + cross_entropy(1)) / 2.0);
        let refused = dir.events().into_iter().filter(|event| matches!(event, Event::StepRefused(_)));
        assert_eq!(refused.count(), 0);
    }
}

/// Settings for a run on the embedded digits of a model file, which takes `images` and gives `logits`.
fn on_digits(model: &str) -> Vec<String> {
    let fixed = [
        "data.builtin=digits",
        r#"data.inputs.images={array="images"}"#,
        r#"data.targets.y={array="labels"}"#,
    ];
    let mut settings: Vec<String> = fixed.map(str::to_owned).to_vec();
    settings.extend([format!("model.onnx={model}"), "train.epochs=1".to_owned()]);
    settings
}

fn run_on_digits(model: &[u8], more: &[&str]) -> WorkDir {
    let mut dir = WorkDir::new(&[]);
    let path = dir.write("given.onnx", model);
    let settings = on_digits(&path);
    dir.add(&settings.iter().map(String::as_str).collect::<Vec<_>>());
    dir.add(more);
    dir
}

#[test]
fn only_what_train_names_is_trained_and_takes_back_what_freeze_names() {
    let model = trainer::graph::write::to_bytes(&initial(0));
    for patterns in
        [&[r#"model.train=["head.*"]"#][..], &[r#"model.freeze=["*"]"#, r#"model.train=["head.*"]"#]]
    {
        let dir = run_on_digits(&model, patterns);
        dir.finish(&[]);
        let after = read_file(&dir.path().join("model.onnx")).unwrap();
        assert_eq!(values(&after, "fc1.weight"), values(&initial(0), "fc1.weight"));
        assert_ne!(values(&after, "head.weight"), values(&initial(0), "head.weight"));
    }
    let dir = run_on_digits(&model, &[r#"model.train=["tail.*"]"#]);
    dir.run(&[]).check_code(2).check_says(&["`model.train` has `tail.*`, which matches no initializer"]);
}

#[test]
fn a_pretrained_backbone_takes_a_new_head_and_is_finetuned_at_a_rate_of_its_own() {
    // A network for 4 classes, whose weights come from a checkpoint of another run under other names.
    let four = trainer::graph::write::to_bytes(&build(Builtin::Mlp, "images", &[1, 8, 8], 4, 3));
    let mut other = WorkDir::new(&["model.builtin=mlp", "--epochs", "1"]);
    other.finish(&[]);
    other.add(&[]);
    let checkpoint = other.path().join("checkpoints/final.safetensors");
    let weights = format!("model.weights={}", checkpoint.display());
    let ten = trainer::graph::write::to_bytes(&build(Builtin::Mlp, "images", &[1, 8, 8], 10, 4));
    let group = r#"optimizer.groups.body={parameters=["fc*"],lr=0.0}"#;
    let dir = run_on_digits(&ten, &[&weights, group]);
    dir.finish(&["-v"]).check_says(&["6 initializers loaded"]);
    let trained = other.final_checkpoint().tensor("fc1.weight").unwrap().to_vec::<f32>().unwrap();
    let kept = dir.final_checkpoint().tensor("fc1.weight").unwrap().to_vec::<f32>().unwrap();
    assert_eq!(kept, trained, "the body starts from the file and its rate is 0");
    // The head of four classes becomes one of ten.
    let dir = run_on_digits(&four, &["model.classes=10"]);
    dir.finish(&["-v"]).check_says(&["the last layer `head` now has 10 outputs, not 4"]);
    assert_eq!(dir.final_checkpoint().tensor("head.weight").unwrap().shape, [10, 64]);
    assert!(dir.measured("val_accuracy", 1) > 0.3, "{}", dir.measured("val_accuracy", 1));
    // Weights for ten classes do not fit a model of four.
    let dir = run_on_digits(&four, &[&weights]);
    dir.run(&[]).check_code(2).check_says(&["`head.bias` has shape [10], the model's `head.bias` has [4]"]);
}

#[test]
fn weights_drawn_from_the_seed_survive_a_resume_and_differ_by_seed() {
    let model = trainer::graph::write::to_bytes(&initial(0));
    let first_loss = |seed: &str| {
        let dir = run_on_digits(&model, &["model.init=seed", "--seed", seed, "data.shuffle=false"]);
        dir.finish(&["--max-steps", "3"]);
        dir.finish(&["--max-steps", "6"]).check_says(&["Resuming run"]);
        first_loss(&dir)
    };
    assert_eq!(first_loss("1"), first_loss("1"));
    assert_ne!(first_loss("1"), first_loss("2"));
}

#[test]
fn the_moving_average_is_what_is_exported_and_may_begin_in_the_middle_of_a_run() {
    let averaged = ["model.builtin=mlp", "--epochs", "1", "ema.decay=0.9"];
    let dir = WorkDir::new(&averaged);
    dir.finish(&[]);
    let checkpoint = dir.final_checkpoint();
    let tensor = |name: &str| checkpoint.tensor(name).unwrap().to_vec::<f32>().unwrap();
    let (average, parameter) = (tensor("ema/head.weight"), tensor("head.weight"));
    assert_ne!(average, parameter);
    let exported = values(&read_file(&dir.path().join("model.onnx")).unwrap(), "head.weight");
    assert!(exported.iter().zip(&average).all(|(found, expected)| *found == f64::from(*expected)));

    let plain = WorkDir::new(&averaged);
    plain.finish(&["ema.use=false"]);
    let exported = values(&read_file(&plain.path().join("model.onnx")).unwrap(), "head.weight");
    assert!(exported.iter().zip(&parameter).all(|(found, expected)| *found == f64::from(*expected)));
    assert_eq!(
        plain.steps().last().map(|step| step.loss_bits),
        dir.steps().last().map(|step| step.loss_bits),
        "what is evaluated changes no training"
    );

    let late = WorkDir::new(&averaged[..3]);
    late.finish(&["--max-steps", "5"]);
    let changed = ["ema.decay=0.9", "--allow-changed", "settings", "--max-steps", "12"];
    late.finish(&changed).check_says(&["`ema/head.weight` is not in", "it starts as its parameter"]);
    let checkpoint = late.final_checkpoint();
    let tensor = |name: &str| checkpoint.tensor(name).unwrap().to_vec::<f32>().unwrap();
    let pairs = tensor("ema/head.weight").into_iter().zip(tensor("head.weight"));
    assert!(pairs.clone().any(|(average, parameter)| average != parameter));
    assert!(
        pairs.clone().all(|(average, parameter)| (average - parameter).abs() < 0.5),
        "it did not begin at zero"
    );
}
