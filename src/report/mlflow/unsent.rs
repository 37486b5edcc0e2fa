//! What a server has not been told yet: a decision, made from the journal and the ledger without touching anything.

use super::ledger::{Ledger, Pending};
use crate::config;
use crate::train::event::{EpochDone, Event, StepDone};
use crate::train::history::History;
use serde_json::{Value, json};
use std::path::Path;

/// Most values in one message. The server takes 1000.
const MOST_METRICS: usize = 900;

/// Most parameters in one message.
pub(super) const MOST_PARAMS: usize = 100;

/// Longest parameter, in characters: older servers take no more.
const PARAM_CHARS: usize = 500;

/// Takes records into account that discard steps: what is computed in their place is news.
pub(super) fn follow_resets(ledger: &mut Ledger, events: &[Event], history: &History) {
    let discards = events.iter().filter_map(|event| match event {
        Event::Resumed(resumed) if resumed.discards_later => Some((resumed.epoch, resumed.step)),
        Event::MicroBatchChanged(changed) => Some((changed.epoch, changed.step)),
        _ => None,
    });
    let mut count = 0;
    for (epoch, step) in discards {
        count += 1;
        if count > ledger.resets {
            ledger.epoch = ledger.epoch.min(epoch.saturating_sub(1));
            ledger.step = ledger.step.min(step);
            ledger.pending = None;
        }
    }
    ledger.resets = count;
    // Whatever made the history shorter.
    let last_epoch = history.epochs.keys().next_back().copied().unwrap_or(0);
    if last_epoch < ledger.epoch || history.last_step() < ledger.step {
        ledger.epoch = ledger.epoch.min(last_epoch);
        ledger.step = ledger.step.min(history.last_step());
        ledger.pending = None;
    }
}

/// The next message: up to where it goes, if there is anything to send.
pub(super) fn next(ledger: &Ledger, history: &History, every_steps: u64, now_ms: u64) -> Option<Pending> {
    if let Some(pending) = ledger.pending {
        return Some(pending);
    }
    let (mut epoch, mut count) = (ledger.epoch, 0);
    for done in history.epochs.range(ledger.epoch + 1..).map(|(_, done)| done) {
        let more = count + values_of_epoch(done).len();
        if more > MOST_METRICS && count > 0 {
            break;
        }
        (epoch, count) = (done.epoch, more);
    }
    let mut step = ledger.step;
    for done in steps(history, ledger.step, history.last_step(), every_steps) {
        if count + 3 > MOST_METRICS {
            break;
        }
        (step, count) = (done.step, count + 3);
    }
    (count > 0).then_some(Pending { timestamp_ms: now_ms, epoch, step })
}

/// The values of a message.
pub(super) fn metrics(ledger: &Ledger, pending: Pending, history: &History, every_steps: u64) -> Vec<Value> {
    let metric = |name: &str, value: f64, step: u64| {
        // JSON has no other numbers; the server reads these words.
        let value = match value {
            value if value.is_nan() => Value::from("NaN"),
            value if value.is_infinite() => Value::from(if value > 0.0 { "Infinity" } else { "-Infinity" }),
            value => Value::from(value),
        };
        json!({ "key": name, "value": value, "timestamp": pending.timestamp_ms, "step": step })
    };
    let epochs = history.epochs.range(ledger.epoch + 1..=pending.epoch.max(ledger.epoch + 1));
    let epochs = epochs.map(|(_, done)| done).filter(|done| done.epoch <= pending.epoch);
    let mut metrics: Vec<Value> = epochs
        .flat_map(|done| {
            values_of_epoch(done).into_iter().map(|(name, value)| metric(&name, value, done.step))
        })
        .collect();
    for done in steps(history, ledger.step, pending.step, every_steps) {
        metrics.push(metric("step_loss", f64::from(f32::from_bits(done.loss_bits)), done.step));
        metrics.push(metric("step_lr", done.lr, done.step));
        metrics.push(metric("gradient_norm", done.gradient_norm, done.step));
    }
    metrics
}

/// The values of an epoch, by the names of the columns of `history.csv`.
fn values_of_epoch(done: &EpochDone) -> Vec<(String, f64)> {
    let own = [("epoch", done.epoch as f64), ("train_loss", done.train_loss), ("lr", done.lr)];
    let own = own.into_iter().map(|(name, value)| (name.to_owned(), value));
    own.chain(done.validation.iter().map(|(name, value)| (as_key(name), *value))).collect()
}

/// The steps above `after` up to `up_to` whose values are sent.
fn steps(history: &History, after: u64, up_to: u64, every_steps: u64) -> impl Iterator<Item = &StepDone> {
    let steps = history.steps.range(after.saturating_add(1)..).map(|(_, done)| done);
    let is_sent = move |step: u64| every_steps > 0 && step % every_steps == 0;
    steps.take_while(move |done| done.step <= up_to).filter(move |done| is_sent(done.step))
}

/// The settings of a run as parameters: all that apply, but for those of the server itself.
pub(super) fn params(settings: &str, path: &Path) -> Vec<(String, String)> {
    let Ok(loaded) = config::from_toml(settings, path) else { return Vec::new() };
    let settings = config::settings_of(&loaded.plan).into_iter().map(|(key, value)| (key.to_string(), value));
    let sent = settings.filter(|(key, _)| !key.starts_with("mlflow."));
    let text = |value: config::Value| match value {
        config::Value::Text(text) => text,
        other => other.literal(),
    };
    sent.map(|(key, value)| (as_key(&key), text(value).chars().take(PARAM_CHARS).collect())).collect()
}

/// A name as the server takes it: letters, digits, `_`, `-`, `.`, spaces and slashes, up to 250.
fn as_key(name: &str) -> String {
    let is_taken = |letter: char| letter.is_ascii_alphanumeric() || "_-. /".contains(letter);
    name.chars().map(|letter| if is_taken(letter) { letter } else { '_' }).take(250).collect()
}

/// The truth about a run whose process ends now, in the words of MLflow.
pub(super) fn final_status(history: &History) -> &'static str {
    match (&history.finished, &history.last_end) {
        (Some(_), _) => "FINISHED",
        (None, Some(end))
            if end.starts_with("was stopped by")
                || end.contains("its time was over")
                || end.contains("SIGUSR1") =>
        {
            "KILLED"
        }
        (None, _) => "FAILED",
    }
}
