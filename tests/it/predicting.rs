//! A trained model in use: `trainer predict`.

use crate::data_files::{npy_f32, npz};
use crate::evaluating::{damage, digits_file, trained};
use crate::main_job::validation_digits;
use crate::networks::linear;
use crate::objectives::on_two_heads;
use crate::runtime_library::run;
use crate::tokens_and_images::{on_images, on_tokens};
use crate::work_dir::{Ended, WorkDir, trainer};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use trainer::graph::model::Dim;
use trainer::graph::read::{read_bytes, read_file};
use trainer::graph::tensor::Tensor;
use trainer::graph::write::to_bytes;
use trainer_runtime::checkpoint::Link;

/// A file beside the work directory.
fn beside(dir: &WorkDir, name: &str) -> PathBuf {
    dir.path().parent().unwrap().join(name)
}

fn predict(dir: &WorkDir, input: &str, output: &str, more: &[&str]) -> Ended {
    predict_with(&dir.path(), &beside(dir, input), &beside(dir, output), more)
}

fn predict_with(source: &Path, input: &Path, output: &Path, more: &[&str]) -> Ended {
    let mut command = trainer(["predict"]);
    command.arg(source).arg("--input").arg(input).arg("--output").arg(output).args(more);
    Ended::of(&mut command)
}

/// The arrays of an `.npz` file: the text of the header and the bytes of the elements.
#[track_caller]
fn arrays(path: &Path) -> BTreeMap<String, (String, Vec<u8>)> {
    let mut archive = zip::ZipArchive::new(fs::File::open(path).unwrap()).unwrap();
    let mut found = BTreeMap::new();
    for index in 0..archive.len() {
        let mut member = archive.by_index(index).unwrap();
        let mut bytes = Vec::new();
        member.read_to_end(&mut bytes).unwrap();
        let len = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
        let header = String::from_utf8(bytes[10..10 + len].to_vec()).unwrap();
        assert_eq!((10 + len) % 64, 0, "{header}");
        let name = member.name().unwrap().strip_suffix(".npy").unwrap().to_owned();
        found.insert(name, (header.trim_end().to_owned(), bytes[10 + len..].to_vec()));
    }
    found
}

#[track_caller]
fn floats(path: &Path, array: &str) -> Vec<f32> {
    let (_, bytes) = &arrays(path)[array];
    bytes.as_chunks().0.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect()
}

/// Header and rows of a table.
#[track_caller]
fn table(path: &Path) -> (String, Vec<Vec<f32>>) {
    let text = fs::read_to_string(path).unwrap();
    let (header, rows) = text.split_once('\n').unwrap();
    let row = |line: &str| line.split(',').map(|field| field.parse().unwrap()).collect();
    (header.to_owned(), rows.lines().map(row).collect())
}

#[track_caller]
fn check_near(found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() <= tolerance, "{found} and {expected}");
    }
}

/// The digits of the validation part in each format that holds them.
fn digits_in_all_formats(dir: &WorkDir) -> [&'static str; 3] {
    let (images, labels) = validation_digits();
    digits_file(dir, "new.npz");
    dir.write("new.npy", npy_f32(&[labels.len(), 8, 8], &images));
    let mut text = (0..64).map(|pixel| format!("p{pixel}")).collect::<Vec<_>>().join(",");
    for image in images.chunks(64) {
        text += "\n";
        text += &image.iter().map(f32::to_string).collect::<Vec<_>>().join(",");
    }
    dir.write("new.csv", text);
    ["new.npz", "new.npy", "new.csv"]
}

#[test]
fn every_format_gives_the_answers_that_the_exported_model_gives() {
    let dir = trained(&[]);
    let (images, labels) = validation_digits();
    let model = read_file(&dir.path().join("model.onnx")).unwrap();
    let whole = Tensor::from_f32([labels.len(), 1, 8, 8], &images);
    let expected = run(&model, &[("images".to_owned(), whole)])[0].to_f32().unwrap();
    let mut tables = Vec::new();
    for input in digits_in_all_formats(&dir) {
        let output = format!("{input}.answers.npz");
        predict(&dir, input, &output, &["--checkpoint", "final", "--batch-size", "50"]).check_code(0);
        let found = arrays(&beside(&dir, &output));
        assert_eq!(found["logits"].0, "{'descr': '<f4', 'fortran_order': False, 'shape': (359, 10), }");
        check_near(&floats(&beside(&dir, &output), "logits"), &expected, 1e-5);
        tables.push(found);
        let output = format!("{input}.answers.csv");
        predict(&dir, input, &output, &["--checkpoint", "final", "--batch-size", "50"]).check_code(0);
        let (header, rows) = table(&beside(&dir, &output));
        assert!(header.starts_with("logits_0,logits_1,") && header.ends_with("logits_9"), "{header}");
        assert_eq!(rows.concat(), floats(&beside(&dir, &format!("{input}.answers.npz")), "logits"));
    }
    assert!(tables.iter().all(|found| *found == tables[0]), "formats differ");
    // The exported model alone, in batches of another size.
    let (model, output) = (dir.path().join("model.onnx"), beside(&dir, "alone.npz"));
    let flags = ["--threads", "1", "--batch-size", "359"];
    predict_with(&model, &beside(&dir, "new.npz"), &output, &flags).check_code(0);
    check_near(&floats(&output, "logits"), &expected, 1e-5);
}

