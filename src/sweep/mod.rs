//! Many runs over a space of settings: what each trial is, where it stands, and who works on it.
//!
//! Belongs here: the file `sweep.toml`, the plan that follows from it, claims on trials, and what successive halving
//! decides. Does not belong here: starting processes and printing (`cli::sweep`), and what a setting means (`config`).
//!
//! The way of a sweep: `definition` reads the file; `draw` makes trials of its space, with names from `naming`; `plan`
//! keeps them in the sweep's folder, the same on every rerun; `standing` says of each trial what its own folder tells;
//! `claim` lets one process at a time work on it; `halving` says which go on.

pub mod definition;
pub mod naming;
pub mod draw;
pub mod plan;
pub mod standing;
pub mod claim;
pub mod halving;
pub mod once;

#[cfg(test)]
mod tests;
