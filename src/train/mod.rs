//! Training: from a plan to a trained model, step by step, in a way that any interruption can be undone.
//!
//! Belongs here: the loop, the schedules, early stopping and metrics, what the journal's records mean, what a checkpoint
//! holds, and how a run is resumed from both. Does not belong here: running graphs (`engine`), storing bytes
//! (`trainer_runtime`), printing (`report`, `cli`).

pub mod batching;
pub mod prepare;
mod model;
mod targets;
mod compile;
pub mod check;
mod fit;
pub mod status;
pub mod control;
pub mod run;
mod oom;
mod pressure;
mod crash;
pub mod outcome;
pub mod observe;
pub mod evaluate;
pub mod schedule;
pub mod metric;
mod best_epoch;
pub mod best;
pub mod early_stopping;
mod watch;
pub mod policy;
mod saving;
pub mod sample;
mod pause;
pub mod dropout;
pub mod loss_scale;
pub mod event;
mod shortage;
mod lineage;
mod step_done;
pub mod history;
pub mod saved;
pub mod keeper;
pub mod resume;
pub mod export;
pub mod infer;
