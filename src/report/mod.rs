//! Showing what a run does and did.
//!
//! Belongs here: progress on a terminal, the log file of a run, and what a journal tells of a run. Does not belong here: deciding
//! anything, reading anything but what the run tells.

pub mod progress;
pub mod recorded;
pub mod run_log;
