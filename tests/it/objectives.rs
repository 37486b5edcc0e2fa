//! Several losses, weights of examples and masks, from the setting to the numbers in the journal.

use crate::networks::two_heads;
use crate::work_dir::WorkDir;

/// Columns a, b, t, u, w: two inputs, a target for each head, a weight.
const ROWS: [[f32; 5]; 6] = [
    [1.0, 2.0, 0.5, -1.0, 1.0],
    [-1.0, 0.5, 1.0, 2.0, 0.5],
    [3.0, 1.0, -2.0, 0.0, 2.0],
    [0.0, 0.0, 1.0, 1.0, 0.0],
    [2.0, -2.0, 0.0, 3.0, 1.0],
    [1.0, 1.0, 2.0, -2.0, 4.0],
];

pub fn on_two_heads(settings: &[&str]) -> WorkDir {
    let mut dir = WorkDir::new(&["optimizer.kind=sgd", "data.shuffle=false", "--batch-size", "6"]);
    let model = dir.write("heads.onnx", two_heads());
    let lines = ROWS.iter().map(|row| row.map(|value| value.to_string()).join(",") + "\n");
    let table = dir.write("table.csv", format!("a,b,t,u,w\n{}", lines.collect::<String>()));
    let files =
        [format!("model.onnx={model}"), format!("data.train={table}"), format!("data.validation={table}")];
    dir.add(&[&files[0], &files[1], &files[2], r#"data.inputs.x={columns=["a","b"]}"#]);
    dir.add(&["loss.kind=mse", "loss.output=p", "loss.target=t", "data.targets.t={}", "data.targets.u={}"]);
    dir.add(&["loss.auxiliary.second={kind=\"l1\",output=\"q\",target=\"u\",weight=0.5}"]);
    dir.add(&["--epochs", "3", "--lr", "0.05"]);
    dir.add(settings);
    dir
}

fn losses(dir: &WorkDir) -> Vec<f64> {
    dir.steps().iter().map(|step| f64::from(f32::from_bits(step.loss_bits))).collect()
}

fn head(row: &[f32; 5], bias: f64) -> f64 {
    0.1 * f64::from(row[0] + row[1]) + bias
}

#[test]
fn two_losses_on_two_outputs_add_up_and_both_heads_learn() {
    let dir = on_two_heads(&[]);
    dir.finish(&[]);
    let mse = ROWS.iter().map(|row| (head(row, 0.0) - f64::from(row[2])).powi(2)).sum::<f64>() / 6.0;
    let l1 = ROWS.iter().map(|row| (head(row, 1.0) - f64::from(row[3])).abs()).sum::<f64>() / 6.0;
    let found = losses(&dir);
    assert!((found[0] - (mse + 0.5 * l1)).abs() < 1e-5, "{found:?}, expected {mse} and half of {l1}");
    assert!(found.windows(2).all(|pair| pair[1] < pair[0]), "{found:?}");
    for name in ["bias_p", "bias_q"] {
        let bias = dir.final_checkpoint().tensor(name).unwrap().to_vec::<f32>().unwrap();
        assert!(bias[0] != 0.0 && bias[0] != 1.0, "{name} was not trained");
    }
    // In parts the sums and weights add up to the same loss.
    let divided = on_two_heads(&["--micro-batch", "2"]);
    divided.finish(&[]);
    for (whole, parts) in found.iter().zip(losses(&divided)) {
        assert!((whole - parts).abs() < 1e-5, "{whole} and {parts}");
    }
}

#[test]
fn weights_of_examples_count_in_loss_and_mean() {
    let dir = on_two_heads(&["data.targets.w={}", "loss.sample_weights=w", "loss.auxiliary.second.weight=0"]);
    dir.finish(&[]);
    let weighed = ROWS.iter().map(|row| f64::from(row[4]) * (head(row, 0.0) - f64::from(row[2])).powi(2));
    let expected = weighed.sum::<f64>() / ROWS.iter().map(|row| f64::from(row[4])).sum::<f64>();
    assert!((losses(&dir)[0] - expected).abs() < 1e-5, "{:?}, expected {expected}", losses(&dir));
}

#[test]
fn a_sum_is_divided_by_nothing_in_however_many_parts() {
    let sum = ROWS.iter().map(|row| (head(row, 0.0) - f64::from(row[2])).powi(2)).sum::<f64>();
    for parts in ["6", "4", "1"] {
        let mut dir = WorkDir::new(&["optimizer.kind=sgd", "data.shuffle=false", "--batch-size", "6"]);
        let model = dir.write("heads.onnx", two_heads());
        let lines = ROWS.iter().map(|row| row.map(|value| value.to_string()).join(",") + "\n");
        let table = dir.write("table.csv", format!("a,b,t,u,w\n{}", lines.collect::<String>()));
        dir.add(&[&format!("model.onnx={model}"), &format!("data.train={table}")]);
        dir.add(&[r#"data.inputs.x={columns=["a","b"]}"#, "data.targets.t={}", "loss.output=p"]);
        dir.add(&["loss.kind=mse", "loss.reduction=sum", "--epochs", "1", "--lr", "0.01"]);
        dir.finish(&["--micro-batch", parts]);
        assert!((losses(&dir)[0] - sum).abs() < 1e-5 * sum, "{:?}, expected {sum}", losses(&dir));
    }
}

#[test]
fn an_output_that_a_further_loss_misnames_is_reported_with_the_key_of_that_loss() {
    let dir = on_two_heads(&["loss.auxiliary.second.output=r"]);
    let said = ["the model has no output `r`, it has `p`, `q`", "correct `loss.auxiliary.second.output`"];
    dir.run(&[]).check_code(2).check_says(&said);
}
