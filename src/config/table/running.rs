//! Settings of the run as a whole: seed, device, metrics, `[train]`, `[checkpoint]`, `[stop]`, `[memory]`.

use crate::config::differences::Class;
use crate::config::key::DefaultValue::{Always, By, Derived, Unset};
use crate::config::key::{FloatRange, Key, Takes};
use std::ops::Bound;

const EARLY_STOPPING: &str = "train.early_stopping.patience";
const PRECISION: &str = "train.precision";

/// 2 to the 64: far beyond any scale that leaves gradients finite, and far below what float32 holds.
const MAX_INITIAL_SCALE: f64 = 18_446_744_073_709_551_616.0;

pub(super) const TOP: &[Key] = &[
    Key::new(
        "seed",
        "Seed of every random number of the run: initial weights, order of the data, dropout.",
        Takes::from(0),
        Always("0"),
    )
    .also_known_as(&["random_seed", "manual_seed", "random_state"]),
    Key::new(
        "device",
        "Where to compute. \"auto\" takes CUDA if it really starts and the CPU otherwise, and says which.",
        Takes::Device,
        Always("\"auto\""),
    )
    .also_known_as(&["accelerator", "execution_provider"]),
    Key::new(
        "threads",
        "Threads of the one thread pool. Equal bits are promised for an equal number of threads only.",
        Takes::Integer { min: 1, max: 4096 },
        Derived { words: "the cores that this process may use", example: "2" },
    )
    .unit("threads")
    .also_known_as(&["num_threads", "intra_op_num_threads"]),
    Key::new(
        "spin",
        "Whether waiting threads spin, which is faster on a quiet machine, or sleep, which is kinder to a shared \
         one.",
        Takes::Bool,
        Always("true"),
    )
    .class(Class::Free),
    Key::new(
        "metrics",
        "What is measured on the validation data besides the loss; named val_accuracy, val_top5, ... in \
         history.csv. Precision, recall and f1 are means over the classes, or those of yes where there is one logit; \
         with _micro those of all answers together.",
        Takes::Metrics,
        By {
            key: "loss.kind",
            cases: &[
                ("cross_entropy", "[\"accuracy\"]"),
                ("nll", "[\"accuracy\"]"),
                ("bce", "[\"accuracy\"]"),
                ("bce_with_logits", "[\"accuracy\"]"),
                ("mse", "[\"mae\"]"),
                ("l1", "[\"mae\"]"),
                ("huber", "[\"mae\"]"),
                ("smooth_l1", "[\"mae\"]"),
                ("kl_div", "[]"),
                ("cosine", "[]"),
                ("contrastive", "[]"),
                ("output", "[]"),
            ],
            example: "[\"accuracy\"]",
        },
    )
    .class(Class::Free),
];

