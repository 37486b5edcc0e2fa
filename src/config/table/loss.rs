//! Settings of `[loss]`. Names and defaults are those of PyTorch.

use crate::config::key::DefaultValue::{Always, Derived, Required, Unset};
use crate::config::key::{FloatRange, Key, Takes};
use std::ops::Bound;

const KIND: &str = "loss.kind";

const KINDS: Takes = Takes::Choice(&[
    "cross_entropy",
    "nll",
    "mse",
    "l1",
    "huber",
    "smooth_l1",
    "bce",
    "bce_with_logits",
    "kl_div",
    "cosine",
    "contrastive",
    "output",
]);

/// What compares with a target.
const WITH_TARGET: &[&str] = &[
    "cross_entropy",
    "nll",
    "mse",
    "l1",
    "huber",
    "smooth_l1",
    "bce",
    "bce_with_logits",
    "kl_div",
    "cosine",
];

const COSINE_RANGE: FloatRange = FloatRange { min: Bound::Included(-1.0), max: Bound::Included(1.0) };

/// A row that `[loss]` and its further losses share; without a choice it belongs to `[loss.auxiliary.<name>]`, where the
/// plan checks which loss takes it.
macro_rules! shared_keys {
    ($table:literal) => {
        [
            Key::new(
                concat!($table, ".output"),
                "The output of the model that the loss takes.",
                Takes::Text,
                Unset { words: "the model's only output", example: "\"logits\"" },
            ),
            Key::new(
                concat!($table, ".target"),
                "The target of [data] that the loss takes.",
                Takes::Text,
                Unset { words: "the only target", example: "\"y\"" },
            ),
            Key::new(
                concat!($table, ".weight"),
                "Factor of this loss in the sum of all.",
                Takes::Float(FloatRange::NOT_NEGATIVE),
                Always("1.0"),
            ),
            Key::new(
                concat!($table, ".reduction"),
                "What the sum over the examples is divided by: with \"mean\" the number of elements or the sum of their \
                 weights, with \"batchmean\" the number of examples (kl_div), with \"sum\" nothing.",
                Takes::Choice(&["mean", "sum", "batchmean"]),
                Always("\"mean\""),
            ),
            Key::new(
                concat!($table, ".sample_weights"),
                "The target of [data] with a weight for each example, or example and position, which also counts in the \
                 mean.",
                Takes::Text,
                Unset { words: "all examples weigh alike", example: "\"w\"" },
            ),
            Key::new(
                concat!($table, ".mask"),
                "The target of [data] that is 0 at positions which do not count, such as the padding of sequences.",
                Takes::Text,
                Unset { words: "all positions count", example: "\"mask\"" },
            ),
            Key::new(
                concat!($table, ".class_axis"),
                "The axis of the output that counts the classes: 1 as in PyTorch's losses, -1 for the last, as language models \
                 have it.",
                Takes::Integer { min: -16, max: 16 },
                Always("1"),
            ),
            Key::new(
                concat!($table, ".label_smoothing"),
                "Part of the probability that is spread over all classes.",
                Takes::Float(FloatRange::BELOW_ONE),
                Always("0.0"),
            ),
            Key::new(
                concat!($table, ".class_weights"),
                "A weight for each class, in the order of the classes; an empty array weighs all alike.",
                Takes::Floats(FloatRange::NOT_NEGATIVE),
                Always("[]"),
            ),
            Key::new(
                concat!($table, ".ignore_index"),
                "Integer targets with this value do not count.",
                Takes::Integer { min: i64::MIN as i128, max: i64::MAX as i128 },
                Always("-100"),
            ),
            Key::new(
                concat!($table, ".pos_weight"),
                "Weight of positive answers: one number, or one for each element of the last axis of the output; an empty \
                 array means 1.",
                Takes::Floats(FloatRange::NOT_NEGATIVE),
                Always("[]"),
            ),
            Key::new(
                concat!($table, ".delta"),
                "Distance up to which huber is a square.",
                Takes::Float(FloatRange::POSITIVE),
                Always("1.0"),
            ),
            Key::new(
                concat!($table, ".beta"),
                "Distance up to which smooth_l1 is a square.",
                Takes::Float(FloatRange::POSITIVE),
                Always("1.0"),
            ),
            Key::new(
                concat!($table, ".log_target"),
                "Whether the target of kl_div holds logarithms of probabilities.",
                Takes::Bool,
                Always("false"),
            ),
            Key::new(
                concat!($table, ".other_output"),
                "The output with the second vectors. cosine then takes a target of 1 (alike) and -1 (unlike) if loss.target \
                 names one.",
                Takes::Text,
                Derived {
                    words: "with cosine, the target holds the second vectors; contrastive needs it",
                    example: "\"other\"",
                },
            ),
            Key::new(
                concat!($table, ".margin"),
                "Cosine up to which unlike vectors cost nothing.",
                Takes::Float(COSINE_RANGE),
                Always("0.0"),
            ),
            Key::new(
                concat!($table, ".temperature"),
                "What contrastive divides the cosines by. Pairs are compared within one gradient computation: \
                 train.micro_batch makes them fewer.",
                Takes::Float(FloatRange::POSITIVE),
                Always("0.07"),
            ),
            Key::new(
                concat!($table, ".symmetric"),
                "Whether contrastive takes the mean of both directions.",
                Takes::Bool,
                Always("false"),
            ),
        ]
    };
}

