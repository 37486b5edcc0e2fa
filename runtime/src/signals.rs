//! Requests from outside: stop, or save and go on.
//!
//! SIGINT, SIGTERM and SIGHUP ask the program to stop; SIGUSR1 asks it to save and go on. The first stop signal only
//! sets a request, which the program finds when it next asks, and calls a hook, which can cancel what is running. A
//! second stop signal ends the process at once, with exit code 128 + its number, after one last line.
//!
//! SIGXFSZ, with which the system ends a process that writes beyond a limit on the size of files, is caught: the write
//! fails instead, with an error that can name the file.
//!
//! A signal that was ignored when the process started stays ignored, as `nohup` expects; so does SIGINT in a process
//! that a shell started in the background.

use std::fmt;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use signal_hook::consts::signal::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGXFSZ};
use signal_hook::low_level;

/// A signal that asks for something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Signal {
    /// SIGINT, as Ctrl-C sends it: stop.
    Interrupt,
    /// SIGTERM, as schedulers send it: stop.
    Terminate,
    /// SIGHUP, as a closing terminal sends it: stop.
    Hangup,
    /// SIGUSR1: save and go on.
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

    /// Whether it asks the program to stop.
    pub fn asks_to_stop(self) -> bool {
        self != Signal::User1
    }

    fn from_number(number: i32) -> Option<Signal> {
        Signal::ALL.into_iter().find(|signal| signal.number() == number)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Signal::Interrupt => "SIGINT",
            Signal::Terminate => "SIGTERM",
            Signal::Hangup => "SIGHUP",
            Signal::User1 => "SIGUSR1",
        })
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

/// The requests that signals have made. Cheap to clone; all clones see the same.
#[derive(Debug, Clone)]
pub struct Signals {
    shared: Arc<Shared>,
}

type Hook = Arc<dyn Fn(Signal) + Send + Sync>;
type LastLine = Arc<dyn Fn(Signal) -> String + Send + Sync>;

#[derive(Default)]
struct Shared {
    /// The number of the first stop signal; 0 before.
    stop: AtomicI32,
    save: AtomicBool,
    hook: Mutex<Option<Hook>>,
    last_line: Mutex<Option<LastLine>>,
}

impl Signals {
    /// Handles the signals from now on, for the rest of the process. To be called before other threads are started,
    /// and once.
    ///
    /// # Errors
    /// If the system refuses a handler or a thread.
    pub fn install() -> Result<Signals, InstallError> {
        let shared = Arc::new(Shared::default());
        let ignored = ignored_at_start();
        let handled =
            Signal::ALL.map(Signal::number).into_iter().filter(|number| !is_in_mask(ignored, *number));
        let mut arrivals = signal_hook::iterator::Signals::new(handled)?;
        // With a handler, a write beyond a limit on the size of files fails, and does not end the process.
        signal_hook::flag::register(SIGXFSZ, Arc::default())?;
        let for_thread = shared.clone();
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            for signal in arrivals.forever().filter_map(Signal::from_number) {
                for_thread.arrived(signal);
            }
        })?;
        Ok(Signals { shared })
    }

    /// The signal that asked the program to stop; it stays. Does not block.
    pub fn stop_requested(&self) -> Option<Signal> {
        Signal::from_number(self.shared.stop.load(Ordering::Acquire))
    }

    /// Whether a save was asked for since the last call. Does not block.
    pub fn take_save_request(&self) -> bool {
        self.shared.save.swap(false, Ordering::AcqRel)
    }

    /// What asks for something now: the signal to stop if there was one, else the one to save, which
    /// [`take_save_request`](Signals::take_save_request) takes back. Does not block.
    pub fn requested(&self) -> Option<Signal> {
        self.stop_requested().or_else(|| self.shared.save.load(Ordering::Acquire).then_some(Signal::User1))
    }

    /// Sets what is called when a signal has arrived and its request is set, but for the second stop signal; on a
    /// thread of its own, so it may block. If a stop was requested before, it is called for that now, by this thread.
    pub fn on_request(&self, hook: impl Fn(Signal) + Send + Sync + 'static) {
        let hook: Hook = Arc::new(hook);
        let before = {
            let mut slot = lock(&self.shared.hook);
            *slot = Some(hook.clone());
            // Read under the lock under which `arrived` sets it: the hook is called once for it, here or there.
            self.stop_requested()
        };
        if let Some(signal) = before {
            hook(signal);
        }
    }

    /// Sets what gives the last line on standard error when a second stop signal ends the process, for instance which
    /// step was saved last. It must not block.
    pub fn on_second_stop(&self, last_line: impl Fn(Signal) -> String + Send + Sync + 'static) {
        *lock(&self.shared.last_line) = Some(Arc::new(last_line));
    }
}

impl Shared {
    fn arrived(&self, signal: Signal) {
        if signal.asks_to_stop() && self.stop.load(Ordering::Acquire) != 0 {
            self.end_process(signal);
        }
        let hook = {
            let slot = lock(&self.hook);
            if signal.asks_to_stop() {
                self.stop.store(signal.number(), Ordering::Release);
            } else {
                self.save.store(true, Ordering::Release);
            }
            slot.clone()
        };
        if let Some(hook) = hook {
            // Not on this thread: a hook that blocks must not keep the second signal from being seen.
            let spawned = thread::Builder::new().name("signal-hook".to_owned()).spawn(move || hook(signal));
            if let Err(error) = spawned {
                log::error!("{signal} arrived and no thread could be started for its hook: {error}");
            }
        }
    }

