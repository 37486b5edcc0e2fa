//! `trainer export`: a saved state as an ONNX file in several forms, and its weights for PyTorch.

use crate::data_files::{npy_f32, npy_i64, npz};
use crate::evaluating::{damage, digits_file, trained};
use crate::main_job::validation_digits;
use crate::networks::linear;
use crate::reference_models::{self, folder};
use crate::runtime_library::run;
use crate::work_dir::{Ended, WorkDir, trainer};
use safetensors::{Dtype as StoredDtype, SafeTensors};
use serde_json::Value as Json;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::PathBuf;
use trainer::graph::model::{Dim, Graph};
use trainer::graph::read::read_file;
use trainer::graph::tensor::{Dtype, Tensor};
use trainer_runtime::checkpoint::Link;

fn beside(dir: &WorkDir, name: &str) -> PathBuf {
    dir.path().parent().unwrap().join(name)
}

fn export(dir: &WorkDir, output: &str, more: &[&str]) -> Ended {
    let mut command = trainer(["export"]);
    command.arg(dir.path()).arg("--output").arg(beside(dir, output)).args(more);
    Ended::of(&mut command)
}

/// What was exported, and what the command said of it.
#[track_caller]
fn exported(dir: &WorkDir, output: &str, more: &[&str]) -> (Graph, Json) {
    let said = export(dir, output, &[more, &["--json", "--force"]].concat()).check_code(0).stdout;
    (read_file(&beside(dir, output)).unwrap(), serde_json::from_str(&said).unwrap())
}

/// The logits of the digits of the validation part.
#[track_caller]
fn logits(graph: &Graph) -> Vec<f32> {
    let (images, labels) = validation_digits();
    let images = Tensor::from_f32([labels.len(), 1, 8, 8], &images);
    run(graph, &[("images".to_owned(), images)])[0].to_f32().unwrap()
}

#[track_caller]
fn largest_difference(first: &[f32], second: &[f32]) -> f32 {
    assert_eq!(first.len(), second.len());
    first.iter().zip(second).map(|(first, second)| (first - second).abs()).fold(0.0, f32::max)
}

/// That an export is refused so, and leaves no file.
#[track_caller]
fn check_refused(dir: &WorkDir, output: &str, more: &[&str], code: i32, says: &[&str]) {
    export(dir, output, more).check_code(code).check_says(says);
    assert!(!beside(dir, output).exists() && !beside(dir, &format!("{output}.tmp")).exists());
}

#[test]
fn the_final_state_gives_the_file_that_the_run_wrote_and_an_earlier_one_another() {
    let dir = trained(&["model.builtin=cnn"]);
    export(&dir, "final.onnx", &["--checkpoint", "final"]).check_code(0);
    assert!(
        fs::read(beside(&dir, "final.onnx")).unwrap() == fs::read(dir.path().join("model.onnx")).unwrap()
    );
    let (early, said) = exported(&dir, "early.onnx", &["--checkpoint", "epoch:1"]);
    assert_eq!(
        (&said["checkpoint"]["step"], &said["opset"], &said["format"]),
        (&23.into(), &18.into(), &"onnx".into())
    );
    let checkpoint = dir.store().load(dir.checkpoints()[0]).unwrap();
    for (name, tensor) in early.initializers.iter().filter(|(_, tensor)| tensor.dtype() == Dtype::F32) {
        let stored = checkpoint.tensor(name).or_else(|| checkpoint.tensor(&format!("state/{name}"))).unwrap();
        assert!(stored.bytes == tensor.bytes(), "{name}");
    }
}

#[test]
fn another_opset_computes_the_same() {
    let dir = trained(&["model.builtin=cnn"]);
    let (own, _) = exported(&dir, "own.onnx", &[]);
    let expected = logits(&own);
    for opset in [13, 17, 21, 26] {
        let (other, said) = exported(&dir, "other.onnx", &["--opset", &opset.to_string()]);
        assert_eq!((other.opset, &said["opset"], &said["model_opset"]), (opset, &opset.into(), &18.into()));
        assert_eq!(largest_difference(&logits(&other), &expected), 0.0, "opset {opset}");
        let compared = &said["compared"];
        assert_eq!((&compared["examples"], &compared["data"]), (&32.into(), &"of the run's data".into()));
        assert_eq!(compared["outputs"][0]["largest_difference"], 0.0);
    }
}

