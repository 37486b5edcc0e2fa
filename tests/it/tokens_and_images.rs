//! Token data and folders of images, from the files to a trained model, and over a kill.

use crate::work_dir::WorkDir;
use std::fs;
use trainer::graph::model::{Dim, Graph, Node, Port, attribute};
use trainer::graph::tensor::{Dtype, Tensor};
use trainer::graph::write::to_bytes;

/// Tokens of the text: each is followed by the next one, and 15 by 0.
const VOCABULARY: usize = 16;

/// `logits[n, t] = table[ids[n, t]]`, a row for each token: what follows a token, learned by counting.
fn bigrams() -> Vec<u8> {
    let port = |name: &str, dtype, last: Option<usize>| {
        let symbols = ["batch", "time"].map(|name| Dim::Symbol(name.to_owned()));
        let dims = symbols.into_iter().chain(last.map(Dim::Fixed)).collect();
        Port { name: name.to_owned(), dtype: Some(dtype), dims: Some(dims) }
    };
    let mut gather = Node::new("lookup", "Gather", vec!["table".into(), "ids".into()], vec!["logits".into()]);
    gather.attributes = vec![attribute::int("axis", 0)];
    let table = Tensor::from_f32([VOCABULARY, VOCABULARY], &[0.0; VOCABULARY * VOCABULARY]);
    to_bytes(&Graph {
        name: "bigrams".to_owned(),
        ir_version: 8,
        opset: 18,
        other_opsets: Vec::new(),
        inputs: vec![port("ids", Dtype::I64, None)],
        outputs: vec![port("logits", Dtype::F32, Some(VOCABULARY))],
        value_info: Vec::new(),
        roles: Default::default(),
        initializers: vec![("table".to_owned(), table)],
        nodes: vec![gather],
    })
}

pub fn on_tokens(more: &[&str]) -> WorkDir {
    let mut dir =
        WorkDir::new(&["--batch-size", "8", "--epochs", "6", "optimizer.kind=adam", "--lr", "0.05"]);
    let model = dir.write("bigrams.onnx", bigrams());
    let text: Vec<u8> = (0..2000_u16).flat_map(|at| (at % VOCABULARY as u16).to_le_bytes()).collect();
    let text = dir.write("text.bin", text);
    dir.add(&[&format!("model.onnx={model}"), &format!("data.tokens.train={text}"), "data.tokens.window=12"]);
    dir.add(&["data.validation_fraction=0.2", "data.inputs.ids={}", "data.targets.next={}"]);
    dir.add(&["loss.class_axis=-1", r#"metrics=["accuracy","perplexity"]"#]);
    dir.add(more);
    dir
}

#[test]
fn a_language_model_learns_from_windows_of_tokens() {
    let dir = on_tokens(&[]);
    dir.finish(&[]);
    let first = f64::from(f32::from_bits(dir.steps()[0].loss_bits));
    assert!((first - (VOCABULARY as f64).ln()).abs() < 1e-5, "{first}");
    assert_eq!(dir.measured("val_accuracy", 6), 1.0);
    assert!(dir.measured("val_perplexity", 6) < 1.5, "{}", dir.measured("val_perplexity", 6));
}

#[test]
fn windows_are_the_same_after_a_kill() {
    let undisturbed = on_tokens(&["checkpoint.every_steps=5"]);
    undisturbed.finish(&[]);
    let killed = on_tokens(&["checkpoint.every_steps=5"]);
    killed.kill_at_step(30, &[]);
    killed.finish(&[]).check_says(&["Resuming run"]);
    killed.result().check_equals(&undisturbed.result());
}

#[test]
fn changed_tokens_are_noticed() {
    let dir = on_tokens(&[]);
    dir.finish(&["--max-steps", "3"]);
    dir.write("text.bin", [0_u8; 4000]);
    dir.run(&["--max-steps", "6"]).check_code(4).check_says(&["data.tokens.train"]);
}

/// A grey image that is bright on one side.
fn png(bright_left: bool, salt: usize) -> Vec<u8> {
    let (width, height) = (14 + salt % 5, 12 + salt % 3);
    let pixel = |at: usize| {
        let is_bright = (at % width < width / 2) == bright_left;
        (if is_bright { 200 } else { 40 }) + ((at * 31 + salt * 17) % 30) as u8
    };
    let pixels: Vec<u8> = (0..width * height).map(pixel).collect();
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width as u32, height as u32);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.write_header().unwrap().write_image_data(&pixels).unwrap();
    bytes
}

pub fn on_images(more: &[&str]) -> WorkDir {
    let mut dir = WorkDir::new(&["model.builtin=mlp", "--batch-size", "8", "--epochs", "8", "--lr", "0.01"]);
    let root = dir.make_folder("pictures");
    for (class, bright_left) in [("left", true), ("right", false)] {
        fs::create_dir(root.join(class)).unwrap();
        for salt in 0..20 {
            fs::write(root.join(class).join(format!("{salt:02}.png")), png(bright_left, salt)).unwrap();
        }
    }
    dir.add(&[&format!("data.images.train={}", root.display()), "data.validation_fraction=0.2"]);
    dir.add(&["data.images.height=8", "data.images.width=8", "data.images.channels=1"]);
    dir.add(&["data.inputs.x={scale=0.00392,mean=0.5,std=0.25}", "data.targets.y={}"]);
    dir.add(more);
    dir
}

#[test]
fn a_network_learns_classes_from_folders_of_images() {
    let dir = on_images(&["data.images.crop=random"]);
    dir.finish(&[]);
    assert_eq!(dir.measured("val_accuracy", 8), 1.0);
    assert!(dir.read("confusion.csv").starts_with("true,predicted_0,predicted_1\n"));
}

#[test]
fn random_parts_and_mirrored_images_are_the_same_after_a_kill() {
    let settings = ["data.images.crop=random_resized", "data.images.flip=true", "train.epochs=20"];
    let undisturbed = on_images(&settings);
    undisturbed.finish(&[]);
    let killed = on_images(&settings);
    killed.kill_at_step(30, &[]);
    killed.finish(&[]);
    killed.result().check_equals(&undisturbed.result());
}

#[test]
fn an_image_that_can_not_be_decoded_ends_the_run_with_its_name() {
    let dir = on_images(&[]);
    let broken = dir.path().parent().unwrap().join("pictures/left/03.png");
    fs::write(&broken, b"no image").unwrap();
    dir.run(&[]).check_code(1).check_says(&["left/03.png can not be decoded", "remove it"]);
}
