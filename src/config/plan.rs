//! The checked settings of one run. Everything after `config` reads only this.

use super::interruption::{MemoryPlan, MicroBatch, StopPlan};
use std::collections::BTreeMap;
use std::path::PathBuf;

mod data;
mod loss;
mod mlflow;
mod model;
mod optimizer;

pub use data::{Crop, ImagesPlan, TokenType, TokensPlan};
pub use loss::{LossKind, LossPlan, Reduction, TargetUse};
pub use mlflow::MlflowPlan;
pub use model::{Builtin, Init, ModelPlan, ModelSource, Rename, WeightsPlan};
pub use optimizer::{AdjustLr, EmaPlan, OptimizerKind, OptimizerPlan, ParameterGroup};

/// All settings of a run, checked and complete: no value is left to be guessed later.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Seed of every random number of the run.
    pub seed: u64,
    /// Where to compute.
    pub device: Device,
    /// Threads of the one thread pool; at least 1.
    pub threads: usize,
    /// Whether waiting threads spin (faster on a quiet machine) or sleep (kinder to a shared one).
    pub spin: bool,
    /// The model.
    pub model: ModelPlan,
    /// The data.
    pub data: DataPlan,
    /// What is minimised.
    pub loss: LossPlan,
    /// What is measured on the validation data besides the loss.
    pub metrics: Vec<Metric>,
    /// How parameters are updated.
    pub optimizer: OptimizerPlan,
    /// How the learning rate moves.
    pub schedule: SchedulePlan,
    /// How long and in which portions.
    pub train: TrainPlan,
    /// What is saved and when.
    pub checkpoint: CheckpointPlan,
    /// What signals do.
    pub stop: StopPlan,
    /// How the run deals with memory.
    pub memory: MemoryPlan,
    /// What the run writes for other programs.
    pub report: ReportPlan,
    /// Where the run is told to.
    pub mlflow: MlflowPlan,
}

/// What a run writes for other programs while it goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportPlan {
    /// Whether it writes an event file for TensorBoard.
    pub tensorboard: bool,
}

/// Where a run computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// CUDA if it really starts, otherwise the CPU; the choice is announced.
    Auto,
    /// The CPU execution provider.
    Cpu,
    /// The CUDA execution provider on the device with this ordinal.
    Cuda(u32),
}

/// The training and validation data.
#[derive(Debug, Clone, PartialEq)]
pub struct DataPlan {
    /// Where the examples come from.
    pub source: DataSource,
    /// Part of the training examples set aside for validation, drawn by the seed; in `(0, 1)`.
    /// Only without a validation file.
    pub validation_fraction: Option<f64>,
    /// Whether each epoch sees the examples in an order of its own.
    pub shuffle: bool,
    /// Whether a last batch smaller than the batch size is left out.
    pub drop_last: bool,
    /// Model input name -> array of the data.
    pub inputs: BTreeMap<String, ArrayMap>,
    /// Target name (used by the loss) -> array of the data.
    pub targets: BTreeMap<String, ArrayMap>,
}

/// Where examples come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DataSource {
    /// The embedded 8x8 handwritten digits: array `images` (f32, 1x8x8, 0 to 1) and `labels` (i64).
    Digits,
    /// Files of the user.
    Files {
        /// The file with the training examples; absent if every array names its own file.
        train: Option<PathBuf>,
        /// The file with the validation examples.
        validation: Option<PathBuf>,
    },
    /// Tokens: array `tokens` with a window, and `next` with the token behind each of it.
    Tokens(TokensPlan),
    /// Images in folders: array `images` (u8, channels x height x width) and `labels` (i64, by the order of the folders).
    Images(ImagesPlan),
}

/// Which array feeds one input or target, and how its values are scaled: `(value * scale - mean) / std`.
#[derive(Debug, Clone, PartialEq)]
pub struct ArrayMap {
    /// Name of the array inside an `.npz` file or of the column of a `.csv` file.
    pub array: Option<String>,
    /// Columns of a `.csv` file that together form one array, in this order.
    pub columns: Vec<String>,
    /// A file of its own for this array (`.npy`, IDX), instead of the one of the data source.
    pub file: Option<PathBuf>,
    /// The same for the validation examples.
    pub validation_file: Option<PathBuf>,
    /// Factor applied first.
    pub scale: f32,
    /// Subtracted second: one value, or one per channel (axis 1 of the batch). Empty means 0.
    pub mean: Vec<f32>,
    /// Divided by last: one value, or one per channel (axis 1 of the batch). Empty means 1.
    pub std: Vec<f32>,
}

