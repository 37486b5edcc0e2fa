use super::case::{Case, NEWEST, case};

pub fn cases() -> Vec<Case> {
    [maxima(), ties(), means(), means_rounded_up(), norms(), neighbours(), whole_planes()].concat()
}

fn max_pool(about: &'static str, x: &[usize], window: &[i64]) -> Case {
    case("MaxPool", about).x(x).list("kernel_shape", window)
}

fn maxima() -> Vec<Case> {
    let overlapping: &[i64] = &[16, 18, 21, NEWEST];
    vec![
        max_pool("tiles", &[2, 2, 4, 4], &[2, 2]).list("strides", &[2, 2]),
        max_pool("tiles with a rest", &[1, 2, 5, 3], &[2, 2]).list("strides", &[2, 2]),
        max_pool("apart", &[1, 1, 7, 7], &[2, 2]).list("strides", &[3, 3]),
        max_pool("overlapping", &[1, 2, 5, 5], &[3, 3]).list("strides", &[2, 2]).opsets(overlapping),
        max_pool("every window", &[2, 1, 4, 4], &[2, 2]).opsets(overlapping),
        max_pool("overlapping and padded", &[1, 2, 4, 4], &[3, 3])
            .list("strides", &[2, 2])
            .list("pads", &[1, 1, 1, 1])
            .opsets(overlapping),
        max_pool("padded on each side differently", &[1, 1, 4, 5], &[3, 2])
            .list("pads", &[0, 1, 2, 0])
            .opsets(overlapping),
        max_pool("dilated", &[1, 1, 6, 6], &[2, 2]).list("dilations", &[2, 3]).opsets(overlapping),
        max_pool("rounded up", &[1, 1, 5, 5], &[2, 2]).list("strides", &[2, 2]).int("ceil_mode", 1),
        max_pool("rounded up and padded", &[1, 1, 6, 6], &[3, 3])
            .list("strides", &[2, 2])
            .list("pads", &[1, 1, 1, 1])
            .int("ceil_mode", 1)
            .opsets(overlapping),
        max_pool("automatic pads above", &[1, 1, 5, 5], &[2, 2])
            .list("strides", &[2, 2])
            .text("auto_pad", "SAME_UPPER"),
        max_pool("automatic pads below", &[1, 1, 5, 5], &[3, 3])
            .text("auto_pad", "SAME_LOWER")
            .opsets(overlapping),
        max_pool("no automatic pads", &[1, 1, 5, 5], &[2, 2])
            .list("strides", &[2, 2])
            .text("auto_pad", "VALID"),
        max_pool("one axis", &[2, 2, 7], &[3]).list("strides", &[2]).opsets(overlapping),
        max_pool("three axes", &[1, 1, 3, 4, 3], &[2, 2, 2]).opsets(overlapping),
        max_pool("three axes in tiles", &[1, 2, 2, 4, 2], &[2, 2, 2]).list("strides", &[2, 2, 2]),
        max_pool("one element", &[1, 1, 1, 1], &[1, 1]),
        max_pool("with its positions", &[1, 1, 4, 4], &[2, 2])
            .list("strides", &[2, 2])
            .outputs(2)
            .only_first_output(),
        max_pool("overlapping before opset 16", &[1, 1, 4, 4], &[2, 2])
            .opsets(&[13, 15])
            .refused("need opset 16"),
        max_pool("columns first", &[1, 1, 4, 4], &[2, 2])
            .list("strides", &[2, 2])
            .int("storage_order", 1)
            .refused("storage_order"),
        case("MaxUnpool", "of a tile")
            .x(&[1, 1, 1, 1])
            .ints_of(&[1, 1, 1, 1], &[3])
            .list("kernel_shape", &[2, 2])
            .single_linear()
            .refused("writes each position once"),
    ]
}

fn ties() -> Vec<Case> {
    vec![
        max_pool("the first of equals counts, as in PyTorch", &[1, 1, 2, 4], &[2, 2])
            .list("strides", &[2, 2])
            .with_x(&[1.0, 1.0, 0.0, 2.0, 1.0, 1.0, 2.0, 2.0])
            .gives(&[1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0]),
        max_pool("all equal and overlapping", &[1, 1, 2, 3], &[2, 2])
            .with_x(&[0.0; 6])
            .opsets(&[16, NEWEST])
            .gives(&[1.0, 1.0, 0.0, 0.0, 0.0, 0.0]),
        max_pool("one maximum of several windows collects all", &[1, 1, 3, 3], &[2, 2])
            .with_x(&[0.0, 1.0, 2.0, 3.0, 9.0, 4.0, 5.0, 6.0, 7.0])
            .opsets(&[16, NEWEST])
            .gives(&[0.0, 0.0, 0.0, 0.0, 4.0, 0.0, 0.0, 0.0, 0.0]),
        case("GlobalMaxPool", "the first of equals counts")
            .x_of(&[1, 2, 2, 2], &[3.0, 1.0, 3.0, 2.0, 0.0, 0.0, 0.0, 0.0])
            .single_curved()
            .gives(&[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]),
    ]
}

