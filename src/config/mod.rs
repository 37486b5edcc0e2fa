//! Settings: the file `trainer.toml`, overrides from the command line, and the checked, immutable [`Plan`].
//!
//! Belongs here: what a setting means, its unit, default and minimum, and every check that needs nothing but the
//! settings. Does not belong here: anything that opens a model or a data file.

mod plan;

pub use plan::{
    ArrayMap, Builtin, CheckpointPlan, DataPlan, DataSource, Device, Durability, EarlyStopping, LossKind,
    LossPlan, Metric, ModelPlan, ModelSource, OptimizerKind, OptimizerPlan, Plan, ScheduleKind, SchedulePlan,
    ScheduleUnit, TrainPlan,
};
