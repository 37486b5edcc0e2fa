//! `trainer run`: starts the run of a work directory, or takes it up where it is.

use super::args::GlobalArgs;
use super::exit::Exit;
use super::failure::{Failure, fail};
use super::repair;
use crate::config::{self, Class, Device, Origin, Plan};
use crate::engine::device::choose;
use crate::engine::library::{Host, Request, Runtime, Threads, Want, load, locate};
use crate::report::progress::{Progress, Verbosity};
use crate::report::run_log;
use crate::train::batching::Batching;
use crate::train::control::Control;
use crate::train::event::{Environment, Event, StepDone, Stopped};
use crate::train::export;
use crate::train::keeper::{KeepError, Keeper, SETTINGS};
use crate::train::outcome::RunError;
use crate::train::prepare::{Prepared, prepare};
use crate::train::resume::{
    Changes, ResumeError, changed_data, changed_environment, changed_model, changed_settings, decode_saved,
    load as load_checkpoint, newest_checkpoint,
};
use crate::train::run::{Context, run as train};
use crate::train::sample::sampled;
use crate::train::saved::Saved;
use crate::train::status::{Phase, SaveTime};
use std::collections::BTreeMap;
use std::time::Instant;
use trainer_runtime::disk::RealDisk;
use trainer_runtime::journal;
use trainer_runtime::keeper::{OpenError, RecoverError};
use trainer_runtime::lock::{LockError, WorkDirLock};
use trainer_runtime::signals::Signals;
use trainer_runtime::supervisor::{Death, follow_supervisor};

pub mod args;
mod confusion;
mod finish;
mod interrupt;
mod portions;
mod record;

use args::{Change, RunArgs};
use finish::{finish, print_result};
use interrupt::{answer_signals, answer_status, estimate_save, slow_save};
use portions::{Before, portions};
use record::{begin, take_up, worker_died};

/// Why a run finished, in its journal and on the screen.
const ALL_EPOCHS: &str = "all epochs done";
const ALL_STEPS: &str = "all steps of `train.max_steps` done";
const STOPPED_EARLY: &str = "stopped early";

