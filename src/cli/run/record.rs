//! The records with which a process begins a run or takes it up, and what it says of them.

use super::counted;
use crate::cli::exit::Exit;
use crate::cli::failure::{Failure, fail};
use crate::config;
use crate::report::progress::{Progress, duration};
use crate::train::event::{
    Environment, Event, HistoryLost, InputsChanged, PlanChanged, Resumed, RunStarted, WorkerDied,
};
use crate::train::keeper::{DATA_LOCK, Keeper, SETTINGS};
use crate::train::prepare::Prepared;
use crate::train::resume::Changes;
use crate::train::sample::sampled;
use crate::train::saved::Saved;
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

/// Records the beginning of a run; `found` is a checkpoint that outlived its journal, and `saved` its state.
pub(super) fn begin(
    keeper: &mut Keeper,
    prepared: &Prepared,
    environment: Environment,
    progress: &Progress,
    found: Option<&(Name, Checkpoint)>,
    saved: &Saved,
) -> Result<(), Failure> {
    let settings = config::to_toml(&prepared.plan);
    let data_lock = serde_json::to_string_pretty(&prepared.data_lock).map_err(fail(Exit::Failure))?;
    let had_settings = keeper.work_dir().join(SETTINGS).is_file();
    keeper.write_file(SETTINGS, settings.as_bytes())?;
    keeper.write_file(DATA_LOCK, data_lock.as_bytes())?;
    if let Some((name, survivor)) = found {
        // Before the run's first record: a process that dies between them leaves what is taken for no journal.
        let (run_id, checkpoint, step) = (survivor.meta().run_id.to_string(), name.to_string(), saved.step);
        keeper.record(Event::HistoryLost(HistoryLost { run_id, checkpoint, step }))?;
        let environment = environment.clone();
        keeper.record(Event::Resumed(resumed(1, Some(*name), saved, environment, false)))?;
    }
    let started = RunStarted { settings, environment, data_lock, model_crc32: prepared.model_crc32 };
    keeper.record(Event::RunStarted(started))?;
    keeper.record(sampled(saved.step))?;
    keeper.sync()?;
    match found {
        None => {
            if had_settings {
                progress.line(&format!(
                    "{SETTINGS} is there, a journal or checkpoints are not: the run begins at step 0 with these settings"
                ));
            }
            progress.info(&format!("Starting run {} in {}", keeper.run_id(), keeper.work_dir().display()));
        }
        Some((name, _)) => progress.line(&format!(
            "the journal is gone and with it the history up to step {}; going on from checkpoint {name}, which is intact",
            saved.step
        )),
    }
    Ok(())
}

/// Records that another process takes the run up, and says from where.
pub(super) fn take_up(
    keeper: &mut Keeper,
    prepared: &Prepared,
    changes: &Changes,
    environment: Environment,
    saved: &Saved,
    checkpoint: Option<Name>,
    progress: &Progress,
) -> Result<(), Failure> {
    let from = checkpoint
        .map_or("the initial weights".to_owned(), |name| format!("checkpoints/{name} (checksums ok)"));
    let to_repeat = keeper.history.last_step().saturating_sub(saved.step);
    let next = if saved.epoch > prepared.plan.train.epochs {
        "all epochs are done".to_owned()
    } else {
        let (epoch, batch, batches) = (saved.epoch, saved.batch + 1, prepared.batches_per_epoch());
        format!("next is epoch {epoch}, batch {} of {batches}, step {}", batch.min(batches), saved.step + 1)
    };
    progress.info(&format!(
        "Resuming run {} from {from}: {} completed, step {}; {next}",
        keeper.run_id(),
        counted(saved.epoch - 1, "epoch"),
        saved.step,
    ));
    let ended = match (&keeper.history.finished, &keeper.history.last_end) {
        (Some(_), _) => "finished".to_owned(),
        (None, Some(end)) => end.clone(),
        (None, None) => {
            format!("ended without a word at step {} (killed, or power lost)", keeper.history.last_step())
        }
    };
    let repeated = match to_repeat {
        0 => "no step has to be computed again".to_owned(),
        steps if changes.affects_steps() => {
            format!("{} discarded, because what computes changed", counted(steps, "recorded step"))
        }
        steps => {
            let seconds = keeper.history.seconds_per_step().map(|seconds| seconds * steps as f64);
            let takes =
                seconds.map_or(String::new(), |seconds| format!(", which takes about {}", duration(seconds)));
            format!("{} will be computed again and compared with the journal{takes}", counted(steps, "step"))
        }
    };
    if checkpoint.is_none() && !keeper.history.checkpoints.is_empty() {
        let count = counted(keeper.history.checkpoints.len() as u64, "checkpoint");
        progress.line(&format!(
            "the journal tells of {count}, and none is there: the run is computed again from step 0 ({repeated})"
        ));
    }
    progress.info(&format!("The previous process {ended}; {repeated}"));
    // What discards steps comes before what it is discarded for: a process that dies between the two leaves a
    // journal in which the change is still to be made, and never old steps that pass for new ones.
    let attempt = keeper.history.attempts + 1;
    let resumed = resumed(attempt, checkpoint, saved, environment, changes.affects_steps());
    keeper.record(Event::Resumed(resumed))?;
    record_changes(keeper, prepared, changes, progress)?;
    keeper.record(sampled(saved.step))?;
    keeper.sync()?;
    Ok(())
}

fn resumed(
    attempt: u64,
    checkpoint: Option<Name>,
    saved: &Saved,
    environment: Environment,
    discards_later: bool,
) -> Resumed {
    Resumed {
        attempt,
        step: saved.step,
        epoch: saved.epoch,
        batch: saved.batch,
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
