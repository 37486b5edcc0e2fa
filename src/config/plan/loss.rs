//! `[loss]`: what is minimised.

use std::collections::BTreeMap;

/// What is minimised: one loss, or a weighted sum of several.
#[derive(Debug, Clone, PartialEq)]
pub struct LossPlan {
    /// The function.
    pub kind: LossKind,
    /// The model output it takes; `None` means the model's only output.
    pub output: Option<String>,
    /// The target it takes; `None` means the only target. Unused by losses without one.
    pub target: Option<String>,
    /// Factor of this loss in the sum.
    pub weight: f64,
    /// What the sum over the examples is divided by.
    pub reduction: Reduction,
    /// The target array with a weight for each example.
    pub sample_weights: Option<String>,
    /// The target array that is 0 at positions which do not count.
    pub mask: Option<String>,
    /// The axis of the output that counts the classes of cross entropy and nll; from the end where it is negative, and never
    /// 0, which counts the examples.
    pub class_axis: i64,
    /// Label smoothing of cross entropy, in `[0, 1)`.
    pub label_smoothing: f64,
    /// A weight per class of cross entropy and nll; empty means all equal.
    pub class_weights: Vec<f64>,
    /// Integer targets with this value do not count (cross entropy, nll).
    pub ignore_index: i64,
    /// Weights of the positive answers of binary cross entropy of logits: one, or one for each element of the last axis.
    /// Empty means 1.
    pub pos_weight: Vec<f64>,
    /// Further losses that are added, by name; they have no further losses themselves.
    pub auxiliary: BTreeMap<String, LossPlan>,
}

impl LossPlan {
    /// This loss alone, of the model's only output against the only target, with PyTorch's defaults.
    #[must_use]
    pub fn new(kind: LossKind) -> Self {
        Self {
            kind,
            output: None,
            target: None,
            weight: 1.0,
            reduction: Reduction::Mean,
            sample_weights: None,
            mask: None,
            class_axis: 1,
            label_smoothing: 0.0,
            class_weights: Vec::new(),
            ignore_index: -100,
            pos_weight: Vec::new(),
            auxiliary: BTreeMap::new(),
        }
    }

    /// This loss and the further ones, each with the table of the settings that it stands in.
    pub fn named_terms(&self) -> impl Iterator<Item = (String, &Self)> {
        let further = self.auxiliary.iter().map(|(name, plan)| (format!("loss.auxiliary.{name}"), plan));
        std::iter::once(("loss".to_owned(), self)).chain(further)
    }

    /// This loss and the further ones.
    pub fn terms(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(self.auxiliary.values())
    }
}

/// The loss functions, named as in `torch.nn.functional`.
#[derive(Debug, Clone, PartialEq)]
pub enum LossKind {
    /// Cross entropy of logits with integer or probability targets; classes on axis 1.
    CrossEntropy,
    /// Negative log likelihood of log-probabilities with integer targets; classes on axis 1.
    Nll,
    /// Mean squared error.
    Mse,
    /// Mean absolute error.
    L1,
    /// Squared up to a distance, absolute beyond.
    Huber {
        /// The distance; above 0.
        delta: f64,
    },
    /// Huber's loss divided by its distance.
    SmoothL1 {
        /// The distance; above 0.
        beta: f64,
    },
    /// Binary cross entropy of probabilities.
    Bce,
    /// Binary cross entropy of logits.
    BceWithLogits,
    /// Kullback-Leibler divergence of log-probabilities from a distribution.
    KlDiv {
        /// Whether the target holds logarithms, too.
        log_target: bool,
    },
    /// 1 minus the cosine between two vectors on axis 1.
    Cosine {
        /// The output with the second vectors, for a target of 1 (alike) and -1 (unlike), or without a target (all are
        /// alike); `None` takes the target for the second vectors.
        other: Option<String>,
        /// Cosine up to which unlike vectors cost nothing, in `[-1, 1]`.
        margin: f64,
    },
    /// InfoNCE: cross entropy of the cosines between all examples of two outputs, of which equal positions belong
    /// together.
    Contrastive {
        /// The output with the second vectors.
        other: String,
        /// What the cosines are divided by; above 0.
        temperature: f64,
        /// Whether the mean of both directions is taken.
        symmetric: bool,
    },
    /// The model's output is the loss itself (a scalar, averaged over the batch by the model).
    Output,
}

impl LossKind {
    /// Its name in the settings.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::CrossEntropy => "cross_entropy",
            Self::Nll => "nll",
            Self::Mse => "mse",
            Self::L1 => "l1",
            Self::Huber { .. } => "huber",
            Self::SmoothL1 { .. } => "smooth_l1",
            Self::Bce => "bce",
            Self::BceWithLogits => "bce_with_logits",
            Self::KlDiv { .. } => "kl_div",
            Self::Cosine { .. } => "cosine",
            Self::Contrastive { .. } => "contrastive",
            Self::Output => "output",
        }
    }

    /// The second output that the loss takes, if it takes one.
    #[must_use]
    pub fn other_output(&self) -> Option<&str> {
        match self {
            Self::Cosine { other, .. } => other.as_deref(),
            Self::Contrastive { other, .. } => Some(other),
            _ => None,
        }
    }

    /// Whether the loss compares with a target: it must, it may, it does not.
    #[must_use]
    pub fn target(&self) -> TargetUse {
        match self {
            Self::Output | Self::Contrastive { .. } => TargetUse::Never,
            Self::Cosine { other: Some(_), .. } => TargetUse::IfNamed,
            _ => TargetUse::Always,
        }
    }

    /// Whether integer targets are classes, with one element per example and position.
    #[must_use]
    pub fn takes_labels(&self) -> bool {
        matches!(self, Self::CrossEntropy | Self::Nll)
    }
}

/// Whether a loss compares with a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetUse {
    /// It needs one.
    Always,
    /// It takes one if the settings name it.
    IfNamed,
    /// It has none.
    Never,
}

/// What the sum of a loss is divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reduction {
    /// The number of elements, or the sum of their weights.
    Mean,
    /// 1.
    Sum,
    /// The number of examples.
    BatchMean,
}
