//! Showing what a run does and did.
//!
//! Belongs here: progress on a terminal and in a log. Does not belong here: deciding anything, reading anything but what
//! the run tells.

pub mod progress;
