//! The command without any setting: it trains the builtin network on the embedded digits.

use crate::runtime_library::runtime;
use crate::work_dir::{Ended, WorkDir, trainer};
use ort::session::Session;
use ort::value::Tensor;
use std::path::Path;
use trainer::config::{Sources, load};
use trainer::data::{Dataset, Dtype, Feed, HostArray, Loader, Role, Values};
use trainer::graph::read::read_file;
use trainer::train::event::Event;

/// Images of 64 values and labels of the digits' validation part.
pub fn validation_digits() -> (Vec<f32>, Vec<i64>) {
    let plan = load(&Sources::default()).unwrap().plan;
    let dataset = Dataset::open(&plan.data, plan.seed, Path::new("/")).unwrap();
    let feed = |role, name: &str, dtype| Feed { role, name: name.to_owned(), dtype, shape: None };
    let feeds = [feed(Role::Input, "images", Dtype::F32), feed(Role::Target, "labels", Dtype::I64)];
    let loader = Loader::bind(dataset.validation().unwrap(), &feeds).unwrap();
    let mut arrays = Vec::new();
    loader.load(1, &(0..loader.len()).collect::<Vec<_>>(), &mut arrays).unwrap();
    let [HostArray { values: Values::F32(images), .. }, HostArray { values: Values::I64(labels), .. }] =
        &arrays[..]
    else {
        panic!("the digits are not what was asked for")
    };
    (images.clone(), labels.clone())
}

/// Part of the digits' validation examples that the file classifies rightly in ONNX Runtime.
#[track_caller]
fn accuracy_in_onnxruntime(model: &Path) -> f64 {
    let (images, labels) = validation_digits();
    let mut session = Session::builder(runtime().environment()).unwrap().commit_from_file(model).unwrap();
    let input = Tensor::from_array(([labels.len(), 1, 8, 8], images)).unwrap();
    let outputs = session.run(ort::inputs![input]).unwrap();
    let (_, logits) = outputs[0].try_extract_tensor::<f32>().unwrap();
    let right = logits.chunks(10).zip(&labels).filter(|(logits, label)| {
        let largest = (0..10).max_by(|a: &usize, b: &usize| logits[*a].total_cmp(&logits[*b])).unwrap();
        largest as i64 == **label
    });
    right.count() as f64 / labels.len() as f64
}

#[test]
fn the_digits_are_learned_to_98_percent_and_the_run_can_be_repeated_and_lengthened() {
    let dir = WorkDir::new(&[]);
    let ended = dir.finish(&[]).check_says(&[
        "ONNX Runtime 1.",
        "1438 training and 359 validation examples, 23 steps per epoch",
        "Starting run ",
        "epoch  30/30  step    690",
    ]);
    assert!(ended.stdout.starts_with("finished: 30 epochs, 690 steps; train_loss 0.0"), "{}", ended.stdout);
    let accuracy = dir.measured("val_accuracy", 30);
    assert!(accuracy >= 0.98, "{accuracy}");

    let again = dir.finish(&[]);
    let said = "nothing to do: the run in ";
    assert!(again.stdout.starts_with(said) && again.stdout.contains("`--epochs N`"), "{}", again.stdout);
    assert_eq!((again.stderr.as_str(), dir.epochs().len()), ("", 30));

    let longer = dir.finish(&["--epochs", "31"]);
    let next = "epoch 31, step 690 (batch 0 of 23) from checkpoints/epoch-0030-step-00000690.safetensors (checksums ok)";
    longer.check_says(&[
        "changed setting: train.epochs: 30 -> 31",
        next,
        "Previous attempt: finished at step 690; 0 steps",
    ]);
    assert_eq!((dir.epochs().len(), dir.steps().len()), (31, 31 * 23));
}

