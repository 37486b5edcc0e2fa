//! What a sweep has come to: a row per trial, and the best.

use super::Sweep;
use super::pool::Reach;
use super::rung::Ladder;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::table::Table;
use crate::sweep::standing::{Standing, State};
use crate::train::best::Direction;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// The results of a sweep, as they are printed.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    /// The folder of the sweep.
    work_dir: PathBuf,
    /// `grid`, `random` or `halving`.
    method: String,
    /// The column by which trials are compared.
    pub(super) metric: String,
    /// `min` or `max`.
    mode: String,
    /// The trials that were asked for.
    pub(super) trials: Vec<Row>,
    /// The number of the best of all trials of the sweep; `null` if none has a value.
    best: Option<u64>,
    /// Its folder.
    best_dir: Option<PathBuf>,
    /// The names of what varies, in the order of the columns.
    #[serde(skip)]
    axes: Vec<String>,
}

/// What one trial has come to.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    /// Its number.
    trial: u64,
    /// Its name.
    name: String,
    /// Its folder.
    dir: PathBuf,
    /// What varies, and what it is here.
    values: BTreeMap<String, String>,
    /// `new`, `running`, `finished`, `interrupted`, `failed`, `waiting` for the end of its rung, `dropped` by one, or
    /// `elsewhere`: finished on another machine, as an MLflow server says.
    state: &'static str,
    /// Epochs that ended.
    epoch: u64,
    /// The best value of the metric.
    value: Option<f64>,
    /// Its epoch.
    value_epoch: Option<u64>,
    /// Of a failed trial: the exit code of its run.
    exit_code: Option<i32>,
    /// Of a failed trial: what it said last; of an interrupted one how it ended.
    message: Option<String>,
}

impl Row {
    /// The trial in one line.
    pub(super) fn line(&self, metric: &str) -> String {
        let value = match (self.value, self.value_epoch) {
            (Some(value), Some(epoch)) => format!(", best {metric} {value} at epoch {epoch}"),
            _ => String::new(),
        };
        let message = self.message.as_ref().map(|message| format!(": {message}")).unwrap_or_default();
        format!("trial {} ({}): {}, epoch {}{value}{message}", self.trial, self.name, self.state, self.epoch)
    }
}

impl Summary {
    /// Looks at all trials; those within `reach` get a row.
    pub(super) fn of(sweep: &Sweep, reach: &Reach) -> Result<Self, Failure> {
        let ladder = Ladder::of(sweep)?;
        let (mut rows, mut best): (Vec<Row>, Option<(f64, u64, PathBuf)>) = (Vec::new(), None);
        for trial in &sweep.plan.trials {
            let dropped = ladder.dropped.contains_key(&trial.number);
            let epochs = ladder.current.epochs.filter(|_| !dropped);
            let dir = sweep.trial_dir(trial);
            let standing = Standing::of(&dir, &sweep.definition, epochs);
            if let Some((value, _)) = standing.best {
                let is_better = |direction: Direction, best: f64| direction.improves(value, best, 0.0);
                if best.as_ref().is_none_or(|(best, ..)| is_better(sweep.definition.direction, *best)) {
                    best = Some((value, trial.number, dir.clone()));
                }
            }
            if !reach.has(trial.number) {
                continue;
            }
            let (exit_code, message) = match &standing.state {
                State::Failed(failure) => (failure.exit_code, Some(failure.message.clone())),
                State::Interrupted(words) => (None, Some(words.clone())),
                State::Running(holder) => (None, Some(holder.to_string())),
                State::New | State::Finished => (None, None),
            };
            let state = match &standing.state {
                // Whatever became of it since, the decision holds.
                State::Finished | State::New | State::Interrupted(_) if dropped => "dropped",
                State::New | State::Interrupted(_) | State::Failed(_)
                    if sweep.elsewhere.contains(&trial.number) =>
                {
                    "elsewhere"
                }
                State::Finished if !ladder.current.is_last => "waiting",
                state => state.word(),
            };
            rows.push(Row {
                trial: trial.number,
                name: trial.name.clone(),
                dir,
                values: trial.values.clone(),
                state,
                epoch: standing.epoch,
                value: standing.best.map(|(value, _)| value),
                value_epoch: standing.best.map(|(_, epoch)| epoch),
                exit_code,
                message,
            });
        }
        let (best, best_dir) = best.map_or((None, None), |(_, number, dir)| (Some(number), Some(dir)));
        Ok(Self {
            work_dir: sweep.dir.clone(),
            method: sweep.plan.method.clone(),
            metric: sweep.definition.metric.clone(),
            mode: sweep.plan.mode.clone(),
            trials: rows,
            best,
            best_dir,
            axes: sweep.definition.axes.iter().map(|axis| axis.name.clone()).collect(),
        })
    }

    /// How the command ends.
    pub(super) fn exit(&self) -> Exit {
        let any = |states: &[&str]| self.trials.iter().any(|row| states.contains(&row.state));
        if any(&["failed"]) {
            Exit::Failure
        } else if any(&["new", "running", "interrupted", "waiting"]) {
            Exit::Stopped
        } else {
            Exit::Finished
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut header = vec!["trial".to_owned()];
        header.extend(self.axes.iter().cloned());
        header.extend(["state", "epoch", &self.metric, ""].map(str::to_owned));
        let mut rows = Vec::new();
        for row in &self.trials {
            let mut cells = vec![row.trial.to_string()];
            cells.extend(self.axes.iter().map(|axis| row.values.get(axis).cloned().unwrap_or_default()));
            cells.extend([row.state.to_owned(), row.epoch.to_string()]);
            cells.push(row.value.map(|value| format!("{value:.6}")).unwrap_or_default());
            cells.push(if self.best == Some(row.trial) { "best".to_owned() } else { String::new() });
            rows.push(cells);
        }
        f.write_str(&Table::of_texts(header).render(&rows))?;
        for row in self.trials.iter().filter(|row| row.state == "failed") {
            let code = row.exit_code.map_or(String::new(), |code| format!(" (exit code {code})"));
            let message = row.message.as_deref().unwrap_or_default();
            writeln!(
                f,
                "trial {} failed{code}: {message}; log: {}",
                row.trial,
                row.dir.join(super::worker::LOG).display()
            )?;
        }
        if self.trials.iter().any(|row| row.state == "failed") {
            writeln!(f, "the same command with `--retry-failed` runs what has failed again")?;
        }
        match (&self.best, &self.best_dir) {
            (Some(number), Some(dir)) => writeln!(f, "best: trial {number} in {}", dir.display()),
            _ => writeln!(f, "no trial has a value of {} yet", self.metric),
        }
    }
}
