//! `docs/operators.md` is made from the table of rules and from the cases.

use super::case::{Case, Expected, Input, NEWEST, Precision};
use super::{all_cases, reference, threads};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use trainer::graph::autodiff::{Gradient, Rule, table};

const FILE: &str = "docs/operators.md";
/// Set it to write the file anew.
const WRITE: &str = "TRAINER_WRITE_DOCS";

const HEAD: &str = "\
# Operators that can be trained through

Made from the table of gradient rules and from the cases that test it; do not edit it by hand:
`TRAINER_WRITE_DOCS=1 cargo test --test it operators_document` writes it anew.

All operators that ONNX Runtime runs may stand where no gradient passes: before the first trained parameter, in shapes, in
indices. The list is about those on the way from a parameter to the loss.

- Inputs are counted from 1. Where an input is not listed, a parameter that reaches it is refused or gets no gradient, with
  the reason in the message.
- *written out*: the operator is replaced by others of this list before gradients are taken, forwards too.
- float64, float32: cases compared with central differences of the operator as ONNX Runtime runs it, in the oldest and the
  newest opset of the row at least. float32 where ONNX Runtime has no other kernel; each gradient in float64 is compared with
  that in float32 as well. *values*: cases with known gradients, at points without a derivative. *PyTorch*: compared with
  gradients that PyTorch computed (`scripts/reference/gradients.py`). *threads*: equal bits on 1, 2 and 4 threads.
- Functions of a model are written out when it is read, `If` with a known condition is replaced by its branch, and whatever
  depends on constants and shapes alone is computed beforehand, loops included. `CastLike` becomes `Cast`. Lists of parts
  (`SplitToSequence`, `SequenceConstruct`) whose elements are taken at known positions or joined become `Split` and `Concat`.

| operator | opset | inputs with a gradient | tested by |
|---|---|---|---|
";

fn covers(rule: &Rule, case: &Case) -> bool {
    case.opsets.iter().any(|opset| rule.covers(case.op, *opset))
}

fn opsets(rule: &Rule) -> String {
    match rule.until {
        Some(until) if until == rule.since => until.to_string(),
        Some(until) => format!("{} to {until}", rule.since),
        None => format!("{} to {NEWEST}", rule.since),
    }
}

/// Positions of the inputs that a passing case varies, from 1; a list without end for operators of many operands.
fn inputs(cases: &[&Case]) -> String {
    let passing = cases.iter().filter(|case| !matches!(case.expected, Expected::Refused(_)));
    let varied = passing.flat_map(|case| {
        let inputs = case.inputs.iter().enumerate();
        inputs.filter(|(_, input)| matches!(input, Input::Varied { .. })).map(|(position, _)| position + 1)
    });
    let positions: BTreeSet<usize> = varied.collect();
    let texts: Vec<String> = positions.iter().map(usize::to_string).collect();
    texts.join(", ")
}

fn tests(rule: &Rule, cases: &[&Case]) -> String {
    let count = |wanted: &dyn Fn(&Case) -> bool| cases.iter().filter(|case| wanted(case)).count();
    let differences = |case: &Case| case.expected == Expected::Differences;
    let kinds = [
        ("float64", count(&|case| differences(case) && case.precision == Precision::Double)),
        ("float32", count(&|case| differences(case) && case.precision != Precision::Double)),
        ("values", count(&|case| matches!(case.expected, Expected::Values(_)))),
        ("PyTorch", reference::cases().iter().filter(|case| covers(rule, case)).count()),
        ("threads", threads::cases().iter().filter(|case| covers(rule, case)).count()),
    ];
    let present = kinds.into_iter().filter(|(_, count)| *count > 0);
    let texts: Vec<String> = present.map(|(kind, count)| format!("{kind} {count}")).collect();
    texts.join(", ")
}

fn row(rule: &Rule, cases: &[Case]) -> String {
    let cases: Vec<&Case> = cases.iter().filter(|case| covers(rule, case)).collect();
    let (inputs, tests) = match rule.gradient {
        Gradient::Rule(_) => (inputs(&cases), tests(rule, &cases)),
        Gradient::Composed(_) => (format!("{}; *written out*", inputs(&cases)), tests(rule, &cases)),
        Gradient::Zero(reason) => (format!("none: {reason}"), "no gradient".to_owned()),
        Gradient::Refused(reason) => (format!("refused: {reason}"), "refusal".to_owned()),
    };
    format!("| {} | {} | {inputs} | {tests} |", rule.op, opsets(rule))
}

fn document() -> String {
    let cases = all_cases();
    let mut rules: Vec<&Rule> = table().collect();
    rules.sort_by_key(|rule| (rule.op, rule.since));
    let mut text = HEAD.to_owned();
    for rule in rules {
        writeln!(text, "{}", row(rule, &cases)).unwrap();
    }
    text
}

#[test]
fn the_operators_document_is_what_the_table_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE);
    let wanted = document();
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    let differing = found.lines().zip(wanted.lines()).find(|(found, wanted)| found != wanted);
    let hint =
        format!("{FILE} is not current; `{WRITE}=1 cargo test --test it operators_document` writes it anew");
    assert_eq!(differing, None, "{hint}");
    assert_eq!(found.lines().count(), wanted.lines().count(), "{hint}");
}
