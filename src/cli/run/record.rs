//! The records with which a process begins a run or takes it up, and what it says of them.

use super::{counted, name, said};
use crate::cli::exit::Exit;
use crate::cli::failure::{Failure, fail};
use crate::config;
use crate::report::progress::{Progress, duration};
use crate::train::event::{
    BranchCut, Environment, Event, HistoryLost, InputsChanged, PlanChanged, Resumed, RunStarted, WorkerDied,
};
use crate::train::history::History;
use crate::train::keeper::{DATA_LOCK, Keeper, SETTINGS};
use crate::train::prepare::Prepared;
use crate::train::resume::Changes;
use crate::train::sample::sampled;
use crate::train::saved::Saved;
use std::collections::BTreeMap;
use trainer_runtime::checkpoint::{Checkpoint, Name};
use trainer_runtime::supervisor::{Death, Ended};

/// The death of the process before, as its supervisor tells it.
pub(super) fn worker_died(death: Death) -> Event {
    let (signal, exit_code) = match death.ended {
        Ended::Signal(number) => (Some(number), None),
        Ended::Code(code) => (None, Some(u32::from(code))),
    };
    Event::WorkerDied(WorkerDied { cause: death.to_string(), signal, exit_code, oom_kills: death.oom_kills })
}

/// Where a run begins that does not begin at step 0.
#[derive(Debug, Clone, Copy)]
pub(super) struct Survivor<'a> {
    pub(super) name: Name,
    pub(super) checkpoint: &'a Checkpoint,
    /// Whether somebody chose it to begin a run with, and not because a journal was lost.
    pub(super) is_chosen: bool,
}

/// Records the beginning of a run; `found` is a checkpoint that outlived its journal or that was chosen, and `saved` its
/// state.
pub(super) fn begin(
    keeper: &mut Keeper,
    prepared: &Prepared,
    environment: Environment,
    progress: &Progress,
    found: Option<Survivor<'_>>,
    saved: &Saved,
    run_name: Option<String>,
) -> Result<(), Failure> {
    let settings = config::to_toml(&prepared.plan);
    let data_lock = serde_json::to_string_pretty(&prepared.data_lock).map_err(fail(Exit::Failure))?;
    let had_settings = keeper.work_dir().join(SETTINGS).is_file();
    keeper.write_file(SETTINGS, settings.as_bytes())?;
    keeper.write_file(DATA_LOCK, data_lock.as_bytes())?;
    if let Some(Survivor { name, checkpoint, is_chosen }) = found {
        // Before the run's first record: a process that dies between them leaves what is taken for no journal.
        let (run_id, step) = (checkpoint.meta().run_id.to_string(), saved.step);
        if !is_chosen {
            for lost in lost_before(keeper, &run_id)? {
                keeper.record(Event::HistoryLost(lost))?;
            }
        }
        keeper.record(Event::HistoryLost(HistoryLost { run_id, checkpoint: name.to_string(), step }))?;
        let environment = environment.clone();
        keeper.record(Event::Resumed(resumed(1, Some(name), saved, saved.batch, environment, false)))?;
    }
    let started = RunStarted { settings, environment, data_lock, model_crc32: prepared.model_crc32 };
    keeper.record(Event::RunStarted(started))?;
    keeper.record(sampled(saved.step))?;
    name::record(keeper, run_name)?;
    keeper.sync()?;
    let run = name::of_run(&keeper.history, keeper.run_id());
    prepared.silent_changes.iter().for_each(|change| progress.line(&format!("the model: {change}")));
    match found {
        None => {
            if had_settings {
                progress.line(&format!(
                    "{SETTINGS} is there, a journal or checkpoints are not: the run begins at step 0 with these settings"
                ));
            }
            progress.info(&format!("Starting run {run} in {}", keeper.work_dir().display()));
        }
        Some(Survivor { name, checkpoint, is_chosen: true }) => progress.line(&format!(
            "Starting run {run} in {} from step {} of run {}: checkpoint {name} (checksums ok)",
            keeper.work_dir().display(),
            saved.step,
            checkpoint.meta().run_id
        )),
        Some(Survivor { name, .. }) => progress.line(&format!(
            "the journal is gone and with it the history up to step {}; going on from checkpoint {name}, which is intact",
            saved.step
        )),
    }
    Ok(())
}

/// The losses before this one, as the checkpoints tell them that have other identities than `run_id`: each of those was the
/// run's until a journal was lost. Without this, no older checkpoint could be gone back to after a second loss.
fn lost_before(keeper: &Keeper, run_id: &str) -> Result<Vec<HistoryLost>, Failure> {
    let entries = keeper.store().list().map_err(fail(Exit::StorageFailed))?;
    let mut newest = BTreeMap::new();
    // One that is damaged is none to go back to.
    for checkpoint in entries.iter().filter_map(|entry| keeper.store().load(entry.name).ok()) {
        let meta = checkpoint.meta();
        newest.insert(meta.run_id.to_string(), (meta.name().to_string(), meta.step));
    }
    newest.remove(run_id);
    let lost = newest.into_iter();
    let mut lost: Vec<HistoryLost> =
        lost.map(|(run_id, (checkpoint, step))| HistoryLost { run_id, checkpoint, step }).collect();
    lost.sort_by_key(|lost| lost.step);
    Ok(lost)
}

/// Where a run is taken up.
#[derive(Debug)]
pub(super) struct TakenUp<'a> {
    pub(super) saved: &'a Saved,
    /// The index of the next batch as the checkpoint has it, in batches of the size it was computed with.
    pub(super) recorded_batch: u64,
    pub(super) checkpoint: Option<Name>,
    /// The branch that ends with this.
    pub(super) cut: Option<&'a BranchCut>,
    /// The name that the run is to have.
    pub(super) run_name: Option<String>,
}

