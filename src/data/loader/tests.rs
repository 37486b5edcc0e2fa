use super::Loader;
use crate::config::ArrayMap;
use crate::data::array::Dtype;
use crate::data::batch::{HostArray, Values};
use crate::data::bind::{BindError, Feed};
use crate::data::check::CheckError;
use crate::data::dataset::{Dataset, Role};
use crate::data::fixtures::{CompressionMethod, Folder, files, map, npy, npy_f32, npy_i64, npz, plan};

fn feed(role: Role, name: &str, dtype: Dtype, shape: &[usize]) -> Feed {
    Feed { role, name: name.to_owned(), dtype, shape: Some(shape.iter().copied().map(Some).collect()) }
}

/// Input `x` of these bytes, target `y` of int64.
fn dataset(x: Vec<u8>, x_map: ArrayMap, labels: &[i64]) -> Dataset {
    let folder = Folder::new();
    let y = npy_i64(&format!("({},)", labels.len()), labels);
    folder.write("a.npz", npz(CompressionMethod::Stored, &[("x", x), ("y", y)]));
    Dataset::open(&plan(files(Some("a.npz"), None), x_map, map(None)), 7, folder.path()).unwrap()
}

fn bind(data: &Dataset, x: Feed) -> Result<Loader, BindError> {
    Loader::bind(data.train(), &[feed(Role::Target, "y", Dtype::I64, &[]), x])
}

fn load(loader: &Loader, examples: &[usize]) -> Vec<HostArray> {
    let mut arrays = Vec::new();
    loader.load(1, examples, &mut arrays).unwrap();
    arrays
}

#[track_caller]
fn check_refused(data: &Dataset, x: Feed, texts: &[&str]) {
    let message = bind(data, x).unwrap_err().to_string();
    for text in texts {
        assert!(message.contains(text), "`{text}` is not in: {message}");
    }
}

#[test]
fn batches_hold_the_asked_examples_in_the_order_of_the_feeds() {
    let data = dataset(npy_f32("(3, 2)", &[0.0, 0.1, 1.0, 1.1, 2.0, 2.1]), map(None), &[5, 6, 7]);
    let loader = bind(&data, feed(Role::Input, "x", Dtype::F32, &[2])).unwrap();
    let arrays = load(&loader, &[2, 0]);
    assert_eq!(arrays[0], HostArray { shape: vec![2], values: Values::I64(vec![7, 5]) });
    assert_eq!(arrays[1], HostArray { shape: vec![2, 2], values: Values::F32(vec![2.0, 2.1, 0.0, 0.1]) });
}

#[test]
fn memory_is_used_again_whatever_the_batch_held_before() {
    let data = dataset(npy_f32("(3, 2)", &[0.0, 0.1, 1.0, 1.1, 2.0, 2.1]), map(None), &[5, 6, 7]);
    let loader = bind(&data, feed(Role::Input, "x", Dtype::F32, &[2])).unwrap();
    let mut arrays = load(&loader, &[0, 1, 2]);
    let Values::F32(before) = &arrays[1].values else { panic!("float32") };
    let before = before.as_ptr();
    loader.load(1, &[1], &mut arrays).unwrap();
    let Values::F32(after) = &arrays[1].values else { panic!("float32") };
    assert_eq!((after.as_ptr(), arrays.clone()), (before, load(&loader, &[1])));
    let mut other = vec![HostArray { shape: vec![1], values: Values::Bool(vec![true]) }; 3];
    loader.load(1, &[1], &mut other).unwrap();
    assert_eq!(other, arrays);
}

#[test]
fn scaling_is_by_channel_of_the_shape_that_the_model_sees() {
    let settings = ArrayMap { scale: 0.5, mean: vec![1.0, 2.0], std: vec![2.0], ..map(None) };
    let data = dataset(npy("|u1", "(1, 4)", &[2, 4, 6, 8]), settings, &[0]);
    let loader = bind(&data, feed(Role::Input, "x", Dtype::F32, &[2, 2])).unwrap();
    assert_eq!(load(&loader, &[0])[1].values, Values::F32(vec![0.0, 0.5, 0.5, 1.0]));
}

