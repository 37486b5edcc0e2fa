//! A trained model in use: which checkpoint is meant, and `trainer eval`.

use crate::data_files::{npy_f32, npy_i64, npz};
use crate::main_job::validation_digits;
use crate::work_dir::{Ended, WorkDir, trainer};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use trainer_runtime::checkpoint::Link;

/// Three epochs of the builtin mlp on the digits.
pub fn trained(more: &[&str]) -> WorkDir {
    let mut dir = WorkDir::new(&["model.builtin=mlp", "--epochs", "3", "schedule.kind=constant"]);
    dir.add(more);
    dir.finish(&[]);
    dir
}

fn eval(dir: &WorkDir, more: &[&str]) -> Ended {
    Ended::of(trainer(["eval"]).arg(dir.path()).args(more))
}

#[track_caller]
fn evaluated(dir: &WorkDir, more: &[&str]) -> Json {
    let text = eval(dir, &[more, &["--json"]].concat()).check_code(0).stdout;
    serde_json::from_str(&text).unwrap()
}

/// The digits of the validation part as a file of arrays, with those of `labels`.
pub fn digits_file(dir: &WorkDir, name: &str) -> String {
    let (images, labels) = validation_digits();
    let images = npy_f32(&[labels.len(), 1, 8, 8], &images);
    dir.write(name, npz(&[("images", images), ("labels", npy_i64(&labels))]))
}

/// Every file of a folder, with its bytes and the time it was last changed.
fn contents(folder: &Path) -> BTreeMap<String, (Vec<u8>, std::time::SystemTime)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            let changed = fs::metadata(&path).unwrap().modified().unwrap();
            found.insert(path.to_str().unwrap().to_owned(), (fs::read(&path).unwrap(), changed));
        }
    }
    found
}

/// That each epoch's checkpoint gives the numbers that the run recorded for it, to the bit.
#[track_caller]
fn check_as_recorded(more: &[&str]) {
    let dir = trained(more);
    let before = contents(&dir.path());
    for epoch in 1..=3 {
        let said = eval(&dir, &["--json", "--checkpoint", &format!("epoch:{epoch}")]).check_code(0).stdout;
        for (name, recorded) in &dir.epochs()[epoch - 1].validation {
            let name = name.trim_start_matches("val_");
            let line =
                said.lines().find(|line| line.trim_start().starts_with(&format!("\"{name}\":"))).unwrap();
            let number = line.split_once(": ").unwrap().1.trim_end_matches(',');
            // Not by `serde_json`, whose numbers may be off by the last bit.
            let found: f64 = number.parse().unwrap();
            assert_eq!(
                found.to_bits(),
                recorded.to_bits(),
                "{name} of epoch {epoch}: {found} and {recorded}"
            );
        }
    }
    let said = eval(&dir, &["--checkpoint", "final"]).check_code(0).stdout;
    assert!(said.contains("as the run recorded them, to the bit"), "{said}");
    assert!(contents(&dir.path()) == before, "evaluating changed the work directory");
}

#[test]
fn evaluating_a_checkpoint_gives_the_bits_that_the_run_recorded() {
    check_as_recorded(&["metrics=[\"accuracy\", \"f1\", \"perplexity\"]"]);
}

#[test]
fn evaluating_takes_running_statistics_and_moving_averages_as_validation_did() {
    check_as_recorded(&["model.builtin=cnn", "ema.decay=0.9", "train.eval_batch_size=100"]);
}

#[test]
fn the_best_is_evaluated_unless_another_is_asked_for() {
    let dir = trained(&["--lr", "0.5", "optimizer.kind=sgd", "train.early_stopping.patience=50"]);
    let best = dir.store().load_link(Link::Best).unwrap().meta().step;
    assert_eq!(evaluated(&dir, &[])["checkpoint"]["step"], best);
    assert_eq!(evaluated(&dir, &["--checkpoint", "last"])["checkpoint"]["step"], 69);
    assert_eq!(evaluated(&dir, &["--checkpoint", "step:23"])["checkpoint"]["epoch"], 1);
    let file = "epoch-0002-step-00000046.safetensors";
    assert_eq!(evaluated(&dir, &["--checkpoint", file])["checkpoint"]["step"], 46);
    let path = dir.path().join("checkpoints").join(file);
    assert_eq!(evaluated(&dir, &["--checkpoint", path.to_str().unwrap()])["checkpoint"]["step"], 46);
}

