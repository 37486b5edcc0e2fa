//! `trainer inspect` and `trainer diff`: what files hold, whole, damaged and of others.

use super::{interrupted, look};
use crate::work_dir::{Ended, WorkDir, test_data, trainer};
use serde_json::Value as Json;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use trainer_runtime::RunId;
use trainer_runtime::checkpoint::{Kind, Request, Snapshot, Store, TensorView};
use trainer_runtime::disk::RealDisk;

fn inspect(path: impl AsRef<Path>, more: &[&str]) -> Ended {
    Ended::of(trainer(["inspect"]).arg(path.as_ref()).args(more))
}

fn diff(a: impl AsRef<Path>, b: impl AsRef<Path>, more: &[&str]) -> Ended {
    Ended::of(trainer(["diff"]).arg(a.as_ref()).arg(b.as_ref()).args(more))
}

fn json(ended: Ended, code: i32) -> Json {
    serde_json::from_str(&ended.check_code(code).stdout).unwrap()
}

fn checkpoint(dir: &WorkDir, name: &str) -> PathBuf {
    dir.path().join("checkpoints").join(name)
}

/// Changes a file, after which it is no other's second name.
fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_checkpoint_tells_epoch_step_cause_best_metrics_and_every_tensor() {
    let dir = interrupted();
    let found = json(inspect(checkpoint(&dir, "final.safetensors"), &["--json"]), 0);
    let loaded = dir.final_checkpoint();
    assert_eq!((found["epoch"].as_u64(), found["step"].as_u64()), (Some(3), Some(69)));
    assert_eq!((&found["cause"], &found["good"]), (&Json::from("epoch"), &Json::from(true)));
    assert_eq!(found["run_id"], loaded.meta().run_id.to_string());
    assert_eq!(found["metrics"]["val_accuracy"], dir.measured("val_accuracy", 3));
    let best = dir.epochs().into_iter().rfind(|epoch| epoch.is_best).unwrap();
    assert_eq!(found["state"]["best"]["epoch"], best.epoch);
    assert_eq!(found["state"]["best"]["value"], best.value("val_loss").unwrap());
    assert_eq!((&found["state"]["next_epoch"], &found["state"]["watched"]), (&4.into(), &"val_loss".into()));
    for (tensor, expected) in found["tensors"].as_array().unwrap().iter().zip(loaded.iter()) {
        assert_eq!((&tensor["name"], &tensor["checksum"]), (&expected.name.into(), &"good".into()));
        if let Ok(values) = expected.to_vec::<f32>() {
            let norm = values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
            let found = tensor["statistics"]["norm"].as_f64().unwrap();
            assert!((found - norm).abs() <= 1e-12 * norm, "{}: {found} {norm}", expected.name);
        }
    }
    let text = inspect(checkpoint(&dir, "best.safetensors"), &[]).check_code(0).stdout;
    for words in ["cause         epoch", "best          ", "fc1.weight", "[64, 64]", "tensors verify"] {
        assert!(text.contains(words), "{words}: {text}");
    }
}

#[test]
fn of_a_damaged_checkpoint_it_is_told_which_tensors_verify() {
    let dir = interrupted();
    let path = checkpoint(&dir, "final.safetensors");
    change(&path, |bytes| {
        let last = bytes.len() - 200;
        bytes[last] ^= 1;
    });
    let found = json(inspect(&path, &["--json"]), 5);
    let tensors = found["tensors"].as_array().unwrap();
    let damaged: Vec<&Json> = tensors.iter().filter(|tensor| tensor["checksum"] == "damaged").collect();
    assert_eq!((damaged.len(), &found["good"]), (1, &false.into()));
    let text = inspect(&path, &[]).check_code(5).stdout;
    assert!(text.contains(&format!("DAMAGED: 1 of {} tensors", tensors.len())), "{text}");
    let folder = json(inspect(dir.path(), &["--json"]), 5);
    let good: Vec<&Json> =
        folder["checkpoints"].as_array().unwrap().iter().map(|found| &found["good"]).collect();
    assert_eq!(good.iter().filter(|good| **good == false).count(), 1, "{folder}");

    change(&path, |bytes| bytes.truncate(bytes.len() / 2));
    let found = json(inspect(&path, &["--json"]), 5);
    let tensors = found["tensors"].as_array().unwrap();
    assert!(tensors.iter().any(|tensor| tensor["checksum"] == "cut"), "{found}");
    assert!(tensors.iter().any(|tensor| tensor["checksum"] == "good"), "{found}");

    change(&path, |bytes| bytes[60] ^= 1);
    inspect(&path, &[]).check_code(5).check_says(&["header failed its checksum"]);
    inspect(dir.path(), &[]).check_code(5);
}

