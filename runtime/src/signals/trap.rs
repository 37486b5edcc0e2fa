//! What happens in the signal handlers: a few atomic numbers, and for a second stop signal the end of the process.

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use signal_hook::consts::signal::{SIGUSR1, SIGUSR2};
use signal_hook::low_level;

use super::last_words::{Saved, Why, say};
use super::{DurableStep, Signal, companion};

/// Two stop signals of one number within this time are taken for one.
pub const COPY_WITHIN: Duration = Duration::from_millis(100);

/// What handlers read and write.
#[derive(Debug)]
pub(super) struct Trap {
    /// The number of the first stop signal; 0 before.
    stop: AtomicI32,
    /// When it came, in nanoseconds of the monotonic clock.
    stop_ns: AtomicU64,
    /// Whether a save was asked for.
    save: AtomicBool,
    user1_stops: AtomicBool,
    /// The process that forwards signals to this one; 0 if there is none.
    supervisor: AtomicI32,
    /// How many stop signals it has sent.
    from_supervisor: AtomicU32,
    is_terminal: bool,
    durable_step: DurableStep,
}

impl Default for Trap {
    fn default() -> Self {
        Trap {
            stop: AtomicI32::new(0),
            stop_ns: AtomicU64::new(0),
            save: AtomicBool::new(false),
            user1_stops: AtomicBool::new(false),
            supervisor: AtomicI32::new(0),
            from_supervisor: AtomicU32::new(0),
            is_terminal: io::stderr().is_terminal(),
            durable_step: DurableStep::new(),
        }
    }
}

/// What follows from a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    GoOn,
    Leave,
}

impl Trap {
    pub(super) fn stop(&self) -> Option<Signal> {
        Signal::from_number(self.stop.load(Ordering::Acquire))
    }

    pub(super) fn wants_save(&self) -> bool {
        self.save.load(Ordering::Acquire)
    }

    pub(super) fn take_save(&self) -> bool {
        self.save.swap(false, Ordering::AcqRel)
    }

    pub(super) fn let_user1_stop(&self) {
        self.user1_stops.store(true, Ordering::Release);
        if self.take_save() {
            self.arrived(SIGUSR1, 0, now_ns());
        }
    }

    pub(super) fn set_supervisor(&self, pid: i32) {
        self.supervisor.store(pid, Ordering::Release);
    }

    pub(super) fn set_durable_step(&self, step: Arc<AtomicU64>) {
        // A second place would be another run's, and a process has one run.
        let _ = self.durable_step.set(step);
    }

    /// Takes note of a signal from a process, at a time.
    fn arrived(&self, number: i32, sender: i32, now_ns: u64) -> Next {
        if number == SIGUSR2 {
            return Next::GoOn;
        }
        if number == SIGUSR1 && !self.user1_stops.load(Ordering::Acquire) {
            self.save.store(true, Ordering::Release);
            return Next::GoOn;
        }
        let first = self.stop.compare_exchange(0, number, Ordering::AcqRel, Ordering::Acquire);
        if first.is_ok() {
            self.stop_ns.store(now_ns, Ordering::Release);
        }
        let supervisor = self.supervisor.load(Ordering::Acquire);
        if supervisor != 0 {
            let is_second = sender == supervisor && self.from_supervisor.fetch_add(1, Ordering::AcqRel) > 0;
            if !is_second {
                return Next::GoOn;
            }
        }
        match first {
            Ok(_) => Next::GoOn,
            Err(earlier) => {
                let since_ns = now_ns.saturating_sub(self.stop_ns.load(Ordering::Acquire));
                let is_copy = earlier == number && since_ns < COPY_WITHIN.as_nanos() as u64;
                if is_copy { Next::GoOn } else { Next::Leave }
            }
        }
    }

