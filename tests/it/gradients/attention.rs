use super::case::{Case, NEWEST, case};

pub fn cases() -> Vec<Case> {
    [attentions(), masks(), rotations()].concat()
}

/// Queries of 2 positions, keys and values of 3, heads of 2 and 3 numbers.
fn attention(about: &'static str) -> Case {
    case("Attention", about)
        .x(&[1, 2, 2, 2])
        .x(&[1, 2, 3, 2])
        .x(&[1, 2, 3, 3])
        .opsets(&[23, 24, NEWEST])
        .single_curved()
}

fn attentions() -> Vec<Case> {
    vec![
        attention("heads apart"),
        attention("a given scale").float("scale", 1.5),
        attention("causal").int("is_causal", 1),
        attention("capped scores").float("softcap", 0.5),
        case("Attention", "heads side by side")
            .x(&[2, 2, 4])
            .x(&[2, 3, 4])
            .x(&[2, 3, 2])
            .int("q_num_heads", 2)
            .int("kv_num_heads", 2)
            .opsets(&[23, NEWEST])
            .single_curved(),
        case("Attention", "fewer heads of keys")
            .x(&[1, 4, 2, 2])
            .x(&[1, 2, 2, 2])
            .x(&[1, 2, 2, 2])
            .opsets(&[23, NEWEST])
            .single_curved(),
        case("Attention", "fewer heads of keys, side by side")
            .x(&[1, 2, 8])
            .x(&[1, 2, 4])
            .x(&[1, 2, 4])
            .int("q_num_heads", 4)
            .int("kv_num_heads", 2)
            .opsets(&[23, NEWEST])
            .single_curved(),
        case("Attention", "of a value to itself")
            .x(&[1, 1, 3, 2])
            .again(0)
            .again(0)
            .opsets(&[23, NEWEST])
            .single_curved(),
        attention("past keys and values")
            .absent()
            .x(&[1, 2, 1, 2])
            .x(&[1, 2, 1, 3])
            .int("is_causal", 1)
            .outputs(3),
        attention("raw scores").absent().x(&[1, 2, 1, 2]).x(&[1, 2, 1, 3]).outputs(4),
        attention("capped scores shown")
            .absent()
            .x(&[1, 2, 1, 2])
            .x(&[1, 2, 1, 3])
            .float("softcap", 0.5)
            .int("qk_matmul_output_mode", 1)
            .outputs(4),
        attention("probabilities shown")
            .absent()
            .x(&[1, 2, 1, 2])
            .x(&[1, 2, 1, 3])
            .int("qk_matmul_output_mode", 3)
            .outputs(4),
        case("Attention", "lengths of keys")
            .x(&[1, 1, 2, 2])
            .x(&[1, 1, 2, 2])
            .x(&[1, 1, 2, 2])
            .absent()
            .absent()
            .absent()
            .ints(&[2])
            .opsets(&[24, NEWEST])
            .single_curved()
            .refused("nonpad_kv_seqlen"),
    ]
}

fn masks() -> Vec<Case> {
    let mixed = [true, false, true, false, true, true];
    vec![
        attention("a mask").bools(&[2, 3], &mixed),
        attention("a mask of four axes").bools(&[1, 1, 2, 3], &mixed),
        attention("a mask and causal").bools(&[2, 3], &mixed).int("is_causal", 1),
        attention("a query without keys").bools(&[2, 3], &[true, false, true, false, false, false]),
        attention("a trained bias").x(&[2, 3]),
        attention("a bias that masks").fixed(&[2, 3], &[0.0, f64::NEG_INFINITY, 0.5, 0.0, 0.0, -1.0]),
        attention("a bias and capped scores")
            .fixed(&[2, 3], &[0.0, -1.0, 0.5, 0.0, 2.0, -1.0])
            .float("softcap", 1.5),
    ]
}

fn rotations() -> Vec<Case> {
    let rotary = |about| case("RotaryEmbedding", about).opsets(&[23, NEWEST]).single_linear();
    vec![
        rotary("halves").x(&[1, 2, 3, 4]).x(&[1, 3, 2]).x(&[1, 3, 2]),
        rotary("even and odd").x(&[1, 2, 3, 4]).x(&[1, 3, 2]).x(&[1, 3, 2]).int("interleaved", 1),
        rotary("heads side by side").x(&[2, 3, 8]).x(&[2, 3, 2]).x(&[2, 3, 2]).int("num_heads", 2),
        rotary("positions").x(&[2, 1, 2, 4]).x(&[5, 2]).x(&[5, 2]).fed_ints_of(&[2, 2], &[0, 4, 1, 4]),
        rotary("a part of each head")
            .x(&[1, 2, 2, 6])
            .x(&[5, 2])
            .x(&[5, 2])
            .ints_of(&[1, 2], &[3, 1])
            .int("rotary_embedding_dim", 4),
    ]
}
