//! Each format of data files, from the file to a finished run.

use crate::data_files::{gzip, idx, npy_f32, npy_i64, npz};
use crate::networks::linear;
use crate::work_dir::WorkDir;

/// Examples of two values, `a` and `b`, and the class 1 where `a > b`.
const EXAMPLES: usize = 40;

fn value(index: usize) -> f32 {
    (index * 7 % 16) as f32 / 16.0
}

fn inputs() -> Vec<f32> {
    (0..EXAMPLES * 2).map(value).collect()
}

fn labels() -> Vec<i64> {
    inputs().chunks(2).map(|pair| i64::from(pair[0] > pair[1])).collect()
}

/// A run of a linear classifier with two classes.
fn classifier() -> WorkDir {
    let mut dir = WorkDir::new(&["--epochs", "2", "--batch-size", "16", "optimizer.kind=sgd", "--lr", "0.5"]);
    let model = dir.write("linear.onnx", linear(2, &[0.0, 0.0]));
    dir.add(&[&format!("model.onnx={model}")]);
    dir
}

/// That the run is the one that the same examples give in every other format.
#[track_caller]
fn check_trains(dir: &WorkDir, settings: &[&str]) {
    dir.finish(settings);
    let reference = classifier();
    let (x, y) = (npy_f32(&[EXAMPLES, 2], &inputs()), npy_i64(&labels()));
    let data = reference.write("reference.npz", npz(&[("values", x), ("classes", y)]));
    let arrays = [r#"data.inputs.x={array="values"}"#, r#"data.targets.y={array="classes"}"#];
    reference.finish(&[&format!("data.train={data}"), arrays[0], arrays[1]]);
    assert_eq!(dir.steps().len(), 6);
    dir.result().check_trained_alike(reference.result());
    let losses: Vec<f64> = dir.epochs().iter().map(|epoch| epoch.train_loss).collect();
    assert!(losses[1] < losses[0], "{losses:?}");
}

fn csv() -> String {
    let inputs = inputs();
    let rows = inputs.chunks(2).zip(labels()).map(|(x, y)| format!("{},{y},{}\n", x[1], x[0]));
    rows.collect::<String>()
}

#[test]
fn columns_of_a_csv_file_are_trained_on() {
    let dir = classifier();
    let data = dir.write("train.csv", format!("b,class,a\n{}", csv()));
    let arrays = [r#"data.inputs.x={columns=["a","b"]}"#, r#"data.targets.y={array="class"}"#];
    check_trains(&dir, &[&format!("data.train={data}"), arrays[0], arrays[1]]);
}

#[test]
fn npy_files_of_their_own_are_trained_on() {
    let dir = classifier();
    let x = dir.write("x.npy", npy_f32(&[EXAMPLES, 2], &inputs()));
    let y = dir.write("y.npy", npy_i64(&labels()));
    let arrays = [format!("data.inputs.x={{file={x:?}}}"), format!("data.targets.y={{file={y:?}}}")];
    check_trains(&dir, &[&arrays[0], &arrays[1]]);
}

#[test]
fn idx_files_packed_or_not_are_trained_on_with_scaling() {
    let dir = classifier();
    let bytes: Vec<u8> = inputs().iter().map(|value| (value * 16.0) as u8).collect();
    let classes: Vec<u8> = labels().iter().map(|label| *label as u8).collect();
    let x = dir.write("x-idx2-ubyte.gz", gzip(&idx(&[EXAMPLES as u32, 2], &bytes)));
    let y = dir.write("y-idx1-ubyte", idx(&[EXAMPLES as u32], &classes));
    let arrays =
        [format!("data.inputs.x={{file={x:?}, scale=0.0625}}"), format!("data.targets.y={{file={y:?}}}")];
    check_trains(&dir, &[&arrays[0], &arrays[1]]);
}

#[test]
fn a_fraction_is_set_aside_for_validation_by_the_seed() {
    let dir = classifier();
    let data = dir.write("train.csv", format!("b,class,a\n{}", csv()));
    let arrays = [r#"data.inputs.x={columns=["a","b"]}"#, r#"data.targets.y={array="class"}"#];
    let settings = [&format!("data.train={data}"), arrays[0], arrays[1], "data.validation_fraction=0.25"];
    dir.finish(&settings).check_says(&["30 training and 10 validation examples"]);
    assert_eq!(dir.steps().iter().map(|step| step.examples).sum::<u64>(), 60);
    assert!(dir.measured("val_accuracy", 2) > 0.0);
}

#[test]
fn a_validation_file_of_its_own_is_measured() {
    let dir = classifier();
    let train = dir.write("train.csv", format!("b,class,a\n{}", csv()));
    let validation = dir.write("validation.csv", "a,b,class\n100,0,1\n100,0,1\n0,100,0\n0,100,1\n");
    let arrays = [r#"data.inputs.x={columns=["a","b"]}"#, r#"data.targets.y={array="class"}"#];
    let files = [format!("data.train={train}"), format!("data.validation={validation}")];
    dir.finish(&[&files[0], &files[1], arrays[0], arrays[1]]).check_says(&["40 training and 4 validation"]);
    assert_eq!(dir.measured("val_accuracy", 2), 0.75);
}
