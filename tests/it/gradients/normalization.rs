use super::case::{Case, NEWEST, case};

pub fn cases() -> Vec<Case> {
    [layers(), roots(), instances(), groups(), norms()].concat()
}

fn layers() -> Vec<Case> {
    let layer = |about, x: &[usize], scale: &[usize]| {
        case("LayerNormalization", about).x(x).x(scale).opsets(&[17, NEWEST])
    };
    vec![
        layer("rows", &[3, 4], &[4]).x(&[4]),
        layer("without bias", &[2, 3], &[3]),
        layer("the last axis of three", &[2, 2, 4], &[4]).x(&[4]),
        layer("two axes", &[2, 2, 3], &[2, 3]).x(&[2, 3]).int("axis", 1),
        layer("all axes", &[2, 3], &[2, 3]).x(&[2, 3]).int("axis", 0),
        layer("a negative axis", &[2, 2, 3], &[2, 3]).x(&[2, 3]).int("axis", -2),
        layer("large epsilon", &[2, 4], &[4]).x(&[4]).float("epsilon", 0.5),
        layer("large values", &[2, 3], &[3])
            .with_x(&[1000.0, 1001.0, 1003.0, -500.0, -499.0, -498.0])
            .x(&[3]),
        layer("all outputs", &[3, 4], &[4]).x(&[4]).outputs(3).single_curved(),
        layer("all outputs over two axes", &[2, 2, 3], &[2, 3]).int("axis", 1).outputs(3).single_curved(),
        layer("the first of two outputs", &[2, 3], &[3]).outputs(2).only_first_output(),
        layer("fixed scale", &[0, 3], &[3]).x(&[3]),
        case("LayerNormalization", "a fixed scale")
            .x(&[2, 3])
            .fixed(&[3], &[1.0, 0.5, -2.0])
            .fixed(&[3], &[0.0, 1.0, 0.0])
            .opsets(&[17, NEWEST]),
    ]
}

fn roots() -> Vec<Case> {
    let rms = |about, x: &[usize], scale: &[usize]| {
        case("RMSNormalization", about).x(x).x(scale).opsets(&[23, NEWEST])
    };
    vec![
        rms("rows", &[3, 4], &[4]),
        rms("two axes", &[2, 2, 3], &[2, 3]).int("axis", 1),
        rms("large epsilon", &[2, 3], &[3]).float("epsilon", 0.5),
    ]
}

fn instances() -> Vec<Case> {
    let instance = |about, x: &[usize]| {
        case("InstanceNormalization", about)
            .x(x)
            .x(&[x[1]])
            .x(&[x[1]])
            .opsets(&[13, 22, NEWEST])
            .single_curved()
    };
    vec![
        instance("planes", &[2, 3, 2, 2]),
        instance("one axis", &[2, 2, 4]),
        instance("volumes", &[1, 2, 2, 1, 3]),
        instance("large epsilon", &[2, 1, 3]).float("epsilon", 0.5),
    ]
}

fn groups() -> Vec<Case> {
    let group = |about, x: &[usize], groups: i64| {
        case("GroupNormalization", about)
            .x(x)
            .x(&[x[1]])
            .x(&[x[1]])
            .int("num_groups", groups)
            .opsets(&[21, NEWEST])
            .single_curved()
    };
    vec![
        group("two groups of two channels", &[2, 4, 2, 2], 2),
        group("one group", &[2, 3, 2], 1),
        group("a group for each channel", &[1, 2, 4], 2).float("epsilon", 0.1),
        case("GroupNormalization", "one scale for each group")
            .x(&[2, 4, 3])
            .x(&[2])
            .x(&[2])
            .int("num_groups", 2)
            .opsets(&[18, 20])
            .single_curved(),
    ]
}

fn norms() -> Vec<Case> {
    vec![
        case("LpNormalization", "the root of squares").x(&[3, 4]),
        case("LpNormalization", "absolute values, first axis").x(&[3, 2]).int("p", 1).int("axis", 0),
    ]
}