#[test]
fn dropout_leaves_nothing_of_itself_in_any_form_however_the_exporter_wrote_its_rate() {
    let mut dir = WorkDir::new(&["--max-steps", "1", "data.builtin=digits"]);
    let model = dir.write("dropout.onnx", crate::networks::cnn_with_dropout_as_pytorch_writes_it());
    dir.add(&[&format!("model.onnx={model}"), "data.inputs.images={array=\"images\"}"]);
    dir.finish(&[]);
    let (own, _) = exported(&dir, "own.onnx", &[]);
    assert!(own.nodes.iter().all(|node| node.op != "Constant" && node.op != "Dropout"), "{:?}", own.nodes);
    let expected = logits(&own);
    for more in [["--opset", "21"].as_slice(), &["--half"], &["--batch", "359"]] {
        let (other, _) = exported(&dir, "other.onnx", more);
        let unread = other.initializers.iter().find(|(name, _)| !other.is_read(name));
        assert!(unread.is_none(), "{more:?}: {:?}", unread.map(|(name, _)| name));
        let tolerance = if more == ["--half"] { 0.05 } else { 1e-4 };
        assert!(largest_difference(&logits(&other), &expected) < tolerance, "{more:?}");
    }
}

/// A run of one step of a model of the families of reference models.
fn on_family(name: &str) -> WorkDir {
    let families = folder().join("families");
    let mut dir = WorkDir::new(&["--max-steps", "1"]);
    let settings = families.join(format!("{}.toml", name.split('-').next().unwrap()));
    let model = families.join(format!("{name}.onnx"));
    dir.add(&["--config", settings.to_str().unwrap(), &format!("model.onnx={}", model.display())]);
    dir.finish(&[]);
    dir
}

#[test]
fn axes_of_reductions_are_rewritten_and_what_can_not_be_is_refused_by_name() {
    let dir = on_family("gru-dynamo");
    let (_, said) = exported(&dir, "old.onnx", &["--opset", "17"]);
    assert_eq!(
        (&said["model_opset"], &said["compared"]["outputs"][0]["largest_difference"]),
        (&20.into(), &0.0.into())
    );
    let dir = on_family("activations-dynamo");
    check_refused(
        &dir,
        "old.onnx",
        &["--opset", "17"],
        2,
        &["with opset 17 it would be another one", "`node_gelu` (Gelu): it came with opset 20"],
    );
    check_refused(&dir, "new.onnx", &["--opset", "99"], 2, &["found opset 99, expected 13 to 26"]);
}

#[test]
fn half_keeps_inputs_outputs_and_norms_and_says_how_far_it_is_off() {
    let dir = trained(&["model.builtin=cnn"]);
    let (own, _) = exported(&dir, "own.onnx", &[]);
    let (half, said) = exported(&dir, "half.onnx", &["--half"]);
    let dtypes: HashMap<&str, Dtype> =
        half.initializers.iter().map(|(name, tensor)| (name.as_str(), tensor.dtype())).collect();
    assert_eq!([dtypes["block1.conv.weight"], dtypes["fc1.weight"], dtypes["head.bias"]], [Dtype::F16; 3]);
    assert_eq!([dtypes["block1.norm.weight"], dtypes["block2.norm.running_var"]], [Dtype::F32; 2]);
    assert_eq!((&half.inputs, &half.outputs), (&own.inputs, &own.outputs));
    let (expected, found) = (logits(&own), logits(&half));
    let difference = largest_difference(&found, &expected);
    assert!(difference > 0.0 && difference < 0.05, "{difference}");
    let output = &said["compared"]["outputs"][0];
    let told = output["largest_difference"].as_f64().unwrap();
    assert!(told > 0.0 && told <= f64::from(difference) + 1e-6, "{told} of 32 and {difference} of all");
    assert_eq!((&said["halved_weights"], &said["half"]), (&6.into(), &true.into()));
    let size = |name: &str| fs::metadata(beside(&dir, name)).unwrap().len();
    assert!(size("half.onnx") * 100 < size("own.onnx") * 55, "{} of {}", size("half.onnx"), size("own.onnx"));
    let text = export(&dir, "half.onnx", &["--half", "--force"]).check_code(0).stdout;
    assert!(text.contains("output logits differs by at most"), "{text}");
}

