//! Settings: the file `trainer.toml`, overrides from the command line, and the checked, immutable [`Plan`].
//!
//! Belongs here: what a setting means, its unit, default and minimum, and every check that needs nothing but the
//! settings. Does not belong here: anything that opens a model or a data file.
//!
//! The way of a setting: `document` reads one source and checks each value on its own against its row in `table`;
//! `settings` lays the sources over each other; `build` makes the plan and checks settings against each other.
//! Back from the plan: `effective` lists its settings, `render` writes them, `differences` compares two.

mod build;
mod check;
mod differences;
mod document;
mod effective;
mod error;
mod interruption;
mod key;
mod load;
mod names;
mod pattern;
mod plan;
mod render;
mod settings;
mod table;
mod value;
mod varied;

#[cfg(test)]
mod tests;

pub use differences::{Class, Difference, differences, fingerprint};
pub use error::{ConfigError, Notice, Origin, Problem};
pub use interruption::{MemoryPlan, MicroBatch, OnOom, StopPlan, Usr1};
pub use key::{DefaultValue, FloatRange, Key, OnlyWith, Takes};
pub use load::{FlagValue, Loaded, Sources, from_toml, load};
pub use pattern::matches_pattern;
pub use plan::{
    AdjustLr, ArrayMap, Average, Builtin, CheckpointPlan, Crop, DataPlan, DataSource, Device, Durability,
    EarlyStopping, EmaPlan, ImagesPlan, Init, LossKind, LossPlan, LossScalePlan, Metric, MlflowPlan,
    ModelPlan, ModelSource, OptimizerKind, OptimizerPlan, ParameterGroup, Plan, Precision, Reduction, Rename,
    ReportPlan, ScheduleKind, SchedulePlan, ScheduleUnit, TargetUse, TokenType, TokensPlan, TrainPlan,
    WeightsPlan,
};
pub use render::{to_json, to_toml, to_toml_with_origins};
pub use table::keys;
pub use value::{KeyPath, Value};
pub use varied::{
    Below, LineNumbers, Varied, given_settings, key_at, load_varied, nearest_key, parse_key,
    read_settings_text, settings_of,
};