    /// Ends the process with 128 + the number, after one line.
    pub(super) fn leave(&self, number: i32, why: Why) -> ! {
        let saved = match self.durable_step.get().map(|step| step.load(Ordering::Acquire)) {
            None => Saved::Unknown,
            Some(0) => Saved::Nothing,
            Some(step) => Saved::Step(step),
        };
        let name = Signal::from_number(number).map_or("signal", Signal::name);
        say(name, why, saved, self.is_terminal);
        companion::end();
        // Without running destructors and exit handlers, which may wait for the very thing that hangs.
        low_level::exit(128 + number)
    }
}

/// The time of the monotonic clock, in nanoseconds.
fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    (now.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(now.tv_nsec as u64)
}

/// The process that sent a signal; 0 for the terminal.
#[expect(unsafe_code, reason = "siginfo_t is a union")]
fn sender_of(info: &libc::siginfo_t) -> i32 {
    // SAFETY: the signals handled here are sent by processes or by the terminal, for both of which the kernel fills in
    // this field of the union; it is a plain number and only read.
    unsafe { info.si_pid() }
}

/// Installs the handler of one signal.
pub(super) fn set(number: i32, trap: Arc<Trap>) -> io::Result<()> {
    let handle = move |info: &libc::siginfo_t| {
        if trap.arrived(number, sender_of(info), now_ns()) == Next::Leave {
            trap.leave(number, Why::Again);
        }
    };
    #[expect(unsafe_code, reason = "what a handler may do is for its author to prove")]
    // SAFETY: the handler only touches atomics, reads the clock, and calls poll, write, kill and _exit: all of them are
    // async-signal-safe. It neither allocates, nor takes a lock, nor panics.
    unsafe { signal_hook_registry::register_sigaction(number, handle) }?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Next, SIGUSR1, SIGUSR2, Trap};
    use crate::signals::Signal;

    const MS: u64 = 1_000_000;
    const INT: i32 = 2;
    const TERM: i32 = 15;

    /// Sends signals (number, sender, time in ms) and says after which of them the process leaves.
    #[track_caller]
    fn check_leaves(trap: &Trap, signals: &[(i32, i32, u64)], expected: Option<usize>) {
        let next = |(number, sender, ms): &(i32, i32, u64)| trap.arrived(*number, *sender, ms * MS);
        assert_eq!(signals.iter().position(|signal| next(signal) == Next::Leave), expected);
    }

    #[test]
    fn the_second_stop_signal_leaves_whatever_its_number() {
        check_leaves(&Trap::default(), &[(INT, 0, 5), (INT, 0, 300)], Some(1));
        check_leaves(&Trap::default(), &[(INT, 0, 5), (TERM, 7, 6)], Some(1));
    }

    #[test]
    fn a_copy_of_the_first_signal_is_not_a_second_one() {
        let trap = Trap::default();
        check_leaves(&trap, &[(TERM, 9, 5), (TERM, 9, 5), (TERM, 9, 104)], None);
        check_leaves(&trap, &[(TERM, 9, 105)], Some(0));
    }

    #[test]
    fn a_supervised_process_counts_the_signals_of_its_supervisor_only() {
        let trap = Trap::default();
        trap.set_supervisor(77);
        // The terminal sends to the whole group, the supervisor forwards its own.
        check_leaves(&trap, &[(INT, 0, 1), (INT, 77, 2), (INT, 0, 900), (INT, 0, 1200)], None);
        assert_eq!(trap.stop(), Some(Signal::Interrupt));
        check_leaves(&trap, &[(INT, 77, 1300)], Some(0));
    }

    #[test]
    fn a_user_signal_saves_or_stops_as_it_is_told_even_if_it_came_before() {
        let trap = Trap::default();
        check_leaves(&trap, &[(SIGUSR2, 0, 1), (SIGUSR1, 0, 2), (SIGUSR1, 0, 900)], None);
        assert!(trap.wants_save() && trap.stop().is_none());
        trap.let_user1_stop();
        assert_eq!((trap.stop(), trap.wants_save()), (Some(Signal::User1), false));
    }
}
