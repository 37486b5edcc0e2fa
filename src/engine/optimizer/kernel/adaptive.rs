//! Formulas that divide by a root of squared gradients: the Adam family, RMSprop, Adagrad, Adadelta.

use super::{Formula, Gradient, at_least, lerp};

/// What the Adam family has in common: weight decay and the two moments.
#[derive(Debug, Clone, Copy)]
pub(in crate::engine::optimizer) struct Moments {
    pub(in crate::engine::optimizer) gradient: Gradient,
    /// Weight decay that is added to the gradient; 0 where it is decoupled.
    pub(in crate::engine::optimizer) weight_decay: f32,
    /// Factor of the parameter before the update: 1 - lr * weight decay where that is decoupled, else 1.
    pub(in crate::engine::optimizer) keep: f32,
    /// 1 - beta1.
    pub(in crate::engine::optimizer) fresh1: f32,
    pub(in crate::engine::optimizer) beta2: f32,
    /// 1 - beta2.
    pub(in crate::engine::optimizer) fresh2: f32,
    pub(in crate::engine::optimizer) eps: f32,
}

impl Moments {
    /// p = keep * p;   g = g + weight_decay * p;   m = beta1 * m + (1 - beta1) * g;   v = beta2 * v + (1 - beta2) * g^2
    ///
    /// Gives the decayed parameter and the gradient.
    #[inline(always)]
    pub(in crate::engine::optimizer) fn advance(
        &self,
        parameter: f32,
        raw: f32,
        exp_avg: &mut f32,
        exp_avg_sq: &mut f32,
    ) -> (f32, f32) {
        let gradient = self.gradient.prepare(raw) + self.weight_decay * parameter;
        *exp_avg = lerp(*exp_avg, gradient, self.fresh1);
        *exp_avg_sq = *exp_avg_sq * self.beta2 + self.fresh2 * gradient * gradient;
        (parameter * self.keep, gradient)
    }
}

/// Factors of Adam and AdamW.
#[derive(Debug, Clone, Copy)]
pub(in crate::engine::optimizer) struct Adam {
    pub(in crate::engine::optimizer) moments: Moments,
    /// Square root of 1 - beta2^step.
    pub(in crate::engine::optimizer) bias_correction2_sqrt: f32,
    /// -lr / (1 - beta1^step).
    pub(in crate::engine::optimizer) minus_step_size: f32,
}

impl Formula<2> for Adam {
    /// p = p - lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
    #[inline(always)]
    fn element(&self, parameter: &mut f32, raw: f32, [exp_avg, exp_avg_sq]: [&mut f32; 2]) {
        let (kept, _) = self.moments.advance(*parameter, raw, exp_avg, exp_avg_sq);
        let denominator = exp_avg_sq.sqrt() / self.bias_correction2_sqrt + self.moments.eps;
        *parameter = kept + self.minus_step_size * *exp_avg / denominator;
    }
}

/// Factors of NAdam.
#[derive(Debug, Clone, Copy)]
pub(in crate::engine::optimizer) struct NAdam {
    pub(in crate::engine::optimizer) moments: Moments,
    /// 1 - beta2^step.
    pub(in crate::engine::optimizer) bias_correction2: f32,
    /// -lr (1 - mu_t) / (1 - mu_1 ... mu_t).
    pub(in crate::engine::optimizer) gradient_step: f32,
    /// -lr mu_(t+1) / (1 - mu_1 ... mu_(t+1)).
    pub(in crate::engine::optimizer) average_step: f32,
}

impl Formula<2> for NAdam {
    /// d = sqrt(v / (1 - beta2^t)) + eps;   p = p + gradient_step * g / d + average_step * m / d
    #[inline(always)]
    fn element(&self, parameter: &mut f32, raw: f32, [exp_avg, exp_avg_sq]: [&mut f32; 2]) {
        let (kept, gradient) = self.moments.advance(*parameter, raw, exp_avg, exp_avg_sq);
        let denominator = (*exp_avg_sq / self.bias_correction2).sqrt() + self.moments.eps;
        let ahead = kept + self.gradient_step * gradient / denominator;
        *parameter = ahead + self.average_step * *exp_avg / denominator;
    }
}

/// Factors of RAdam.
#[derive(Debug, Clone, Copy)]
pub(in crate::engine::optimizer) struct RAdam {
    pub(in crate::engine::optimizer) moments: Moments,
    /// -lr / (1 - beta1^step).
    pub(in crate::engine::optimizer) minus_step_size: f32,
    /// sqrt(1 - beta2^step) times the rectification; `None` in the first steps, which have no variance to rectify.
    pub(in crate::engine::optimizer) rectified: Option<f32>,
}

impl Formula<2> for RAdam {
    /// p = p - lr / (1 - beta1^t) * m * r,   r = rectified / (sqrt(v) + eps), or 1
    #[inline(always)]
    fn element(&self, parameter: &mut f32, raw: f32, [exp_avg, exp_avg_sq]: [&mut f32; 2]) {
        let (kept, _) = self.moments.advance(*parameter, raw, exp_avg, exp_avg_sq);
        let factor = match self.rectified {
            Some(rectified) => rectified / (exp_avg_sq.sqrt() + self.moments.eps),
            None => 1.0,
        };
        *parameter = kept + self.minus_step_size * *exp_avg * factor;
    }
}

/// Factors of RMSprop.
#[derive(Debug, Clone, Copy)]
pub(in crate::engine::optimizer) struct RmsProp {
    pub(in crate::engine::optimizer) gradient: Gradient,
    pub(in crate::engine::optimizer) weight_decay: f32,
    pub(in crate::engine::optimizer) alpha: f32,
    /// 1 - alpha.
    pub(in crate::engine::optimizer) fresh: f32,
    pub(in crate::engine::optimizer) eps: f32,
    pub(in crate::engine::optimizer) momentum: f32,
    pub(in crate::engine::optimizer) minus_lr: f32,
}

