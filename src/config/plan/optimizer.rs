//! `[optimizer]` and `[ema]`: how parameters are updated.

use std::collections::BTreeMap;

/// How parameters are updated; formulas and defaults are PyTorch's where it has the algorithm.
#[derive(Debug, Clone, PartialEq)]
pub struct OptimizerPlan {
    /// The algorithm.
    pub kind: OptimizerKind,
    /// Learning rate before the schedule.
    pub lr: f64,
    /// Weight decay: added to the gradient by SGD, Adam, RMSprop, Adagrad, Adadelta, NAdam and RAdam, to the step by LAMB,
    /// decoupled elsewhere.
    pub weight_decay: f64,
    /// Name patterns of parameters without weight decay.
    pub no_decay: Vec<String>,
    /// Groups of parameters with a rate or decay of their own, by the name of the group.
    pub groups: BTreeMap<String, ParameterGroup>,
    /// The moving average of the parameters, if one is kept.
    pub ema: Option<EmaPlan>,
}

impl OptimizerPlan {
    /// An optimizer that treats all parameters alike, without weight decay.
    #[must_use]
    pub fn new(kind: OptimizerKind, lr: f64) -> Self {
        Self { kind, lr, weight_decay: 0.0, no_decay: Vec::new(), groups: BTreeMap::new(), ema: None }
    }
}

/// Parameters that are updated with settings of their own.
#[derive(Debug, Clone, PartialEq)]
pub struct ParameterGroup {
    /// Name patterns of its parameters; at least one.
    pub parameters: Vec<String>,
    /// Learning rate before the schedule; `None` means the optimizer's.
    pub lr: Option<f64>,
    /// Weight decay; `None` means the optimizer's.
    pub weight_decay: Option<f64>,
}

/// The exponential moving average of the parameters: `average = decay * average + (1 - decay) * parameter` after each
/// step, and the parameter itself after the first, as `torch.optim.swa_utils.AveragedModel` has it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EmaPlan {
    /// Part of the old average that stays, in `(0, 1)`.
    pub decay: f64,
    /// Whether validation and the exported model take the average instead of the parameters.
    pub is_used: bool,
}

/// The optimizers.
#[derive(Debug, Clone, PartialEq)]
pub enum OptimizerKind {
    /// Stochastic gradient descent.
    Sgd {
        /// Momentum, in `[0, 1)`; 0 means none.
        momentum: f64,
        /// Dampening of momentum.
        dampening: f64,
        /// Nesterov's form of momentum.
        nesterov: bool,
    },
    /// Adam.
    Adam {
        /// Decay rates of the two moments, each in `[0, 1)`.
        betas: (f64, f64),
        /// Added to the denominator.
        eps: f64,
    },
    /// Adam with decoupled weight decay.
    AdamW {
        /// Decay rates of the two moments, each in `[0, 1)`.
        betas: (f64, f64),
        /// Added to the denominator.
        eps: f64,
    },
    /// `torch.optim.RMSprop`.
    RmsProp {
        /// Decay rate of the mean square, in `[0, 1)`.
        alpha: f64,
        /// Added to the denominator.
        eps: f64,
        /// Momentum, in `[0, 1)`; 0 means none.
        momentum: f64,
        /// Whether the variance takes the place of the mean square.
        centered: bool,
    },
    /// `torch.optim.Adagrad`.
    Adagrad {
        /// The rate of step `t` is divided by `1 + (t - 1) * lr_decay`.
        lr_decay: f64,
        /// Added to the denominator.
        eps: f64,
    },
    /// `torch.optim.Adadelta`.
    Adadelta {
        /// Decay rate of the mean squares, in `[0, 1)`.
        rho: f64,
        /// Added to the mean squares.
        eps: f64,
    },
    /// Adam with Nesterov's momentum.
    NAdam {
        /// Decay rates of the two moments, each in `[0, 1)`.
        betas: (f64, f64),
        /// Added to the denominator.
        eps: f64,
        /// How fast the momentum reaches its full value.
        momentum_decay: f64,
        /// Whether weight decay is decoupled from the gradient.
        decoupled_weight_decay: bool,
    },
    /// Adam with a rectified variance.
    RAdam {
        /// Decay rates of the two moments, each in `[0, 1)`.
        betas: (f64, f64),
        /// Added to the denominator.
        eps: f64,
        /// Whether weight decay is decoupled from the gradient.
        decoupled_weight_decay: bool,
    },
    /// Lion (Chen and others, "Symbolic Discovery of Optimization Algorithms", 2023).
    Lion {
        /// Weights of the old momentum in the step and in the new momentum, each in `[0, 1)`.
        betas: (f64, f64),
    },
    /// LAMB (You and others, "Large Batch Optimization for Deep Learning", 2019), with bias correction.
    Lamb {
        /// Decay rates of the two moments, each in `[0, 1)`.
        betas: (f64, f64),
        /// Added to the denominator.
        eps: f64,
    },
    /// `torch.optim.Adafactor`, without a first moment.
    Adafactor {
        /// Step `t` keeps `1 - t^beta2_decay` of the second moment; not above 0.
        beta2_decay: f64,
        /// Lower bound of the second moment's root.
        eps: f64,
        /// Lower bound of the root mean square of a parameter, which the step is relative to.
        relative_eps: f64,
        /// Upper bound of the root mean square of a step before the rate.
        clip_threshold: f64,
    },
    /// `torch.optim.Muon` for matrices, with the iteration in single precision, and AdamW for all other parameters.
    Muon {
        /// Momentum, in `[0, 1)`.
        momentum: f64,
        /// Nesterov's form of momentum.
        nesterov: bool,
        /// Newton-Schulz iterations.
        ns_steps: u32,
        /// How the shape of a matrix changes the rate.
        adjust_lr: AdjustLr,
        /// Decay rates of AdamW.
        betas: (f64, f64),
        /// Added to AdamW's denominator.
        eps: f64,
        /// Name patterns of matrices that AdamW updates all the same.
        adamw_patterns: Vec<String>,
    },
}

/// How Muon's rate depends on the shape `[rows, columns]` of a matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdjustLr {
    /// Times `sqrt(max(1, rows / columns))`.
    Original,
    /// Times `0.2 * sqrt(max(rows, columns))`, so that a step is as long as one of AdamW.
    MatchRmsAdamw,
}
