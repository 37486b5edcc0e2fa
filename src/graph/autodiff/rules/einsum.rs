//! Sums of products over named axes.

use super::{NodeView, Refusal, Rule, Ruled, rule};
use crate::graph::emit::{Emit, Value};
use crate::graph::model::attribute;
use crate::graph::tensor::{Tensor, ValueType};
use std::collections::BTreeSet;

pub(super) const RULES: &[Rule] = &[rule("Einsum", einsum)];

/// An equation without `...`: the letters of each operand's axes and of the result's.
struct Equation {
    operands: Vec<Vec<char>>,
    result: Vec<char>,
}

/// Y = sum of A B ... over the axes that Y does not have   gives   dA = the same sum of dY B ... over those that A does not
/// have
///
/// An axis that A alone has is summed in A, so its gradient is repeated along it. A letter that A has twice takes a
/// diagonal of A, on which the gradient then lies.
fn einsum(node: &NodeView, emit: &mut Emit) -> Ruled {
    let operands: Vec<Value> = node.inputs().iter().copied().flatten().collect();
    let text = node.node.string("equation").unwrap_or_default();
    let ranks: Vec<usize> = operands.iter().map(|operand| emit.rank(*operand)).collect();
    let equation = Equation::parse(text, &ranks).ok_or_else(|| {
        Refusal(format!("equation `{text}` does not fit its operands, expected one letter for each axis"))
    })?;
    let mut grads = Vec::with_capacity(operands.len());
    for (position, operand) in operands.iter().enumerate() {
        if !node.needs(position) {
            grads.push(None);
            continue;
        }
        grads.push(Some(operand_grad(node.dy(), &operands, position, &equation, *operand, emit)));
    }
    Ok(grads)
}

fn operand_grad(
    dy: Value,
    operands: &[Value],
    position: usize,
    equation: &Equation,
    operand: Value,
    emit: &mut Emit,
) -> Value {
    let axes = equation.operands.get(position).cloned().unwrap_or_default();
    let (wanted, own) = without_repeats(&axes, emit.dims(operand));
    let others = operands.iter().zip(&equation.operands).enumerate();
    let others = others.filter(|(other, _)| *other != position).map(|(_, (value, axes))| (*value, axes));
    let factors: Vec<(Value, &Vec<char>)> = std::iter::once((dy, &equation.result)).chain(others).collect();
    // The size of an axis; operands may hold 1 where others hold more.
    let size_of = |letter: char, emit: &Emit| {
        let sizes = factors.iter().flat_map(|(value, axes)| axes.iter().zip(emit.dims(*value)));
        sizes.filter(|(axis, _)| **axis == letter).map(|(_, size)| *size).max()
    };
    let present: Vec<char> =
        wanted.iter().copied().filter(|letter| size_of(*letter, emit).is_some()).collect();
    let dims: Vec<usize> = present.iter().filter_map(|letter| size_of(*letter, emit)).collect();
    let text = |axes: &[char]| axes.iter().collect::<String>();
    let left: Vec<String> = factors.iter().map(|(_, axes)| text(axes)).collect();
    let rewritten = format!("{}->{}", left.join(","), text(&present));
    let values: Vec<Value> = factors.iter().map(|(value, _)| *value).collect();
    let kind = ValueType::new(emit.dtype(dy), dims.clone());
    let sum = emit.op("Einsum", &values, vec![attribute::string("equation", &rewritten)], kind);
    // Axes that only this operand has come back with size 1 and are repeated.
    let mut sizes = dims.into_iter();
    let mut kept = Vec::with_capacity(own.len());
    let mut full = Vec::with_capacity(own.len());
    for (letter, size) in wanted.iter().zip(&own) {
        if present.contains(letter) {
            let size = sizes.next().unwrap_or(1);
            kept.push(size);
            full.push(size);
        } else {
            kept.push(1);
            full.push(*size);
        }
    }
    let column = emit.reshape(sum, &kept);
    let grad = emit.expand(column, &full);
    onto_diagonal(grad, &wanted, &axes, emit)
}

