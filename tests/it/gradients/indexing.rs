use super::case::{Case, NEWEST, case};

pub fn cases() -> Vec<Case> {
    [gathers(), element_gathers(), gathers_by_several_axes(), element_scatters(), scatters(), others()]
        .concat()
}

fn gathers() -> Vec<Case> {
    let long = [520, 1];
    vec![
        case("Gather", "rows of a table, some twice").x(&[4, 3]).fed_ints_of(&[2, 3], &[0, 2, 2, 3, 0, 2]),
        case("Gather", "negative indices").x(&[4, 3]).fed_ints(&[-1, 0, -4, 3]),
        case("Gather", "the middle axis").x(&[2, 3, 2]).fed_ints_of(&[2, 2], &[0, 2, 2, 1]).int("axis", 1),
        case("Gather", "a negative axis").x(&[2, 3]).fed_ints(&[1, 1]).int("axis", -1),
        case("Gather", "a scalar index").x(&[3, 2]).fed_ints_of(&[], &[1]),
        case("Gather", "a table of one row").x(&[1, 2]).fed_ints(&[0, 0, -1]),
        case("Gather", "no index").x(&[3, 2]).fed_ints(&[]),
        case("Gather", "empty rows").x(&[3, 0]).fed_ints(&[1]),
        case("Gather", "a known index, which is a slice").x(&[3, 2]).int_scalar(-1),
        case("Gather", "known indices in a row").x(&[2, 5, 2]).ints(&[1, 2, 3]).int("axis", 1),
        case("Gather", "known indices apart").x(&[5]).ints(&[4, 0, 4]),
        case("Gather", "a table that is long").x_within(&long, -1.0, 1.0).fed_ints(&[7, 519, 7, -1, 0]),
        case("Gather", "a long axis in the middle")
            .x_within(&[1, 520, 1], -1.0, 1.0)
            .fed_ints(&[7, 515, 7])
            .int("axis", 1),
        case("Gather", "tied with a product").x(&[3]).fed_ints(&[2, 0, 2]),
    ]
}

fn element_gathers() -> Vec<Case> {
    let since: &[i64] = &[16, NEWEST];
    vec![
        case("GatherElements", "first axis, some twice")
            .x(&[3, 2])
            .fed_ints_of(&[4, 2], &[0, 2, 1, 2, 0, 0, -1, 2])
            .opsets(since),
        case("GatherElements", "last axis")
            .x(&[2, 3])
            .fed_ints_of(&[2, 1], &[2, -3])
            .int("axis", -1)
            .opsets(since),
        case("GatherElements", "fewer rows")
            .x(&[3, 3])
            .fed_ints_of(&[2, 2], &[0, 2, 1, 1])
            .int("axis", 1)
            .opsets(since),
        case("GatherElements", "empty").x(&[3, 2]).fed_ints_of(&[0, 2], &[]).opsets(since),
        case("GatherElements", "before opset 16")
            .x(&[3])
            .fed_ints(&[0])
            .opsets(&[13, 15])
            .refused("needs opset 16"),
    ]
}

fn gathers_by_several_axes() -> Vec<Case> {
    let nd = |about, x: &[usize]| case("GatherND", about).x(x);
    vec![
        nd("rows", &[3, 2]).fed_ints_of(&[2, 1], &[2, 2]),
        nd("elements, one twice", &[3, 2]).fed_ints_of(&[3, 2], &[0, 1, 2, -1, 0, 1]),
        nd("a batch axis", &[2, 3, 2]).fed_ints_of(&[2, 1], &[1, -1]).int("batch_dims", 1),
        nd("a batch axis, several of each", &[2, 3, 2])
            .fed_ints_of(&[2, 2, 1], &[1, -1, 0, 0])
            .int("batch_dims", 1),
        nd("two batch axes", &[2, 2, 3]).fed_ints_of(&[2, 2, 1], &[1, -1, 0, 2]).int("batch_dims", 2),
        nd("known indices", &[3, 2]).ints_of(&[2, 2], &[0, 1, 1, 0]),
    ]
}