#[test]
fn transformers_and_recurrent_networks_have_halves_too() {
    for name in ["gpt-script", "lstm-dynamo"] {
        let dir = on_family(name);
        let (half, said) = exported(&dir, "half.onnx", &["--half"]);
        let halved = half.initializers.iter().filter(|(_, tensor)| tensor.dtype() == Dtype::F16).count();
        assert!(halved > 0 && said["halved_weights"] == halved, "{name}: {said}");
    }
}

/// A run of one step on a model of one Gemm, with this bias.
fn on_linear(bias: &[f32], batch: Option<usize>) -> WorkDir {
    let mut dir =
        WorkDir::new(&["--max-steps", "1", "--batch-size", "4", "optimizer.kind=sgd", "--lr", "1e-6"]);
    let mut graph = trainer::graph::read::read_bytes("linear.onnx".as_ref(), linear(2, bias).into()).unwrap();
    if let Some(batch) = batch {
        for port in graph.inputs.iter_mut().chain(&mut graph.outputs) {
            port.dims.as_mut().unwrap()[0] = Dim::Fixed(batch);
        }
    }
    let model = dir.write("linear.onnx", trainer::graph::write::to_bytes(&graph));
    let data = dir.write("data.npz", npz(&[("x", npy_f32(&[8, 2], &[0.5; 16])), ("y", npy_i64(&[0; 8]))]));
    dir.add(&[
        &format!("model.onnx={model}"),
        &format!("data.train={data}"),
        "data.inputs.x={}",
        "data.targets.y={}",
    ]);
    dir.finish(&[]);
    dir
}

#[test]
fn a_weight_that_float16_does_not_reach_is_refused() {
    let dir = on_linear(&[1e5, 0.0], None);
    for output in ["half.onnx", "half.safetensors"] {
        check_refused(&dir, output, &["--half"], 2, &["`bias` holds 100000", "float16 ends at 65504"]);
    }
}

#[test]
fn a_batch_is_fixed_and_a_model_with_another_one_refused() {
    let dir = trained(&[]);
    let (fixed, said) = exported(&dir, "fixed.onnx", &["--batch", "5"]);
    for port in fixed.inputs.iter().chain(&fixed.outputs) {
        assert_eq!(port.dims.as_ref().unwrap()[0], Dim::Fixed(5), "{}", port.name);
    }
    assert_eq!((&said["batch"], &said["compared"]["examples"]), (&5.into(), &5.into()));
    let dir = on_linear(&[0.0, 0.0], Some(4));
    check_refused(&dir, "fixed.onnx", &["--batch", "5"], 2, &["takes batches of 4"]);
    exported(&dir, "fixed.onnx", &["--batch", "4"]);
}

#[test]
fn without_the_data_a_form_is_compared_on_random_examples() {
    let dir = on_linear(&[0.0, 1.0], None);
    fs::remove_file(beside(&dir, "data.npz")).unwrap();
    let (_, said) = exported(&dir, "half.onnx", &["--half"]);
    assert_eq!(said["compared"]["data"], "random");
}

/// The tensors of a safetensors file: type, shape and bytes by name.
fn tensors(bytes: &[u8]) -> BTreeMap<String, (StoredDtype, Vec<usize>, Vec<u8>)> {
    let file = SafeTensors::deserialize(bytes).unwrap();
    let tensor = |(name, view): (&str, safetensors::tensor::TensorView<'_>)| {
        (name.to_owned(), (view.dtype(), view.shape().to_vec(), view.data().to_vec()))
    };
    file.iter().map(tensor).collect()
}

