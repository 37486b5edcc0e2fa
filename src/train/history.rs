//! The history of a run, folded from its journal: it can not be lost, doubled or forked by a resume.

use super::batching::{Batching, PORTION_KEYS};
use super::event::{
    BranchCut, Environment, EpochDone, Event, EventError, Finished, MicroBatchChanged, Sampled, StepDone,
};
use branches::Line;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use trainer_runtime::checkpoint::Name;
use trainer_runtime::journal::Record;

mod branches;

/// Everything the journal says about a run. Where branches were cut, steps, epochs and checkpoints are those of the branch
/// that goes on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    /// The name that somebody gave the run.
    pub name: Option<String>,
    /// Settings in force, as TOML; `None` before the run started.
    pub settings: Option<String>,
    /// Fingerprints of the data files, as JSON.
    pub data_lock: Option<String>,
    /// CRC32 of the model.
    pub model_crc32: Option<u32>,
    /// What computed last.
    pub environment: Option<Environment>,
    /// Processes that have worked on the run.
    pub attempts: u64,
    /// Applied updates by number.
    pub steps: BTreeMap<u64, StepDone>,
    /// Epochs that ended, by number.
    pub epochs: BTreeMap<u64, EpochDone>,
    /// Epoch and batch of each batch that was left out.
    pub refused: BTreeSet<(u64, u64)>,
    /// The loss scale after each batch that changed it, by epoch and batch.
    pub loss_scales: BTreeMap<(u64, u64), f32>,
    /// Epochs after which a watched value no longer improved.
    pub stopped_early: BTreeSet<u64>,
    /// The first step that each attempt recorded, with the attempt: those up to the next are of the same attempt.
    step_attempts: BTreeMap<u64, u64>,
    /// The end of the run, if it has ended and was not taken up again.
    pub finished: Option<Finished>,
    /// The checkpoint, and its step, with which this journal begins because the one before was lost.
    pub lost_before: Option<(String, u64)>,
    /// Names of the checkpoints that the records say are there.
    pub checkpoints: BTreeSet<String>,
    /// Identities that the run had before its journal was lost, and of the run that it began with a checkpoint of: older
    /// checkpoints have them.
    pub former_run_ids: BTreeSet<String>,
    /// How the last attempt ended, if it said so.
    pub last_end: Option<String>,
    /// The portions in which batches are computed, by the place (epoch, batch) from which on they hold.
    pub batchings: BTreeMap<(u64, u64), Batching>,
    /// What the clock said in each attempt, in the order of the records. A reading stays where the steps before it are
    /// discarded: the time has passed.
    pub samples: Vec<AttemptSample>,
    /// The branches that ended, in the order in which they did.
    pub branches: Vec<BranchCut>,
    /// The cut that is recorded and after which no process has gone on: its checkpoints may not be in their places.
    pub open_cut: Option<BranchCut>,
    /// The digest of every checkpoint of this branch that was ever durable, by its name.
    pub published: BTreeMap<String, [u8; 16]>,
    /// What was in force when a checkpoint was written, by its name.
    computed_with: BTreeMap<String, Arc<ComputedWith>>,
    /// Whether the settings of portions, or the line of steps, changed and nothing was computed since: what the journal says of
    /// portions is then of before.
    pub portions_are_of_before: bool,
    /// What the branches that ended came to, by their numbers.
    lines: BTreeMap<u64, Line>,
}

/// What steps are computed with.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ComputedWith {
    /// Settings, as TOML.
    pub settings: Option<String>,
    /// Fingerprints of the data files, as JSON.
    pub data_lock: Option<String>,
    /// CRC32 of the model.
    pub model_crc32: Option<u32>,
    /// What computes.
    pub environment: Option<Environment>,
}

/// A reading of the clock and the memory, and the attempt that it is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttemptSample {
    /// The attempt, from 1.
    pub attempt: u64,
    /// Milliseconds since 1970-01-01 00:00 UTC.
    pub unix_ms: u64,
    /// Updates applied at that moment.
    pub step: u64,
    /// What the process had in memory; 0 if that is not known.
    pub resident_bytes: u64,
}

