//! Settings of `[schedule]`. Names and defaults are those of PyTorch.

use crate::config::differences::Class;
use crate::config::key::DefaultValue::{Always, By, ByModel, Required, Unset};
use crate::config::key::{FloatRange, Key, Takes};

const SCHEDULE_KIND: &str = "schedule.kind";

const PLATEAU: &[&str] = &["reduce_on_plateau"];

/// A row whose change alters the learning rate from the next step on.
const fn schedule_key(
    path: &'static str,
    meaning: &'static str,
    takes: Takes,
    default: super::super::key::DefaultValue,
) -> Key {
    Key::new(path, meaning, takes, default).class(Class::Schedule)
}

pub(super) const SCHEDULE: &[Key] = &[
    schedule_key(
        SCHEDULE_KIND,
        "How the learning rate moves: StepLR, MultiStepLR, ExponentialLR, CosineAnnealingLR, OneCycleLR, \
         PolynomialLR and ReduceLROnPlateau of torch.optim.lr_scheduler.",
        Takes::Choice(&[
            "constant",
            "step",
            "multistep",
            "exponential",
            "cosine",
            "one_cycle",
            "polynomial",
            "reduce_on_plateau",
        ]),
        ByModel { builtin: "\"cosine\"", onnx: "\"constant\"" },
    ),
    schedule_key(
        "schedule.warmup_steps",
        "Steps over which the rate rises linearly to the full rate before the schedule begins; 0 means none. \
         one_cycle has a rise of its own.",
        Takes::from(0),
        ByModel { builtin: "50", onnx: "0" },
    )
    .unit("steps")
    .only_with(
        SCHEDULE_KIND,
        &["constant", "step", "multistep", "exponential", "cosine", "polynomial", "reduce_on_plateau"],
    )
    .also_known_as(&["warmup"]),
    schedule_key(
        "schedule.warmup_start",
        "The first step of the warm-up has this part of the full rate.",
        Takes::Float(FloatRange::UP_TO_ONE),
        Always("0.01"),
    )
    .only_with(
        SCHEDULE_KIND,
        &["constant", "step", "multistep", "exponential", "cosine", "polynomial", "reduce_on_plateau"],
    )
    .also_known_as(&["start_factor"]),
    schedule_key(
        "schedule.unit",
        "What the schedule counts.",
        Takes::Choice(&["step", "epoch"]),
        By {
            key: SCHEDULE_KIND,
            cases: &[
                ("step", "\"epoch\""),
                ("multistep", "\"epoch\""),
                ("exponential", "\"epoch\""),
                ("cosine", "\"step\""),
                ("one_cycle", "\"step\""),
                ("polynomial", "\"step\""),
            ],
            example: "\"epoch\"",
        },
    )
    .only_with(SCHEDULE_KIND, &["step", "multistep", "exponential", "cosine", "one_cycle", "polynomial"]),
    schedule_key(
        "schedule.step_size",
        "Units between two decays.",
        Takes::from(1),
        Required { example: "10" },
    )
    .unit("schedule.unit")
    .only_with(SCHEDULE_KIND, &["step"]),
    schedule_key(
        "schedule.milestones",
        "Units after which the rate decays.",
        Takes::Ascending(1),
        Required { example: "[10, 20]" },
    )
    .unit("schedule.unit")
    .only_with(SCHEDULE_KIND, &["multistep"]),
    schedule_key(
        "schedule.gamma",
        "Factor of one decay; with exponential, of each unit.",
        Takes::Float(FloatRange::POSITIVE),
        By { key: SCHEDULE_KIND, cases: &[("step", "0.1"), ("multistep", "0.1")], example: "0.95" },
    )
    .only_with(SCHEDULE_KIND, &["step", "multistep", "exponential"]),
    schedule_key(
        "schedule.t_max",
        "Units from the full rate down to eta_min.",
        Takes::from(1),
        Unset { words: "the whole run after warm-up", example: "1000" },
    )
    .unit("schedule.unit")
    .only_with(SCHEDULE_KIND, &["cosine"]),
    schedule_key(
        "schedule.eta_min",
        "Rate at the end of the cosine.",
        Takes::Float(FloatRange::NOT_NEGATIVE),
        Always("0.0"),
    )
    .only_with(SCHEDULE_KIND, &["cosine"]),
    schedule_key(
        "schedule.pct_start",
        "Part of the run in which the rate rises.",
        Takes::Float(FloatRange::INSIDE_UNIT),
        Always("0.3"),
    )
    .only_with(SCHEDULE_KIND, &["one_cycle"]),
    schedule_key(
        "schedule.div_factor",
        "The rate starts at optimizer.lr divided by this.",
        Takes::Float(FloatRange::FROM_ONE),
        Always("25.0"),
    )
    .only_with(SCHEDULE_KIND, &["one_cycle"]),
    schedule_key(
        "schedule.final_div_factor",
        "The rate ends at its start divided by this.",
        Takes::Float(FloatRange::FROM_ONE),
        Always("1e4"),
    )
    .only_with(SCHEDULE_KIND, &["one_cycle"]),
    schedule_key(
        "schedule.power",
        "Exponent of the polynomial.",
        Takes::Float(FloatRange::POSITIVE),
        Always("1.0"),
    )
    .only_with(SCHEDULE_KIND, &["polynomial"]),
    schedule_key(
        "schedule.total",
        "Units until the rate is 0.",
        Takes::from(1),
        Unset { words: "the whole run after warm-up", example: "1000" },
    )
    .unit("schedule.unit")
    .only_with(SCHEDULE_KIND, &["polynomial"])
    .also_known_as(&["total_iters"]),
    schedule_key(
        "schedule.factor",
        "Factor of one reduction.",
        Takes::Float(FloatRange::INSIDE_UNIT),
        Always("0.1"),
    )
    .only_with(SCHEDULE_KIND, PLATEAU),
    schedule_key(
        "schedule.patience",
        "Epochs without improvement that are accepted before a reduction.",
        Takes::from(0),
        Always("10"),
    )
    .unit("epochs")
    .only_with(SCHEDULE_KIND, PLATEAU),
    schedule_key(
        "schedule.threshold",
        "Smallest relative change of the loss that counts as an improvement.",
        Takes::Float(FloatRange::BELOW_ONE),
        Always("1e-4"),
    )
    .only_with(SCHEDULE_KIND, PLATEAU),
    schedule_key(
        "schedule.cooldown",
        "Epochs after a reduction in which nothing is counted.",
        Takes::from(0),
        Always("0"),
    )
    .unit("epochs")
    .only_with(SCHEDULE_KIND, PLATEAU),
    schedule_key(
        "schedule.min_lr",
        "Lower bound of the rate.",
        Takes::Float(FloatRange::NOT_NEGATIVE),
        Always("0.0"),
    )
    .only_with(SCHEDULE_KIND, PLATEAU),
];