#[test]
fn the_same_examples_in_another_file_give_the_same_numbers() {
    let dir = trained(&[]);
    let file = digits_file(&dir, "digits.npz");
    let (own, other) = (evaluated(&dir, &[]), evaluated(&dir, &["--data", &file]));
    for field in ["loss", "metrics", "confusion", "examples"] {
        assert_eq!(own[field], other[field], "{field}");
    }
    assert_eq!((other["split"].as_str(), other["recorded"].is_null()), (None, true));
    let on_training = evaluated(&dir, &["--split", "train"]);
    assert_eq!(
        (on_training["examples"].as_u64(), on_training["split"].as_str()),
        (Some(1438), Some("train"))
    );
    let counts = |json: &Json| -> u64 {
        let rows = json["confusion"].as_array().unwrap().iter();
        rows.flat_map(|row| row.as_array().unwrap()).map(|count| count.as_u64().unwrap()).sum()
    };
    assert_eq!((counts(&own), counts(&on_training)), (359, 1438));
}

#[test]
fn a_run_is_evaluated_while_it_goes_on() {
    let dir = WorkDir::new(&["model.builtin=mlp", "--epochs", "4000", "schedule.kind=constant"]);
    let mut child = dir.start_until_step(60, &[]);
    // Checkpoints are written beside the training.
    while !dir.store().link_path(Link::Last).exists() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let found = evaluated(&dir, &["--checkpoint", "last"]);
    assert!(child.try_wait().unwrap().is_none(), "the run ended");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(found["checkpoint"]["step"].as_u64().unwrap() >= 23, "{found}");
}

/// Changes a byte in the middle of what a link names.
pub fn damage(dir: &WorkDir, link: Link) {
    let path = dir.store().link_path(link);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).unwrap();
}

#[test]
fn a_damaged_checkpoint_is_refused_and_others_that_verify_are_named() {
    let dir = trained(&[]);
    damage(&dir, Link::Final);
    let other = "epoch:2";
    eval(&dir, &["--checkpoint", "final"])
        .check_code(5)
        .check_says(&["failed its checksum", &format!("others that verify: `--checkpoint {other}`")]);
    // The best is the same file here, and is not silently replaced by another.
    eval(&dir, &[]).check_code(5).check_says(&["best.safetensors", other]);
    assert_eq!(evaluated(&dir, &["--checkpoint", other])["checkpoint"]["step"], 46);
}

#[test]
fn what_is_no_run_or_has_no_such_checkpoint_is_named() {
    let dir = WorkDir::new(&["model.builtin=mlp"]);
    eval(&dir, &[]).check_code(2).check_says(&["is not the folder of a run: there is no such folder"]);
    let dir = trained(&[]);
    eval(&dir, &["--checkpoint", "epoch:9"])
        .check_code(2)
        .check_says(&["no checkpoint for `--checkpoint epoch:9`", "there is best, last, final, epoch:1"]);
    eval(&dir, &["--checkpoint", "epoch:x"]).check_code(2).check_says(&["best, last, final, epoch:N"]);
    eval(&dir, &["--data", "nothing.npz"]).check_code(2).check_says(&["nothing.npz"]);
    fs::remove_dir_all(dir.path().join("checkpoints")).unwrap();
    eval(&dir, &[]).check_code(2).check_says(&["has no checkpoint yet"]);
}

#[test]
fn a_model_that_is_not_the_one_of_the_run_is_refused() {
    let mut dir = WorkDir::new(&["--epochs", "2", "schedule.kind=constant", "data.builtin=digits"]);
    let model = dir.write("model.onnx", crate::networks::cnn_with_dropout());
    dir.add(&[&format!("model.onnx={model}"), "data.inputs.images={array=\"images\"}"]);
    dir.finish(&["model.freeze=[\"head.*\"]"]);
    assert_eq!(evaluated(&dir, &[])["recorded"]["loss"], evaluated(&dir, &[])["loss"]);
    // The same network with another frozen layer: the checkpoint does not hold it, and would fit.
    let mut graph = trainer::graph::read::read_file(Path::new(&model)).unwrap();
    let head = graph.initializers.iter_mut().find(|(name, _)| name == "head.bias").unwrap();
    head.1 = trainer::graph::tensor::Tensor::from_f32([10], &[1.0; 10]);
    fs::write(&model, trainer::graph::write::to_bytes(&graph)).unwrap();
    eval(&dir, &[]).check_code(4).check_says(&["the model: CRC32 was", "restore the file"]);
}