/// The letters of an operand, each once, with their sizes.
fn without_repeats(axes: &[char], dims: &[usize]) -> (Vec<char>, Vec<usize>) {
    let first = |(at, letter): (usize, &char)| axes.iter().position(|other| other == letter) == Some(at);
    let once = axes.iter().enumerate().zip(dims).filter(|(axis, _)| first(*axis));
    once.map(|((_, letter), size)| (*letter, *size)).unzip()
}

/// A gradient with one axis for each letter, among zeros where an operand has a letter more than once.
fn onto_diagonal(grad: Value, letters: &[char], axes: &[char], emit: &mut Emit) -> Value {
    let size_of = |letter: char, emit: &Emit| {
        let at = letters.iter().position(|other| *other == letter).unwrap_or(0);
        emit.dims(grad).get(at).copied().unwrap_or(1)
    };
    let repeats: Vec<(usize, usize)> = axes
        .iter()
        .enumerate()
        .filter_map(|(at, letter)| axes.iter().position(|other| other == letter).map(|first| (first, at)))
        .filter(|(first, at)| first < at)
        .collect();
    let is_repeat = |axis: usize| repeats.iter().any(|(_, at)| *at == axis);
    let sizes: Vec<usize> = axes.iter().map(|letter| size_of(*letter, emit)).collect();
    let apart = sizes.iter().enumerate().map(|(axis, size)| if is_repeat(axis) { 1 } else { *size });
    let mut spread = emit.reshape(grad, &apart.collect::<Vec<_>>());
    for (first, at) in repeats {
        let size = sizes.get(first).copied().unwrap_or(1);
        let dims = (0..axes.len()).map(|axis| if axis == first || axis == at { size } else { 1 });
        let ones = (0..size * size).map(|place| f64::from(u8::from(place % (size + 1) == 0)));
        let (dtype, ones) = (emit.dtype(spread), ones.collect::<Vec<_>>());
        let diagonal = emit.constant(Tensor::from_f64(dtype, dims.collect::<Vec<_>>(), &ones));
        spread = emit.mul(spread, diagonal);
    }
    spread
}

impl Equation {
    /// Writes `...` out in letters that the text does not use. `None` if the text does not fit operands of these ranks.
    fn parse(text: &str, ranks: &[usize]) -> Option<Self> {
        let text: String = text.chars().filter(|letter| !letter.is_whitespace()).collect();
        let (left, right) = match text.split_once("->") {
            Some((left, right)) => (left, Some(right)),
            None => (text.as_str(), None),
        };
        let free = ('A'..='Z').chain('a'..='z').filter(|letter| !text.contains(*letter));
        let free: Vec<char> = free.collect();
        let terms: Vec<&str> = left.split(',').collect();
        if terms.len() != ranks.len() {
            return None;
        }
        let letters = |term: &str| term.chars().filter(|letter| *letter != '.').count();
        let spans = terms.iter().zip(ranks);
        let spans = spans
            .map(|(term, rank)| if term.contains("...") { rank.checked_sub(letters(term)) } else { Some(0) });
        let widest = spans.collect::<Option<Vec<usize>>>()?.into_iter().max()?;
        let ellipsis = free.get(..widest)?;
        let write_out = |term: &str, span: usize| -> Option<Vec<char>> {
            let letters = ellipsis.get(ellipsis.len().checked_sub(span)?..)?.iter().collect::<String>();
            Some(term.replace("...", &letters).chars().collect())
        };
        let operands = terms.iter().zip(ranks).map(|(term, rank)| {
            let axes = write_out(term, if term.contains("...") { rank - letters(term) } else { 0 })?;
            (axes.len() == *rank).then_some(axes)
        });
        let operands: Vec<Vec<char>> = operands.collect::<Option<_>>()?;
        let result = match right {
            Some(right) => write_out(right, if right.contains("...") { widest } else { 0 })?,
            None => {
                let all: Vec<char> = operands.iter().flatten().copied().collect();
                let once: BTreeSet<char> = all
                    .iter()
                    .copied()
                    .filter(|letter| all.iter().filter(|other| *other == letter).count() == 1)
                    .filter(|letter| !ellipsis.contains(letter))
                    .collect();
                ellipsis.iter().copied().chain(once).collect()
            }
        };
        Some(Self { operands, result })
    }
}
