//! `trainer check`: whether a model can be trained, in a process of its own.

use crate::data_files::{npy_f32, npy_i64, npz};
use crate::networks::{foreign, linear};
use crate::work_dir::{Ended, WorkDir, test_data, trainer};
use serde_json::Value as Json;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use trainer::config::{Builtin, from_toml};
use trainer::graph::builtin::build;
use trainer::graph::model::{Dim, Graph, Node};
use trainer::graph::read::read_bytes;
use trainer::graph::tensor::Tensor;
use trainer::graph::write::to_bytes;

/// `trainer check` with these arguments.
fn checked(args: &[&str]) -> Ended {
    Ended::of(trainer(["check"]).args(args).args([
        "--device",
        "cpu",
        "--threads",
        "1",
        "--set",
        "spin=false",
    ]))
}

/// What a program reads, and the exit code that goes with it.
#[track_caller]
fn json(args: &[&str]) -> Json {
    let ended = checked(&[args, &["--json"]].concat());
    let report: Json =
        serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"));
    let code = if report["trainable"] == true { 0 } else { 2 };
    ended.check_code(code);
    report
}

/// A linear model after a change.
fn changed(dir: &WorkDir, change: impl FnOnce(&mut Graph)) -> String {
    let mut graph = read_bytes(Path::new("linear.onnx"), linear(2, &[0.0, 0.0]).into()).unwrap();
    change(&mut graph);
    dir.write("changed.onnx", to_bytes(&graph))
}

#[test]
fn a_model_from_pytorch_is_described_and_can_be_trained() {
    let model = test_data("models/cnn-dynamo.onnx");
    let ended = checked(&[&model]).check_code(0);
    for words in [
        &model,
        "opset 18, IR version 10",
        "written by pytorch",
        "input       x float32 [batch, 1, 8, 8]",
        "parameters  4082 in 16 tensors; 8 tensors of running statistics",
        "4 BatchNormalization",
        "256 examples at once",
        "BatchNormalization is in its inference form, as exporters write it (4 nodes)",
        "kind = \"cross_entropy\"",
        "verdict     it can be trained here",
    ] {
        assert!(ended.stdout.contains(words), "{words:?} is not in:\n{}", ended.stdout);
    }
    assert_eq!(ended.stderr, "", "results are not talk");
}

#[test]
fn the_fields_for_programs_are_always_there() {
    let report = json(&[&test_data("models/mlp-script.onnx")]);
    let fields = report.as_object().unwrap();
    let names: Vec<&str> = fields.keys().map(String::as_str).collect();
    let document = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/check.md")).unwrap();
    for name in &names {
        assert!(document.contains(&format!("`{name}`")), "docs/check.md does not explain {name}");
    }
    assert_eq!(names.len(), 12, "{names:?}");
    assert_eq!(report["inputs"][0]["shape"], serde_json::json!(["batch", 64]));
    assert_eq!(report["parameters"]["trained"].as_array().unwrap().len(), 6);
    let batches = report["memory"]["batches"].as_array().unwrap();
    let sizes: Vec<u64> = batches.iter().map(|batch| batch["batch"].as_u64().unwrap()).collect();
    assert_eq!(sizes, [1, 2, 4, 8, 16, 32, 64, 128, 256]);
    let totals: Vec<u64> = batches.iter().map(|batch| batch["total_bytes"].as_u64().unwrap()).collect();
    assert!(totals.is_sorted(), "{totals:?}");
}

#[test]
fn every_node_without_a_rule_is_named_at_once() {
    let dir = WorkDir::new(&[]);
    let names: Vec<String> = (0..30).map(|at| format!("node_{at}")).collect();
    let model = dir.write("foreign.onnx", foreign(&names.iter().map(String::as_str).collect::<Vec<_>>()));
    let ended = checked(&[&model]).check_code(2);
    for name in &names {
        let words = format!("{name} (com.microsoft.QuickGelu): no gradient rule");
        assert!(ended.stderr.contains(&words) && ended.stdout.contains(&words), "{words}\n{ended:?}");
    }
    ended.check_says(&["can not be trained here: 30 nodes", "model.freeze"]);
    let report = json(&[&model]);
    assert_eq!(report["problems"][0]["kind"], "operators");
    assert_eq!(report["problems"][0]["nodes"].as_array().unwrap().len(), 30);
}

