//! The time between a stop request and the moment at which the process leaves, whatever it is doing.
//!
//! The thread is started before anything else, so that it is there when neither memory nor threads are to be had.

use std::fmt;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::Signal;
use super::last_words::Why;
use super::trap::Trap;

/// Schedulers send SIGKILL 30 s after SIGTERM (Kubernetes, Slurm); 5 s are left for everything that is not saving.
const DEFAULT_GRACE: Duration = Duration::from_secs(25);

type Cancel = Arc<dyn Fn() + Send + Sync>;

/// The thread that watches the time, and what it is told.
#[derive(Clone)]
pub(super) struct Grace {
    shared: Arc<(Mutex<State>, Condvar)>,
}

struct State {
    grace: Duration,
    stopped: Option<(Signal, Instant)>,
    cancel: Option<Cancel>,
    /// When work in progress is cancelled; `None` if that is not to be done, or was.
    cancel_at: Option<Instant>,
}

impl Grace {
    pub(super) fn start(trap: Arc<Trap>) -> io::Result<Grace> {
        let state = State { grace: DEFAULT_GRACE, stopped: None, cancel: None, cancel_at: None };
        let grace = Grace { shared: Arc::new((Mutex::new(state), Condvar::new())) };
        let for_thread = grace.clone();
        thread::Builder::new().name("grace".to_owned()).spawn(move || for_thread.watch(&trap))?;
        Ok(grace)
    }

    pub(super) fn set(&self, grace: Duration) {
        self.change(|state| state.grace = grace);
    }

    pub(super) fn set_cancel(&self, cancel: Cancel) {
        self.change(|state| state.cancel = Some(cancel));
    }

    /// The grace begins; only the first call counts.
    pub(super) fn begin(&self, signal: Signal) {
        self.change(|state| _ = state.stopped.get_or_insert((signal, Instant::now())));
    }

    pub(super) fn cancel_after(&self, may_take: Duration) {
        self.change(|state| state.cancel_at = Instant::now().checked_add(may_take));
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.shared.1.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic runs under the lock.
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watch(&self, trap: &Trap) {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            if let Some(cancel) = state.due_cancel(now) {
                drop(state);
                cancel();
                state = self.lock();
                continue;
            }
            let until_end = match state.stopped {
                None => None,
                Some((signal, since)) => match state.grace.checked_sub(now.duration_since(since)) {
                    Some(left) if !left.is_zero() => Some(left),
                    _ => trap.leave(signal.number(), Why::GraceOver { grace_s: state.grace.as_secs() }),
                },
            };
            let until_cancel = state.cancel_at.map(|at| at.saturating_duration_since(now));
            state = match until_end.into_iter().chain(until_cancel).min() {
                None => self.shared.1.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(time) => {
                    self.shared.1.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

impl State {
    /// What to call now, once.
    fn due_cancel(&mut self, now: Instant) -> Option<Cancel> {
        if self.cancel_at.is_some_and(|at| at <= now) {
            self.cancel_at = None;
            return self.cancel.clone();
        }
        None
    }
}

impl fmt::Debug for Grace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Grace")
    }
}
