//! Attention and the embedding of positions it is used with.

use super::{Composition, NodeView, Refusal, Rule, composed};
use crate::graph::emit::{Emit, Value};
use crate::graph::model::Node;

pub(super) const RULES: &[Rule] =
    &[composed("Attention", attention).since(23), composed("RotaryEmbedding", rotary_embedding).since(23)];

/// What is added to a score that does not count: so low that its exponential is 0, yet finite, so that a row without any
/// other score gives no NaN.
const MASKED: f64 = f32::MIN as f64 / 2.0;

fn heads(node: &Node, name: &str) -> usize {
    node.int(name).and_then(|heads| usize::try_from(heads).ok()).unwrap_or(1).max(1)
}

/// `[batch, positions, heads * size]` as `[batch, heads, positions, size]`; what has four axes stays.
fn split_heads(x: Value, heads: usize, emit: &mut Emit) -> Value {
    let [batch, positions, hidden] = *emit.dims(x) else { return x };
    let split = emit.reshape(x, &[batch, positions, heads, hidden / heads]);
    emit.transpose(split, &[0, 2, 1, 3])
}

/// Undoes [`split_heads`] if the original had three axes.
fn join_heads(x: Value, original_rank: usize, emit: &mut Emit) -> Value {
    let [batch, heads, positions, size] = *emit.dims(x) else { return x };
    if original_rank != 3 {
        return x;
    }
    let joined = emit.transpose(x, &[0, 2, 1, 3]);
    emit.reshape(joined, &[batch, positions, heads * size])
}

/// Y = softmax(cap(scale Q K') + mask) V, cap(s) = softcap tanh(s / softcap)
///
/// Heads of keys and values are repeated if there are more heads of queries. Past keys and values stand before the given
/// ones. A query for which no key counts gives 0.
fn attention(node: &NodeView, emit: &mut Emit) -> Composition {
    if node.optional_input(6).is_some() {
        return Err(Refusal(
            "it reads `nonpad_kv_seqlen`, which is for inference, expected it absent".to_owned(),
        ));
    }
    let rank = emit.rank(node.input(0));
    let (query_heads, key_heads) = (heads(&node.node, "q_num_heads"), heads(&node.node, "kv_num_heads"));
    let query = split_heads(node.input(0), query_heads, emit);
    let [key, value] = [(1, 4), (2, 5)].map(|(given, past)| {
        let given = split_heads(node.input(given), key_heads, emit);
        match node.optional_input(past) {
            Some(past) => emit.concat(&[past, given], 2),
            None => given,
        }
    });
    let (query_heads, size) = match *emit.dims(query) {
        [_, heads, _, size] => (heads, size),
        _ => return Err(Refusal("its queries have neither 3 nor 4 axes".to_owned())),
    };
    let [wide_key, wide_value] = [key, value].map(|x| repeat_heads(x, query_heads, emit));

    let default = 1.0 / (size as f64).sqrt();
    let scale = node.node.float("scale").map_or(default, f64::from);
    let scaled = emit.scale(query, scale);
    let turned = emit.transpose_last(wide_key);
    let scores = emit.matmul(scaled, turned);
    let softcap = f64::from(node.node.float("softcap").unwrap_or(0.0));
    let capped = if softcap == 0.0 {
        scores
    } else {
        let shrunk = emit.scale(scores, 1.0 / softcap);
        let bounded = emit.tanh(shrunk);
        emit.scale(bounded, softcap)
    };
    let (masked, counts) = masked(node, capped, emit);
    let mut probabilities = emit.softmax(masked, 3);
    if let Some(counts) = counts {
        probabilities = emit.mul(probabilities, counts);
    }
    let y = emit.matmul(probabilities, wide_value);
    let shown = match node.node.int("qk_matmul_output_mode").unwrap_or(0) {
        0 => scores,
        1 => capped,
        2 => masked,
        _ => probabilities,
    };
    Ok(vec![Some(join_heads(y, rank, emit)), Some(key), Some(value), Some(shown)])
}

/// Each head of `[batch, heads, positions, size]` repeated until there are `wanted`.
fn repeat_heads(x: Value, wanted: usize, emit: &mut Emit) -> Value {
    let [batch, heads, positions, size] = *emit.dims(x) else { return x };
    if heads == wanted {
        return x;
    }
    let apart = emit.reshape(x, &[batch, heads, 1, positions, size]);
    let repeated = emit.expand(apart, &[batch, heads, wanted / heads.max(1), positions, size]);
    emit.reshape(repeated, &[batch, wanted, positions, size])
}

