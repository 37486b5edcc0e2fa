//! The update formulas, one element at a time, and the loops over slices: updates and the sum of squares.
//!
//! The loops are plain zips which the compiler turns into vector instructions. They exist twice, for the instruction
//! set this program is built for and for AVX2, and give the same bits: Rust never contracts a multiplication and an
//! addition into one operation with one rounding, so both compute the same IEEE 754 results lane by lane.

// The copies for AVX2 may only be called where the processor has it; those calls are the only unsafe code here.
#![allow(unsafe_code)]

/// How a raw gradient becomes the one the formulas use.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gradient {
    /// Factor, applied first.
    pub(super) scale: f32,
    /// Bound of the absolute value; infinite means none.
    pub(super) limit: f32,
}

impl Gradient {
    /// Scaled, then bounded. NaN stays NaN, which `f32::min` and `f32::max` would hide.
    #[inline(always)]
    fn prepare(self, raw: f32) -> f32 {
        let scaled = raw * self.scale;
        if scaled > self.limit {
            self.limit
        } else if scaled < -self.limit {
            -self.limit
        } else {
            scaled
        }
    }
}

/// Factors of SGD.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sgd {
    pub(super) gradient: Gradient,
    pub(super) weight_decay: f32,
    pub(super) momentum: f32,
    /// Factor of the new gradient in the momentum buffer: 1 - dampening.
    pub(super) fresh: f32,
    pub(super) nesterov: bool,
    pub(super) minus_lr: f32,
}

impl Sgd {
    /// g = g + weight_decay * p;   p = p - lr * g
    #[inline(always)]
    fn plain(&self, parameter: &mut f32, raw: f32) {
        let gradient = self.gradient.prepare(raw) + self.weight_decay * *parameter;
        *parameter += self.minus_lr * gradient;
    }

    /// g = g + weight_decay * p;   b = momentum * b + (1 - dampening) * g;   p = p - lr * b
    ///
    /// In Nesterov's form the last is p = p - lr * (g + momentum * b).
    #[inline(always)]
    fn with_momentum(&self, parameter: &mut f32, raw: f32, buffer: &mut f32) {
        let gradient = self.gradient.prepare(raw) + self.weight_decay * *parameter;
        *buffer = *buffer * self.momentum + self.fresh * gradient;
        let direction = if self.nesterov { gradient + self.momentum * *buffer } else { *buffer };
        *parameter += self.minus_lr * direction;
    }
}

/// Factors of Adam and AdamW.
#[derive(Debug, Clone, Copy)]
pub(super) struct Adam {
    pub(super) gradient: Gradient,
    /// Weight decay that is added to the gradient (Adam); 0 for AdamW.
    pub(super) weight_decay: f32,
    /// Factor of the parameter before the update: 1 - lr * weight decay (AdamW); 1 for Adam.
    pub(super) keep: f32,
    /// 1 - beta1.
    pub(super) fresh1: f32,
    pub(super) beta2: f32,
    /// 1 - beta2.
    pub(super) fresh2: f32,
    /// Square root of 1 - beta2^step.
    pub(super) bias_correction2_sqrt: f32,
    pub(super) eps: f32,
    /// -lr / (1 - beta1^step).
    pub(super) minus_step_size: f32,
}

impl Adam {
    /// p = keep * p;   g = g + weight_decay * p;   m = beta1 * m + (1 - beta1) * g;   v = beta2 * v + (1 - beta2) * g^2
    ///
    /// p = p - lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
    #[inline(always)]
    fn element(&self, parameter: &mut f32, raw: f32, exp_avg: &mut f32, exp_avg_sq: &mut f32) {
        let gradient = self.gradient.prepare(raw) + self.weight_decay * *parameter;
        let kept = *parameter * self.keep;
        *exp_avg = lerp(*exp_avg, gradient, self.fresh1);
        *exp_avg_sq = *exp_avg_sq * self.beta2 + self.fresh2 * gradient * gradient;
        let denominator = exp_avg_sq.sqrt() / self.bias_correction2_sqrt + self.eps;
        *parameter = kept + self.minus_step_size * *exp_avg / denominator;
    }
}

/// `start + weight * (end - start)`, computed from the nearer end as `torch.lerp` does.
#[inline(always)]
fn lerp(start: f32, end: f32, weight: f32) -> f32 {
    let way = end - start;
    if weight < 0.5 { start + weight * way } else { end - way * (1.0 - weight) }
}

/// A formula with the factors of one step.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kernel {
    /// SGD without momentum; no slots.
    Sgd(Sgd),
    /// SGD with momentum; the first slot is the momentum buffer.
    SgdMomentum(Sgd),
    /// Adam and AdamW; the slots are the moving averages of gradient and squared gradient.
    Adam(Adam),
}

impl Kernel {
    /// Updates `parameter` and the slots in place. All slices that the formula uses have one length; that is the
    /// invariant of `Update`.
    pub(super) fn run(
        &self,
        parameter: &mut [f32],
        gradient: &[f32],
        first_slot: &mut [f32],
        second_slot: &mut [f32],
    ) {
        #[cfg(target_arch = "x86_64")]
        if std::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has AVX2, as just detected; the function has no other requirement.
            unsafe { self.run_avx2(parameter, gradient, first_slot, second_slot) };
            return;
        }
        self.run_portable(parameter, gradient, first_slot, second_slot);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn run_avx2(
        &self,
        parameter: &mut [f32],
        gradient: &[f32],
        first_slot: &mut [f32],
        second_slot: &mut [f32],
    ) {
        self.run_portable(parameter, gradient, first_slot, second_slot);
    }

    #[inline(always)]
    pub(super) fn run_portable(
        &self,
        parameter: &mut [f32],
        gradient: &[f32],
        first_slot: &mut [f32],
        second_slot: &mut [f32],
    ) {
        match self {
            Self::Sgd(sgd) => {
                for (p, g) in parameter.iter_mut().zip(gradient) {
                    sgd.plain(p, *g);
                }
            }
            Self::SgdMomentum(sgd) => {
                for ((p, g), buffer) in parameter.iter_mut().zip(gradient).zip(first_slot) {
                    sgd.with_momentum(p, *g, buffer);
                }
            }
            Self::Adam(adam) => {
                for (((p, g), m), v) in parameter.iter_mut().zip(gradient).zip(first_slot).zip(second_slot) {
                    adam.element(p, *g, m, v);
                }
            }
        }
    }
}

/// Independent partial sums of [`sum_of_squares`]: enough to fill vector instructions, and part of what fixes the order
/// of its additions.
const LANES: usize = 16;

/// The sum of the squares of `block`. The square of an `f32` is exact in `f64`, so only the additions round; their
/// order depends on the length alone.
pub(super) fn sum_of_squares(block: &[f32]) -> f64 {
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2, as just detected; the function has no other requirement.
        return unsafe { sum_of_squares_avx2(block) };
    }
    sum_of_squares_portable(block)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn sum_of_squares_avx2(block: &[f32]) -> f64 {
    sum_of_squares_portable(block)
}

#[inline(always)]
pub(super) fn sum_of_squares_portable(block: &[f32]) -> f64 {
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
