use super::case::{Case, NEWEST, case};

pub fn cases() -> Vec<Case> {
    vec![
        case("Relu", "both signs").x(&[2, 5]),
        case("Relu", "scalar").x_of(&[], &[0.7]),
        case("Relu", "0 at 0, as in PyTorch").x_of(&[3], &[-1.0, 0.0, 2.0]).gives(&[0.0, 0.0, 1.0]),
        case("Relu", "tiny and huge numbers")
            .x_of(&[4], &[f64::from(f32::MIN_POSITIVE), 3e38, -3e38, -f64::from(f32::MIN_POSITIVE)])
            .gives(&[1.0, 1.0, 0.0, 0.0]),
        case("Relu", "infinities").x_of(&[2], &[f64::INFINITY, f64::NEG_INFINITY]).gives(&[1.0, 0.0]),
        case("LeakyRelu", "default slope").x(&[2, 5]).single_curved(),
        case("LeakyRelu", "given slope")
            .x_of(&[4], &[-1.5, -0.25, 0.5, 2.0])
            .float("alpha", 0.25)
            .single_curved(),
        case("LeakyRelu", "the slope at 0, as in PyTorch")
            .x_of(&[1], &[0.0])
            .float("alpha", 0.25)
            .single_curved()
            .gives(&[0.25]),
        case("Sigmoid", "both signs").x(&[2, 5]),
        case("Sigmoid", "saturated").x_of(&[2], &[-60.0, 60.0]),
        case("Tanh", "both signs").x(&[2, 5]),
        case("Softplus", "both signs").x(&[2, 5]).single_curved(),
        case("Softplus", "without overflow").x_of(&[2], &[-200.0, 200.0]).single_linear(),
        case("Gelu", "exact").x(&[2, 5]).opsets(&[20, NEWEST]).single_curved(),
        case("Gelu", "exact, named")
            .x(&[6])
            .text("approximate", "none")
            .opsets(&[20, NEWEST])
            .single_curved(),
        case("Gelu", "by tanh").x(&[2, 5]).text("approximate", "tanh").opsets(&[20, NEWEST]).single_curved(),
    ]
}
