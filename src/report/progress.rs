//! Progress of a run: a bar on a terminal, one line per epoch everywhere.

use super::run_log;
use crate::train::event::EpochDone;
use crate::train::observe::{Observer, StepProgress};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::time::Instant;

/// Shows a run on stderr.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    verbosity: Verbosity,
    first_step: Option<(Instant, u64)>,
    examples: u64,
    smoothed_loss: Option<f32>,
}

/// Lines beside the bar, from any thread.
#[derive(Debug, Clone)]
pub struct Printer {
    bar: Option<ProgressBar>,
}

impl Printer {
    /// A line that everybody is to see; it does not disturb the bar.
    pub fn line(&self, text: &str) {
        // A reader that has gone away (`2>&1 | head`) is no reason to stop training, and there is nobody left to tell.
        let write = || _ = writeln!(std::io::stderr(), "{text}");
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
        run_log::note(text);
    }
}

/// How much is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verbosity {
    /// Notices only.
    Quiet,
    /// A bar on a terminal, a line per epoch.
    Normal,
}

/// How much of the shown loss comes from the newest step.
const NEWEST_SHARE: f32 = 0.1;

impl Progress {
    /// Progress on stderr; without a bar if that is no terminal.
    #[must_use]
    pub fn new(verbosity: Verbosity) -> Self {
        let shows_bar = verbosity == Verbosity::Normal && std::io::stderr().is_terminal();
        let bar = shows_bar.then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
            let style = ProgressStyle::with_template("{prefix} [{bar:30}] {pos}/{len} {msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
            bar
        });
        Self { bar, verbosity, first_step: None, examples: 0, smoothed_loss: None }
    }

    /// A line that tells how the run goes; where only warnings are wanted, it goes to the log file alone.
    pub fn info(&self, text: &str) {
        match self.verbosity {
            Verbosity::Normal => self.line(text),
            Verbosity::Quiet => run_log::note(text),
        }
    }

    /// A line that everybody is to see; it does not disturb the bar.
    pub fn line(&self, text: &str) {
        self.printer().line(text);
    }

    /// Somebody else who prints lines.
    #[must_use]
    pub fn printer(&self) -> Printer {
        Printer { bar: self.bar.clone() }
    }

    /// Removes the bar.
    pub fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Observer for Progress {
    fn step(&mut self, progress: &StepProgress) {
        let Some(bar) = &self.bar else { return };
        let now = Instant::now();
        let (since, first) = *self.first_step.get_or_insert((now, progress.step));
        self.examples += progress.examples as u64;
        let loss =
            self.smoothed_loss.map_or(progress.loss, |loss| loss + NEWEST_SHARE * (progress.loss - loss));
        self.smoothed_loss = Some(loss);
        let seconds = now.duration_since(since).as_secs_f64();
        let steps_done = progress.step - first;
        let mut message = format!("loss {loss:.4}  lr {:.2e}", progress.lr);
        if steps_done > 0 && seconds > 0.0 {
            let epochs_left = progress.epochs.saturating_sub(progress.epoch);
            let steps_left =
                epochs_left * progress.batches + progress.batches.saturating_sub(progress.batches_done);
            let left_s = seconds / steps_done as f64 * steps_left as f64;
            _ = write!(
                message,
                "  {:.0} examples/s  {} left",
                self.examples as f64 / seconds,
                duration(left_s)
            );
        }
        bar.set_length(progress.batches);
        bar.set_prefix(format!("epoch {}/{}", progress.epoch, progress.epochs));
        bar.set_position(progress.batches_done);
        bar.set_message(message);
    }

    fn epoch(&mut self, epoch: &EpochDone, epochs: u64) {
        let mut line = format!(
            "epoch {:>3}/{epochs}  step {:>6}  train_loss {:.4}",
            epoch.epoch, epoch.step, epoch.train_loss
        );
        for (name, value) in &epoch.validation {
            _ = write!(line, "  {name} {value:.4}");
        }
        _ = write!(
            line,
            "  lr {:.2e}  {:.2} s{}",
            epoch.lr,
            epoch.seconds,
            if epoch.is_best { "  best" } else { "" }
        );
        self.info(&line);
    }

    fn notice(&mut self, line: &str) {
        self.line(line);
    }
}

/// A bar on stderr for work on many bytes: those done of those in all, the rate, and the time left. Only on a terminal;
/// gone with the value.
#[derive(Debug)]
pub struct ByteBar(Option<ProgressBar>);

impl ByteBar {
    /// A bar, where stderr is a terminal and something may be said.
    #[must_use]
    pub fn new(verbosity: Verbosity) -> Self {
        let shows_bar = verbosity == Verbosity::Normal && std::io::stderr().is_terminal();
        Self(shows_bar.then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
            let style = ProgressStyle::with_template(
                "[{bar:30}] {decimal_bytes}/{decimal_total_bytes}  {decimal_bytes_per_sec}  {eta} left",
            );
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
            bar
        }))
    }

    /// So many bytes there are.
    pub fn expect(&self, bytes: u64) {
        self.0.iter().for_each(|bar| bar.set_length(bytes));
    }

    /// So many are done.
    pub fn show(&self, bytes: u64) {
        self.0.iter().for_each(|bar| bar.set_position(bytes));
    }
}

impl Drop for ByteBar {
    fn drop(&mut self) {
        self.0.iter().for_each(ProgressBar::finish_and_clear);
    }
}

/// A duration as a person says it: `47s`, `3m20s`, `2h05m`.
#[must_use]
pub fn duration(seconds: f64) -> String {
    // Saturates for absurd values; a negative or NaN duration counts as none.
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{whole}s"),
        60..3600 => format!("{}m{:02}s", whole / 60, whole % 60),
        _ => format!("{}h{:02}m", whole / 3600, whole % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn durations_read_as_a_person_says_them() {
        assert_eq!(
            [duration(0.4), duration(59.4), duration(200.0), duration(7500.0)],
            ["0s", "59s", "3m20s", "2h05m"]
        );
        assert_eq!(duration(f64::NAN), "0s");
    }
}
