//! Training: from a plan to a trained model, step by step, in a way that any interruption can be undone.
//!
//! Belongs here: the loop, the schedules, early stopping and metrics, what the journal's records mean, what a checkpoint
//! holds, and how a run is resumed from both. Does not belong here: running graphs (`engine`), storing bytes
//! (`trainer_runtime`), printing (`report`, `cli`).

pub mod best;
pub mod dropout;
pub mod early_stopping;
pub mod evaluate;
pub mod event;
pub mod export;
pub mod history;
pub mod keeper;
pub mod metric;
pub mod observe;
pub mod outcome;
pub mod prepare;
pub mod resume;
pub mod run;
pub mod saved;
pub mod schedule;