/// Records that another process takes the run up, and says from where.
pub(super) fn take_up(
    keeper: &mut Keeper,
    prepared: &Prepared,
    changes: &Changes,
    environment: Environment,
    taken: TakenUp<'_>,
    progress: &Progress,
) -> Result<(), Failure> {
    let TakenUp { saved, recorded_batch, checkpoint, cut, run_name } = taken;
    name::record(keeper, run_name)?;
    let run = name::of_run(&keeper.history, keeper.run_id());
    let (at, from) = (position(prepared, saved), from(checkpoint));
    progress.info(&format!("Resuming run {run}: {at} from {from}"));
    if checkpoint.is_some() {
        progress.info(&said::restored(&prepared.plan, saved));
    }
    let repeated = repeated(&keeper.history, saved, changes);
    if checkpoint.is_none() && !keeper.history.checkpoints.is_empty() {
        let count = counted(keeper.history.checkpoints.len() as u64, "checkpoint");
        progress.line(&format!(
            "the journal tells of {count}, and none is there: the run is computed again from step 0 ({repeated})"
        ));
    }
    let reached = cut.map_or(keeper.history.last_step(), |cut| cut.reached_step);
    progress.info(&format!("Previous attempt: {}; {repeated}", ended(&keeper.history, reached)));
    let of_schedule =
        said::of_schedule(&keeper.history, &prepared.plan, &changes.settings, prepared.train.0.len(), saved);
    // What discards steps comes before what it is discarded for: a process that dies between the two leaves a
    // journal in which the change is still to be made, and never old steps that pass for new ones.
    let attempt = keeper.history.attempts + 1;
    let discards = changes.affects_steps();
    keeper.record(Event::Resumed(resumed(
        attempt,
        checkpoint,
        saved,
        recorded_batch,
        environment,
        discards,
    )))?;
    record_changes(keeper, prepared, changes, progress)?;
    keeper.record(sampled(saved.step))?;
    keeper.sync()?;
    of_schedule.iter().for_each(|line| progress.line(line));
    Ok(())
}

/// `epoch 4, step 1234 (batch 234 of 500)`.
fn position(prepared: &Prepared, saved: &Saved) -> String {
    if saved.epoch > prepared.plan.train.epochs {
        return format!("step {} (all {} epochs done)", saved.step, saved.epoch - 1);
    }
    let batches = prepared.batches_per_epoch();
    format!("epoch {}, step {} (batch {} of {batches})", saved.epoch, saved.step, saved.batch)
}

fn from(checkpoint: Option<Name>) -> String {
    checkpoint.map_or("the initial weights".to_owned(), |name| format!("checkpoints/{name} (checksums ok)"))
}

/// How the attempt before ended: `stopped by SIGTERM at step 1234`.
fn ended(history: &History, step: u64) -> String {
    match (&history.finished, &history.last_end) {
        (Some(_), _) => format!("finished at step {step}"),
        (None, Some(end)) => format!("{} at step {step}", end.strip_prefix("was ").unwrap_or(end)),
        (None, None) => format!("ended without a word at step {step} (killed, or power lost)"),
    }
}

/// What becomes of steps that the journal has and the state has not.
fn repeated(history: &History, saved: &Saved, changes: &Changes) -> String {
    match history.last_step().saturating_sub(saved.step) {
        0 => "0 steps to compute again".to_owned(),
        steps if changes.affects_steps() => {
            format!("{} discarded, because what computes changed", counted(steps, "recorded step"))
        }
        steps => {
            let seconds = history.seconds_per_step().map(|seconds| seconds * steps as f64);
            let takes =
                seconds.map_or(String::new(), |seconds| format!(", which takes about {}", duration(seconds)));
            format!("{} to compute again and to compare with the journal{takes}", counted(steps, "step"))
        }
    }
}

fn resumed(
    attempt: u64,
    checkpoint: Option<Name>,
    saved: &Saved,
    batch: u64,
    environment: Environment,
    discards_later: bool,
) -> Resumed {
    Resumed {
        attempt,
        step: saved.step,
        epoch: saved.epoch,
        batch,
        checkpoint: checkpoint.map(|name| name.to_string()),
        environment,
        discards_later,
    }
}

/// Says and records what is no longer as it was; from here on, it is what the run has.
fn record_changes(
    keeper: &mut Keeper,
    prepared: &Prepared,
    changes: &Changes,
    progress: &Progress,
) -> Result<(), Failure> {
    let settings = config::to_toml(&prepared.plan);
    if changes.settings.is_empty() {
        if !keeper.work_dir().join(SETTINGS).is_file() {
            progress.line(&format!("{SETTINGS} was gone from the work directory; it is written again"));
            keeper.write_file(SETTINGS, settings.as_bytes())?;
        }
    } else {
        let lines: Vec<String> = changes.settings.iter().map(ToString::to_string).collect();
        lines.iter().for_each(|line| progress.line(&format!("changed setting: {line}")));
        keeper.write_file(SETTINGS, settings.as_bytes())?;
        keeper.record(Event::PlanChanged(PlanChanged { settings, changes: lines }))?;
    }
    let inputs: Vec<String> = changes.data.iter().chain(&changes.model).cloned().collect();
    for line in inputs.iter().chain(&changes.environment) {
        progress.line(&format!("accepted change: {line}"));
    }
    if !inputs.is_empty() {
        let data_lock = serde_json::to_string_pretty(&prepared.data_lock).map_err(fail(Exit::Failure))?;
        keeper.write_file(DATA_LOCK, data_lock.as_bytes())?;
        let model_crc32 = prepared.model_crc32;
        keeper.record(Event::InputsChanged(InputsChanged { data_lock, model_crc32, changes: inputs }))?;
    }
    Ok(())
}
