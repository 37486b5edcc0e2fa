//! A small parent that keeps a worker alive: it starts it, forwards signals to it, says why it died, and starts it again.
//!
//! Here: the process that is watched over, how its death is told, and what follows from a death. Not here: what the
//! worker does, and what its exit codes mean, which the embedding program says with [`Verdict`].
//!
//! The worker gets each signal that the supervisor gets, and knows from [`SUPERVISOR_PID`] that a signal to the whole
//! process group comes twice. If the supervisor dies, the worker gets SIGTERM, see [`follow_supervisor`].

mod death;
mod policy;
mod worker;

pub use death::{Death, Ended};
pub use policy::{Next, Policy, Verdict};
pub use worker::{Outcome, Supervisor, SupervisorError};

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

/// The environment variable that tells a worker the process that watches over it.
pub const SUPERVISOR_PID: &str = "TRAINER_SUPERVISOR_PID";

/// The environment variable that tells a worker what the one before it died of, as [`Death`] writes it.
pub const BEFORE: &str = "TRAINER_WORKER_BEFORE";

/// What a process knows of its supervisor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Supervised {
    /// The supervisor.
    pub pid: i32,
    /// What the worker before this one died of; `None` for the first.
    pub before: Option<Death>,
}

/// Whether this process is a worker. If it is, it gets SIGTERM should its supervisor die.
pub fn follow_supervisor() -> Option<Supervised> {
    let pid: i32 = std::env::var(SUPERVISOR_PID).ok()?.parse().ok()?;
    if getppid().map(Pid::as_raw_nonzero).map(std::num::NonZero::get) != Some(pid) {
        // Inherited by a process that some worker has started, or the supervisor is gone already.
        return None;
    }
    if let Err(error) = set_parent_process_death_signal(Some(Signal::TERM)) {
        log::debug!("the death of the supervisor will not be noticed: {error}");
    }
    let before = std::env::var(BEFORE).ok().and_then(|text| text.parse().ok());
    Some(Supervised { pid, before })
}