#[test]
fn the_classes_are_right_as_often_as_the_run_measured() {
    let dir = trained(&[]);
    digits_file(&dir, "new.npz");
    let said = predict(&dir, "new.npz", "classes.csv", &["--argmax", "--json", "--checkpoint", "epoch:2"]);
    let said: Json = serde_json::from_str(&said.check_code(0).stdout).unwrap();
    assert_eq!(
        (&said["rows"], &said["answers"][0], &said["checkpoint"]["epoch"]),
        (&359.into(), &"prediction".into(), &2.into())
    );
    let (header, rows) = table(&beside(&dir, "classes.csv"));
    let (_, labels) = validation_digits();
    let right = rows.iter().zip(&labels).filter(|(row, label)| row[0] == **label as f32).count();
    assert_eq!(header, "prediction");
    assert_eq!(right as f64 / labels.len() as f64, dir.measured("val_accuracy", 2));
    predict(&dir, "new.npz", "chances.npz", &["--probabilities"]).check_code(0);
    for chances in floats(&beside(&dir, "chances.npz"), "probability").chunks(10) {
        assert!((chances.iter().sum::<f32>() - 1.0).abs() < 1e-5, "{chances:?}");
    }
    predict(&dir, "new.npz", "classes.npz", &["--argmax", "--checkpoint", "epoch:2"]).check_code(0);
    let (header, bytes) = &arrays(&beside(&dir, "classes.npz"))["prediction"];
    assert!(header.contains("'<i8'") && header.contains("(359,)"), "{header}");
    let classes = bytes.as_chunks().0.iter().map(|chunk| i64::from_le_bytes(*chunk) as f32);
    assert!(rows.concat().into_iter().eq(classes));
}

#[test]
fn no_examples_give_answers_without_rows() {
    let dir = trained(&[]);
    dir.write("none.npz", npz(&[("images", npy_f32(&[0, 1, 8, 8], &[]))]));
    dir.write("none.csv", (0..64).map(|pixel| format!("p{pixel}")).collect::<Vec<_>>().join(","));
    for input in ["none.npz", "none.csv"] {
        predict(&dir, input, "out.npz", &["--force"]).check_code(0);
        let found = arrays(&beside(&dir, "out.npz"));
        assert_eq!(
            found["logits"],
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (0, 10), }".to_owned(), vec![])
        );
        predict(&dir, input, "out.csv", &["--force", "--argmax"]).check_code(0);
        assert_eq!(fs::read_to_string(beside(&dir, "out.csv")).unwrap(), "prediction\n");
    }
}

#[test]
fn inputs_are_scaled_as_in_training() {
    let scaled = "data.inputs.images={array=\"images\",scale=0.5,mean=0.25,std=2.0}";
    let dir = trained(&[scaled]);
    let (images, labels) = validation_digits();
    digits_file(&dir, "raw.npz");
    let by_hand: Vec<f32> = images.iter().map(|pixel| (pixel * 0.5 - 0.25) / 2.0).collect();
    dir.write("scaled.npz", npz(&[("images", npy_f32(&[labels.len(), 1, 8, 8], &by_hand))]));
    predict(&dir, "raw.npz", "raw-out.npz", &["--checkpoint", "final"]).check_code(0);
    let (model, output) = (dir.path().join("model.onnx"), beside(&dir, "scaled-out.npz"));
    predict_with(&model, &beside(&dir, "scaled.npz"), &output, &["--threads", "1"]).check_code(0);
    check_near(&floats(&beside(&dir, "raw-out.npz"), "logits"), &floats(&output, "logits"), 1e-4);
}

