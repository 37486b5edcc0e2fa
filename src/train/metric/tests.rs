use super::Targets::{self, Integer, Real};
use super::{Answers, AxisOne, ConfusionSum, MeanLoss, MetricError, MetricSum, Reading, validation_column};
use crate::config::{Average, Metric};

const IGNORED: i64 = -100;
const NAN: f32 = f32::NAN;
const LOGITS: Reading = Reading { ignore_index: IGNORED, threshold: 0.0, axis_1: AxisOne::Classes };

fn measure(
    metric: Metric,
    output: &[f32],
    shape: &[usize],
    targets: Targets<'_>,
) -> Result<f64, MetricError> {
    let mut sum = MetricSum::new(metric, LOGITS);
    sum.add(&Answers { output, shape, targets, mask: None })?;
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
    let mut sum = MetricSum::new(Metric::Accuracy, LOGITS);
    let mut add =
        |output: &[f32], shape: &[usize], targets| sum.add(&Answers { output, shape, targets, mask: None });
    add(&[1.0, 0.0, 1.0, 0.0, 1.0, 0.0], &[3, 2], Integer(&[0, 0, 0])).unwrap();
    add(&[1.0, 0.0], &[1, 2], Integer(&[1])).unwrap();
    add(&[], &[0, 2], Integer(&[])).unwrap();
    assert_eq!(sum.value(), 0.75);
}

