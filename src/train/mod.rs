//! train

pub mod best;
pub mod early_stopping;
pub mod metric;
pub mod schedule;