#[test]
fn outputs_are_chosen_by_name() {
    let dir = on_two_heads(&[]);
    dir.finish(&[]);
    dir.write("new.npz", npz(&[("x", npy_f32(&[3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]))]));
    predict(&dir, "new.npz", "both.csv", &[]).check_code(0);
    predict(&dir, "new.npz", "one.csv", &["--output-names", "q"]).check_code(0);
    predict(&dir, "new.npz", "turned.csv", &["--output-names", "q,p"]).check_code(0);
    let [both, one, turned] = ["both.csv", "one.csv", "turned.csv"].map(|name| table(&beside(&dir, name)));
    assert_eq!([&both.0, &one.0, &turned.0], ["p_0,q_0", "q_0", "q_0,p_0"]);
    for ((both, one), turned) in both.1.iter().zip(&one.1).zip(&turned.1) {
        assert_eq!((both[1], [both[1], both[0]].as_slice()), (one[0], turned.as_slice()));
    }
    predict(&dir, "new.npz", "none.csv", &["--output-names", "r"])
        .check_code(2)
        .check_says(&["no output `r`; it has `p`, `q`"]);
}

#[test]
fn a_model_that_takes_one_size_of_batch_answers_any_number_of_examples() {
    let dir = WorkDir::new(&[]);
    let mut graph = read_bytes(Path::new("linear.onnx"), linear(2, &[0.0, 1.0]).into()).unwrap();
    for port in graph.inputs.iter_mut().chain(&mut graph.outputs) {
        port.dims.as_mut().unwrap()[0] = Dim::Fixed(4);
    }
    let model = dir.write("fixed.onnx", to_bytes(&graph));
    let values: Vec<f32> = (0..14_u8).map(f32::from).collect();
    dir.write("new.npz", npz(&[("x", npy_f32(&[7, 2], &values))]));
    let (input, output) = (beside(&dir, "new.npz"), beside(&dir, "out.npz"));
    predict_with(Path::new(&model), &input, &output, &["--batch-size", "5"])
        .check_code(0)
        .check_says(&["takes batches of 4 examples"]);
    let expected: Vec<f32> =
        values.chunks(2).flat_map(|x| [0.1 * (x[0] + x[1]), 0.1 * (x[0] + x[1]) + 1.0]).collect();
    check_near(&floats(&output, "y"), &expected, 1e-5);
}

