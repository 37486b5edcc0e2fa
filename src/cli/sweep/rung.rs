//! Which trials take part now, and for how many epochs. A sweep without halving has one rung, on which all go to their end.

use super::Sweep;
use crate::cli::exit::Exit;
use crate::cli::failure::{Failure, fail};
use crate::sweep::halving::{self, Decision, DecisionError, RungResult, rungs};
use crate::sweep::standing::{Standing, State};
use std::collections::BTreeMap;

/// One rung.
#[derive(Debug, Clone)]
pub(super) struct Rung {
    /// Its number, from 1.
    pub(super) number: u64,
    /// To which epoch its trials go; `None` for their end.
    pub(super) epochs: Option<u64>,
    /// Its trials.
    pub(super) trials: Vec<u64>,
    /// Whether nothing is decided after it.
    pub(super) is_last: bool,
}

/// How far a sweep has got by its decisions.
#[derive(Debug)]
pub(super) struct Ladder {
    /// The rung that is not decided yet, or the last.
    pub(super) current: Rung,
    /// The rung on which each trial was left behind.
    pub(super) dropped: BTreeMap<u64, u64>,
    epochs: Vec<u64>,
}

impl Ladder {
    /// From the decisions in the folder of the sweep.
    pub(super) fn of(sweep: &Sweep) -> Result<Self, Failure> {
        let all: Vec<u64> = sweep.plan.trials.iter().map(|trial| trial.number).collect();
        let (Some(first), Some(factor)) = (sweep.plan.min_epochs, sweep.plan.factor) else {
            let current = Rung { number: 1, epochs: None, trials: all, is_last: true };
            return Ok(Self { current, dropped: BTreeMap::new(), epochs: Vec::new() });
        };
        let most = sweep.settings.first().map_or(first, |plan| plan.train.epochs);
        let epochs = rungs(first, factor, most);
        let mut ladder = Self {
            current: Rung { number: 0, epochs: None, trials: all, is_last: false },
            dropped: BTreeMap::new(),
            epochs,
        };
        let trials = std::mem::take(&mut ladder.current.trials);
        ladder.climb(1, trials);
        while ladder.follow_decision(sweep)?.is_some() {}
        Ok(ladder)
    }

    fn climb(&mut self, number: u64, trials: Vec<u64>) {
        let index = usize::try_from(number.saturating_sub(1)).unwrap_or(usize::MAX);
        let epochs = self.epochs.get(index).copied();
        let is_last = index + 1 >= self.epochs.len();
        self.current = Rung { number, epochs, trials, is_last };
    }

    fn follow(&mut self, decision: &Decision) -> String {
        for trial in &self.current.trials {
            if !decision.survivors.contains(trial) {
                self.dropped.insert(*trial, self.current.number);
            }
        }
        self.climb(self.current.number + 1, decision.survivors.clone());
        let survivors: Vec<String> = decision.survivors.iter().map(ToString::to_string).collect();
        format!(
            "rung {} of {} ({} epochs) is decided: {} of {} trials go on: {}",
            decision.rung,
            self.epochs.len(),
            decision.epochs,
            survivors.len(),
            decision.results.len(),
            survivors.join(", ")
        )
    }

    /// Goes on to the next rung if the current one is decided, by whomever. Gives what to say of that.
    pub(super) fn follow_decision(&mut self, sweep: &Sweep) -> Result<Option<String>, Failure> {
        let Rung { number, epochs: Some(epochs), trials, is_last: false } = &self.current else {
            return Ok(None);
        };
        let Some(decision) = halving::read(&sweep.dir, *number, *epochs, trials)? else { return Ok(None) };
        Ok(Some(self.follow(&decision)))
    }

    /// Decides the current rung if all of its trials have come to their end on it, unless others have. Gives what to say of
    /// that.
    pub(super) fn decide(&mut self, sweep: &Sweep) -> Result<Option<String>, Failure> {
        if let Some(words) = self.follow_decision(sweep)? {
            // Its trials may be on the next rung already.
            return Ok(Some(words));
        }
        let (Some(epochs), Some(factor), false) =
            (self.current.epochs, sweep.plan.factor, self.current.is_last)
        else {
            return Ok(None);
        };
        let mut results = Vec::new();
        for number in &self.current.trials {
            let Some(trial) = sweep.trial(*number) else { continue };
            let standing = Standing::of(&sweep.trial_dir(trial), &sweep.definition, Some(epochs));
            let value = match standing.state {
                State::Finished => standing.best.map(|(value, _)| value),
                State::Failed(_) => None,
                // Somebody may have decided it while this one looked.
                State::New | State::Running(_) | State::Interrupted(_) => return self.follow_decision(sweep),
            };
            results.push(RungResult { trial: *number, value });
        }
        let decision =
            halving::decide(self.current.number, epochs, results, factor, sweep.definition.direction);
        let decision = halving::keep(&sweep.dir, decision, &self.current.trials)?;
        Ok(Some(self.follow(&decision)))
    }
}

impl From<DecisionError> for Failure {
    fn from(error: DecisionError) -> Self {
        let exit = match &error {
            DecisionError::Io { .. } => Exit::StorageFailed,
            DecisionError::Damaged { .. } | DecisionError::Version { .. } => Exit::Damaged,
        };
        fail(exit)(error)
    }
}
