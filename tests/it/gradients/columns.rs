use super::case::{Case, NEWEST, case};

pub fn cases() -> Vec<Case> {
    let fold = |about, x: &[usize], image: &[i64], block: &[i64]| {
        case("Col2Im", about).x(x).ints(image).ints(block).opsets(&[18, NEWEST]).single_linear()
    };
    vec![
        fold("windows that overlap", &[1, 4, 4], &[3, 3], &[2, 2]),
        fold("windows that tile", &[2, 8, 4], &[4, 4], &[2, 2]).list("strides", &[2, 2]),
        fold("gaps", &[1, 12, 4], &[4, 3], &[2, 2]).list("dilations", &[2, 1]),
        fold("padded, on two sides differently", &[1, 6, 9], &[3, 4], &[2, 3]).list("pads", &[1, 0, 0, 1]),
        fold("one axis", &[2, 2, 4], &[5], &[2]),
        fold("volumes", &[1, 8, 2], &[2, 2, 3], &[2, 2, 2]),
    ]
}
