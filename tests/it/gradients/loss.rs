use super::case::{Case, case};

pub fn cases() -> Vec<Case> {
    ["SoftmaxCrossEntropyLoss", "NegativeLogLikelihoodLoss"]
        .into_iter()
        .flat_map(of_labels)
        .chain(logarithms())
        .collect()
}

fn of_labels(op: &'static str) -> Vec<Case> {
    let rows = |about| case(op, about).x(&[3, 4]).fed_ints(&[0, 3, 1]).single_curved();
    let planes = |about| case(op, about).x(&[2, 3, 2]).fed_ints_of(&[2, 2], &[0, 2, 2, 1]).single_curved();
    let weighted = |case: Case| case.fixed(&[3], &[0.5, 2.0, 1.0]);
    vec![
        rows("mean"),
        rows("sum").text("reduction", "sum"),
        rows("by example").text("reduction", "none"),
        rows("an ignored label").int("ignore_index", 3),
        rows("an ignored label, by example").int("ignore_index", 3).text("reduction", "none"),
        case(op, "a label outside that is ignored")
            .x(&[3, 4])
            .fed_ints(&[0, -100, 1])
            .int("ignore_index", -100)
            .single_curved(),
        planes("planes"),
        planes("planes, by position").text("reduction", "none"),
        weighted(planes("weights")),
        weighted(planes("weights, summed")).text("reduction", "sum"),
        weighted(planes("weights, by position")).text("reduction", "none"),
        weighted(planes("weights and an ignored label")).int("ignore_index", 2),
        case(op, "one class").x(&[2, 1]).fed_ints(&[0, 0]).single_curved(),
    ]
}

fn logarithms() -> Vec<Case> {
    let both = |about| {
        case("SoftmaxCrossEntropyLoss", about).x(&[3, 4]).fed_ints(&[0, 3, 1]).outputs(2).single_curved()
    };
    vec![both("the logarithms as well"), both("the logarithms are not read").only_first_output()]
}
