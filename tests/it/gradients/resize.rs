use super::case::{Case, NEWEST, case};

pub fn cases() -> Vec<Case> {
    let made = [nearest(), linear(), cubic(), by_axes()].concat();
    made.into_iter().map(Case::single_linear).collect()
}

/// Resized by scales.
fn scaled(about: &'static str, mode: &str, x: &[usize], scales: &[f64]) -> Case {
    case("Resize", about).x(x).absent().fixed(&[scales.len()], scales).text("mode", mode)
}

/// Resized to sizes.
fn sized(about: &'static str, mode: &str, x: &[usize], sizes: &[i64]) -> Case {
    case("Resize", about).x(x).absent().absent().ints(sizes).text("mode", mode)
}

const COORDINATES: [&str; 4] = ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"];

fn nearest() -> Vec<Case> {
    let up = |about| scaled(about, "nearest", &[1, 2, 2, 3], &[1.0, 1.0, 2.0, 2.0]);
    let exact = COORDINATES.iter().flat_map(|coordinates| {
        ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"].map(|nearest| {
            sized("by each rule", "nearest", &[1, 1, 3, 5], &[1, 1, 5, 3])
                .text("coordinate_transformation_mode", coordinates)
                .text("nearest_mode", nearest)
        })
    });
    let others = vec![
        up("doubled").opsets(&[13, 18, 19, NEWEST]),
        up("doubled as PyTorch writes it")
            .text("coordinate_transformation_mode", "asymmetric")
            .text("nearest_mode", "floor"),
        scaled("halved", "nearest", &[1, 1, 4, 4], &[1.0, 1.0, 0.5, 0.5]),
        scaled("by a fraction", "nearest", &[1, 1, 3, 4], &[1.0, 1.0, 1.7, 0.6]),
        scaled("one axis", "nearest", &[1, 2, 3], &[1.0, 1.0, 3.0]),
        scaled("volumes", "nearest", &[1, 1, 2, 1, 2], &[1.0, 1.0, 2.0, 2.0, 2.0]),
        scaled("unchanged", "nearest", &[1, 1, 2, 2], &[1.0, 1.0, 1.0, 1.0]),
        up("cropped aspect")
            .text("keep_aspect_ratio_policy", "not_larger")
            .opsets(&[18, NEWEST])
            .refused("keep_aspect_ratio_policy"),
    ];
    exact.chain(others).collect()
}

fn linear() -> Vec<Case> {
    let by_coordinates = COORDINATES.iter().flat_map(|coordinates| {
        let with = |made: Case| made.text("coordinate_transformation_mode", coordinates);
        [
            with(scaled("doubled", "linear", &[1, 2, 3, 2], &[1.0, 1.0, 2.0, 2.0])),
            with(sized("larger and smaller", "linear", &[1, 1, 3, 5], &[1, 1, 7, 3])),
            with(scaled("by a fraction", "linear", &[1, 1, 3, 4], &[1.0, 1.0, 1.7, 0.6])),
        ]
    });
    let others = vec![
        scaled("one axis", "linear", &[1, 2, 3], &[1.0, 1.0, 2.5]),
        scaled("volumes", "linear", &[1, 1, 2, 3, 2], &[1.0, 1.0, 2.0, 1.0, 1.5]),
        sized("to one element", "linear", &[1, 1, 3, 4], &[1, 1, 1, 1])
            .text("coordinate_transformation_mode", "pytorch_half_pixel"),
        sized("symmetric", "linear", &[1, 1, 4, 5], &[1, 1, 6, 3])
            .text("coordinate_transformation_mode", "half_pixel_symmetric")
            .opsets(&[19, NEWEST]),
        sized("smaller, widened", "linear", &[1, 1, 7, 5], &[1, 1, 3, 2])
            .int("antialias", 1)
            .opsets(&[18, NEWEST]),
        sized("larger and smaller, widened", "linear", &[1, 1, 4, 6], &[1, 1, 6, 3])
            .int("antialias", 1)
            .opsets(&[18, NEWEST]),
        case("Resize", "a region")
            .x(&[1, 1, 4, 4])
            .fixed(&[8], &[0.0, 0.0, 0.2, 0.3, 1.0, 1.0, 0.8, 0.9])
            .absent()
            .ints(&[1, 1, 3, 5])
            .text("mode", "linear")
            .text("coordinate_transformation_mode", "tf_crop_and_resize"),
        case("Resize", "a region that reaches outside")
            .x(&[1, 1, 3, 4])
            .fixed(&[8], &[0.0, 0.0, -0.4, 0.3, 1.0, 1.0, 0.8, 1.4])
            .absent()
            .ints(&[1, 1, 4, 5])
            .text("mode", "linear")
            .text("coordinate_transformation_mode", "tf_crop_and_resize"),
    ];
    by_coordinates.chain(others).collect()
}

fn cubic() -> Vec<Case> {
    let by_coordinates = COORDINATES.iter().flat_map(|coordinates| {
        let with = |made: Case| made.text("coordinate_transformation_mode", coordinates);
        [
            with(scaled("doubled", "cubic", &[1, 1, 4, 3], &[1.0, 1.0, 2.0, 2.0])),
            with(sized("larger and smaller", "cubic", &[1, 1, 4, 6], &[1, 1, 7, 4])),
        ]
    });
    let others = vec![
        scaled("another coefficient", "cubic", &[1, 1, 3, 4], &[1.0, 1.0, 2.0, 1.5])
            .float("cubic_coeff_a", -0.5),
        scaled("without what is outside", "cubic", &[1, 1, 3, 4], &[1.0, 1.0, 2.0, 1.5])
            .int("exclude_outside", 1),
        sized("smaller, widened", "cubic", &[1, 1, 8, 6], &[1, 1, 3, 3])
            .int("antialias", 1)
            .opsets(&[18, NEWEST]),
    ];
    by_coordinates.chain(others).collect()
}

fn by_axes() -> Vec<Case> {
    vec![
        scaled("listed axes", "linear", &[1, 1, 3, 2], &[2.0, 1.5])
            .list("axes", &[2, 3])
            .opsets(&[18, NEWEST]),
        sized("one listed axis", "nearest", &[1, 1, 3, 2], &[5]).list("axes", &[-1]).opsets(&[18, NEWEST]),
    ]
}
