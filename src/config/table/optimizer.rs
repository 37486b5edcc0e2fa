//! Settings of `[optimizer]` and `[ema]`. Names and defaults are those of PyTorch where it has the algorithm.

use crate::config::key::DefaultValue::{Always, By, ByOrModel, Required, Unset};
use crate::config::key::{FloatRange, Key, Takes};

const KIND: &str = "optimizer.kind";
const EMA_DECAY: &str = "ema.decay";

pub(super) const OPTIMIZER: &[Key] = &[
    Key::new(
        KIND,
        "How parameters are updated: SGD, Adam, AdamW, RMSprop, Adagrad, Adadelta, NAdam, RAdam and Adafactor of \
         torch.optim, Lion, LAMB, and Muon, which updates matrices and leaves all other parameters to AdamW.",
        Takes::Choice(&[
            "sgd", "adam", "adamw", "rmsprop", "adagrad", "adadelta", "nadam", "radam", "lion", "lamb",
            "adafactor", "muon",
        ]),
        Always("\"adamw\""),
    ),
    Key::new(
        "optimizer.lr",
        "Learning rate before the schedule; the highest rate of one_cycle.",
        Takes::Float(FloatRange::POSITIVE),
        ByOrModel {
            key: KIND,
            cases: &[
                ("rmsprop", "0.01"),
                ("adagrad", "0.01"),
                ("adadelta", "1.0"),
                ("nadam", "0.002"),
                ("lion", "1e-4"),
                ("adafactor", "0.01"),
            ],
            builtin: "0.003",
            onnx: "0.001",
        },
    )
    .also_known_as(&["learning_rate", "max_lr"]),
    Key::new(
        "optimizer.weight_decay",
        "Weight decay: decoupled from the gradient in adamw, lion, adafactor and muon, part of the step in lamb, added to \
         the gradient elsewhere.",
        Takes::Float(FloatRange::NOT_NEGATIVE),
        By {
            key: KIND,
            cases: &[
                ("sgd", "0.0"),
                ("adam", "0.0"),
                ("rmsprop", "0.0"),
                ("adagrad", "0.0"),
                ("adadelta", "0.0"),
                ("nadam", "0.0"),
                ("radam", "0.0"),
                ("lion", "0.0"),
                ("adafactor", "0.0"),
                ("adamw", "0.01"),
                ("lamb", "0.01"),
                ("muon", "0.1"),
            ],
            example: "0.01",
        },
    )
    .also_known_as(&["wd", "l2"]),
    Key::new(
        "optimizer.no_decay",
        "Patterns of names of parameters without weight decay; * stands for any characters.",
        Takes::Texts,
        Always("[]"),
    ),
    Key::new(
        "optimizer.momentum",
        "Momentum; 0 means none.",
        Takes::Float(FloatRange::BELOW_ONE),
        By { key: KIND, cases: &[("sgd", "0.0"), ("rmsprop", "0.0"), ("muon", "0.95")], example: "0.9" },
    )
    .only_with(KIND, &["sgd", "rmsprop", "muon"]),
    Key::new(
        "optimizer.dampening",
        "Dampening of momentum.",
        Takes::Float(FloatRange::NOT_NEGATIVE),
        Always("0.0"),
    )
    .only_with(KIND, &["sgd"]),
    Key::new(
        "optimizer.nesterov",
        "Nesterov's form of momentum; in sgd it needs momentum above 0 and dampening 0.",
        Takes::Bool,
        By { key: KIND, cases: &[("sgd", "false"), ("muon", "true")], example: "true" },
    )
    .only_with(KIND, &["sgd", "muon"]),
    Key::new(
        "optimizer.betas",
        "Decay rates of the running means of the gradient and of its square; in lion, weights of the old momentum in the \
         step and in the new momentum.",
        Takes::FloatPair(FloatRange::BELOW_ONE),
        By {
            key: KIND,
            cases: &[
                ("adam", "[0.9, 0.999]"),
                ("adamw", "[0.9, 0.999]"),
                ("nadam", "[0.9, 0.999]"),
                ("radam", "[0.9, 0.999]"),
                ("lamb", "[0.9, 0.999]"),
                ("muon", "[0.9, 0.999]"),
                ("lion", "[0.9, 0.99]"),
            ],
            example: "[0.9, 0.999]",
        },
    )
    .only_with(KIND, &["adam", "adamw", "nadam", "radam", "lion", "lamb", "muon"])
    .also_known_as(&["beta1", "beta2"]),
    Key::new(
        "optimizer.eps",
        "Added to the denominator, so that it is not 0; in adafactor, lower bound of the denominator.",
        Takes::Float(FloatRange::NOT_NEGATIVE),
        By {
            key: KIND,
            cases: &[
                ("adam", "1e-8"),
                ("adamw", "1e-8"),
                ("nadam", "1e-8"),
                ("radam", "1e-8"),
                ("rmsprop", "1e-8"),
                ("muon", "1e-8"),
                ("adagrad", "1e-10"),
                ("adadelta", "1e-6"),
                ("lamb", "1e-6"),
                ("adafactor", "1.1920929e-7"),
            ],
            example: "1e-8",
        },
    )
    .only_with(
        KIND,
        &[
            "adam", "adamw", "rmsprop", "adagrad", "adadelta", "nadam", "radam", "lamb", "adafactor", "muon",
        ],
    )
    .also_known_as(&["epsilon"]),
    Key::new(
        "optimizer.alpha",
        "Decay rate of the mean square.",
        Takes::Float(FloatRange::BELOW_ONE),
        Always("0.99"),
    )
    .only_with(KIND, &["rmsprop"]),
    Key::new(
        "optimizer.centered",
        "Whether the variance of the gradient takes the place of its mean square.",
        Takes::Bool,
        Always("false"),
    )
    .only_with(KIND, &["rmsprop"]),
    Key::new(
        "optimizer.lr_decay",
        "The rate of step t is divided by 1 + (t - 1) times this.",
        Takes::Float(FloatRange::NOT_NEGATIVE),
        Always("0.0"),
    )
    .only_with(KIND, &["adagrad"]),
    Key::new(
        "optimizer.rho",
        "Decay rate of the mean squares of gradient and change.",
        Takes::Float(FloatRange::BELOW_ONE),
        Always("0.9"),
    )
    .only_with(KIND, &["adadelta"]),
    Key::new(
        "optimizer.momentum_decay",
        "How fast the momentum reaches its full value.",
        Takes::Float(FloatRange::NOT_NEGATIVE),
        Always("0.004"),
    )
    .only_with(KIND, &["nadam"]),
    Key::new(
        "optimizer.decoupled_weight_decay",
        "Whether weight decay acts on the parameter, as in adamw, instead of on the gradient.",
        Takes::Bool,
        Always("false"),
    )
    .only_with(KIND, &["nadam", "radam"]),
    Key::new(
        "optimizer.beta2_decay",
        "Step t keeps 1 - t^beta2_decay of the mean square of the gradient.",
        Takes::Float(FloatRange::NOT_POSITIVE),
        Always("-0.8"),
    )
    .only_with(KIND, &["adafactor"]),
    Key::new(
        "optimizer.relative_eps",
        "The step is relative to the root mean square of the parameter, but at least to this.",
        Takes::Float(FloatRange::NOT_NEGATIVE),
        Always("0.001"),
    )
    .only_with(KIND, &["adafactor"]),
    Key::new(
        "optimizer.clip_threshold",
        "Upper bound of the root mean square of a parameter's step before the rate.",
        Takes::Float(FloatRange::FROM_ONE),
        Always("1.0"),
    )
    .only_with(KIND, &["adafactor"]),
    Key::new(
        "optimizer.ns_steps",
        "Newton-Schulz iterations that make a step orthogonal.",
        Takes::Integer { min: 1, max: 99 },
        Always("5"),
    )
    .unit("iterations")
    .only_with(KIND, &["muon"]),
    Key::new(
        "optimizer.adjust_lr",
        "How the shape of a matrix changes the rate: times sqrt(max(1, rows / columns)), or times 0.2 sqrt(max(rows, \
         columns)), with which one rate suits muon and adamw.",
        Takes::Choice(&["original", "match_rms_adamw"]),
        Always("\"original\""),
    )
    .only_with(KIND, &["muon"]),
    Key::new(
        "optimizer.adamw_patterns",
        "Patterns of names of matrices that adamw updates all the same, as is usual for embeddings and heads; * stands \
         for any characters.",
        Takes::Texts,
        Always("[]"),
    )
    .only_with(KIND, &["muon"]),
    Key::new(
        "optimizer.groups.<name>.parameters",
        "Patterns of names of the parameters of group <name>; * stands for any characters. Where two groups name a \
         parameter, the first in the order of their names has it.",
        Takes::Texts,
        Required { example: "[\"backbone.*\"]" },
    ),
    Key::new(
        "optimizer.groups.<name>.lr",
        "Learning rate of the group before the schedule, which changes it in proportion to optimizer.lr; 0 keeps the \
         parameters as they are.",
        Takes::Float(FloatRange::NOT_NEGATIVE),
        Unset { words: "optimizer.lr", example: "0.0001" },
    ),
    Key::new(
        "optimizer.groups.<name>.weight_decay",
        "Weight decay of the group; optimizer.no_decay comes first.",
        Takes::Float(FloatRange::NOT_NEGATIVE),
        Unset { words: "optimizer.weight_decay", example: "0.05" },
    ),
];

pub(super) const EMA: &[Key] = &[
    Key::new(
        EMA_DECAY,
        "Keeps a moving average of the parameters beside them: after each step it is decay times itself plus (1 - decay) \
         times the parameters, as torch.optim.swa_utils.AveragedModel has it.",
        Takes::Float(FloatRange::INSIDE_UNIT),
        Unset { words: "no average is kept", example: "0.999" },
    )
    .also_known_as(&["ema_decay", "ema"]),
    Key::new(
        "ema.use",
        "Whether validation and model.onnx take the average instead of the parameters.",
        Takes::Bool,
        Always("true"),
    )
    .only_with(EMA_DECAY, &[]),
];
