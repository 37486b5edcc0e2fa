//! LAMB: Adam's direction, made as long as the parameter is (Y. You and others, "Large Batch Optimization for Deep
//! Learning", 2019, algorithm 2, with bias correction and without bounds of the ratio).

use super::kernel::Gradient;
use super::kernel::lerp;
use super::sums::{LANES, TASK_ELEMENTS, half};
use super::vectorized::vectorized;
use rayon::join;

/// Factors of LAMB.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lamb {
    pub(super) gradient: Gradient,
    pub(super) weight_decay: f32,
    /// 1 - beta1.
    pub(super) fresh1: f32,
    pub(super) beta2: f32,
    /// 1 - beta2.
    pub(super) fresh2: f32,
    /// 1 - beta1^step.
    pub(super) bias_correction1: f32,
    /// Square root of 1 - beta2^step.
    pub(super) bias_correction2_sqrt: f32,
    pub(super) eps: f32,
    pub(super) lr: f64,
}

/// The slices of a tensor, or of a part of it.
pub(super) struct Slices<'a> {
    pub(super) parameter: &'a mut [f32],
    pub(super) gradient: &'a [f32],
    pub(super) exp_avg: &'a mut [f32],
    pub(super) exp_avg_sq: &'a mut [f32],
}

impl<'a> Slices<'a> {
    fn split(self) -> (Self, Self) {
        let middle = half(self.parameter.len());
        let (head, tail) = self.parameter.split_at_mut(middle);
        let (head_gradient, tail_gradient) = self.gradient.split_at(middle);
        let (head_avg, tail_avg) = self.exp_avg.split_at_mut(middle);
        let (head_sq, tail_sq) = self.exp_avg_sq.split_at_mut(middle);
        let front = Self { parameter: head, gradient: head_gradient, exp_avg: head_avg, exp_avg_sq: head_sq };
        (front, Self { parameter: tail, gradient: tail_gradient, exp_avg: tail_avg, exp_avg_sq: tail_sq })
    }

    fn reborrow(&mut self) -> Slices<'_> {
        Slices {
            parameter: self.parameter,
            gradient: self.gradient,
            exp_avg: self.exp_avg,
            exp_avg_sq: self.exp_avg_sq,
        }
    }
}

/// Sums of squares of the parameter and of the direction.
type Squares = (f64, f64);

impl Lamb {
    /// r = m / (1 - beta1^t) / (sqrt(v) / sqrt(1 - beta2^t) + eps) + weight_decay * p
    #[inline(always)]
    fn direction(&self, parameter: f32, exp_avg: f32, exp_avg_sq: f32) -> f32 {
        let denominator = exp_avg_sq.sqrt() / self.bias_correction2_sqrt + self.eps;
        exp_avg / self.bias_correction1 / denominator + self.weight_decay * parameter
    }

    /// m = beta1 * m + (1 - beta1) * g;   v = beta2 * v + (1 - beta2) * g^2
    #[inline(always)]
    fn advance(&self, parameter: f32, raw: f32, exp_avg: &mut f32, exp_avg_sq: &mut f32) -> Squares {
        let gradient = self.gradient.prepare(raw);
        *exp_avg = lerp(*exp_avg, gradient, self.fresh1);
        *exp_avg_sq = *exp_avg_sq * self.beta2 + self.fresh2 * gradient * gradient;
        let direction = f64::from(self.direction(parameter, *exp_avg, *exp_avg_sq));
        let parameter = f64::from(parameter);
        (parameter * parameter, direction * direction)
    }

    /// p = p - lr * |p| / |r| * r; the ratio is 1 where one of the norms is 0.
    ///
    /// The direction is computed twice, once for its norm and once to apply it, which costs less than keeping it.
    pub(super) fn run(&self, mut slices: Slices<'_>) {
        let (parameter, direction) = self.advance_tensor(slices.reborrow());
        let is_defined = parameter > 0.0 && direction > 0.0;
        let trust = if is_defined { parameter.sqrt() / direction.sqrt() } else { 1.0 };
        self.apply_tensor(slices, -(self.lr * trust) as f32);
    }

    fn advance_tensor(&self, slices: Slices<'_>) -> Squares {
        if slices.parameter.len() <= TASK_ELEMENTS {
            return advance_block(self, slices.parameter, slices.gradient, slices.exp_avg, slices.exp_avg_sq);
        }
        let (front, back) = slices.split();
        let (front, back) = join(|| self.advance_tensor(front), || self.advance_tensor(back));
        (front.0 + back.0, front.1 + back.1)
    }

    fn apply_tensor(&self, slices: Slices<'_>, minus_step: f32) {
        if slices.parameter.len() <= TASK_ELEMENTS {
            return apply_block(self, slices.parameter, slices.exp_avg, slices.exp_avg_sq, minus_step);
        }
        let (front, back) = slices.split();
        join(|| self.apply_tensor(front, minus_step), || self.apply_tensor(back, minus_step));
    }
}

vectorized! {
    fn advance_block / advance_block_portable(
        lamb: &Lamb,
        parameter: &[f32],
        gradient: &[f32],
        exp_avg: &mut [f32],
        exp_avg_sq: &mut [f32],
    ) -> Squares {
        let mut sums = [(0.0_f64, 0.0_f64); LANES];
        let (parameters, gradients) = (parameter.chunks(LANES), gradient.chunks(LANES));
        let moments = exp_avg.chunks_mut(LANES).zip(exp_avg_sq.chunks_mut(LANES));
        for ((p, g), (m, v)) in parameters.zip(gradients).zip(moments) {
            for ((((p, g), m), v), sum) in p.iter().zip(g).zip(m).zip(v).zip(&mut sums) {
                let (parameter, direction) = lamb.advance(*p, *g, m, v);
                sum.0 += parameter;
                sum.1 += direction;
            }
        }
        sums.iter().fold((0.0, 0.0), |total, sum| (total.0 + sum.0, total.1 + sum.1))
    }
}

vectorized! {
    fn apply_block / apply_block_portable(
        lamb: &Lamb,
        parameter: &mut [f32],
        exp_avg: &[f32],
        exp_avg_sq: &[f32],
        minus_step: f32,
    ) {
        for ((p, m), v) in parameter.iter_mut().zip(exp_avg).zip(exp_avg_sq) {
            *p += minus_step * lamb.direction(*p, *m, *v);
        }
    }
}
