//! Real signals to real processes.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, kill_process};

use super::{COPY_WITHIN, OnStop, Signals};

/// What the process of a test does; the name of the variable it is told in.
const ROLE: &str = "SIGNALS_TEST";

/// Run by the tests below in a process of its own: handles signals, and says what it sees.
#[test]
#[ignore = "is driven by signals"]
fn signalled_process() {
    let Some(role) = std::env::var_os(ROLE) else { return };
    let role = role.to_str().unwrap();
    let signals = Signals::install().unwrap();
    signals.set_durable_step(Arc::new(AtomicU64::new(7)));
    let (arrived, arrivals) = mpsc::channel();
    let others = [arrived.clone(), arrived.clone(), arrived.clone()];
    if role == "user1 stops" {
        signals.let_user1_stop();
    }
    if role == "hurried" {
        signals.set_grace(Duration::from_millis(300));
    }
    signals.set_on_stop(if role == "idle" { OnStop::Leave("testing") } else { OnStop::Request });
    let [cancelled, saves, tells] = others;
    signals.on_stop_request(
        move |signal| {
            arrived.send(format!("stop {signal}")).unwrap();
            Duration::from_millis(20)
        },
        move || cancelled.send("cancel".to_owned()).unwrap(),
    );
    signals.on_save_request(move || saves.send("save".to_owned()).unwrap());
    signals.on_status_request(move || tells.send("status".to_owned()).unwrap());
    println!("\nready");
    for what in arrivals {
        let taken = (signals.take_save_request(), signals.take_save_request());
        println!("{what}: stop {:?} save {taken:?}", signals.stop_requested());
    }
}

struct Process(Child, BufReader<ChildStdout>);

impl Process {
    fn start(role: &str) -> Process {
        Process::start_by(Command::new(std::env::current_exe().unwrap()), role)
    }

    fn start_by(mut command: Command, role: &str) -> Process {
        let mut child = command
            .args(["--exact", "signals::tests::signalled_process", "--ignored", "--nocapture"])
            .env(ROLE, role)
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

    fn send(&self, number: i32) {
        let signal = rustix::process::Signal::from_named_raw(number).unwrap();
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    /// The exit code and the last line on standard error.
    fn end(mut self) -> (Option<i32>, String) {
        let status = self.0.wait().unwrap();
        assert_eq!(status.signal(), None, "killed by a signal");
        let mut said = String::new();
        self.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (status.code(), said.lines().last().unwrap_or_default().to_owned())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const INT: i32 = 2;
const HUP: i32 = 1;
const TERM: i32 = 15;
const USR1: i32 = 10;
const USR2: i32 = 12;

#[test]
fn a_stop_signal_is_a_request_that_stays_and_work_is_cancelled_in_its_time() {
    let mut process = Process::start("");
    process.send(TERM);
    assert_eq!(process.line(), "stop SIGTERM: stop Some(Terminate) save (false, false)");
    assert_eq!(process.line(), "cancel: stop Some(Terminate) save (false, false)");
    process.send(USR1);
    assert_eq!(process.line(), "save: stop Some(Terminate) save (true, false)");
}

#[test]
fn a_save_signal_is_taken_once_and_a_status_signal_asks_for_nothing() {
    let mut process = Process::start("");
    for _ in 0..2 {
        process.send(USR1);
        assert_eq!(process.line(), "save: stop None save (true, false)");
        process.send(USR2);
        assert_eq!(process.line(), "status: stop None save (false, false)");
    }
}

#[test]
fn sigusr1_stops_where_it_is_told_to() {
    let mut process = Process::start("user1 stops");
    process.send(USR1);
    assert_eq!(process.line(), "stop SIGUSR1: stop Some(User1) save (false, false)");
}

#[test]
fn a_second_stop_signal_ends_the_process_with_its_code_after_a_last_line() {
    let mut process = Process::start("");
    process.send(INT);
    process.line();
    process.send(HUP);
    let line = "SIGHUP again: leaving at once; step 7 is saved. Run the same command again to go on.";
    assert_eq!(process.end(), (Some(129), line.to_owned()));
}

#[test]
fn ten_impatient_signals_are_the_same_as_two() {
    let mut process = Process::start("");
    process.send(INT);
    process.line();
    std::thread::sleep(COPY_WITHIN);
    for _ in 0..9 {
        process.send(INT);
    }
    assert_eq!(process.end().0, Some(130));
}

#[test]
fn a_standard_error_that_nobody_reads_does_not_keep_the_process() {
    let mut process = Process::start("");
    // A pipe holds 64 KiB; the process's own output does not fill it, so another writer does.
    let path = format!("/proc/{}/fd/2", process.0.id());
    let mut pipe = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    rustix::io::ioctl_fionbio(&pipe, true).unwrap();
    while std::io::Write::write(&mut pipe, &[b'x'; 4096]).is_ok() {}
    rustix::io::ioctl_fionbio(&pipe, false).unwrap();
    process.send(INT);
    process.line();
    process.send(TERM);
    assert_eq!(process.0.wait().unwrap().code(), Some(143));
}

#[test]
fn a_signal_while_there_is_nothing_to_save_ends_the_process() {
    let process = Process::start("idle");
    process.send(TERM);
    let line = "SIGTERM received while testing: nothing new to save; step 7 is saved. Run the same command again to go on.";
    assert_eq!(process.end(), (Some(143), line.to_owned()));
}

#[test]
fn when_the_grace_is_over_the_process_leaves_with_what_is_durable() {
    let since = Instant::now();
    let process = Process::start("hurried");
    process.send(TERM);
    let (code, line) = process.end();
    assert!(line.contains("SIGTERM: the grace of 0 s is over") && line.contains("step 7 is saved"), "{line}");
    assert!(code == Some(143) && since.elapsed() >= Duration::from_millis(300));
}

#[test]
fn a_signal_that_was_ignored_at_the_start_stays_ignored() {
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' HUP; exec \"$0\" \"$@\""]).arg(std::env::current_exe().unwrap());
    let mut process = Process::start_by(shell, "");
    process.send(HUP);
    process.send(USR1);
    assert_eq!(process.line(), "save: stop None save (true, false)");
}
