//! What interrupted or changed a run, in the order in which it happened.

use crate::train::event::{BranchCut, Event};
use serde_json::{Value, json};

/// Something that happened after an update, besides updates and epochs.
#[derive(Debug, PartialEq)]
pub(super) struct Note {
    pub(super) step: u64,
    pub(super) what: &'static str,
    pub(super) text: String,
    /// More for programs.
    pub(super) details: Option<Value>,
    /// Whether what came behind `step` before is no longer of the history: rows behind it are of what came later.
    pub(super) cuts: bool,
}

/// A branch that ended, for programs.
fn branch_json(cut: &BranchCut) -> Value {
    let best = cut.best.map(|best| json!({ "value": best.value, "epoch": best.epoch, "step": best.step }));
    json!({
        "branch": cut.branch, "checkpoint": cut.checkpoint, "of_branch": cut.of_branch, "reached_step": cut.reached_step,
        "reached_epoch": cut.reached_epoch, "best": best, "moved": cut.moved,
    })
}

impl Note {
    pub(super) fn line(&self, is_json: bool) -> String {
        let Self { step, what, text, details, .. } = self;
        if is_json {
            let mut line = json!({ "note": what, "step": step, "text": text });
            if let (Some(line), Some(details)) = (line.as_object_mut(), details) {
                line.insert("ended".to_owned(), details.clone());
            }
            return format!("{line}\n");
        }
        format!("-- {what} at step {step}: {text}\n")
    }
}

/// Turns events into notes, one after the other.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// The update before the next event.
    step: u64,
    /// The last update that was recorded since an attempt said how it ended; nothing once it has.
    unended: Option<u64>,
}

impl Notes {
    pub(super) fn of_all(mut self, events: &[Event]) -> Vec<Note> {
        events.iter().filter_map(|event| self.of(event)).collect()
    }

    /// The note of the next event; nothing for an update or epoch, which have rows, and for checkpoints.
    pub(super) fn of(&mut self, event: &Event) -> Option<Note> {
        let step = self.step;
        let (at, what, text) = match event {
            Event::StepDone(done) => {
                self.step = done.step;
                self.unended = Some(done.step);
                return None;
            }
            Event::Resumed(resumed) => {
                let from = resumed.checkpoint.as_deref().unwrap_or("the initial state");
                let mut text = format!("attempt {} from {from}", resumed.attempt);
                if let Some(reached) = self.unended {
                    text += &format!("; the one before ended without a word at step {reached}");
                }
                self.unended = Some(self.unended.unwrap_or(resumed.step));
                (resumed.step, "resumed", text)
            }
            Event::SignalReceived(received) => (received.step, "signal", received.signal.clone()),
            Event::Stopped(stopped) => (stopped.step, "stopped", stopped.reason.clone()),
            Event::WorkerDied(died) => (step, "died", died.cause.clone()),
            Event::PlanChanged(changed) => (step, "settings changed", changed.changes.join("; ")),
            Event::InputsChanged(changed) => (step, "inputs changed", changed.changes.join("; ")),
            Event::OutOfMemory(memory) => (memory.step, "out of memory", memory.message.clone()),
            Event::MemoryPressure(pressure) => (pressure.step, "memory runs out", pressure.reason.clone()),
            Event::MicroBatchChanged(changed) => {
                (changed.step, "micro-batch", format!("{}: {}", changed.micro_batch, changed.reason))
            }
            Event::EarlyStopped(stopped) => {
                let words =
                    format!("no better {} in {} epochs", stopped.monitor, stopped.epochs_without_improvement);
                (step, "early stop", words)
            }
            Event::StepRefused(refused) => {
                (step, "refused", format!("batch {} of epoch {} is not finite", refused.batch, refused.epoch))
            }
            Event::LossScaleChanged(changed) => {
                (step, "loss scale", format!("{} instead of {}", changed.to, changed.from))
            }
            Event::BranchCut(cut) => (cut.step, "branch", cut.to_string()),
            Event::RunNamed(named) => (step, "named", named.name.clone()),
            Event::HistoryLost(lost) => {
                (lost.step, "history lost", format!("goes on from {}", lost.checkpoint))
            }
            Event::Finished(finished) => (finished.step, "finished", finished.reason.clone()),
            Event::RunStarted(_)
            | Event::EpochDone(_)
            | Event::CheckpointDurable(_)
            | Event::CheckpointDropped(_)
            | Event::Sampled(_) => return None,
        };
        // SIGUSR1 ends nothing; where it is set to stop, `Stopped` says so.
        let is_end = ["signal", "stopped", "died", "finished"].contains(&what) && text != "SIGUSR1";
        self.unended = self.unended.filter(|_| !is_end);
        self.step = at;
        let details = if let Event::BranchCut(cut) = event { Some(branch_json(cut)) } else { None };
        let cuts = match event {
            Event::BranchCut(_) => true,
            Event::Resumed(resumed) => resumed.discards_later,
            _ => false,
        };
        Some(Note { step: at, what, text, details, cuts })
    }
}
