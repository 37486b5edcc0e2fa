//! Requests from outside: stop, save and go on, tell how it goes.
//!
//! SIGINT, SIGTERM and SIGHUP ask the program to stop, SIGUSR1 to save and go on (or to stop, see
//! [`Signals::let_user1_stop`]), SIGUSR2 to print a line. What the first stop signal does depends on whether there is
//! something to save, see [`OnStop`]:
//!
//! * it is a request, which the program finds when it next asks; a hook is told at once, work in progress is cancelled
//!   when it has taken too long, and when the grace is over the process leaves with what is durable; or
//! * the process leaves at once.
//!
//! A second stop signal ends the process in its handler, with exit code 128 + its number, after one last line: no
//! destructor runs, no lock is taken, no memory is allocated, and a standard error that nobody reads does not hold it up.
//! A second signal of the same number within [`COPY_WITHIN`] is taken for a copy of the first: `timeout` and some
//! schedulers send one signal to a process and to its group.
//!
//! A signal that was ignored when the process started stays ignored, as `nohup` expects; so does SIGINT in a process
//! that a shell started in the background. As process 1 of a container, for which the system has no default actions,
//! the signals mean the same.
//!
//! SIGXFSZ, with which the system ends a process that writes beyond a limit on the size of files, is caught: the write
//! fails instead, with an error that can name the file.
//!
//! Here: installing handlers, and what they do. Not here: what saving means.

mod companion;
mod grace;
mod ignored;
mod last_words;
mod trap;

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use signal_hook::consts::signal::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGXFSZ};

pub use companion::Companion;
pub use ignored::{Ignored, ignored_at_start};
pub use trap::COPY_WITHIN;

use grace::Grace;
use last_words::Why;
use trap::Trap;

/// A signal that asks for something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Signal {
    /// SIGINT, as Ctrl-C sends it: stop.
    Interrupt,
    /// SIGTERM, as schedulers send it: stop.
    Terminate,
    /// SIGHUP, as a closing terminal sends it: stop.
    Hangup,
    /// SIGUSR1: save and go on, or stop.
    User1,
}

impl Signal {
    const ALL: [Signal; 4] = [Signal::Interrupt, Signal::Terminate, Signal::Hangup, Signal::User1];

    /// Its number on this system.
    pub fn number(self) -> i32 {
        match self {
            Signal::Interrupt => SIGINT,
            Signal::Terminate => SIGTERM,
            Signal::Hangup => SIGHUP,
            Signal::User1 => SIGUSR1,
        }
    }

    /// The exit code of a process that it stopped: 128 + its number.
    pub fn exit_code(self) -> i32 {
        128 + self.number()
    }