fn element_scatters() -> Vec<Case> {
    let write = |about, op: &[i64], reduction: &str| {
        let made = case("ScatterElements", about).x(&[3, 2]).fed_ints_of(&[2, 2], &[0, 2, 1, 0]).x(&[2, 2]);
        let made = made.opsets(op);
        if reduction.is_empty() { made } else { made.text("reduction", reduction) }
    };
    let repeated = |about, reduction: &str, op: &[i64]| {
        case("ScatterElements", about)
            .x(&[3, 2])
            .fed_ints_of(&[3, 2], &[0, -1, 0, 0, 1, 2])
            .x(&[3, 2])
            .opsets(op)
            .text("reduction", reduction)
    };
    vec![
        write("written", &[13, 16, 18, NEWEST], ""),
        write("written, said so", &[16, NEWEST], "none"),
        case("ScatterElements", "last axis")
            .x(&[2, 3])
            .fed_ints_of(&[2, 1], &[2, -3])
            .x(&[2, 1])
            .int("axis", 1),
        write("added", &[16, 18, NEWEST], "add"),
        repeated("added, some twice", "add", &[16, NEWEST]),
        write("multiplied", &[16, NEWEST], "mul"),
        repeated("multiplied, some twice", "mul", &[18, NEWEST]),
        case("ScatterElements", "multiplied with zeros")
            .x(&[3])
            .fed_ints(&[0, 0, 1, 1, 2])
            .x_of(&[5], &[0.0, 2.0, 0.0, 0.0, -1.5])
            .text("reduction", "mul")
            .opsets(&[18, NEWEST]),
        repeated("the larger", "max", &[18, NEWEST]),
        repeated("the smaller", "min", &[18, NEWEST]),
        case("ScatterElements", "the larger of equals in equal parts, as in PyTorch")
            .fixed(&[2], &[1.0, -5.0])
            .ints(&[0, 1, 0, 1])
            .x_of(&[4], &[1.0, 2.0, 1.0, 2.0])
            .text("reduction", "max")
            .opsets(&[18, NEWEST])
            .gives(&[1.0 / 3.0, 0.5, 1.0 / 3.0, 0.5]),
    ]
}

fn scatters() -> Vec<Case> {
    let nd = |about, opsets: &[i64]| {
        case("ScatterND", about).x(&[3, 2]).fed_ints_of(&[2, 1], &[2, 0]).x(&[2, 2]).opsets(opsets)
    };
    vec![
        nd("rows written", &[13, 16, 18, NEWEST]),
        nd("rows added", &[16, NEWEST]).text("reduction", "add"),
        nd("rows multiplied", &[16, NEWEST]).text("reduction", "mul"),
        nd("the larger of rows", &[18, NEWEST]).text("reduction", "max"),
        nd("the smaller of rows", &[18, NEWEST]).text("reduction", "min"),
        case("ScatterND", "elements written").x(&[3, 2]).fed_ints_of(&[2, 2], &[2, 0, -1, 1]).x(&[2]),
        case("ScatterND", "elements added, one twice")
            .x(&[2, 2])
            .fed_ints_of(&[3, 2], &[1, 0, 0, 1, 1, 0])
            .x(&[3])
            .text("reduction", "add")
            .opsets(&[16, NEWEST]),
        case("ScatterND", "nothing written").x(&[2, 2]).fed_ints_of(&[0, 1], &[]).x(&[0, 2]),
        case("ScatterND", "into constants").fixed(&[3], &[1.0, 2.0, 3.0]).ints_of(&[2, 1], &[0, 2]).x(&[2]),
    ]
}

fn others() -> Vec<Case> {
    vec![
        case("TopK", "largest").x(&[2, 4]).ints(&[2]).outputs(2).only_first_output(),
        case("TopK", "smallest of the first axis")
            .x(&[4, 2])
            .ints(&[3])
            .int("axis", 0)
            .int("largest", 0)
            .outputs(2)
            .only_first_output(),
        case("TopK", "all").x(&[3]).ints(&[3]).outputs(2).only_first_output(),
        case("TopK", "none").x(&[3]).ints(&[0]).outputs(2).only_first_output(),
        case("OneHot", "both values").fed_ints(&[0, 2, -1]).int_scalar(3).x(&[2]).single_linear(),
        case("OneHot", "the first axis, one out of range")
            .fed_ints_of(&[2, 2], &[0, 7, 1, 0])
            .int_scalar(2)
            .x(&[2])
            .int("axis", 0)
            .single_linear(),
    ]
}
