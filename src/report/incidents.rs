//! What happened to a run besides training: how its attempts ended, where others took it up, what was saved.

use super::chart::figure::{Mark, MarkKind};
use super::places::Places;
use super::recorded::Recorded;
use crate::train::event::Event;

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptEnd {
    /// The attempt, from 1.
    pub attempt: u64,
    /// The last update that is recorded, in this attempt or before.
    pub step: u64,
    /// A word or two, such as `SIGTERM`.
    pub label: String,
    /// In words that follow "it": `was stopped by SIGTERM`.
    pub words: String,
    /// Whether the run was complete then.
    pub is_complete: bool,
}

/// The ends of all attempts but one that has said nothing yet, which may still be at work.
#[must_use]
pub fn attempt_ends(events: &[Event]) -> Vec<AttemptEnd> {
    let mut ends = Vec::new();
    let (mut attempt, mut step) = (1, 0);
    let mut said: Option<(String, String, bool)> = None;
    let mut close = |said: &mut Option<(String, String, bool)>, attempt: u64, step: u64, is_last: bool| {
        let silent =
            || ("killed".to_owned(), "ended without a word (killed, or power lost)".to_owned(), false);
        let end = said.take().or_else(|| (!is_last).then(silent));
        if let Some((label, words, is_complete)) = end {
            ends.push(AttemptEnd { attempt, step, label, words, is_complete });
        }
    };
    for event in events {
        match event {
            Event::StepDone(done) => step = done.step,
            Event::SignalReceived(received) if received.signal == "SIGUSR1" => {}
            Event::SignalReceived(received) => {
                let words = format!("was stopped by {}", received.signal);
                said = Some((received.signal.clone(), words, false));
            }
            Event::Stopped(stopped) => {
                said = Some(("stopped".to_owned(), format!("ended because {}", stopped.reason), false));
            }
            Event::WorkerDied(died) => said = Some(("died".to_owned(), died.cause.clone(), false)),
            Event::Finished(finished) => {
                said = Some(("finished".to_owned(), format!("finished: {}", finished.reason), true));
            }
            Event::Resumed(resumed) if resumed.attempt > 1 => {
                close(&mut said, attempt, step, false);
                attempt = resumed.attempt;
                if resumed.discards_later {
                    step = resumed.step;
                }
            }
            _ => {}
        }
    }
    close(&mut said, attempt, step, true);
    ends
}

/// Marks of a run, by ascending places, and the places between which steps were computed again.
#[must_use]
pub fn marks(recorded: &Recorded, places: &Places<'_>) -> (Vec<Mark>, Vec<(f64, f64)>) {
    let (mut marks, mut again) = (Vec::new(), Vec::new());
    for end in attempt_ends(&recorded.events).into_iter().filter(|end| !end.is_complete) {
        let Some(x) = places.of_step(end.step) else { continue };
        let words = format!("attempt {} {} after step {}", end.attempt, end.words, end.step);
        marks.push(Mark { x, kind: MarkKind::Interrupted, label: end.label, words });
    }
    let mut step = 0;
    for event in &recorded.events {
        match event {
            Event::StepDone(done) => step = done.step,
            Event::Resumed(resumed) if resumed.attempt > 1 => {
                let from = resumed.checkpoint.as_deref().unwrap_or("the initial state");
                let words =
                    format!("attempt {} goes on behind step {} from {from}", resumed.attempt, resumed.step);
                let label = "resumed".to_owned();
                if let Some(x) = places.of_attempt(resumed.attempt, resumed.step) {
                    marks.push(Mark { x, kind: MarkKind::Resumed, label, words });
                }
                let ends = (places.of_step(resumed.step), places.of_step(step));
                if let (true, (Some(from), Some(to))) = (step > resumed.step, ends) {
                    again.push((from, to));
                }
                if resumed.discards_later {
                    step = resumed.step;
                }
            }
            Event::CheckpointDurable(durable) => {
                let words = format!("checkpoint of step {}: {}", durable.step, durable.name);
                let (kind, label) = (MarkKind::Checkpoint, String::new());
                marks.extend(places.of_step(durable.step).map(|x| Mark { x, kind, label, words }));
            }
            _ => {}
        }
    }
    marks.sort_by(|a, b| a.x.total_cmp(&b.x));
    (marks, again)
}

#[cfg(test)]
mod tests {
    use super::attempt_ends;
    use crate::train::event::{Event, Finished, SignalReceived};
    use crate::train::history::fixtures::{attempt, step};

    #[test]
    fn each_attempt_but_the_last_has_an_end_whether_it_told_or_not() {
        let signal = |name: &str| Event::SignalReceived(SignalReceived { signal: name.to_owned(), step: 2 });
        let finished = Event::Finished(Finished { step: 5, epoch: 1, reason: "all epochs done".to_owned() });
        let mut events =
            vec![step(1), signal("SIGUSR1"), step(2), signal("SIGTERM"), attempt(2, 2, false), step(3)];
        events.extend([attempt(3, 2, false), step(4)]);
        let labels = |events: &[Event]| -> Vec<(u64, u64, String)> {
            attempt_ends(events).into_iter().map(|end| (end.attempt, end.step, end.label)).collect()
        };
        let two = [(1, 2, "SIGTERM".to_owned()), (2, 3, "killed".to_owned())];
        assert_eq!(labels(&events), two);
        events.push(finished);
        assert_eq!(labels(&events)[2], (3, 4, "finished".to_owned()));
    }
}
