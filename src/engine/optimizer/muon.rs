//! Muon as in `torch.optim.Muon`: the momentum of a matrix, made orthogonal by Newton-Schulz iterations.
//!
//! The iterations are computed in single precision, where PyTorch rounds them to bfloat16.

use super::kernel::{Gradient, at_least, lerp};
use super::matmul::{Addend, multiply, transpose};
use super::sums::{TASK_ELEMENTS, sum_of_tensor};
use crate::graph::update::{NEWTON_SCHULZ, NEWTON_SCHULZ_EPS};
use rayon::prelude::*;

/// Factors of Muon for one matrix.
#[derive(Debug, Clone, Copy)]
pub(super) struct Muon {
    pub(super) gradient: Gradient,
    pub(super) momentum: f32,
    pub(super) nesterov: bool,
    /// Newton-Schulz iterations.
    pub(super) iterations: u32,
    /// Factor of the parameter before the update: 1 - lr * weight decay.
    pub(super) keep: f32,
    pub(super) lr: f64,
}

/// Elements of the memory that a matrix of this shape needs while it is updated.
pub(super) fn scratch_elements(rows: usize, columns: usize) -> usize {
    let (short, long) = (rows.min(columns), rows.max(columns));
    3 * short * long + 2 * short * short
}

impl Muon {
    /// b = momentum * b + (1 - momentum) * g;   u = b, or g + momentum * (b - g) in Nesterov's form
    ///
    /// p = keep * p - lr * lr_factor * orthogonal(u)
    ///
    /// `scratch` has at least [`scratch_elements`], none of `rows` and `columns` is 0.
    pub(super) fn run(
        &self,
        parameter: &mut [f32],
        gradient: &[f32],
        buffer: &mut [f32],
        columns: usize,
        lr_factor: f64,
        scratch: &mut [f32],
    ) {
        let rows = parameter.len() / columns;
        let elements = parameter.len();
        let (short, long) = (rows.min(columns), rows.max(columns));
        let (x, rest) = scratch.split_at_mut(elements);
        let (turned, rest) = rest.split_at_mut(elements);
        let (next, rest) = rest.split_at_mut(elements);
        let (gram, rest) = rest.split_at_mut(short * short);
        let mixed = rest.get_mut(..short * short).unwrap_or_default();
        self.advance(gradient, buffer, if rows > columns { &mut *turned } else { &mut *x });
        if rows > columns {
            transpose(turned, columns, x);
        }
        let length = at_least(sum_of_tensor(x).sqrt() as f32, NEWTON_SCHULZ_EPS as f32);
        x.par_chunks_mut(TASK_ELEMENTS).for_each(|part| part.iter_mut().for_each(|x| *x /= length));
        let (a, b, c) = NEWTON_SCHULZ;
        for _ in 0..self.iterations {
            transpose(x, long, turned);
            multiply(x, turned, (long, short), None, 1.0, gram);
            let linear = Addend { matrix: gram, factor: b as f32 };
            multiply(gram, gram, (short, short), Some(linear), c as f32, mixed);
            let kept = Addend { matrix: x, factor: a as f32 };
            multiply(mixed, x, (short, long), Some(kept), 1.0, next);
            x.copy_from_slice(next);
        }
        let direction = if rows > columns {
            transpose(x, long, turned);
            turned
        } else {
            x
        };
        let (keep, minus_step) = (self.keep, -(self.lr * lr_factor) as f32);
        let parts = parameter.par_chunks_mut(TASK_ELEMENTS).zip(direction.par_chunks(TASK_ELEMENTS));
        parts.for_each(|(parameter, direction)| {
            for (p, direction) in parameter.iter_mut().zip(direction) {
                *p = *p * keep + minus_step * *direction;
            }
        });
    }

    /// Moves the momentum and writes what is to be made orthogonal.
    fn advance(&self, gradient: &[f32], buffer: &mut [f32], out: &mut [f32]) {
        let parts = buffer.par_chunks_mut(TASK_ELEMENTS).zip(gradient.par_chunks(TASK_ELEMENTS));
        parts.zip(out.par_chunks_mut(TASK_ELEMENTS)).for_each(|((buffer, gradient), out)| {
            for ((buffer, raw), out) in buffer.iter_mut().zip(gradient).zip(out) {
                let gradient = self.gradient.prepare(*raw);
                *buffer = lerp(*buffer, gradient, 1.0 - self.momentum);
                *out = if self.nesterov { lerp(gradient, *buffer, self.momentum) } else { *buffer };
            }
        });
    }
}
