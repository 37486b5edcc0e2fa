//! Padding.

use super::{NodeView, Refusal, Rule, Ruled, from_front, rule};
use crate::graph::emit::{Emit, Value};

pub(super) const RULES: &[Rule] = &[rule("Pad", pad)];

/// y = x with elements added around it   gives   dx = dy without them, and each added one's gradient at the element it
/// repeats; the constant, if there is one, gets the sum of the others
fn pad(node: &NodeView, emit: &mut Emit) -> Ruled {
    let (dy, x) = (node.dy(), node.input(0));
    let dims = emit.dims(x).to_vec();
    let pads = pads_of(node, emit, dims.len())?;
    let mode = node.node.string("mode").unwrap_or("constant");
    let mut grad = dy;
    for (axis, (size, (before, after))) in dims.iter().zip(pads).enumerate() {
        let sources = sources(*size, before, after, mode)?;
        if before != 0 || after != 0 {
            grad = fold_back(grad, axis, *size, &sources, emit);
        }
    }
    let dconstant = node.needs(2).then(|| {
        let (all, kept) = (emit.sum_all(dy), emit.sum_all(grad));
        let rest = emit.sub(all, kept);
        let dims = emit.dims(node.input(2)).to_vec();
        emit.reshape(rest, &dims)
    });
    Ok(vec![Some(grad), None, dconstant, None])
}

/// Elements added before and after each axis; negative ones are taken away.
fn pads_of(node: &NodeView, emit: &Emit, rank: usize) -> Result<Vec<(i64, i64)>, Refusal> {
    let computed = || Refusal("its pads are computed, expected constants".to_owned());
    let listed = node.known(emit, 1).and_then(|pads| pads.to_i64()).ok_or_else(computed)?;
    let axes: Vec<usize> = match node.optional_input(3) {
        None => (0..rank).collect(),
        Some(_) => {
            let axes = node.known(emit, 3).and_then(|axes| axes.to_i64()).ok_or_else(computed)?;
            axes.into_iter().map(|axis| from_front(axis, rank)).collect()
        }
    };
    let (befores, afters) = listed.split_at_checked(axes.len()).unwrap_or_default();
    let mut pads = vec![(0, 0); rank];
    for (axis, pair) in axes.iter().zip(befores.iter().copied().zip(afters.iter().copied())) {
        if let Some(slot) = pads.get_mut(*axis) {
            *slot = pair;
        }
    }
    Ok(pads)
}

/// For each element along an axis of the output the one of the input it repeats; `None` for the constant.
fn sources(size: usize, before: i64, after: i64, mode: &str) -> Result<Vec<Option<usize>>, Refusal> {
    let size = size as i64;
    let last = (size - 1).max(0);
    let source = |position: i64| {
        let inside = (0..size).contains(&position);
        Some(match mode {
            _ if inside => position,
            "constant" => return None,
            "edge" => position.clamp(0, last),
            "wrap" => position.rem_euclid(size.max(1)),
            _ => {
                let period = (2 * last).max(1);
                let folded = position.rem_euclid(period);
                if folded > last { period - folded } else { folded }
            }
        })
    };
    if !["constant", "edge", "reflect", "wrap"].contains(&mode) {
        return Err(Refusal(format!("mode is `{mode}`, expected constant, edge, reflect or wrap")));
    }
    let positions = (-before..size + after).map(source);
    Ok(positions.map(|source| source.and_then(|source| usize::try_from(source).ok())).collect())
}

/// Neighbouring elements of the output whose sources count up, count down or stay.
struct Run {
    start: usize,
    length: usize,
    source: usize,
    step: i64,
}

fn runs(sources: &[Option<usize>]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut open = false;
    for (position, source) in sources.iter().enumerate() {
        let Some(source) = *source else {
            open = false;
            continue;
        };
        if let Some(run) = runs.last_mut().filter(|_| open) {
            let step = source as i64 - (run.source as i64 + run.step * (run.length as i64 - 1));
            if run.length == 1 && step.abs() <= 1 || run.length > 1 && step == run.step {
                run.step = step;
                run.length += 1;
                continue;
            }
        }
        runs.push(Run { start: position, length: 1, source, step: 1 });
        open = true;
    }
    runs
}

/// The gradient along one axis, each run added at its sources.
fn fold_back(dy: Value, axis: usize, size: usize, sources: &[Option<usize>], emit: &mut Emit) -> Value {
    let mut sum: Option<Value> = None;
    for run in runs(sources) {
        let part = emit.slice(dy, &[axis], &[run.start], &[run.start + run.length], &[1]);
        let (part, first, length) = match run.step {
            0 => (emit.reduce_sum(part, &[axis]), run.source, 1),
            -1 => {
                let reversed: Vec<i64> = (0..run.length as i64).rev().collect();
                (emit.take(part, axis, &reversed), run.source + 1 - run.length, run.length)
            }
            _ => (part, run.source, run.length),
        };
        let rank = emit.rank(part);
        let mut pads = vec![0; 2 * rank];
        for (slot, value) in [(axis, first), (axis + rank, size - first - length)] {
            if let Some(pad) = pads.get_mut(slot) {
                *pad = value;
            }
        }
        let placed = emit.pad(part, &pads);
        sum = Some(sum.map_or(placed, |sum| emit.add(sum, placed)));
    }
    sum.unwrap_or_else(|| {
        let mut dims = emit.dims(dy).to_vec();
        if let Some(slot) = dims.get_mut(axis) {
            *slot = size;
        }
        let zero = emit.scalar(0.0, dy);
        emit.expand(zero, &dims)
    })
}
