use super::case::{Case, NEWEST, case};

pub fn cases() -> Vec<Case> {
    [other_dimensions(), permutations(), joins(), parts(), repetitions(), blocks()].concat()
}

fn other_dimensions() -> Vec<Case> {
    vec![
        case("Reshape", "to rank 3").x(&[2, 6]).ints(&[3, 2, 2]),
        case("Reshape", "with a size to find").x(&[2, 6]).ints(&[0, -1, 3]),
        case("Reshape", "to a scalar").x(&[1, 1]).ints(&[]),
        case("Reshape", "empty").x(&[2, 0, 3]).ints(&[0, 2]).int("allowzero", 1).opsets(&[14, NEWEST]),
        case("Flatten", "from axis 1").x(&[2, 2, 3]),
        case("Flatten", "from axis 0").x(&[2, 3]).int("axis", 0),
        case("Flatten", "from a negative axis").x(&[2, 2, 3]).int("axis", -1),
        case("Squeeze", "all axes of one").x(&[1, 3, 1]),
        case("Squeeze", "a listed axis").x(&[1, 3, 1]).ints(&[-1]),
        case("Unsqueeze", "two axes").x(&[3, 2]).ints(&[0, -1]),
        case("Unsqueeze", "a scalar").x(&[]).ints(&[0]),
    ]
}

fn permutations() -> Vec<Case> {
    vec![
        case("Transpose", "reversed").x(&[2, 3, 2]),
        case("Transpose", "rotated").x(&[2, 3, 4]).list("perm", &[1, 2, 0]),
        case("Transpose", "unchanged").x(&[2, 3]).list("perm", &[0, 1]),
        case("Transpose", "one axis").x(&[3]),
    ]
}

fn joins() -> Vec<Case> {
    vec![
        case("Concat", "first axis").x(&[1, 3]).x(&[2, 3]).int("axis", 0),
        case("Concat", "negative axis").x(&[2, 1, 2]).x(&[2, 1, 3]).x(&[2, 1, 1]).int("axis", -1),
        case("Concat", "one part").x(&[2, 3]).int("axis", 1),
        case("Concat", "tied").x(&[2, 2]).again(0).int("axis", 1),
        case("Concat", "with a constant").fixed(&[1, 2], &[1.0, 2.0]).x(&[2, 2]).int("axis", 0),
        case("Concat", "with an empty part").x(&[0, 2]).x(&[2, 2]).int("axis", 0),
    ]
}

fn parts() -> Vec<Case> {
    vec![
        case("Split", "equal parts").x(&[4, 3]).outputs(2).opsets(&[13]),
        case("Split", "equal parts by number")
            .x(&[4, 3])
            .outputs(2)
            .int("num_outputs", 2)
            .opsets(&[18, NEWEST]),
        case("Split", "parts by number with a rest")
            .x(&[5, 2])
            .outputs(2)
            .int("num_outputs", 2)
            .opsets(&[18, NEWEST]),
        case("Split", "listed parts").x(&[2, 6]).ints(&[1, 3, 2]).outputs(3).int("axis", 1),
        case("Split", "negative axis").x(&[2, 2, 3]).ints(&[2, 1]).outputs(2).int("axis", -1),
        case("Split", "the first part alone is used")
            .x(&[2, 3])
            .ints(&[2, 1])
            .outputs(2)
            .int("axis", 1)
            .only_first_output(),
        case("Split", "one part").x(&[2, 3]).ints(&[3]).int("axis", 1),
        case("Slice", "from the middle").x(&[5, 4]).ints(&[1, 0]).ints(&[4, 2]),
        case("Slice", "along listed axes").x(&[2, 3, 4]).ints(&[1]).ints(&[3]).ints(&[2]),
        case("Slice", "negative start, end and axis").x(&[2, 5]).ints(&[-4]).ints(&[-1]).ints(&[-1]),
        case("Slice", "to beyond the end").x(&[2, 5]).ints(&[2]).ints(&[i64::MAX]).ints(&[1]).ints(&[1]),
        case("Slice", "from before the start").x(&[4]).ints(&[-9]).ints(&[2]),
        case("Slice", "nothing left").x(&[4]).ints(&[3]).ints(&[1]),
        case("Slice", "everything").x(&[2, 2]).ints(&[0]).ints(&[2]),
        case("Slice", "every second").x(&[5]).ints(&[0]).ints(&[5]).ints(&[0]).ints(&[2]),
        case("Slice", "every third from the middle").x(&[2, 8]).ints(&[1]).ints(&[8]).ints(&[1]).ints(&[3]),
        case("Slice", "backwards").x(&[2, 5]).ints(&[-1]).ints(&[i64::MIN]).ints(&[1]).ints(&[-1]),
        case("Slice", "backwards by two, along two axes")
            .x(&[4, 5])
            .ints(&[3, 4])
            .ints(&[0, 0])
            .ints(&[0, 1])
            .ints(&[-1, -2]),
    ]
}

fn repetitions() -> Vec<Case> {
    vec![
        case("Expand", "a row").x(&[3]).ints(&[2, 3]),
        case("Expand", "axes of one").x(&[2, 1, 1]).ints(&[1, 3, 2]),
        case("Expand", "to fewer axes").x(&[2, 3]).ints(&[1]),
        case("Expand", "a scalar").x(&[]).ints(&[2, 2]),
        case("Expand", "to nothing").x(&[1, 2]).ints(&[0, 2]),
    ]
}

fn blocks() -> Vec<Case> {
    vec![
        case("Tile", "both axes").x(&[2, 3]).ints(&[2, 2]),
        case("Tile", "the last axis").x(&[2, 3]).ints(&[1, 3]),
        case("Tile", "once").x(&[3]).ints(&[1]),
        case("Tile", "not at all").x(&[3]).ints(&[0]),
        case("Trilu", "upper").x(&[3, 4]).opsets(&[14, NEWEST]),
        case("Trilu", "lower, of a batch").x(&[2, 3, 3]).int_scalar(-1).int("upper", 0).opsets(&[14, NEWEST]),
        case("Trilu", "above the diagonal").x(&[3, 3]).int_scalar(1).opsets(&[14, NEWEST]),
        case("ReverseSequence", "time first").x(&[4, 2, 2]).ints(&[3, 1]),
        case("ReverseSequence", "batch first")
            .x(&[2, 3])
            .ints(&[2, 3])
            .int("batch_axis", 0)
            .int("time_axis", 1),
        case("DepthToSpace", "depth first").x(&[1, 8, 2, 3]).int("blocksize", 2),
        case("DepthToSpace", "columns and rows first")
            .x(&[1, 8, 2, 3])
            .int("blocksize", 2)
            .text("mode", "CRD"),
        case("SpaceToDepth", "blocks of four").x(&[2, 2, 4, 2]).int("blocksize", 2),
    ]
}
