use std::collections::BTreeSet;
use std::path::PathBuf;

use super::{ArrayInfo, Dataset, OpenError, Role, Rows, Split, SplitName};
use crate::config::{DataPlan, DataSource};
use crate::data::array::Dtype;
use crate::data::fixtures::{
    CompressionMethod, Folder, files, idx, map, npy_f32, npy_i64, npz, numbered, plan,
};

fn open(folder: &Folder, plan: &DataPlan) -> Result<Dataset, OpenError> {
    Dataset::open(plan, 7, folder.path())
}

#[track_caller]
fn check_refused(folder: &Folder, plan: &DataPlan, texts: &[&str]) {
    let message = format!("{:#}", anyhow::Error::from(open(folder, plan).unwrap_err()));
    for text in texts {
        assert!(message.contains(text), "`{text}` is not in: {message}");
    }
}

fn rows(split: &Split) -> Vec<usize> {
    (0..split.len()).map(|example| split.rows.at(example)).collect()
}

fn archive(rows: usize) -> Vec<u8> {
    let x = npy_f32(&format!("({rows}, 2)"), &vec![0.5; rows * 2]);
    let y = npy_i64(&format!("({rows},)"), &vec![1; rows]);
    npz(CompressionMethod::Stored, &[("x", x), ("labels", y)])
}

#[test]
fn arrays_of_a_training_and_a_validation_file_are_described() {
    let folder = Folder::new();
    folder.write("train.npz", archive(4));
    folder.write("val.npz", archive(3));
    let plan = plan(files(Some("train.npz"), Some("val.npz")), map(None), map(Some("labels")));
    let data = open(&folder, &plan).unwrap();
    let validation = data.validation().unwrap();
    assert_eq!((data.train().len(), validation.len()), (4, 3));
    assert_eq!((data.train().name(), validation.name()), (SplitName::Train, SplitName::Validation));
    let info = |role, name: &str, dtype, shape| ArrayInfo { role, name: name.to_owned(), dtype, shape };
    let expected = [info(Role::Input, "x", Dtype::F32, vec![2]), info(Role::Target, "y", Dtype::I64, vec![])];
    assert_eq!(data.train().arrays().collect::<Vec<_>>(), expected);
    assert_eq!(validation.arrays().collect::<Vec<_>>(), expected);
    assert_eq!(data.largest_label("y"), Some(1));
    assert_eq!(data.largest_label("x"), None);
}

#[test]
fn each_array_may_have_files_of_its_own() {
    let folder = Folder::new();
    folder.write("x.npy", npy_f32("(4, 2)", &[0.0; 8]));
    folder.write("y.idx", idx(0x08, &[4], &[0, 1, 2, 3]));
    folder.write("vx.npy", npy_f32("(1, 2)", &[0.0; 2]));
    folder.write("vy.idx", idx(0x08, &[1], &[9]));
    let mut plan = plan(files(None, None), map(None), map(None));
    let set = |map: &mut crate::config::ArrayMap, file: &str, validation: Option<&str>| {
        map.file = Some(file.into());
        map.validation_file = validation.map(PathBuf::from);
    };
    set(plan.inputs.get_mut("x").unwrap(), "x.npy", None);
    set(plan.targets.get_mut("y").unwrap(), "y.idx", None);
    assert!(open(&folder, &plan).unwrap().validation().is_none());
    set(plan.inputs.get_mut("x").unwrap(), "x.npy", Some("vx.npy"));
    check_refused(&folder, &plan, &["no validation file for target `y`", "`data.targets.y`"]);
    set(plan.targets.get_mut("y").unwrap(), "y.idx", Some("vy.idx"));
    let data = open(&folder, &plan).unwrap();
    assert_eq!((data.train().len(), data.validation().unwrap().len()), (4, 1));
    assert_eq!(data.largest_label("y"), Some(9));
    let settings: Vec<&str> = data.lock().files.keys().map(String::as_str).collect();
    let expected =
        ["inputs.x.file", "inputs.x.validation_file", "targets.y.file", "targets.y.validation_file"];
    assert_eq!(settings, expected.map(|key| format!("data.{key}")));
}

#[test]
fn arrays_that_do_not_fit_together_are_refused_with_both_of_them() {
    let folder = Folder::new();
    let x = npy_f32("(4, 2)", &[0.0; 8]);
    folder.write(
        "rows.npz",
        npz(CompressionMethod::Stored, &[("x", x.clone()), ("y", npy_i64("(3,)", &[0; 3]))]),
    );
    let rows = plan(files(Some("rows.npz"), None), map(None), map(None));
    check_refused(&folder, &rows, &["array `y` has 3 examples", "array `x` has 4"]);
    let y = npy_i64("(4,)", &[0; 4]);
    folder.write("a.npz", npz(CompressionMethod::Stored, &[("x", x), ("y", y.clone())]));
    let other = npy_f32("(4, 3)", &[0.0; 12]);
    folder.write("b.npz", npz(CompressionMethod::Stored, &[("x", other), ("y", y)]));
    let shapes = plan(files(Some("a.npz"), Some("b.npz")), map(None), map(None));
    check_refused(&folder, &shapes, &["b.npz, array `x` have shape (3,), expected (2,)", "a.npz"]);
}

#[test]
fn settings_that_name_nothing_are_refused_with_the_key_to_set() {
    let folder = Folder::new();
    let missing = plan(files(None, None), map(None), map(None));
    check_refused(&folder, &missing, &["no file for input `x`", "`data.train`", "`data.inputs.x`"]);
    let mut empty = missing;
    empty.inputs.clear();
    check_refused(&folder, &empty, &["no array is mapped to an input"]);
    let mut digits = plan(DataSource::Digits, map(Some("pixels")), map(None));
    check_refused(&folder, &digits, &["no array `pixels`", "`images` or `labels`"]);
    digits.inputs.insert("x".to_owned(), crate::config::ArrayMap { file: Some("a.npy".into()), ..map(None) });
    check_refused(&folder, &digits, &["no file a.npy"]);
}

