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
        Event::BranchCut(cut) => Some((cut.epoch, cut.step)),
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
    let is_sent = move |step: u64| every_steps > 0 && step.is_multiple_of(every_steps);
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

#[cfg(test)]
mod tests {
    use super::{Ledger, MOST_METRICS, as_key, final_status, follow_resets, metrics, next, params};
    use crate::train::event::{EpochDone, Event, Finished, SignalReceived, StepDone};
    use crate::train::history::History;
    use std::path::Path;

    fn history(epochs: u64, steps_per_epoch: u64) -> History {
        let mut history = History::default();
        for step in 1..=epochs * steps_per_epoch {
            let loss_bits = 1.0_f32.to_bits();
            let (epoch, batch) = ((step - 1) / steps_per_epoch + 1, (step - 1) % steps_per_epoch);
            let (lr, gradient_norm, examples, digest) = (0.1, 1.0, 4, None);
            let done = StepDone { step, epoch, batch, loss_bits, lr, gradient_norm, examples, digest };
            history.add(Event::StepDone(done));
        }
        for epoch in 1..=epochs {
            history.add(Event::EpochDone(EpochDone {
                epoch,
                step: epoch * steps_per_epoch,
                lr: 0.1,
                train_loss: f64::NAN,
                validation: vec![("val_loss".to_owned(), 0.5)],
                is_best: true,
                seconds: 1.0,
                attempt: 1,
            }));
        }
        history
    }

    #[test]
    fn messages_are_small_enough_and_have_every_value_once() {
        let history = history(500, 20);
        let (mut ledger, mut sent) = (Ledger::default(), Vec::new());
        while let Some(pending) = next(&ledger, &history, 5, 7) {
            let message = metrics(&ledger, pending, &history, 5);
            assert!((1..=MOST_METRICS).contains(&message.len()), "{}", message.len());
            sent.extend(message.iter().map(|metric| (metric["key"].to_string(), metric["step"].to_string())));
            (ledger.epoch, ledger.step) = (pending.epoch, pending.step);
        }
        assert_eq!(sent.len(), 500 * 4 + 500 * 20 / 5 * 3);
        sent.sort();
        sent.dedup();
        assert_eq!(sent.len(), 500 * 4 + 500 * 20 / 5 * 3);
    }

    #[test]
    fn a_message_without_an_answer_is_made_again_as_it_was() {
        let mut ledger = Ledger::default();
        let first = next(&ledger, &history(3, 20), 10, 7).unwrap();
        let before = metrics(&ledger, first, &history(3, 20), 10);
        ledger.pending = Some(first);
        let again = next(&ledger, &history(9, 20), 10, 99).unwrap();
        assert_eq!((again, metrics(&ledger, again, &history(9, 20), 10)), (first, before));
    }

    #[test]
    fn numbers_that_json_lacks_are_told_in_words() {
        let (ledger, history) = (Ledger::default(), history(1, 2));
        let message = metrics(&ledger, next(&ledger, &history, 0, 7).unwrap(), &history, 0);
        let value = |key: &str| &message.iter().find(|metric| metric["key"] == key).unwrap()["value"];
        assert_eq!((value("train_loss"), value("val_loss")), (&"NaN".into(), &0.5.into()));
        assert_eq!(message.len(), 4);
    }

    #[test]
    fn what_was_discarded_is_sent_anew() {
        let mut ledger = Ledger { epoch: 9, step: 180, ..Ledger::default() };
        follow_resets(&mut ledger, &[], &history(9, 20));
        assert_eq!((ledger.epoch, ledger.step), (9, 180));
        follow_resets(&mut ledger, &[], &history(4, 20));
        assert_eq!((ledger.epoch, ledger.step), (4, 80));
    }

    #[test]
    fn the_end_of_a_process_is_told_as_it_was() {
        let mut history = history(1, 2);
        assert_eq!(final_status(&history), "FAILED");
        history.add(Event::SignalReceived(SignalReceived { signal: "SIGTERM".to_owned(), step: 2 }));
        assert_eq!(final_status(&history), "KILLED");
        history.add(Event::Finished(Finished { step: 2, epoch: 1, reason: "done".to_owned() }));
        assert_eq!(final_status(&history), "FINISHED");
    }

    #[test]
    fn parameters_are_the_settings_and_names_are_what_the_server_takes() {
        let text = "train.epochs = 7\n[mlflow]\nuri = \"http://x\"\n";
        let params = params(text, Path::new("trainer.toml"));
        assert!(params.contains(&("train.epochs".to_owned(), "7".to_owned())), "{params:?}");
        assert!(params.iter().all(|(key, value)| !key.contains("mlflow") && value.len() <= 500));
        assert_eq!(as_key("data.inputs.\"a:b\""), "data.inputs.:a:b:".replace(':', "_"));
    }
}