impl ArrayMap {
    /// The array of this name as it is stored, without scaling; `None` for the only array of its file.
    pub fn stored(array: Option<&str>) -> Self {
        Self {
            array: array.map(str::to_owned),
            columns: Vec::new(),
            file: None,
            validation_file: None,
            scale: 1.0,
            mean: Vec::new(),
            std: Vec::new(),
        }
    }
}

impl DataPlan {
    /// The target that a loss takes if it names none: the only one that no loss takes for weights or a mask.
    #[must_use]
    pub fn only_target(&self, loss: &LossPlan) -> Option<&str> {
        let is_factor = |name: &String| {
            loss.terms()
                .any(|term| [&term.sample_weights, &term.mask].into_iter().flatten().any(|at| at == name))
        };
        let mut names = self.targets.keys().filter(|name| !is_factor(name));
        let only = names.next()?;
        names.next().is_none().then_some(only.as_str())
    }

    /// Whether there are validation examples: a fixed part, a fraction, or files.
    pub fn has_validation(&self) -> bool {
        let arrays = || self.inputs.values().chain(self.targets.values());
        match &self.source {
            DataSource::Digits => true,
            DataSource::Tokens(TokensPlan { validation, .. })
            | DataSource::Images(ImagesPlan { validation, .. }) => {
                validation.is_some() || self.validation_fraction.is_some()
            }
            DataSource::Files { validation, .. } => {
                validation.is_some()
                    || self.validation_fraction.is_some()
                    || arrays().any(|map| map.validation_file.is_some())
            }
        }
    }
}

/// What is measured on the validation data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// Part of the examples whose largest logit is the target (or, with one logit, on the right side of 0).
    Accuracy,
    /// Part of the examples whose target is among the `k` largest logits.
    TopK(usize),
    /// Mean absolute error.
    Mae,
    /// Right answers among those that name a class.
    Precision(Average),
    /// Right answers among the examples of a class.
    Recall(Average),
    /// Harmonic mean of precision and recall.
    F1(Average),
    /// Area under the receiver operating characteristic; of several classes the mean of each against the rest.
    Auroc,
    /// `e` to the mean negative log-probability of the target.
    Perplexity,
    /// Coefficient of determination.
    R2,
}

/// How a score of a class becomes one of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Average {
    /// The mean over the classes that occur; with one logit the score of yes.
    Macro,
    /// The score of all answers together.
    Micro,
}

/// How the learning rate moves.
#[derive(Debug, Clone, PartialEq)]
pub struct SchedulePlan {
    /// The shape after warm-up.
    pub kind: ScheduleKind,
    /// Steps over which the rate rises linearly from `warmup_start` times the rate to the full rate; 0 means none.
    pub warmup_steps: u64,
    /// Factor at the first step of warm-up, in `(0, 1]`.
    pub warmup_start: f64,
    /// Whether the shape advances per step or per epoch.
    pub unit: ScheduleUnit,
}

/// What a schedule counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScheduleUnit {
    /// Optimizer updates.
    Step,
    /// Epochs.
    Epoch,
}

/// The shapes of a schedule, as in `torch.optim.lr_scheduler`.
#[derive(Debug, Clone, PartialEq)]
pub enum ScheduleKind {
    /// The learning rate of the optimizer.
    Constant,
    /// `StepLR`.
    Step {
        /// Units between two decays; at least 1.
        step_size: u64,
        /// Factor of a decay.
        gamma: f64,
    },
    /// `MultiStepLR`.
    MultiStep {
        /// Units after which the rate decays, ascending.
        milestones: Vec<u64>,
        /// Factor of a decay.
        gamma: f64,
    },
    /// `ExponentialLR`.
    Exponential {
        /// Factor per unit.
        gamma: f64,
    },
    /// `CosineAnnealingLR`.
    Cosine {
        /// Units from the full rate to `eta_min`; `None` means the whole run after warm-up.
        t_max: Option<u64>,
        /// Rate at the end.
        eta_min: f64,
    },
    /// `OneCycleLR` with cosine annealing; its own warm-up, the optimizer's rate is its maximum.
    OneCycle {
        /// Part of the run in which the rate rises, in `(0, 1)`.
        pct_start: f64,
        /// The rate starts at the maximum divided by this.
        div_factor: f64,
        /// The rate ends at the start rate divided by this.
        final_div_factor: f64,
    },
    /// `PolynomialLR`.
    Polynomial {
        /// Exponent.
        power: f64,
        /// Units until zero; `None` means the whole run after warm-up.
        total: Option<u64>,
    },
    /// `ReduceLROnPlateau` on the validation loss (or the training loss where there is no validation data).
    ReduceOnPlateau {
        /// Factor of a reduction, in `(0, 1)`.
        factor: f64,
        /// Epochs without improvement that are accepted.
        patience: u64,
        /// Relative improvement that counts.
        threshold: f64,
        /// Epochs after a reduction in which nothing is counted.
        cooldown: u64,
        /// Lower bound of the rate.
        min_lr: f64,
    },
}

