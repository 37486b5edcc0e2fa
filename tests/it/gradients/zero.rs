use super::case::{Case, case};

pub fn cases() -> Vec<Case> {
    let one = ["Sign", "Floor", "Ceil", "Round", "IsNaN", "Shape", "Size", "ArgMax", "ArgMin"]
        .map(|op| case(op, "of a variable").x(&[2, 3]).gives_none());
    let two = ["Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"]
        .map(|op| case(op, "of two variables").x(&[2, 3]).x(&[3]).gives_none());
    let infinite = case("IsInf", "of a variable").x(&[2, 3]).gives_none();
    one.into_iter().chain(two).chain([infinite]).collect()
}