/// Runs the command and says how the process should end.
///
/// # Errors
/// Any failure, with the exit code it means.
pub fn run(args: &RunArgs, global: &GlobalArgs, signals: &Signals) -> Result<Exit, Failure> {
    let verbosity = if global.quiet { Verbosity::Quiet } else { Verbosity::Normal };
    let mut progress = Progress::new(verbosity);
    let control = Control::new(Some(signals.clone()));
    let supervised = follow_supervisor();
    if let Some(supervised) = &supervised {
        signals.have_supervisor(supervised.pid);
    }
    answer_status(&control, &progress);
    // Settings that are wrong leave no trace: they are read before anything is made.
    load_settings(args)?;
    let _lock = WorkDirLock::acquire(&args.work_dir).map_err(|error| match error {
        LockError::Held { .. } => fail(Exit::Locked)(error),
        other => fail(Exit::StorageFailed)(other),
    })?;
    run_log::open(&args.work_dir);
    let loaded = load_settings(args)?;
    // What the program itself wrote into the work directory is no news; changes of it are listed against the journal.
    let recorded = args.work_dir.join(SETTINGS);
    let is_own = |origin: &Origin| matches!(origin, Origin::File { path, .. } if *path == recorded);
    for notice in loaded.notices.iter().filter(|notice| !is_own(&notice.origin)) {
        progress.line(&format!("note: {notice}"));
    }
    let plan = loaded.plan;
    let before = supervised.and_then(|supervised| supervised.before);
    control.follow(&plan.stop);
    control.enter(Phase::Recovering);
    let opened = Keeper::open(RealDisk::shared(), &args.work_dir, &plan.checkpoint, control.status())
        .map_err(|error| match error {
            KeepError::Open(OpenError::Journal(error)) if error.is_damage() => {
                let remedy = repair::command(&args.work_dir);
                Failure::new(Exit::Damaged, format!("{error}; `{remedy}` does that"))
            }
            KeepError::Open(OpenError::Journal(journal::OpenError::Version { .. })) => {
                fail(Exit::Damaged)(error)
            }
            other => fail(Exit::StorageFailed)(other),
        })?;
    let mut keeper = opened.keeper;
    if let Some(error) = opened.history_error {
        return Err(fail(Exit::Damaged)(error));
    }
    if let Some(set_aside) = &opened.set_aside {
        progress.line(&format!("journal: {set_aside}"));
    }
    let settings = match changed_settings(&keeper.history, &plan) {
        Ok(settings) => settings,
        Err(error) if args.allow_changed.contains(&Change::Settings) => {
            progress.line(&format!("the recorded settings are not compared: {error}"));
            Vec::new()
        }
        Err(error) => return Err(fail(Exit::Changed)(error)),
    };
    refuse_bound(&settings, args)?;
    if let Some(line) = nothing_to_do(&keeper, &plan, &settings) {
        print_result(&line);
        return Ok(Exit::Finished);
    }
    let Attempt { mut prepared, saved, recorded, batchings, batching_reason } =
        start(args, global, plan, &mut keeper, Known { settings, death: before }, &control, &mut progress)?;
    run_log::note(&format!("attempt {} of run {}", keeper.history.attempts, keeper.run_id()));
    let announced = Instant::now();
    if let Some(warning) = estimate_save(&control, &prepared, keeper.work_dir()) {
        progress.line(&warning);
    }
    answer_signals(&control, &prepared.plan.stop, prepared.engine.cancel(), &progress);
    let context = Context {
        attempt: keeper.history.attempts,
        recorded,
        batchings,
        batching_reason,
        warned_of_statistics: false,
        keeper: &mut keeper,
        control: &control,
        observer: &mut progress,
    };
    let ended = train(&mut prepared, saved, context);
    progress.clear();
    let ending = ended.map_err(|error| record_error(&mut keeper, error))?;
    if let Some(SaveTime::Measured(save_s)) = control.status().save_time()
        && save_s > prepared.plan.stop.grace_s
    {
        progress.line(&slow_save(&format!("{save_s:.0} s"), prepared.plan.stop.grace_s));
    }
    control.enter(Phase::Exporting);
    finish(&ending, &mut prepared, &mut keeper, &progress, announced)
}

/// Notes in the journal why the process ends, so that the next one does not take it for a kill.
fn record_error(keeper: &mut Keeper, error: RunError) -> RunError {
    let what = match &error {
        RunError::Diverged { .. } | RunError::NotFinite { .. } => "training diverged",
        RunError::NotReproduced { .. } => "a step could not be reproduced",
        // Storage is what failed, so nothing is written to it.
        RunError::Keep(_) => return error,
        RunError::DiskFull { .. } => "the disk was full",
        _ => "of an error",
    };
    let step = keeper.last_durable().map_or(0, |name| name.step);
    let event = Event::Stopped(Stopped { reason: what.to_owned(), step });
    let recorded = keeper.record(sampled(step)).and_then(|()| keeper.record(event));
    if let Err(second) = recorded.and_then(|()| Ok(keeper.sync()?)) {
        log::warn!("the end could not be journaled: {second}");
    }
    error
}

pub(super) fn load_settings(args: &RunArgs) -> Result<config::Loaded, Failure> {
    let recorded = args.work_dir.join(SETTINGS);
    let recorded = recorded.is_file().then_some(recorded);
    config::load(&args.settings.sources(recorded.as_deref())).map_err(fail(Exit::Usage))
}

fn refuse_bound(settings: &[config::Difference], args: &RunArgs) -> Result<(), Failure> {
    let bound: Vec<String> =
        settings.iter().filter(|change| change.class == Class::Bound).map(ToString::to_string).collect();
    if bound.is_empty() || args.allow_changed.contains(&Change::Settings) {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Changed,
        format!(
            "the settings differ from those this run was computed with:\n  {}\nremedy: undo the change, use another --work-dir, or go on with \
             the new settings from here with `--allow-changed settings`",
            bound.join("\n  ")
        ),
    ))
}

