//! A child process that must not outlive this one where it leaves at once.

use std::process::Child;
use std::sync::atomic::{AtomicI32, Ordering};

use rustix::process::{Pid, Signal, kill_process};

/// The child; 0 if there is none. Process-wide, as signals are.
static COMPANION: AtomicI32 = AtomicI32::new(0);

/// While it lives, a process that leaves because of a signal sends SIGTERM to the child first.
#[derive(Debug)]
pub struct Companion(());

impl Companion {
    /// Takes the child along. Of several, the last counts.
    pub fn new(child: &Child) -> Companion {
        COMPANION.store(i32::try_from(child.id()).unwrap_or(0), Ordering::Release);
        Companion(())
    }
}

impl Drop for Companion {
    fn drop(&mut self) {
        COMPANION.store(0, Ordering::Release);
    }
}

/// Async-signal-safe.
pub(super) fn end() {
    if let Some(pid) = Pid::from_raw(COMPANION.load(Ordering::Acquire)) {
        // It may have ended meanwhile; this process ends in any case.
        let _ = kill_process(pid, Signal::TERM);
    }
}
