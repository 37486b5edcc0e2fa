use super::{Overwrite, WriteError, Writer};
use crate::config::{ArrayMap, DataPlan, DataSource};
use crate::data::{Dtype as StoredDtype, Feed, Role, Unlabelled, Values};
use crate::graph::tensor::{Dtype, Tensor};
use crate::train::infer::predictor::Answered;
use std::collections::BTreeMap;
use std::path::Path;

fn answered(name: &str, tensor: Tensor) -> Answered {
    Answered { name: name.to_owned(), tensor }
}

/// Two batches of two answers each.
fn batches() -> [Vec<Answered>; 2] {
    let floats = |numbers: &[f32]| Tensor::from_f32([numbers.len() / 2, 2], numbers);
    [
        vec![
            answered("y", floats(&[0.5, -1.25, f32::NAN, 1e-9])),
            answered("class", Tensor::from_i64([2], &[3, -1])),
        ],
        vec![answered("y", floats(&[0.1, 7.0])), answered("class", Tensor::from_i64([1], &[0]))],
    ]
}

fn write(path: &Path, file_names: Option<&[String]>) {
    let mut writer = Writer::create(path, Overwrite::Never, file_names).unwrap();
    batches().iter().for_each(|batch| writer.add(batch).unwrap());
    assert!(!path.exists(), "it has its name before it is whole");
    writer.publish().unwrap();
    assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
}

#[test]
fn arrays_read_back_as_they_were_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("answers.npz");
    write(&path, None);
    let plan = DataPlan {
        source: DataSource::Files { train: None, validation: None },
        validation_fraction: None,
        shuffle: false,
        drop_last: false,
        inputs: BTreeMap::from([("y".to_owned(), ArrayMap::stored(Some("y")))]),
        targets: BTreeMap::new(),
    };
    let feed = |name: &str, dtype| Feed { role: Role::Input, name: name.to_owned(), dtype, shape: None };
    let feeds = [feed("y", StoredDtype::F32), feed("class", StoredDtype::I64)];
    let mut found = Unlabelled::open(&path, &plan, &feeds).unwrap();
    let mut arrays = Vec::new();
    assert_eq!((found.rows(), found.next(9, &mut arrays).unwrap()), (Some(3), 3));
    let Values::F32(y) = &arrays[0].values else { panic!("{arrays:?}") };
    assert_eq!(arrays[0].shape, [3, 2]);
    assert_eq!((y[0], y[1], y[2].is_nan(), y[3], y[4], y[5]), (0.5, -1.25, true, 1e-9, 0.1, 7.0));
    assert_eq!(arrays[1].values, Values::I64(vec![3, -1, 0]));
    assert_eq!(found.next(9, &mut arrays).unwrap(), 0);
}

#[test]
fn a_table_has_a_column_for_each_number_and_the_digits_that_give_it_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("answers.csv");
    let names = ["a.png", "b, c.png", "d.png"].map(str::to_owned);
    write(&path, Some(&names));
    let expected = "file,y_0,y_1,class\na.png,0.5,-1.25,3\n\"b, c.png\",NaN,0.000000001,-1\nd.png,0.1,7,0\n";
    assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
}

#[test]
fn nothing_is_replaced_unless_that_is_asked_for_and_nothing_is_left_of_what_failed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("answers.csv");
    std::fs::write(&path, "mine").unwrap();
    assert!(matches!(Writer::create(&path, Overwrite::Never, None), Err(WriteError::Exists { .. })));
    let mut writer = Writer::create(&path, Overwrite::Allowed, None).unwrap();
    writer.add(&batches()[0]).unwrap();
    let other = vec![
        answered("y", Tensor::from_f32([1, 3], &[0.0; 3])),
        answered("class", Tensor::from_i64([1], &[0])),
    ];
    assert!(matches!(writer.add(&other), Err(WriteError::Shapes { .. })));
    drop(writer);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    assert!(matches!(
        Writer::create(&dir.path().join("answers.txt"), Overwrite::Allowed, None),
        Err(WriteError::Format { .. })
    ));
}

#[test]
fn a_table_that_nobody_could_read_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::create(&dir.path().join("answers.csv"), Overwrite::Never, None).unwrap();
    let wide = Tensor::from_f64(Dtype::F32, [1, 70_000], &vec![0.0; 70_000]);
    assert!(matches!(writer.add(&[answered("y", wide)]), Err(WriteError::TooWide { columns: 70_000, .. })));
}
