//! Showing what a run does and did.
//!
//! Belongs here: progress on a terminal, the log file of a run, and what a journal tells of a run: in pictures, in a page, and
//! in files for TensorBoard. Does not belong here: deciding anything, reading anything but what the run tells.

pub mod mlflow;
pub mod progress;
pub mod recorded;
pub mod rows;
pub mod clock;
pub mod incidents;
pub mod places;
pub mod curves;
pub mod chart;
pub mod page;
pub mod tensorboard;
pub mod run_log;