impl History {
    /// Folds records in their order.
    ///
    /// # Errors
    /// If a record is of a kind or version that this program does not know.
    pub fn from_records(records: &[Record]) -> Result<Self, EventError> {
        let mut history = Self::default();
        for record in records {
            history.add(Event::decode(record.sequence, record.kind, &record.payload)?);
        }
        Ok(history)
    }

    /// Adds the next event.
    pub fn add(&mut self, event: Event) {
        match event {
            Event::RunStarted(started) => {
                self.settings = Some(started.settings);
                self.data_lock = Some(started.data_lock);
                self.model_crc32 = Some(started.model_crc32);
                self.environment = Some(started.environment);
                self.attempts = 1;
            }
            Event::Resumed(resumed) => {
                self.attempts = resumed.attempt;
                self.finished = None;
                self.last_end = None;
                self.open_cut = None;
                if let Some(name) = resumed.checkpoint {
                    // It may have been published by a process that died before it could say so.
                    self.note_computed_with(&name, Overwrite::No);
                }
                self.environment = Some(resumed.environment);
                if resumed.discards_later {
                    self.discard_after(resumed.step, (resumed.epoch, resumed.batch));
                }
            }
            Event::PlanChanged(changed) => {
                self.settings = Some(changed.settings);
                self.portions_are_of_before |= changed.changes.iter().any(|line| changes_portions(line));
            }
            Event::InputsChanged(changed) => {
                self.data_lock = Some(changed.data_lock);
                self.model_crc32 = Some(changed.model_crc32);
            }
            Event::StepDone(step) => {
                self.portions_are_of_before = false;
                if self.attempt_of_step(step.step) != Some(self.attempts) {
                    self.step_attempts.insert(step.step, self.attempts);
                }
                self.steps.insert(step.step, step);
            }
            Event::StepRefused(refused) => _ = self.refused.insert((refused.epoch, refused.batch)),
            Event::LossScaleChanged(changed) => {
                _ = self.loss_scales.insert((changed.epoch, changed.batch), changed.to)
            }
            Event::EarlyStopped(stopped) => _ = self.stopped_early.insert(stopped.epoch),
            Event::EpochDone(epoch) => _ = self.epochs.insert(epoch.epoch, epoch),
            Event::Finished(finished) => self.finished = Some(finished),
            // SIGUSR1 ends nothing; where it is set to stop, `Stopped` says so.
            Event::SignalReceived(received) if received.signal == "SIGUSR1" => {}
            Event::SignalReceived(received) => {
                self.last_end = Some(format!("was stopped by {}", received.signal))
            }
            Event::Stopped(stopped) => self.last_end = Some(format!("ended because {}", stopped.reason)),
            Event::MicroBatchChanged(changed) => self.change_batching(&changed),
            Event::WorkerDied(died) => self.last_end = Some(died.cause),
            Event::HistoryLost(lost) => {
                self.lost_before = Some((lost.checkpoint, lost.step));
                self.former_run_ids.insert(lost.run_id);
            }
            Event::CheckpointDurable(durable) => {
                self.note_computed_with(&durable.name, Overwrite::Yes);
                self.published.insert(durable.name.clone(), durable.digest);
                self.checkpoints.insert(durable.name);
            }
            Event::CheckpointDropped(dropped) => _ = self.checkpoints.remove(&dropped.name),
            Event::Sampled(Sampled { unix_ms, step, resident_bytes }) => {
                let attempt = self.attempts;
                self.samples.push(AttemptSample { attempt, unix_ms, step, resident_bytes });
            }
            Event::BranchCut(cut) => self.cut(cut),
            Event::RunNamed(named) => self.name = Some(named.name),
            Event::OutOfMemory(_) | Event::MemoryPressure(_) => {}
        }
    }

    fn note_computed_with(&mut self, checkpoint: &str, overwrite: Overwrite) {
        if self.settings.is_none()
            || overwrite == Overwrite::No && self.computed_with.contains_key(checkpoint)
        {
            return;
        }
        let now = self.in_force();
        // Most checkpoints share it with the one before.
        let shared = self.computed_with.values().next_back().filter(|last| ***last == now);
        let shared = shared.map_or_else(|| Arc::new(now), Arc::clone);
        self.computed_with.insert(checkpoint.to_owned(), shared);
    }