#[test]
fn shapes_fit_as_they_are_where_an_axis_is_free_or_after_a_reshape_that_moves_nothing() {
    let shape_of = |stored: &str, elements: usize, wanted: Option<Vec<Option<usize>>>| {
        let data = dataset(npy_f32(stored, &vec![0.0; elements]), map(None), &[0]);
        let x = Feed { role: Role::Input, name: "x".to_owned(), dtype: Dtype::F32, shape: wanted };
        bind(&data, x).map(|loader| load(&loader, &[0])[1].shape.clone())
    };
    let known = |axes: &[usize]| Some(axes.iter().copied().map(Some).collect::<Vec<_>>());
    assert_eq!(shape_of("(1, 3, 2)", 6, None).unwrap(), [1, 3, 2]);
    assert_eq!(shape_of("(1, 3, 2)", 6, Some(vec![None, Some(2)])).unwrap(), [1, 3, 2]);
    assert_eq!(shape_of("(1, 6)", 6, known(&[1, 3, 2])).unwrap(), [1, 1, 3, 2]);
    assert_eq!(shape_of("(1, 3, 2)", 6, known(&[6])).unwrap(), [1, 6]);
    assert_eq!(shape_of("(1, 3, 2, 1)", 6, known(&[1, 3, 2])).unwrap(), [1, 1, 3, 2]);
    assert_eq!(shape_of("(1, 1)", 1, known(&[])).unwrap(), [1]);
    assert_eq!(shape_of("(1,)", 1, known(&[1])).unwrap(), [1, 1]);
    let transposed = shape_of("(1, 3, 2)", 6, known(&[2, 3])).unwrap_err();
    assert!(matches!(transposed, BindError::AxesOrder { .. }), "{transposed}");
    let channels_last = shape_of("(1, 4, 4, 3)", 48, known(&[3, 4, 4])).unwrap_err().to_string();
    assert!(
        channels_last.contains("(3, 4, 4), found (4, 4, 3); the axes are in another order"),
        "{channels_last}"
    );
    let guess = shape_of("(1, 6)", 6, Some(vec![None, Some(2)])).unwrap_err().to_string();
    assert!(guess.contains("needs examples of shape (?, 2), found (6,)"), "{guess}");
    assert!(matches!(shape_of("(1, 6)", 6, known(&[7])), Err(BindError::Shape { .. })));
}

#[test]
fn types_are_converted_only_where_nothing_is_lost() {
    let data = dataset(npy("|b1", "(2,)", &[0, 1]), map(None), &[0, 1]);
    for (dtype, expected) in [
        (Dtype::F32, Values::F32(vec![0.0, 1.0])),
        (Dtype::F64, Values::F64(vec![0.0, 1.0])),
        (Dtype::I32, Values::I32(vec![0, 1])),
        (Dtype::I64, Values::I64(vec![0, 1])),
        (Dtype::U8, Values::U8(vec![0, 1])),
        (Dtype::Bool, Values::Bool(vec![false, true])),
    ] {
        let loader = bind(&data, feed(Role::Input, "x", dtype, &[])).unwrap();
        assert_eq!(load(&loader, &[0, 1])[1].values, expected);
    }
    let fractions = dataset(npy_f32("(1,)", &[1.0]), map(None), &[0]);
    let texts = ["a.npz, array `x`", "must be int64, found float32", "astype(\"int64\")"];
    check_refused(&fractions, feed(Role::Input, "x", Dtype::I64, &[]), &texts);
    let wide = dataset(npy_i64("(1,)", &[1]), map(None), &[0]);
    check_refused(&wide, feed(Role::Input, "x", Dtype::U8, &[]), &["must be uint8, found int64"]);
    check_refused(&wide, feed(Role::Input, "x", Dtype::Bool, &[]), &["must be bool, found int64"]);
}

#[test]
fn an_integer_that_the_model_can_not_hold_is_an_error_of_its_batch_alone() {
    let data = dataset(npy_i64("(3,)", &[1, 2, 1 << 40]), map(None), &[0, 0, 0]);
    let loader = bind(&data, feed(Role::Input, "x", Dtype::I32, &[])).unwrap();
    assert_eq!(load(&loader, &[1, 0])[1].values, Values::I32(vec![2, 1]));
    let error = loader.load(1, &[0, 2], &mut Vec::new()).unwrap_err().to_string();
    assert!(error.contains("array `x`, row 2 (the first is 0): found 1099511627776"), "{error}");
}

