//! Which scalars a history has, in the order of the file.

use super::proto::{Event, Summary, Value};
use super::{FILE_VERSION, encoded};
use crate::report::clock::Clock;
use crate::train::event::{EpochDone, StepDone};
use crate::train::history::History;

/// How far a file has got.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Cursor {
    is_begun: bool,
    step: u64,
    epoch: u64,
    /// Readings of the clock that were looked at.
    samples: usize,
    /// The step of the last rate.
    rate_step: u64,
}

/// The examples per second up to a step.
struct Rate {
    step: u64,
    at_s: f64,
    examples_per_s: f64,
}

impl Cursor {
    /// Everything that the history has besides, as bytes of the file. Of an attempt that is at work the steps behind its
    /// last reading of the clock would get another time later, so this is for where all attempts are over.
    pub(super) fn all_of(&mut self, history: &History) -> Vec<u8> {
        self.up_to(history, history.last_step())
    }

    /// The same, up to the last reading of the clock.
    pub(super) fn timed_of(&mut self, history: &History) -> Vec<u8> {
        let last = history.samples.last().map_or(0, |sample| sample.step);
        self.up_to(history, last)
    }

    fn up_to(&mut self, history: &History, last: u64) -> Vec<u8> {
        let clock = Clock::of(history);
        let mut bytes = Vec::new();
        if !self.is_begun {
            self.is_begun = true;
            let wall_time = history.samples.first().map_or(0.0, |sample| sample.unix_ms as f64 / 1000.0);
            let file_version = Some(FILE_VERSION.to_owned());
            bytes.extend(encoded(&Event { wall_time, file_version, ..Event::default() }));
        }
        let mut rates = self.rates(history).into_iter().peekable();
        let mut epochs =
            history.epochs.range(self.epoch.saturating_add(1)..).map(|(_, epoch)| epoch).peekable();
        let steps = history.steps.range(self.step.saturating_add(1)..).map(|(_, done)| done);
        let mut steps = steps.take_while(|done| done.step <= last).peekable();
        loop {
            // Behind each step the rate up to it, and the epoch that it ends.
            let next = steps.peek().map_or(u64::MAX, |done| done.step);
            if let Some(rate) = rates.next_if(|rate| rate.step < next) {
                bytes.extend(of_rate(&rate));
                self.rate_step = rate.step;
            } else if let Some(epoch) = epochs.next_if(|epoch| epoch.step < next && epoch.step <= last) {
                bytes.extend(of_epoch(epoch, clock.unix_s(history, epoch.step).unwrap_or(0.0)));
                self.epoch = epoch.epoch;
            } else if let Some(done) = steps.next() {
                bytes.extend(of_step(done, clock.unix_s(history, done.step).unwrap_or(0.0)));
                self.step = done.step;
            } else {
                return bytes;
            }
        }
    }

    /// The rates up to readings that were not looked at yet. A reading of an attempt that computed steps again, or whose
    /// steps are void, tells of no step for the first time.
    fn rates(&mut self, history: &History) -> Vec<Rate> {
        let mut rates = Vec::new();
        let mut last = self.rate_step;
        let pairs = history.samples.windows(2).skip(self.samples.saturating_sub(1));
        for pair in pairs {
            let [before, reading] = pair else { continue };
            let is_first = history.attempt_of_step(reading.step) == Some(reading.attempt)
                && history.steps.contains_key(&reading.step);
            let is_behind = before.attempt == reading.attempt && before.step < reading.step;
            let seconds = reading.unix_ms.saturating_sub(before.unix_ms) as f64 / 1000.0;
            if !(is_first && is_behind) || reading.step <= last || seconds <= 0.0 {
                continue;
            }
            let steps = history.steps.range(before.step + 1..=reading.step);
            let examples: u64 = steps.fold(0, |sum, (_, done)| sum.saturating_add(done.examples));
            let (step, at_s) = (reading.step, reading.unix_ms as f64 / 1000.0);
            rates.push(Rate { step, at_s, examples_per_s: examples as f64 / seconds });
            last = step;
        }
        self.samples = history.samples.len();
        rates
    }
}

fn of_rate(rate: &Rate) -> Vec<u8> {
    event(rate.step, rate.at_s, vec![("train/examples_per_s".to_owned(), rate.examples_per_s as f32)])
}

fn of_step(done: &StepDone, wall_time: f64) -> Vec<u8> {
    let values = [
        ("train/loss", f32::from_bits(done.loss_bits)),
        ("lr", done.lr as f32),
        ("gradient_norm", done.gradient_norm as f32),
    ];
    event(done.step, wall_time, values.map(|(tag, value)| (tag.to_owned(), value)).to_vec())
}

fn of_epoch(done: &EpochDone, wall_time: f64) -> Vec<u8> {
    let mut values = vec![
        ("epoch".to_owned(), done.epoch as f32),
        ("train/epoch_loss".to_owned(), done.train_loss as f32),
    ];
    values.extend(done.validation.iter().map(|(name, value)| {
        let tag = format!("val/{}", name.strip_prefix("val_").unwrap_or(name));
        (tag, *value as f32)
    }));
    event(done.step, wall_time, values)
}

fn event(step: u64, wall_time: f64, values: Vec<(String, f32)>) -> Vec<u8> {
    let value = values.into_iter().map(|(tag, value)| Value { tag, simple_value: Some(value) }).collect();
    let step = i64::try_from(step).unwrap_or(i64::MAX);
    encoded(&Event { wall_time, step, summary: Some(Summary { value }), ..Event::default() })
}