#[test]
fn a_class_without_a_logit_is_refused_and_the_sum_kept() {
    let mut sum = MetricSum::new(Metric::Accuracy, LOGITS);
    sum.add(&Answers { output: &[1.0, 0.0], shape: &[1, 2], targets: Integer(&[0]), mask: None }).unwrap();
    let before = sum.clone();
    for wrong in [2, -1, i64::MIN, i64::MAX] {
        let targets = [0, wrong];
        let answers =
            Answers { output: &[1.0, 0.0, 1.0, 0.0], shape: &[2, 2], targets: Integer(&targets), mask: None };
        let error = sum.add(&answers).unwrap_err();
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

/// Three classes: truths and answers of eight examples, one of them ignored.
const TRUTHS: [i64; 8] = [0, 0, 0, 1, 1, 2, 2, IGNORED];
const NAMED: [usize; 8] = [0, 1, 0, 1, 2, 2, 0, 1];

fn one_hot() -> Vec<f32> {
    NAMED.iter().flat_map(|class| (0..3).map(move |at| if at == *class { 2.0 } else { -1.0 })).collect()
}

#[test]
fn precision_recall_and_f1_are_means_over_the_classes_or_of_all_answers() {
    let logits = one_hot();
    let check = |metric, expected: f64| {
        let found = measure(metric, &logits, &[8, 3], Integer(&TRUTHS)).unwrap();
        assert!((found - expected).abs() < 1e-12, "{metric}: {found}, expected {expected}");
    };
    // Right 2, 1, 1; named 3, 2, 2; present 3, 2, 2.
    let third = 2.0 / 3.0;
    check(Metric::Precision(Average::Macro), (third + 0.5 + 0.5) / 3.0);
    check(Metric::Recall(Average::Macro), (third + 0.5 + 0.5) / 3.0);
    check(Metric::F1(Average::Macro), (third + 0.5 + 0.5) / 3.0);
    for metric in
        [Metric::Precision(Average::Micro), Metric::Recall(Average::Micro), Metric::F1(Average::Micro)]
    {
        check(metric, 4.0 / 7.0);
    }
}

#[test]
fn a_class_that_never_occurs_is_left_out_of_the_mean() {
    let logits = [3.0, 0.0, 0.0, /**/ 0.0, 3.0, 0.0, /**/ 0.0, 3.0, 0.0];
    // Class 0: precision 1, recall 1/2. Class 1: precision 1/2, recall 1. Class 2 is neither truth nor answer.
    let found = |metric| measure(metric, &logits, &[3, 3], Integer(&[0, 0, 1])).unwrap();
    assert_eq!(found(Metric::Precision(Average::Macro)), 0.75);
    assert_eq!(found(Metric::Recall(Average::Macro)), 0.75);
    assert!((found(Metric::F1(Average::Macro)) - 2.0 / 3.0).abs() < 1e-12);
}

#[test]
fn of_a_yes_or_no_question_the_scores_are_those_of_yes() {
    // Yes is said four times and three times rightly, of five that are true.
    let logits = [1.0, 2.0, 0.5, 3.0, -1.0, -2.0, -0.5, -3.0];
    let truths = [1, 1, 1, 0, 1, 1, 0, 0];
    let found = |metric| measure(metric, &logits, &[8], Integer(&truths)).unwrap();
    assert_eq!(found(Metric::Precision(Average::Macro)), 0.75);
    assert_eq!(found(Metric::Recall(Average::Macro)), 0.6);
    assert!((found(Metric::F1(Average::Macro)) - 2.0 * 0.75 * 0.6 / 1.35).abs() < 1e-12);
    assert_eq!(found(Metric::F1(Average::Micro)), 0.625);
}

#[test]
fn probabilities_say_yes_above_a_half() {
    let reading = Reading { threshold: 0.5, ..LOGITS };
    let mut sum = MetricSum::new(Metric::Accuracy, reading);
    let targets = Real(&[1.0, 0.0, 0.0]);
    sum.add(&Answers { output: &[0.6, 0.4, 0.9], shape: &[3, 1], targets, mask: None }).unwrap();
    assert!((sum.value() - 2.0 / 3.0).abs() < 1e-12);
}

/// Pairs in which the positive is above the negative, ties counting half, one by one.
fn area(scores: &[f64], positive: impl Fn(usize) -> bool) -> f64 {
    let (mut pairs, mut won) = (0.0, 0.0);
    for high in (0..scores.len()).filter(|at| positive(*at)) {
        for low in (0..scores.len()).filter(|at| !positive(*at)) {
            pairs += 1.0;
            won += if scores[high] > scores[low] {
                1.0
            } else {
                f64::from(u8::from(scores[high] == scores[low])) / 2.0
            };
        }
    }
    won / pairs
}

#[test]
fn auroc_is_the_part_of_the_pairs_that_are_in_order() {
    let logits: Vec<f32> = (0..60).map(|at| ((at * 37 % 11) as f32 - 5.0) / 2.0).collect();
    let truths: Vec<i64> = (0..60).map(|at| i64::from(at * 7 % 5 < 2)).collect();
    let scores: Vec<f64> = logits.iter().map(|logit| f64::from(*logit)).collect();
    let expected = area(&scores, |at| truths[at] == 1);
    check(Metric::Auroc, &logits, &[60], Integer(&truths), expected);
    // Two logits per example ask the same question by their difference.
    let both: Vec<f32> = logits.iter().flat_map(|logit| [1.0, 1.0 + logit]).collect();
    check(Metric::Auroc, &both, &[60, 2], Integer(&truths), expected);
    assert!(measure(Metric::Auroc, &[1.0, 2.0], &[2], Integer(&[1, 1])).unwrap().is_nan());
}

#[test]
fn auroc_of_several_classes_is_the_mean_of_each_against_the_rest() {
    let logits: Vec<f32> = (0..90).map(|at| ((at * 53 % 17) as f32 - 8.0) / 3.0).collect();
    let truths: Vec<i64> = (0..30).map(|at| at * 11 % 3).collect();
    let probability = |example: usize, class: usize| {
        let exp = |class: usize| f64::from(logits[example * 3 + class]).exp();
        exp(class) / (0..3).map(exp).sum::<f64>()
    };
    let areas = (0..3).map(|class| {
        // Single precision decides what is equal.
        let scores: Vec<f64> =
            (0..30).map(|example| f64::from(probability(example, class).ln() as f32)).collect();
        area(&scores, |example| truths[example] == class as i64)
    });
    let expected = areas.sum::<f64>() / 3.0;
    let found = measure(Metric::Auroc, &logits, &[30, 3], Integer(&truths)).unwrap();
    assert!((found - expected).abs() < 1e-9, "{found} {expected}");
}

#[test]
fn perplexity_is_the_exponential_of_the_mean_surprise() {
    let logits = [1.0, 2.0, 0.5, /**/ -1.0, 0.0, 1.0];
    let surprise = |row: &[f32], class: usize| {
        let total: f64 = row.iter().map(|logit| f64::from(*logit).exp()).sum();
        total.ln() - f64::from(row[class])
    };
    let expected = ((surprise(&logits[..3], 1) + surprise(&logits[3..], 0)) / 2.0).exp();
    let found = measure(Metric::Perplexity, &logits, &[2, 3], Integer(&[1, 0])).unwrap();
    assert!((found - expected).abs() < 1e-9, "{found} {expected}");
    // Log-probabilities are their own log softmax.
    let uniform = [-(4.0_f32).ln(); 4];
    let found = measure(Metric::Perplexity, &uniform, &[1, 4], Integer(&[2])).unwrap();
    assert!((found - 4.0).abs() < 1e-6, "{found}");
}

#[test]
fn r2_is_the_mean_over_the_values_of_an_example() {
    // First value: errors 0.25 and 0.25 of deviations 0.5 and 0.5. Second: right.
    let output = [0.5, 3.0, 1.5, 7.0];
    check(Metric::R2, &output, &[2, 2], Real(&[0.0, 3.0, 1.0, 7.0]), (0.0 + 1.0) / 2.0);
    check(Metric::R2, &[1.0, 2.0, 3.0], &[3], Real(&[1.0, 2.0, 3.0]), 1.0);
    check(Metric::R2, &[2.0, 2.0, 2.0], &[3], Real(&[1.0, 2.0, 3.0]), 0.0);
    check(Metric::R2, &[5.0, 6.0], &[2], Real(&[5.0, 5.0]), 0.0);
    check(Metric::R2, &[5.0, 5.0], &[2], Real(&[5.0, 5.0]), 1.0);
    assert!(measure(Metric::R2, &[NAN, 1.0], &[2], Real(&[0.0, 1.0])).unwrap().is_nan());
}

#[test]
fn masked_positions_count_in_no_metric() {
    // Two sequences of three positions, two classes; the last of the first and all but one of the second are padding.
    let logits = [9.0, 0.0, 9.0, /**/ 1.0, 1.0, 1.0, /**/ 0.0, 0.0, 0.0, /**/ 1.0, -1.0, 1.0];
    let truths = [0, 1, 1, /**/ 1, 1, 0];
    let mask = [1.0, 1.0, 0.0, /**/ 1.0, 0.0, 0.0];
    let mut sum = MetricSum::new(Metric::Accuracy, LOGITS);
    let targets = Integer(&truths);
    sum.add(&Answers { output: &logits, shape: &[2, 2, 3], targets, mask: Some(&mask) }).unwrap();
    assert_eq!(sum.value(), 1.0);
    let mut sum = MetricSum::new(Metric::Mae, LOGITS);
    let targets = Real(&[0.0, 0.0, 5.0, 5.0]);
    let answers = Answers { output: &[1.0, 3.0, 9.0, 9.0], shape: &[2, 2], targets, mask: Some(&[1.0, 0.0]) };
    sum.add(&answers).unwrap();
    assert_eq!(sum.value(), 2.0);
}

#[test]
fn the_confusion_matrix_has_a_row_per_truth_and_a_column_per_answer() {
    let mut sum = ConfusionSum::new(LOGITS);
    let logits = one_hot();
    let answers = Answers { output: &logits, shape: &[8, 3], targets: Integer(&TRUTHS), mask: None };
    sum.add(&answers).unwrap();
    sum.add(&answers).unwrap();
    let expected = "true,predicted_0,predicted_1,predicted_2\n0,4,2,0\n1,0,2,2\n2,2,0,2\n";
    assert_eq!(sum.matrix().to_csv(), expected);
    assert_eq!(sum.matrix().to_table(), "  | 0 1 2\n0 | 4 2 0\n1 | 0 2 2\n2 | 2 0 2");
    let mut yes = ConfusionSum::new(LOGITS);
    let answers = Answers { output: &[1.0, -1.0], shape: &[2], targets: Real(&[1.0, 1.0]), mask: None };
    yes.add(&answers).unwrap();
    assert_eq!(yes.matrix().to_csv(), "true,predicted_0,predicted_1\n0,0,0\n1,1,1\n");
}

#[test]
fn questions_of_their_own_are_answered_one_by_one() {
    let reading = Reading { axis_1: AxisOne::Questions, ..LOGITS };
    let mut sum = MetricSum::new(Metric::Accuracy, reading);
    let targets = Real(&[1.0, 1.0, 0.0, 0.0, 0.0, 1.0]);
    let output = [1.0, -1.0, -1.0, -2.0, 2.0, 3.0];
    sum.add(&Answers { output: &output, shape: &[2, 3], targets, mask: None }).unwrap();
    assert_eq!(sum.value(), 4.0 / 6.0);
}