#[test]
fn feeds_and_arrays_must_be_the_same() {
    let data = dataset(npy_f32("(1,)", &[1.0]), map(None), &[0]);
    let x = feed(Role::Input, "x", Dtype::F32, &[]);
    let unused = Loader::bind(data.train(), std::slice::from_ref(&x)).unwrap_err().to_string();
    assert!(unused.contains("the data have target `y`, but expected are only input `x`"), "{unused}");
    let more = [x, feed(Role::Target, "y", Dtype::I64, &[]), feed(Role::Input, "y", Dtype::F32, &[])];
    let missing = Loader::bind(data.train(), &more).unwrap_err().to_string();
    assert!(
        missing.contains("no input `y`; they have input `x`, target `y`: add `data.inputs.y`"),
        "{missing}"
    );
}

#[test]
fn scales_that_fit_neither_model_nor_arithmetic_are_refused_with_their_key() {
    let check = |settings: ArrayMap, dtype, text: &str| {
        let data = dataset(npy("|u1", "(1, 3)", &[1, 2, 3]), settings, &[0]);
        check_refused(&data, feed(Role::Input, "x", dtype, &[3]), &[text]);
    };
    let with = |scale, mean: &[f32], std: &[f32]| ArrayMap {
        scale,
        mean: mean.to_vec(),
        std: std.to_vec(),
        ..map(None)
    };
    check(with(0.5, &[], &[]), Dtype::I64, "`data.inputs.x` sets `scale`");
    check(with(1.0, &[0.5], &[]), Dtype::I64, "input `x` must be int64");
    check(
        with(1.0, &[1.0, 2.0], &[]),
        Dtype::F32,
        "`data.inputs.x.mean` has 2 values; expected one, or one for each of the 3",
    );
    check(with(1.0, &[], &[1.0; 4]), Dtype::F32, "`data.inputs.x.std` has 4 values");
    check(with(1.0, &[], &[1.0, 0.0, 1.0]), Dtype::F32, "`data.inputs.x.std` is 0");
    check(with(f32::INFINITY, &[], &[]), Dtype::F32, "`data.inputs.x.scale` is inf");
    check(with(1.0, &[f32::NAN], &[]), Dtype::F32, "`data.inputs.x.mean` is NaN");
}

#[test]
fn labels_beyond_the_classes_are_named_with_their_row() {
    let data = dataset(npy_f32("(4,)", &[0.0; 4]), map(None), &[0, 2, -100, 3]);
    let loader = bind(&data, feed(Role::Input, "x", Dtype::F32, &[])).unwrap();
    assert!(loader.check_labels("y", 4, -100).is_ok());
    let check = |classes, ignored, text: &str| {
        let error = loader.check_labels("y", classes, ignored).unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    };
    check(3, -100, "array `y`, row 3 (the first is 0): found label 3, expected 0 to 2 or the ignored -100");
    check(4, -1, "row 2 (the first is 0): found label -100");
    assert!(matches!(loader.check_labels("z", 4, -100), Err(CheckError::NoLabels { .. })));
}

#[test]
fn numbers_that_are_not_finite_are_named_with_row_and_index() {
    let check = |values: &[f32], settings: ArrayMap, text: &str| {
        let data = dataset(npy_f32("(2, 2)", values), settings, &[0, 0]);
        let loader = bind(&data, feed(Role::Input, "x", Dtype::F32, &[2])).unwrap();
        let error = loader.check_finite().unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    };
    check(&[0.0, 1.0, 2.0, f32::NAN], map(None), "array `x`, row 1, value 1 (the first is 0): found NaN");
    check(&[0.0, f32::NEG_INFINITY, 2.0, 3.0], map(None), "row 0, value 1 (the first is 0): found -inf");
    let huge = ArrayMap { scale: 1e38, ..map(None) };
    check(&[0.0, 1.0, 2.0, 3e38], huge, "row 1, value 1 (the first is 0): found inf");
    let sound = dataset(npy_f32("(1, 2)", &[0.0, 1.0]), map(None), &[0]);
    assert!(bind(&sound, feed(Role::Input, "x", Dtype::F32, &[2])).unwrap().check_finite().is_ok());
}