pub(super) const TRAIN: &[Key] = &[
    Key::new("train.epochs", "Passes over the training examples.", Takes::from(1), Always("30"))
        .unit("epochs")
        .class(Class::Free)
        .also_known_as(&["max_epochs", "num_epochs", "num_train_epochs"]),
    Key::new("train.batch_size", "Examples per update of the parameters.", Takes::from(1), Always("64"))
        .unit("examples"),
    Key::new(
        "train.micro_batch",
        "Examples per gradient computation; the gradients of a batch are accumulated. Smaller needs less memory. \
         \"auto\" finds the most that fit before the first step.",
        Takes::IntegerOr { min: 1, word: "auto" },
        Unset { words: "the whole batch", example: "16" },
    )
    .unit("examples")
    .class(Class::Schedule)
    .also_known_as(&["micro_batch_size", "gradient_accumulation_steps", "accumulate_grad_batches"]),
    Key::new(
        "train.eval_batch_size",
        "Examples per batch of the validation data.",
        Takes::from(1),
        Unset { words: "the batch size", example: "256" },
    )
    .unit("examples")
    .class(Class::Free),
    Key::new(
        "train.eval_every_epochs",
        "Validate after every so many epochs; the last of train.epochs always is. What is watched (the best, early stopping, \
         reduction on a plateau) is looked at in validated epochs alone.",
        Takes::from(1),
        Always("1"),
    )
    .unit("epochs")
    .class(Class::Schedule)
    .also_known_as(&["eval_every", "check_val_every_n_epoch", "eval_steps", "validation_freq"]),
    Key::new(
        "train.clip_norm",
        "Upper bound of the norm of all gradients together, as torch.nn.utils.clip_grad_norm_.",
        Takes::Float(FloatRange::POSITIVE),
        Unset { words: "no bound", example: "1.0" },
    )
    .also_known_as(&["max_grad_norm", "gradient_clip_val", "grad_clip", "clip_grad_norm"]),
    Key::new(
        "train.clip_value",
        "Upper bound of the absolute value of each element of a gradient, as torch.nn.utils.clip_grad_value_.",
        Takes::Float(FloatRange::POSITIVE),
        Unset { words: "no bound", example: "0.5" },
    )
    .also_known_as(&["clip_grad_value"]),
    Key::new(
        "train.max_steps",
        "Stop after this many updates in all, over every start of the run.",
        Takes::from(1),
        Unset { words: "no limit", example: "1000" },
    )
    .unit("steps")
    .class(Class::Free),
    Key::new(
        "train.max_time_s",
        "Stop after this time, counted anew at each start; run again to go on.",
        Takes::Float(FloatRange::POSITIVE),
        Unset { words: "no limit", example: "3600.0" },
    )
    .unit("seconds")
    .class(Class::Free)
    .also_known_as(&["max_time"]),
    Key::new(
        "train.max_refused_steps",
        "Steps in a row refused for a loss or gradient that is not finite, after which the run stops as diverged.",
        Takes::from(1),
        Always("10"),
    )
    .unit("steps")
    .class(Class::Free),
    Key::new(
        PRECISION,
        "With which floats a training step computes: 32 bits, or bfloat16 or float16 in the operators that \
         docs/precision.md lists. Parameters and optimizer state have 32 bits always, as has the exported model.",
        Takes::Choice(&["f32", "bf16", "f16"]),
        Always("\"f32\""),
    )
    .also_known_as(&["mixed_precision", "amp", "dtype", "autocast"]),
    Key::new(
        "train.loss_scale.initial",
        "What the loss is multiplied with at the beginning, so that small gradients do not vanish. It is halved when a \
         gradient overflows; that batch is left out.",
        Takes::Single(FloatRange { min: Bound::Included(1.0), max: Bound::Included(MAX_INITIAL_SCALE) }),
        Always("65536.0"),
    )
    .only_with(PRECISION, &["f16"])
    .also_known_as(&["init_scale", "initial_scale", "initial_scale_power"]),
    Key::new(
        "train.loss_scale.growth_steps",
        "Updates in a row without an overflow after which the loss scale is doubled.",
        Takes::from(1),
        Always("2000"),
    )
    .unit("steps")
    .only_with(PRECISION, &["f16"])
    .class(Class::Schedule)
    .also_known_as(&["growth_interval", "scale_window", "loss_scale_window"]),
    Key::new(
        EARLY_STOPPING,
        "Epochs without improvement of the watched value after which training stops.",
        Takes::from(1),
        Unset { words: "train all epochs", example: "5" },
    )
    .unit("epochs")
    .class(Class::Free),
    Key::new(
        "train.early_stopping.min_delta",
        "Smallest change of the watched value that counts as an improvement.",
        Takes::Float(FloatRange::NOT_NEGATIVE),
        Always("0.0"),
    )
    .only_with(EARLY_STOPPING, &[])
    .class(Class::Free),
    Key::new(
        "train.early_stopping.monitor",
        "The value that is watched, by its name in history.csv: train_loss, val_loss, val_accuracy, ...",
        Takes::Text,
        Derived { words: "\"val_loss\", or \"train_loss\" without validation data", example: "\"val_loss\"" },
    )
    .only_with(EARLY_STOPPING, &[])
    .class(Class::Free),
];

