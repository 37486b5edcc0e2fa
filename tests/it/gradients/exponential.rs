use super::case::{Case, case};

pub fn cases() -> Vec<Case> {
    vec![
        case("Exp", "both signs").x(&[2, 3]),
        case("Log", "positive").x_within(&[2, 3], 0.3, 3.0),
        case("Erf", "both signs").x(&[2, 3]).single_curved(),
        case("Softmax", "default axis").x(&[2, 4]),
        case("Softmax", "first axis").x(&[3, 2]).int("axis", 0),
        case("Softmax", "negative axis").x(&[2, 3, 2]).int("axis", -2),
        case("Softmax", "one class").x(&[2, 1]),
        case("Softmax", "large logits").x_of(&[3], &[900.0, 901.0, -900.0]),
        case("LogSoftmax", "default axis").x(&[2, 4]),
        case("LogSoftmax", "middle axis").x(&[2, 3, 2]).int("axis", 1),
        case("LogSoftmax", "negative axis").x(&[2, 3, 2]).int("axis", -3),
        case("LogSoftmax", "large logits").x_of(&[3], &[900.0, 901.0, -900.0]),
    ]
}