impl RmsProp {
    /// g = g + weight_decay * p;   s = alpha * s + (1 - alpha) * g^2
    #[inline(always)]
    fn square(&self, parameter: f32, raw: f32, square_avg: &mut f32) -> f32 {
        let gradient = self.gradient.prepare(raw) + self.weight_decay * parameter;
        *square_avg = *square_avg * self.alpha + self.fresh * gradient * gradient;
        gradient
    }

    /// a = alpha * a + (1 - alpha) * g;   d = sqrt(s - a^2) + eps
    ///
    /// Where rounding makes the variance negative it is taken for 0; PyTorch gives NaN there.
    #[inline(always)]
    fn centered_denominator(&self, gradient: f32, square_avg: f32, grad_avg: &mut f32) -> f32 {
        *grad_avg = lerp(*grad_avg, gradient, self.fresh);
        at_least(square_avg - *grad_avg * *grad_avg, 0.0).sqrt() + self.eps
    }

    /// b = momentum * b + g / d;   p = p - lr * b
    #[inline(always)]
    fn buffered(&self, parameter: &mut f32, gradient: f32, denominator: f32, buffer: &mut f32) {
        *buffer = *buffer * self.momentum + gradient / denominator;
        *parameter += self.minus_lr * *buffer;
    }
}

impl Formula<1> for RmsProp {
    /// p = p - lr * g / (sqrt(s) + eps)
    #[inline(always)]
    fn element(&self, parameter: &mut f32, raw: f32, [square_avg]: [&mut f32; 1]) {
        let gradient = self.square(*parameter, raw, square_avg);
        *parameter += self.minus_lr * gradient / (square_avg.sqrt() + self.eps);
    }
}

/// RMSprop with momentum.
pub(super) struct WithMomentum(pub(super) RmsProp);

impl Formula<2> for WithMomentum {
    #[inline(always)]
    fn element(&self, parameter: &mut f32, raw: f32, [square_avg, buffer]: [&mut f32; 2]) {
        let gradient = self.0.square(*parameter, raw, square_avg);
        self.0.buffered(parameter, gradient, square_avg.sqrt() + self.0.eps, buffer);
    }
}

/// RMSprop around the mean gradient.
pub(super) struct Centered(pub(super) RmsProp);

impl Formula<2> for Centered {
    #[inline(always)]
    fn element(&self, parameter: &mut f32, raw: f32, [square_avg, grad_avg]: [&mut f32; 2]) {
        let gradient = self.0.square(*parameter, raw, square_avg);
        let denominator = self.0.centered_denominator(gradient, *square_avg, grad_avg);
        *parameter += self.0.minus_lr * gradient / denominator;
    }
}

impl Formula<3> for RmsProp {
    #[inline(always)]
    fn element(&self, parameter: &mut f32, raw: f32, [square_avg, buffer, grad_avg]: [&mut f32; 3]) {
        let gradient = self.square(*parameter, raw, square_avg);
        let denominator = self.centered_denominator(gradient, *square_avg, grad_avg);
        self.buffered(parameter, gradient, denominator, buffer);
    }
}

/// Factors of Adagrad.
#[derive(Debug, Clone, Copy)]
pub(in crate::engine::optimizer) struct Adagrad {
    pub(in crate::engine::optimizer) gradient: Gradient,
    pub(in crate::engine::optimizer) weight_decay: f32,
    pub(in crate::engine::optimizer) eps: f32,
    /// -lr / (1 + (step - 1) * lr_decay).
    pub(in crate::engine::optimizer) minus_lr: f32,
}

impl Formula<1> for Adagrad {
    /// g = g + weight_decay * p;   s = s + g^2;   p = p - lr_t * g / (sqrt(s) + eps)
    #[inline(always)]
    fn element(&self, parameter: &mut f32, raw: f32, [sum]: [&mut f32; 1]) {
        let gradient = self.gradient.prepare(raw) + self.weight_decay * *parameter;
        *sum += gradient * gradient;
        *parameter += self.minus_lr * gradient / (sum.sqrt() + self.eps);
    }
}

/// Factors of Adadelta.
#[derive(Debug, Clone, Copy)]
pub(in crate::engine::optimizer) struct Adadelta {
    pub(in crate::engine::optimizer) gradient: Gradient,
    pub(in crate::engine::optimizer) weight_decay: f32,
    pub(in crate::engine::optimizer) rho: f32,
    /// 1 - rho.
    pub(in crate::engine::optimizer) fresh: f32,
    pub(in crate::engine::optimizer) eps: f32,
    pub(in crate::engine::optimizer) minus_lr: f32,
}

impl Formula<2> for Adadelta {
    /// g = g + weight_decay * p;   s = rho * s + (1 - rho) * g^2;   d = sqrt(a + eps) / sqrt(s + eps) * g
    ///
    /// a = rho * a + (1 - rho) * d^2;   p = p - lr * d
    #[inline(always)]
    fn element(&self, parameter: &mut f32, raw: f32, [square_avg, acc_delta]: [&mut f32; 2]) {
        let gradient = self.gradient.prepare(raw) + self.weight_decay * *parameter;
        *square_avg = *square_avg * self.rho + self.fresh * gradient * gradient;
        let delta = (*acc_delta + self.eps).sqrt() / (*square_avg + self.eps).sqrt() * gradient;
        *acc_delta = *acc_delta * self.rho + self.fresh * delta * delta;
        *parameter += self.minus_lr * delta;
    }
}
