//! SGD and Lion.

use super::{Formula, Gradient, lerp};

/// Factors of SGD.
#[derive(Debug, Clone, Copy)]
pub(in crate::engine::optimizer) struct Sgd {
    pub(in crate::engine::optimizer) gradient: Gradient,
    pub(in crate::engine::optimizer) weight_decay: f32,
    pub(in crate::engine::optimizer) momentum: f32,
    /// Factor of the new gradient in the momentum buffer: 1 - dampening.
    pub(in crate::engine::optimizer) fresh: f32,
    pub(in crate::engine::optimizer) nesterov: bool,
    pub(in crate::engine::optimizer) minus_lr: f32,
}

impl Formula<0> for Sgd {
    /// g = g + weight_decay * p;   p = p - lr * g
    #[inline(always)]
    fn element(&self, parameter: &mut f32, raw: f32, []: [&mut f32; 0]) {
        let gradient = self.gradient.prepare(raw) + self.weight_decay * *parameter;
        *parameter += self.minus_lr * gradient;
    }
}

impl Formula<1> for Sgd {
    /// g = g + weight_decay * p;   b = momentum * b + (1 - dampening) * g;   p = p - lr * b
    ///
    /// In Nesterov's form the last is p = p - lr * (g + momentum * b).
    #[inline(always)]
    fn element(&self, parameter: &mut f32, raw: f32, [buffer]: [&mut f32; 1]) {
        let gradient = self.gradient.prepare(raw) + self.weight_decay * *parameter;
        *buffer = *buffer * self.momentum + self.fresh * gradient;
        let direction = if self.nesterov { gradient + self.momentum * *buffer } else { *buffer };
        *parameter += self.minus_lr * direction;
    }
}

/// Factors of Lion.
#[derive(Debug, Clone, Copy)]
pub(in crate::engine::optimizer) struct Lion {
    pub(in crate::engine::optimizer) gradient: Gradient,
    /// Factor of the parameter before the update: 1 - lr * weight decay.
    pub(in crate::engine::optimizer) keep: f32,
    /// 1 - beta1.
    pub(in crate::engine::optimizer) fresh1: f32,
    /// 1 - beta2.
    pub(in crate::engine::optimizer) fresh2: f32,
    pub(in crate::engine::optimizer) minus_lr: f32,
}

impl Formula<1> for Lion {
    /// c = beta1 * m + (1 - beta1) * g;   p = keep * p - lr * sign(c);   m = beta2 * m + (1 - beta2) * g
    #[inline(always)]
    fn element(&self, parameter: &mut f32, raw: f32, [exp_avg]: [&mut f32; 1]) {
        let gradient = self.gradient.prepare(raw);
        let direction = lerp(*exp_avg, gradient, self.fresh1);
        // `f32::signum` gives 1 for 0; 0 and NaN stay what they are.
        let sign = if direction > 0.0 {
            1.0
        } else if direction < 0.0 {
            -1.0
        } else {
            direction
        };
        *parameter = *parameter * self.keep + self.minus_lr * sign;
        *exp_avg = lerp(*exp_avg, gradient, self.fresh2);
    }
}
