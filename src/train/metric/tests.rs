use super::Targets::{self, Integer, Real};
use super::{MeanLoss, MetricError, MetricSum, validation_column};
use crate::config::Metric;

const IGNORED: i64 = -100;
const NAN: f32 = f32::NAN;

fn measure(
    metric: Metric,
    output: &[f32],
    shape: &[usize],
    targets: Targets<'_>,
) -> Result<f64, MetricError> {
    let mut sum = MetricSum::new(metric, IGNORED);
    sum.add(output, shape, targets)?;
    Ok(sum.value())
}

#[track_caller]
fn check(metric: Metric, output: &[f32], shape: &[usize], targets: Targets<'_>, expected: f64) {
    assert_eq!(measure(metric, output, shape, targets), Ok(expected));
}

#[test]
fn accuracy_is_the_part_whose_largest_logit_is_the_target() {
    let logits =
        [1.0, 3.0, 2.0, /**/ 5.0, 4.0, 0.0, /**/ -3.0, -2.0, -1.0, /**/ 0.0, 0.1, 0.0];
    check(Metric::Accuracy, &logits, &[4, 3], Integer(&[1, 1, 2, 1]), 0.75);
}

#[test]
fn top_k_ranks_equal_logits_by_class_number() {
    let logits = [1.0, 1.0, 1.0, 1.0];
    for (class, least_k) in [(0, 1), (1, 2), (2, 3), (3, 4)] {
        for k in 1..6 {
            let expected = if k >= least_k { 1.0 } else { 0.0 };
            check(Metric::TopK(k), &logits, &[1, 4], Integer(&[class]), expected);
        }
    }
    check(Metric::Accuracy, &[2.0, 2.0], &[1, 2], Integer(&[1]), 0.0);
}

#[test]
fn classes_are_on_axis_1_and_every_trailing_position_counts() {
    // [N=2, C=2, 3]: for each example the three logits of class 0, then those of class 1.
    let logits = [9.0, 0.0, 9.0, /**/ 1.0, 1.0, 1.0, /**/ 0.0, 0.0, 0.0, /**/ 1.0, -1.0, 1.0];
    check(Metric::Accuracy, &logits, &[2, 2, 3], Integer(&[0, 1, 0, 1, 0, 1]), 1.0);
    check(Metric::Accuracy, &logits, &[2, 2, 3], Integer(&[0, 0, 0, 1, 0, 0]), 4.0 / 6.0);
    check(Metric::Accuracy, &logits, &[2, 2, 3, 1], Integer(&[0, 1, 0, 1, 0, 1]), 1.0);
}

#[test]
fn ignored_targets_count_neither_as_right_nor_as_wrong() {
    let logits = [1.0, 0.0, /**/ 1.0, 0.0, /**/ 1.0, 0.0];
    check(Metric::Accuracy, &logits, &[3, 2], Integer(&[0, IGNORED, 1]), 0.5);
    check(Metric::Mae, &[1.0, 5.0], &[2, 1], Integer(&[3, IGNORED]), 2.0);
    check(Metric::Accuracy, &[1.0, 5.0], &[2, 1], Integer(&[0, IGNORED]), 0.0);
    let all = measure(Metric::Accuracy, &logits, &[3, 2], Integer(&[IGNORED; 3]));
    assert!(all.unwrap().is_nan());
}

#[test]
fn probability_targets_stand_for_their_largest_class() {
    let logits = [0.0, 1.0, 0.5, /**/ 2.0, 1.0, 0.0];
    let probabilities = [0.2, 0.5, 0.3, /**/ 0.1, 0.45, 0.45];
    check(Metric::Accuracy, &logits, &[2, 3], Real(&probabilities), 0.5);
    check(Metric::TopK(2), &logits, &[2, 3], Real(&probabilities), 1.0);
}

#[test]
fn one_logit_decides_by_its_sign() {
    let logits = [0.1, -0.1, 0.0, 3.0];
    for shape in [vec![4], vec![4, 1], vec![2, 1, 2]] {
        check(Metric::Accuracy, &logits, &shape, Real(&[1.0, 0.0, 0.0, 0.0]), 0.75);
        check(Metric::Accuracy, &logits, &shape, Integer(&[1, 0, 1, 1]), 0.75);
    }
}

