//! The command `trainer`: its arguments, one file per subcommand, and what its exit codes mean.
//!
//! Belongs here: reading the command line, wiring the other parts, and everything that is printed to stdout. Does not
//! belong here: anything that a Rust program which embeds this library would want, too.

pub mod args;
pub mod settings_args;
pub mod exit;
pub mod failure;
pub mod output;
pub mod target;
pub mod table;
pub mod tensors;
pub mod run;
pub mod resume;
pub mod supervise;
pub mod config;
pub mod check;
pub mod setup;
pub mod doctor;
pub mod repair;
pub mod verify;
pub mod history;
pub mod trained;
pub mod eval;
pub mod predict;
pub mod plot;
pub mod report;
pub mod sweep;
pub mod export;
pub mod inspect;
pub mod diff;
pub mod ls;
pub mod completions;
