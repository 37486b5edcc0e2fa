//! Every gradient rule against central differences of the operator itself, run by ONNX Runtime.
//!
//! Belongs here: one file of cases per family of rules, the form of a case ([`case`]), and how it is checked
//! ([`check`]). To add a case is to add data. Does not belong here: whole models (`tests/it/models.rs`).

mod case;
mod check;
mod document;

mod activation;
mod arithmetic;
mod attention;
mod batch_normalization;
mod columns;
mod conv;
mod einsum;
mod exponential;
mod grid_sample;
mod indexing;
mod loss;
mod matrix;
mod normalization;
mod pad;
mod pool;
mod recurrent;
mod reduction;
mod reference;
mod resize;
mod shape;
mod sizes;
mod structural;
mod threads;
mod trigonometric;
mod zero;

use case::{Case, Expected};
use check::check_all;
use trainer::graph::autodiff::{Gradient, Rule, table};

fn all_cases() -> Vec<Case> {
    [
        activation::cases(),
        arithmetic::cases(),
        attention::cases(),
        batch_normalization::cases(),
        columns::cases(),
        conv::cases(),
        einsum::cases(),
        exponential::cases(),
        grid_sample::cases(),
        indexing::cases(),
        matrix::cases(),
        normalization::cases(),
        loss::cases(),
        pad::cases(),
        resize::cases(),
        pool::cases(),
        recurrent::cases(),
        reduction::cases(),
        shape::cases(),
        sizes::cases(),
        structural::cases(),
        trigonometric::cases(),
        zero::cases(),
    ]
    .concat()
}

/// Whether a case shows what a row of the table says.
fn shows(case: &Case, rule: &Rule) -> bool {
    let shown = match (&rule.gradient, &case.expected) {
        (Gradient::Rule(_) | Gradient::Composed(_), Expected::Differences) => true,
        (Gradient::Zero(_), Expected::Absent) => true,
        (Gradient::Refused(reason), Expected::Refused(text)) => reason.contains(text),
        _ => false,
    };
    shown && case.opsets.iter().any(|opset| rule.covers(case.op, *opset))
}

#[test]
fn every_rule_has_a_case() {
    let cases = all_cases();
    let missing: Vec<String> = table()
        .filter(|rule| !cases.iter().any(|case| shows(case, rule)))
        .map(|rule| format!("{} (opset {} to {:?})", rule.op, rule.since, rule.until))
        .collect();
    assert!(
        missing.is_empty(),
        "rows of the gradient table without a case in tests/it/gradients: {missing:#?}"
    );
}

#[test]
fn every_rule_has_a_case_in_the_oldest_and_the_newest_opset_it_covers() {
    let cases = all_cases();
    let missing: Vec<String> = table()
        .flat_map(|rule| [rule.since, rule.until.unwrap_or(case::NEWEST)].map(|opset| (rule, opset)))
        .filter(|(rule, opset)| !cases.iter().any(|case| shows(case, rule) && case.opsets.contains(opset)))
        .map(|(rule, opset)| format!("{} in opset {opset}", rule.op))
        .collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn no_two_rows_cover_the_same_operator_and_opset() {
    for opset in 13..=case::NEWEST {
        for rule in table() {
            let rows = table().filter(|other| other.covers(rule.op, opset)).count();
            assert!(rows <= 1, "{} has {rows} rows in opset {opset}", rule.op);
        }
    }
}

macro_rules! families {
    ($($test:ident: $family:ident),* $(,)?) => {
        $(#[test]
        fn $test() {
            check_all(&$family::cases());
        })*
    };
}

families! {
    activations_match_central_differences: activation,
    arithmetic_matches_central_differences: arithmetic,
    attention_matches_central_differences: attention,
    batch_normalization_matches_central_differences: batch_normalization,
    columns_of_windows_match_central_differences: columns,
    convolutions_match_central_differences: conv,
    sums_of_products_match_central_differences: einsum,
    exponentials_match_central_differences: exponential,
    images_read_at_places_match_central_differences: grid_sample,
    reads_and_writes_at_positions_match_central_differences: indexing,
    matrix_products_match_central_differences: matrix,
    normalizations_match_central_differences: normalization,
    losses_match_central_differences: loss,
    pads_match_central_differences: pad,
    pools_match_central_differences: pool,
    resizing_matches_central_differences: resize,
    recurrent_layers_match_central_differences: recurrent,
    reductions_match_central_differences: reduction,
    gradients_at_special_points_are_those_of_pytorch: reference,
    shape_operators_match_central_differences: shape,
    elementwise_operators_of_any_size_match_central_differences: sizes,
    structural_operators_match_central_differences: structural,
    trigonometry_matches_central_differences: trigonometric,
    piecewise_constant_operators_give_no_gradient: zero,
}