#[test]
fn files_of_others_are_named_as_such_with_2_and_a_newer_format_with_5() {
    let dir = interrupted();
    let foreign = test_data("models/families/gru.safetensors");
    inspect(&foreign, &[]).check_code(2).check_says(&["safetensors file of another program", "header_crc32"]);
    diff(&foreign, &foreign, &[]).check_code(2).check_says(&["another program"]);
    inspect(dir.path().join("model.onnx"), &[])
        .check_code(2)
        .check_says(&["neither a checkpoint nor a segment"]);
    inspect(dir.path().join("trainer.toml"), &["--records"]).check_code(2).check_says(&["no segment"]);
    inspect(dir.path().join("nothing"), &[]).check_code(2).check_says(&["nothing: No such file"]);
    let empty = dir.make_folder("empty");
    inspect(&empty, &[]).check_code(2).check_says(&["neither a journal nor checkpoints"]);
    inspect(&empty, &["--records"]).check_code(2).check_says(&["no journal"]);
    diff(dir.path(), &foreign, &[]).check_code(2).check_says(&["is a folder"]);
    let pipe = dir.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for ended in [inspect(&pipe, &[]), diff(&pipe, &pipe, &[]), Ended::of(trainer(["verify"]).arg(&pipe))] {
        ended.check_code(2).check_says(&["pipe is no file"]);
    }
    inspect(dir.path(), &["--nonsense"]).check_code(2).check_says(&["--nonsense"]);

    // Another version in the metadata, and the checksum of the header that it then has.
    let path = checkpoint(&dir, "final.safetensors");
    change(&path, |bytes| {
        let version = br#""format_version":"1""#;
        let at = bytes.windows(version.len()).position(|window| window == version).unwrap();
        bytes[at + version.len() - 2] = b'9';
        bytes[41..49].copy_from_slice(b"00000000");
        let len_bytes = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let crc = format!("{:08x}", crc32fast::hash(&bytes[..8 + len_bytes]));
        bytes[41..49].copy_from_slice(crc.as_bytes());
    });
    inspect(&path, &[]).check_code(5).check_says(&["format version 9"]);
}

#[test]
fn a_journal_of_another_format_is_refused_by_its_version_and_is_no_damage() {
    let dir = interrupted();
    change(&dir.segment(), |bytes| {
        bytes[8] = 9;
        bytes[60] ^= 1;
    });
    for command in ["history", "inspect", "verify"] {
        let ended = look(command, &dir, &[]).check_code(5);
        let said = format!("{}{}", ended.stdout, ended.stderr);
        assert!(said.contains("format version 9"), "{command}: {said}");
    }
    let listed = look("ls", &dir, &[]).check_code(0).stdout;
    assert!(listed.contains("unknown (") && !listed.contains("DAMAGED"), "{listed}");
}