#[test]
fn weights_have_the_names_shapes_and_bytes_of_the_module() {
    for name in reference_models::NAMES {
        let mut dir = WorkDir::new(&["--epochs", "1"]);
        let model = folder().join(format!("{name}.onnx"));
        let data = folder().join("digits160.npz");
        dir.add(&[&format!("model.onnx={}", model.display()), &format!("data.train={}", data.display())]);
        dir.add(&["data.inputs.x={array=\"images\"}", "data.targets.y={array=\"labels\"}"]);
        dir.finish(&[]);
        export(&dir, "weights.safetensors", &[]).check_code(0);
        let bytes = fs::read(beside(&dir, "weights.safetensors")).unwrap();
        let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
        assert_eq!(metadata.metadata().as_ref().unwrap()["format"], "pt");
        let found = tensors(&bytes);
        let checkpoint = dir.final_checkpoint();
        let mut expected = BTreeMap::new();
        for tensor in checkpoint.iter().filter(|tensor| !tensor.name.starts_with("optimizer/")) {
            let name = tensor.name.strip_prefix("state/").unwrap_or(tensor.name).to_owned();
            let shape: Vec<usize> = tensor.shape.iter().map(|dim| *dim as usize).collect();
            expected.insert(name, (StoredDtype::F32, shape, tensor.bytes.to_vec()));
        }
        expected.remove("trainer/state");
        assert!(found == expected, "{name}: {:?} and {:?}", found.keys(), expected.keys());
        let is_cnn = name.starts_with("cnn");
        assert_eq!(found.contains_key("stem_bn.running_mean"), is_cnn);
        export(&dir, "half.safetensors", &["--half"]).check_code(0);
        for (name, (dtype, shape, bytes)) in tensors(&fs::read(beside(&dir, "half.safetensors")).unwrap()) {
            let halved = expected[&name]
                .2
                .as_chunks()
                .0
                .iter()
                .flat_map(|word| half::f16::from_f32(f32::from_le_bytes(*word)).to_le_bytes());
            assert_eq!((dtype, &shape), (StoredDtype::F16, &expected[&name].1));
            assert!(halved.eq(bytes), "{name}");
        }
    }
}

#[test]
fn what_validation_takes_is_exported_averages_and_frozen_layers_included() {
    let dir = trained(&["ema.decay=0.9", "model.freeze=[\"head.*\"]"]);
    export(&dir, "weights.safetensors", &["--checkpoint", "final"]).check_code(0);
    let found = tensors(&fs::read(beside(&dir, "weights.safetensors")).unwrap());
    let checkpoint = dir.final_checkpoint();
    assert!(found["fc1.weight"].2 == checkpoint.tensor("ema/fc1.weight").unwrap().bytes);
    assert!(found["fc1.weight"].2 != checkpoint.tensor("fc1.weight").unwrap().bytes);
    assert!(checkpoint.tensor("head.weight").is_none());
    let own = read_file(&dir.path().join("model.onnx")).unwrap();
    let head = own.initializers.iter().find(|(name, _)| name == "head.weight").unwrap();
    assert!(found["head.weight"].2 == head.1.bytes()[..]);
    // The exported file answers as the run does.
    digits_file(&dir, "new.npz");
    assert_eq!(
        largest_difference(&logits(&exported(&dir, "own.onnx", &["--checkpoint", "final"]).0), &logits(&own)),
        0.0
    );
}

#[test]
fn wrong_uses_are_named() {
    let dir = trained(&[]);
    check_refused(&dir, "model.bin", &[], 2, &["neither with .onnx nor with .safetensors", "--format"]);
    check_refused(&dir, "w.safetensors", &["--opset", "17"], 2, &["--opset and --batch are for ONNX files"]);
    check_refused(&dir, "no/model.onnx", &[], 74, &["no/model.onnx"]);
    check_refused(
        &dir,
        "model.onnx",
        &["--checkpoint", "epoch:7"],
        2,
        &["no checkpoint for `--checkpoint epoch:7`"],
    );
    export(&dir, "model.bin", &["--format", "onnx"]).check_code(0);
    export(&dir, "model.bin", &["--format", "onnx"])
        .check_code(2)
        .check_says(&["is there already", "--force"]);
    damage(&dir, Link::Final);
    check_refused(
        &dir,
        "model.onnx",
        &["--checkpoint", "final"],
        5,
        &["failed its checksum", "others that verify"],
    );
    check_refused(&WorkDir::new(&[]), "model.onnx", &[], 2, &["is not the folder of a run"]);
}
