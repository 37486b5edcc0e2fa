use super::case::{Case, NEWEST, case};

const LINEAR: [i64; 2] = [20, NEWEST];

pub fn cases() -> Vec<Case> {
    [modes(), older(), others()].concat()
}

/// Places inside, at the edge and outside, none within a step of a pixel's middle, where the function bends.
const GRID: [f64; 16] =
    [-0.9, -0.3, 0.17, 0.41, 0.93, 0.11, -1.31, 0.57, 1.21, -1.13, 0.71, -0.77, -0.13, 0.89, 0.33, -1.71];

fn sample(about: &'static str, x: &[usize]) -> Case {
    case("GridSample", about).x(x).x_of(&[x[0], 8 / x[0], 1, 2], &GRID)
}

fn modes() -> Vec<Case> {
    let padded = ["zeros", "border", "reflection"].into_iter().flat_map(|padding| {
        [0, 1].map(|aligned| {
            sample("by each padding", &[2, 2, 3, 4])
                .text("mode", "linear")
                .text("padding_mode", padding)
                .int("align_corners", aligned)
                .opsets(&LINEAR)
        })
    });
    padded.collect()
}

/// Before opset 20 the linear mode has another name, and ONNX Runtime float32 alone.
fn older() -> Vec<Case> {
    vec![
        sample("bilinear", &[1, 3, 4, 3]).opsets(&[16, 19]).single_curved(),
        sample("bilinear, named", &[2, 1, 3, 3]).text("mode", "bilinear").opsets(&[16]).single_curved(),
        sample("cubic", &[1, 1, 3, 3]).text("mode", "cubic").opsets(&[20]).refused("expected linear"),
    ]
}

fn others() -> Vec<Case> {
    vec![
        sample("nearest", &[2, 2, 3, 4]).text("mode", "nearest").opsets(&LINEAR),
        sample("one pixel", &[1, 2, 1, 1]).text("mode", "linear").opsets(&LINEAR),
        case("GridSample", "volumes")
            .x(&[1, 2, 2, 3, 2])
            .x_of(
                &[1, 2, 2, 1, 3],
                &[-0.9, -0.3, 0.17, 0.41, 0.93, 0.11, -1.31, 0.57, 0.21, -0.13, 0.71, -0.77],
            )
            .text("mode", "linear")
            .opsets(&LINEAR),
    ]
}
