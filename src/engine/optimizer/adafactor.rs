//! Adafactor as in `torch.optim.Adafactor`: the second moment of a matrix is kept as that of its rows and of its columns
//! (N. Shazeer and M. Stern, "Adafactor: Adaptive Learning Rates with Sublinear Memory Cost", 2018).

use super::kernel::{Gradient, at_least, lerp};
use super::sums::{TASK_ELEMENTS, sum_of_parts, sum_of_tensor};
use super::vectorized::vectorized;
use crate::graph::update::Factors;
use rayon::prelude::*;
use std::ops::Range;

/// Columns whose squares one task adds up.
const COLUMNS: usize = 64;

/// Factors of Adafactor.
#[derive(Debug, Clone, Copy)]
pub(super) struct Adafactor {
    pub(super) gradient: Gradient,
    /// Factor of the parameter before the update: 1 - lr * weight decay.
    pub(super) keep: f32,
    /// Part of the new squares in the second moment: step^beta2_decay.
    pub(super) fresh: f32,
    /// Lower bound of the second moment's root, and of the mean of the rows' second moments.
    pub(super) eps: f32,
    pub(super) relative_eps: f64,
    pub(super) clip_threshold: f64,
    /// min(lr, 1 / sqrt(step)).
    pub(super) rate: f64,
}

/// The second moment of one element of a tensor, as it is kept.
#[derive(Debug, Clone, Copy)]
pub(super) enum Moment<'a> {
    /// Product of that of its row and that of its column, over the mean of the rows.
    Factored { row: f32, columns: &'a [f32], mean: f32 },
    /// One for each element.
    Own(&'a [f32]),
}

impl Adafactor {
    /// u = g / sqrt(max(v, eps^2));   p = keep * p - min(lr, 1 / sqrt(t)) * max(relative_eps, rms(p)) * u / max(1, rms(u) / d)
    ///
    /// Where the tensor has factors, `slots` are the second moments of rows and columns, otherwise the first is that of
    /// each element. `scratch` has room for a number per matrix.
    pub(super) fn run(
        &self,
        parameter: &mut [f32],
        gradient: &[f32],
        [first, second]: [&mut [f32]; 2],
        factors: Option<Factors>,
        scratch: &mut [f32],
    ) {
        let elements = parameter.len();
        if elements == 0 {
            return;
        }
        let scale = (sum_of_tensor(parameter) / elements as f64).sqrt().max(self.relative_eps);
        let (matrix, row) = match factors {
            Some(factors) => {
                self.advance_rows(gradient, first, factors.columns);
                self.advance_columns(gradient, second, factors);
                self.mean_of_rows(first, factors, scratch);
                (factors.rows, factors.columns)
            }
            None => {
                self.advance_elements(gradient, first);
                (1, TASK_ELEMENTS.min(elements))
            }
        };
        let moments = Moments { first, second, means: scratch, factors, matrix_rows: matrix, row };
        let term = |rows: Range<usize>| -> f64 {
            rows.map(|at| squares_of_row(self, part(gradient, at, row), moments.of_row(at))).sum()
        };
        let rows = elements.div_ceil(row);
        let per_task = (TASK_ELEMENTS / row).max(1);
        let length = (sum_of_parts(0..rows, per_task, &term) / elements as f64).sqrt();
        let clip = (length / self.clip_threshold).max(1.0);
        let minus_step = -(self.rate * scale / clip) as f32;
        parameter
            .par_chunks_mut(row)
            .zip(gradient.par_chunks(row))
            .enumerate()
            .with_min_len(per_task)
            .for_each(|(at, (parameter, gradient))| {
                apply_row(self, parameter, gradient, moments.of_row(at), minus_step);
            });
    }

    fn advance_rows(&self, gradient: &[f32], row_var: &mut [f32], columns: usize) {
        let per_task = (TASK_ELEMENTS / columns.max(1)).max(1);
        let rows = row_var.par_iter_mut().zip(gradient.par_chunks(columns.max(1)));
        rows.with_min_len(per_task).for_each(|(moment, row)| {
            let mean = sum_of_gradients(self.gradient, row) / columns as f64;
            *moment = lerp(*moment, mean as f32, self.fresh);
        });
    }

    fn advance_columns(&self, gradient: &[f32], col_var: &mut [f32], factors: Factors) {
        let Factors { rows, columns, .. } = factors;
        let matrices = gradient.par_chunks(rows * columns).zip(col_var.par_chunks_mut(columns));
        matrices.for_each(|(matrix, col_var)| {
            col_var.par_chunks_mut(COLUMNS).enumerate().for_each(|(block, moments)| {
                let mut sums = [0.0_f64; COLUMNS];
                for row in matrix.chunks(columns) {
                    let block = row.get(block * COLUMNS..).unwrap_or_default();
                    add_squares(self.gradient, block, &mut sums);
                }
                for (moment, sum) in moments.iter_mut().zip(sums) {
                    *moment = lerp(*moment, (sum / rows as f64) as f32, self.fresh);
                }
            });
        });
    }

    /// The mean of the rows' second moments of each matrix.
    fn mean_of_rows(&self, row_var: &[f32], factors: Factors, means: &mut [f32]) {
        let matrices = means.par_iter_mut().zip(row_var.par_chunks(factors.rows.max(1)));
        matrices.for_each(|(mean, rows)| {
            let sum: f64 = rows.iter().map(|moment| f64::from(*moment)).sum();
            *mean = at_least((sum / factors.rows as f64) as f32, self.eps);
        });
    }

    fn advance_elements(&self, gradient: &[f32], variance: &mut [f32]) {
        let parts = variance.par_chunks_mut(TASK_ELEMENTS).zip(gradient.par_chunks(TASK_ELEMENTS));
        parts.for_each(|(variance, gradient)| {
            for (moment, raw) in variance.iter_mut().zip(gradient) {
                let gradient = self.gradient.prepare(*raw);
                *moment = lerp(*moment, gradient * gradient, self.fresh);
            }
        });
    }
}

/// The second moments of a tensor, looked up by row.
struct Moments<'a> {
    first: &'a [f32],
    second: &'a [f32],
    means: &'a [f32],
    factors: Option<Factors>,
    matrix_rows: usize,
    row: usize,
}