    /// What the next step is computed with, if nothing is changed.
    #[must_use]
    pub fn in_force(&self) -> ComputedWith {
        ComputedWith {
            settings: self.settings.clone(),
            data_lock: self.data_lock.clone(),
            model_crc32: self.model_crc32,
            environment: self.environment.clone(),
        }
    }

    fn change_batching(&mut self, changed: &MicroBatchChanged) {
        let place = (changed.epoch, changed.batch);
        self.discard_after(changed.step, place);
        self.portions_are_of_before = false;
        self.batchings.retain(|earlier, _| *earlier < place);
        self.batchings.insert(place, Batching::of(changed));
    }

    /// The portions in which the journal says that batches are computed at a place (epoch, batch).
    #[must_use]
    pub fn batching_at(&self, place: (u64, u64)) -> Option<Batching> {
        self.batchings.range(..=place).next_back().map(|(_, batching)| *batching)
    }

    /// Forgets what was computed after a step, which comes before the batch at this place (epoch, batch).
    fn discard_after(&mut self, step: u64, place: (u64, u64)) {
        self.steps.retain(|number, _| *number <= step);
        self.step_attempts.retain(|first, _| *first <= step);
        self.epochs.retain(|epoch, _| *epoch < place.0);
        self.refused.retain(|refused| *refused < place);
        self.loss_scales.retain(|at, _| *at < place);
        self.stopped_early.retain(|epoch| *epoch < place.0);
        self.batchings.retain(|earlier, _| *earlier <= place);
        // Another line of steps will have checkpoints of these names, and one of them may be there before the journal tells.
        self.computed_with.retain(|name, _| name.parse::<Name>().is_ok_and(|name| name.step <= step));
    }

    /// The attempt that computed a step first; `None` for a step before the first.
    #[must_use]
    pub fn attempt_of_step(&self, step: u64) -> Option<u64> {
        self.step_attempts.range(..=step).next_back().map(|(_, attempt)| *attempt)
    }

    /// The last update that an attempt recorded; `None` if it recorded none that still holds.
    #[must_use]
    pub fn last_step_of(&self, attempt: u64) -> Option<u64> {
        let mut last = self.last_step();
        for (first, by) in self.step_attempts.iter().rev() {
            if *by == attempt {
                return Some(last);
            }
            last = first.saturating_sub(1);
        }
        None
    }

    /// Seconds that a step takes, from the epochs that ended; `None` before the first.
    #[must_use]
    pub fn seconds_per_step(&self) -> Option<f64> {
        let (steps, seconds) = self
            .epochs
            .values()
            .fold((0, 0.0), |(steps, seconds), epoch| (steps.max(epoch.step), seconds + epoch.seconds));
        (steps > 0).then(|| seconds / steps as f64)
    }

    /// The best epoch so far; `None` where nothing was measured.
    #[must_use]
    pub fn best_epoch(&self) -> Option<&EpochDone> {
        self.epochs.values().rfind(|epoch| epoch.is_best)
    }

    /// The last update that the journal knows of; 0 if none.
    #[must_use]
    pub fn last_step(&self) -> u64 {
        self.steps.keys().next_back().copied().unwrap_or(0)
    }

