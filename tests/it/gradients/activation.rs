use super::case::{Case, NEWEST, case};

pub fn cases() -> Vec<Case> {
    [smooth(), units(), steps()].concat()
}

/// Both sides of every bend, none of them.
const BOTH_SIDES: [f64; 8] = [-4.0, -2.0, -0.75, -0.25, 0.25, 0.75, 2.0, 4.0];

fn units() -> Vec<Case> {
    let unit = |op, about| case(op, about).x_of(&[2, 4], &BOTH_SIDES).single_curved();
    vec![
        unit("Elu", "default slope"),
        unit("Elu", "given slope").float("alpha", 0.5),
        unit("Elu", "negative slope").float("alpha", -0.5),
        unit("Elu", "saturated").with_x(&[-1e4, -100.0, -90.0, -30.0, 30.0, 1e4, 2e4, 3e4]),
        unit("Selu", "default slopes"),
        unit("Selu", "given slopes").float("alpha", 0.5).float("gamma", 2.0),
        unit("Selu", "negative scale").float("gamma", -1.5),
        unit("Celu", "default slope"),
        unit("Celu", "given slope").float("alpha", 0.5),
        unit("PRelu", "a slope for each column").x(&[4]).opsets(&[13, 16, NEWEST]),
        unit("PRelu", "one slope").x(&[1]),
        unit("PRelu", "a slope for each element").x(&[2, 4]),
        unit("PRelu", "a fixed slope").fixed(&[1], &[0.25]),
        case("PRelu", "a slope for each channel").x(&[2, 3, 2]).x(&[3, 1]).single_curved(),
        case("PRelu", "a fixed value").fixed(&[2], &[-1.5, 1.0]).x(&[2]).single_curved(),
    ]
}

fn steps() -> Vec<Case> {
    let unit = |op, about| case(op, about).x_of(&[2, 4], &BOTH_SIDES).single_curved();
    vec![
        unit("ThresholdedRelu", "default threshold"),
        unit("ThresholdedRelu", "given threshold").float("alpha", -0.5),
        unit("Shrink", "soft").float("lambd", 0.5).float("bias", 0.5),
        unit("Shrink", "hard").float("lambd", 1.0),
        unit("HardSigmoid", "default slope"),
        unit("HardSigmoid", "PyTorch's slope").float("alpha", 1.0 / 6.0).float("beta", 0.5),
        unit("HardSwish", "both sides").opsets(&[14, 22, NEWEST]),
        unit("Mish", "both sides").opsets(&[18, 22, NEWEST]),
        unit("Mish", "saturated")
            .with_x(&[-200.0, -100.0, -50.0, -20.0, 20.0, 50.0, 100.0, 200.0])
            .opsets(&[18, NEWEST]),
        unit("Softsign", "both sides"),
        unit("Softsign", "large").with_x(&[-1e4, -100.0, -50.0, -20.0, 20.0, 50.0, 100.0, 1e4]),
    ]
}

fn smooth() -> Vec<Case> {
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