#[test]
fn nodes_without_a_rule_are_named_also_where_onnxruntime_does_not_take_the_model() {
    let dir = WorkDir::new(&[]);
    let model = changed(&dir, |graph| {
        graph.nodes[0].outputs[0] = "h".to_owned();
        for (op, input, output) in [("Frobnicate", "h", "i"), ("Unheard", "i", "y")] {
            graph.nodes.push(Node::new(op, op, vec![input.to_owned()], vec![output.to_owned()]));
        }
    });
    let ended = checked(&[&model]).check_code(2);
    ended.check_says(&[
        "ONNX Runtime does not accept the model",
        "Frobnicate (Frobnicate): ",
        "Unheard (Unheard): ",
    ]);
}

#[test]
fn the_settings_that_are_suggested_are_settings() {
    for (model, loss) in [
        ("models/mlp-dynamo.onnx", "cross_entropy"),
        ("models/families/gpt-dynamo.onnx", "cross_entropy"),
        ("models/families/autoencoder-script.onnx", "bce"),
        ("models/families/tabular-dynamo.onnx", "mse"),
        ("models/families/two_losses-script.onnx", "cross_entropy"),
    ] {
        let report = json(&[&test_data(model)]);
        let text = report["suggestion"]["toml"].as_str().unwrap();
        let loaded =
            from_toml(text, Path::new("my.toml")).unwrap_or_else(|error| panic!("{model}: {error}\n{text}"));
        assert_eq!(loaded.plan.loss.kind.name(), loss, "{model}");
        assert_eq!(report["loss"], loss);
    }
    let gpt = json(&[&test_data("models/families/gpt-dynamo.onnx")]);
    assert_eq!(gpt["suggestion"]["class_axis"], -1);
    assert_eq!(gpt["suggestion"]["metrics"], serde_json::json!(["accuracy", "perplexity"]));
}

#[test]
fn settings_decide_where_they_are_given() {
    let model = test_data("models/mlp-script.onnx");
    let report = json(&[
        &model,
        "--set",
        "loss.kind=mse",
        "--set",
        "model.freeze=[\"fc1*\"]",
        "--set",
        "optimizer.kind=sgd",
    ]);
    assert_eq!(
        (&report["loss"], &report["parameters"]["not_trained"][0]["reason"]),
        (&"mse".into(), &"frozen".into())
    );
    assert_eq!(report["memory"]["optimizer_bytes"], 0);
    let ended = checked(&[&model, "--set", "model.freeze=[\"fcc*\"]"]).check_code(2);
    ended.check_says(&["`model.freeze` has `fcc*`"]);
    checked(&[&model, "--set", "optimzer.lr=1"]).check_code(2).check_says(&["did you mean `optimizer.lr`?"]);
    checked(&[]).check_code(2).check_says(&["there is no ONNX file to check"]);
}

#[test]
fn a_settings_file_names_the_model_and_its_data_are_not_opened() {
    let dir = WorkDir::new(&[]);
    let model = dir.write("linear.onnx", linear(2, &[0.0, 0.0]));
    let text = format!(
        "[model]\nonnx = \"{model}\"\n[data]\ntrain = \"absent.npz\"\ninputs.x = {{ array = \"x\" }}\ntargets.y = {{ array = \"y\" }}\n"
    );
    let config = dir.write("my.toml", text);
    let report = json(&["--config", &config]);
    assert_eq!((&report["trainable"], &report["file"]["path"]), (&true.into(), &model.into()));
}

#[test]
fn free_dimensions_are_named_with_the_size_they_were_given() {
    let dir = WorkDir::new(&[]);
    let model = changed(&dir, |graph| {
        let dims = graph.inputs[0].dims.as_mut().unwrap();
        dims.insert(1, Dim::Symbol("seq".to_owned()));
        graph.outputs[0].dims = None;
        graph.nodes[0].op = "MatMul".to_owned();
        graph.nodes[0].inputs.truncate(2);
    });
    let dimension = |args: &[&str]| json(&[&[model.as_str()], args].concat())["free_dimensions"][1].clone();
    let assumed = serde_json::json!({ "name": "seq", "is_batch": false, "size": 64, "is_assumed": true });
    assert_eq!(dimension(&[]), assumed);
    let given = serde_json::json!({ "name": "seq", "is_batch": false, "size": 5, "is_assumed": false });
    assert_eq!(dimension(&["--set", "model.dimensions.seq=5"]), given);
}

