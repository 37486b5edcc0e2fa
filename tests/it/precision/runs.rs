//! Runs of the program with 16 bits: overflow and growth of the loss scale, kills, parts of batches, changed settings.

use crate::work_dir::WorkDir;
use trainer::train::event::{Event, LossScaleChanged};
use trainer::train::saved::Saved;
use trainer_runtime::codec;

/// Two epochs of 23 steps of the builtin perceptron.
const SHORT: [&str; 3] = ["model.builtin=mlp", "train.epochs=2", "train.batch_size=64"];
const F16: &str = "train.precision=f16";
const BF16: &str = "train.precision=bf16";
/// So large that the first gradients overflow, and doubled again after every eight updates.
const STORMY: [&str; 3] = [F16, "train.loss_scale.initial=16777216", "train.loss_scale.growth_steps=8"];

fn short(more: &[&str]) -> WorkDir {
    let mut dir = WorkDir::new(&SHORT);
    dir.add(more);
    dir
}

fn scales(dir: &WorkDir) -> Vec<LossScaleChanged> {
    let changed = |event| if let Event::LossScaleChanged(changed) = event { Some(changed) } else { None };
    dir.events().into_iter().filter_map(changed).collect()
}

fn refused(dir: &WorkDir) -> Vec<(u64, u64)> {
    let place = |event| {
        if let Event::StepRefused(refused) = event { Some((refused.epoch, refused.batch)) } else { None }
    };
    dir.events().into_iter().filter_map(place).collect()
}

fn saved(dir: &WorkDir) -> Saved {
    codec::decode(dir.final_checkpoint().state()).unwrap()
}

fn losses(dir: &WorkDir) -> Vec<f64> {
    dir.steps().iter().map(|step| f64::from(f32::from_bits(step.loss_bits))).collect()
}

#[test]
fn an_overflow_halves_the_scale_and_leaves_its_batch_out() {
    let dir = short(&STORMY);
    dir.finish(&[]).check_says(&[
        "was left out: its gradients overflow with a loss scale of 16777216, which becomes 8388608",
    ]);
    let (scales, refused) = (scales(&dir), refused(&dir));
    let halved: Vec<&LossScaleChanged> = scales.iter().filter(|changed| changed.to < changed.from).collect();
    assert!(halved.len() > 1, "{scales:?}");
    assert!(halved.iter().all(|changed| changed.to == changed.from / 2.0));
    assert_eq!(halved.iter().map(|changed| (changed.epoch, changed.batch)).collect::<Vec<_>>(), refused);
    // What was left out is no step, and no weight became infinite.
    assert_eq!(dir.steps().len(), 46 - refused.len());
    let last = saved(&dir);
    assert_eq!((last.refused, last.refused_in_a_row), (refused.len() as u64, 0));
    assert!(losses(&dir).iter().all(|loss| loss.is_finite()));
    let checkpoint = dir.final_checkpoint();
    let weights = checkpoint.iter().filter(|tensor| tensor.name != trainer_runtime::checkpoint::STATE_TENSOR);
    for tensor in weights {
        assert!(tensor.to_vec::<f32>().unwrap().iter().all(|x| x.is_finite()), "{}", tensor.name);
    }
}

#[test]
fn as_many_clean_updates_as_the_settings_say_double_the_scale() {
    let dir = short(&[F16, "train.loss_scale.initial=128", "train.loss_scale.growth_steps=10"]);
    dir.finish(&[]);
    let changed: Vec<(u64, u64, f32, f32)> =
        scales(&dir).into_iter().map(|scale| (scale.epoch, scale.batch, scale.from, scale.to)).collect();
    // Steps 10, 20, 30 and 40 of epochs of 23 batches.
    let expected =
        [(1, 9, 128.0, 256.0), (1, 19, 256.0, 512.0), (2, 6, 512.0, 1024.0), (2, 16, 1024.0, 2048.0)];
    assert_eq!(changed, expected);
    let scale = saved(&dir).loss_scale.unwrap();
    assert_eq!((scale.scale, scale.clean_steps), (2048.0, 6));
}

#[test]
fn batches_left_out_for_the_scale_alone_are_no_divergence() {
    let dir = short(&[F16, "train.loss_scale.initial=18446744073709551616.0", "train.max_refused_steps=2"]);
    dir.finish(&[]);
    assert!(refused(&dir).len() > 10);
}

#[test]
fn what_overflows_with_the_smallest_scale_is_a_divergence() {
    let more =
        [F16, "train.loss_scale.initial=4", "optimizer.kind=sgd", "--lr", "1e30", "schedule.warmup_steps=0"];
    let dir = short(&more);
    dir.run(&[]).check_code(6).check_says(&["training diverged: 10 batches in a row"]);
    assert_eq!(scales(&dir).last().unwrap().to, 1.0);
}