/// The scores with what does not count made very low, and 0 for the queries for which nothing counts.
fn masked(node: &NodeView, mut scores: Value, emit: &mut Emit) -> (Value, Option<Value>) {
    let dtype = emit.dtype(scores);
    let [queries, keys] = *emit.dims(scores).last_chunk().expect("scores have four axes");
    let mask = node.optional_input(3);
    let mut allowed = mask.filter(|mask| !emit.dtype(*mask).is_float());
    if let Some(bias) = mask.filter(|mask| emit.dtype(*mask).is_float()) {
        scores = emit.add(scores, bias);
    }
    let counts = allowed.map(|allowed| {
        let ones = emit.cast(allowed, dtype);
        let last = emit.rank(ones) - 1;
        emit.reduce("ReduceMax", ones, &[last])
    });
    if node.node.int("is_causal").unwrap_or(0) != 0 {
        let past = node.optional_input(4).and_then(|past| emit.dims(past).get(2).copied()).unwrap_or(0);
        let last_key: Vec<i64> = (0..queries).map(|query| (query + past) as i64).collect();
        let order: Vec<i64> = (0..keys as i64).collect();
        let (last_key, order) = (emit.list(&last_key), emit.list(&order));
        let last_key = emit.reshape(last_key, &[queries, 1]);
        let causal = emit.less_or_equal(order, last_key);
        allowed = Some(allowed.map_or(causal, |allowed| emit.and(allowed, causal)));
    }
    if let Some(allowed) = allowed {
        let (free, low) = (emit.scalar(0.0, scores), emit.scalar(MASKED, scores));
        let bias = emit.select(allowed, free, low);
        scores = emit.add(scores, bias);
    }
    (scores, counts)
}

/// [y1, y2] = [cos x1 - sin x2, sin x1 + cos x2] for the halves of each head, or its even and odd elements
fn rotary_embedding(node: &NodeView, emit: &mut Emit) -> Composition {
    let original = node.input(0);
    let rank = emit.rank(original);
    let x = split_heads(original, heads(&node.node, "num_heads"), emit);
    let size = emit.dims(x).last().copied().unwrap_or(0);
    let given = node.node.int("rotary_embedding_dim").and_then(|dim| usize::try_from(dim).ok());
    let rotated_size = given.filter(|dim| *dim > 0).unwrap_or(size);
    let is_interleaved = node.node.int("interleaved").unwrap_or(0) != 0;
    let [cos, sin] = [1, 2].map(|position| {
        let cache = node.input(position);
        let of_positions = match node.optional_input(3) {
            Some(positions) => emit.gather(cache, positions, 0),
            None => cache,
        };
        let mut dims = emit.dims(of_positions).to_vec();
        dims.insert(1, 1);
        emit.reshape(of_positions, &dims)
    });
    let half = rotated_size / 2;
    let [first, second] = if is_interleaved {
        [0, 1].map(|start| emit.slice(x, &[3], &[start], &[rotated_size], &[2]))
    } else {
        [0, half].map(|start| emit.slice(x, &[3], &[start], &[start + half], &[1]))
    };
    let mut turn = |a: Value, b: Value| {
        let (a, b) = (emit.mul(cos, a), emit.mul(sin, b));
        (a, b)
    };
    let ((cos_first, sin_second), (cos_second, sin_first)) = (turn(first, second), turn(second, first));
    let real = emit.sub(cos_first, sin_second);
    let imaginary = emit.add(sin_first, cos_second);
    let mut dims = emit.dims(x).to_vec();
    if let Some(last) = dims.last_mut() {
        *last = rotated_size;
    }
    let rotated = if is_interleaved {
        let mut apart = emit.dims(real).to_vec();
        apart.push(1);
        let [real, imaginary] = [real, imaginary].map(|part| emit.reshape(part, &apart));
        let pairs = emit.concat(&[real, imaginary], 4);
        emit.reshape(pairs, &dims)
    } else {
        emit.concat(&[real, imaginary], 3)
    };
    let y = if rotated_size < size {
        let rest = emit.slice(x, &[3], &[rotated_size], &[size], &[1]);
        emit.concat(&[rotated, rest], 3)
    } else {
        rotated
    };
    Ok(vec![Some(join_heads(y, rank, emit))])
}