    fn end_process(&self, signal: Signal) -> ! {
        let last_line = lock(&self.last_line).clone();
        if let Some(last_line) = last_line {
            // Standard error may be gone; the process ends all the same.
            let _ = writeln!(io::stderr(), "{}", last_line(signal));
        }
        // Without running destructors and exit handlers, which may wait for the very thing that hangs.
        low_level::exit(signal.exit_code())
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("stop", &self.stop).field("save", &self.save).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The guarded values are replaced whole, so they are whole even if a holder panicked.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The signals that this process ignores, as a mask in which bit 0 is signal 1; from Linux's `/proc`, and 0 elsewhere.
fn ignored_at_start() -> u64 {
    std::fs::read_to_string("/proc/self/status").map_or(0, |status| parse_ignored(&status))
}

fn parse_ignored(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

fn is_in_mask(mask: u64, number: i32) -> bool {
    (1..=64).contains(&number) && mask >> (number - 1) & 1 == 1
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Child, ChildStdout, Command, Stdio};
    use std::sync::mpsc;

    use rustix::process::{Pid, kill_process};

    use super::{Signal, Signals, is_in_mask, parse_ignored};

    /// Run by the tests below in a process of its own: handles signals, and says what it sees.
    #[test]
    #[ignore = "is driven by signals"]
    fn signalled_process() {
        if std::env::var_os("SIGNALS_TEST").is_none() {
            return;
        }
        let signals = Signals::install().unwrap();
        let (arrived, arrivals) = mpsc::channel();
        signals.on_request(move |signal| arrived.send(signal).unwrap());
        signals.on_second_stop(|signal| format!("ended by {signal}; step 7 is saved"));
        println!("\nready");
        for signal in arrivals {
            let saves = (signals.take_save_request(), signals.take_save_request());
            println!("{signal} stop {:?} save {saves:?}", signals.stop_requested());
        }
    }

    struct Process(Child, BufReader<ChildStdout>);

    impl Process {
        fn start() -> Process {
            Process::start_by(Command::new(std::env::current_exe().unwrap()))
        }

        fn start_by(mut command: Command) -> Process {
            let mut child = command
                .args(["--exact", "signals::tests::signalled_process", "--ignored", "--nocapture"])
                .env("SIGNALS_TEST", "")
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let stdout = BufReader::new(child.stdout.take().unwrap());
            let mut process = Process(child, stdout);
            while process.line() != "ready" {}
            process
        }

        fn line(&mut self) -> String {
            let mut line = String::new();
            assert_ne!(self.1.read_line(&mut line).unwrap(), 0, "the process ended early");
            line.trim_end().to_owned()
        }

        fn send(&self, signal: Signal) {
            let signal = rustix::process::Signal::from_named_raw(signal.number()).unwrap();
            kill_process(Pid::from_child(&self.0), signal).unwrap();
        }
    }

    impl Drop for Process {
        fn drop(&mut self) {
            // It may have ended already.
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn a_stop_signal_is_a_request_that_stays() {
        let mut process = Process::start();
        process.send(Signal::Terminate);
        assert_eq!(process.line(), "SIGTERM stop Some(Terminate) save (false, false)");
        process.send(Signal::User1);
        assert_eq!(process.line(), "SIGUSR1 stop Some(Terminate) save (true, false)");
    }

    #[test]
    fn a_save_signal_is_a_request_that_is_taken_once_and_stops_nothing() {
        let mut process = Process::start();
        for _ in 0..2 {
            process.send(Signal::User1);
            assert_eq!(process.line(), "SIGUSR1 stop None save (true, false)");
        }
    }

    #[test]
    fn a_second_stop_signal_ends_the_process_with_its_code_after_a_last_line() {
        let mut process = Process::start();
        process.send(Signal::Interrupt);
        process.line();
        process.send(Signal::Hangup);
        let mut last_words = String::new();
        std::io::Read::read_to_string(&mut process.0.stderr.take().unwrap(), &mut last_words).unwrap();
        assert!(last_words.ends_with("ended by SIGHUP; step 7 is saved\n"), "{last_words}");
        let status = process.0.wait().unwrap();
        assert_eq!((status.code(), status.signal()), (Some(129), None));
    }

    #[test]
    fn a_signal_that_was_ignored_at_the_start_stays_ignored() {
        let mut shell = Command::new("sh");
        shell.args(["-c", "trap '' HUP; exec \"$0\" \"$@\""]).arg(std::env::current_exe().unwrap());
        let mut process = Process::start_by(shell);
        process.send(Signal::Hangup);
        process.send(Signal::User1);
        assert_eq!(process.line(), "SIGUSR1 stop None save (true, false)");
    }

    #[test]
    fn the_mask_of_ignored_signals_is_read_from_what_the_kernel_says() {
        let mask = parse_ignored("Name:\tx\nSigIgn:\t0000000000001001\nSigCgt:\tffffffffffffffff\n");
        assert!(is_in_mask(mask, 1) && is_in_mask(mask, 13) && !is_in_mask(mask, 2));
        assert_eq!((parse_ignored(""), parse_ignored("SigIgn:\tzz")), (0, 0));
        assert!(!is_in_mask(u64::MAX, 0) && !is_in_mask(u64::MAX, 65));
    }
}