/// Kills a run at these steps, lets it end, and compares it with one that was not disturbed.
#[track_caller]
fn check_killed(steps: &[u64], more: &[&str]) {
    let undisturbed = short(more);
    undisturbed.finish(&[]);
    let dir = short(more);
    for step in steps {
        dir.kill_at_step(*step, &[]);
    }
    dir.finish(&[]);
    dir.result().check_equals(&undisturbed.result());
    assert_eq!(scales(&dir), scales(&undisturbed));
    assert_eq!(refused(&dir), refused(&undisturbed));
}

#[test]
fn a_killed_run_ends_as_an_undisturbed_one_with_its_loss_scale() {
    // Before the first checkpoint, behind one in the middle of a row of clean steps, and in the second epoch.
    check_killed(&[2, 13, 30], &[&STORMY[..], &["checkpoint.every_steps=5"]].concat());
}

#[test]
fn a_killed_run_in_bfloat16_ends_as_an_undisturbed_one() {
    check_killed(&[25], &[BF16, "train.clip_norm=0.5"]);
}

#[test]
fn gradients_of_parts_are_added_up_in_32_bits() {
    for precision in [BF16, F16] {
        let [whole, parts] = ["64", "10"].map(|micro_batch| {
            let dir = short(&[precision]);
            dir.finish(&["--micro-batch", micro_batch]);
            losses(&dir)
        });
        let pairs = || whole.iter().zip(&parts);
        assert!(pairs().all(|(whole, parts)| (whole - parts).abs() < 1e-2 * whole), "{whole:?} {parts:?}");
        assert!(pairs().any(|(whole, parts)| whole != parts));
    }
}

#[test]
fn a_run_in_16_bits_learns_as_well_and_gives_a_model_of_32_bits() {
    let [single, bf16, f16] = [&[][..], &[BF16], &[F16]].map(|more| {
        let dir = short(more);
        dir.finish(&[]);
        let model = trainer::graph::read::read_file(&dir.path().join("model.onnx")).unwrap();
        assert!(model.nodes.iter().all(|node| node.op != "Cast"));
        (losses(&dir), dir.measured("val_accuracy", 2))
    });
    for (name, low) in [("bfloat16", bf16), ("float16", f16)] {
        assert_ne!(low.0, single.0, "{name}");
        assert!((low.1 - single.1).abs() < 0.03, "{name}: {} and {}", low.1, single.1);
        let far = low.0.iter().zip(&single.0).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(far < 0.05 * single.0[0], "{name}: {far}");
    }
}

#[test]
fn equal_bits_on_several_threads_are_as_equal_as_in_32_bits() {
    let with = |threads: &str, more: &[&str]| {
        let dir = short(more);
        dir.finish(&["--threads", threads, "--max-steps", "8"]);
        losses(&dir)
    };
    let is_equal = |more: &[&str]| with("1", more) == with("2", more) && with("1", more) == with("4", more);
    if is_equal(&[]) {
        assert!(is_equal(&[BF16]) && is_equal(&[F16]));
    }
}

#[test]
fn another_precision_is_another_run_unless_it_is_allowed() {
    let dir = short(&[]);
    dir.finish(&["--max-steps", "5"]);
    dir.run(&[BF16])
        .check_code(4)
        .check_says(&["train.precision: not set -> \"bf16\"", "--allow-changed settings"]);
    dir.finish(&[F16, "--max-steps", "10", "--allow-changed", "settings"]);
    assert_eq!(saved(&dir).loss_scale.unwrap().clean_steps, 5);
    dir.finish(&["train.precision=f32", "--max-steps", "12", "--allow-changed", "settings"]);
    assert_eq!((saved(&dir).loss_scale, saved(&dir).version), (None, Saved::PLAIN));
}

#[test]
fn settings_that_make_no_sense_are_refused_with_their_remedy() {
    let dir = short(&[]);
    dir.run(&["train.precision=fp16"])
        .check_code(2)
        .check_says(&["expected one of \"f32\", \"bf16\", \"f16\"", "did you mean \"f16\"?"]);
    dir.run(&["precision=bf16"]).check_code(2).check_says(&["did you mean `train.precision`?"]);
    dir.run(&["train.loss_scale.initial=8"])
        .check_code(2)
        .check_says(&["it goes with train.precision = \"f16\""]);
    dir.run(&[F16, "train.loss_scale.initial=0.5"])
        .check_code(2)
        .check_says(&["in [1, 18446744073709552000]"]);
    dir.run(&[F16, "train.loss_scale.growth_steps=0"])
        .check_code(2)
        .check_says(&["an integer of at least 1"]);
}

#[test]
fn what_computes_with_which_precision_is_listed_on_request() {
    let dir = short(&[BF16, "--max-steps", "1"]);
    dir.run(&["-v"]).check_code(0).check_says(&["operators of the forward pass with 16 bits: ", "Gemm 3"]);
}
