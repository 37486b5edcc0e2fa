//! The ONNX Runtime library: where it is found, how it is fetched, and how it is loaded.
//!
//! Belongs here: the order of the search ([`locate()`]), the pinned packages ([`wheels`]), the cache folder ([`cache`])
//! and what brings packages into it ([`fetch`], through the user's package client [`pip`]), the check of a library
//! before it is mapped ([`elf`]), and the one ONNX Runtime environment of the process ([`load()`]).
//! Does not belong here: whether an execution provider starts (`probe`), sessions, and what commands print.

pub mod announce;
pub mod cache;
pub mod elf;
pub mod fetch;
pub mod host;
pub mod load;
pub mod locate;
pub mod pip;
pub mod wheels;

pub use host::Host;
pub use load::{LoadError, Runtime, Threads, load};
pub use locate::{LocateError, Located, Origin, Request, Want, find, locate};
pub use wheels::Bundle;

#[cfg(test)]
mod tests;