/// What to say if the run is over, its model is there, and the settings ask for no more.
fn nothing_to_do(keeper: &Keeper, plan: &Plan, changes: &[config::Difference]) -> Option<String> {
    let finished = keeper.history.finished.as_ref()?;
    if !keeper.work_dir().join(export::FILE_NAME).is_file() {
        return None;
    }
    let lengthened = changes.iter().any(|change| change.key.starts_with("train."));
    let more_epochs = plan.train.epochs > finished.epoch && lengthened;
    let dir = keeper.work_dir().display();
    let (epochs, steps) = (counted(finished.epoch, "epoch"), counted(finished.step, "step"));
    let remedy = if finished.reason == STOPPED_EARLY {
        "`--set train.early_stopping.patience=N` with a larger N trains on"
    } else if plan.train.max_steps.is_some_and(|most| finished.step >= most) {
        "`--max-steps N` with a larger N trains on"
    } else {
        "`--epochs N` with a larger N trains on"
    };
    (!more_epochs).then(|| {
        format!(
            "nothing to do: the run in {dir} has finished ({epochs}, {steps}: {}); {remedy}",
            finished.reason
        )
    })
}

/// `1 epoch`, `2 epochs`.
fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// A run that is ready to take its next step.
struct Attempt {
    prepared: Prepared,
    saved: Saved,
    recorded: BTreeMap<u64, StepDone>,
    batchings: BTreeMap<(u64, u64), Batching>,
    batching_reason: Option<&'static str>,
}

/// What the journal and the supervisor say of the attempts before.
struct Known {
    /// Settings that are others now.
    settings: Vec<config::Difference>,
    /// How the process before ended, if its supervisor saw it.
    death: Option<Death>,
}