#[test]
fn a_journal_is_listed_record_by_record_and_a_damaged_one_up_to_the_damage() {
    let dir = interrupted();
    let records = inspect(dir.path(), &["--records", "--json"]).check_code(0).stdout;
    let records: Vec<Json> = records.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(records.len(), dir.events().len());
    assert!(records.iter().zip(1..).all(|(record, sequence): (_, u64)| record["sequence"] == sequence));
    let losses = records.iter().filter_map(|record| record["fields"]["loss"].as_f64());
    assert!(losses.map(|loss| (loss as f32).to_bits()).eq(dir.steps().iter().map(|step| step.loss_bits)));

    let some = inspect(dir.path(), &["--kind", "signal_received,Resumed"]).check_code(0).stdout;
    assert!(some.lines().count() == 2 && some.contains("signal=SIGTERM"), "{some}");
    let last = inspect(dir.path().join("journal"), &["--last", "1"]).check_code(0).stdout;
    assert!(last.contains("Finished") && last.lines().count() == 1, "{last}");
    let none = inspect(dir.path(), &["--kind", "nonsense"]).check_code(0);
    assert_eq!(none.stdout, "");
    none.check_says(&["none of the records is of kind nonsense", "StepDone"]);

    let segment = dir.segment();
    let of_segment = inspect(&segment, &[]).check_code(0).stdout.lines().count();
    change(&segment, |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    });
    let damaged = inspect(&segment, &[]).check_code(5);
    assert!((2..of_segment).contains(&damaged.stdout.lines().count()), "{damaged:?}");
    damaged.check_says(&["is damaged at byte", "repair"]);
    inspect(dir.path(), &["--records"]).check_code(5).check_says(&["is damaged at byte"]);
    let summary = inspect(dir.path(), &[]).check_code(5).stdout;
    assert!(summary.contains("DAMAGED"), "{summary}");
    fs::write(dir.path().join("journal/00000009.wal"), b"TRNJ\r\n\x1a\n").unwrap();
    inspect(dir.path().join("journal/00000009.wal"), &[]).check_code(5).check_says(&["00000009.wal"]);
}

#[test]
fn a_folder_is_told_in_numbers_and_is_not_changed() {
    let dir = interrupted();
    let before = dir.result();
    let found = json(inspect(dir.path(), &["--json"]), 0);
    assert_eq!(found["journal"]["by_kind"]["StepDone"], 69);
    assert_eq!(found["journal"]["records"], dir.events().len());
    assert_eq!((&found["journal"]["attempts"], &found["good"]), (&2.into(), &true.into()));
    let checkpoints = found["checkpoints"].as_array().unwrap();
    let links = checkpoints.iter().filter(|checkpoint| !checkpoint["same_file_as"].is_null()).count();
    assert_eq!((links, checkpoints.len()), (3, dir.checkpoints().len() + 3));
    json(inspect(dir.path().join("checkpoints"), &["--json"]), 0);
    dir.result().check_equals(&before);
}

#[test]
fn two_runs_with_the_same_settings_end_with_checkpoints_that_do_not_differ() {
    let (a, b) = (interrupted(), interrupted());
    let (a, b) = (checkpoint(&a, "final.safetensors"), checkpoint(&b, "final.safetensors"));
    let found = json(diff(&a, &b, &["--json"]), 0);
    assert_eq!((&found["equal"], found["state"].as_array().map(Vec::len)), (&true.into(), Some(0)));
    assert_eq!(found["origin"][0]["field"], "run_id");
    let text = diff(&a, &b, &[]).check_code(0).stdout;
    assert!(text.contains("equal: 18 tensors are equal") && !text.contains("fc1.weight"), "{text}");
    assert!(diff(&a, &b, &["--all"]).stdout.contains("fc1.weight"));
}