impl Moments<'_> {
    fn of_row(&self, at: usize) -> Moment<'_> {
        let Some(factors) = self.factors else { return Moment::Own(part(self.first, at, self.row)) };
        let matrix = at / self.matrix_rows.max(1);
        Moment::Factored {
            row: self.first.get(at).copied().unwrap_or_default(),
            columns: part(self.second, matrix, factors.columns),
            mean: self.means.get(matrix).copied().unwrap_or(1.0),
        }
    }
}

/// The part `at` of a slice that is cut into parts of this length.
fn part(slice: &[f32], at: usize, len: usize) -> &[f32] {
    let start = (at * len).min(slice.len());
    slice.get(start..(start + len).min(slice.len())).unwrap_or_default()
}

vectorized! {
    fn add_squares / add_squares_portable(prepare: Gradient, row: &[f32], sums: &mut [f64; COLUMNS]) {
        for (sum, raw) in sums.iter_mut().zip(row) {
            let gradient = f64::from(prepare.prepare(*raw));
            *sum += gradient * gradient;
        }
    }
}

vectorized! {
    fn sum_of_gradients / sum_of_gradients_portable(prepare: Gradient, row: &[f32]) -> f64 {
        let mut sums = [0.0_f64; COLUMNS];
        for block in row.chunks(COLUMNS) {
            add_squares_portable(prepare, block, &mut sums);
        }
        sums.iter().sum()
    }
}

/// g / sqrt(max(v, eps^2))
#[inline(always)]
fn direction(raw: f32, moment: f32, factors: &Adafactor) -> f32 {
    let inverse_root = 1.0 / at_least(moment, factors.eps * factors.eps).sqrt();
    inverse_root * factors.gradient.prepare(raw)
}

vectorized! {
    fn squares_of_row / squares_of_row_portable(factors: &Adafactor, gradient: &[f32], moment: Moment<'_>) -> f64 {
        let mut sums = [0.0_f64; COLUMNS];
        match moment {
            Moment::Factored { row, columns, mean } => {
                for (gradient, columns) in gradient.chunks(COLUMNS).zip(columns.chunks(COLUMNS)) {
                    for ((raw, column), sum) in gradient.iter().zip(columns).zip(&mut sums) {
                        let length = f64::from(direction(*raw, row * *column / mean, factors));
                        *sum += length * length;
                    }
                }
            }
            Moment::Own(variance) => {
                for (gradient, variance) in gradient.chunks(COLUMNS).zip(variance.chunks(COLUMNS)) {
                    for ((raw, moment), sum) in gradient.iter().zip(variance).zip(&mut sums) {
                        let length = f64::from(direction(*raw, *moment, factors));
                        *sum += length * length;
                    }
                }
            }
        }
        sums.iter().sum()
    }
}

vectorized! {
    fn apply_row / apply_row_portable(
        factors: &Adafactor,
        parameter: &mut [f32],
        gradient: &[f32],
        moment: Moment<'_>,
        minus_step: f32,
    ) {
        match moment {
            Moment::Factored { row, columns, mean } => {
                for ((p, raw), column) in parameter.iter_mut().zip(gradient).zip(columns) {
                    *p = *p * factors.keep + minus_step * direction(*raw, row * *column / mean, factors);
                }
            }
            Moment::Own(variance) => {
                for ((p, raw), moment) in parameter.iter_mut().zip(gradient).zip(variance) {
                    *p = *p * factors.keep + minus_step * direction(*raw, *moment, factors);
                }
            }
        }
    }
}