#[test]
fn a_fixed_batch_is_told_and_estimated_alone() {
    let dir = WorkDir::new(&[]);
    let model = changed(&dir, |graph| {
        for port in graph.inputs.iter_mut().chain(&mut graph.outputs) {
            port.dims.as_mut().unwrap()[0] = Dim::Fixed(4);
        }
    });
    let report = json(&[&model]);
    assert_eq!(report["warnings"][0]["kind"], "fixed_batch");
    assert!(report["warnings"][0]["message"].as_str().unwrap().contains("`train.batch_size = 4`"));
    assert_eq!(report["memory"]["batches"].as_array().unwrap().len(), 1);
}

/// The kinds of warnings of a model.
fn warnings(dir: &WorkDir, change: impl FnOnce(&mut Graph)) -> Vec<String> {
    let report = json(&[&changed(dir, change)]);
    let kinds = report["warnings"].as_array().unwrap().iter();
    kinds.map(|warning| warning["kind"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn what_exporters_destroy_is_seen_in_the_file() {
    let dir = WorkDir::new(&[]);
    assert!(warnings(&dir, |_| ()).is_empty());
    let node = |op: &str, inputs: &[&str], output: &str| {
        Node::new(output, op, inputs.iter().map(|name| (*name).to_owned()).collect(), vec![output.to_owned()])
    };
    let ramp: Vec<f32> = (0..64).map(|at| at as f32).collect();
    // x [batch, 2] times a [2, 32] and its transpose.
    let split = warnings(&dir, |graph| {
        let turned: Vec<f32> = (0..64).map(|at| ramp[at % 2 * 32 + at / 2]).collect();
        graph.initializers.push(("table".to_owned(), Tensor::from_f32([2, 32], &ramp)));
        graph.initializers.push(("onnx::MatMul_9".to_owned(), Tensor::from_f32([32, 2], &turned)));
        graph.nodes[0].outputs[0] = "h".to_owned();
        graph.nodes.push(node("MatMul", &["h", "table"], "wide"));
        graph.nodes.push(node("MatMul", &["wide", "onnx::MatMul_9"], "y"));
    });
    assert_eq!(split, ["folded_weights", "split_weights"]);
    let merged = warnings(&dir, |graph| {
        graph.nodes[0].outputs[0] = "h".to_owned();
        graph.nodes.push(node("Gemm", &["h", "weight", "bias"], "y"));
    });
    assert_eq!(merged, ["merged_parameters"]);
    let images = |graph: &mut Graph, bias: &str| {
        let dims = [1, 4, 4].map(Dim::Fixed);
        graph.inputs[0].dims.as_mut().unwrap().splice(1.., dims);
        graph.initializers = vec![
            ("weight".to_owned(), Tensor::from_f32([2, 1, 4, 4], &ramp[..32])),
            (bias.to_owned(), Tensor::from_f32([2], &[0.0; 2])),
        ];
        graph.nodes = vec![node("Conv", &["x", "weight", bias], "c"), node("Flatten", &["c"], "y")];
    };
    assert!(warnings(&dir, |graph| images(graph, "conv.bias")).is_empty());
    assert_eq!(warnings(&dir, |graph| images(graph, "x_bias")), ["batch_norm_folded"]);
}

#[test]
fn float_tensors_that_no_layer_reads_are_called_doubtful_and_tables_are_listed() {
    let dir = WorkDir::new(&[]);
    let report = json(&[&changed(&dir, |graph| {
        graph.initializers.push(("mask".to_owned(), Tensor::from_f32([2], &[1.0, 0.0])));
        graph.initializers.push(("order".to_owned(), Tensor::from_i64([2], &[1, 0])));
        graph.initializers.push(("unread".to_owned(), Tensor::from_f32([2], &[0.0; 2])));
        graph.nodes[0].outputs[0] = "h".to_owned();
        let names = |names: [&str; 2]| names.map(str::to_owned).to_vec();
        graph.nodes.push(Node::new("m", "Mul", names(["h", "mask"]), vec!["m".to_owned()]));
        let mut gather = Node::new("g", "Gather", names(["m", "order"]), vec!["y".to_owned()]);
        gather.attributes.push(trainer::graph::model::attribute::int("axis", 1));
        graph.nodes.push(gather);
    })]);
    let found = &report["parameters"];
    assert_eq!(found["doubtful"], serde_json::json!(["mask"]));
    assert_eq!(found["tables"][0]["name"], "order");
    let unread = serde_json::json!({ "name": "unread", "reason": "no_path_to_loss" });
    assert_eq!(found["not_trained"], serde_json::json!([unread]));
}

#[test]
fn parameters_behind_operators_without_a_gradient_are_named() {
    let dir = WorkDir::new(&[]);
    let model = changed(&dir, |graph| {
        graph.initializers.push(("steps".to_owned(), Tensor::from_f32([2], &[1.5; 2])));
        graph.nodes[0].outputs[0] = "h".to_owned();
        let node = |op: &str, inputs: &[&str], output: &str| {
            Node::new(
                output,
                op,
                inputs.iter().map(|name| (*name).to_owned()).collect(),
                vec![output.to_owned()],
            )
        };
        graph.nodes.push(node("Floor", &["steps"], "floor"));
        graph.nodes.push(node("Add", &["h", "floor"], "y"));
    });
    assert_eq!(json(&[&model])["parameters"]["without_gradient"], serde_json::json!(["steps"]));
}

/// The peak of the resident memory of a run with batches of this size, in bytes.
fn peak_of_run(settings: &[&str], batch: usize) -> u64 {
    let dir = WorkDir::new(settings);
    let mut command = dir.command(&["--batch-size", &batch.to_string(), "--max-steps", "6"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).map(str::trim);
        let kb: u64 =
            line.and_then(|line| line.split(' ').next()).and_then(|kb| kb.parse().ok()).unwrap_or(0);
        peak = peak.max(kb * 1024);
        std::thread::sleep(Duration::from_millis(2));
    }
    Ended::of_child(child).check_code(0);
    peak
}

/// How far the estimate may be off, either way: docs/check.md says so.
const MEMORY_FACTOR: f64 = 2.0;

#[test]
fn the_estimated_memory_is_that_of_a_run_within_a_factor_of_two() {
    const SIDE: usize = 32;
    let dir = WorkDir::new(&[]);
    let model = dir.write("cnn.onnx", to_bytes(&build(Builtin::Cnn, "x", &[1, SIDE, SIDE], 10, 1)));
    let examples = 256;
    let images = npy_f32(&[examples, 1, SIDE, SIDE], &vec![0.5; examples * SIDE * SIDE]);
    let labels: Vec<i64> = (0..examples as i64).map(|at| at % 10).collect();
    let data = dir.write("data.npz", npz(&[("x", images), ("y", npy_i64(&labels))]));
    let (model_setting, data_setting) = (format!("model.onnx={model}"), format!("data.train={data}"));
    let maps = ["data.inputs.x={array=\"x\"}", "data.targets.y={array=\"y\"}"];
    let settings =
        [&model_setting, &data_setting, maps[0], maps[1], "memory.watch=false", "schedule.kind=constant"];
    let report = json(&[&model]);
    let estimate = |batch: u64| {
        let batches = report["memory"]["batches"].as_array().unwrap();
        let found = batches.iter().find(|found| found["batch"] == batch).unwrap();
        found["total_bytes"].as_u64().unwrap() as f64
    };
    // What the program takes besides is in both.
    let real = peak_of_run(&settings, 256) as f64 - peak_of_run(&settings, 32) as f64;
    let estimated = estimate(256) - estimate(32);
    let factor = real / estimated;
    println!("estimated {estimated:.0}, real {real:.0}: {factor:.2}");
    assert!(
        (1.0 / MEMORY_FACTOR..=MEMORY_FACTOR).contains(&factor),
        "estimated {estimated}, real {real}: {factor}"
    );
}

#[test]
fn settings_of_a_folder_without_a_run_are_refused_and_not_passed_over() {
    let dir = WorkDir::new(&[]);
    let model = dir.write("linear.onnx", linear(2, &[0.0, 0.0]));
    let folder = dir.path().display().to_string();
    checked(&[&model, "--work-dir", &folder]).check_code(2).check_says(&["is not the folder of a run"]);
}
