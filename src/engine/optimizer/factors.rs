//! The factors of a formula that depend on the number of the step alone, in `f64`.

use crate::config::OptimizerKind;

/// Three numbers, whose meaning depends on the algorithm; the same for the loop over host memory and for the session on
/// a device (`graph::update::SCALARS`). Those that an algorithm does not use are 1.
///
/// | algorithm | first | second | third |
/// |---|---|---|---|
/// | SGD | factor of the new gradient in the momentum buffer | | |
/// | Adam, AdamW, LAMB, and Muon for what AdamW updates | `1 - beta1^t` | `sqrt(1 - beta2^t)` | |
/// | NAdam | `(1 - mu_t) / (1 - mu_1 ... mu_t)` | `mu_(t+1) / (1 - mu_1 ... mu_(t+1))` | `1 - beta2^t` |
/// | RAdam | `1 - beta1^t` | `sqrt(1 - beta2^t)` times the rectification | 1 if there is one, else 0 |
/// | Adagrad | `1 / (1 + (t - 1) lr_decay)` | | |
/// | Adafactor | `t^beta2_decay` | `1 / sqrt(t)` | |
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepFactors {
    /// See the table.
    pub first: f64,
    /// See the table.
    pub second: f64,
    /// See the table.
    pub third: f64,
}

/// The factors of update `step`, counted from 1.
#[must_use]
pub fn step_factors(kind: &OptimizerKind, step: u64) -> StepFactors {
    let t = step as f64;
    let (first, second, third) = match kind {
        // PyTorch takes the first gradient as the first momentum buffer, undampened.
        OptimizerKind::Sgd { dampening, .. } => (if step <= 1 { 1.0 } else { 1.0 - dampening }, 1.0, 1.0),
        OptimizerKind::Adam { betas, .. }
        | OptimizerKind::AdamW { betas, .. }
        | OptimizerKind::Lamb { betas, .. }
        | OptimizerKind::Muon { betas, .. } => (1.0 - betas.0.powf(t), (1.0 - betas.1.powf(t)).sqrt(), 1.0),
        OptimizerKind::NAdam { betas, momentum_decay, .. } => nadam(*betas, *momentum_decay, step),
        OptimizerKind::RAdam { betas, .. } => radam(*betas, t),
        OptimizerKind::Adagrad { lr_decay, .. } => (1.0 / (1.0 + (t - 1.0) * lr_decay), 1.0, 1.0),
        OptimizerKind::Adafactor { beta2_decay, .. } => (t.powf(*beta2_decay), 1.0 / t.sqrt(), 1.0),
        OptimizerKind::RmsProp { .. } | OptimizerKind::Adadelta { .. } | OptimizerKind::Lion { .. } => {
            (1.0, 1.0, 1.0)
        }
    };
    StepFactors { first, second, third }
}

/// mu_t = beta1 (1 - 0.96^(t momentum_decay) / 2)
fn nadam((beta1, beta2): (f64, f64), momentum_decay: f64, step: u64) -> (f64, f64, f64) {
    let mu = |t: u64| beta1 * (1.0 - 0.5 * 0.96_f64.powf(t as f64 * momentum_decay));
    // Below this, 1 minus the product is 1, so the rest of the product need not be known.
    let is_felt = |product: &f64| *product > f64::EPSILON / 4.0;
    let product = (1..=step)
        .scan(1.0, |product, t| {
            *product *= mu(t);
            Some(*product)
        })
        .take_while(is_felt)
        .enumerate()
        .last();
    let product = product.filter(|(at, _)| *at as u64 + 1 == step).map_or(0.0, |(_, product)| product);
    let (now, next) = (mu(step), mu(step.saturating_add(1)));
    let first = (1.0 - now) / (1.0 - product);
    (first, next / (1.0 - product * next), 1.0 - beta2.powf(step as f64))
}

/// L. Liu and others, "On the Variance of the Adaptive Learning Rate and Beyond", 2019.
fn radam((beta1, beta2): (f64, f64), t: f64) -> (f64, f64, f64) {
    let bias_correction2 = 1.0 - beta2.powf(t);
    let rho_inf = 2.0 / (1.0 - beta2) - 1.0;
    let rho = rho_inf - 2.0 * t * beta2.powf(t) / bias_correction2;
    if rho <= 5.0 {
        return (1.0 - beta1.powf(t), 1.0, 0.0);
    }
    let rectification =
        ((rho - 4.0) * (rho - 2.0) * rho_inf / ((rho_inf - 4.0) * (rho_inf - 2.0) * rho)).sqrt();
    (1.0 - beta1.powf(t), bias_correction2.sqrt() * rectification, 1.0)
}

#[cfg(test)]
mod tests {
    use super::step_factors;
    use crate::config::OptimizerKind;

    #[test]
    fn the_product_of_momenta_is_the_whole_product_however_late_the_step() {
        let kind = OptimizerKind::NAdam {
            betas: (0.9, 0.999),
            eps: 1e-8,
            momentum_decay: 4e-3,
            decoupled_weight_decay: false,
        };
        let mu = |t: u64| 0.9 * (1.0 - 0.5 * 0.96_f64.powf(t as f64 * 4e-3));
        for step in [1, 2, 10, 40, 50, 60, 1000, 1_000_000] {
            let product: f64 = (1..=step).map(mu).product();
            let found = step_factors(&kind, step);
            assert_eq!(found.first, (1.0 - mu(step)) / (1.0 - product), "step {step}");
            assert_eq!(found.second, mu(step + 1) / (1.0 - product * mu(step + 1)), "step {step}");
        }
    }
}
