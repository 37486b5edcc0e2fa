use super::case::{Case, case};

pub fn cases() -> Vec<Case> {
    let one = ["Sign", "Floor", "Ceil", "Round", "IsNaN", "Shape", "Size", "ArgMax", "ArgMin"]
        .map(|op| case(op, "of a variable").x(&[2, 3]).gives_none());
    let two = ["Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"]
        .map(|op| case(op, "of two variables").x(&[2, 3]).x(&[3]).gives_none());
    let others = [
        case("IsInf", "of a variable").x(&[2, 3]).gives_none(),
        case("Hardmax", "of a variable").x(&[2, 3]).single_linear().gives_none(),
        case("EyeLike", "of a variable").x(&[2, 3]).int("dtype", 1).gives_none(),
        case("Bernoulli", "of a variable").x_within(&[2, 3], 0.0, 1.0).opsets(&[15, 21]).gives_none(),
        case("RandomNormalLike", "of a variable").x(&[2, 3]).opsets(&[13, 21]).gives_none(),
        case("RandomUniformLike", "of a variable").x(&[2, 3]).opsets(&[13, 21]).gives_none(),
    ];
    one.into_iter().chain(two).chain(others).collect()
}