const GOLDEN_SPLIT: [usize; 10] = [37, 43, 20, 42, 32, 25, 33, 22, 5, 17];

#[test]
fn a_fraction_is_drawn_by_the_seed_and_shares_nothing_with_the_rest() {
    let folder = Folder::new();
    let mut plan = numbered(&folder, 50);
    plan.validation_fraction = Some(0.2);
    let data = open(&folder, &plan).unwrap();
    let (train, validation) = (rows(data.train()), rows(data.validation().unwrap()));
    assert_eq!((train.len(), validation.len()), (40, 10));
    // The split is part of what a run reproduces and stays what it is.
    assert_eq!(validation, GOLDEN_SPLIT);
    assert_eq!(train.iter().chain(&validation).copied().collect::<BTreeSet<_>>().len(), 50);
    let again = open(&folder, &plan).unwrap();
    assert_eq!(rows(again.validation().unwrap()), validation);
    let other = Dataset::open(&plan, 8, folder.path()).unwrap();
    assert_ne!(rows(other.validation().unwrap()), validation);
}

#[test]
fn a_fraction_leaves_at_least_one_example_on_each_side() {
    let folder = Folder::new();
    let mut plan = numbered(&folder, 3);
    for (fraction, expected) in [(0.001, 1), (0.5, 2), (0.999, 2)] {
        plan.validation_fraction = Some(fraction);
        assert_eq!(open(&folder, &plan).unwrap().validation().unwrap().len(), expected, "{fraction}");
    }
    for fraction in [0.0, 1.0, -1.0, f64::NAN] {
        plan.validation_fraction = Some(fraction);
        check_refused(&folder, &plan, &["can not split 3 examples"]);
    }
    let mut one = numbered(&folder, 1);
    one.validation_fraction = Some(0.5);
    check_refused(&folder, &one, &["can not split 1 examples"]);
}

#[test]
fn two_sources_of_validation_data_are_refused() {
    let folder = Folder::new();
    folder.write("train.npz", archive(4));
    let mut plan = plan(files(Some("train.npz"), Some("train.npz")), map(None), map(Some("labels")));
    plan.validation_fraction = Some(0.5);
    check_refused(&folder, &plan, &["both a validation file and `data.validation_fraction`"]);
}

#[test]
fn the_digits_have_a_fixed_split_unless_a_fraction_is_asked_for() {
    let folder = Folder::new();
    let mut plan = plan(DataSource::Digits, map(None), map(None));
    let data = open(&folder, &plan).unwrap();
    let validation = data.validation().unwrap();
    assert_eq!(
        (data.train().rows.clone(), validation.rows.clone()),
        (Rows::Range(0..1438), Rows::Range(1438..1797))
    );
    let shapes: Vec<_> = data.train().arrays().map(|info| (info.dtype, info.shape)).collect();
    assert_eq!(shapes, [(Dtype::F32, vec![1, 8, 8]), (Dtype::I64, vec![])]);
    assert_eq!(data.largest_label("y"), Some(9));
    plan.validation_fraction = Some(0.5);
    let data = open(&folder, &plan).unwrap();
    assert_eq!((data.train().len(), data.validation().unwrap().len()), (898, 899));
}

#[test]
fn changed_files_are_listed_with_both_fingerprints_and_moved_ones_are_not() {
    let folder = Folder::new();
    folder.write("train.npz", archive(4));
    folder.write("val.npz", archive(3));
    let plan_of = |train, validation| plan(files(Some(train), validation), map(None), map(Some("labels")));
    let lock = |plan: &DataPlan| open(&folder, plan).unwrap().lock().clone();
    let was = lock(&plan_of("train.npz", Some("val.npz")));
    let text = serde_json::to_string(&was).unwrap();
    assert_eq!(serde_json::from_str::<super::DataLock>(&text).unwrap(), was);
    folder.write("moved.npz", archive(4));
    assert_eq!(was.differences(&lock(&plan_of("moved.npz", Some("val.npz")))), []);
    folder.write("train.npz", archive(5));
    let changes = was.differences(&lock(&plan_of("train.npz", None)));
    let shown: Vec<String> = changes.iter().map(ToString::to_string).collect();
    let (old, new) = (&was.files["data.train"], &lock(&plan_of("train.npz", None)).files["data.train"]);
    assert_ne!(old.crc32, new.crc32);
    assert_eq!(shown[0], format!("data.train: was {old}, is {new}"));
    assert!(
        shown[1].starts_with("data.validation: was val.npz (") && shown[1].ends_with("is none"),
        "{}",
        shown[1]
    );
    assert_eq!(shown.len(), 2);
}

#[test]
fn columns_of_a_csv_file_are_inputs_and_targets() {
    let folder = Folder::new();
    folder.write("a.csv", "height,width,kind\n1.5,2,0\n3,4,1\n");
    let columns = vec!["width".to_owned(), "height".to_owned()];
    let x = crate::config::ArrayMap { columns, ..map(None) };
    let mut plan = plan(files(Some("a.csv"), None), x, map(Some("kind")));
    let data = open(&folder, &plan).unwrap();
    let found: Vec<_> = data.train().arrays().map(|info| (info.dtype, info.shape)).collect();
    assert_eq!(found, [(Dtype::F64, vec![2]), (Dtype::I64, vec![])]);
    plan.inputs.get_mut("x").unwrap().array = Some("height".to_owned());
    check_refused(&folder, &plan, &["both `array` and `columns`"]);
}
