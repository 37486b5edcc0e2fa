//! Activations that are computed again in the backward pass: the same bits, less memory.

use crate::data_files::{npy_f32, npz};
use crate::work_dir::{Ended, WorkDir, test_data};
use std::process::{Command, Stdio};
use trainer::graph::model::{Dim, Graph, Node, Port, attribute};
use trainer::graph::tensor::{Dtype, Tensor};
use trainer::graph::write::to_bytes;

const SAID: &str = "nodes are computed again in the backward pass: activations take about ";

/// Ten steps of a committed model on committed data.
fn exported(model: &str, more: &[&str]) -> WorkDir {
    let onnx = format!("model.onnx={}", test_data(&format!("models/{model}.onnx")));
    let data = format!("data.train={}", test_data("models/digits160.npz"));
    let arrays = [r#"data.inputs.x={array="images"}"#, r#"data.targets.y={array="labels"}"#];
    let mut dir = WorkDir::new(&[&onnx, &data, arrays[0], arrays[1], "--batch-size", "16", "--epochs", "1"]);
    dir.add(more);
    dir
}

/// That the run is the same to the bit, and said that it computed something again.
#[track_caller]
fn check_same_bits(model: &str, settings: &[&str], recompute: &str) {
    let plain = exported(model, settings);
    let said = plain.finish(&[]).stderr;
    assert!(!said.contains(SAID), "{said}");
    let again = exported(model, settings);
    again.finish(&[recompute]).check_says(&[SAID]);
    plain.result().check_trained_alike(again.result());
}

#[test]
fn what_is_computed_again_has_the_same_bits() {
    for model in ["cnn-dynamo", "cnn-script", "mlp-dynamo", "mlp-script"] {
        check_same_bits(model, &[], "memory.budget_mb=0.01");
    }
    check_same_bits("cnn-script", &["train.micro_batch=6", "--threads", "2"], "memory.budget_mb=0.01");
    for precision in ["train.precision=bf16", "train.precision=f16"] {
        check_same_bits("cnn-dynamo", &[precision], "memory.budget_mb=0.01");
    }
}

/// Among them models whose operators ONNX Runtime fuses where nobody else reads what is between.
#[test]
fn models_of_every_family_keep_their_bits() {
    let mut recomputed = 0;
    for family in
        ["activations", "autoencoder", "bert", "gpt", "gru", "lstm", "tabular", "two_losses", "unet"]
    {
        for exporter in ["dynamo", "script"] {
            let run = |budget: &[&str]| {
                let config = test_data(&format!("models/families/{family}.toml"));
                let model =
                    format!("model.onnx={}", test_data(&format!("models/families/{family}-{exporter}.onnx")));
                let dir = WorkDir::new(&["--config", &config, &model, "--max-steps", "3"]);
                let said = dir.finish(budget).stderr;
                (dir.result(), said.contains(SAID) && !said.contains("\n0 of "))
            };
            let ((plain, _), (again, is_recomputed)) = (run(&[]), run(&["memory.budget_mb=0.01"]));
            plain.check_trained_alike(again);
            recomputed += usize::from(is_recomputed);
        }
    }
    assert!(recomputed >= 12, "only {recomputed} of 18 models computed anything again");
}

const LAYERS_OF_BLOCK: usize = 4;

/// As deep as it takes for activations to count: layers of equal width, with a tanh behind each.
fn deep(layers: usize, width: usize) -> Vec<u8> {
    let dims = vec![Dim::Symbol("batch".to_owned()), Dim::Fixed(width)];
    let port = |name: &str| Port { name: name.to_owned(), dtype: Some(Dtype::F32), dims: Some(dims.clone()) };
    let mut nodes = Vec::new();
    let mut initializers = Vec::new();
    let mut last = "x".to_owned();
    for layer in 0..layers {
        let (weight, sum, out) =
            (format!("layers.{layer}.weight"), format!("layers.{layer}.sum"), format!("layers.{layer}.out"));
        let values: Vec<f32> =
            (0..width * width).map(|i| ((i * 31 + layer * 7) % 201) as f32 / 1000.0 - 0.1).collect();
        initializers.push((weight.clone(), Tensor::from_f32([width, width], &values)));
        let name = format!("/blocks.{}/layers.{layer}", layer / LAYERS_OF_BLOCK);
        let mut gemm = Node::new(format!("{name}/gemm"), "Gemm", vec![last, weight], vec![sum.clone()]);
        gemm.attributes = vec![attribute::int("transB", 1)];
        nodes.push(gemm);
        nodes.push(Node::new(format!("{name}/tanh"), "Tanh", vec![sum], vec![out.clone()]));
        last = out;
    }
    nodes.push(Node::new("/name", "Identity", vec![last], vec!["y".to_owned()]));
    to_bytes(&Graph {
        name: "deep".to_owned(),
        ir_version: 8,
        opset: 18,
        other_opsets: Vec::new(),
        inputs: vec![port("x")],
        outputs: vec![port("y")],
        value_info: Vec::new(),
        roles: Default::default(),
        initializers,
        nodes,
    })
}

const EXAMPLES: usize = 2048;
const WIDTH: usize = 128;

/// A step of a deep network on one large batch: 40 activations of a megabyte.
fn on_deep(more: &[&str]) -> WorkDir {
    let mut dir = WorkDir::new(&["optimizer.kind=sgd", "--lr", "0.1", "loss.kind=mse", "--max-steps", "2"]);
    dir.add(&["--batch-size", &EXAMPLES.to_string(), "memory.watch=false", "memory.on_oom=stop"]);
    let model = dir.write("deep.onnx", deep(40, WIDTH));
    let values = |factor: usize| -> Vec<f32> {
        (0..EXAMPLES * WIDTH).map(|i| (i * factor % 255) as f32 / 255.0 - 0.5).collect()
    };
    let arrays =
        [("x", npy_f32(&[EXAMPLES, WIDTH], &values(37))), ("y", npy_f32(&[EXAMPLES, WIDTH], &values(11)))];
    let data = dir.write("deep.npz", npz(&arrays));
    dir.add(&[
        &format!("model.onnx={model}"),
        &format!("data.train={data}"),
        "data.validation_fraction=none",
    ]);
    dir.add(&[r#"data.inputs.x={array="x"}"#, r#"data.targets.y={array="y"}"#]);
    dir.add(more);
    dir
}

/// The most memory that the process of a run had, in MB.
#[track_caller]
fn peak_mb(dir: &WorkDir) -> f64 {
    let inner = dir.command(&[]);
    let mut command = Command::new("python3");
    let script = "import resource, subprocess, sys\n\
        code = subprocess.run(sys.argv[1:]).returncode\n\
        print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n\
        sys.exit(code)";
    command.args(["-c", script]).arg(inner.get_program()).args(inner.get_args());
    command.env_remove("RUST_LOG").stdin(Stdio::null());
    let ended = Ended::of(&mut command).check_code(0);
    let kib: f64 = ended.stdout.lines().next_back().unwrap().trim().parse().unwrap();
    kib * 1024.0 / 1e6
}

#[test]
fn less_is_kept_where_there_is_a_budget_and_as_little_as_that_needs() {
    let plain = on_deep(&[]);
    let plain_mb = peak_mb(&plain);
    let of = |setting: &str| {
        let dir = on_deep(&[setting]);
        let peak = peak_mb(&dir);
        plain.result().check_trained_alike(dir.result());
        peak
    };
    let (least_mb, some_mb) = (of("memory.budget_mb=1"), of("memory.budget_mb=35"));
    // Forty activations of a megabyte; segments of a sixth of them keep twelve.
    assert!(least_mb < plain_mb - 20.0, "{least_mb} MB instead of {plain_mb}");
    assert!(least_mb < some_mb && some_mb < plain_mb, "{least_mb} < {some_mb} < {plain_mb}");
}

#[test]
fn nodes_to_be_computed_again_are_chosen_by_their_names() {
    let plain = on_deep(&[]);
    plain.finish(&[]);
    let dir = on_deep(&[r#"memory.recompute=["/blocks.*"]"#]);
    // Of each of ten blocks, the output is kept and three layers of a product and a tanh are computed again.
    dir.finish(&[]).check_says(&["\n60 of ", SAID]);
    plain.result().check_trained_alike(dir.result());
}

/// For training a BatchNormalization is several operators, which are found by the name that the model has for it.
#[test]
fn what_stands_in_the_place_of_a_node_is_chosen_by_the_name_of_that_node() {
    let plain = exported("cnn-script", &[]);
    plain.finish(&[]);
    let dir = exported("cnn-script", &[r#"memory.recompute=["*"]"#]);
    // Without those, 13.
    dir.finish(&[]).check_says(&["\n51 of ", SAID]);
    plain.result().check_trained_alike(dir.result());
}

#[test]
fn casts_are_computed_again_with_the_nodes_they_belong_to() {
    let plain = on_deep(&["train.precision=bf16"]);
    plain.finish(&[]);
    let dir = on_deep(&["train.precision=bf16", r#"memory.recompute=["/blocks.*"]"#]);
    dir.finish(&[]).check_says(&[SAID]);
    plain.result().check_trained_alike(dir.result());
    let [plain_mb, again_mb] = [&plain, &dir].map(|dir| {
        std::fs::remove_dir_all(dir.path()).unwrap();
        peak_mb(dir)
    });
    assert!(again_mb < plain_mb - 20.0, "{again_mb} MB instead of {plain_mb}");
}

#[test]
fn a_budget_may_change_from_one_start_to_the_next() {
    let whole = exported("cnn-script", &[]);
    whole.finish(&[]);
    let dir = exported("cnn-script", &[]);
    dir.finish(&["--max-steps", "4"]);
    dir.finish(&["--max-steps", "7", "memory.budget_mb=0.01"]).check_says(&[SAID]);
    dir.finish(&["--max-steps", "10", r#"memory.recompute=[]"#, "memory.budget_mb=4000"]);
    whole.result().check_trained_alike(dir.result());
}

#[test]
fn a_budget_that_can_not_be_met_and_a_pattern_that_names_nothing_are_said() {
    let dir = exported("cnn-script", &["memory.budget_mb=0.01"]);
    dir.finish(&[]).check_says(&[
        "`memory.budget_mb` leaves ",
        "which can not be met: take a smaller `train.micro_batch`",
    ]);
    let dir = exported("cnn-script", &[r#"memory.recompute=["/nothing/*"]"#]);
    dir.run(&[])
        .check_code(2)
        .check_says(&["`memory.recompute` has `/nothing/*`, which matches no node of the model; it has `"]);
    let dir = exported("cnn-script", &[r#"memory.recompute=["/*"]"#, "memory.budget_mb=1"]);
    dir.run(&[]).check_code(2).check_says(&["memory.recompute", "memory.budget_mb"]);
}