const FIRST: [Key; 18] = shared_keys!("loss");
const FURTHER: [Key; 18] = shared_keys!("loss.auxiliary.<name>");

const FIRST_KIND: Key = Key::new(
    KIND,
    "What is minimised, averaged over the examples: the losses of torch.nn.functional, cosine_embedding_loss as \
     \"cosine\", and InfoNCE as \"contrastive\". \"output\" takes an output of the model as the loss itself.",
    KINDS,
    Always("\"cross_entropy\""),
);

const FURTHER_KIND: Key = Key::new(
    "loss.auxiliary.<name>.kind",
    "A further loss, which is added; it takes the same settings. Metrics look at the first loss, [loss].",
    KINDS,
    Required { example: "\"mse\"" },
);

pub(super) const LOSS: &[Key] = &{
    let [
        output,
        target,
        weight,
        reduction,
        sample_weights,
        mask,
        class_axis,
        label_smoothing,
        class_weights,
        ignore_index,
        pos_weight,
        delta,
        beta,
        log_target,
        other_output,
        margin,
        temperature,
        symmetric,
    ] = FIRST;
    let [a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15, a16, a17] = FURTHER;
    const CROSS_ENTROPY: &[&str] = &["cross_entropy"];
    const LABELS: &[&str] = &["cross_entropy", "nll"];
    [
        FIRST_KIND,
        output,
        target.only_with(KIND, WITH_TARGET),
        weight,
        reduction.only_with(KIND, WITH_TARGET),
        sample_weights.only_with(KIND, WITH_TARGET),
        mask.only_with(KIND, WITH_TARGET),
        class_axis.only_with(KIND, LABELS),
        label_smoothing.only_with(KIND, CROSS_ENTROPY),
        class_weights.only_with(KIND, LABELS).also_known_as(&["weights"]),
        ignore_index.only_with(KIND, LABELS),
        pos_weight.only_with(KIND, &["bce_with_logits"]),
        delta.only_with(KIND, &["huber"]),
        beta.only_with(KIND, &["smooth_l1"]),
        log_target.only_with(KIND, &["kl_div"]),
        other_output.only_with(KIND, &["cosine", "contrastive"]),
        margin.only_with(KIND, &["cosine"]),
        temperature.only_with(KIND, &["contrastive"]),
        symmetric.only_with(KIND, &["contrastive"]),
        FURTHER_KIND,
        a0,
        a1,
        a2,
        a3,
        a4,
        a5,
        a6,
        a7,
        a8,
        a9,
        a10,
        a11,
        a12,
        a13,
        a14,
        a15,
        a16,
        a17,
    ]
};
