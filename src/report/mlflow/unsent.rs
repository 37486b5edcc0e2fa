//! What a server has not been told yet: a decision, made from the journal and the ledger without touching anything.

use super::ledger::{Ledger, Pending};
use crate::config;
use crate::report::clock::Clock;
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

/// Whether the run goes on while it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// More records follow.
    AtWork,
    /// The last record of the process is there.
    Over,
}

/// The last step that is told. When the steps behind the last reading of the clock were done is known for good with the
/// next one, and a value that is sent again must come with the same time.
pub(super) fn last_told(history: &History, moment: Moment) -> u64 {
    match moment {
        Moment::AtWork => history.samples.last().map_or(0, |sample| sample.step).min(history.last_step()),
        Moment::Over => history.last_step(),
    }
}

/// When the run began and when its last step was done, in milliseconds since 1970; `None` if its journal has no reading of
/// the clock.
pub(super) fn span_ms(history: &History) -> Option<(u64, u64)> {
    let spans = Clock::of(history).spans(history);
    Some((in_ms(spans.first()?.began_s), in_ms(spans.last()?.ended_s)))
}

fn in_ms(unix_s: f64) -> u64 {
    (unix_s * 1000.0).round() as u64
}

/// The next message with values up to the step `last`: up to where it goes, if there is anything to send.
pub(super) fn next(
    ledger: &Ledger,
    history: &History,
    every_steps: u64,
    last: u64,
    now_ms: u64,
) -> Option<Pending> {
    if let Some(pending) = ledger.pending {
        return Some(pending);
    }
    let (mut epoch, mut count) = (ledger.epoch, 0);
    let epochs = history.epochs.range(ledger.epoch + 1..).map(|(_, done)| done);
    for done in epochs.take_while(|done| done.step <= last) {
        let more = count + values_of_epoch(done).len();
        if more > MOST_METRICS && count > 0 {
            break;
        }
        (epoch, count) = (done.epoch, more);
    }
    let mut step = ledger.step;
    for done in steps(history, ledger.step, last, every_steps) {
        if count + 3 > MOST_METRICS {
            break;
        }
        (step, count) = (done.step, count + 3);
    }
    (count > 0).then_some(Pending { timestamp_ms: now_ms, epoch, step })
}

/// The values of a message. Each has the time at which its step was done, as the journal tells it: a server knows a value by
/// that which it has already, whoever sends it again.
pub(super) fn metrics(ledger: &Ledger, pending: Pending, history: &History, every_steps: u64) -> Vec<Value> {
    let clock = Clock::of(history);
    let metric = |name: &str, value: f64, step: u64| {
        // JSON has no other numbers; the server reads these words.
        let value = match value {
            value if value.is_nan() => Value::from("NaN"),
            value if value.is_infinite() => Value::from(if value > 0.0 { "Infinity" } else { "-Infinity" }),
            value => Value::from(value),
        };
        let timestamp_ms = clock.unix_s(history, step).map_or(pending.timestamp_ms, in_ms);
        json!({ "key": name, "value": value, "timestamp": timestamp_ms, "step": step })
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
    use super::{
        Ledger, MOST_METRICS, Moment, as_key, final_status, follow_resets, last_told, metrics, next, params,
        span_ms,
    };
    use crate::train::event::{EpochDone, Event, Finished, SignalReceived, StepDone};
    use crate::train::history::History;
    use crate::train::history::fixtures::{attempt, begun, sample, step};
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
        while let Some(pending) = next(&ledger, &history, 5, u64::MAX, 7) {
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
        let first = next(&ledger, &history(3, 20), 10, u64::MAX, 7).unwrap();
        let before = metrics(&ledger, first, &history(3, 20), 10);
        ledger.pending = Some(first);
        let again = next(&ledger, &history(9, 20), 10, u64::MAX, 99).unwrap();
        assert_eq!((again, metrics(&ledger, again, &history(9, 20), 10)), (first, before));
    }

    #[test]
    fn numbers_that_json_lacks_are_told_in_words() {
        let (ledger, history) = (Ledger::default(), history(1, 2));
        let message = metrics(&ledger, next(&ledger, &history, 0, u64::MAX, 7).unwrap(), &history, 0);
        let value = |key: &str| &message.iter().find(|metric| metric["key"] == key).unwrap()["value"];
        assert_eq!((value("train_loss"), value("val_loss")), (&"NaN".into(), &0.5.into()));
        assert_eq!(message.len(), 4);
    }

    /// Steps and times of the values of a message with everything up to `last`.
    fn times(history: &History, last: u64) -> Vec<(u64, u64)> {
        let ledger = Ledger::default();
        let Some(pending) = next(&ledger, history, 1, last, 7) else { return Vec::new() };
        let message = metrics(&ledger, pending, history, 1);
        let of = |metric: &serde_json::Value| {
            Some((metric["step"].as_u64()?, metric["timestamp"].as_u64()?))
                .filter(|_| metric["key"] == "lr" || metric["key"] == "step_lr")
        };
        message.iter().filter_map(of).collect()
    }

    #[test]
    fn values_have_the_time_of_their_step_whenever_they_are_sent() {
        let mut history = begun();
        history.add(sample(1_000, 0));
        (1..=4).for_each(|number| history.add(step(number)));
        history.add(sample(5_000, 4));
        (5..=6).for_each(|number| history.add(step(number)));
        // When steps 5 and 6 were done, the next reading tells, or that there is none.
        assert_eq!((last_told(&history, Moment::AtWork), last_told(&history, Moment::Over)), (4, 6));
        let early = times(&history, 4);
        assert_eq!(early, [(1, 2_000), (2, 3_000), (3, 4_000), (4, 5_000)]);
        history.add(attempt(2, 6, false));
        history.add(sample(60_000, 6));
        history.add(step(7));
        history.add(sample(61_000, 7));
        let late = times(&history, last_told(&history, Moment::AtWork));
        assert!(late.starts_with(&early), "{late:?}");
        assert_eq!(late[4..], [(5, 6_000), (6, 7_000), (7, 61_000)]);
        assert_eq!(span_ms(&history), Some((1_000, 61_000)));
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