/// With which floats a training step computes. Parameters, optimizer state and running statistics have 32 bits always.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum Precision {
    /// 32 bits everywhere.
    #[default]
    F32,
    /// bfloat16 where the operators allow it.
    Bf16,
    /// IEEE 754 binary16 where the operators allow it, with a scale that keeps the gradients in its range.
    F16(LossScalePlan),
}

/// How the loss scale moves, as `torch.amp.GradScaler` moves it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LossScalePlan {
    /// Scale at the beginning of the run; at least 1.
    pub initial: f32,
    /// Updates in a row without an overflow after which the scale is doubled; at least 1.
    pub growth_steps: u64,
}

/// How long to train and in which portions.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainPlan {
    /// Epochs; at least 1.
    pub epochs: u64,
    /// Examples per optimizer update; at least 1.
    pub batch_size: usize,
    /// Examples per gradient computation; gradients of a batch are accumulated.
    pub micro_batch: MicroBatch,
    /// Examples per validation batch; `None` means the batch size.
    pub eval_batch_size: Option<usize>,
    /// Epochs from one validation to the next; at least 1. The last epoch is always validated.
    pub eval_every_epochs: u64,
    /// Upper bound of the global gradient norm.
    pub clip_norm: Option<f64>,
    /// Upper bound of the absolute value of each gradient element.
    pub clip_value: Option<f64>,
    /// Stop after this many updates in all.
    pub max_steps: Option<u64>,
    /// Stop after this many seconds of this process.
    pub max_time_s: Option<f64>,
    /// Stop when a metric no longer improves.
    pub early_stopping: Option<EarlyStopping>,
    /// Consecutive refused (non-finite) steps after which the run stops as diverged; at least 1.
    pub max_refused_steps: u64,
    /// With which floats a step computes.
    pub precision: Precision,
}

/// When to stop early.
#[derive(Debug, Clone, PartialEq)]
pub struct EarlyStopping {
    /// Epochs without improvement after which training stops; at least 1.
    pub patience: u64,
    /// Smallest change that counts as an improvement.
    pub min_delta: f64,
    /// What is watched: `val_loss`, `val_accuracy`, ... as named in `history.csv`.
    pub monitor: String,
}

/// What is saved and when.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckpointPlan {
    /// Save after every so many epochs; at least 1.
    pub every_epochs: u64,
    /// Save after every so many steps as well.
    pub every_steps: Option<u64>,
    /// Save when so many minutes have passed since the last checkpoint as well.
    pub every_minutes: Option<f64>,
    /// Save after each epoch that is the best so far as well.
    pub on_best: bool,
    /// How many checkpoints are kept besides the best; at least 2.
    pub keep_last: usize,
    /// Keep for good the checkpoint of every so many epochs.
    pub keep_every_epochs: Option<u64>,
    /// Keep for good the checkpoints whose step is a multiple of this.
    pub keep_every_steps: Option<u64>,
    /// Record a digest of the parameters with every so many steps; 0 for none.
    pub digest_every_steps: u64,
    /// Whether room for one checkpoint and the journal is reserved.
    pub reserve: bool,
    /// How long a run waits for room on a full disk.
    pub disk_full_timeout_s: f64,
    /// When journal records are made durable.
    pub durability: Durability,
}

/// When journal records are made durable.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Durability {
    /// Before the next step starts.
    Step,
    /// At least every so many seconds.
    Interval(f64),
    /// With each checkpoint.
    Checkpoint,
}
