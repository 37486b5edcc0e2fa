use super::case::{Case, NEWEST, case};

pub fn cases() -> Vec<Case> {
    [constants(), repetitions()].concat()
}

fn constants() -> Vec<Case> {
    vec![
        case("Pad", "zeros").x(&[2, 3]).ints(&[1, 0, 2, 1]).opsets(&[13, 18, 21, NEWEST]),
        case("Pad", "nothing").x(&[2, 3]).ints(&[0, 0, 0, 0]),
        case("Pad", "a given number").x(&[3]).ints(&[1, 1]).fixed(&[], &[-1.5]),
        case("Pad", "a trained number").x(&[2, 2]).ints(&[1, 0, 0, 2]).x(&[]),
        case("Pad", "taken away").x(&[4, 3]).ints(&[-1, 1, -2, -1]),
        case("Pad", "listed axes").x(&[2, 2, 2]).ints(&[1, 2]).absent().ints(&[-1]).opsets(&[18, NEWEST]),
        case("Pad", "empty").x(&[0, 2]).ints(&[1, 0, 0, 0]),
        case("Pad", "computed").x(&[2]).fed_ints(&[1, 1]).refused("depends on the data"),
    ]
}

fn repetitions() -> Vec<Case> {
    let pad =
        |about, x: &[usize], pads: &[i64], mode: &str| case("Pad", about).x(x).ints(pads).text("mode", mode);
    let wrap = |about, x: &[usize], pads: &[i64]| pad(about, x, pads, "wrap").opsets(&[19, NEWEST]);
    vec![
        pad("reflected", &[1, 1, 3, 4], &[0, 0, 1, 2, 0, 0, 2, 1], "reflect"),
        pad("reflected as far as it goes", &[3], &[2, 2], "reflect"),
        pad("reflected along one axis", &[2, 3], &[0, 1, 0, 0], "reflect"),
        pad("reflected at one side, taken away at the other", &[4], &[2, -1], "reflect"),
        pad("the edge repeated", &[1, 2, 3], &[0, 1, 2, 0, 0, 3], "edge"),
        pad("the edge of one element", &[1], &[2, 1], "edge"),
        pad("the edge, taken away before", &[3], &[-1, 2], "edge"),
        wrap("from the other end", &[2, 3], &[1, 2, 0, 1]),
        wrap("all of it", &[3], &[3, 3]),
    ]
}
