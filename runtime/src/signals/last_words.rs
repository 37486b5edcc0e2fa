//! The last line of a process that leaves, written in a way that nothing can hold up.
//!
//! Everything here may run in a signal handler: no allocation, no lock, no buffered stream.

use std::os::fd::BorrowedFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Longer than any line that is written here.
const LINE_BYTES: usize = 320;

/// Clears the line of a progress bar and shows the cursor.
const TIDY_TERMINAL: &[u8] = b"\r\x1b[2K\x1b[?25h";

/// Why the process leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// A second stop signal.
    Again,
    /// The grace is over.
    GraceOver {
        /// How long it was.
        grace_s: u64,
    },
    /// Nothing was to be saved while it did this.
    NothingToSave(&'static str),
}

/// What is known of the last durable step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Saved {
    /// Nothing.
    Unknown,
    /// There is none.
    Nothing,
    /// This one.
    Step(u64),
}

/// A line on the stack. What does not fit is cut off.
struct Line {
    bytes: [u8; LINE_BYTES],
    len: usize,
}

impl Line {
    fn new() -> Line {
        Line { bytes: [0; LINE_BYTES], len: 0 }
    }

    fn push(&mut self, text: &[u8]) {
        for byte in text {
            if let Some(place) = self.bytes.get_mut(self.len) {
                *place = *byte;
                self.len += 1;
            }
        }
    }

    fn push_number(&mut self, mut number: u64) {
        // The largest has 20 digits.
        let mut digits = [b'0'; 20];
        let mut start = digits.len();
        loop {
            start = start.saturating_sub(1);
            if let Some(digit) = digits.get_mut(start) {
                *digit = b'0' + (number % 10) as u8;
            }
            number /= 10;
            if number == 0 {
                break;
            }
        }
        self.push(digits.get(start..).unwrap_or_default());
    }

    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

fn line(signal: &str, why: Why, saved: Saved, is_terminal: bool) -> Line {
    let mut line = Line::new();
    if is_terminal {
        line.push(TIDY_TERMINAL);
    }
    line.push(signal.as_bytes());
    match why {
        Why::Again => line.push(b" again: leaving at once"),
        Why::GraceOver { grace_s } => {
            line.push(b": the grace of ");
            line.push_number(grace_s);
            line.push(b" s is over before the save was durable");
        }
        Why::NothingToSave(what) => {
            line.push(b" received while ");
            line.push(what.as_bytes());
            line.push(b": nothing new to save");
        }
    }
    match saved {
        Saved::Unknown => {}
        Saved::Nothing => line.push(b"; no step is saved yet"),
        Saved::Step(step) => {
            line.push(b"; step ");
            line.push_number(step);
            line.push(b" is saved");
        }
    }
    line.push(b". Run the same command again to go on.\n");
    line
}

/// Writes the line to standard error if that takes it at once.
pub(super) fn say(signal: &str, why: Why, saved: Saved, is_terminal: bool) {
    let line = line(signal, why, saved, is_terminal);
    let stderr = rustix::stdio::stderr();
    if is_ready(stderr) {
        // Whatever comes of it, the process leaves.
        let _ = rustix::io::write(stderr, line.as_bytes());
    }
}

/// Whether a short write would not block: a pipe whose reader sleeps, or a stopped terminal, is not waited for.
fn is_ready(fd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::OUT)];
    let no_time = Timespec { tv_sec: 0, tv_nsec: 0 };
    matches!(poll(&mut fds, Some(&no_time)), Ok(1..))
}

#[cfg(test)]
mod tests {
    use super::{Saved, Why, line};

    #[track_caller]
    fn check_line(why: Why, saved: Saved, expected: &str) {
        let line = line("SIGTERM", why, saved, false);
        assert_eq!(std::str::from_utf8(line.as_bytes()).unwrap(), expected);
    }

    #[test]
    fn the_last_line_names_signal_reason_and_step() {
        check_line(
            Why::Again,
            Saved::Step(u64::MAX),
            "SIGTERM again: leaving at once; step 18446744073709551615 is saved. Run the same command again to go on.\n",
        );
        check_line(
            Why::GraceOver { grace_s: 25 },
            Saved::Nothing,
            "SIGTERM: the grace of 25 s is over before the save was durable; no step is saved yet. Run the same command \
             again to go on.\n",
        );
        check_line(
            Why::NothingToSave("building sessions"),
            Saved::Unknown,
            "SIGTERM received while building sessions: nothing new to save. Run the same command again to go on.\n",
        );
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_and_not_written_beyond() {
        let long = "x".repeat(1000);
        let line = line(&long, Why::Again, Saved::Step(1), true);
        assert_eq!(line.as_bytes().len(), super::LINE_BYTES);
    }
}
