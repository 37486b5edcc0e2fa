use super::case::{Case, case};

pub fn cases() -> Vec<Case> {
    let everywhere = |op| case(op, "both signs").x(&[2, 3]);
    let within = |op, low, high| case(op, "within its range").x_within(&[2, 3], low, high).single_curved();
    vec![
        everywhere("Sin"),
        everywhere("Cos"),
        case("Sin", "large angles").x_of(&[2], &[100.0, -1000.0]),
        within("Tan", -1.2, 1.2),
        within("Asin", -0.8, 0.8),
        within("Acos", -0.8, 0.8),
        everywhere("Atan").single_curved(),
        case("Atan", "large").x_of(&[2], &[1e3, -1e3]).single_curved(),
        everywhere("Sinh").single_curved(),
        everywhere("Cosh").single_curved(),
        everywhere("Asinh").single_curved(),
        within("Acosh", 1.5, 3.0),
        within("Atanh", -0.8, 0.8),
    ]
}
