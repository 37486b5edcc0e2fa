//! engine

pub mod library;
pub mod probe;
