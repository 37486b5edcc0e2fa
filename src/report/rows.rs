//! Progress of work on examples: a bar on a terminal, nothing elsewhere.

use super::progress::Verbosity;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;

/// Shows on stderr how many examples are done.
#[derive(Debug)]
pub struct RowsProgress {
    bar: Option<ProgressBar>,
}

impl RowsProgress {
    /// A bar for so many examples; `None` where nobody knows how many there are.
    #[must_use]
    pub fn new(total: Option<u64>, verbosity: Verbosity) -> Self {
        let shows_bar = verbosity == Verbosity::Normal && std::io::stderr().is_terminal();
        let bar = shows_bar.then(|| {
            let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr_with_hz(10));
            let template = match total {
                Some(_) => "[{bar:30}] {pos}/{len} examples  {per_sec}  {eta} left",
                None => "{spinner} {pos} examples  {per_sec}",
            };
            let style = ProgressStyle::with_template(template);
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
            bar
        });
        Self { bar }
    }

    /// So many examples are done.
    pub fn set(&self, done: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        }
    }
}

impl Drop for RowsProgress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
