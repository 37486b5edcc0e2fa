//! Operators that write to one place more than once give the same bits on any number of threads.
//!
//! That is not promised of matrix products and convolutions, whose sums ONNX Runtime splits among its threads.
//!
//! ONNX Runtime has one pool of threads for a process, so each number of threads is tried in a process of its own: this
//! test program, started again for [`repeated_writes`]. Sizes are such that ONNX Runtime would use all threads.

use super::case::{Case, NEWEST, case};
use super::check::{gradients_in, largest_difference};
use crate::runtime_library::THREADS_VARIABLE;
use std::process::Command;
use trainer::graph::tensor::Dtype;

/// Positions below `size` of which many are equal.
fn positions(count: usize, size: usize) -> Vec<i64> {
    (0..count).map(|i| ((i * i + 7 * i / 3) % size) as i64).collect()
}

/// A lookup in a long table adds row by row, one in a short table is a product.
fn lookups() -> Vec<Case> {
    let ids = |dims: &[usize], size: usize| (dims.to_vec(), positions(dims.iter().product(), size));
    let gather = |about, x: &[usize], (dims, ids): (Vec<usize>, Vec<i64>)| {
        case("Gather", about).x(x).fed_ints_of(&dims, &ids)
    };
    vec![
        gather("a short table", &[65, 64], ids(&[8, 256], 65)),
        gather("a long table", &[1000, 64], ids(&[8, 256], 700)),
        gather("a long table, one row", &[1000, 64], (vec![2000], vec![17; 2000])),
        gather("the middle axis", &[8, 600, 32], ids(&[900], 600)).int("axis", 1),
        case("GatherElements", "rows").x(&[50, 512]).fed_ints_of(&[200, 512], &positions(200 * 512, 50)),
        case("GatherND", "rows").x(&[10, 30, 64]).fed_ints_of(&[2000, 2], &positions(4000, 10)),
    ]
}

fn writes() -> Vec<Case> {
    let write = |about, reduction: &str| {
        case("ScatterElements", about)
            .x(&[50, 256])
            .fed_ints_of(&[200, 256], &positions(200 * 256, 50))
            .x_within(&[200, 256], 0.9, 1.1)
            .text("reduction", reduction)
    };
    let rows = |about, reduction: &str| {
        case("ScatterND", about)
            .x(&[100, 128])
            .fed_ints_of(&[1000, 1], &positions(1000, 100))
            .x_within(&[1000, 128], 0.9, 1.1)
            .text("reduction", reduction)
    };
    vec![
        write("added", "add"),
        write("multiplied", "mul"),
        write("the larger", "max"),
        rows("rows added", "add"),
        rows("rows multiplied", "mul"),
        rows("the smaller of rows", "min"),
    ]
}

fn windows() -> Vec<Case> {
    let pool = |op, about| {
        case(op, about)
            .x(&[2, 8, 48, 48])
            .list("kernel_shape", &[3, 3])
            .list("strides", &[2, 2])
            .list("pads", &[1; 4])
    };
    let resize = |mode: &'static str, scale: f64| {
        case("Resize", mode)
            .x(&[2, 8, 24, 24])
            .absent()
            .fixed(&[4], &[1.0, 1.0, scale, scale])
            .text("mode", mode)
    };
    vec![
        pool("MaxPool", "overlapping"),
        pool("AveragePool", "overlapping"),
        pool("LpPool", "overlapping"),
        resize("nearest", 2.0),
        resize("nearest", 1.7),
        resize("linear", 2.0),
        resize("cubic", 1.5),
        case("Pad", "reflected").x(&[2, 8, 40, 40]).ints(&[0, 0, 9, 9, 0, 0, 9, 9]).text("mode", "reflect"),
        case("LSTM", "shared weights")
            .x(&[12, 16, 32])
            .x(&[1, 256, 32])
            .x(&[1, 256, 64])
            .x(&[1, 512])
            .int("hidden_size", 64),
    ]
}

pub fn cases() -> Vec<Case> {
    [lookups(), writes(), windows()].concat()
}

/// Not a test by itself: prints the gradients' bits as [`repeated_writes_give_equal_bits_on_1_2_and_4_threads`] asks it to.
#[test]
#[ignore = "started by the test below with a number of threads"]
fn repeated_writes() {
    for case in cases() {
        let what = format!("{}, {}", case.op, case.about);
        let found = gradients_in(&case, NEWEST, Dtype::F32).unwrap_or_else(|error| panic!("{what}: {error}"));
        let again = gradients_in(&case, NEWEST, Dtype::F32).unwrap();
        assert_eq!(found, again, "{what}: two runs differ");
        // Where there is a float64 kernel, it says what is right.
        if let Ok(expected) = gradients_in(&case, NEWEST, Dtype::F64) {
            let far = largest_difference(&found, &expected);
            assert!(far < 1e-4, "{what}: {far} from the gradient in float64");
        }
        let bits = found
            .iter()
            .flatten()
            .fold(0_u64, |hash, x| hash.rotate_left(5) ^ x.to_bits().wrapping_mul(0x9E37_79B9));
        println!("bits of {what}: {bits:016x}");
    }
}

#[test]
fn repeated_writes_give_equal_bits_on_1_2_and_4_threads() {
    let bits_with = |threads: usize| {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["gradients::threads::repeated_writes", "--exact", "--ignored", "--nocapture"])
            .env(THREADS_VARIABLE, threads.to_string())
            .output()
            .unwrap();
        let (text, errors) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "with {threads} threads:\n{text}{errors}");
        text.lines()
            .filter_map(|line| line.find("bits of ").map(|at| line[at..].to_owned()))
            .collect::<Vec<_>>()
    };
    let alone = bits_with(1);
    assert_eq!(alone.len(), cases().len());
    for threads in [2, 4] {
        assert_eq!(bits_with(threads), alone, "{threads} threads");
    }
}
