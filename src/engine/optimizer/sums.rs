//! Sums of squares in an order that does not depend on the number of threads.

use super::vectorized::vectorized;
use rayon::join;
use std::ops::Range;

/// Elements one task adds up.
pub(super) const TASK_ELEMENTS: usize = 16 * 1024;

/// Independent partial sums of [`sum_of_squares`]: enough to fill vector instructions, and part of what fixes the order
/// of its additions.
pub(super) const LANES: usize = 16;

vectorized! {
    /// The sum of the squares of `block`. The square of an `f32` is exact in `f64`, so only the additions round; their
    /// order depends on the length alone.
    fn sum_of_squares / sum_of_squares_portable(block: &[f32]) -> f64 {
        let mut sums = [0.0_f64; LANES];
        let (groups, rest) = block.as_chunks::<LANES>();
        for group in groups {
            for (sum, value) in sums.iter_mut().zip(group) {
                let value = f64::from(*value);
                *sum += value * value;
            }
        }
        let rest: f64 = rest.iter().map(|value| f64::from(*value) * f64::from(*value)).sum();
        sums.iter().sum::<f64>() + rest
    }
}

/// The sum of the squares of a tensor, in parallel.
pub(super) fn sum_of_tensor(tensor: &[f32]) -> f64 {
    if tensor.len() <= TASK_ELEMENTS {
        return sum_of_squares(tensor);
    }
    let (front, back) = tensor.split_at(half(tensor.len()));
    let (front, back) = join(|| sum_of_tensor(front), || sum_of_tensor(back));
    front + back
}

/// Where a tensor of more than [`TASK_ELEMENTS`] is cut: at a multiple of the task size, so that parts start at cache
/// lines where the tensor does.
pub(super) fn half(elements: usize) -> usize {
    elements.div_ceil(TASK_ELEMENTS) / 2 * TASK_ELEMENTS
}

/// The sum of `term` over parts of `range` that hold at most `most` each, in parallel; cut in halves, so that the order
/// of the additions depends on the numbers alone.
pub(super) fn sum_of_parts(
    range: Range<usize>,
    most: usize,
    term: &(impl Fn(Range<usize>) -> f64 + Sync),
) -> f64 {
    if range.len() <= most.max(1) {
        return term(range);
    }
    let middle = range.start + range.len() / 2;
    let (front, back) = join(
        || sum_of_parts(range.start..middle, most, term),
        || sum_of_parts(middle..range.end, most, term),
    );
    front + back
}