fn start(
    args: &RunArgs,
    global: &GlobalArgs,
    plan: Plan,
    keeper: &mut Keeper,
    known: Known,
    control: &Control,
    progress: &mut Progress,
) -> Result<Attempt, Failure> {
    let Known { settings, death } = known;
    let recovered = newest_checkpoint(keeper).map_err(|error| match error {
        ResumeError::Recover(RecoverError::NoneVerifies { .. }) => fail(Exit::Damaged)(error),
        ResumeError::Foreign { .. } => fail(Exit::Changed)(error),
        other => fail(Exit::StorageFailed)(other),
    })?;
    let mut saved = Saved::start(config::fingerprint(&plan));
    if let Some((name, checkpoint)) = &recovered.newest {
        saved = decode_saved(*name, checkpoint).map_err(fail(Exit::Changed))?;
    }
    let place = (saved.epoch, saved.batch);
    let portions = portions(&keeper.history, &settings, &plan, place, Before::of(death))?;
    control.enter(Phase::LoadingLibrary);
    let host = Host::of_this_process();
    let runtime = load_library(global, &plan, &host)?;
    let chosen = choose(plan.device, &runtime, &host).map_err(fail(Exit::Failure))?;
    let reason = chosen.reason.map_or(String::new(), |reason| format!(" ({reason})"));
    progress.info(&format!(
        "ONNX Runtime {} on {}, {}{reason}",
        runtime.version,
        chosen.place,
        counted(plan.threads as u64, "thread")
    ));
    let environment = Environment {
        program: crate::BUILD.to_owned(),
        onnxruntime: runtime.version.clone(),
        device: chosen.place.to_string(),
        threads: plan.threads as u64,
    };
    control.enter(Phase::Building);
    let mut prepared = prepare(plan, &runtime, chosen.place, portions.wanted)?;
    control.enter(Phase::Recovering);
    let parameters = prepared.trainable.parameter_elements();
    let validation = prepared.validation.as_ref().map_or(0, |(loader, _)| loader.len());
    progress.info(&format!(
        "{}: {parameters} parameters in {} tensors; {} training and {validation} validation examples, {} steps per epoch",
        prepared.graph.name,
        prepared.trainable.parameters.len(),
        prepared.train.0.len(),
        prepared.batches_per_epoch()
    ));
    if let Some(recomputed) = prepared.recomputed {
        progress.info(&recomputed.to_string());
    }
    let changes = Changes {
        settings,
        data: changed_data(&keeper.history, &prepared.data_lock),
        model: changed_model(&keeper.history, prepared.model_crc32),
        environment: changed_environment(&keeper.history, &environment),
        accepts_other_bits: args.allow_changed.contains(&Change::Environment),
    };
    refuse_changes(&changes, args)?;
    let fingerprint = config::fingerprint(&prepared.plan);
    let name = recovered.newest.as_ref().map(|(name, _)| *name);
    if let Some((name, checkpoint)) = &recovered.newest {
        let notices =
            load_checkpoint(&mut prepared.engine, *name, checkpoint).map_err(fail(Exit::Changed))?;
        notices.iter().for_each(|line| progress.line(line));
    }
    let is_new = keeper.history.settings.is_none();
    if let Some(name) = name.filter(|_| is_new && saved.plan_fingerprint != fingerprint)
        && !args.allow_changed.contains(&Change::Settings)
    {
        return Err(fail(Exit::Changed)(ResumeError::OtherSettings { name }));
    }
    saved.plan_fingerprint = fingerprint;
    if let Some(name) = name {
        let passed_over = keeper.take_up(name, recovered.rejected, saved.best)?;
        passed_over.iter().for_each(|passed_over| progress.line(&passed_over.to_string()));
    }
    if let Some(death) = death.filter(|_| !is_new) {
        keeper.record(worker_died(death))?;
    }
    if is_new {
        begin(keeper, &prepared, environment, progress, recovered.newest.as_ref(), &saved)?;
    } else {
        take_up(keeper, &prepared, &changes, environment, &saved, name, progress)?;
    }
    control.set_saved_step(keeper.durable_step());
    let later = keeper.history.steps.range(saved.step + 1..);
    let recorded = later.map(|(step, done)| (*step, done.clone())).collect();
    let place = (saved.epoch, saved.batch);
    let beyond = keeper.history.batchings.iter().filter(|(at, _)| **at > place);
    let batchings = beyond.map(|(at, batching)| (*at, *batching)).collect();
    Ok(Attempt { prepared, saved, recorded, batchings, batching_reason: portions.reason })
}

pub(super) fn load_library(global: &GlobalArgs, plan: &Plan, host: &Host) -> Result<Runtime, Failure> {
    let want = match plan.device {
        Device::Cpu => Want::Cpu,
        Device::Cuda(_) => Want::Cuda,
        Device::Auto => Want::Either,
    };
    let request = Request { explicit: global.ort_lib.clone(), offline: global.offline, want };
    let located = locate(&request).map_err(fail(Exit::Failure))?;
    log::debug!(
        "ONNX Runtime library: {} ({}); cache: {:?}",
        located.path.display(),
        located.origin,
        host.cache_folder()
    );
    load(&located, Threads { count: plan.threads, spin: plan.spin }).map_err(fail(Exit::Failure))
}

fn refuse_changes(changes: &Changes, args: &RunArgs) -> Result<(), Failure> {
    let mut refused = Vec::new();
    let mut remedy = Vec::new();
    let mut check = |lines: &[String], change: Change, word: &'static str| {
        if !lines.is_empty() && !args.allow_changed.contains(&change) {
            refused.extend_from_slice(lines);
            remedy.push(word);
        }
    };
    check(&changes.data, Change::Data, "data");
    check(changes.model.as_slice(), Change::Model, "model");
    check(&changes.environment, Change::Environment, "environment");
    if refused.is_empty() {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Changed,
        format!(
            "this is not what the run was computed with:\n  {}\nremedy: restore what was there, use another --work-dir, or go on from here \
             with `--allow-changed {}`",
            refused.join("\n  "),
            remedy.join(",")
        ),
    ))
}