#[test]
fn the_work_directory_holds_what_is_promised() {
    let dir = WorkDir::new(&["--epochs", "3"]);
    dir.finish(&[]);
    for name in ["trainer.toml", "data.lock.json", "lock", "history.csv", "model.onnx"] {
        assert!(dir.path().join(name).is_file(), "{name}");
    }
    for name in ["best", "last", "final", "epoch-0003-step-00000069"] {
        assert!(dir.path().join(format!("checkpoints/{name}.safetensors")).is_file(), "{name}");
    }
    let history = dir.read("history.csv");
    let rows: Vec<&str> = history.lines().collect();
    assert_eq!(rows[0], "epoch,step,lr,train_loss,val_loss,val_accuracy,seconds,attempt");
    assert_eq!(rows.len(), 4);
    for (row, epoch) in rows[1..].iter().zip(dir.epochs()) {
        let fields: Vec<&str> = row.split(',').collect();
        assert_eq!(fields[..2], [epoch.epoch.to_string(), epoch.step.to_string()]);
        assert_eq!(fields[3].parse::<f64>().unwrap(), epoch.train_loss);
        assert_eq!(fields[7], "1");
    }
    assert!(matches!(dir.events().last(), Some(Event::Finished(end)) if end.step == 69));
}

#[test]
fn equal_seeds_give_equal_runs_and_another_seed_another_one() {
    let result = |seed: &str| {
        let dir = WorkDir::new(&["--epochs", "1", "--seed", seed]);
        dir.finish(&[]);
        dir.result()
    };
    let first = result("5");
    result("5").check_equals(&first);
    assert_ne!(result("6").losses, first.losses);
}

#[test]
fn the_exported_model_has_the_reported_accuracy_in_onnxruntime() {
    for network in ["model.builtin=cnn", "model.builtin=mlp"] {
        let dir = WorkDir::new(&["--epochs", "4", network]);
        dir.finish(&[]);
        let accuracy = accuracy_in_onnxruntime(&dir.path().join("model.onnx"));
        assert!((accuracy - dir.measured("val_accuracy", 4)).abs() < 1e-9, "{network}: {accuracy}");
        assert!(accuracy > 0.8, "{network}: {accuracy}");
    }
}

#[test]
fn the_exported_model_is_for_inference() {
    let arrays = [r#"data.inputs.images={array="images"}"#, r#"data.targets.y={array="labels"}"#];
    let mut dir = WorkDir::new(&["data.builtin=digits", arrays[0], arrays[1], "--epochs", "2"]);
    let model = dir.write("dropout.onnx", crate::networks::cnn_with_dropout());
    dir.add(&[&format!("model.onnx={model}")]);
    dir.finish(&[]);
    let exported = dir.path().join("model.onnx");
    let graph = read_file(&exported).unwrap();
    assert!(graph.nodes.iter().all(|node| node.op != "Dropout"));
    for node in graph.nodes.iter().filter(|node| node.op == "BatchNormalization") {
        assert_eq!((node.outputs.len(), node.int("training_mode").unwrap_or(0)), (1, 0));
    }
    let accuracy = accuracy_in_onnxruntime(&exported);
    assert!((accuracy - dir.measured("val_accuracy", 2)).abs() < 1e-9, "{accuracy}");
}

#[test]
fn the_last_smaller_batch_is_trained_unless_it_is_dropped() {
    let dir = WorkDir::new(&["model.builtin=mlp", "--epochs", "2"]);
    dir.finish(&[]);
    let examples: Vec<u64> = dir.steps().iter().map(|step| step.examples).collect();
    assert_eq!((examples.len(), examples[21], examples[22]), (46, 64, 30));
    assert_eq!(examples[..23].iter().sum::<u64>(), 1438);

    let dir = WorkDir::new(&["model.builtin=mlp", "--epochs", "2", "data.drop_last=true"]);
    dir.finish(&[]);
    assert_eq!(dir.steps().len(), 44);
    assert!(dir.steps().iter().all(|step| step.examples == 64));
}

#[test]
fn quiet_leaves_the_result_alone_on_the_screen() {
    let dir = WorkDir::new(&["model.builtin=mlp", "--epochs", "1", "-q", "schedule.warmup_steps=0"]);
    let ended = dir.finish(&[]);
    assert_eq!(ended.stderr, "");
    assert!(ended.stdout.starts_with("finished: 1 epoch, 23 steps"), "{}", ended.stdout);
}

#[test]
fn the_settings_of_a_run_are_printed_by_config() {
    let dir = WorkDir::new(&["model.builtin=mlp", "--epochs", "1", "--lr", "0.0125"]);
    dir.finish(&[]);
    let path = dir.path();
    let printed = Ended::of(&mut trainer(["config", "--work-dir", path.to_str().unwrap()])).check_code(0);
    for line in ["lr = 0.0125", "builtin = \"mlp\"", "epochs = 1"] {
        assert!(printed.stdout.lines().any(|printed| printed == line), "{line}");
    }
}
