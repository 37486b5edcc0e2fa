//! Products of matrices in host memory, for Muon. Each element is a sum over the inner axis in its order, so its bits
//! depend neither on the number of threads nor on how the work is cut.

use super::vectorized::vectorized;
use rayon::prelude::*;

/// Rows of the result that one task computes.
const TASK_ROWS: usize = 16;
/// Rows and columns of the result that are summed up in registers.
const TILE_ROWS: usize = 4;
const TILE_COLUMNS: usize = 16;

/// A matrix that is added to a product.
#[derive(Clone, Copy)]
pub(super) struct Addend<'a> {
    pub(super) matrix: &'a [f32],
    pub(super) factor: f32,
}

/// `out = addend + factor * left right`, with `left` `[rows, inner]`, `right` `[inner, columns]`, all row-major. None of
/// the three numbers is 0.
pub(super) fn multiply(
    left: &[f32],
    right: &[f32],
    (inner, columns): (usize, usize),
    addend: Option<Addend<'_>>,
    factor: f32,
    out: &mut [f32],
) {
    let tasks = out.par_chunks_mut(TASK_ROWS * columns).zip(left.par_chunks(TASK_ROWS * inner)).enumerate();
    tasks.for_each(|(task, (out, left))| {
        let first = task * TASK_ROWS * columns;
        for (tile, (out, left)) in
            out.chunks_mut(TILE_ROWS * columns).zip(left.chunks(TILE_ROWS * inner)).enumerate()
        {
            let first = first + tile * TILE_ROWS * columns;
            let addend = addend.map(|addend| Addend {
                matrix: addend.matrix.get(first..first + out.len()).unwrap_or_default(),
                factor: addend.factor,
            });
            multiply_rows(left, right, (inner, columns), out);
            finish_rows(out, addend, factor);
        }
    });
}

vectorized! {
    /// `out = left right` for at most [`TILE_ROWS`] rows.
    fn multiply_rows / multiply_rows_portable(
        left: &[f32],
        right: &[f32],
        sizes: (usize, usize),
        out: &mut [f32],
    ) {
        let (inner, columns) = sizes;
        let rows = out.len() / columns;
        for start in (0..columns).step_by(TILE_COLUMNS) {
            let width = TILE_COLUMNS.min(columns - start);
            let mut sums = [[0.0_f32; TILE_COLUMNS]; TILE_ROWS];
            for (k, line) in right.chunks_exact(columns).enumerate() {
                let mut tile = [0.0_f32; TILE_COLUMNS];
                match line.get(start..start + TILE_COLUMNS) {
                    Some(whole) => tile.copy_from_slice(whole),
                    None => {
                        let rest = line.get(start..start + width).unwrap_or_default();
                        tile.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
                    }
                }
                for (row, sums) in sums.iter_mut().enumerate() {
                    let factor = left.get(row * inner + k).copied().unwrap_or(0.0);
                    for (sum, value) in sums.iter_mut().zip(&tile) {
                        *sum += factor * *value;
                    }
                }
            }
            for (row, sums) in sums.iter().enumerate().take(rows) {
                let at = row * columns + start;
                let to = out.get_mut(at..at + width).unwrap_or_default();
                to.iter_mut().zip(sums).for_each(|(to, sum)| *to = *sum);
            }
        }
    }
}

fn finish_rows(out: &mut [f32], addend: Option<Addend<'_>>, factor: f32) {
    match addend {
        Some(addend) => {
            for (out, add) in out.iter_mut().zip(addend.matrix) {
                *out = addend.factor * *add + factor * *out;
            }
        }
        None => out.iter_mut().for_each(|out| *out *= factor),
    }
}

/// `out[j, i] = matrix[i, j]` for a matrix of so many columns.
pub(super) fn transpose(matrix: &[f32], columns: usize, out: &mut [f32]) {
    let rows = matrix.len() / columns;
    out.par_chunks_mut(rows).enumerate().for_each(|(column, out)| {
        let values = matrix.iter().skip(column).step_by(columns);
        out.iter_mut().zip(values).for_each(|(to, from)| *to = *from);
    });
}

#[cfg(test)]
mod tests {
    use super::{Addend, multiply, multiply_rows, multiply_rows_portable, transpose};

    fn ramp(count: usize, salt: usize) -> Vec<f32> {
        (0..count).map(|i| ((i * 7919 + salt * 104_729) % 1009) as f32 / 504.5 - 1.0).collect()
    }

    #[track_caller]
    fn check(rows: usize, inner: usize, columns: usize) {
        let (left, right) = (ramp(rows * inner, 1), ramp(inner * columns, 2));
        let add = ramp(rows * columns, 3);
        let mut out = vec![f32::NAN; rows * columns];
        let addend = Addend { matrix: &add, factor: -0.5 };
        multiply(&left, &right, (inner, columns), Some(addend), 2.0, &mut out);
        for row in 0..rows {
            for column in 0..columns {
                let product: f64 = (0..inner)
                    .map(|k| f64::from(left[row * inner + k]) * f64::from(right[k * columns + column]))
                    .sum();
                let expected = 2.0 * product - 0.5 * f64::from(add[row * columns + column]);
                let found = f64::from(out[row * columns + column]);
                assert!((found - expected).abs() < 1e-4, "{rows}x{inner}x{columns}: {found} {expected}");
            }
        }
    }

    #[test]
    fn products_are_right_whatever_the_sizes_leave_over() {
        for rows in [1, 3, 4, 5, 16, 17, 33] {
            for (inner, columns) in [(1, 1), (7, 15), (8, 16), (9, 17), (30, 40)] {
                check(rows, inner, columns);
            }
        }
    }

    #[test]
    fn vector_instructions_change_no_bit_of_a_product() {
        let (left, right) = (ramp(4 * 50, 1), ramp(50 * 37, 2));
        let (mut wide, mut portable) = (vec![0.0; 4 * 37], vec![0.0; 4 * 37]);
        multiply_rows(&left, &right, (50, 37), &mut wide);
        multiply_rows_portable(&left, &right, (50, 37), &mut portable);
        assert_eq!(wide, portable);
    }

    #[test]
    fn a_transposed_matrix_has_its_rows_as_columns() {
        let mut out = [0.0; 6];
        transpose(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 3, &mut out);
        assert_eq!(out, [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    }
}