#[test]
fn a_nan_is_never_right() {
    check(Metric::Accuracy, &[NAN, 1.0, 0.0], &[1, 3], Integer(&[1]), 0.0);
    check(Metric::Accuracy, &[NAN, 1.0, 0.0], &[1, 3], Integer(&[0]), 0.0);
    check(Metric::TopK(3), &[NAN, 1.0, 0.0], &[1, 3], Integer(&[0]), 0.0);
    check(Metric::Accuracy, &[1.0, 0.0], &[1, 2], Real(&[NAN, 0.0]), 0.0);
    check(Metric::Accuracy, &[NAN], &[1, 1], Real(&[0.0]), 0.0);
    check(Metric::Accuracy, &[-1.0], &[1, 1], Real(&[NAN]), 0.0);
    assert!(measure(Metric::Mae, &[NAN, 1.0], &[2], Real(&[0.0, 0.0])).unwrap().is_nan());
}

#[test]
fn mean_absolute_error_takes_every_value() {
    check(Metric::Mae, &[1.0, 2.0, -3.0, 0.0], &[2, 2], Real(&[0.0, 2.5, 3.0, 0.5]), 2.0);
    check(Metric::Mae, &[1.5, 2.0], &[2], Integer(&[1, 4]), 1.25);
}

#[test]
fn batches_of_different_sizes_add_up_by_example() {
    let mut sum = MetricSum::new(Metric::Accuracy, IGNORED);
    sum.add(&[1.0, 0.0, 1.0, 0.0, 1.0, 0.0], &[3, 2], Integer(&[0, 0, 0])).unwrap();
    sum.add(&[1.0, 0.0], &[1, 2], Integer(&[1])).unwrap();
    sum.add(&[], &[0, 2], Integer(&[])).unwrap();
    assert_eq!(sum.value(), 0.75);
}

#[test]
fn a_class_without_a_logit_is_refused_and_the_sum_kept() {
    let mut sum = MetricSum::new(Metric::Accuracy, IGNORED);
    sum.add(&[1.0, 0.0], &[1, 2], Integer(&[0])).unwrap();
    let before = sum.clone();
    for wrong in [2, -1, i64::MIN, i64::MAX] {
        let error = sum.add(&[1.0, 0.0, 1.0, 0.0], &[2, 2], Integer(&[0, wrong])).unwrap_err();
        let MetricError::ClassOutOfRange { position, found, last_class, .. } = error else {
            panic!("{error}");
        };
        assert_eq!((position, found, last_class), (1, wrong, 1));
        assert_eq!(sum, before);
    }
}

#[test]
fn lengths_that_do_not_belong_together_are_refused() {
    let lengths =
        |metric, output: &[f32], shape: &[usize], targets| match measure(metric, output, shape, targets) {
            Err(
                MetricError::OutputLength { found, expected, .. }
                | MetricError::TargetLength { found, expected, .. },
            ) => (found, expected),
            other => panic!("{other:?}"),
        };
    assert_eq!(lengths(Metric::Accuracy, &[0.0; 5], &[2, 3], Integer(&[0, 0])), (5, 6));
    assert_eq!(lengths(Metric::Accuracy, &[0.0; 6], &[2, 3], Integer(&[0])), (1, 2));
    assert_eq!(lengths(Metric::TopK(2), &[0.0; 6], &[2, 3], Real(&[0.0; 2])), (2, 6));
    assert_eq!(lengths(Metric::Mae, &[], &[usize::MAX, 2], Real(&[])), (0, usize::MAX));
    assert_eq!(lengths(Metric::Mae, &[0.0; 6], &[2, 3], Integer(&[0, 0])), (2, 6));
}

#[test]
fn columns_are_named_as_in_the_history() {
    let columns = [Metric::Accuracy, Metric::TopK(5), Metric::Mae].map(validation_column);
    assert_eq!(columns, ["val_accuracy", "val_top5", "val_mae"]);
}

#[test]
fn mean_loss_weighs_batches_by_their_denominators() {
    let mut loss = MeanLoss::default();
    assert!(loss.value().is_nan());
    loss.add(2.0, 3.0);
    loss.add(6.0, 1.0);
    assert_eq!(loss.value(), 3.0);
    loss.add(f64::NAN, 0.0);
    assert_eq!(loss.value(), 3.0);
    loss.add(f64::NAN, 2.0);
    assert!(loss.value().is_nan());
}