    /// Its name, `SIGTERM` for instance.
    pub fn name(self) -> &'static str {
        match self {
            Signal::Interrupt => "SIGINT",
            Signal::Terminate => "SIGTERM",
            Signal::Hangup => "SIGHUP",
            Signal::User1 => "SIGUSR1",
        }
    }

    fn from_number(number: i32) -> Option<Signal> {
        Signal::ALL.into_iter().find(|signal| signal.number() == number)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Signals that could not be installed.
#[derive(Debug, thiserror::Error)]
#[error("could not install the handling of signals: {source}; raise the limit on open files and threads")]
pub struct InstallError {
    /// What the system answered.
    #[from]
    pub source: io::Error,
}

/// What the first stop signal does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnStop {
    /// The process leaves at once: whatever is not durable comes again when it is started again. The words say what it
    /// was doing, `building sessions` for instance.
    Leave(&'static str),
    /// It is a request: there is something to save.
    Request,
}

/// What a hook says about a stop request: how long the work in progress may still take before it is cancelled.
pub type MayTake = Duration;

/// The requests that signals have made. Cheap to clone; all clones see the same.
#[derive(Debug, Clone)]
pub struct Signals {
    shared: Arc<Shared>,
}

type StopHook = Arc<dyn Fn(Signal) -> MayTake + Send + Sync>;
type Hook = Arc<dyn Fn() + Send + Sync>;

struct Shared {
    trap: Arc<Trap>,
    grace: Grace,
    on_stop: Mutex<OnStop>,
    stop_hook: Mutex<Option<StopHook>>,
    save_hook: Mutex<Option<Hook>>,
    status_hook: Mutex<Option<Hook>>,
    /// Whether the hook was told of the stop request.
    told: AtomicBool,
}

impl Signals {
    /// Handles the signals from now on, for the rest of the process. To be called before other threads are started,
    /// and once. The first stop signal makes the process leave at once until [`Self::set_on_stop`] says otherwise.
    ///
    /// # Errors
    /// If the system refuses a handler or a thread.
    pub fn install() -> Result<Signals, InstallError> {
        let trap = Arc::new(Trap::default());
        let shared = Arc::new(Shared {
            grace: Grace::start(trap.clone())?,
            trap,
            on_stop: Mutex::new(OnStop::Leave("starting")),
            stop_hook: Mutex::default(),
            save_hook: Mutex::default(),
            status_hook: Mutex::default(),
            told: AtomicBool::new(false),
        });
        let numbers: Vec<i32> = Signal::ALL.map(Signal::number).into_iter().chain([SIGUSR2]).collect();
        let ignored = ignored_at_start();
        let handled: Vec<i32> = numbers.into_iter().filter(|number| !ignored.contains(*number)).collect();
        // First the trap, so that a request is set when the thread hears of the signal.
        for number in &handled {
            trap::set(*number, shared.trap.clone())?;
        }
        let mut arrivals = signal_hook::iterator::Signals::new(&handled)?;
        // With a handler, a write beyond a limit on the size of files fails, and does not end the process.
        signal_hook::flag::register(SIGXFSZ, Arc::default())?;
        let for_thread = shared.clone();
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            for number in arrivals.forever() {
                for_thread.arrived(number);
            }
        })?;
        Ok(Signals { shared })
    }

    /// The signal that asked the program to stop; it stays. Does not block.
    pub fn stop_requested(&self) -> Option<Signal> {
        self.shared.trap.stop()
    }

    /// Whether a save was asked for since the last call. Does not block.
    pub fn take_save_request(&self) -> bool {
        self.shared.trap.take_save()
    }

    /// What asks for something now: the signal to stop if there was one, else the one to save, which
    /// [`take_save_request`](Signals::take_save_request) takes back. Does not block.
    pub fn requested(&self) -> Option<Signal> {
        self.stop_requested().or_else(|| self.shared.trap.wants_save().then_some(Signal::User1))
    }

    /// From here on SIGUSR1 asks to stop, as the other signals do.
    pub fn let_user1_stop(&self) {
        self.shared.trap.let_user1_stop();
    }

    /// From here on only a stop signal of this process counts as a second one: the supervisor forwards what it gets, and
    /// a signal to the whole process group must not count twice.
    pub fn have_supervisor(&self, pid: i32) {
        self.shared.trap.set_supervisor(pid);
    }

    /// How long after a stop request the process leaves, whatever it is doing; 25 s if it is not set.
    pub fn set_grace(&self, grace: Duration) {
        self.shared.grace.set(grace);
    }

    /// Where the number of the last durable step is kept; the last line names it. 0 is none. Only the first call counts.
    pub fn set_durable_step(&self, step: Arc<AtomicU64>) {
        self.shared.trap.set_durable_step(step);
    }

    /// What the first stop signal does from here on.
    pub fn set_on_stop(&self, on_stop: OnStop) {
        *lock(&self.shared.on_stop) = on_stop;
    }

    /// Sets what is told of a stop request, once, on a thread of its own, so it may block; it says how long the work in
    /// progress may still take, after which `cancel` is called. If a stop was requested before, it is told now, by this
    /// thread.
    pub fn on_stop_request(
        &self,
        hook: impl Fn(Signal) -> MayTake + Send + Sync + 'static,
        cancel: impl Fn() + Send + Sync + 'static,
    ) {
        self.shared.grace.set_cancel(Arc::new(cancel));
        *lock(&self.shared.stop_hook) = Some(Arc::new(hook));
        if let Some(signal) = self.stop_requested() {
            self.shared.tell(signal);
        }
    }

    /// Sets what is told when a save is asked for; on a thread of its own, so it may block.
    pub fn on_save_request(&self, hook: impl Fn() + Send + Sync + 'static) {
        *lock(&self.shared.save_hook) = Some(Arc::new(hook));
    }

    /// Sets what prints a line for SIGUSR2; on a thread of its own, so it may block.
    pub fn on_status_request(&self, hook: impl Fn() + Send + Sync + 'static) {
        *lock(&self.shared.status_hook) = Some(Arc::new(hook));
    }
}

impl Shared {
    /// Does for a signal what its handler must not do.
    fn arrived(&self, number: i32) {
        if let Some(signal) = self.trap.stop() {
            self.grace.begin(signal);
            let on_stop = *lock(&self.on_stop);
            if let OnStop::Leave(what) = on_stop {
                self.trap.leave(signal.number(), Why::NothingToSave(what));
            }
            self.tell(signal);
        }
        let hook = match number {
            SIGUSR2 => lock(&self.status_hook).clone(),
            SIGUSR1 if self.trap.wants_save() => lock(&self.save_hook).clone(),
            _ => None,
        };
        if let Some(hook) = hook {
            hook();
        }
    }

    fn tell(&self, signal: Signal) {
        use std::sync::atomic::Ordering::AcqRel;
        let Some(hook) = lock(&self.stop_hook).clone() else { return };
        if !self.told.swap(true, AcqRel) {
            let may_take = hook(signal);
            self.grace.cancel_after(may_take);
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("trap", &self.trap).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The guarded values are replaced whole, so they are whole even if a holder panicked.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The step named in the last line, once it is known where it is kept.
type DurableStep = OnceLock<Arc<AtomicU64>>;

#[cfg(test)]
mod tests;