#[test]
fn what_differs_between_two_checkpoints_is_measured_by_tensor_and_ends_with_1() {
    let dir = interrupted();
    let names = dir.checkpoints();
    let [first, .., last] = names.as_slice() else { panic!("{names:?}") };
    let (a, b) = (dir.store().load(*first).unwrap(), dir.store().load(*last).unwrap());
    let found = json(diff(dir.store().path(*first), dir.store().path(*last), &["--json"]), 1);
    let weight = |checkpoint: &trainer_runtime::checkpoint::Checkpoint| {
        checkpoint.tensor("fc1.weight").unwrap().to_vec::<f32>().unwrap()
    };
    let largest = weight(&a).into_iter().zip(weight(&b)).map(|(a, b)| (f64::from(a) - f64::from(b)).abs());
    let tensors = found["tensors"].as_array().unwrap();
    let of_weight = tensors.iter().find(|tensor| tensor["name"] == "fc1.weight").unwrap();
    assert_eq!(of_weight["distance"]["max_abs"], largest.fold(0.0, f64::max));
    let fields: Vec<&Json> = found["state"].as_array().unwrap().iter().map(|field| &field["field"]).collect();
    assert!(fields.contains(&&"step".into()) && fields.contains(&&"best.value".into()), "{fields:?}");
    assert_eq!(
        found["summary"]["differ"].as_u64().unwrap() + found["summary"]["equal"].as_u64().unwrap(),
        18
    );

    let other = WorkDir::new(&["model.builtin=cnn", "--max-steps", "1"]);
    other.finish(&[]);
    let found = json(diff(dir.store().path(*last), checkpoint(&other, "last.safetensors"), &["--json"]), 1);
    assert!(
        found["summary"]["only_in_a"].as_u64() > Some(0) && found["summary"]["only_in_b"].as_u64() > Some(0)
    );

    let damaged = checkpoint(&dir, "final.safetensors");
    change(&damaged, |bytes| {
        let at = bytes.len() - 200;
        bytes[at] ^= 1;
    });
    diff(dir.store().path(*first), &damaged, &[])
        .check_code(5)
        .check_says(&["damaged, so it is not compared"]);
    look("diff", &dir, &[]).check_code(2).check_says(&["<B>"]);
}

/// A tensor that another program saves with this crate.
struct Weight([f32; 3]);

impl Snapshot for Weight {
    fn tensors(&self) -> Vec<TensorView<'_>> {
        vec![TensorView::new("\u{1b}[31mweight", vec![3], &self.0)]
    }
}

#[test]
fn checkpoints_of_other_programs_are_told_and_compared_without_their_state() {
    let dir = WorkDir::new(&[]);
    let publish = |name: &str, state: &[u8], weight: [f32; 3]| -> PathBuf {
        let store = Store::open(RealDisk::shared(), &dir.path().join(name)).unwrap();
        let request = Request {
            kind: Kind::Step,
            run_id: RunId([7; 16]),
            epoch: 1,
            step: 5,
            state: state.to_vec(),
            snapshot: Arc::new(Weight(weight)),
        };
        store.path(store.publish(request).unwrap().name)
    };
    let a = publish("a", b"one", [1.0, -2.0, f32::NAN]);
    let same = publish("same", b"one", [1.0, -2.0, f32::NAN]);
    let other_state = publish("state", b"two", [1.0, -2.0, f32::NAN]);
    let other_weight = publish("weight", b"one", [1.0, -2.5, f32::NAN]);
    let found = json(inspect(&a, &["--json"]), 0);
    assert!(found["state"].is_null() && found["good"] == true, "{found}");
    assert_eq!(found["tensors"][0]["statistics"]["non_finite"], 1);
    let text = inspect(&a, &[]).check_code(0).stdout;
    assert!(text.contains(r"\u{1b}[31mweight") && !text.contains('\u{1b}'), "{text:?}");

    diff(&a, &same, &[]).check_code(0);
    let found = json(diff(&a, &other_state, &["--json"]), 1);
    assert_eq!((&found["state"][0]["field"], &found["summary"]["equal"]), (&"state".into(), &1.into()));
    let found = json(diff(&a, &other_weight, &["--json"]), 1);
    let distance = &found["tensors"][0]["distance"];
    assert_eq!((&distance["differing"], &distance["max_abs"]), (&1.into(), &0.5.into()));
    assert_eq!(distance["relative_l2"], 0.5 / 5.0_f64.sqrt());
}
