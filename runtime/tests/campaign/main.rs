//! Campaigns against everything that this crate stores, through its public API and on a simulated disk: power loss,
//! failing operations, damaged media.
//!
//! A `cargo test` takes samples. `scripts/faults/power_loss.sh` runs them in full, which takes minutes and says how much was
//! tried.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking; what helps several tests is no test function itself"
)]

mod branches;
mod check;
mod damage;
mod faults;
mod ledger;
mod power_loss;
mod program;
mod returned;

/// How much of a campaign is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scale {
    Sample,
    Full,
}

/// A sample, unless the environment asks for everything.
fn scale() -> Scale {
    if std::env::var_os("STORAGE_CAMPAIGN").is_some_and(|scale| scale == "full") {
        Scale::Full
    } else {
        Scale::Sample
    }
}
