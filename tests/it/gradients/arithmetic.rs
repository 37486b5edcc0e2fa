use super::case::{Case, NEWEST, case};

pub fn cases() -> Vec<Case> {
    [sums(), products(), powers(), selections(), extremes(), single_operand()].concat()
}

fn sums() -> Vec<Case> {
    vec![
        case("Add", "equal shapes").x(&[2, 3]).x(&[2, 3]),
        case("Add", "a row broadcast").x(&[2, 3]).x(&[3]),
        case("Add", "a column and a row").x(&[2, 1]).x(&[1, 3]),
        case("Add", "a scalar").x(&[]).x(&[2, 3]),
        case("Add", "one element against rank 3").x(&[2, 1, 3]).x(&[1]),
        case("Add", "tied").x(&[4]).again(0),
        case("Add", "empty").x(&[0, 3]).x(&[3]),
        case("Sub", "broadcast to the left").x(&[3]).x(&[2, 3]),
        case("Sub", "tied").x(&[4]).again(0),
        case("Sum", "three, broadcast").x(&[2, 3]).x(&[3]).x(&[2, 1]),
        case("Sum", "one").x(&[2, 3]),
        case("Sum", "tied").x(&[3]).again(0).again(0),
    ]
}

fn products() -> Vec<Case> {
    vec![
        case("Mul", "equal shapes").x(&[2, 3]).x(&[2, 3]),
        case("Mul", "both broadcast").x(&[2, 1, 2]).x(&[3, 1]),
        case("Mul", "a constant scalar").x(&[2, 3]).fixed(&[], &[-1.5]),
        case("Mul", "tied, which is the square").x(&[5]).again(0),
        case("Div", "equal shapes").x(&[2, 3]).x_within(&[2, 3], 0.5, 2.0),
        case("Div", "by a broadcast row").x(&[2, 3]).x_within(&[3], -2.0, -0.5),
        case("Div", "of a scalar").x(&[]).x_within(&[4], 0.5, 2.0),
        case("Div", "tied, which is 1").x_within(&[4], 0.5, 2.0).again(0),
    ]
}

fn powers() -> Vec<Case> {
    vec![
        case("Pow", "the square").x(&[2, 3]).fixed(&[], &[2.0]),
        case("Pow", "the square by a list of one").x(&[3]).fixed(&[1, 1], &[2.0]),
        case("Pow", "a cube of both signs").x(&[2, 3]).fixed(&[], &[3.0]),
        case("Pow", "an integer exponent").x(&[2, 3]).int_scalar(3),
        case("Pow", "a root").x_within(&[4], 0.5, 2.0).fixed(&[], &[0.5]),
        case("Pow", "an inverse").x_within(&[4], 0.5, 2.0).fixed(&[1], &[-2.0]),
        case("Pow", "listed exponents").x_within(&[2, 3], 0.5, 2.0).fixed(&[3], &[0.0, 1.0, 2.5]),
        case("Pow", "a varied exponent").x_within(&[2, 3], 0.5, 2.0).x(&[3]),
        case("Pow", "a varied exponent alone").fixed(&[2], &[0.5, 3.0]).x(&[2]),
        case("Pow", "0 to the 0 has slope 0").x_of(&[2], &[0.0, -1.0]).fixed(&[], &[0.0]).gives(&[0.0, 0.0]),
        case("Pow", "0 to the 1 has slope 1").x_of(&[1], &[0.0]).fixed(&[2], &[1.0, 3.0]).gives(&[1.0]),
        case("Pow", "a base of 0 is flat in the exponent")
            .fixed(&[3], &[0.0; 3])
            .x_of(&[3], &[0.0, 1.0, 2.0])
            .gives(&[0.0; 3]),
        case("Pow", "tied").x_within(&[3], 0.5, 2.0).again(0),
    ]
}

fn selections() -> Vec<Case> {
    let mixed = [true, false, true, true, false, false];
    vec![
        case("Where", "equal shapes").bools(&[2, 3], &mixed).x(&[2, 3]).x(&[2, 3]),
        case("Where", "all broadcast").bools(&[2, 1], &[true, false]).x(&[3]).x(&[]),
        case("Where", "tied").bools(&[2, 3], &mixed).x(&[2, 3]).again(1),
        case("Where", "one constant branch").bools(&[2, 3], &mixed).x(&[2, 3]).fixed(&[], &[0.5]),
        case("Clip", "both bounds").x(&[2, 5]).fixed(&[], &[-0.5]).fixed(&[], &[1.0]),
        case("Clip", "a lower bound").x(&[6]).fixed(&[], &[0.25]),
        case("Clip", "an upper bound").x(&[6]).absent().fixed(&[], &[0.25]),
        case("Clip", "no bound").x(&[6]),
        case("Clip", "stops at its bounds and beyond, as in PyTorch")
            .x_of(&[5], &[-3.0, -1.0, 0.0, 1.0, 3.0])
            .fixed(&[], &[-1.0])
            .fixed(&[], &[1.0])
            .gives(&[0.0, 0.0, 1.0, 0.0, 0.0]),
        case("Clip", "the whole range is no bound")
            .x_of(&[3], &[-3e38, 0.0, 3e38])
            .fixed(&[], &[0.0])
            .fixed(&[], &[f64::from(f32::MAX)])
            .single_curved()
            .gives(&[0.0, 0.0, 1.0]),
        case("Clip", "bounds that are trained").x(&[3]).x(&[]).refused("bounds depend on parameters"),
    ]
}

fn extremes() -> Vec<Case> {
    let extreme = |op| {
        vec![
            case(op, "of two").x(&[2, 3]).x(&[2, 3]),
            case(op, "of three, broadcast").x(&[2, 3]).x(&[3]).x(&[2, 1]),
            case(op, "with a constant").x(&[2, 3]).fixed(&[], &[0.25]),
            case(op, "of one").x(&[3]),
            case(op, "tied").x(&[3]).again(0),
            case(op, "equal operands share, as in PyTorch")
                .x_of(&[2], &[1.0, -2.0])
                .fixed(&[2], &[1.0, -2.0])
                .gives(&[0.5, 0.5]),
        ]
    };
    let others = vec![
        case("Mean", "of three, broadcast").x(&[2, 3]).x(&[3]).x(&[2, 1]).single_linear(),
        case("Mean", "of one").x(&[2, 3]).single_linear(),
        case("Mod", "of floats, both signs")
            .x_of(&[4], &[7.5, -7.25, 5.25, -3.125])
            .x_of(&[4], &[2.0, 2.0, -1.5, 0.75])
            .int("fmod", 1),
        case("Mod", "by a constant").x_of(&[3], &[0.5, 2.5, -1.5]).fixed(&[], &[1.0]).int("fmod", 1),
    ];
    [extreme("Max"), extreme("Min"), others].concat()
}

fn single_operand() -> Vec<Case> {
    vec![
        case("Neg", "rank 2").x(&[2, 3]),
        case("Abs", "both signs").x(&[2, 3]),
        case("Abs", "0 at 0").x_of(&[1], &[0.0]).gives(&[0.0]),
        case("Reciprocal", "both signs").x_of(&[4], &[-2.0, -0.5, 0.5, 3.0]),
        case("Sqrt", "positive").x_within(&[5], 0.3, 3.0).opsets(&[13, 17, NEWEST]),
    ]
}