fn means() -> Vec<Case> {
    let mean = |about, x: &[usize], window: &[i64]| {
        case("AveragePool", about).x(x).list("kernel_shape", window).single_linear()
    };
    vec![
        mean("tiles", &[2, 2, 4, 4], &[2, 2]).list("strides", &[2, 2]).opsets(&[13, 19, 21, NEWEST]),
        mean("tiles with a rest", &[1, 2, 5, 3], &[2, 2]).list("strides", &[2, 2]),
        mean("overlapping", &[1, 2, 5, 5], &[3, 3]).list("strides", &[2, 2]),
        mean("every window", &[1, 2, 4, 4], &[2, 2]),
        mean("apart", &[1, 1, 7, 7], &[2, 2]).list("strides", &[3, 3]),
        mean("padding left out", &[1, 2, 4, 4], &[3, 3]).list("pads", &[1, 1, 1, 1]),
        mean("padding counted", &[1, 2, 4, 4], &[3, 3])
            .list("pads", &[1, 1, 1, 1])
            .int("count_include_pad", 1),
        mean("padded on each side differently", &[1, 1, 4, 5], &[3, 2]).list("pads", &[0, 1, 2, 0]),
        mean("padded on each side differently, counted, strided", &[1, 1, 4, 5], &[3, 2])
            .list("pads", &[0, 1, 2, 0])
            .list("strides", &[2, 2])
            .int("count_include_pad", 1),
        mean("dilated", &[1, 1, 6, 6], &[2, 2]).list("dilations", &[2, 3]).opsets(&[19, NEWEST]),
        mean("automatic pads above", &[1, 1, 5, 5], &[2, 2])
            .list("strides", &[2, 2])
            .text("auto_pad", "SAME_UPPER"),
        mean("automatic pads below", &[1, 1, 4, 5], &[2, 3]).text("auto_pad", "SAME_LOWER"),
        mean("rounded up without need", &[1, 1, 4, 4], &[2, 2]).list("strides", &[2, 2]).int("ceil_mode", 1),
        mean("one axis", &[2, 2, 7], &[3]).list("strides", &[2]).list("pads", &[1, 0]),
        mean("three axes", &[1, 1, 3, 4, 3], &[2, 2, 2]),
        mean("three axes in tiles", &[1, 2, 2, 4, 2], &[2, 2, 2]).list("strides", &[2, 2, 2]),
        mean("one element", &[1, 1, 1, 1], &[1, 1]),
    ]
}

fn means_rounded_up() -> Vec<Case> {
    let mean = |about, x: &[usize], window: &[i64]| {
        case("AveragePool", about)
            .x(x)
            .list("kernel_shape", window)
            .int("ceil_mode", 1)
            .opsets(&[13, 19, NEWEST])
            .single_linear()
    };
    vec![
        mean("rounded up", &[1, 2, 5, 5], &[2, 2]).list("strides", &[2, 2]),
        mean("rounded up along one axis", &[1, 1, 5, 4], &[2, 2]).list("strides", &[2, 2]),
        mean("rounded up, overlapping and padded", &[1, 1, 6, 6], &[3, 3])
            .list("strides", &[2, 2])
            .list("pads", &[1, 1, 1, 1]),
        mean("rounded up, padding counted", &[1, 1, 6, 5], &[3, 3])
            .list("strides", &[2, 2])
            .list("pads", &[1, 1, 1, 1])
            .int("count_include_pad", 1),
        mean("rounded up, one axis", &[2, 1, 7], &[3]).list("strides", &[3]),
    ]
}

fn norms() -> Vec<Case> {
    let norm = |about, x: &[usize], window: &[i64]| {
        case("LpPool", about).x(x).list("kernel_shape", window).opsets(&[13, 18, 22, NEWEST]).single_curved()
    };
    vec![
        norm("roots of squares", &[1, 2, 4, 4], &[2, 2]).list("strides", &[2, 2]),
        norm("overlapping", &[1, 1, 4, 5], &[3, 3]).list("pads", &[1, 1, 1, 1]),
        norm("absolute values", &[1, 1, 4, 4], &[2, 2]).int("p", 1),
        norm("cubes", &[1, 1, 4, 3], &[2, 2]).int("p", 3),
        norm("one axis", &[2, 1, 5], &[2]),
        norm("dilated", &[1, 1, 5, 5], &[2, 2]).list("dilations", &[2, 3]).opsets(&[18, NEWEST]),
        norm("rounded up", &[1, 1, 5, 5], &[2, 2])
            .list("strides", &[2, 2])
            .int("ceil_mode", 1)
            .opsets(&[18, NEWEST]),
        case("LpPool", "nothing from a window of zeros")
            .x_of(&[1, 1, 2], &[0.0, 0.0])
            .list("kernel_shape", &[2])
            .single_curved()
            .gives(&[0.0, 0.0]),
        case("GlobalLpPool", "roots of squares").x(&[2, 2, 2, 2]).opsets(&[13, 21]).single_curved(),
        case("GlobalLpPool", "cubes").x(&[1, 2, 3]).int("p", 3).opsets(&[13, 21]).single_curved(),
        case("GlobalLpPool", "absolute values").x(&[1, 2, 3]).int("p", 1).opsets(&[13, 21]).single_curved(),
    ]
}

fn neighbours() -> Vec<Case> {
    let normalized = |about, size: i64| case("LRN", about).x(&[2, 5, 2, 2]).int("size", size).single_curved();
    vec![
        normalized("three channels", 3).float("alpha", 0.5),
        normalized("given factors", 3).float("alpha", 2.0).float("beta", 0.5).float("bias", 2.0),
        normalized("one channel", 1).float("alpha", 1.0),
        normalized("default factors", 5),
    ]
}

fn whole_planes() -> Vec<Case> {
    let whole = |op, about, x: &[usize]| case(op, about).x(x);
    vec![
        whole("GlobalAveragePool", "planes", &[2, 3, 2, 3]).single_linear(),
        whole("GlobalAveragePool", "one axis", &[2, 3, 4]).single_linear(),
        whole("GlobalAveragePool", "three axes", &[1, 2, 2, 1, 3]).single_linear(),
        whole("GlobalMaxPool", "planes", &[2, 3, 2, 3]).single_curved(),
        whole("GlobalMaxPool", "one axis", &[2, 3, 4]).single_curved(),
    ]
}