pub(super) const CHECKPOINT: &[Key] = &[
    Key::new(
        "checkpoint.every_epochs",
        "Save after every so many epochs; the last epoch is always saved.",
        Takes::from(1),
        Always("1"),
    )
    .unit("epochs")
    .class(Class::Free)
    .also_known_as(&["every_n_epochs", "save_freq"]),
    Key::new(
        "checkpoint.every_steps",
        "Save after every so many steps as well.",
        Takes::from(1),
        Unset { words: "only at ends of epochs", example: "500" },
    )
    .unit("steps")
    .class(Class::Free)
    .also_known_as(&["save_steps", "every_n_train_steps"]),
    Key::new(
        "checkpoint.every_minutes",
        "Save when so much time has passed since the last checkpoint as well. What is trained does not depend on it.",
        Takes::Float(FloatRange::POSITIVE),
        Unset { words: "not by the clock", example: "10.0" },
    )
    .unit("minutes")
    .class(Class::Free)
    .also_known_as(&["train_time_interval", "save_interval"]),
    Key::new(
        "checkpoint.on_best",
        "Save after each epoch that is the best so far as well. Without it, best.safetensors is the best of the \
         epochs that were saved.",
        Takes::Bool,
        Always("true"),
    )
    .class(Class::Free)
    .also_known_as(&["save_best", "save_best_only"]),
    Key::new(
        "checkpoint.keep_last",
        "How many checkpoints are kept besides the best. Two, so that a damaged one never is the only one.",
        Takes::from(2),
        Always("3"),
    )
    .unit("checkpoints")
    .class(Class::Free)
    .also_known_as(&["save_total_limit", "save_top_k"]),
    Key::new(
        "checkpoint.keep_every_epochs",
        "Keep for good the checkpoint of each epoch whose number is a multiple of this.",
        Takes::from(1),
        Unset { words: "none is kept for good", example: "10" },
    )
    .unit("epochs")
    .class(Class::Free),
    Key::new(
        "checkpoint.keep_every_steps",
        "Keep for good each checkpoint whose step is a multiple of this.",
        Takes::from(1),
        Unset { words: "none is kept for good", example: "10000" },
    )
    .unit("steps")
    .class(Class::Free)
    .also_known_as(&["keep_period"]),
    Key::new(
        "checkpoint.digest_every_steps",
        "Record a digest of the parameters with every so many steps. Steps that are computed again after a resume must \
         give the same; 0 means none.",
        Takes::from(0),
        Always("100"),
    )
    .unit("steps")
    .class(Class::Free),
    Key::new(
        "checkpoint.reserve",
        "Whether a file `ballast` of the size of a checkpoint keeps room for saving on a full disk.",
        Takes::Bool,
        Always("true"),
    )
    .class(Class::Free),
    Key::new(
        "checkpoint.disk_full_timeout_s",
        "How long a run waits for room when the disk is full, before it ends with exit code 74; 0 means not at all.",
        Takes::Float(FloatRange::NOT_NEGATIVE),
        Always("600.0"),
    )
    .unit("seconds")
    .class(Class::Free)
    .also_known_as(&["disk_full_timeout"]),
    Key::new(
        "checkpoint.durability",
        "When records of the journal are forced to the disk: before the next step, at intervals, or with each \
         checkpoint.",
        Takes::Choice(&["step", "interval", "checkpoint"]),
        Always("\"interval\""),
    )
    .class(Class::Free),
    Key::new(
        "checkpoint.interval_s",
        "Longest time for which a record of the journal may be lost to a power failure.",
        Takes::Float(FloatRange::POSITIVE),
        Always("1.0"),
    )
    .unit("seconds")
    .only_with("checkpoint.durability", &["interval"])
    .class(Class::Free),
];

pub(super) const STOP: &[Key] = &[
    Key::new(
        "stop.grace_s",
        "Time after a stop signal within which the state is made durable; then the process leaves with what is \
         durable. Below what the scheduler grants between its signal and its kill.",
        Takes::Float(FloatRange::POSITIVE),
        Always("25.0"),
    )
    .unit("seconds")
    .class(Class::Free)
    .also_known_as(&["grace", "grace_period", "terminationGracePeriodSeconds"]),
    Key::new(
        "stop.usr1",
        "What SIGUSR1 does: save and go on, or save and stop as the other stop signals do (Slurm: \
         --signal=USR1@90).",
        Takes::Choice(&["save", "stop"]),
        Always("\"save\""),
    )
    .class(Class::Free),
];

pub(super) const REPORT: &[Key] = &[
    Key::new(
        "report.tensorboard",
        "Whether the run writes an event file for TensorBoard while it goes on, in the folder `tensorboard` of the work \
         directory. `trainer report --tensorboard` makes it from the journal at any time, so nothing is lost without.",
        Takes::Bool,
        Always("false"),
    )
    .class(Class::Free)
    .also_known_as(&["report_to", "tensorboard", "logger"]),
];

pub(super) const MEMORY: &[Key] = &[
    Key::new(
        "memory.on_oom",
        "What happens when memory for a step can not be had: halve the micro-batch and go on, or save and stop.",
        Takes::Choice(&["shrink", "stop"]),
        Always("\"shrink\""),
    )
    .class(Class::Free),
    Key::new(
        "memory.watch",
        "Whether the limits of control groups and the machine's memory are watched, so that the state is saved before \
         the kernel kills the process.",
        Takes::Bool,
        Always("true"),
    )
    .class(Class::Free),
    Key::new(
        "memory.recompute",
        "Patterns of names of nodes whose outputs are computed again in the backward pass instead of being kept, with \
         the same bits; * stands for any characters, and each text in the place of the first one, up to the next / . or \
         :, for a part of its own.",
        Takes::Texts,
        Always("[]"),
    )
    .class(Class::Free),
    Key::new(
        "memory.budget_mb",
        "What parameters, gradients, the optimizer's state and activations may take, by their shapes: so many \
         activations are computed again in the backward pass that they fit.",
        Takes::Float(FloatRange::POSITIVE),
        Unset { words: "all activations are kept", example: "2000" },
    )
    .unit("MB")
    .class(Class::Free),
];