#[test]
fn images_are_answered_by_file() {
    let dir = on_images(&[]);
    dir.finish(&[]);
    predict(&dir, "pictures", "classes.csv", &["--argmax"]).check_code(0);
    let text = fs::read_to_string(beside(&dir, "classes.csv")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((lines.len(), lines[0]), (41, "file,prediction"));
    for line in &lines[1..] {
        assert!(
            line.starts_with("left/") && line.ends_with(",0")
                || line.starts_with("right/") && line.ends_with(",1"),
            "{line}"
        );
    }
    predict(&dir, "pictures/left", "left.npz", &["--argmax"]).check_code(0);
    let found = arrays(&beside(&dir, "left.npz"));
    assert!(found["file"].0.contains("'<U6'") && found["prediction"].0.contains("(20,)"), "{found:?}");
    assert!(found["file"].1.starts_with(b"0\0\0\x000\0\0\0.\0\0\0p\0\0\0n\0\0\0g\0\0\x000"));
    let one = predict(&dir, "pictures/left/00.png", "one.csv", &[]).check_code(2);
    one.check_says(&["00.png is one image", "give the folder that it lies in"]);
    let run = trained(&[]);
    predict_with(&run.path(), &beside(&dir, "pictures"), &beside(&run, "out.csv"), &[])
        .check_code(2)
        .check_says(&["is a folder"]);
}

#[test]
fn tokens_are_answered_at_each_position() {
    let dir = on_tokens(&[]);
    dir.finish(&[]);
    dir.write("new.csv", "first,second,third\n3,4,5\n9,10,11\n");
    predict(&dir, "new.csv", "next.csv", &["--argmax"]).check_code(0);
    let (header, rows) = table(&beside(&dir, "next.csv"));
    assert_eq!(header, "prediction_0,prediction_1,prediction_2");
    assert_eq!(rows, [[4.0, 5.0, 6.0], [10.0, 11.0, 12.0]]);
}

/// That predicting ends so, and says this, and leaves no file behind.
#[track_caller]
fn check_refused(dir: &WorkDir, input: &str, output: &str, more: &[&str], code: i32, says: &[&str]) {
    predict(dir, input, output, more).check_code(code).check_says(says);
    let path = beside(dir, output);
    let beside = path.parent().filter(|folder| folder.is_dir()).unwrap_or(Path::new("/var/empty"));
    let is_left = |name: &std::ffi::OsStr| name.to_string_lossy().ends_with(".tmp");
    let left =
        std::fs::read_dir(beside).into_iter().flatten().any(|entry| is_left(&entry.unwrap().file_name()));
    assert!(!path.exists() && !left, "it left a file behind");
}

#[test]
fn examples_that_do_not_fit_are_refused_by_name() {
    let dir = trained(&[]);
    digits_file(&dir, "good.npz");
    dir.write("other.npz", npz(&[("pictures", npy_f32(&[1, 1, 8, 8], &[0.0; 64]))]));
    dir.write("wide.npz", npz(&[("images", npy_f32(&[1, 1, 8, 9], &[0.0; 72]))]));
    dir.write("none.npz", npz(&[("images", npy_f32(&[0, 1, 8, 9], &[]))]));
    dir.write("narrow.csv", "a,b\n1,2\n");
    dir.write("text.csv", "a,b\n1,two\n");
    dir.write("odd.txt", "1 2 3");
    let mut broken = npz(&[("images", npy_f32(&[2, 1, 8, 8], &[0.5; 128]))]);
    let middle = broken.len() / 2;
    broken[middle] ^= 1;
    dir.write("broken.npz", broken);
    check_refused(&dir, "absent.npz", "out.npz", &[], 2, &["absent.npz", "check the path"]);
    check_refused(&dir, "other.npz", "out.npz", &[], 2, &["no array or column `images`", "`pictures`"]);
    check_refused(&dir, "wide.npz", "out.npz", &[], 2, &["examples of shape (1, 8, 8), found (1, 8, 9)"]);
    check_refused(&dir, "none.npz", "out.npz", &[], 2, &["examples of shape (1, 8, 8), found (1, 8, 9)"]);
    check_refused(&dir, "narrow.csv", "out.npz", &[], 2, &["found (2,)"]);
    check_refused(&dir, "odd.txt", "out.npz", &[], 2, &["none of the known data formats"]);
    check_refused(&dir, "broken.npz", "out.npz", &[], 2, &["array `images`", "damaged"]);
    check_refused(&dir, "good.npz", "out.txt", &[], 2, &["neither with .npz nor with .csv"]);
    check_refused(&dir, "good.npz", "no/out.npz", &[], 74, &["no/out.npz"]);
    check_refused(&dir, "text.csv", "out.npz", &[], 2, &["line 2, column `b`: found \"two\""]);
}

#[test]
fn fractions_are_no_tokens() {
    let dir = on_tokens(&[]);
    dir.finish(&["--max-steps", "3"]);
    dir.write("new.npy", npy_f32(&[1, 2], &[1.0, 2.0]));
    dir.write("new.csv", "a,b\n1,2\n3,4.5\n");
    check_refused(&dir, "new.npy", "out.csv", &[], 2, &["must be int64, found float32"]);
    // The second batch: what was written of the first is gone.
    check_refused(
        &dir,
        "new.csv",
        "out.csv",
        &["--batch-size", "1", "--argmax"],
        2,
        &["must be int64, found float64"],
    );
}

#[test]
fn answers_replace_a_file_only_by_force_and_the_checkpoint_must_verify() {
    let dir = trained(&[]);
    digits_file(&dir, "new.npz");
    let output = beside(&dir, "out.csv");
    fs::write(&output, "mine").unwrap();
    predict(&dir, "new.npz", "out.csv", &[]).check_code(2).check_says(&["is there already", "--force"]);
    assert_eq!(fs::read_to_string(&output).unwrap(), "mine");
    predict(&dir, "new.npz", "out.csv", &["--force"]).check_code(0);
    assert_eq!(table(&output).1.len(), 359);
    fs::remove_file(&output).unwrap();
    damage(&dir, Link::Final);
    check_refused(&dir, "new.npz", "out.csv", &["--checkpoint", "final"], 5, &["failed its checksum"]);
    let foreign = dir.write("foreign.onnx", fs::read(dir.path().join("model.onnx")).unwrap());
    let words = ["foreign.onnx is neither a checkpoint nor"];
    check_refused(&dir, "new.npz", "out.csv", &["--checkpoint", &foreign], 2, &words);
    let settings = dir.path().join("trainer.toml");
    let copy = dir.write("copy.toml", fs::read(&settings).unwrap());
    fs::remove_file(&settings).unwrap();
    let words = ["has lost its trainer.toml; `trainer resume ", "`--config FILE`"];
    check_refused(&dir, "new.npz", "out.csv", &["--checkpoint", "epoch:1"], 2, &words);
    predict(&dir, "new.npz", "out.csv", &["--checkpoint", "epoch:1", "--config", &copy]).check_code(0);
    let empty = WorkDir::new(&[]);
    check_refused(&empty, "new.npz", "out.csv", &[], 2, &["is not the folder of a run"]);
}