    /// The lines of `history.jsonl`: an object per epoch with what `history.csv` has in its row, and whether the epoch was
    /// the best so far. A value that is not finite, which JSON can not hold, is `null`.
    #[must_use]
    pub fn to_jsonl(&self) -> String {
        let json = |value: f64| Value::from(value).to_string();
        let mut lines = String::new();
        for epoch in self.epochs.values() {
            let EpochDone { epoch, step, lr, train_loss, validation, is_best, seconds, attempt } = epoch;
            _ = write!(lines, r#"{{"epoch":{epoch},"step":{step},"lr":{},"#, json(*lr));
            _ = write!(lines, r#""train_loss":{},"#, json(*train_loss));
            for (name, value) in validation {
                _ = write!(lines, "{}:{},", Value::from(name.as_str()), json(*value));
            }
            let seconds = json(*seconds);
            _ = writeln!(lines, r#""is_best":{is_best},"seconds":{seconds},"attempt":{attempt}}}"#);
        }
        lines
    }

    /// The table `history.csv`: a row per epoch, the columns of validation in the order of their first appearance.
    ///
    /// Losses and metrics are written with as many digits as it takes to read back the same number; an absent value is
    /// an empty field.
    #[must_use]
    pub fn to_csv(&self) -> String {
        let mut columns: Vec<&str> = Vec::new();
        for (name, _) in self.epochs.values().flat_map(|epoch| &epoch.validation) {
            if !columns.contains(&name.as_str()) {
                columns.push(name);
            }
        }
        let mut csv = String::from("epoch,step,lr,train_loss,");
        columns.iter().for_each(|column| _ = write!(csv, "{column},"));
        csv.push_str("seconds,attempt\n");
        for epoch in self.epochs.values() {
            _ = write!(csv, "{},{},{},{},", epoch.epoch, epoch.step, epoch.lr, epoch.train_loss);
            for column in &columns {
                let value = epoch.validation.iter().find(|(name, _)| name == column);
                value.iter().for_each(|(_, value)| _ = write!(csv, "{value}"));
                csv.push(',');
            }
            _ = writeln!(csv, "{:.3},{}", epoch.seconds, epoch.attempt);
        }
        csv
    }
}

/// Whether a line about a changed setting is about the portions of batches.
fn changes_portions(line: &str) -> bool {
    line.split_once(": ").is_some_and(|(key, _)| PORTION_KEYS.contains(&key))
}

/// Whether what was noted before gives way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Overwrite {
    Yes,
    No,
}

#[cfg(test)]
pub(crate) mod fixtures;

#[cfg(test)]
mod tests {
    use super::History;
    use super::fixtures::{attempt, epoch, step};

    #[test]
    fn the_table_has_a_row_per_epoch_and_numbers_that_read_back_equal() {
        let mut history = History::default();
        history.add(epoch(1, 0.1));
        history.add(epoch(2, 1.0 / 3.0));
        let csv = history.to_csv();
        let lines: Vec<&str> = csv.lines().collect();
        assert_eq!(lines[0], "epoch,step,lr,train_loss,val_loss,seconds,attempt");
        assert_eq!(lines[1], "1,10,0.001,0.1,0.05,1.250,1");
        let loss: f64 = lines[2].split(',').nth(3).unwrap().parse().unwrap();
        assert_eq!(loss.to_bits(), (1.0_f64 / 3.0).to_bits());
    }

    #[test]
    fn the_lines_hold_what_the_table_does_and_no_number_that_json_can_not() {
        let mut history = History::default();
        history.add(epoch(1, 0.1));
        history.add(epoch(2, f64::INFINITY));
        let lines: Vec<serde_json::Value> =
            history.to_jsonl().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[0]["val_loss"], 0.05);
        assert_eq!((lines[0]["is_best"].as_bool(), lines[0]["attempt"].as_u64()), (Some(true), Some(1)));
        assert_eq!((lines.len(), &lines[1]["train_loss"]), (2, &serde_json::Value::Null));
    }

    #[test]
    fn each_step_is_of_the_attempt_that_computed_it_first() {
        let mut history = History { attempts: 1, ..History::default() };
        (1..=10).for_each(|number| history.add(step(number)));
        history.add(attempt(2, 5, false));
        (11..=20).for_each(|number| history.add(step(number)));
        let attempts = [1, 10, 11, 20].map(|step| history.attempt_of_step(step));
        assert_eq!(attempts, [Some(1), Some(1), Some(2), Some(2)]);
        history.add(attempt(2, 8, true));
        history.add(step(9));
        assert_eq!([8, 9].map(|step| history.attempt_of_step(step)), [Some(1), Some(2)]);
        assert_eq!([1, 2, 3].map(|attempt| history.last_step_of(attempt)), [Some(8), Some(9), None]);
    }

    #[test]
    fn a_resume_keeps_what_was_recorded_unless_it_discards_it() {
        for (discards, expected) in [(false, 25), (true, 10)] {
            let mut history = History::default();
            (1..=25).for_each(|number| history.add(step(number)));
            history.add(epoch(1, 0.5));
            history.add(epoch(2, 0.4));
            history.add(attempt(2, 10, discards));
            assert_eq!(history.last_step(), expected);
            assert_eq!(history.epochs.len(), if discards { 1 } else { 2 });
        }
    }
}
